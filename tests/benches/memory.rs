//! What the engine keeps of 100,000 open alerts, in bytes of this process.
//!
//! A site's worth of alerts of the usual size is raised with the built-in rules, after some were raised, repeated and ended, the way the
//! gateway's pipeline does it: what changed is drained every few events. So many are storms, so most are folded. A checkpoint is made,
//! and everything sent at once. Figures are those of `/proc/self/statm`: what the process really got, allocator and all.

// A bench is a test with figures: whatever goes wrong ends it.
#![allow(clippy::panic, clippy::unwrap_used)]

use std::collections::BTreeMap;

use postern_engine::alert::{AlertEngine, MAX_OPEN_ALERTS, Verdict};
use postern_engine::event::{Body, Event, Notification, PushEvent, SyslogMessage, Transport, Value, Varbind};
use postern_engine::rule::RuleIndex;
use postern_protocol::alert::{Authenticity, Severity};
use postern_protocol::revision::document::PushState;
use postern_protocol::timestamp::Timestamp;

/// The most that the engine may need for as many alerts as it takes.
const MAX_BYTES: usize = 100 << 20;

/// How many events are handled between two commits.
const COMMIT: usize = 1_000;

/// Alerts that were there before: more than are remembered word for word, or as ended.
const ENDED: usize = 10_000;

/// More alerts about storms than there are.
const STORMS: usize = 1_000;

fn main() {
    let mut engine = AlertEngine::new(RuleIndex::built_in().unwrap());
    let before = resident_bytes();
    let mut no_room = 0;
    let mut round = |engine: &mut AlertEngine, events: std::ops::Range<usize>, number: i64, state: PushState| {
        for n in events {
            let now = Timestamp::from_secs(1_790_000_000 + number * 3_600 + i64::try_from(n / 100).unwrap());
            let verdict = engine.handle(&event(n, number, state, now), now);
            assert!(verdict != Verdict::Unmatched, "no rule is for {n}");
            // The alerts about storms need places, too.
            no_room += usize::from(verdict == Verdict::TableFull);
            if n % COMMIT == 0 {
                engine.tick(now);
                engine.drain_changes();
            }
        }
    };
    // What is reported twice in the same words is remembered, and what ended is.
    round(&mut engine, 0..ENDED, 0, PushState::Raise);
    round(&mut engine, 0..ENDED, 0, PushState::Raise);
    round(&mut engine, 0..ENDED, 1, PushState::Clear);
    round(&mut engine, 0..MAX_OPEN_ALERTS, 2, PushState::Raise);
    engine.drain_changes();
    let kept = resident_bytes() - before;
    let open = engine.open_count();
    assert!(open >= MAX_OPEN_ALERTS, "{open} alerts are open");
    let folded = engine.open_alerts().filter(|alert| alert.course.parent.is_some()).count();
    let record_bytes: usize = engine.open_alerts().map(|alert| alert.encode().len()).sum();
    let checkpoint = engine.checkpoint();
    let with_checkpoint = resident_bytes() - before;
    let checkpoint_bytes = checkpoint.len();
    let restored = AlertEngine::restore(RuleIndex::built_in().unwrap(), &checkpoint).unwrap();
    assert!(restored.checkpoint() == checkpoint, "a restart changes something");
    drop((restored, checkpoint));
    // Storms end meanwhile, so that all that were folded are records in memory at once, until they are sent.
    let mut send_all = |number: i64| {
        let now = Timestamp::from_secs(1_790_000_000 + number * 3_600);
        engine.tick(now);
        let sent = engine.drain_changes();
        (sent.len(), resident_bytes() - before)
    };
    let (sent, with_records) = (1..20).map(|hour| send_all(2 + hour)).max().unwrap();
    let mib = |bytes: usize| f64::from(u32::try_from(bytes >> 10).unwrap()) / 1024.0;
    println!("{open} open alerts, {folded} of them folded, {} bytes each as records", record_bytes / open);
    println!("kept by the engine                 {:>7.1} MiB, {} bytes an alert", mib(kept), kept / open);
    println!("with a checkpoint of {:>5.1} MiB      {:>7.1} MiB", mib(checkpoint_bytes), mib(with_checkpoint));
    println!("with {sent:>6} records to be sent    {:>7.1} MiB", mib(with_records));
    assert!(no_room < STORMS, "{no_room} reports found no room");
    assert!(kept <= MAX_BYTES, "more than {MAX_BYTES} bytes");
}

