//! Alerts and frames survive their encodings, and bytes from outside never panic.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;

use postern_protocol::alert::{Alert, AlertKey, AlertState, Authenticity, Evidence, Severity};
use postern_protocol::frame::{self, Decoder};
use postern_protocol::id::RuleId;
use postern_protocol::message::Batch;
use postern_protocol::timestamp::Timestamp;
use proptest::prelude::*;

fn alerts() -> impl Strategy<Value = Alert> {
    let text = "\\PC{0,40}";
    let key = ("\\PC{1,40}", "\\PC{1,40}", text).prop_map(|(resource, kind, qualifier)| AlertKey { resource, kind, qualifier });
    let numbers = (1..u64::MAX, 1..=1_000_000_u64, any::<i64>(), any::<i64>(), any::<Option<i64>>(), 0..1_000_000_u64);
    let choices = (0..3_usize, 0..5_usize, 0..5_usize, any::<bool>());
    (key, numbers, choices, text, "\\PC{0,20}", proptest::collection::btree_map("[a-z]{1,8}", text, 0..4)).prop_map(
        |(key, (count, occurrence, first, last, cleared, later), (state, severity, authenticity, conflict), summary, peer, labels)| Alert {
            key,
            occurrence,
            revision: occurrence + later,
            state: AlertState::ALL[state],
            severity: Severity::ALL[severity],
            summary,
            count,
            first_seen: Timestamp::from_nanos(first),
            last_seen: Timestamp::from_nanos(last),
            cleared_at: cleared.map(Timestamp::from_nanos),
            labels,
            rule: RuleId::new("a-rule").unwrap(),
            rule_version: 3,
            course: postern_protocol::alert::Course::default(),
            evidence: Evidence {
                relay: peer.clone(),
                peer,
                conflict,
                authenticity: Authenticity::ALL[authenticity],
                ..Evidence::default()
            },
        },
    )
}

proptest! {
    #[test]
    fn an_alert_survives_its_encoding(alert in alerts()) {
        prop_assert_eq!(Alert::decode(&alert.encode()), Ok(alert));
    }

    #[test]
    fn bytes_from_outside_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = Alert::decode(&bytes);
        let mut decoder = Decoder::default();
        decoder.push(&bytes);
        while let Ok(Some(_)) = decoder.next::<Batch>() {}
    }

    #[test]
    fn batches_survive_any_fragmentation(epoch: u64, first: u64, body in proptest::collection::vec(any::<u8>(), 0..400), size in 1..64_usize) {
        let batch = Batch { epoch, first_sequence: first, records_zstd: body, ..Batch::default() };
        let mut decoder = Decoder::default();
        let mut seen = Vec::new();
        for chunk in frame::encode(&batch).chunks(size) {
            decoder.push(chunk);
            while let Some(batch) = decoder.next::<Batch>().unwrap() {
                seen.push(batch);
            }
        }
        prop_assert_eq!(seen, vec![batch]);
    }
}

/// What is on disks and wires today must decode for ever: these bytes are never regenerated.
#[test]
fn the_golden_alert_still_decodes() {
    let golden = "0a0d31302e302e302e372f69662f3312096c696e6b2d646f776e20052807300138044204446f776e4802510100000000000000590200000000\
                  0000006a0a0a036f69641203312e33720c69662d6c696e6b2d646f776e78018201170a0831302e302e302e3732037564703801420470656572";
    let bytes = data_encoding::HEXLOWER.decode(golden.replace(char::is_whitespace, "").as_bytes());
    let alert = Alert {
        key: AlertKey { resource: "10.0.0.7/if/3".into(), kind: "link-down".into(), qualifier: String::new() },
        occurrence: 5,
        revision: 7,
        state: AlertState::Open,
        severity: Severity::Major,
        summary: "Down".into(),
        count: 2,
        first_seen: Timestamp::from_nanos(1),
        last_seen: Timestamp::from_nanos(2),
        cleared_at: None,
        labels: BTreeMap::from([("oid".into(), "1.3".into())]),
        rule: RuleId::new("if-link-down").unwrap(),
        rule_version: 1,
        course: postern_protocol::alert::Course::default(),
        evidence: Evidence {
            peer: "10.0.0.7".into(),
            transport: "udp".into(),
            authenticity: Authenticity::Community,
            chosen_by: "peer".into(),
            ..Evidence::default()
        },
    };
    assert_eq!(
        bytes.map(|bytes| Alert::decode(&bytes)),
        Ok(Ok(alert.clone())),
        "encodes to {}",
        data_encoding::HEXLOWER.encode(&alert.encode())
    );
}
