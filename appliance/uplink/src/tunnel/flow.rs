//! One lane's side of a session: what is in flight, and how much may be.
//!
//! The alerts lane may fill its own stream. The others together never hold more than one HTTP/2 connection window's worth
//! unacknowledged, nor more than a slow line carries in a moment: so whatever becomes of them, an alert finds room. An alerts lane that
//! is far behind sends the newest states ahead of its order: one such batch at a time, and smaller ones in order, so that neither
//! waits long for the other. Pure, as `session`.

use std::collections::VecDeque;
use std::time::Duration;

use postern_protocol::id::{Epoch, Lane, Sequence};
use postern_protocol::message::{Ack, MAX_BATCH_BYTES};

use super::session::Fault;
use crate::spool::OutBatch;

/// Batches that may be unacknowledged in a lane.
pub const MAX_IN_FLIGHT: usize = 4;

/// Bytes of records that a bulk lane may have unacknowledged, and those of one of its batches.
const BULK_WINDOW_BYTES: usize = 256 * 1024;
const BULK_BATCH_BYTES: usize = 64 * 1024;

/// Waiting records from which on the alerts lane is far behind, and bytes of records in one of its batches then.
const FAR_BEHIND_RECORDS: u64 = 1000;
const FAR_BEHIND_BATCH_BYTES: usize = 256 * 1024;

/// Version since which a control plane takes what goes ahead of its order.
const TAKES_AHEAD: u32 = 2;

/// How long the other side may take to acknowledge a batch.
const ACK_TIMEOUT: Duration = Duration::from_secs(60);

/// A batch on its way.
#[derive(Debug)]
struct InFlight {
    epoch: Epoch,
    first: u64,
    last: u64,
    bytes: usize,
}

/// What is in flight in one lane, and what comes next.
#[derive(Debug)]
pub struct LaneFlow {
    lane: Lane,
    window_bytes: usize,
    batch_bytes: usize,
    in_flight: VecDeque<InFlight>,
    /// Bytes of the batch that is in flight ahead of the order.
    ahead: Option<usize>,
    takes_ahead: bool,
    is_far_behind: bool,
    after: Option<(Epoch, Sequence)>,
    moved: Duration,
}

impl LaneFlow {
    /// Begins a session's flow in `lane`, in which nothing goes ahead of its order.
    pub fn of(lane: Lane) -> Self {
        let (window_bytes, batch_bytes) = match lane {
            Lane::Alerts => (MAX_IN_FLIGHT.saturating_mul(MAX_BATCH_BYTES), MAX_BATCH_BYTES),
            Lane::Inventory | Lane::Logs | Lane::Samples => (BULK_WINDOW_BYTES, BULK_BATCH_BYTES),
        };
        Self {
            lane,
            window_bytes,
            batch_bytes,
            in_flight: VecDeque::new(),
            ahead: None,
            takes_ahead: false,
            is_far_behind: false,
            after: None,
            moved: Duration::ZERO,
        }
    }

    /// Says which version of the protocol the session speaks: with it alerts may go ahead of their order.
    pub fn speaking(self, protocol: u32) -> Self {
        Self { takes_ahead: self.lane == Lane::Alerts && protocol >= TAKES_AHEAD, ..self }
    }

    /// Says how many records wait behind [`LaneFlow::after`].
    pub fn waiting(&mut self, records: u64) {
        self.is_far_behind = self.takes_ahead && records > FAR_BEHIND_RECORDS;
    }

    /// Says whether the next batch may be one that goes ahead: one is on its way at a time.
    pub fn may_overtake(&self) -> bool {
        self.is_far_behind && self.ahead.is_none()
    }

    /// Says whether another batch may be sent.
    pub fn has_room(&self) -> bool {
        let batches = self.in_flight.len().saturating_add(self.ahead.iter().len());
        let bytes = self.in_flight.iter().map(|batch| batch.bytes).chain(self.ahead).fold(0, usize::saturating_add);
        batches == 0 || batches < MAX_IN_FLIGHT && bytes.saturating_add(self.batch_bytes) <= self.window_bytes
    }

    /// Returns how many bytes of records the next batch may have; one record goes in any case.
    pub fn batch_bytes(&self) -> usize {
        if self.is_far_behind { FAR_BEHIND_BATCH_BYTES } else { self.batch_bytes }
    }

    /// Returns the place behind which the next batch begins.
    pub fn after(&self) -> Option<(Epoch, Sequence)> {
        self.after
    }

    /// Returns when [`LaneFlow::tick`] is due, since the start; `None` while nothing is in flight.
    pub fn deadline(&self) -> Option<Duration> {
        (!self.is_idle()).then(|| self.moved.saturating_add(ACK_TIMEOUT))
    }

