//! Silence: which sources were heard when, the rhythm that each has, and which of them say nothing any more.
//!
//! Time in which the gateway itself did not run, or in which its clock jumped, is nobody's silence.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use postern_protocol::timestamp::Timestamp;

use crate::rule::Sender;

/// Most sources that are watched; of more, the one that was not heard for longest is forgotten.
const MAX_SOURCES: usize = 20_000;

/// Most bytes of a name by which sources are told apart.
const MAX_NAME_BYTES: usize = 256;

/// Gaps that are needed before there is a rhythm, and that the mean is made of at most.
const MIN_GAPS: u32 = 8;
const MAX_GAPS: u32 = 64;

/// What follows so soon is one report in several.
const MIN_GAP: Duration = Duration::from_secs(1);

/// Nobody is silent sooner by a rhythm that was learned.
const MIN_LEARNED: Duration = Duration::from_secs(900);

/// So many times the heartbeat, or the rhythm, unless the document says otherwise.
const TIMES_HEARTBEAT: u32 = 3;
const TIMES_RHYTHM: u32 = 12;

/// Between two ticks that are further apart, the gateway did not run.
const MAX_TICK: Duration = Duration::from_secs(30);

/// How long a source may say nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Patience {
    /// The heartbeat; learned when none.
    pub(super) every: Option<Duration>,
    pub(super) times: Option<u32>,
}

/// The sources.
#[derive(Debug, Default)]
pub(super) struct Silences {
    sources: Vec<Source>,
    by_address: HashMap<IpAddr, u32>,
    by_name: HashMap<Box<str>, u32>,
    /// Places by a time that is not later than that at which each was last heard.
    filed: BTreeSet<(Timestamp, u32)>,
    /// Sources that a document lists and that were never heard: the watch, since when, and whether that was told.
    expected: BTreeMap<String, Expected>,
    last_tick: Option<Timestamp>,
    forgotten: u64,
}

/// A source that was heard.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Source {
    /// Its address, where that is its name.
    pub(super) name: Name,
    /// Where it is, for what the document knows of networks.
    pub(super) address: IpAddr,
    pub(super) last: Timestamp,
    /// The mean of the gaps between its reports, and the longest of late.
    pub(super) mean: Duration,
    pub(super) longest: Duration,
    pub(super) gaps: u32,
    pub(super) silent: bool,
    /// The silence of the document that watches it.
    pub(super) watch: Option<usize>,
    filed: Timestamp,
}

/// What a source is called.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Name {
    Address(IpAddr),
    Text(Box<str>),
}

/// A source that is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) watch: usize,
    pub(super) since: Timestamp,
    pub(super) silent: bool,
}

/// What a report of a source means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// As before.
    Known,
    /// It is heard for the first time, or was forgotten.
    New,
    /// It was silent.
    Again,
}

/// A source that is silent from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Silent {
    pub(super) name: String,
    pub(super) address: Option<IpAddr>,
    pub(super) watch: usize,
    /// When it was last heard; since when it was waited for, if it never was.
    pub(super) since: Timestamp,
    /// The heartbeat, or the rhythm.
    pub(super) usual: Duration,
    pub(super) ever_heard: bool,
}

impl Name {
    /// Returns it as alerts have it.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Address(address) => crate::value::address(*address),
            Self::Text(text) => text.to_string(),
        }
    }
}

