//! Questions of the control plane, a ring on a real disk, and whoever has the rules in force played by the test.

use std::net::{IpAddr, Ipv4Addr};

use postern_protocol::alert::{AlertState, Severity};
use postern_protocol::replay::MAX_RESULT_BYTES;
use zeroize::Zeroizing;

use super::*;
use crate::audit::Audit;
use crate::ring::entry::{Entry, Way};
use crate::ring::{Bounds, Options, Tap, Writer};

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

/// A document with one rule, that raises what a program says as a kind of alert.
fn document(kind: &str) -> Vec<u8> {
    let rule = serde_json::json!({
        "id": "raid", "match": {"syslog": {"programs": ["raid"]}}, "release": {"host": {"from": "host", "max_bytes": 40}},
        "then": {"raise": {"severity": "major", "resource": "{host}", "kind": kind, "summary": "RAID"}}
    });
    serde_json::to_vec(&serde_json::json!({"format": 1, "rules": [rule]})).unwrap()
}

fn rules(document: &[u8]) -> RuleIndex {
    RuleIndex::compile(&revision::parse(document).unwrap()).unwrap()
}

/// A gateway whose ring has `lines`, and the answer to one question.
async fn asked(lines: &[&str], bounds: Bounds, forbidden: &[&str], candidate: &[u8], from: i64) -> (Replayed, Vec<u8>, String) {
    let dir = tempfile::tempdir().unwrap();
    let audit = Audit::open(&dir.path().join("audit")).unwrap();
    let options = Options { dir: dir.path().join("ring"), bounds, key: Zeroizing::new([7; 32]) };
    let (tap, writer, ring) = Writer::open(options).unwrap();
    let writing = writer.map(|writer| std::thread::spawn(|| writer.run()));
    let mut batch = tap.batch();
    for (second, line) in (1_000..).zip(lines) {
        batch.add(&Entry::new(Timestamp::from_secs(second), Way::SyslogUdp, PEER, line.as_bytes()));
    }
    Tap::put(&tap, &mut batch);
    let (orders, mut wanted) = mpsc::channel(1);
    let (_site, site) = watch::channel(Arc::new(Site::default()));
    let (asking, questions) = mpsc::channel(QUEUE);
    let (outgoing, mut answers) = mpsc::channel(1);
    let veto = Veto::new(forbidden.iter().map(|field| field.parse().unwrap()).collect());
    let stage = Stage { ring, own: None, site, orders, audit: audit.clone() };
    let replayer = Replayer { stage, veto, questions, outgoing };
    asking.try_send(message::Replay { number: 9, document: candidate.to_vec(), from, asked_by: "ada".to_owned() }).unwrap();
    let stop = CancellationToken::new();
    let answer = async {
        loop {
            tokio::select! {
                Some(Order::TellRules(answer)) = wanted.recv() => {
                    let _ = answer.send((rules(&document("degraded")), Arc::default()));
                }
                Some(Outgoing::ReplayReply(reply)) = answers.recv() => return reply,
            }
        }
    };
    let reply = tokio::select! {
        ended = replayer.run(stop.clone()) => panic!("it ended: {ended:?}"),
        reply = answer => reply,
    };
    drop(tap);
    if let Some(writing) = writing {
        writing.join().unwrap();
    }
    audit.note(Action::SafeMode).kept().await.unwrap();
    let log = std::fs::read_dir(dir.path().join("audit")).unwrap();
    let log: String = log.map(|file| String::from_utf8_lossy(&std::fs::read(file.unwrap().path()).unwrap()).into_owned()).collect();
    assert_eq!(reply.number, 9);
    (serde_json::from_slice(&reply.result).unwrap(), reply.result, log)
}

const LINES: [&str; 3] =
    ["<11>1 - h1 raid - - - a secret text", "<11>1 - h1 raid - - - a secret text", "<11>1 - h2 other - - - a secret text"];

#[tokio::test]
async fn the_difference_is_told_without_a_word_of_the_events_and_who_asked_is_written_down() {
    let (answer, bytes, log) = asked(&LINES, Bounds::default(), &[], &document("broken"), 0).await;
    assert_eq!((answer.state, answer.events, answer.undecodable, answer.from), (ReplayState::Done, 3, 0, 1_000_000_000_000), "{answer:?}");
    assert_eq!((answer.effective.raised, answer.candidate.raised, answer.candidate.unmatched), (1, 1, 1));
    let [broken, degraded] = answer.differences.as_slice() else { panic!("{answer:?}") };
    assert_eq!((broken.kind.as_str(), &broken.effective), ("broken", &None));
    let seen = degraded.effective.as_ref().unwrap();
    assert_eq!((seen.state, seen.severity, seen.count, seen.raised, seen.rule.as_str()), (AlertState::Open, Severity::Major, 2, 1, "raid"));
    assert!(!String::from_utf8_lossy(&bytes).contains("secret"));
    assert!(log.contains("replay-asked") && log.contains("ada"), "{log}");
}

#[tokio::test]
async fn the_same_rules_differ_in_nothing_and_only_the_time_asked_for_is_replayed() {
    let (answer, ..) = asked(&LINES, Bounds::default(), &[], &document("degraded"), 1_001_000_000_000).await;
    assert_eq!((answer.events, answer.differences.len(), answer.candidate.raised), (2, 0, 1), "{answer:?}");
}

#[tokio::test]
async fn a_candidate_with_problems_one_that_the_site_forbids_and_a_site_without_a_ring_are_told() {
    let (faulty, ..) = asked(&[], Bounds::default(), &[], b"{\"format\":1,\"rules\":[{}]}", 0).await;
    assert_eq!((faulty.state, faulty.problems.is_empty()), (ReplayState::Refused, false));
    let (vetoed, ..) = asked(&[], Bounds::default(), &["host"], &document("broken"), 0).await;
    assert_eq!((vetoed.state, vetoed.problems.is_empty()), (ReplayState::Refused, false), "{vetoed:?}");
    let (without, ..) = asked(&[], Bounds { bytes: 0, ..Bounds::default() }, &[], &document("broken"), 0).await;
    assert_eq!(without.state, ReplayState::Unavailable);
    assert!(without.reason.contains("[ring]"), "{}", without.reason);
}

#[test]
fn an_answer_is_cut_to_what_a_message_holds_and_says_so() {
    let difference = |number: usize| postern_protocol::replay::Difference {
        resource: format!("{number}{}", "r".repeat(1_000)),
        kind: "k".repeat(100),
        qualifier: String::new(),
        effective: None,
        candidate: None,
    };
    let full = Replayed { differences: (0..MAX_DIFFERENCES).map(difference).collect(), further: 5, ..without(ReplayState::Done, "") };
    let encoded = encode(full).unwrap();
    assert!(encoded.len() <= MAX_RESULT_BYTES);
    let answer: Replayed = serde_json::from_slice(&encoded).unwrap();
    assert_eq!(answer.differences.len() as u64 + answer.further, 5 + MAX_DIFFERENCES as u64);
    assert!(!answer.differences.is_empty());
}
