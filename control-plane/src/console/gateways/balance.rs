//! The balance as a drawing: what was received above the axis, what became of it below, in the same scale; what does not add up in
//! red. Pure: numbers in, places of rectangles out; `balance.html` writes them.

use std::collections::BTreeMap;

use postern_protocol::timestamp::Timestamp;

use super::ledger;
use crate::balance::{Balance, Bar};
use crate::console::figures;
use crate::rfc3339;
use crate::store::minutes::Span;

/// The drawing's width, in its own units; `balance.html` has its height.
const WIDTH: f64 = 960.0;

/// Where the axis is, and how far the bars may reach from it.
const AXIS: f64 = 106.0;
const REACH: f64 = 92.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 4.0;

/// What is not nothing is seen.
const LEAST: f64 = 1.5;

/// Reasons that have a colour of their own; the others share one.
const COLOURS: usize = 4;

/// How long a drawing reaches, and how wide its bars are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scale {
    /// Its name in addresses.
    pub(super) name: &'static str,
    /// What a person reads.
    pub(super) text: &'static str,
    /// Minutes in all.
    pub(super) minutes: u64,
    /// Minutes of a bar.
    pub(super) bar: u64,
}

/// All scales, the shortest first.
pub(super) const SCALES: [Scale; 4] = [
    Scale { name: "1h", text: "1 hour", minutes: 60, bar: 1 },
    Scale { name: "6h", text: "6 hours", minutes: 360, bar: 5 },
    Scale { name: "24h", text: "24 hours", minutes: 1440, bar: 15 },
    Scale { name: "7d", text: "7 days", minutes: 10_080, bar: 60 },
];

/// The scale of a gateway's own page, and of an address that names none.
pub(super) const USUAL: Scale = Scale { name: "6h", text: "6 hours", minutes: 360, bar: 5 };

/// One rectangle of a bar.
pub(super) struct Piece {
    pub(super) class: String,
    pub(super) y: String,
    pub(super) height: String,
}

/// One bar.
pub(super) struct Column {
    pub(super) x: String,
    pub(super) width: String,
    /// The space of the whole bar, for the mouse and for the marks of faults.
    pub(super) slot_x: String,
    pub(super) slot_width: String,
    pub(super) from: u64,
    pub(super) pieces: Vec<Piece>,
    pub(super) title: String,
    pub(super) gap: bool,
    pub(super) missing: bool,
    pub(super) chosen: bool,
}

/// A time at the foot of the drawing.
pub(super) struct Tick {
    pub(super) x: String,
    pub(super) text: String,
}

/// One reason, its colour and its sum.
pub(super) struct Dropped {
    pub(super) class: String,
    pub(super) name: String,
    pub(super) count: String,
    pub(super) meaning: &'static str,
}

/// A fault in words.
pub(super) struct FaultLine {
    pub(super) from: u64,
    pub(super) text: String,
}

/// The whole drawing.
pub(super) struct Chart {
    pub(super) accepted: String,
    pub(super) columns: Vec<Column>,
    pub(super) dropped: Vec<Dropped>,
    pub(super) dropped_sum: String,
    /// The newest faults.
    pub(super) faults: Vec<FaultLine>,
    pub(super) faults_more: usize,
    pub(super) in_flight: String,
    pub(super) known: bool,
    pub(super) label: String,
    pub(super) received: String,
    pub(super) ticks: Vec<Tick>,
    pub(super) top: String,
}

/// Most faults that are listed.
const MAX_FAULTS: usize = 5;

impl Chart {
    /// Draws `balance` over `span` in bars of `scale`; the bar that begins at `chosen` is marked.
    pub(super) fn new(balance: &Balance, span: Span, scale: Scale, chosen: Option<u64>) -> Self {
        let bars = balance.bars(span, scale.bar);
        let colours = Colours::new(&balance.totals.dropped);
        let top = bars.iter().map(tallest).max().unwrap_or(0).max(1);
        let slot = (WIDTH - LEFT - RIGHT) / (bars.len().max(1) as f64);
        let columns: Vec<Column> = bars.iter().enumerate().map(|(at, bar)| column(bar, at, slot, top, &colours, chosen)).collect();
        let mut faults: Vec<FaultLine> = bars.iter().rev().filter(|bar| bar.gap > 0 || bar.missing > 0).map(fault).collect();
        let faults_more = faults.len().saturating_sub(MAX_FAULTS);
        faults.truncate(MAX_FAULTS);
        let totals = &balance.totals;
        Self {
            accepted: figures::count(totals.accepted),
            columns,
            dropped: colours.legend(&totals.dropped),
            dropped_sum: figures::count(totals.dropped_sum()),
            faults,
            faults_more,
            in_flight: signed(totals.in_flight_change),
            known: bars.iter().any(|bar| bar.known),
            label: label(balance, scale),
            received: figures::count(totals.received),
            ticks: ticks(span, scale),
            top: figures::count(top),
        }
    }
}

