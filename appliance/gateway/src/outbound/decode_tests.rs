//! What real messages, and bytes that are none, are decoded to.

use postern_protocol::alert::{Alert, AlertKey, AlertState, Evidence, Severity};
use postern_protocol::frame;
use postern_protocol::id::RuleId;
use postern_protocol::message::{Batch, Hello, LanePosition, LedgerMinute, LedgerMinutes, Records, Up, up};
use postern_protocol::timestamp::Timestamp;
use proptest::prelude::*;
use prost::Message as _;
use serde_json::json;

use super::*;

fn decoder() -> Decoder {
    Decoder::new(Contract::built_in().ok().unwrap())
}

fn said(kind: up::Kind) -> Decoded {
    decoder().decode("control", &frame::encode(&Up { kind: Some(kind) }))
}

#[test]
fn the_greeting_is_shown_field_by_field() {
    let heads = vec![LanePosition { lane: 1, epoch: 9, sequence: 3 }];
    let hello = Hello { protocol: 2, program_version: "1.0".to_owned(), epoch: 9, heads, sealing_key: vec![0xab, 1], ..Hello::default() };
    let decoded = said(up::Kind::Hello(hello));
    assert_eq!(decoded.kind, "hello");
    let heads = json!([{ "lane": 1, "epoch": 9, "sequence": 3 }]);
    let expected = json!({ "protocol": 2, "program_version": "1.0", "epoch": 9, "heads": heads, "sealing_key": "ab01" });
    assert_eq!(decoded.content, expected);
}

#[test]
fn maps_are_put_together() {
    let dropped = [("malformed".to_owned(), 2), ("queue_full".to_owned(), 0)].into();
    let minute = LedgerMinute { minute: 5, protocol: "push".to_owned(), dropped, ..LedgerMinute::default() };
    let decoded = said(up::Kind::Minutes(LedgerMinutes { minutes: vec![minute] }));
    let expected = json!({ "minutes": [{ "minute": 5, "protocol": "push", "dropped": { "malformed": 2, "queue_full": 0 } }] });
    assert_eq!(decoded, Decoded { kind: "minutes".to_owned(), content: expected });
}

#[test]
fn the_alerts_of_a_batch_are_decoded() {
    let alert = Alert {
        key: AlertKey { resource: "r".to_owned(), kind: "k".to_owned(), qualifier: String::new() },
        occurrence: 1,
        revision: 2,
        state: AlertState::Open,
        severity: Severity::Major,
        summary: "hot".to_owned(),
        count: 1,
        first_seen: Timestamp::from_nanos(5),
        last_seen: Timestamp::from_nanos(6),
        cleared_at: None,
        labels: [("host".to_owned(), "a".to_owned())].into(),
        rule: RuleId::new("x").unwrap(),
        rule_version: 1,
        course: postern_protocol::alert::Course::default(),
        evidence: Evidence { peer: "10.0.0.1".to_owned(), ..Evidence::default() },
    };
    let records = Records { records: vec![alert.encode().into()] }.encode_to_vec();
    let batch = Batch { epoch: 4, first_sequence: 1, records_zstd: zstd::bulk::compress(&records, 1).unwrap(), ..Batch::default() };
    let decoded = decoder().decode("alerts", &frame::encode(&batch));
    let record = &decoded.content["records_zstd"]["records"][0];
    assert_eq!(decoded.kind, "Batch");
    assert_eq!(
        (&record["summary"], &record["labels"]["host"], &record["evidence"]["peer"]),
        (&"hot".into(), &"a".into(), &"10.0.0.1".into())
    );
    assert!(!decoded.content.to_string().contains(NOT_IN_CONTRACT));
}

#[test]
fn what_the_contract_does_not_name_is_marked() {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Wider {
        #[prost(string, tag = "2")]
        program_version: String,
        #[prost(string, tag = "99")]
        smuggled: String,
    }
    let wider = Wider { program_version: "v".to_owned(), smuggled: "x".to_owned() }.encode_to_vec();
    let mut up = vec![0x0a, u8::try_from(wider.len()).unwrap()];
    up.extend(wider);
    let frame = [&[0, 0, 0, 0][..], &up].concat();
    assert_eq!(decoder().decode("control", &frame).content, json!({ "program_version": "v", NOT_IN_CONTRACT: [99] }));
    let status = br#"{"version":"1","smuggled":"x","tunnel":{"state":"up","smuggled":1}}"#.to_vec();
    let expected = json!({ "version": "1", "tunnel": { "state": "up", NOT_IN_CONTRACT: ["smuggled"] }, NOT_IN_CONTRACT: ["smuggled"] });
    assert_eq!(said(up::Kind::Status(status)).content, expected);
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_fail(bytes: Vec<u8>, lane in prop::sample::select(&["control", "alerts", "samples", "logs", "none"][..])) {
        decoder().decode(lane, &bytes);
    }
}