    /// Says that time has passed.
    ///
    /// # Errors
    /// [`Fault::NoAck`].
    pub fn tick(&self, now: Duration) -> Result<(), Fault> {
        if self.deadline().is_some_and(|deadline| now >= deadline) { Err(Fault::NoAck) } else { Ok(()) }
    }

    fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.ahead.is_none()
    }

    /// Says that records of so many bytes were sent ahead of their order: they come again in it.
    pub fn sent_ahead(&mut self, bytes: usize, now: Duration) {
        if self.is_idle() {
            self.moved = now;
        }
        self.ahead = Some(bytes);
    }

    /// Says that `batch` was sent.
    pub fn sent(&mut self, batch: &OutBatch, now: Duration) {
        if self.is_idle() {
            self.moved = now;
        }
        let last = batch.first.0.saturating_add(batch.records.len() as u64).saturating_sub(1);
        let bytes = batch.records.iter().map(bytes::Bytes::len).fold(0, usize::saturating_add);
        self.in_flight.push_back(InFlight { epoch: batch.epoch, first: batch.first.0, last, bytes });
        self.after = Some((batch.epoch, Sequence(last)));
    }

    /// Takes an acknowledgement, which may stand for several batches or a part of one; one that was given before is no news.
    ///
    /// It may reach beyond what this session sent, up to the spool's `head` in that epoch: an earlier session's last batches may
    /// be committed only after this one's welcome was written.
    ///
    /// # Errors
    /// [`Fault::AckUnsent`] when it is for what was never sent.
    pub fn acknowledged(&mut self, ack: &Ack, head: Sequence, now: Duration) -> Result<(), Fault> {
        if ack.ahead {
            self.moved = now;
            return self.ahead.take().map(drop).ok_or(Fault::AckUnsent { sequence: ack.sequence });
        }
        let of_epoch = self.in_flight.iter().filter(|batch| batch.epoch.0 == ack.epoch);
        let newest = of_epoch.map(|batch| batch.last).max().ok_or(Fault::AckUnsent { sequence: ack.sequence })?;
        if ack.sequence > newest.max(head.0) {
            return Err(Fault::AckUnsent { sequence: ack.sequence });
        }
        let is_covered = |batch: &InFlight| batch.epoch.0 == ack.epoch && batch.first <= ack.sequence;
        let Some(index) = self.in_flight.iter().rposition(is_covered) else { return Ok(()) };
        self.in_flight.drain(..index);
        self.moved = now;
        match self.in_flight.front_mut() {
            Some(batch) if batch.last <= ack.sequence => drop(self.in_flight.pop_front()),
            Some(batch) => batch.first = ack.sequence.saturating_add(1),
            None => {}
        }
        if let Some((epoch, sequence)) = &mut self.after
            && epoch.0 == ack.epoch
        {
            sequence.0 = sequence.0.max(ack.sequence);
        }
        Ok(())
    }
}