/// Which reason has which colour: the most frequent ones have their own.
struct Colours(BTreeMap<String, usize>);

impl Colours {
    fn new(dropped: &BTreeMap<String, u64>) -> Self {
        let mut reasons: Vec<_> = dropped.iter().filter(|(_, count)| **count > 0).collect();
        reasons.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        Self(reasons.into_iter().enumerate().map(|(at, (name, _))| (name.clone(), at.min(COLOURS))).collect())
    }

    fn of(&self, reason: &str) -> usize {
        self.0.get(reason).copied().unwrap_or(COLOURS)
    }

    fn legend(&self, dropped: &BTreeMap<String, u64>) -> Vec<Dropped> {
        let mut reasons: Vec<_> = dropped.iter().filter(|(_, count)| **count > 0).collect();
        reasons.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        let line = |(name, count): (&String, &u64)| Dropped {
            class: format!("drop-{}", self.of(name)),
            name: name.clone(),
            count: figures::count(*count),
            meaning: ledger::meaning(name),
        };
        reasons.into_iter().map(line).collect()
    }
}

/// How high a bar reaches on its higher side.
fn tallest(bar: &Bar) -> u64 {
    let settled = bar.entry.in_flight_change.min(0).unsigned_abs();
    let waiting = bar.entry.in_flight_change.max(0).unsigned_abs();
    let below = bar.entry.accepted.saturating_add(bar.entry.dropped_sum()).saturating_add(waiting);
    bar.entry.received.saturating_add(settled).max(below)
}

fn column(bar: &Bar, at: usize, slot: f64, top: u64, colours: &Colours, chosen: Option<u64>) -> Column {
    let x = LEFT + slot * (at as f64);
    let height = |number: u64| if number == 0 { 0.0 } else { (REACH * (number as f64) / (top as f64)).max(LEAST) };
    let mut pieces = Vec::new();
    let mut up = AXIS - 1.0;
    for (class, number) in [("received", bar.entry.received), ("in-flight", bar.entry.in_flight_change.min(0).unsigned_abs())] {
        up -= height(number);
        push(&mut pieces, class.to_owned(), up, height(number));
    }
    let mut down = AXIS + 1.0;
    let mut below = |class: String, number: u64| {
        push(&mut pieces, class, down, height(number));
        down += height(number);
    };
    below("accepted".to_owned(), bar.entry.accepted);
    below("in-flight".to_owned(), bar.entry.in_flight_change.max(0).unsigned_abs());
    let mut dropped = [0_u64; COLOURS + 1];
    for (reason, count) in &bar.entry.dropped {
        if let Some(sum) = dropped.get_mut(colours.of(reason)) {
            *sum = sum.saturating_add(*count);
        }
    }
    for (colour, number) in dropped.into_iter().enumerate() {
        below(format!("drop-{colour}"), number);
    }
    let space = if slot > 6.0 { 1.5 } else { 0.6 };
    Column {
        x: coordinate(x + space / 2.0),
        width: coordinate(slot - space),
        slot_x: coordinate(x),
        slot_width: coordinate(slot),
        from: bar.span.from,
        pieces,
        title: title(bar),
        gap: bar.gap > 0,
        missing: bar.missing > 0,
        chosen: chosen == Some(bar.span.from),
    }
}

fn push(pieces: &mut Vec<Piece>, class: String, y: f64, height: f64) {
    if height > 0.0 {
        pieces.push(Piece { class, y: coordinate(y), height: coordinate(height) });
    }
}

fn coordinate(value: f64) -> String {
    format!("{value:.1}")
}

fn title(bar: &Bar) -> String {
    let when = span_text(bar.span);
    if !bar.known {
        return if bar.missing > 0 { format!("{when}: no report although the gateway was up") } else { format!("{when}: no report") };
    }
    let entry = &bar.entry;
    let dropped = entry.dropped.iter().filter(|(_, count)| **count > 0).map(|(name, count)| format!("{name} {}", figures::count(*count)));
    let dropped: Vec<_> = dropped.collect();
    let mut text = format!(
        "{when}: received {} = accepted {} + dropped {} + in flight {}",
        figures::count(entry.received),
        figures::count(entry.accepted),
        figures::count(entry.dropped_sum()),
        signed(entry.in_flight_change)
    );
    if !dropped.is_empty() {
        text.push_str(&format!(" ({})", dropped.join(", ")));
    }
    if bar.gap > 0 {
        text.push_str(&format!("; {} unaccounted for", figures::count(bar.gap)));
    }
    if bar.missing > 0 {
        text.push_str(&format!("; {} without a report", figures::counted(usize::try_from(bar.missing).unwrap_or(usize::MAX), "minute")));
    }
    text
}

fn fault(bar: &Bar) -> FaultLine {
    let when = span_text(bar.span);
    let mut what = Vec::new();
    if bar.gap > 0 {
        what.push(format!("{} unaccounted for", figures::count(bar.gap)));
    }
    if bar.missing > 0 {
        what.push(format!("{} without a report", figures::counted(usize::try_from(bar.missing).unwrap_or(usize::MAX), "minute")));
    }
    FaultLine { from: bar.span.from, text: format!("{when}: {}", what.join(", ")) }
}

