//! The greeting: what a Hello says of the gateway's state, and the Welcome that answers it. Pure.

use postern_protocol::id::{Epoch, Lane, Sequence};
use postern_protocol::message::{Hello, LanePosition, PROTOCOL_VERSION, Welcome};
use postern_protocol::timestamp::Timestamp;

use crate::store::cursors::Cursor;
use crate::store::healing::Judgement;

/// Longest program version that is kept.
const MAX_VERSION_CHARACTERS: usize = 64;

/// Returns the version that both sides speak.
pub(super) fn agreed(hello: &Hello) -> u32 {
    hello.protocol.min(PROTOCOL_VERSION)
}

/// Answers a Hello. `gap` says that records are missing which only the gateway's open alerts can make up for.
pub fn welcome(hello: &Hello, committed: &[Cursor], gap: bool, now: Timestamp) -> Welcome {
    Welcome {
        protocol: agreed(hello),
        committed: committed
            .iter()
            .map(|cursor| LanePosition { lane: u32::from(cursor.lane.number()), epoch: cursor.epoch.0, sequence: cursor.sequence.0 })
            .collect(),
        resend_open_alerts: gap || was_rewound(hello, committed),
        time: now.as_nanos(),
        audit_number: 0,
        peer: String::new(),
        resend_nonce: 0,
    }
}

/// Names what a session asks of its gateway; 0 when it does not have to send its open alerts again. No two sessions of one start of
/// a gateway have the same name: a resend in answer to an earlier one may not have what this one gives it to adopt.
pub fn resend_nonce(hello: &Hello, judgement: &Judgement) -> u64 {
    if judgement.resend || !judgement.adopt.is_empty() { hello.session.max(1) } else { 0 }
}

/// Whether we hold records that the gateway's spool does not have: its disk was restored from an older state.
fn was_rewound(hello: &Hello, committed: &[Cursor]) -> bool {
    committed.iter().filter(|cursor| cursor.epoch == Epoch(hello.epoch)).any(|cursor| head(hello, cursor.lane) < cursor.sequence)
}

fn head(hello: &Hello, lane: Lane) -> Sequence {
    let of_lane = |head: &&LanePosition| head.lane == u32::from(lane.number()) && head.epoch == hello.epoch;
    Sequence(hello.heads.iter().filter(of_lane).map(|head| head.sequence).max().unwrap_or(0))
}

/// Returns the program version as it may be stored and shown.
pub fn version(hello: &Hello) -> String {
    hello.program_version.chars().filter(|c| !c.is_control()).take(MAX_VERSION_CHARACTERS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(sequence: u64) -> Hello {
        let heads = vec![LanePosition { lane: 1, epoch: 9, sequence }];
        Hello { protocol: 1, epoch: 9, heads, ..Hello::default() }
    }

    fn cursor(epoch: u64, sequence: u64) -> Cursor {
        Cursor { lane: Lane::Alerts, epoch: Epoch(epoch), sequence: Sequence(sequence) }
    }

    #[test]
    fn a_gateway_behind_what_it_sent_before_is_asked_for_its_open_alerts() {
        let now = Timestamp::from_secs(1);
        assert!(!welcome(&hello(5), &[cursor(9, 5)], false, now).resend_open_alerts);
        assert!(welcome(&hello(4), &[cursor(9, 5)], false, now).resend_open_alerts);
        assert!(!welcome(&hello(4), &[cursor(8, 5)], false, now).resend_open_alerts);
        assert!(welcome(&hello(5), &[], true, now).resend_open_alerts);
    }

    #[test]
    fn a_newer_gateway_is_answered_in_our_version() {
        let newer = Hello { protocol: 7, ..hello(0) };
        assert_eq!(welcome(&newer, &[], false, Timestamp::default()).protocol, PROTOCOL_VERSION);
    }
}