impl Silences {
    /// Notes that a source was heard; `watch` says which silence of the document is about a new one.
    pub(super) fn heard(&mut self, (sender, address): (Sender<'_>, IpAddr), at: Timestamp, watch: impl FnOnce() -> Option<usize>) -> Heard {
        let known = match sender {
            Sender::Address(address) => self.by_address.get(&address),
            Sender::Name(name) => self.by_name.get(bounded(name)),
        };
        if let Some(source) = known.and_then(|place| self.sources.get_mut(*place as usize)) {
            source.address = address;
            return if source.report(at) { Heard::Again } else { Heard::Known };
        }
        let name = match sender {
            Sender::Address(address) => Name::Address(address),
            Sender::Name(name) => Name::Text(bounded(name).into()),
        };
        self.put(Source { watch: watch(), ..Source::new(name, address, at) });
        Heard::New
    }

    /// Puts a source in; the one that was not heard for longest goes when there is no room.
    pub(super) fn put(&mut self, mut source: Source) {
        source.filed = source.last;
        let place = if self.sources.len() < MAX_SOURCES {
            let place = u32::try_from(self.sources.len()).unwrap_or(u32::MAX);
            self.sources.push(source.clone());
            place
        } else {
            let Some(place) = self.free_oldest() else { return };
            if let Some(old) = self.sources.get_mut(place as usize) {
                *old = source.clone();
            }
            place
        };
        self.filed.insert((source.filed, place));
        match source.name {
            Name::Address(address) => self.by_address.insert(address, place),
            Name::Text(text) => self.by_name.insert(text, place),
        };
    }

    fn free_oldest(&mut self) -> Option<u32> {
        loop {
            let (filed, place) = self.filed.pop_first()?;
            let Some(source) = self.sources.get_mut(place as usize) else { continue };
            if source.last != filed {
                source.filed = source.last;
                self.filed.insert((source.last, place));
                continue;
            }
            match &source.name {
                Name::Address(address) => self.by_address.remove(address),
                Name::Text(text) => self.by_name.remove(text),
            };
            self.forgotten = self.forgotten.saturating_add(1);
            return Some(place);
        }
    }

    /// Takes note of the time; what passed while the gateway did not run, or what its clock was set by, is added to every source's.
    pub(super) fn advance(&mut self, now: Timestamp) {
        let Some(last) = self.last_tick.replace(now) else { return };
        if last <= now && now.saturating_since(last) <= MAX_TICK {
            return;
        }
        let jump = now.as_nanos().saturating_sub(last.as_nanos());
        let shifted = |time: Timestamp| Timestamp::from_nanos(time.as_nanos().saturating_add(jump));
        self.filed.clear();
        for (source, place) in self.sources.iter_mut().zip(0..) {
            source.last = shifted(source.last);
            source.filed = source.last;
            self.filed.insert((source.last, place));
        }
        for expected in self.expected.values_mut() {
            expected.since = shifted(expected.since);
        }
    }

    /// Returns the sources that are silent from now on, in the order of their names.
    pub(super) fn tick(&mut self, now: Timestamp, watches: &[Patience]) -> Vec<Silent> {
        let mut silent = Vec::new();
        for source in self.sources.iter_mut().filter(|source| !source.silent) {
            let Some((watch, patience)) = source.watch.and_then(|watch| Some((watch, watches.get(watch)?))) else { continue };
            let Some((usual, limit)) = patience.with(source) else { continue };
            if now.saturating_since(source.last) > limit {
                source.silent = true;
                let (name, address) = (source.name.text(), Some(source.address));
                silent.push(Silent { name, address, watch, since: source.last, usual, ever_heard: true });
            }
        }
        for (name, expected) in self.expected.iter_mut().filter(|(_, expected)| !expected.silent) {
            let Some(patience) = watches.get(expected.watch) else { continue };
            let Some(usual) = patience.every else { continue };
            if now.saturating_since(expected.since) > usual.saturating_mul(patience.times.unwrap_or(TIMES_HEARTBEAT)) {
                expected.silent = true;
                let (name, watch) = (name.clone(), expected.watch);
                silent.push(Silent { name, address: None, watch, since: expected.since, usual, ever_heard: false });
            }
        }
        silent.sort_by(|one, other| one.name.cmp(&other.name));
        silent
    }

    /// Waits for sources that a document lists, from now on unless they were waited for before; for no others.
    pub(super) fn expect(&mut self, listed: &[(String, usize)], now: Timestamp) {
        let before = std::mem::take(&mut self.expected);
        for (name, watch) in listed.iter().take(MAX_SOURCES) {
            if self.knows(name) {
                continue;
            }
            let known = before.get(name).copied().unwrap_or(Expected { watch: *watch, since: now, silent: false });
            self.expected.insert(name.clone(), Expected { watch: *watch, ..known });
        }
    }

    /// Stops to wait for a source; says whether it was waited for.
    pub(super) fn came(&mut self, name: &str) -> bool {
        !self.expected.is_empty() && self.expected.remove(name).is_some()
    }

    /// Notes that an alert says that a source is silent.
    pub(super) fn mark_silent(&mut self, name: &str) {
        if let Some(expected) = self.expected.get_mut(name) {
            expected.silent = true;
        }
        if let Some(source) = self.place(name).and_then(|place| self.sources.get_mut(place as usize)) {
            source.silent = true;
        }
    }

    /// Says anew which silence watches each source.
    pub(super) fn watch_anew(&mut self, watch: impl Fn(&Source) -> Option<usize>) {
        for source in &mut self.sources {
            source.watch = watch(source);
        }
    }

    fn knows(&self, name: &str) -> bool {
        self.place(name).is_some()
    }

    fn place(&self, name: &str) -> Option<u32> {
        let by_address = name.parse::<IpAddr>().ok().and_then(|address| self.by_address.get(&address));
        by_address.or_else(|| self.by_name.get(bounded(name))).copied()
    }

    /// Returns the sources, in the order of their places.
    pub(super) fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// Returns the sources that are waited for.
    pub(super) const fn expected(&self) -> &BTreeMap<String, Expected> {
        &self.expected
    }

    /// Returns when time was last taken note of.
    pub(super) const fn last_tick(&self) -> Option<Timestamp> {
        self.last_tick
    }

    /// Returns how many sources were forgotten for want of room.
    pub(super) const fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Puts back what a checkpoint holds besides sources.
    pub(super) fn put_back(&mut self, last_tick: Option<Timestamp>, expected: BTreeMap<String, Expected>) {
        (self.last_tick, self.expected) = (last_tick, expected);
    }
}

impl Source {
    /// Makes a source that was heard once; the silence that watches it is not known yet.
    pub(super) const fn new(name: Name, address: IpAddr, last: Timestamp) -> Self {
        let (mean, longest) = (Duration::ZERO, Duration::ZERO);
        Self { name, address, last, mean, longest, gaps: 0, silent: false, watch: None, filed: last }
    }

