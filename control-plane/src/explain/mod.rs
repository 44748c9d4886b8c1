//! Why an alert is as it is: every step that its gateway, people and the control plane took, in order, in words. Made from what is
//! stored of it: its history, its decisions and the rules of the revisions; asks nobody and changes nothing.

mod steps;

use postern_protocol::timestamp::Timestamp;
use serde::Serialize;

use crate::app::App;
use crate::auth::{Forbidden, Permission, Principal};
use crate::rfc3339;
use crate::rule_book::{self, RuleText};
use crate::store::StoreError;

/// Why an alert is as it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// The alert.
    pub alert: String,
    /// How it stands, in one or two sentences.
    pub summary: String,
    /// What led there, oldest first: of this occurrence only.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// When.
    #[serde(serialize_with = "rfc3339::serialize")]
    pub at: Timestamp,
    /// What.
    pub what: StepKind,
    /// Who or what took it: a rule, a maintenance window, a dependency, the key of another alert, a person.
    pub by: String,
    /// The figures behind it, for a person.
    pub text: String,
    /// The rule that took it.
    pub rule: Option<RuleText>,
    /// The other alert that it is about.
    pub alert: Option<String>,
}

/// What a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// A person took note.
    Acknowledged,
    /// A rule's event ended it.
    Cleared,
    /// A person closed it.
    Closed,
    /// It flaps no more.
    FlapEnded,
    /// It began to flap.
    FlapStarted,
    /// It was folded under another alert.
    Folded,
    /// A clear came that is older than the last report.
    LateClear,
    /// A report came that is older than the end of the occurrence before.
    LateReport,
    /// Somebody wrote something down.
    Noted,
    /// It was merged with the same alert of the other gateway of a pair.
    Paired,
    /// A rule matched an event, and the alert was raised.
    Raised,
    /// A number changed faster or slower than the rule allows.
    RateReached,
    /// It was reported again.
    Reported,
    /// Its severity changed.
    SeverityChanged,
    /// A source was silent for too long.
    Silent,
    /// A maintenance window keeps it quiet.
    Suppressed,
    /// Enough reports came in time.
    ThresholdReached,
    /// Nothing was heard of it for the time that its rule sets.
    TimedOut,
    /// A person took the acknowledgement back.
    Unacknowledged,
    /// It stands for itself again.
    Unfolded,
    /// Its pair was dissolved.
    Unpaired,
    /// The window is over, and it still lasts.
    Unsuppressed,
}

/// Explains an alert of the principal's tenant; `None` if there is none.
///
/// # Errors
/// [`ExplainError`] when the role does not allow it or the store fails.
pub async fn explain(app: &App, principal: &Principal, id: &str) -> Result<Option<Explanation>, ExplainError> {
    principal.require(Permission::Read)?;
    let store = app.stores.tenant(&principal.tenant)?;
    let Some(alert) = store.find_alert(id).await? else { return Ok(None) };
    let history = store.alert_history(id).await?.unwrap_or_default();
    let parent = match &alert.parent {
        Some(parent) => store.find_alert(parent).await?,
        None => None,
    };
    let books = rule_book::of_gateway(app, &principal.tenant, &alert.gateway).await?;
    let facts = steps::Facts { alert: &alert, history: &history, parent: parent.as_ref(), books: &books };
    Ok(Some(Explanation { summary: facts.summary(), steps: facts.steps(), alert: alert.id.clone() }))
}

/// Why nothing was explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// The role does not allow it.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
