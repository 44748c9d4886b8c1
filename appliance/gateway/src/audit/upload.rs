//! Sends the log to the control plane and takes its countersignatures in: a few entries at a time, the next when the last are
//! countersigned. What was written while there was no tunnel goes first.
//!
//! Ends when its token is cancelled; fails when the log's thread has died.

use std::time::Duration;

use postern_protocol::message::{AuditEntries, AuditReceipt};
use postern_uplink::tunnel::{GreetingFacts, Outgoing};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::action::Action;
use super::{Audit, AuditError, receipt};
use crate::revision::signers::Signers;

/// How long a countersignature may take before the entries are sent again.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often is looked whether something has to be sent again.
const TICK: Duration = Duration::from_secs(5);

/// Letters that wait for the task; more are left out: entries that are not countersigned are sent again.
const LETTERS: usize = 16;

/// Something of the control plane that concerns the log.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Letter {
    /// It has the log up to an entry.
    Receipt(AuditReceipt),
    /// A session began: the number of the last entry that it has.
    Welcomed(u64),
}

/// Where letters are put in.
#[derive(Clone, Debug)]
pub(crate) struct LetterBox(mpsc::Sender<Letter>);

impl LetterBox {
    /// Hands a letter over; when the task is far behind it is left out, and its entries are sent again.
    pub(crate) fn put(&self, letter: Letter) {
        let _left_out = self.0.try_send(letter);
    }
}

/// Makes the letter box and its far end.
pub(crate) fn letters() -> (LetterBox, mpsc::Receiver<Letter>) {
    let (put, letters) = mpsc::channel(LETTERS);
    (LetterBox(put), letters)
}

/// The task's state.
pub(crate) struct Upload {
    pub(crate) audit: Audit,
    pub(crate) signers: Signers,
    pub(crate) letters: mpsc::Receiver<Letter>,
    pub(crate) outgoing: mpsc::Sender<Outgoing>,
    pub(crate) facts: watch::Sender<GreetingFacts>,
}

/// What the control plane has, and what is on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Position {
    /// The last entry that it has; nothing before the first session.
    theirs: Option<u64>,
    /// When the last entries were sent.
    sent_at: Option<Instant>,
}

impl Position {
    /// Returns the number of the next entry to send, when something has to be sent now.
    fn next(&self, last: u64, now: Instant) -> Option<u64> {
        let theirs = self.theirs?;
        let waiting = self.sent_at.is_some_and(|at| now.saturating_duration_since(at) < PATIENCE);
        (theirs < last && !waiting).then(|| theirs.saturating_add(1))
    }
}

impl Upload {
    /// Works until `stop` is cancelled.
    ///
    /// # Errors
    /// [`AuditError::Ended`] when the log's thread has died.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> Result<(), AuditError> {
        let mut state = self.audit.state();
        let mut position = Position::default();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let last = state.borrow_and_update().number;
            self.facts.send_if_modified(|facts| std::mem::replace(&mut facts.audit_number, last) != last);
            if let Some(next) = position.next(last, Instant::now()) {
                self.send(next, &mut position).await;
            }
            // Every arm is cancel-safe.
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                changed = state.changed() => changed.map_err(|_| AuditError::Ended)?,
                _ = tick.tick() => {}
                Some(letter) = self.letters.recv() => match letter {
                    Letter::Receipt(receipt) => self.countersigned(receipt, &mut position).await,
                    Letter::Welcomed(number) => position = self.welcomed(number, last).await,
                },
            }
        }
    }

    async fn send(&self, next: u64, position: &mut Position) {
        let entries = match self.audit.read(next).await {
            Ok(entries) => entries,
            Err(error) => {
                tracing::warn!(error = %crate::chain(&error), "the audit log cannot be read");
                Vec::new()
            }
        };
        if !entries.is_empty() && self.outgoing.try_send(Outgoing::Audit(AuditEntries { entries })).is_err() {
            return;
        }
        position.sent_at = Some(Instant::now());
    }

    async fn countersigned(&self, receipt: AuditReceipt, position: &mut Position) {
        if !receipt::signed(&receipt, &self.signers) {
            tracing::warn!(number = receipt.number, "a countersignature of the audit log is not the control plane's");
            return;
        }
        *position = Position { theirs: Some(receipt.number), sent_at: None };
        if let Err(error) = self.audit.countersign(receipt).await {
            tracing::warn!(error = %crate::chain(&error), "a countersignature of the audit log cannot be kept");
        }
    }

    /// A new session: what was on its way may be lost.
    async fn welcomed(&self, theirs: u64, last: u64) -> Position {
        if theirs <= last {
            return Position { theirs: Some(theirs), sent_at: None };
        }
        let evidence = format!("the control plane has {theirs} entries of the audit log, this disk has {last}");
        tracing::warn!(theirs, last, "the audit log ends before what the control plane has");
        if let Err(error) = self.audit.note(Action::RollbackFound { evidence }).kept().await {
            tracing::warn!(error = %crate::chain(&error), "that the disk was set back is not in the audit log yet");
        }
        // The last one that both have goes along, so that the control plane sees where the two part.
        Position { theirs: Some(last.saturating_sub(1)), sent_at: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn entries_go_one_parcel_at_a_time_and_again_when_nothing_is_heard() {
        let now = Instant::now();
        assert_eq!(Position::default().next(5, now), None, "before a session");
        let mut position = Position { theirs: Some(3), sent_at: None };
        assert_eq!(position.next(3, now), None, "it has all");
        assert_eq!(position.next(5, now), Some(4));
        position.sent_at = Some(now);
        assert_eq!(position.next(9, now), None, "one parcel at a time");
        assert_eq!(position.next(9, now + PATIENCE), Some(4));
    }
}
