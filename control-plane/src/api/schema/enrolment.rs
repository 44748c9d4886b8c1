//! Enrolment tokens.

use utoipa::ToSchema;

/// An enrolment token to be made.
#[derive(ToSchema)]
pub struct NewEnrolmentToken {
    /// The name that the gateway will have.
    #[schema(min_length = 1, max_length = 128)]
    pub gateway_name: String,
    /// How long the token is good, in seconds; a day when left out.
    #[schema(minimum = 60, maximum = 2_592_000)]
    pub expires_in: Option<u64>,
}

/// An enrolment token that was made.
#[derive(ToSchema)]
pub struct CreatedEnrolmentToken {
    /// Its short name.
    pub id: String,
    /// Its text, which is shown only now.
    pub token: String,
    /// The name that the gateway will have.
    pub gateway_name: String,
    /// When it ends.
    #[schema(format = DateTime)]
    pub expires_at: String,
}

/// An enrolment token, as lists show it.
#[derive(ToSchema)]
pub struct EnrolmentToken {
    /// Its short name.
    pub id: String,
    /// The name that the gateway will have.
    pub gateway_name: String,
    /// Whether it can still be used.
    pub state: EnrolmentTokenState,
    /// When it was made.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When it ends.
    #[schema(format = DateTime)]
    pub expires_at: String,
    /// When it was used.
    #[schema(format = DateTime, required)]
    pub used_at: Option<String>,
    /// The gateway that it made.
    #[schema(required)]
    pub used_by: Option<String>,
}

/// Whether an enrolment token can still be used.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum EnrolmentTokenState {
    /// Its time is over.
    Expired,
    /// An admin revoked it.
    Revoked,
    /// It can be used.
    Usable,
    /// It made a gateway.
    Used,
}

/// Enrolment tokens.
#[derive(ToSchema)]
pub struct EnrolmentTokenPage {
    /// Newest first.
    pub items: Vec<EnrolmentToken>,
    /// Always null for now.
    #[schema(required)]
    pub next_cursor: Option<String>,
}
