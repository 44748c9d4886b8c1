//! Segments of the spool: any bytes can be scanned; what was appended is found again, and damage makes no record of nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_protocol::id::Epoch;

// The one file instead of the whole crate: it is pure, and this way no TLS library is built for fuzzing.
#[allow(dead_code)]
#[path = "../../../appliance/uplink/src/spool/segment/mod.rs"]
mod segment;

use segment::scan::Tail;
use segment::{End, Kind, Label, SegmentId};

const ID: SegmentId = SegmentId::new(7, Epoch(0x0123_4567_89ab_cdef));

fuzz_target!(|input: (Vec<&[u8]>, Vec<(u16, u8)>, u16, &[u8])| {
    let (payloads, changes, cut, bytes) = input;
    for tail in [Tail::Durable, Tail::Open] {
        scan(bytes, tail);
    }

    let mut whole = Vec::new();
    let mut written = Vec::new();
    for (at, payload) in payloads.iter().enumerate() {
        segment::append((ID, 0), &mut whole, Label::plain(Kind::Delta, 0), payload);
        written.push(payload.to_vec());
        let end = End { at: postern_protocol::timestamp::Timestamp::default(), durable: 0, clean: false };
        segment::append((ID, 0), &mut whole, Label::plain(Kind::End, at as u64 + 1), &end.encode());
        written.push(end.encode().to_vec());
    }
    for tail in [Tail::Durable, Tail::Open] {
        assert_eq!(scan(&whole, tail), written, "an undamaged segment is read whole");
    }

    for (at, byte) in changes {
        let length = whole.len();
        if let Some(changed) = whole.get_mut(usize::from(at) % length.max(1)) {
            *changed = byte;
        }
    }
    whole.truncate(whole.len().saturating_sub(usize::from(cut)));
    for tail in [Tail::Durable, Tail::Open] {
        let mut expected = written.iter();
        for payload in scan(&whole, tail) {
            assert!(expected.any(|written| *written == payload), "a damaged segment yields a record that nobody wrote, or out of order");
        }
    }
});

fn scan(bytes: &[u8], tail: Tail) -> Vec<Vec<u8>> {
    let scan = segment::scan::scan(ID, bytes, tail);
    assert!(scan.keep <= bytes.len());
    scan.records.iter().map(|found| found.body.to_vec()).collect()
}
