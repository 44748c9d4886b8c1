//! The privileged side: the one program of the appliance that runs as root while it serves.
//!
//! [`boot`] runs once at every start, before the network; [`serve`] answers verbs and keeps the firewall; [`health`] decides whether
//! the boot loader keeps this system, and [`rearm`] gives it a counter again. No shell is involved, no text from outside reaches a
//! program's arguments, and every deed is in the audit before it is done.

mod apply;
mod boot;
mod command;
mod connection;
mod deeds;
mod firewall;
mod gateway;
mod health;
mod owner;
mod paths;
mod people;
mod policy;
mod render;
mod reset;
mod serve;
mod slots;
mod ssh;
mod store;
mod systemd;
mod throttle;

pub use self::boot::{BootError, boot};
pub use self::health::{Check, health};
pub use self::paths::Paths;
pub use self::serve::serve;
pub use self::slots::RearmError;

/// Gives the running slot's kernel a counter again, and returns its new name.
///
/// # Errors
/// [`RearmError`].
pub fn rearm(paths: &Paths) -> Result<String, RearmError> {
    slots::rearm(paths)
}

/// Why the broker cannot serve, or serves no more.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// No audit, no broker.
    #[error(transparent)]
    Audit(#[from] crate::audit::AuditError),
    /// A program that it needs.
    #[error(transparent)]
    Command(#[from] command::CommandError),
    /// What the site set.
    #[error(transparent)]
    File(#[from] crate::files::FileError),
    /// A part of the broker has ended.
    #[error("a part of the broker has ended")]
    Gone,
    /// The image is not complete.
    #[error(transparent)]
    People(#[from] people::PeopleError),
    /// The socket.
    #[error("the socket cannot be served")]
    Socket(#[source] std::io::Error),
    /// SSH's state.
    #[error(transparent)]
    Ssh(#[from] ssh::SshError),
}
