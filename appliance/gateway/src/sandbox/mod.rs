//! What the daemon gives up for good before its first thread starts: files, ports and system calls that it never needs.
//!
//! `main` calls [`enter`] when the configuration is read and every socket is open. Later would be too late: Landlock binds the
//! calling thread and those that it starts. The kernel enforces as much as it knows; how much that is, is reported, never
//! assumed. The unit's own restrictions (systemd, AppArmor) are another wall around the same house.

mod calls;
mod files;

use std::collections::BTreeSet;

use postern_protocol::status::{Enforcement, Sandbox};

use crate::config::{Config, SandboxPolicy};

/// Why the daemon does not go on.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A directory of the daemon's own, which must be there before.
    #[error(transparent)]
    Directory(#[from] anyhow::Error),
    /// The configuration insists on a sandbox.
    #[error("sandbox.require is set, but files are {landlock} and system calls are {seccomp}")]
    Required {
        /// How far Landlock goes.
        landlock: Enforcement,
        /// How far seccomp goes.
        seccomp: Enforcement,
    },
}

/// Locks this thread, and all that it starts, into what the daemon needs. There is no way back. The daemon may connect to
/// `own_ports`, its listeners', besides what the configuration says.
///
/// # Errors
/// [`SandboxError`].
pub fn enter(config: &Config, own_ports: &[u16]) -> Result<Sandbox, SandboxError> {
    crate::create_private_dir(&config.data_dir)?;
    for dir in config.written_dirs() {
        crate::create_private_dir(&dir)?;
    }
    let sandbox = Sandbox {
        landlock: files::confine(config, own_ports).unwrap_or_else(|error| not_enforced(&error)),
        seccomp: calls::confine().map_or_else(|error| not_enforced(&error), |()| Enforcement::FullyEnforced),
    };
    report(&sandbox);
    let enforced = |by: &Enforcement| match by {
        Enforcement::FullyEnforced | Enforcement::PartiallyEnforced { .. } => true,
        Enforcement::NotEnforced { .. } => false,
    };
    if config.sandbox == SandboxPolicy::Required && !(enforced(&sandbox.landlock) && enforced(&sandbox.seccomp)) {
        return Err(SandboxError::Required { landlock: sandbox.landlock, seccomp: sandbox.seccomp });
    }
    Ok(sandbox)
}

/// Returns the ports at which the daemon can reach the control plane, by a proxy or without.
pub(crate) fn ways_out(config: &Config) -> BTreeSet<u16> {
    files::ways_out(config)
}

/// What is reported where nobody asked for a sandbox.
pub fn none() -> Sandbox {
    let not_asked = || Enforcement::NotEnforced { why: "the caller did not ask for it".to_owned() };
    Sandbox { landlock: not_asked(), seccomp: not_asked() }
}

fn not_enforced(error: &dyn std::error::Error) -> Enforcement {
    Enforcement::NotEnforced { why: crate::chain(error) }
}

fn report(sandbox: &Sandbox) {
    for (name, by) in [("landlock", &sandbox.landlock), ("seccomp", &sandbox.seccomp)] {
        match by {
            Enforcement::FullyEnforced => tracing::info!(by = name, enforcement = %by, "the sandbox is closed"),
            Enforcement::NotEnforced { .. } | Enforcement::PartiallyEnforced { .. } => {
                tracing::warn!(by = name, enforcement = %by, "the sandbox is not closed completely");
            }
        }
    }
}