/// Writes a number with its sign, nothing before a zero.
pub(super) fn signed(number: i64) -> String {
    let text = figures::count(number.unsigned_abs());
    match number {
        0 => text,
        1.. => format!("+{text}"),
        _ => format!("−{text}"),
    }
}

fn label(balance: &Balance, scale: Scale) -> String {
    let totals = &balance.totals;
    let faults = balance.minutes.iter().filter(|one| one.entry.gap() != 0).count();
    let judged = if faults == 0 && balance.missing.is_empty() { "no gap" } else { "with gaps" };
    format!(
        "Balance of {}: received {}, accepted {}, dropped {}; {judged}",
        scale.text,
        figures::count(totals.received),
        figures::count(totals.accepted),
        figures::count(totals.dropped_sum())
    )
}

/// Six or so times at round places.
fn ticks(span: Span, scale: Scale) -> Vec<Tick> {
    let step = match scale.minutes {
        0..=60 => 10,
        61..=360 => 60,
        361..=1440 => 240,
        _ => 1440,
    };
    let width = WIDTH - LEFT - RIGHT;
    let mut ticks = Vec::new();
    let mut minute = span.from.div_ceil(step).saturating_mul(step);
    while minute < span.to {
        let part = (minute.saturating_sub(span.from) as f64) / (span.minutes().max(1) as f64);
        let text = if step == 1440 { date(minute) } else { clock(minute) };
        // One at the very edge would be cut off.
        if part < 0.96 {
            ticks.push(Tick { x: coordinate(LEFT + width * part), text });
        }
        minute = minute.saturating_add(step);
    }
    ticks
}

/// Writes the span of a bar, to the minute, in UTC.
pub(super) fn span_text(span: Span) -> String {
    if span.minutes() <= 1 {
        return format!("{} {} UTC", date(span.from), clock(span.from));
    }
    format!("{} {} to {} UTC", date(span.from), clock(span.from), clock(span.to))
}

fn clock(minute: u64) -> String {
    written(minute).get(11..16).unwrap_or_default().to_owned()
}

fn date(minute: u64) -> String {
    written(minute).get(..10).unwrap_or_default().to_owned()
}

fn written(minute: u64) -> String {
    rfc3339::format(at(minute))
}

/// Returns the time at which a minute begins.
pub(super) fn at(minute: u64) -> Timestamp {
    Timestamp::from_secs(i64::try_from(minute.saturating_mul(60)).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::minutes::{Minute, Minutes};
    use postern_protocol::status::Account;

    fn chart(minutes: Vec<Minute>, chosen: Option<u64>) -> Chart {
        let span = Span { from: 0, to: 60 };
        let (first, last) = (minutes.first().map(|one| one.minute), minutes.last().map(|one| one.minute));
        let found = Minutes { minutes, before: BTreeMap::new(), first, last };
        Chart::new(&Balance::new(found, span, Some(Timestamp::from_secs(0))), span, SCALES[0], chosen)
    }

    fn minute(minute: u64, received: u64, accepted: u64, dropped: u64) -> Minute {
        let dropped = BTreeMap::from([("queue_full".to_owned(), dropped)]);
        Minute { minute, protocol: "syslog".into(), account: Account { received, accepted, in_flight: 0, dropped }, sources: Vec::new() }
    }

    #[test]
    fn a_balanced_bar_reaches_as_far_up_as_down() {
        let chart = chart(vec![minute(1, 100, 60, 40), minute(2, 50, 50, 0)], Some(2));
        let heights = |class: &str| {
            let pieces = chart.columns[1].pieces.iter().filter(|piece| piece.class == class);
            pieces.map(|piece| piece.height.parse::<f64>().unwrap()).sum::<f64>()
        };
        assert!((heights("received") - heights("accepted") - heights("drop-0")).abs() < 0.2);
        assert!(!chart.columns[1].gap && chart.columns[2].chosen && chart.faults.is_empty());
    }

    #[test]
    fn gaps_and_missing_minutes_are_marked_and_said() {
        let chart = chart(vec![minute(1, 100, 60, 39), minute(4, 1, 1, 0)], None);
        let marked: Vec<_> = chart.columns.iter().map(|column| (column.gap, column.missing)).take(5).collect();
        assert_eq!(marked, [(false, false), (true, false), (false, true), (false, true), (false, false)]);
        assert_eq!(chart.faults.len(), 3);
        assert!(chart.faults[2].text.ends_with("00:01 UTC: 1 unaccounted for"), "{}", chart.faults[2].text);
    }

    #[test]
    fn one_drop_among_millions_is_seen() {
        let chart = chart(vec![minute(1, 5_000_000, 4_999_999, 1)], None);
        assert!(chart.columns[1].pieces.iter().any(|piece| piece.class == "drop-0" && piece.height == "1.5"));
    }
}
