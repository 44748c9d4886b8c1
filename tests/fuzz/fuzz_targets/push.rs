//! Pushes: what is taken keeps its limits and survives being written again; what is refused says where.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_engine::event::PushEvent;
use postern_engine::push::{self, PushError, Pushed};
use postern_protocol::sample::{MAX_SAMPLE_BYTES, Sample};
use postern_protocol::timestamp::Timestamp;
use serde_json::json;

/// What measurements without a moment get; those with one are judged by it.
const NOW: Timestamp = Timestamp::from_secs(1_000_000_000);

fuzz_target!(|body: &[u8]| match push::decode(body, NOW) {
    Ok(Pushed { events, measurements }) => {
        assert!(events.len() <= push::MAX_EVENTS && measurements.len() <= push::MAX_MEASUREMENTS);
        for sample in &measurements {
            let encoded = sample.encode();
            assert!(encoded.len() <= MAX_SAMPLE_BYTES && sample.labels.len() <= push::MAX_LABELS);
            assert_eq!(Sample::decode(&encoded).as_ref(), Ok(sample));
        }
        assert!(events.iter().all(|event| !event.resource.is_empty() && !event.kind.is_empty() && event.fields.len() <= push::MAX_FIELDS));
        let again = json!({ "events": events.iter().map(written).collect::<Vec<_>>() }).to_string();
        if again.len() <= push::MAX_BODY_BYTES {
            assert_eq!(push::decode(again.as_bytes(), NOW).map(|pushed| pushed.events), Ok(events));
        }
    }
    Err(PushError::Invalid { path, reason, .. }) => assert!((1..1_000).contains(&path.len()) && (1..1_000).contains(&reason.len())),
    Err(PushError::TooLong(bytes)) => assert_eq!(bytes, body.len()),
});

fn written(event: &PushEvent) -> serde_json::Value {
    json!({
        "resource": event.resource, "kind": event.kind, "qualifier": event.qualifier, "severity": event.severity, "state": event.state,
        "summary": event.summary, "fields": event.fields,
    })
}
