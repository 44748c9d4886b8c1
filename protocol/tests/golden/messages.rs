//! One value of every message, with something in each field. A struct literal names all of its fields, so that a new field has to
//! be given a value here.

use std::collections::BTreeMap;

use bytes::Bytes;

use postern_protocol::alert::{
    Alert, AlertKey, AlertState, Authenticity, Course, Decision, DecisionKind, Evidence, MAX_DECISIONS, Severity, Suppression,
};
use postern_protocol::id::RuleId;
use postern_protocol::inventory::Inventory;
use postern_protocol::message::{
    Ack, Adopt, AuditEntries, AuditEntry, AuditReceipt, Batch, CertificateReply, CertificateRequest, CloseAlert, ConfirmRevision,
    DictionaryPart, Down, Goodbye, Heartbeat, HeartbeatReply, Hello, LanePosition, LedgerMinute, LedgerMinutes, Pace, Records, Replay,
    ReplayReply, Resent, RevisionProblem, RevisionState, RevisionStatus, SealedSecret, SealedSecrets, SignedRevision, SourceMinute,
    TrustBundle, TrustStatus, Up, Welcome, down, up,
};
use postern_protocol::sample::Sample;
use postern_protocol::timestamp::Timestamp;

/// Says whether bytes are read as one message.
type Reads = Box<dyn Fn(&[u8]) -> bool>;

/// A message on the wire.
pub(crate) struct Vector {
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
    /// Says whether bytes are read as this very message.
    pub(crate) is_read_from: Reads,
}

fn vector<M: prost::Message + Default + PartialEq + 'static>(name: &'static str, message: M) -> Vector {
    Vector { name, bytes: message.encode_to_vec(), is_read_from: Box::new(move |bytes| M::decode(bytes).is_ok_and(|read| read == message)) }
}

fn up(name: &'static str, kind: up::Kind) -> Vector {
    vector(name, Up { kind: Some(kind) })
}

fn down(name: &'static str, kind: down::Kind) -> Vector {
    vector(name, Down { kind: Some(kind) })
}

fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn counts(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
}

fn place(lane: u32) -> LanePosition {
    LanePosition { lane, epoch: 0x0102_0304_0506_0708, sequence: 300 }
}

/// What version 2 says first.
pub(crate) fn hello() -> Hello {
    Hello {
        protocol: 2,
        program_version: "0.5.0".to_owned(),
        epoch: 0x0102_0304_0506_0708,
        heads: vec![place(1), place(4)],
        effective_revision: 11,
        newest_revision: 12,
        dictionary: vec![0xd1; 32],
        sealing_key: vec![0x5e, 0xa1],
        secrets_serial: 13,
        trust_serial: 14,
        incarnation: 0x1111_2222_3333_4444,
        previous_incarnation: 0x5555_6666_7777_8888,
        session: 15,
        audit_number: 16,
        provisional_revision: 17,
        rollback: "the disk was set back".to_owned(),
        alert_revision: 18,
        earlier_incarnations: vec![0x1111_2222_3333_4444, 0x5555_6666_7777_8888],
    }
}

/// What a gateway of version 1 says first.
fn hello_of_version_1() -> Hello {
    Hello {
        protocol: 1,
        trust_serial: 0,
        incarnation: 0,
        previous_incarnation: 0,
        session: 0,
        audit_number: 0,
        provisional_revision: 0,
        rollback: String::new(),
        alert_revision: 0,
        earlier_incarnations: Vec::new(),
        ..hello()
    }
}

/// What a control plane of version 2 answers.
pub(crate) fn welcome() -> Welcome {
    Welcome {
        protocol: 2,
        committed: vec![place(1)],
        resend_open_alerts: true,
        time: 1_700_000_000_000_000_000,
        audit_number: 16,
        peer: "192.0.2.7:40000".to_owned(),
        resend_nonce: 0,
    }
}

fn alert() -> Alert {
    Alert {
        key: AlertKey { resource: "192.0.2.9/if/3".to_owned(), kind: "link-down".to_owned(), qualifier: "q".to_owned() },
        occurrence: 5,
        revision: 9,
        state: AlertState::Cleared,
        severity: Severity::Major,
        summary: "ge-0/0/3 is down".to_owned(),
        count: 3,
        first_seen: Timestamp::from_nanos(1_700_000_000_000_000_001),
        last_seen: Timestamp::from_nanos(1_700_000_000_000_000_002),
        cleared_at: Some(Timestamp::from_nanos(1_700_000_000_000_000_003)),
        labels: texts(&[("if_index", "3"), ("site", "Köln")]),
        rule: RuleId::new("link-down").unwrap(),
        rule_version: 4,
        course: postern_protocol::alert::Course::default(),
        evidence: Evidence {
            peer: "192.0.2.9".to_owned(),
            trap_address: "192.0.2.10".to_owned(),
            engine_id: "8000".to_owned(),
            hostname: "sw1".to_owned(),
            tls_name: "sw1.example".to_owned(),
            transport: "udp".to_owned(),
            authenticity: Authenticity::UsmPriv,
            relay: "192.0.2.11".to_owned(),
            chosen_by: "peer".to_owned(),
            conflict: true,
        },
    }
}

