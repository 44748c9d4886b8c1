//! What two gateways say of one alert, made into one: a pure function of each side's last record.
//!
//! It does not matter in which order the sides' records came. The side with the newest event decides (its last report, or its
//! clear); of two at the same moment, the one that is open. The other side counts for the same life of the alert if it had an
//! event in it; two gateways' clocks never agree quite, which [`SKEW`] forgives.

use postern_protocol::alert::AlertState;
use postern_protocol::timestamp::Timestamp;
use std::cmp::Reverse;
use std::time::Duration;

/// How far the clocks of two gateways, and the arrival of one report at both, may be apart.
pub const SKEW: Duration = Duration::from_secs(5);

/// One side's last record, as far as it decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// The gateway.
    pub gateway: String,
    /// Whether it lasts there.
    pub state: AlertState,
    /// Number of the severity; it grows with the gravity.
    pub severity: u8,
    /// Reports in this life.
    pub count: u64,
    /// When this life was first reported.
    pub first_seen: Timestamp,
    /// When it was last reported.
    pub last_seen: Timestamp,
    /// When its end was reported.
    pub cleared_at: Option<Timestamp>,
}

/// What the merged row says beside the deciding side's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// The gateway whose state, severity and text count.
    pub decided_by: String,
    /// The state.
    pub state: AlertState,
    /// The greatest count of the sides in this life: both got the same reports.
    pub count: u64,
    /// The earliest of them.
    pub first_seen: Timestamp,
    /// The latest of them.
    pub last_seen: Timestamp,
    /// When the end was reported, if it is over.
    pub cleared_at: Option<Timestamp>,
}

impl Side {
    /// When this side last learnt something.
    fn newest(&self) -> Timestamp {
        self.cleared_at.map_or(self.last_seen, |cleared| cleared.max(self.last_seen))
    }

    fn is_open(&self) -> bool {
        self.state == AlertState::Open
    }

    /// Whether this side, which does not decide, had an event in the life that began at `first_seen`.
    fn took_part(&self, first_seen: Timestamp) -> bool {
        let last = if self.is_open() { self.newest().saturating_add(SKEW) } else { self.newest() };
        last >= first_seen
    }
}

/// Merges the sides; `None` when there is none.
pub fn merge(sides: &[Side]) -> Option<Merged> {
    let decisive = |side: &&Side| (side.newest(), side.is_open(), side.severity, Reverse(side.gateway.clone()));
    let decider = sides.iter().max_by_key(decisive)?;
    let life = || sides.iter().filter(|side| side.took_part(decider.first_seen));
    Some(Merged {
        decided_by: decider.gateway.clone(),
        state: decider.state,
        count: life().map(|side| side.count).max().unwrap_or(decider.count),
        first_seen: life().map(|side| side.first_seen).min().unwrap_or(decider.first_seen),
        last_seen: life().map(|side| side.last_seen).max().unwrap_or(decider.last_seen),
        cleared_at: decider.cleared_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(gateway: &str, state: AlertState, count: u64, seen: (i64, i64)) -> Side {
        let (first_seen, last_seen) = (Timestamp::from_secs(seen.0), Timestamp::from_secs(seen.1));
        let cleared_at = (state == AlertState::Cleared).then_some(last_seen);
        Side { gateway: gateway.to_owned(), state, severity: 4, count, first_seen, last_seen, cleared_at }
    }

    #[test]
    fn both_sides_count_once() {
        let merged = merge(&[side("a", AlertState::Open, 3, (10, 30)), side("b", AlertState::Open, 2, (11, 29))]).unwrap();
        assert_eq!((merged.decided_by.as_str(), merged.count), ("a", 3));
        assert_eq!((merged.first_seen, merged.last_seen), (Timestamp::from_secs(10), Timestamp::from_secs(30)));
    }

    #[test]
    fn the_survivors_clear_counts_while_the_dead_side_stays_open() {
        let merged = merge(&[side("a", AlertState::Cleared, 4, (10, 90)), side("b", AlertState::Open, 3, (10, 30))]).unwrap();
        assert_eq!((merged.state, merged.cleared_at, merged.count), (AlertState::Cleared, Some(Timestamp::from_secs(90)), 4));
    }

    #[test]
    fn at_the_same_moment_open_wins() {
        let sides = [side("a", AlertState::Cleared, 1, (10, 20)), side("b", AlertState::Open, 1, (10, 20))];
        assert_eq!(merge(&sides).unwrap().state, AlertState::Open);
    }

    #[test]
    fn what_the_dead_side_saw_in_an_earlier_life_does_not_count() {
        let merged = merge(&[side("a", AlertState::Open, 1, (500, 500)), side("b", AlertState::Open, 70, (10, 30))]).unwrap();
        assert_eq!((merged.count, merged.first_seen), (1, Timestamp::from_secs(500)));
    }

    #[test]
    fn clocks_that_differ_a_little_make_no_second_life() {
        let merged = merge(&[side("a", AlertState::Open, 1, (10, 10)), side("b", AlertState::Open, 1, (12, 12))]).unwrap();
        assert_eq!((merged.count, merged.first_seen, merged.decided_by.as_str()), (1, Timestamp::from_secs(10), "b"));
    }
}
