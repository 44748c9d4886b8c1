//! The balance of a gateway's ledger over some minutes: received = accepted + Σ dropped + the change of what is in flight. Pure.
//!
//! What does not add up is a gap, and so is a minute without a word while the gateway was up. The API and the console show it.

use std::collections::BTreeMap;

use postern_protocol::status::Account;
use postern_protocol::timestamp::Timestamp;

use crate::store::minutes::{self, Minute, Minutes, Span};

/// What one protocol, or all, received in one minute or more, and what became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Everything that reached the sockets.
    pub received: u64,
    /// Handled by the engine.
    pub accepted: u64,
    /// Given up, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// By how much more is in flight at the end than at the beginning.
    pub in_flight_change: i64,
}

impl Entry {
    /// Returns what was given up for any reason.
    pub fn dropped_sum(&self) -> u64 {
        self.dropped.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Returns what nobody can account for: more than nothing when something vanished, less when something came from nowhere.
    pub fn gap(&self) -> i64 {
        let known = i128::from(self.accepted) + i128::from(self.dropped_sum()) + i128::from(self.in_flight_change);
        let gap = i128::from(self.received) - known;
        i64::try_from(gap).unwrap_or(if gap > 0 { i64::MAX } else { i64::MIN })
    }

    /// Adds an account; `in_flight_before` is what was in flight at its beginning.
    pub fn add(&mut self, account: &Account, in_flight_before: u64) {
        self.received = self.received.saturating_add(account.received);
        self.accepted = self.accepted.saturating_add(account.accepted);
        for (reason, count) in &account.dropped {
            let sum = self.dropped.entry(reason.clone()).or_default();
            *sum = sum.saturating_add(*count);
        }
        let change = i128::from(account.in_flight) - i128::from(in_flight_before);
        self.in_flight_change = self.in_flight_change.saturating_add(i64::try_from(change).unwrap_or(0));
    }
}

/// One minute of one protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MinuteEntry {
    /// Minutes since the Unix epoch.
    pub minute: u64,
    /// `snmp_trap`, `syslog` or `push`.
    pub protocol: String,
    /// What was in flight at its end.
    pub in_flight: u64,
    /// The equation.
    pub entry: Entry,
}

/// The balance of a span.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// By ascending minute and protocol.
    pub minutes: Vec<MinuteEntry>,
    /// Minutes of which nothing is known although the gateway was up, as spans.
    pub missing: Vec<Span>,
    /// Over all protocols and minutes.
    pub totals: Entry,
}

impl Balance {
    /// Draws the balance of `span`; `started` is when the gateway's present run began, when it is known.
    pub fn new(found: Minutes, span: Span, started: Option<Timestamp>) -> Self {
        let missing = missing(&found, span, started);
        let mut in_flight = found.before;
        let mut totals = Entry::default();
        let mut entries = Vec::with_capacity(found.minutes.len());
        for Minute { minute, protocol, account, .. } in found.minutes {
            let before = in_flight.insert(protocol.clone(), account.in_flight).unwrap_or(0);
            let mut entry = Entry::default();
            entry.add(&account, before);
            totals.add(&account, before);
            entries.push(MinuteEntry { minute, protocol, in_flight: account.in_flight, entry });
        }
        Self { minutes: entries, missing, totals }
    }

    /// Adds minutes up into bars of `width` minutes each, the first beginning with `span`.
    pub fn bars(&self, span: Span, width: u64) -> Vec<Bar> {
        let width = width.max(1);
        let mut bars: Vec<Bar> = (0..span.minutes().div_ceil(width))
            .map(|place| {
                let from = span.from.saturating_add(place.saturating_mul(width));
                Bar { span: Span { from, to: from.saturating_add(width).min(span.to) }, ..Bar::default() }
            })
            .collect();
        let place = |minute: u64| usize::try_from(minute.saturating_sub(span.from) / width).unwrap_or(usize::MAX);
        for one in &self.minutes {
            if let Some(bar) = bars.get_mut(place(one.minute)) {
                bar.add(one);
            }
        }
        for minute in self.missing.iter().flat_map(|span| span.from..span.to) {
            if let Some(bar) = bars.get_mut(place(minute)) {
                bar.missing = bar.missing.saturating_add(1);
            }
        }
        bars
    }
}