fn sample() -> Sample {
    Sample {
        resource: "192.0.2.9".to_owned(),
        metric: "cpu.load".to_owned(),
        value: 12.5,
        unit: "%".to_owned(),
        at: Timestamp::from_nanos(1_700_000_000_000_000_004),
        labels: texts(&[("core", "0")]),
    }
}

fn minute() -> LedgerMinute {
    let source = SourceMinute { source: "192.0.2.9".to_owned(), received: 5, accepted: 3, dropped: counts(&[("rate_limited", 2)]) };
    LedgerMinute {
        minute: 28_333_333,
        protocol: "snmp_trap".to_owned(),
        received: 10,
        accepted: 7,
        in_flight: 1,
        dropped: counts(&[("malformed", 1), ("rate_limited", 2)]),
        sources: vec![source],
    }
}

/// An alert that is folded, kept quiet and flaps, with every kind of decision that it has room for.
fn alert_with_a_course() -> Alert {
    let at = |nanos: i64| Timestamp::from_nanos(1_700_000_000_000_000_100 + nanos);
    let mut course = Course {
        parent: Some(AlertKey { resource: "192.0.2.9".to_owned(), kind: "storm".to_owned(), qualifier: "link-down".to_owned() }),
        suppressed: Some(Suppression { by: "sunday".to_owned(), until: at(50) }),
        flapping: true,
        decisions: Vec::new(),
    };
    for (nanos, what) in (0_i64..).zip(DecisionKind::ALL).take(MAX_DECISIONS) {
        course.note(Decision { at: at(nanos), what, by: "192.0.2.9 storm link-down".to_owned(), text: "20 in 60 s".to_owned() });
    }
    Alert { course, ..alert() }
}

/// Returns every vector.
pub(crate) fn vectors() -> Vec<Vector> {
    let mut all = gateway_says();
    all.extend(control_plane_says());
    all.extend(lanes_say());
    all
}

fn gateway_says() -> Vec<Vector> {
    let problem = RevisionProblem { path: "rules[3]".to_owned(), line: 7, column: 9, reason: "no such OID".to_owned() };
    let status = |state: RevisionState| RevisionStatus { number: 12, state: state.into(), problems: vec![problem.clone()] };
    let entry = AuditEntry { number: 16, text: b"{}".to_vec(), digest: vec![0xa0; 32] };
    vec![
        up("up-hello", up::Kind::Hello(hello())),
        up("up-hello-of-version-1", up::Kind::Hello(hello_of_version_1())),
        up("up-heartbeat", up::Kind::Heartbeat(Heartbeat { nonce: 77 })),
        up("up-revision-status-failed", up::Kind::RevisionStatus(status(RevisionState::Failed))),
        up("up-revision-status-provisional", up::Kind::RevisionStatus(status(RevisionState::Provisional))),
        up("up-revision-status-reverted", up::Kind::RevisionStatus(status(RevisionState::Reverted))),
        up("up-status", up::Kind::Status(b"{\"version\":\"0.5.0\"}".to_vec())),
        up("up-minutes", up::Kind::Minutes(LedgerMinutes { minutes: vec![minute()] })),
        up(
            "up-certificate-request",
            up::Kind::CertificateRequest(CertificateRequest { request: vec![0x30, 1], listener_request: vec![0x30, 2] }),
        ),
        up("up-audit", up::Kind::Audit(AuditEntries { entries: vec![entry] })),
        up("up-trust-status", up::Kind::TrustStatus(TrustStatus { serial: 14, refused: "signed by a stranger".to_owned() })),
        up("up-resent", up::Kind::Resent(Resent { epoch: 0x0102_0304_0506_0708, sequence: 301, since_revision: 9, nonce: 0 })),
        up("up-replay-reply", up::Kind::ReplayReply(ReplayReply { number: 21, result: b"{\"state\":\"done\"}".to_vec() })),
        up("up-rules", up::Kind::Rules(b"{\"revision\":12}".to_vec())),
        up("up-resent-asked", up::Kind::Resent(Resent { epoch: 0x0102_0304_0506_0708, sequence: 301, since_revision: 9, nonce: 7 })),
    ]
}