    /// Takes note of a report; says whether it ends a silence.
    fn report(&mut self, at: Timestamp) -> bool {
        let gap = at.saturating_since(self.last);
        self.last = at;
        if gap >= MIN_GAP {
            // It shrinks by a quarter of the time that passes: a silence of a day is the measure for four days, not for ever.
            self.longest = gap.max(self.longest.saturating_sub(gap / 4));
            if !self.silent {
                self.gaps = self.gaps.saturating_add(1);
                let weight = self.gaps.min(MAX_GAPS);
                self.mean = if gap > self.mean { self.mean + (gap - self.mean) / weight } else { self.mean - (self.mean - gap) / weight };
            }
        }
        std::mem::take(&mut self.silent)
    }
}

impl Patience {
    /// Returns what is usual for `source`, and the time after which it counts as silent; `None` while its rhythm is not known.
    fn with(&self, source: &Source) -> Option<(Duration, Duration)> {
        if let Some(every) = self.every {
            return Some((every, every.saturating_mul(self.times.unwrap_or(TIMES_HEARTBEAT))));
        }
        let learned = source.mean.saturating_mul(self.times.unwrap_or(TIMES_RHYTHM));
        let longest = source.longest.saturating_add(source.longest / 2);
        (source.gaps >= MIN_GAPS).then(|| (source.mean, learned.max(longest).max(MIN_LEARNED)))
    }
}

/// Cuts a name to what sources are told apart by.
pub(super) fn bounded(name: &str) -> &str {
    name.get(..name.floor_char_boundary(MAX_NAME_BYTES)).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEARNED: Patience = Patience { every: None, times: None };

    fn second(second: i64) -> Timestamp {
        Timestamp::from_secs(1_000_000 + second)
    }

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn hear(silences: &mut Silences, last: u8, at: i64) -> Heard {
        silences.advance(second(at));
        silences.heard((Sender::Address(address(last)), address(last)), second(at), || Some(0))
    }

    /// Ticks every ten seconds and returns when who fell silent.
    fn run(silences: &mut Silences, (from, until): (i64, i64), patience: Patience) -> Vec<(i64, String)> {
        let mut silent = Vec::new();
        for at in (from..until).step_by(10) {
            silences.advance(second(at));
            silent.extend(silences.tick(second(at), &[patience]).into_iter().map(|source| (at, source.name)));
        }
        silent
    }

    /// Hears one source every `gap` seconds, `count` times, with the ticks between; the last time at `(count - 1) * gap`.
    fn regular(gap: i64, count: i64) -> Silences {
        let mut silences = Silences::default();
        for number in 0..count {
            hear(&mut silences, 1, number * gap);
            assert_eq!(run(&mut silences, (number * gap, (number + 1) * gap - 10), LEARNED), []);
        }
        silences
    }

    #[test]
    fn a_source_that_keeps_a_rhythm_is_missed_after_twelve_times() {
        let mut silences = regular(600, 9);
        let last = 8 * 600;
        assert_eq!(run(&mut silences, (last + 590, last + 20_000), LEARNED), [(last + 7_210, "192.0.2.1".to_owned())]);
        assert_eq!(hear(&mut silences, 1, last + 20_000), Heard::Again);
        assert_eq!(hear(&mut silences, 1, last + 20_010), Heard::Known);
    }

    #[test]
    fn eight_gaps_make_a_rhythm() {
        let mut silences = regular(600, 8);
        assert_eq!(run(&mut silences, (4_300, 200_000), LEARNED), []);
    }

    #[test]
    fn who_talks_all_the_time_is_not_missed_before_a_quarter_of_an_hour() {
        let mut silences = regular(10, 20);
        assert_eq!(run(&mut silences, (190, 3_000), LEARNED).first().map(|(at, _)| *at), Some(190 + 910));
    }

    #[test]
    fn who_talks_in_bursts_once_a_day_is_missed_once_at_most() {
        let mut silences = Silences::default();
        let mut missed = 0;
        for day in 0..6 {
            for line in 0..100 {
                hear(&mut silences, 1, day * 86_400 + line * 2);
            }
            missed += run(&mut silences, (day * 86_400 + 200, (day + 1) * 86_400), LEARNED).len();
        }
        assert_eq!(missed, 1);
    }

    #[test]
    fn a_heartbeat_needs_no_rhythm() {
        let patience = Patience { every: Some(Duration::from_secs(60)), times: Some(5) };
        let mut silences = Silences::default();
        hear(&mut silences, 1, 0);
        assert_eq!(run(&mut silences, (10, 1_000), patience), [(310, "192.0.2.1".to_owned())]);
    }

    #[test]
    fn the_gateway_s_own_outage_is_nobody_s_silence() {
        let mut silences = regular(600, 9);
        // Down for a week, ten minutes after the last report was heard.
        let (last, down) = (8 * 600, 7 * 86_400);
        run(&mut silences, (last + 590, last + 610), LEARNED);
        assert_eq!(run(&mut silences, (last + 600 + down, last + 7_210 + down), LEARNED), []);
        assert_eq!(run(&mut silences, (last + 7_210 + down, last + 9_000 + down), LEARNED).len(), 1);
    }

    #[test]
    fn a_clock_that_is_set_makes_nobody_silent() {
        let mut silences = regular(600, 9);
        silences.advance(second(4_810));
        for jump in [-86_400, 86_400, -30_000_000] {
            silences.advance(second(4_820 + jump));
            assert_eq!(silences.tick(second(4_820 + jump), &[LEARNED]), [], "{jump}");
        }
    }

    #[test]
    fn a_source_that_is_listed_and_never_comes_is_missed() {
        let patience = Patience { every: Some(Duration::from_secs(60)), times: None };
        let mut silences = Silences::default();
        silences.expect(&[("backup-1".to_owned(), 0), ("backup-2".to_owned(), 0)], second(0));
        assert!(silences.came("backup-2"));
        silences.expect(&[("backup-1".to_owned(), 0)], second(100));
        assert_eq!(run(&mut silences, (0, 1_000), patience), [(190, "backup-1".to_owned())]);
    }

    #[test]
    fn the_source_that_was_not_heard_for_longest_is_forgotten() {
        let mut silences = Silences::default();
        for number in 0..1_000_000_u32 {
            let name = number.to_string();
            let at = second(i64::from(number));
            silences.heard((Sender::Name("always"), address(1)), at, || None);
            silences.heard((Sender::Name(&name), address(1)), at, || None);
        }
        let tables = (silences.sources.len(), silences.by_name.len(), silences.filed.len());
        assert_eq!(tables, (MAX_SOURCES, MAX_SOURCES, MAX_SOURCES));
        assert!(silences.knows("always") && silences.knows("999999") && !silences.knows("900000"));
        assert_eq!(silences.forgotten(), 1_000_001 - MAX_SOURCES as u64);
    }
}
