//! Bounds the ledger's minutes that a gateway sends. Pure; what does not fit is left out: a newer gateway may know more.

use std::collections::BTreeMap;

use postern_protocol::message::{LedgerMinute, LedgerMinutes, SourceMinute};
use postern_protocol::status::{Account, SourceAccount};
use postern_protocol::timestamp::Timestamp;

use crate::store::minutes::{KEPT_MINUTES, Minute, minute_of};

/// Most entries of one message: a day of every protocol, and some more.
const MAX_ENTRIES: usize = 3 * 1440 + 64;

/// Most sources of one minute and protocol.
const MAX_SOURCES: usize = 16;

/// Most reasons of one account, and most bytes of a name.
const MAX_REASONS: usize = 64;
const MAX_NAME_BYTES: usize = 64;

/// How far a gateway's clock may be ahead, in minutes.
const MAX_AHEAD: u64 = 10;

/// What has a ledger.
const PROTOCOLS: [&str; 3] = ["push", "snmp_trap", "syslog"];

/// Takes what can be kept.
pub(super) fn bounded(message: LedgerMinutes, now: Timestamp) -> Vec<Minute> {
    let present = minute_of(now);
    let kept = present.saturating_sub(KEPT_MINUTES)..=present.saturating_add(MAX_AHEAD);
    let known = |one: &LedgerMinute| kept.contains(&one.minute) && PROTOCOLS.contains(&one.protocol.as_str());
    message.minutes.into_iter().filter(known).take(MAX_ENTRIES).map(minute).collect()
}

fn minute(one: LedgerMinute) -> Minute {
    let protocol = one.protocol;
    let account = Account { received: one.received, accepted: one.accepted, in_flight: one.in_flight, dropped: reasons(one.dropped) };
    let named = |source: &SourceMinute| (1..=MAX_NAME_BYTES).contains(&source.source.len()) && !source.source.chars().any(char::is_control);
    let source = |source: SourceMinute| SourceAccount {
        source: source.source,
        protocol: protocol.clone(),
        account: Account { received: source.received, accepted: source.accepted, in_flight: 0, dropped: reasons(source.dropped) },
    };
    let sources = one.sources.into_iter().filter(named).take(MAX_SOURCES).map(source).collect();
    Minute { minute: one.minute, protocol: protocol.clone(), account, sources }
}

/// Keeps every count: what has no good name goes under `others`.
fn reasons(dropped: BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let good = |name: &str| {
        (1..=MAX_NAME_BYTES).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    let mut kept = BTreeMap::new();
    for (name, count) in dropped.into_iter().filter(|(_, count)| *count > 0) {
        let name = if good(&name) && kept.len() < MAX_REASONS { name } else { "others".to_owned() };
        let sum: &mut u64 = kept.entry(name).or_default();
        *sum = sum.saturating_add(count);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(60 * 100_000);

    fn entry(minute: u64, protocol: &str) -> LedgerMinute {
        LedgerMinute { minute, protocol: protocol.to_owned(), received: 5, accepted: 5, ..LedgerMinute::default() }
    }

    #[test]
    fn only_known_protocols_of_the_last_thirty_days_are_kept() {
        let minutes = vec![
            entry(100_000, "syslog"),
            entry(100_000, "<script>"),
            entry(100_000 - KEPT_MINUTES - 1, "syslog"),
            entry(100_011, "push"),
            entry(100_010, "push"),
        ];
        let kept = bounded(LedgerMinutes { minutes }, NOW);
        assert_eq!(kept.iter().map(|one| one.minute).collect::<Vec<_>>(), [100_000, 100_010]);
    }

    #[test]
    fn a_flood_of_entries_sources_and_reasons_is_cut_and_no_count_is_lost() {
        let mut one = entry(100_000, "syslog");
        one.dropped = (0..1000).map(|n| (format!("reason_{n}"), 1)).chain([("<b>".to_owned(), 1)]).collect();
        one.sources = (0..1000).map(|n| SourceMinute { source: format!("10.0.0.{n}"), ..SourceMinute::default() }).collect();
        let kept = bounded(LedgerMinutes { minutes: vec![one; 10_000] }, NOW);
        assert_eq!((kept.len(), kept[0].sources.len()), (MAX_ENTRIES, MAX_SOURCES));
        assert!(kept[0].account.dropped.len() <= MAX_REASONS + 1);
        assert_eq!(kept[0].account.dropped.values().sum::<u64>(), 1001);
    }
}
