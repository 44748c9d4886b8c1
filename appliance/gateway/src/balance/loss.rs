//! A loss in time: from the look before its first sign to the last sign, over after some quiet. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use postern_protocol::timestamp::Timestamp;

/// Quiet after which a loss is over.
const QUIET: Duration = Duration::from_secs(300);

/// One thing that can be lost.
pub(super) struct Loss {
    known: u64,
    looked: Timestamp,
    state: State,
}

enum State {
    Losing(Span),
    Quiet,
    /// An earlier run may have left an alert, which this one ends when it sees no loss since this time.
    Unknown(Timestamp),
}

/// How long and how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// The look before the first sign.
    pub(super) start: Timestamp,
    /// The look that found the last sign.
    pub(super) end: Timestamp,
    /// How many were lost.
    pub(super) size: u64,
}

/// What is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It is over.
    Over,
    /// More was lost.
    Report(Span),
}

impl Loss {
    pub(super) const fn new(now: Timestamp) -> Self {
        Self { known: 0, looked: now, state: State::Unknown(now) }
    }

    /// Takes in a look at `now`, when `lost` were lost since the start.
    pub(super) fn note(&mut self, lost: u64, now: Timestamp) -> Option<Step> {
        let more = lost.saturating_sub(self.known);
        self.known = lost;
        let before = std::mem::replace(&mut self.looked, now);
        let quiet_since = match &self.state {
            State::Losing(span) => Some(span.end),
            State::Quiet => None,
            State::Unknown(start) => Some(*start),
        };
        if more > 0 {
            let (start, size) = match &self.state {
                State::Losing(span) => (span.start, span.size),
                State::Quiet | State::Unknown(_) => (before, 0),
            };
            let span = Span { start, end: now, size: size.saturating_add(more) };
            self.state = State::Losing(span);
            return Some(Step::Report(span));
        }
        if quiet_since.is_some_and(|since| now.saturating_since(since) >= QUIET) {
            self.state = State::Quiet;
            return Some(Step::Over);
        }
        None
    }
}

impl Span {
    /// Returns the facts that an alert carries.
    pub(super) fn labels(&self) -> BTreeMap<String, String> {
        let label = |name: &str, text: String| (name.to_owned(), text);
        [label("start", utc(self.start)), label("end", utc(self.end)), label("lost", self.size.to_string())].into()
    }

    /// Returns when it was, for a sentence.
    pub(super) fn when(&self) -> String {
        format!("between {} and {}", utc(self.start), utc(self.end))
    }
}

/// Writes a time as RFC 3339 in UTC, to the second.
fn utc(time: Timestamp) -> String {
    jiff::Timestamp::from_second(time.as_secs()).map_or_else(|_| time.as_secs().to_string(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_secs(second)
    }

    #[test]
    fn a_loss_lasts_from_the_look_before_it_to_five_quiet_minutes_after() {
        let mut loss = Loss::new(at(0));
        assert_eq!(loss.note(0, at(10)), None);
        assert_eq!(loss.note(3, at(20)), Some(Step::Report(Span { start: at(10), end: at(20), size: 3 })));
        assert_eq!(loss.note(3, at(30)), None);
        assert_eq!(loss.note(5, at(40)), Some(Step::Report(Span { start: at(10), end: at(40), size: 5 })));
        assert_eq!(loss.note(5, at(339)), None);
        assert_eq!(loss.note(5, at(340)), Some(Step::Over));
        assert_eq!(loss.note(5, at(1_000)), None, "told once");
        assert_eq!(loss.note(6, at(1_010)), Some(Step::Report(Span { start: at(1_000), end: at(1_010), size: 1 })));
    }

    #[test]
    fn what_an_earlier_run_left_open_is_ended() {
        let mut loss = Loss::new(at(0));
        assert_eq!(loss.note(0, at(299)), None);
        assert_eq!(loss.note(0, at(300)), Some(Step::Over));
    }

    #[test]
    fn times_are_written_in_utc() {
        assert_eq!(utc(at(0)), "1970-01-01T00:00:00Z");
        assert_eq!(utc(at(1_795_320_245)), "2026-11-22T04:04:05Z");
    }
}
