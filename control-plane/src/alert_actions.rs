//! What people and programs do with an alert, on behalf of the console and the API: checks that they may, does it in the
//! tenant's store, tells every reader, and tells the gateway of a close.

use postern_protocol::timestamp::Timestamp;

use crate::app::App;
use crate::auth::{Forbidden, Permission, Principal};
use crate::feed::Change;
use crate::store::StoreError;
use crate::store::alert_actions::{Acted, AlertAction, AlertRequest};
use crate::store::idempotency::OnceKey;

/// Most characters of a note.
pub const MAX_NOTE_CHARACTERS: usize = 4096;

/// What to do with which alert.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The alert.
    pub id: String,
    /// What to do.
    pub action: AlertAction,
    /// Revisions of which the alert must have one; `None` for any.
    pub expected: Option<Vec<i64>>,
    /// Under which key the answer is kept, to be given again.
    pub once: Option<OnceKey>,
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// The role does not allow it.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// The note is empty or too long.
    #[error("a note has 1 to {MAX_NOTE_CHARACTERS} characters")]
    Note,
    /// The store refused; see [`StoreError::NotFound`] and [`StoreError::Conflict`].
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Does something with an alert of the principal's tenant.
///
/// # Errors
/// [`ActError`] says why nothing was done.
pub async fn act(app: &App, principal: &Principal, wish: Wish) -> Result<Acted, ActError> {
    principal.require(Permission::ActOnAlerts)?;
    let now: Timestamp = app.now();
    let action = match wish.action {
        AlertAction::Note(text) => AlertAction::Note(checked_note(&text).ok_or(ActError::Note)?),
        other @ (AlertAction::Acknowledge | AlertAction::Close | AlertAction::Unacknowledge) => other,
    };
    let request = AlertRequest { id: wish.id, action, by: principal.actor.to_string(), expected: wish.expected, once: wish.once };
    let acted = app.stores.tenant(&principal.tenant)?.act_on_alert(request, now).await?;
    if let Acted::Done(done) = &acted {
        if done.changed {
            app.feed.publish(&principal.tenant, Change::Alert { id: done.alert.id.clone(), revision: done.alert.revision });
        }
        done.tell.iter().for_each(|gateway| app.gateways.wake(gateway)); // without a live session the next one is told
    }
    Ok(acted)
}

fn checked_note(text: &str) -> Option<String> {
    let text = text.trim().replace("\r\n", "\n");
    let readable = text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\t'));
    (!text.is_empty() && readable && text.chars().count() <= MAX_NOTE_CHARACTERS).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_trimmed_and_bounded() {
        assert_eq!(checked_note("  a\r\nb \n").as_deref(), Some("a\nb"));
        assert_eq!(checked_note(" \n"), None);
        assert_eq!(checked_note("bell\u{7}"), None);
        assert_eq!(checked_note(&"ä".repeat(MAX_NOTE_CHARACTERS)).map(|text| text.len()), Some(2 * MAX_NOTE_CHARACTERS));
        assert_eq!(checked_note(&"x".repeat(MAX_NOTE_CHARACTERS + 1)), None);
    }
}