/// A report about alert `n`: of six in ten a linkDown, of two a syslog line, of two a push; in another round, in other words.
fn event(n: usize, round: i64, state: PushState, now: Timestamp) -> Event {
    let source = u8::try_from(n % 250).unwrap();
    let body = match n % 10 {
        0..6 => notification(n, round, state),
        6 | 7 => line(n, round, now, state),
        _ => push(n, round, state),
    };
    Event {
        received: now,
        peer: [10, u8::try_from(n / 50_000).unwrap(), u8::try_from(n / 250 % 200).unwrap(), source].into(),
        transport: Transport::Udp,
        authenticity: Authenticity::Community,
        relay: None,
        tls_name: matches!(n % 10, 8 | 9).then(|| "monitoring".to_owned()),
        body,
    }
}

fn notification(n: usize, round: i64, state: PushState) -> Body {
    let index = i64::try_from(n % 48).unwrap() + 1;
    let name = |column: &str| format!("1.3.6.1.2.1.{column}.{index}").parse().unwrap();
    let text = |column: &str, text: String| Varbind { name: name(column), value: Value::OctetString(text.into_bytes()) };
    let number = |column: &str, value| Varbind { name: name(column), value: Value::Integer(value) };
    let trap_oid = match state {
        PushState::Raise => "1.3.6.1.6.3.1.1.5.3",
        PushState::Clear => "1.3.6.1.6.3.1.1.5.4",
    };
    Body::Notification(Notification {
        trap_oid: trap_oid.parse().unwrap(),
        uptime: u32::try_from(n + 1).unwrap() + u32::try_from(round).unwrap() * 360_000,
        trap_address: None,
        engine_id: None,
        varbinds: vec![
            number("2.2.1.1", index),
            number("2.2.1.7", 1),
            number("2.2.1.8", 2),
            text("2.2.1.2", format!("GigabitEthernet1/0/{index}")),
            text("31.1.1.1.18", format!("uplink {round} to core-2, rack 14, port {n}")),
        ],
    })
}

/// A server's line. What ends a line's alert is a push, so that a round of ends leaves it as it is.
fn line(n: usize, round: i64, now: Timestamp, _state: PushState) -> Body {
    Body::Syslog(SyslogMessage {
        facility: 0,
        severity: 2,
        pri_present: true,
        timestamp: Some(now),
        host: Some(format!("server-{n:06}.dc1.example.net")),
        program: Some("kernel".to_owned()),
        message: format!("EXT4-fs error (device sda1): ext4_find_entry:1455: inode #{n}: comm postgres: reading directory lblock {round}"),
        ..SyslogMessage::default()
    })
}

fn push(n: usize, round: i64, state: PushState) -> Body {
    let fields = [("runbook", "https://wiki.example.net/runbooks/backup"), ("team", "storage"), ("job", "nightly-full")];
    Body::Push(PushEvent {
        state,
        resource: format!("backup/client-{n:06}.dc1.example.net"),
        kind: "backup-failed".to_owned(),
        qualifier: "nightly".to_owned(),
        severity: Severity::Major,
        summary: format!("The nightly backup of client-{n:06} failed {round} times: no space left on the target volume"),
        fields: fields.map(|(name, text)| (name.to_owned(), text.to_owned())).into_iter().collect::<BTreeMap<_, _>>(),
    })
}

/// What this process has in memory. A page has 4 KiB where these figures are made.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
