//! The self-test of a revision right after its swap: what worked before it has to work with it.
//!
//! Only local: whether the control plane is reached is the trial's to find out. It raises nothing and counts nothing. What fails takes
//! the revision back at once, before anybody is asked to confirm it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use postern_protocol::timestamp::Timestamp;
use tokio::sync::oneshot;

use super::{Control, ControlError};
use crate::canary::specimen;
use crate::pipeline::{Order, Rehearsal};
use crate::revision::trial::reason::Check;

/// Time for the rules, behind what the pipeline is doing.
const RULES: Duration = Duration::from_secs(10);

/// Time for a commit to be durable.
const COMMIT: Duration = Duration::from_secs(20);

/// Time for all listeners; the prober may have to end its round first.
const LISTENERS: Duration = Duration::from_secs(90);

impl Control {
    /// Returns the first check that fails with what is in force now.
    ///
    /// # Errors
    /// [`ControlError::PipelineEnded`].
    pub(super) async fn self_test(&self) -> Result<Option<Check>, ControlError> {
        let now = Timestamp::from(SystemTime::now());
        let site = Arc::clone(&self.site.borrow());
        let Some(events) = specimen::events(&site, now) else { return Ok(Some(Check::Rules)) };
        // A disk that was full before is not the revision's doing.
        let was_full = *self.spool.full().borrow();
        let ((decided, rules), (durable, commit)) = (oneshot::channel(), oneshot::channel());
        self.order(Order::Rehearse(Rehearsal { events, decided, durable })).await?;
        match tokio::time::timeout(RULES, rules).await {
            Ok(answer) => answer.map_err(|_| ControlError::PipelineEnded)?,
            Err(_) if was_full => {}
            Err(_) => return Ok(Some(Check::Rules)),
        }
        if !was_full {
            match tokio::time::timeout(COMMIT, commit).await {
                Ok(answer) => answer.map_err(|_| ControlError::PipelineEnded)?,
                Err(_) => return Ok(Some(Check::Spool)),
            }
        }
        match tokio::time::timeout(LISTENERS, self.prober.missed()).await {
            Ok(None) => Ok(None),
            Ok(Some(missed)) => {
                tracing::warn!(listener = missed.path.name(), step = missed.broken, "the self-test of a revision failed");
                Ok(Some(Check::Listener(missed.path.name())))
            }
            Err(_) => {
                tracing::warn!("the listeners could not be tried in time: the revision's self-test goes without them");
                Ok(None)
            }
        }
    }
}
