//! Who asks, and what they may do. [`Principal`] is the proof: only the extractors and the sign-in make one, and a tenant's store
//! is opened by the tenant in it, so that no handler can name another tenant.
//!
//! `console` takes a session cookie, `bearer` an access token; neither takes the other's.

pub mod bearer;
pub mod clients;
pub mod console;
mod origin;
pub mod password;
pub(crate) mod seal;
mod secret;
pub mod sign_in;
pub mod users;

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::Extensions;
use postern_protocol::id::TenantId;
use serde::Serialize;

/// Who asks, for which tenant, in which role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The tenant whose data it may see: never another's.
    pub tenant: TenantId,
    /// Who it is.
    pub actor: Actor,
    /// What it may do.
    pub role: Role,
    /// The address that the request came from.
    pub from: Option<IpAddr>,
}

/// A person or a program; histories name it by its `Display`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Actor {
    /// A program with OAuth2 client credentials.
    Client {
        /// Its client identifier.
        id: String,
    },
    /// A person who signed in.
    User {
        /// The user name.
        name: String,
    },
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client { id } => write!(f, "client:{id}"),
            Self::User { name } => f.write_str(name),
        }
    }
}

/// Returns the address that a request came from: the listener puts it there.
pub(crate) fn peer(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(from)| from.ip())
}

/// What a principal may do; each role may do what the one before may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Acts on alerts.
    Operator,
    /// Configures gateways and enrols them.
    Admin,
}

impl Role {
    /// Every role, least first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// Returns the role's name in documents and stores.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// Returns the role of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }

    /// Whether the role may do that.
    pub const fn allows(self, permission: Permission) -> bool {
        match permission {
            Permission::Read => true,
            Permission::ActOnAlerts => matches!(self, Self::Operator | Self::Admin),
            Permission::Configure => matches!(self, Self::Admin),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Something that not every role may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Acknowledge, close and annotate alerts.
    ActOnAlerts,
    /// Change gateways' configuration; make and revoke enrolment tokens.
    Configure,
    /// See the tenant's alerts and gateways.
    Read,
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ActOnAlerts => "act on alerts",
            Self::Configure => "configure gateways",
            Self::Read => "read",
        })
    }
}

/// The role does not allow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the role {role} may not {permission}")]
pub struct Forbidden {
    /// The role of the principal.
    pub role: Role,
    /// What it wanted.
    pub permission: Permission,
}

impl Principal {
    /// Checks that the principal may do that.
    ///
    /// # Errors
    /// [`Forbidden`] when its role does not allow it.
    pub fn require(&self, permission: Permission) -> Result<(), Forbidden> {
        if self.role.allows(permission) { Ok(()) } else { Err(Forbidden { role: self.role, permission }) }
    }
}

/// Returns a random name for one event, to be found again in the log. Not a secret.
pub(crate) fn fresh_id() -> String {
    crate::random::hex::<8>().unwrap_or_else(|_| "none".to_owned())
}

/// Returns the hash by which a request is known again.
pub(crate) fn request_hash(parts: &[&[u8]]) -> Vec<u8> {
    secret::sha256(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_may_do_what_the_one_before_may() {
        let allowed = |role: Role| [Permission::Read, Permission::ActOnAlerts, Permission::Configure].map(|p| role.allows(p));
        assert_eq!(allowed(Role::Viewer), [true, false, false]);
        assert_eq!(allowed(Role::Operator), [true, true, false]);
        assert_eq!(allowed(Role::Admin), [true, true, true]);
    }

    #[test]
    fn a_client_cannot_pass_for_a_user_of_the_same_name() {
        let client = Actor::Client { id: "admin".into() };
        assert_ne!(client.to_string(), Actor::User { name: "admin".into() }.to_string());
    }
}
