//! How fast a lane may send, as the control plane says: a queue of its own that it wants to empty first.
//!
//! Pure: times are passed in. Each lane's task has its [`Pacer`]; the session keeps the [`Paces`].

use std::time::Duration;

use postern_protocol::id::Lane;
use postern_protocol::message::Pace;

/// What the control plane said to each lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Paces {
    alerts: u64,
    inventory: u64,
    logs: u64,
    samples: u64,
}

impl Paces {
    /// Takes a word of the control plane; one for a lane that is not known here changes nothing.
    pub(crate) fn set(&mut self, pace: Pace) {
        let rate = pace.bytes_per_second;
        match u8::try_from(pace.lane).ok().map(|number| (number, Lane::from_number(number))) {
            Some((0, _)) => (self.inventory, self.logs, self.samples) = (rate, rate, rate),
            Some((_, Some(Lane::Alerts))) => self.alerts = rate,
            Some((_, Some(Lane::Inventory))) => self.inventory = rate,
            Some((_, Some(Lane::Logs))) => self.logs = rate,
            Some((_, Some(Lane::Samples))) => self.samples = rate,
            Some((_, None)) | None => {}
        }
    }

    /// Returns a lane's bytes a second; 0 for no limit.
    pub(crate) fn of(&self, lane: Lane) -> u64 {
        match lane {
            Lane::Alerts => self.alerts,
            Lane::Inventory => self.inventory,
            Lane::Logs => self.logs,
            Lane::Samples => self.samples,
        }
    }
}

/// Spaces what one lane sends.
#[derive(Debug, Default)]
pub(crate) struct Pacer {
    bytes_per_second: u64,
    /// When the next batch may go.
    free_at: Duration,
}

impl Pacer {
    /// Takes the lane's rate; another one than before counts from now on.
    pub(crate) fn set(&mut self, bytes_per_second: u64, now: Duration) {
        if self.bytes_per_second != bytes_per_second {
            *self = Self { bytes_per_second, free_at: now };
        }
    }

    /// Returns when the next batch may go; `None` when it may go now.
    pub(crate) fn wait_until(&self, now: Duration) -> Option<Duration> {
        (now < self.free_at).then_some(self.free_at)
    }

    /// Says that a batch of so many bytes went.
    pub(crate) fn sent(&mut self, bytes: usize, now: Duration) {
        if self.bytes_per_second > 0 {
            let taken = Duration::try_from_secs_f64(bytes as f64 / self.bytes_per_second as f64).unwrap_or(Duration::MAX);
            self.free_at = self.free_at.max(now).saturating_add(taken);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_word_to_all_slows_every_lane_but_the_alerts() {
        let mut paces = Paces::default();
        paces.set(Pace { lane: 0, bytes_per_second: 7 });
        paces.set(Pace { lane: u32::from(Lane::Logs.number()), bytes_per_second: 9 });
        paces.set(Pace { lane: 77, bytes_per_second: 1 });
        paces.set(Pace { lane: 256, bytes_per_second: 1 });
        assert_eq!(
            Lane::ALL.map(|lane| (lane, paces.of(lane))).into_iter().find(|(lane, _)| *lane == Lane::Alerts),
            Some((Lane::Alerts, 0))
        );
        assert_eq!((paces.of(Lane::Samples), paces.of(Lane::Inventory), paces.of(Lane::Logs)), (7, 7, 9));
        paces.set(Pace { lane: u32::from(Lane::Alerts.number()), bytes_per_second: 3 });
        assert_eq!(paces.of(Lane::Alerts), 3);
    }

    #[test]
    fn batches_are_spaced_by_their_size_and_a_pause_saves_nothing_up() {
        let mut pacer = Pacer::default();
        pacer.sent(1_000_000, s(0));
        assert_eq!(pacer.wait_until(s(0)), None, "there is no limit yet");
        pacer.set(100, s(1));
        pacer.sent(500, s(1));
        assert_eq!((pacer.wait_until(s(5)), pacer.wait_until(s(6))), (Some(s(6)), None));
        pacer.sent(100, s(60));
        assert_eq!(pacer.wait_until(s(60)), Some(s(61)));
        pacer.sent(usize::MAX, s(61));
        pacer.set(100, s(62));
        assert!(pacer.wait_until(s(62)).is_some());
        pacer.set(0, s(63));
        assert_eq!(pacer.wait_until(s(63)), None, "a limit that is lifted leaves nothing behind");
    }
}
