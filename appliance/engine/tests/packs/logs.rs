//! How often the packs' rules fire on real log files: a number for each that a person has looked at.

use std::collections::BTreeMap;
use std::path::Path;

use postern_engine::event::{Body, Event, Transport};
use postern_engine::syslog::{self, Context};
use postern_protocol::alert::{Alert, AlertState, Authenticity};
use postern_protocol::timestamp::Timestamp;

use crate::{NOW, Rig, folder};

/// Alerts that each rule raises on a file, by rule; each occurrence is one.
fn raised(path: &Path) -> Option<BTreeMap<String, u64>> {
    let text = std::fs::read(path).ok()?;
    let mut rig = Rig::new();
    let mut now = NOW;
    let mut occurrences: BTreeMap<(String, u64), String> = BTreeMap::new();
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        now = Timestamp::from_secs(now.as_secs() + 1);
        let message = syslog::decode(line, &Context::utc(now)).expect("a line");
        let event = Event {
            received: now,
            peer: [192, 0, 2, 7].into(),
            transport: Transport::Udp,
            authenticity: Authenticity::None,
            relay: None,
            tls_name: None,
            body: Body::Syslog(message),
        };
        rig.engine.handle(&event, now);
        for Alert { key, occurrence, rule, state, .. } in rig.engine.drain_changes() {
            if state == AlertState::Open {
                let key = format!("{} {} {}", key.resource, key.kind, key.qualifier);
                occurrences.entry((key, occurrence)).or_insert_with(|| rule.as_str().to_owned());
            }
        }
    }
    let mut by_rule = BTreeMap::new();
    for rule in occurrences.into_values() {
        *by_rule.entry(rule).or_default() += 1;
    }
    Some(by_rule)
}

#[test]
fn real_log_files_raise_no_more_than_was_looked_at() {
    let text = std::fs::read_to_string(folder().join("tests/logs.json")).expect("logs.json");
    let looked_at: BTreeMap<String, BTreeMap<String, u64>> = serde_json::from_str(&text).expect("logs.json");
    for (file, most) in looked_at {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/syslog").join(&file);
        let Some(raised) = raised(&path) else {
            println!("skipped: {file} is not here");
            continue;
        };
        println!("{file}: {raised:?}");
        for (rule, count) in &raised {
            assert!(*count <= most.get(rule).copied().unwrap_or(0), "{rule} raises {count} alerts on {file}: all of them {raised:#?}");
        }
    }
}
