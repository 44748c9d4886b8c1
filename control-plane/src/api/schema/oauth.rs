//! Access tokens (RFC 6749).

use utoipa::ToSchema;

/// Request of an access token.
#[derive(ToSchema)]
pub struct TokenRequest {
    /// `client_credentials`.
    pub grant_type: String,
    /// The client identifier, unless HTTP Basic authentication says it.
    pub client_id: Option<String>,
    /// The client secret, unless HTTP Basic authentication says it.
    #[schema(format = Password)]
    pub client_secret: Option<String>,
}

/// An access token.
#[derive(ToSchema)]
pub struct Token {
    /// Its text.
    pub access_token: String,
    /// `Bearer`.
    pub token_type: String,
    /// How long it is good, in seconds.
    pub expires_in: u64,
}

/// Why there is no access token (RFC 6749 §5.2).
#[derive(ToSchema)]
pub struct TokenError {
    /// The code of the error.
    pub error: String,
    /// What it means, for people.
    pub error_description: String,
}
