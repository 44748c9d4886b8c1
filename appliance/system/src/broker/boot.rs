//! What happens once at every start, before the network: the firewall is shut, then the files that follow from the settings.

use super::apply;
use super::firewall::{Basis, Firewall};
use super::paths::Paths;
use super::people::{People, PeopleError};
use super::store::Store;
use crate::audit::{Audit, Event};

/// The machine must not go on the network.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The image is not complete.
    #[error(transparent)]
    People(#[from] PeopleError),
    /// Something could not be done.
    #[error("{}", .0.join("; "))]
    Problems(Vec<String>),
}

/// Loads the shut firewall and writes all files. Everything is tried, also after a failure.
///
/// # Errors
/// [`BootError`] with all that failed. Damaged settings are no failure: what can be used is in force, and the status says the rest.
pub fn boot(paths: &Paths) -> Result<(), BootError> {
    let people = People::load(paths)?;
    let store = Store::open(paths).map_err(|error| BootError::Problems(vec![crate::chain(&error)]));
    let kept = store.as_ref().map(Store::load).unwrap_or_default();
    let veto = kept.veto.in_force();
    let mut problems = Vec::new();
    let basis = Basis { settings: &kept.settings, veto: veto.as_ref() };
    if let Err(error) = Firewall::new(paths.clone(), people).load_closed(basis) {
        problems.push(crate::chain(&error));
    }
    let store = match store {
        Ok(store) => Some(store),
        Err(error) => {
            problems.push(error.to_string());
            None
        }
    };
    if let Err(error) = apply::write(paths, &kept.settings, veto.as_ref(), people.gateway_group) {
        problems.push(crate::chain(&error));
    }
    // Power was cut between the end of enrolment and the message of it.
    if let Some(store) = store.filter(Store::is_enrolled)
        && let Err(error) = store.erase_token()
    {
        problems.push(crate::chain(&error));
    }
    let told = problems.iter().cloned().chain(kept.damage.clone()).collect();
    if let Err(error) = Audit::open(&paths.log()).and_then(|mut audit| audit.append(&Event::Boot { problems: told })) {
        tracing::error!(error = crate::chain(&error), "this start is not in the audit");
    }
    if let Some(damage) = kept.damage {
        tracing::error!(damage, "not all that the site set can be used");
    }
    if problems.is_empty() { Ok(()) } else { Err(BootError::Problems(problems)) }
}
