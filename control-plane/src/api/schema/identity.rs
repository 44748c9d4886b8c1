//! Identities of gateways.

use utoipa::ToSchema;

/// A gateway's identity.
#[derive(ToSchema)]
pub struct Identity {
    /// The newest certificates, newest first.
    pub certificates: Vec<Certificate>,
    /// Until when it may renew one that ended too long ago; null when an admin has not allowed it.
    #[schema(format = DateTime, required)]
    pub renewal_allowed_until: Option<String>,
    /// What it confirmed to trust.
    pub trust: Trust,
    /// Its newest starts, newest first.
    pub incarnations: Vec<Incarnation>,
    /// Set while two machines use the identity.
    #[schema(required)]
    pub quarantine: Option<Quarantine>,
}

/// A client certificate of a gateway.
#[derive(ToSchema)]
pub struct Certificate {
    /// Serial number, hexadecimal.
    pub serial: String,
    /// When it was issued.
    #[schema(format = DateTime)]
    pub issued_at: String,
    /// When it was first used; null while the gateway has not shown it.
    #[schema(format = DateTime, required)]
    pub first_used_at: Option<String>,
    /// When it ends.
    #[schema(format = DateTime)]
    pub not_after: String,
    /// SHA-256 of the authority's SubjectPublicKeyInfo, hexadecimal.
    pub issuer: String,
}

/// What a gateway confirmed to trust.
#[derive(ToSchema)]
pub struct Trust {
    /// Serial of the bundle that it keeps; 0 for what enrolment gave.
    pub confirmed: u64,
    /// Why it refused a later one.
    #[schema(required)]
    pub refused: Option<String>,
}

/// A start of a gateway.
#[derive(ToSchema)]
pub struct Incarnation {
    /// Which, hexadecimal.
    pub incarnation: String,
    /// How it stands.
    pub state: IncarnationState,
    /// When it first greeted.
    #[schema(format = DateTime)]
    pub first_seen: String,
    /// When it last greeted.
    #[schema(format = DateTime)]
    pub last_seen: String,
    /// Address of its last connection.
    pub peer: String,
    /// Its program version.
    pub version: String,
}

/// How a start stands.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum IncarnationState {
    /// It has the gateway's place.
    Current,
    /// An admin decided against it.
    Refused,
    /// Another one took its place.
    Superseded,
    /// It was found to be a copy and is kept out.
    Suspect,
}

/// Two machines with one identity, until an admin decides.
#[derive(ToSchema)]
pub struct Quarantine {
    /// Since when.
    #[schema(format = DateTime)]
    pub since: String,
    /// What proved it, for a person.
    pub proof: String,
    /// The one that has the gateway's place.
    #[schema(required)]
    pub current: Option<Incarnation>,
    /// The one that is kept out.
    #[schema(required)]
    pub other: Option<Incarnation>,
}

/// Which of two machines with one identity stays.
#[derive(ToSchema)]
pub struct Decision {
    /// Which one.
    pub keep: Keep,
}

/// One of two machines with one identity.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Keep {
    /// The one that has the gateway's place.
    Current,
    /// The one that is kept out.
    Other,
}

/// For how long a late renewal is allowed.
#[derive(ToSchema)]
pub struct Window {
    /// Seconds from now.
    #[schema(minimum = 60, maximum = 2_592_000)]
    pub open_for_s: u64,
}
