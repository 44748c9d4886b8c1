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
        "paired" => ("other", "i-dot", "Merged with its pair's"),
        "unpaired" => ("other", "i-dot", "Its own again"),
        "note" => ("note", "i-note", "Note"),
        other => ("other", "i-dot", other),
    };
    let actor = match entry.actor.strip_prefix("gateway:") {
        Some(id) => {
            let name = gateways.iter().find(|(gateway, _)| gateway.as_str() == id).map_or(id, |(_, name)| name);
            format!("gateway {name}")
        }
        None => entry.actor,
    };
    Entry { class, icon, what: what.to_owned(), actor, at: Moment::new(entry.at, now), text: entry.text }
}
