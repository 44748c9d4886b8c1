//! What rules would have made of events that came earlier: of the ring's, for the control plane ([`live`]), and of captures and files, for
//! a person at the command line ([`offline`]).
//!
//! The same decoders and the same engine as at the first time; the clock is the events' own: `tick` once a second of it. An engine begins
//! without an alert, so what was open before is not. The answer says keys, severities, counts and rules, and nothing of an event's text.

mod compare;
pub(crate) mod decode;
pub mod input;
pub(crate) mod live;
pub mod offline;
mod side;

use postern_engine::event::Event;
use postern_protocol::timestamp::Timestamp;

pub(crate) use self::compare::compare;
pub(crate) use self::side::Side;

/// Nanoseconds between two ticks.
const TICK_NANOS: i64 = 1_000_000_000;

/// Most ticks between two events: in a longer silence each stands for more time.
const MAX_TICKS: i64 = 3_600;

/// Engines that are given the same events by one clock.
pub(crate) struct Run {
    sides: Sides,
    clock: Clock,
    events: u64,
    undecodable: u64,
    span: Option<(i64, i64)>,
}

/// Who is given the events.
pub(crate) struct Sides {
    /// What the candidate is compared with, if anything.
    pub(crate) effective: Option<Side>,
    /// The candidate.
    pub(crate) candidate: Side,
}

impl Sides {
    fn each(&mut self) -> impl Iterator<Item = &mut Side> {
        self.effective.iter_mut().chain([&mut self.candidate])
    }
}

/// What a run has come to.
pub(crate) struct Outcome {
    pub(crate) sides: Sides,
    pub(crate) events: u64,
    pub(crate) undecodable: u64,
    /// When the first and the last event came.
    pub(crate) span: Option<(i64, i64)>,
}

/// The events' clock: it never goes back.
#[derive(Clone, Copy, Debug, Default)]
struct Clock(Option<i64>);

impl Clock {
    /// Goes on to `until`, in the steps that `tick` is called with.
    fn advance(&mut self, until: Timestamp, mut tick: impl FnMut(Timestamp)) -> Timestamp {
        let until = until.as_nanos();
        let mut at = *self.0.get_or_insert(until);
        let step = TICK_NANOS.max(until.saturating_sub(at) / MAX_TICKS);
        while at.saturating_add(step) <= until {
            at = at.saturating_add(step);
            tick(Timestamp::from_nanos(at));
        }
        self.0 = Some(at);
        // Between two ticks time goes on as events say, but not back.
        Timestamp::from_nanos(at.max(until))
    }
}

impl Run {
    /// Begins with these engines.
    pub(crate) const fn new(sides: Sides) -> Self {
        Self { sides, clock: Clock(None), events: 0, undecodable: 0, span: None }
    }

    /// Gives everyone the events of one entry.
    pub(crate) fn take(&mut self, events: &[Event]) {
        for event in events {
            let received = event.received.as_nanos();
            self.span = Some(self.span.map_or((received, received), |(from, until)| (from.min(received), until.max(received))));
            let now = self.pass(event.received);
            self.sides.each().for_each(|side| side.handle(event, now));
            self.events = self.events.saturating_add(1);
        }
    }

    /// Counts an entry that could not be decoded.
    pub(crate) fn undecodable(&mut self) {
        self.undecodable = self.undecodable.saturating_add(1);
    }

    /// Tells whether nothing was taken yet.
    pub(crate) const fn is_empty(&self) -> bool {
        self.events == 0
    }

    /// Lets time pass up to `until`.
    pub(crate) fn pass(&mut self, until: Timestamp) -> Timestamp {
        let (clock, sides) = (&mut self.clock, &mut self.sides);
        clock.advance(until, |now| sides.each().for_each(|side| side.tick(now)))
    }

    /// Ends it.
    pub(crate) fn end(mut self) -> Outcome {
        self.sides.each().for_each(Side::drain);
        let Self { sides, events, undecodable, span, .. } = self;
        Outcome { sides, events, undecodable, span }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_ticks_once_a_second_coarser_in_long_silences_and_never_goes_back() {
        let (mut clock, mut ticks) = (Clock::default(), Vec::new());
        let mut advance = |nanos: i64| clock.advance(Timestamp::from_nanos(nanos), |now| ticks.push(now.as_nanos())).as_nanos();
        assert_eq!(advance(500), 500);
        assert_eq!(advance(3_000_000_000), 3_000_000_000);
        assert_eq!(advance(2_999_999_999), 2_999_999_999, "within a second events may come out of order");
        assert_eq!(advance(0), 2_000_000_500, "but not back before a tick");
        assert_eq!(ticks, [1_000_000_500, 2_000_000_500]);
        ticks.clear();
        Clock::default().advance(Timestamp::from_nanos(0), |_| {});
        let mut clock = Clock(Some(0));
        let mut count = 0;
        clock.advance(Timestamp::from_secs(365 * 24 * 3600), |_| count += 1);
        assert_eq!(count, MAX_TICKS);
    }
}
