//! Records that left no trace in any segment: found by the holes in their lane's sequence at the edges of segments.
//!
//! Pure; called by [`super::recovery`]. What is missing in the middle of a segment its [`Scan`](super::segment::scan::Scan) tells.

use std::collections::BTreeMap;

use postern_protocol::id::{Epoch, Lane};

use super::index::sequences::Range;

/// The first and the last record of each lane in the segments of one epoch, in order; read, marked or known to be damaged.
#[derive(Debug, Default)]
pub(crate) struct Spans(BTreeMap<Epoch, Vec<BTreeMap<Lane, Range>>>);

impl Spans {
    /// Adds the next segment.
    pub(crate) fn add(&mut self, epoch: Epoch, lanes: BTreeMap<Lane, Range>) {
        self.0.entry(epoch).or_default().push(lanes);
    }

    /// Returns what is missing before, between and behind the segments of each epoch; `bounds` says up to where a lane of it is
    /// acknowledged, and where it certainly had a record. What is acknowledged may have been removed.
    pub(crate) fn holes(&self, bounds: impl Fn(Lane, Epoch) -> (u64, u64)) -> Vec<((Lane, Epoch), Range)> {
        let mut holes = Vec::new();
        for (epoch, segments) in &self.0 {
            for lane in Lane::ALL {
                let (acknowledged, head) = bounds(lane, *epoch);
                let mut next = acknowledged.saturating_add(1);
                for (first, last) in segments.iter().filter_map(|lanes| lanes.get(&lane).copied()) {
                    holes.extend((first > next).then(|| ((lane, *epoch), (next, first.saturating_sub(1)))));
                    next = next.max(last.saturating_add(1));
                }
                holes.extend((head >= next).then_some(((lane, *epoch), (next, head))));
            }
        }
        holes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANE: Lane = Lane::Samples;

    fn holes(segments: &[Range], acknowledged: u64, head: u64) -> Vec<Range> {
        let mut spans = Spans::default();
        segments.iter().for_each(|range| spans.add(Epoch(7), BTreeMap::from([(LANE, *range)])));
        let bounds = |lane, _| if lane == LANE { (acknowledged, head) } else { (0, 0) };
        spans.holes(bounds).into_iter().map(|(_, range)| range).collect()
    }

    #[test]
    fn what_is_missing_at_the_edges_is_a_hole_unless_it_is_acknowledged() {
        let segments = [(3, 5), (8, 9)];
        assert_eq!(holes(&segments, 0, 11), [(1, 2), (6, 7), (10, 11)]);
        assert_eq!(holes(&segments, 6, 9), [(7, 7)]);
        assert_eq!(holes(&segments, 20, 20), []);
        assert_eq!(holes(&[], 0, 0), []);
    }
}
