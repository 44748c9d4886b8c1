//! The ledger as a table that a person can add up: received = accepted + in flight + dropped, checked line by line. Pure.

use postern_protocol::status::{Account, Ledger, SourceAccount};

use crate::console::figures;

/// One line of the balance.
pub(super) struct Line {
    /// Protocol, or `All`.
    pub(super) name: String,
    /// Whether it is the sum over all protocols.
    pub(super) total: bool,
    /// Left side of the equation.
    pub(super) received: String,
    /// Handled by the engine.
    pub(super) accepted: String,
    /// Read and not yet handled.
    pub(super) in_flight: String,
    /// Given up, over all reasons.
    pub(super) dropped: String,
    /// Whether so much was dropped that somebody should look.
    pub(super) alarming: bool,
    /// Whether both sides are equal.
    pub(super) balanced: bool,
    /// By how much they are not.
    pub(super) off_by: String,
    /// Accepted, in flight and dropped in thousandths of received.
    pub(super) share: (u64, u64, u64),
    /// The same in words.
    pub(super) share_text: String,
}

/// One reason and what it means.
pub(super) struct Reason {
    /// Its name in reports and metrics.
    pub(super) name: String,
    /// How many.
    pub(super) count: String,
    /// What it means and, where somebody can do something, what.
    pub(super) meaning: &'static str,
}

/// One source.
pub(super) struct Source {
    /// Address, or `others`.
    pub(super) source: String,
    /// Its protocol.
    pub(super) protocol: String,
    /// Received from it.
    pub(super) received: String,
    /// Handled by the engine.
    pub(super) accepted: String,
    /// Given up.
    pub(super) dropped: String,
    /// Whether that is so much that somebody should look.
    pub(super) alarming: bool,
}

/// Makes the lines: one for each protocol, then the sum.
pub(super) fn lines(ledger: &Ledger) -> Vec<Line> {
    let protocols = ledger.by_protocol.iter().map(|(name, account)| line(name, account, false));
    protocols.chain([line("All", &ledger.totals, true)]).collect()
}

/// Makes the list of reasons, most frequent first.
pub(super) fn reasons(ledger: &Ledger) -> Vec<Reason> {
    let mut dropped: Vec<_> = ledger.totals.dropped.iter().filter(|(_, count)| **count > 0).collect();
    dropped.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    dropped.into_iter().map(|(name, count)| Reason { name: name.clone(), count: figures::count(*count), meaning: meaning(name) }).collect()
}

/// Makes the list of sources, as the gateway sorted them.
pub(super) fn sources(sources: &[SourceAccount]) -> Vec<Source> {
    let source = |one: &SourceAccount| Source {
        source: one.source.clone(),
        protocol: one.protocol.clone(),
        received: figures::count(one.account.received),
        accepted: figures::count(one.account.accepted),
        dropped: figures::count(sum_dropped(&one.account)),
        alarming: is_alarming(one.account.received, sum_dropped(&one.account)),
    };
    sources.iter().map(source).collect()
}

fn line(name: &str, account: &Account, total: bool) -> Line {
    let dropped = sum_dropped(account);
    let right = account.accepted.saturating_add(account.in_flight).saturating_add(dropped);
    let share = share(account, dropped);
    Line {
        name: name.to_owned(),
        total,
        received: figures::count(account.received),
        accepted: figures::count(account.accepted),
        in_flight: figures::count(account.in_flight),
        dropped: figures::count(dropped),
        alarming: is_alarming(account.received, dropped),
        balanced: account.received == right,
        off_by: figures::count(account.received.abs_diff(right)),
        share,
        share_text: format!("accepted {} ‰, in flight {} ‰, dropped {} ‰", share.0, share.1, share.2),
    }
}

/// Adds up what was dropped for any reason.
pub(super) fn sum_dropped(account: &Account) -> u64 {
    account.dropped.values().fold(0, |sum, count| sum.saturating_add(*count))
}

/// Some noise is always dropped (scans, duplicates); from one in a thousand on it deserves a colour.
pub(super) fn is_alarming(received: u64, dropped: u64) -> bool {
    dropped > 0 && dropped >= received / 1000
}

/// Thousandths of received. What is not nothing is wide enough to be seen.
fn share(account: &Account, dropped: u64) -> (u64, u64, u64) {
    let part = |number: u64| match u128::from(number) * 1000 / u128::from(account.received.max(1)) {
        0..8 if number > 0 => 8,
        thousandths => u64::try_from(thousandths.min(1000)).unwrap_or(1000),
    };
    let (in_flight, dropped) = (part(account.in_flight), part(dropped));
    let rest = 1000_u64.saturating_sub(in_flight).saturating_sub(dropped);
    (if account.received == 0 { 0 } else { part(account.accepted).min(rest) }, in_flight, dropped)
}

pub(super) fn meaning(reason: &str) -> &'static str {
    match reason {
        "bad_community" => "The configuration does not grant this community to this source.",
        "bad_signature" => "The key or signature of a push does not fit.",
        "connection_lost" => "The connection ended in the middle of a message.",
        "decryption_failed" => "An SNMPv3 message that cannot be decrypted: see the waiting room.",
        "discovery" => "An SNMPv3 sender that asked for our engine ID or clock; it was told.",
        "duplicate" => "An inform or push that was already taken in; it was answered again.",
        "kernel_buffer" => "The socket's receive buffer was full: enlarge it or limit the busiest source.",
        "level_too_low" => "An SNMPv3 message with less protection than its user must have: see the waiting room.",
        "malformed" => "The bytes are not a message of the protocol.",
        "not_in_time_window" => "An SNMPv3 message that is too old: a replaced device, or a replay. See the waiting room.",
        "not_authentic" => "The sender had to prove who it is and did not.",
        "queue_full" => "The gateway could not keep up: more arrived than its processor can handle.",
        "rate_limited" => "More than one source may send.",
        "replayed" => "A signed push or an authentic notification that was already seen.",
        "shutdown" => "The gateway was stopping.",
        "source_denied" => "The configuration does not allow this source.",
        "spool_failed" => "The spool could not take it: look at the gateway's disk.",
        "too_long" => "Longer than the protocol's bound.",
        "too_many" => "More varbinds or events than the bound.",
        "unknown_engine" => "No SNMPv3 user is bound to this engine from this source: see the waiting room.",
        "unknown_user" => "No SNMPv3 user of this name is bound to this engine: see the waiting room.",
        "unsupported_version" => "An SNMP version that is not spoken here.",
        "wrong_digest" => "An SNMPv3 message that cannot be authenticated: see the waiting room.",
        "wrong_pdu" => "An SNMP message that is neither a trap nor an inform.",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn account(received: u64, accepted: u64, in_flight: u64, dropped: u64) -> Account {
        Account { received, accepted, in_flight, dropped: BTreeMap::from([("queue_full".to_owned(), dropped)]) }
    }

    #[test]
    fn a_line_says_whether_it_balances() {
        let good = line("syslog", &account(1000, 900, 40, 60), false);
        assert!(good.balanced);
        assert_eq!((good.accepted.as_str(), good.share), ("900", (900, 40, 60)));
        let wrong = line("syslog", &account(1000, 900, 40, 50), false);
        assert_eq!((wrong.balanced, wrong.off_by.as_str()), (false, "10"));
    }

    #[test]
    fn a_single_drop_among_millions_is_seen() {
        assert_eq!(share(&account(5_000_000, 4_999_999, 0, 1), 1), (992, 0, 8));
        assert_eq!(share(&account(0, 0, 0, 0), 0), (0, 0, 0));
    }
}