/// Leaves of `batch` the records that have `most_bytes` together, at least one; the rest comes with the next batch.
pub fn fit(batch: &mut OutBatch, most_bytes: usize) {
    let mut bytes = 0_usize;
    let fitting = batch.records.iter().take_while(|record| {
        bytes = bytes.saturating_add(record.len());
        bytes <= most_bytes
    });
    let fitting = fitting.count().max(1);
    batch.records.truncate(fitting);
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn batch(epoch: u64, first: u64, records: usize) -> OutBatch {
        OutBatch { epoch: Epoch(epoch), first: Sequence(first), records: vec![Bytes::new(); records] }
    }

    #[test]
    fn four_batches_are_in_flight_at_most_and_acks_may_cover_several_or_a_part() {
        let mut flow = LaneFlow::of(Lane::Alerts);
        for (epoch, first) in [(9, 1), (9, 11), (3, 1), (3, 11)] {
            assert!(flow.has_room());
            flow.sent(&batch(epoch, first, 10), Duration::ZERO);
        }
        assert!(!flow.has_room());
        assert_eq!(flow.after(), Some((Epoch(3), Sequence(20))));
        let mut ack = |epoch, sequence| flow.acknowledged(&Ack { epoch, sequence, ..Ack::default() }, Sequence(20), Duration::ZERO);
        assert_eq!(ack(9, 21), Err(Fault::AckUnsent { sequence: 21 }));
        assert_eq!(ack(8, 1), Err(Fault::AckUnsent { sequence: 1 }));
        assert_eq!(ack(9, 15), Ok(()));
        assert_eq!(ack(9, 12), Ok(()), "said before");
        assert_eq!(ack(3, 10), Ok(()));
        assert_eq!(ack(9, 20), Err(Fault::AckUnsent { sequence: 20 }));
        assert_eq!(ack(3, 20), Ok(()));
        assert_eq!(flow.deadline(), None);
    }

    #[test]
    fn an_acknowledgement_of_what_an_earlier_session_sent_moves_the_lane_on() {
        let mut flow = LaneFlow::of(Lane::Alerts);
        flow.sent(&batch(1, 1, 10), Duration::ZERO);
        assert_eq!(flow.acknowledged(&Ack { epoch: 1, sequence: 40, ..Ack::default() }, Sequence(40), Duration::ZERO), Ok(()));
        assert_eq!((flow.deadline(), flow.after()), (None, Some((Epoch(1), Sequence(40)))));
    }

    #[test]
    fn a_lane_without_acknowledgements_times_out_counted_from_the_last_one() {
        let mut flow = LaneFlow::of(Lane::Alerts);
        flow.sent(&batch(1, 1, 2), Duration::from_secs(5));
        flow.sent(&batch(1, 3, 2), Duration::from_secs(6));
        flow.acknowledged(&Ack { epoch: 1, sequence: 1, ..Ack::default() }, Sequence(4), Duration::from_secs(30)).unwrap();
        assert_eq!(flow.tick(Duration::from_secs(89)), Ok(()));
        assert_eq!(flow.tick(Duration::from_secs(90)), Err(Fault::NoAck));
    }

    #[test]
    fn far_behind_one_batch_at_a_time_goes_ahead_and_leaves_room_for_the_order() {
        let mut flow = LaneFlow::of(Lane::Alerts).speaking(2);
        flow.waiting(FAR_BEHIND_RECORDS);
        assert!(!flow.may_overtake(), "so few come soon enough in their order");
        flow.waiting(FAR_BEHIND_RECORDS + 1);
        assert!(flow.may_overtake() && flow.batch_bytes() == FAR_BEHIND_BATCH_BYTES);
        flow.sent_ahead(1000, Duration::from_secs(1));
        assert!(!flow.may_overtake() && flow.after().is_none());
        for first in [1, 11, 21] {
            assert!(flow.has_room());
            flow.sent(&batch(1, first, 10), Duration::from_secs(2));
        }
        assert!(!flow.has_room());
        assert_eq!(flow.tick(Duration::from_secs(61)), Err(Fault::NoAck), "counted from the first");
        let ahead = Ack { epoch: 1, sequence: 0, ahead: true };
        assert_eq!(flow.acknowledged(&ahead, Sequence(30), Duration::from_secs(3)), Ok(()));
        assert!(flow.may_overtake() && flow.has_room());
        assert_eq!(flow.after(), Some((Epoch(1), Sequence(30))), "nothing of the order is acknowledged by it");
        let again = flow.acknowledged(&ahead, Sequence(30), Duration::from_secs(3));
        assert_eq!(again, Err(Fault::AckUnsent { sequence: 0 }));
    }

    #[test]
    fn nothing_goes_ahead_in_other_lanes_or_to_a_control_plane_of_version_1() {
        for (lane, protocol) in [(Lane::Alerts, 1), (Lane::Samples, 2), (Lane::Inventory, 2), (Lane::Logs, 2)] {
            let mut flow = LaneFlow::of(lane).speaking(protocol);
            let usual = flow.batch_bytes();
            flow.waiting(1_000_000);
            assert!(!flow.may_overtake() && flow.batch_bytes() == usual);
        }
    }

    fn sized(first: u64, sizes: &[usize]) -> OutBatch {
        OutBatch { epoch: Epoch(1), first: Sequence(first), records: sizes.iter().map(|size| Bytes::from(vec![0; *size])).collect() }
    }

    #[test]
    fn a_bulk_lane_sends_small_batches_and_holds_little_unacknowledged() {
        let mut flow = LaneFlow::of(Lane::Samples);
        let mut large = sized(1, &[1024; 1024]);
        fit(&mut large, flow.batch_bytes());
        assert_eq!(large.records.len(), 64);
        let mut giant = sized(1, &[300 * 1024, 1]);
        fit(&mut giant, flow.batch_bytes());
        assert_eq!(giant.records.len(), 1, "a record alone goes, however large");
        flow.sent(&giant, Duration::ZERO);
        assert!(!flow.has_room());
        flow.acknowledged(&Ack { epoch: 1, sequence: 1, ..Ack::default() }, Sequence(1), Duration::ZERO).unwrap();
        for first in [2, 66, 130, 194] {
            assert!(flow.has_room());
            flow.sent(&sized(first, &[1024; 64]), Duration::ZERO);
        }
        assert!(!flow.has_room());
        let mut alerts = sized(1, &[1024; 1024]);
        fit(&mut alerts, LaneFlow::of(Lane::Alerts).batch_bytes());
        assert_eq!(alerts.records.len(), 1024);
    }
}
