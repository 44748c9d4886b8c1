//! Sealed secrets of gateways' devices.

use utoipa::ToSchema;

/// The key to which secrets for a gateway are sealed.
#[derive(ToSchema)]
pub struct SealingKey {
    /// The tenant, as the seal's context says it.
    pub tenant: String,
    /// The gateway, as the seal's context says it.
    pub gateway: String,
    /// RSA public key: SubjectPublicKeyInfo, DER, base64.
    pub spki: String,
    /// SHA-256 of the key in hexadecimal, as `postern-gateway status` shows it.
    pub sha256: String,
    /// The same of the key before, when there was another one.
    #[schema(required)]
    pub previous_sha256: Option<String>,
    /// When it was first seen.
    #[schema(format = DateTime)]
    pub seen_at: String,
}

/// A sealed secret to be stored.
#[derive(ToSchema)]
pub struct SealedSecret {
    /// The version that the seal covers: the last one plus 1.
    #[schema(minimum = 1)]
    pub version: u32,
    /// The sealed content, base64, at most 2048 bytes: the byte 1; the length of the wrapped key (2 bytes, big-endian); a fresh
    /// AES-256 key wrapped by RSA-OAEP (SHA-256, MGF1 with SHA-256) with the context as label; a nonce of 12 bytes; the content
    /// under AES-256-GCM with the context as additional data. The context is
    /// `postern-secret-v1|TENANT|GATEWAY|NAME|VERSION`.
    pub sealed: String,
    /// `sha256` of the key that it was sealed to.
    pub sealed_to: String,
}

/// A secret that is stored.
#[derive(ToSchema)]
pub struct StoredSecret {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// When it was stored.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// Who stored it.
    pub created_by: String,
    /// `sha256` of the key that it was sealed to.
    pub sealed_to: String,
}

/// A secret, without its content.
#[derive(ToSchema)]
pub struct Secret {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// When it was stored.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// Who stored it.
    pub created_by: String,
    /// `sha256` of the key that it was sealed to.
    pub sealed_to: String,
    /// How it stands in the gateway's vault.
    pub state: SecretState,
    /// Why it cannot be used; empty when it can.
    pub problem: String,
}

/// How a secret stands in its gateway's vault.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum SecretState {
    /// The vault has it.
    InUse,
    /// The vault cannot open it.
    Problem,
    /// It is sealed to a key that the gateway no longer has.
    SealAgain,
    /// The gateway has not taken it in.
    Waiting,
}

/// A gateway's secrets.
#[derive(ToSchema)]
pub struct SecretPage {
    /// By name.
    pub items: Vec<Secret>,
    /// Always null for now.
    #[schema(required)]
    pub next_cursor: Option<String>,
}