/// Some minutes of all protocols.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bar {
    /// Which minutes.
    pub span: Span,
    /// The equation over all of them.
    pub entry: Entry,
    /// What nobody can account for, every minute's and protocol's apart, so that none makes up for another.
    pub gap: u64,
    /// How many of the minutes are missing.
    pub missing: u64,
    /// Whether anything is known of any of them.
    pub known: bool,
}

impl Default for Bar {
    fn default() -> Self {
        Self { span: Span { from: 0, to: 0 }, entry: Entry::default(), gap: 0, missing: 0, known: false }
    }
}

impl Bar {
    fn add(&mut self, one: &MinuteEntry) {
        let account =
            Account { received: one.entry.received, accepted: one.entry.accepted, in_flight: 0, dropped: one.entry.dropped.clone() };
        self.entry.add(&account, 0);
        self.entry.in_flight_change = self.entry.in_flight_change.saturating_add(one.entry.in_flight_change);
        self.gap = self.gap.saturating_add(one.entry.gap().unsigned_abs());
        self.known = true;
    }
}

/// Minutes of `span` without any row, between rows: a gateway sends one for every minute that it was up. Before its present run it
/// may have been down, which nobody here can know.
fn missing(found: &Minutes, span: Span, started: Option<Timestamp>) -> Vec<Span> {
    let (Some(first), Some(last), Some(started)) = (found.first, found.last, started) else { return Vec::new() };
    let from = span.from.max(first).max(minutes::minute_of(started).saturating_add(1));
    let to = span.to.min(last);
    let mut missing: Vec<Span> = Vec::new();
    let mut rows = found.minutes.iter().map(|one| one.minute).peekable();
    let mut minute = from;
    while minute < to {
        while rows.next_if(|row| *row < minute).is_some() {}
        match rows.peek() {
            Some(row) if *row == minute => minute = minute.saturating_add(1),
            next => {
                let until = next.copied().unwrap_or(to).min(to);
                missing.push(Span { from: minute, to: until });
                minute = until;
            }
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(minute: u64, received: u64, accepted: u64, in_flight: u64) -> Minute {
        let account = Account { received, accepted, in_flight, dropped: BTreeMap::from([("queue_full".to_owned(), 1)]) };
        Minute { minute, protocol: "syslog".into(), account, sources: Vec::new() }
    }

    fn found(minutes: Vec<Minute>) -> Minutes {
        let (first, last) = (minutes.first().map(|one| one.minute), minutes.last().map(|one| one.minute));
        Minutes { minutes, before: BTreeMap::from([("syslog".to_owned(), 3)]), first, last }
    }

    const SPAN: Span = Span { from: 10, to: 20 };

    #[test]
    fn what_is_in_flight_is_settled_in_the_next_minute() {
        let balance = Balance::new(found(vec![minute(10, 10, 10, 2), minute(11, 10, 11, 0)]), SPAN, None);
        assert_eq!(balance.minutes.iter().map(|one| one.entry.gap()).collect::<Vec<_>>(), [0, 0]);
        assert_eq!((balance.totals.in_flight_change, balance.totals.gap()), (-3, 0));
    }

    #[test]
    fn gaps_of_both_signs_do_not_make_up_for_one_another() {
        let balance = Balance::new(found(vec![minute(10, 10, 9, 3), minute(11, 10, 4, 3), minute(12, 10, 14, 3)]), SPAN, None);
        let bars = balance.bars(SPAN, 5);
        assert_eq!((bars.len(), bars[0].gap, bars[0].entry.gap(), bars[1].known), (2, 10, 0, false));
    }

    #[test]
    fn a_minute_without_a_word_is_missing_only_while_the_gateway_was_up() {
        let rows = || found(vec![minute(10, 4, 3, 3), minute(12, 4, 3, 3), minute(16, 4, 3, 3)]);
        let since = |minute: i64| Some(Timestamp::from_secs(minute * 60));
        assert_eq!(Balance::new(rows(), SPAN, since(1)).missing, [Span { from: 11, to: 12 }, Span { from: 13, to: 16 }]);
        assert_eq!(Balance::new(rows(), SPAN, since(14)).missing, [Span { from: 15, to: 16 }]);
        assert_eq!(Balance::new(rows(), SPAN, None).missing, []);
        assert_eq!(Balance::new(rows(), SPAN, since(1)).bars(SPAN, 5).iter().map(|bar| bar.missing).collect::<Vec<_>>(), [3, 1]);
    }
}