fn control_plane_says() -> Vec<Vector> {
    let close = CloseAlert {
        resource: "192.0.2.9/if/3".to_owned(),
        kind: "link-down".to_owned(),
        qualifier: "q".to_owned(),
        occurrence: 5,
        count_seen: 3,
    };
    let secret = SealedSecret { name: "community".to_owned(), version: 2, sealed: vec![0x5e; 8] };
    let reply =
        CertificateReply { chain: vec![vec![0x30, 1], vec![0x30, 2]], refused: "revoked".to_owned(), listener_chain: vec![vec![0x30, 3]] };
    let replay = Replay {
        number: 21,
        document: b"{\"format\":1,\"rules\":[]}".to_vec(),
        from: 1_700_000_000_000_000_007,
        asked_by: "ada".to_owned(),
    };
    let receipt = AuditReceipt { number: 16, digest: vec![0xa0; 32], at: 1_700_000_000_000_000_005, signature: vec![0x51; 64] };
    let part =
        DictionaryPart { digest: vec![0xd1; 32], total_bytes: 70_000, offset: 65_536, bytes: vec![1, 2, 3], signature: vec![0x51; 64] };
    let bundle = TrustBundle {
        serial: 14,
        server_pins: vec![vec![0x91; 32], vec![0x92; 32]],
        authorities: vec![vec![0x30, 4]],
        signing_keys: vec![vec![0xed; 32]],
        addresses: vec!["control.example.com:443".to_owned()],
        signature: vec![0x51; 64],
    };
    vec![
        down("down-welcome", down::Kind::Welcome(welcome())),
        down("down-welcome-asking", down::Kind::Welcome(Welcome { resend_nonce: 7, ..welcome() })),
        down("down-welcome-of-version-1", down::Kind::Welcome(Welcome { protocol: 1, audit_number: 0, peer: String::new(), ..welcome() })),
        down("down-heartbeat-reply", down::Kind::HeartbeatReply(HeartbeatReply { nonce: 77, time: -1 })),
        down("down-revision", down::Kind::Revision(SignedRevision { number: 12, document: b"{}".to_vec(), signature: vec![0x51; 64] })),
        down("down-close-alert", down::Kind::CloseAlert(close)),
        down("down-goodbye", down::Kind::Goodbye(Goodbye { reason: "it restarts".to_owned(), retry: true })),
        down("down-secrets", down::Kind::Secrets(SealedSecrets { serial: 13, secrets: vec![secret], signature: vec![0x51; 64] })),
        down("down-dictionary-part", down::Kind::DictionaryPart(part)),
        down("down-certificate-reply", down::Kind::CertificateReply(reply)),
        down("down-audit-receipt", down::Kind::AuditReceipt(receipt)),
        down("down-trust-bundle", down::Kind::TrustBundle(bundle)),
        down("down-pace", down::Kind::Pace(Pace { lane: 4, bytes_per_second: 65_536 })),
        down("down-replay", down::Kind::Replay(replay)),
        down("down-confirm-revision", down::Kind::ConfirmRevision(ConfirmRevision { number: 12 })),
        down("down-adopt", down::Kind::Adopt(Adopt { alerts: vec![alert().encode()], complete: true })),
    ]
}

fn lanes_say() -> Vec<Vector> {
    let inventory = Inventory {
        version: "0.5.0".to_owned(),
        os: "Debian GNU/Linux 12 (bookworm)".to_owned(),
        kernel: "6.1.0".to_owned(),
        hostname: "gw-1".to_owned(),
        cpus: 2,
        memory_bytes: 4 << 30,
        disk_bytes: 64 << 30,
        listeners: vec!["syslog udp [::]:514".to_owned()],
        at: 1_700_000_000_000_000_006,
    };
    vec![
        vector(
            "lane-batch",
            Batch { epoch: 0x0102_0304_0506_0708, first_sequence: 301, records_zstd: vec![0x28, 0xb5, 0x2f, 0xfd], ..Batch::default() },
        ),
        vector(
            "lane-batch-ahead",
            Batch { epoch: 0x0102_0304_0506_0708, records_zstd: vec![0x28, 0xb5, 0x2f, 0xfd], ahead: true, head: 400, ..Batch::default() },
        ),
        vector("lane-records", Records { records: vec![Bytes::from_static(b"one"), Bytes::new()] }),
        vector("lane-ack", Ack { epoch: 0x0102_0304_0506_0708, sequence: 302, ahead: false }),
        vector("lane-ack-ahead", Ack { epoch: 0x0102_0304_0506_0708, sequence: 0, ahead: true }),
        Vector { name: "record-alert", bytes: alert().encode(), is_read_from: Box::new(|bytes| Alert::decode(bytes) == Ok(alert())) },
        Vector {
            name: "record-alert-with-a-course",
            bytes: alert_with_a_course().encode(),
            is_read_from: Box::new(|bytes| Alert::decode(bytes) == Ok(alert_with_a_course())),
        },
        Vector { name: "record-sample", bytes: sample().encode(), is_read_from: Box::new(|bytes| Sample::decode(bytes) == Ok(sample())) },
        vector("record-inventory", inventory),
    ]
}
