//! What happened to an alert, newest first, as people read it.

use crate::console::moment::Moment;
use crate::store::alerts::HistoryEntry;
use postern_protocol::timestamp::Timestamp;

use super::GatewayNames;

/// One thing that happened.
pub(super) struct Entry {
    /// Class of the list item.
    pub(super) class: &'static str,
    /// Identifier of the icon.
    pub(super) icon: &'static str,
    /// What happened.
    pub(super) what: String,
    /// Who did it.
    pub(super) actor: String,
    /// When.
    pub(super) at: Moment,
    /// The note, or what changed.
    pub(super) text: String,
}

/// Turns the store's entries round and puts them into words.
pub(super) fn entries(history: Vec<HistoryEntry>, gateways: &GatewayNames, now: Timestamp) -> Vec<Entry> {
    history.into_iter().rev().map(|entry| in_words(entry, gateways, now)).collect()
}

fn in_words(entry: HistoryEntry, gateways: &GatewayNames, now: Timestamp) -> Entry {
    let (class, icon, what) = match entry.what.as_str() {
        "raised" => ("raised", "i-open", "Raised"),
        "severity" => ("severity", "i-minor", "Severity changed"),
        "cleared" => ("cleared", "i-cleared", "Cleared"),
        "acknowledged" => ("acknowledged", "i-cleared", "Acknowledged"),
        "unacknowledged" => ("unacknowledged", "i-dot", "Acknowledgement taken back"),
        "closed" => ("closed", "i-closed", "Closed"),
        "threshold_reached" => ("raised", "i-open", "Threshold reached"),
        "rate_reached" => ("raised", "i-open", "Rate reached"),
        "silent" => ("raised", "i-open", "Silent for too long"),
        "flap_started" => ("severity", "i-minor", "Began to flap"),
        "flap_ended" => ("other", "i-dot", "Flaps no more"),
        "suppressed" => ("other", "i-dot", "Kept quiet by a maintenance window"),
        "unsuppressed" => ("raised", "i-open", "The window is over, and it still lasts"),
        "folded" => ("other", "i-down", "Folded under another alert"),
        "unfolded" => ("other", "i-dot", "Stands for itself again"),
        "late_clear" => ("other", "i-dot", "A late clear was passed over"),
        "late_report" => ("other", "i-dot", "A late report was passed over"),
        "paired" => ("other", "i-dot", "Merged with its pair's"),
        "unpaired" => ("other", "i-dot", "Its own again"),
        "note" => ("note", "i-note", "Note"),
        other => ("other", "i-dot", other),
    };
    let actor = actor(entry.actor, gateways);
    Entry { class, icon, what: what.to_owned(), actor, at: Moment::new(entry.at, now), text: entry.text }
}

/// Names a gateway as people do.
pub(super) fn actor(actor: String, gateways: &GatewayNames) -> String {
    let Some(id) = actor.strip_prefix("gateway:") else { return actor };
    let name = gateways.iter().find(|(gateway, _)| gateway.as_str() == id).map_or(id, |(_, name)| name);
    format!("gateway {name}")
}
