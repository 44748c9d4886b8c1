//! What the built-in rules make of real notifications, log lines and pushes, and what they never let out.
#![expect(clippy::panic, clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::BTreeMap;

use postern_engine::alert::{AlertEngine, Verdict};
use postern_engine::event::{Body, Event, Notification, PushEvent, SyslogMessage, Transport, Value, Varbind};
use postern_engine::rule::RuleIndex;
use postern_protocol::alert::{Alert, Authenticity, Severity};
use postern_protocol::revision::document::PushState;
use postern_protocol::timestamp::Timestamp;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

struct Rig(AlertEngine);

impl Rig {
    fn new() -> Self {
        Self(AlertEngine::new(RuleIndex::built_in().unwrap_or_else(|problems| panic!("{problems:#?}"))))
    }

    fn handle(&mut self, body: Body) -> Verdict {
        let event = Event {
            received: NOW,
            peer: [10, 0, 0, 7].into(),
            transport: Transport::Udp,
            authenticity: Authenticity::None,
            tls_name: None,
            body,
        };
        self.0.handle(&event, NOW)
    }

    fn trap(&mut self, oid: &str, varbinds: &[(&str, Value)]) -> Verdict {
        self.handle(trap(oid, varbinds))
    }

    fn syslog(&mut self, program: &str, severity: u8, message: &str) -> Verdict {
        self.handle(syslog(program, severity, message))
    }

    /// The one alert that is open.
    #[track_caller]
    fn alert(&self) -> Alert {
        let open: Vec<_> = self.0.open_alerts().collect();
        assert_eq!(open.len(), 1, "{open:#?}");
        (*open.first().unwrap()).clone()
    }

    /// Resource, kind and qualifier of the one open alert.
    #[track_caller]
    fn key(&self) -> [String; 3] {
        let key = self.alert().key;
        [key.resource, key.kind, key.qualifier]
    }
}

fn trap(oid: &str, varbinds: &[(&str, Value)]) -> Body {
    let varbinds = varbinds.iter().map(|(name, value)| Varbind { name: name.parse().unwrap(), value: value.clone() }).collect();
    Body::Notification(Notification { trap_oid: oid.parse().unwrap(), uptime: 1, trap_address: None, varbinds })
}

fn syslog(program: &str, severity: u8, message: &str) -> Body {
    Body::Syslog(SyslogMessage {
        facility: if program == "kernel" { 0 } else { 10 },
        severity,
        pri_present: true,
        host: Some("db1".to_owned()),
        program: Some(program.to_owned()),
        message: message.to_owned(),
        ..SyslogMessage::default()
    })
}

fn text(text: &str) -> Value {
    Value::OctetString(text.as_bytes().to_vec())
}

fn oid(text: &str) -> Value {
    Value::Oid(text.parse().unwrap())
}

#[test]
fn a_link_goes_down_and_comes_up_by_index_and_source() {
    let mut rig = Rig::new();
    let down = [
        ("1.3.6.1.2.1.2.2.1.1.3", Value::Integer(3)),
        ("1.3.6.1.2.1.2.2.1.7.3", Value::Integer(1)),
        ("1.3.6.1.2.1.2.2.1.2.3", text("ge-0/0/1")),
    ];
    assert_eq!(rig.trap("1.3.6.1.6.3.1.1.5.3", &down), Verdict::Raised);
    let alert = rig.alert();
    assert_eq!(rig.key(), ["10.0.0.7/if/3", "link-down", ""]);
    assert_eq!((alert.severity, alert.summary.as_str()), (Severity::Major, "Interface ge-0/0/1 of 10.0.0.7 is down (ifIndex 3)"));
    let other = [("1.3.6.1.2.1.2.2.1.1.4", Value::Integer(4))];
    assert_eq!(rig.trap("1.3.6.1.6.3.1.1.5.4", &other), Verdict::ClearedNothing);
    assert_eq!(rig.trap("1.3.6.1.6.3.1.1.5.4", &down), Verdict::Cleared);
}

#[test]
fn an_interface_without_if_index_is_told_by_the_index_of_another_column() {
    let mut rig = Rig::new();
    rig.trap("1.3.6.1.6.3.1.1.5.3", &[("1.3.6.1.2.1.2.2.1.8.17", Value::Integer(2)), ("1.3.6.1.2.1.2.2.1.7.17", Value::Integer(2))]);
    assert_eq!(rig.key(), ["10.0.0.7/if/17", "link-down", ""]);
    assert_eq!(rig.alert().severity, Severity::Minor, "the administrator shut the port");
    assert_eq!(rig.trap("1.3.6.1.6.3.1.1.5.4", &[("1.3.6.1.2.1.31.1.1.1.1.17", text("Gi17"))]), Verdict::Cleared);
}

#[test]
fn a_link_trap_without_any_index_still_raises() {
    let mut rig = Rig::new();
    rig.trap("1.3.6.1.6.3.1.1.5.3", &[]);
    assert_eq!(rig.key(), ["10.0.0.7/if/-", "link-down", ""]);
}

#[test]
fn every_standard_notification_has_its_alert() {
    for (notification, varbinds, resource, kind) in [
        ("1.3.6.1.6.3.1.1.5.1", vec![], "10.0.0.7", "cold-start"),
        ("1.3.6.1.6.3.1.1.5.2", vec![], "10.0.0.7", "warm-start"),
        ("1.3.6.1.6.3.1.1.5.5", vec![], "10.0.0.7", "snmp-authentication-failure"),
        (
            "1.3.6.1.6.3.1.1.5.6",
            vec![("1.3.6.1.2.1.8.5.1.2.10.1.1.1", Value::IpAddress([10, 1, 1, 1].into()))],
            "10.0.0.7/egp/10.1.1.1",
            "egp-neighbour-loss",
        ),
        ("1.3.6.1.2.1.47.2.0.1", vec![], "10.0.0.7", "entity-config-change"),
        ("1.3.6.1.2.1.17.0.2", vec![], "10.0.0.7", "bridge-topology-change"),
        ("1.3.6.1.2.1.68.0.1", vec![], "10.0.0.7", "vrrp-new-master"),
        (
            "1.3.6.1.4.1.9.9.91.2.0.1",
            vec![("1.3.6.1.4.1.9.9.91.1.1.1.1.4.1001", Value::Integer(61))],
            "10.0.0.7/entity/1001",
            "sensor-threshold",
        ),
        (
            "1.3.6.1.2.1.88.2.0.1",
            vec![("1.3.6.1.2.1.88.2.1.1.0", text("dskTable")), ("1.3.6.1.2.1.88.2.1.4.0", oid("1.3.6.1.4.1.2021.9.1.100.1"))],
            "10.0.0.7",
            "trigger-fired",
        ),
        ("1.3.6.1.2.1.14.16.2.6", vec![], "10.0.0.7", "ospf-event"),
    ] {
        let mut rig = Rig::new();
        assert_eq!(rig.trap(notification, &varbinds), Verdict::Raised, "{notification}");
        let [r, k, _] = rig.key();
        assert_eq!((r.as_str(), k.as_str()), (resource, kind), "{notification}");
    }
}

#[test]
fn pairs_of_notifications_end_each_other() {
    let peer = |column: &str| vec![(format!("1.3.6.1.2.1.15.3.1.{column}.10.0.0.9"), Value::Integer(1))];
    let of = |name: &str, value: i64| vec![(name.to_owned(), Value::Integer(value))];
    for (raise, varbinds, clear, end_varbinds, resource) in [
        ("1.3.6.1.2.1.15.7.2", peer("14"), "1.3.6.1.2.1.15.7.1", peer("2"), "10.0.0.7/bgp/10.0.0.9"),
        ("1.3.6.1.2.1.15.0.2", peer("2"), "1.3.6.1.2.1.15.7.0.1", peer("14"), "10.0.0.7/bgp/10.0.0.9"),
        (
            "1.3.6.1.2.1.14.16.2.2",
            of("1.3.6.1.2.1.14.10.1.6.10.0.0.9.0", 1),
            "1.3.6.1.2.1.14.16.2.2",
            of("1.3.6.1.2.1.14.10.1.6.10.0.0.9.0", 8),
            "10.0.0.7/ospf/10.0.0.9.0",
        ),
        (
            "1.3.6.1.2.1.14.16.2.16",
            of("1.3.6.1.2.1.14.7.1.12.10.0.0.9.0", 1),
            "1.3.6.1.2.1.14.16.2.16",
            of("1.3.6.1.2.1.14.7.1.12.10.0.0.9.0", 4),
            "10.0.0.7/ospf-if/10.0.0.9.0",
        ),
        (
            "1.3.6.1.2.1.131.0.2",
            of("1.3.6.1.2.1.131.1.1.1.2.42", 4),
            "1.3.6.1.2.1.131.0.1",
            of("1.3.6.1.2.1.131.1.1.1.5.42", 1),
            "10.0.0.7/entity/42",
        ),
        (
            "1.3.6.1.2.1.16.0.1",
            of("1.3.6.1.2.1.16.3.1.1.1.5", 5),
            "1.3.6.1.2.1.16.0.2",
            of("1.3.6.1.2.1.16.3.1.1.1.5", 5),
            "10.0.0.7/rmon/5",
        ),
        (
            "1.3.6.1.2.1.105.0.2",
            of("1.3.6.1.2.1.105.1.3.1.1.4.1", 9),
            "1.3.6.1.2.1.105.0.3",
            of("1.3.6.1.2.1.105.1.3.1.1.4.1", 1),
            "10.0.0.7/poe/1",
        ),
        ("1.3.6.1.4.1.8072.4.0.2", vec![], "1.3.6.1.4.1.8072.4.0.3", vec![], "10.0.0.7"),
        ("1.3.6.1.2.1.33.2.2", of("1.3.6.1.2.1.33.1.7.3.0", 3), "1.3.6.1.2.1.33.2.0.2", of("1.3.6.1.2.1.33.1.7.3.0", 1), "10.0.0.7"),
    ] {
        let send = |rig: &mut Rig, oid: &str, list: &[(String, Value)]| {
            let list: Vec<_> = list.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
            rig.trap(oid, &list)
        };
        let mut rig = Rig::new();
        assert_eq!(send(&mut rig, raise, &varbinds), Verdict::Raised, "{raise}");
        assert_eq!(rig.alert().key.resource, resource);
        assert_eq!(send(&mut rig, clear, &end_varbinds), Verdict::Cleared, "{clear}");
    }
}

#[test]
fn a_ups_on_battery_is_one_alert_that_the_removal_of_its_alarm_ends() {
    let mut rig = Rig::new();
    let alarm = |n: u32| [("1.3.6.1.2.1.33.1.6.2.1.2.9", oid(&format!("1.3.6.1.2.1.33.1.6.3.{n}")))];
    assert_eq!(rig.trap("1.3.6.1.2.1.33.2.1", &[("1.3.6.1.2.1.33.1.2.3.0", Value::Integer(25))]), Verdict::Raised);
    assert_eq!(rig.alert().summary, "The UPS 10.0.0.7 runs on battery, about 25 minutes left");
    assert_eq!(rig.trap("1.3.6.1.2.1.33.2.3", &alarm(2)), Verdict::Updated);
    assert_eq!(rig.trap("1.3.6.1.2.1.33.2.3", &alarm(24)), Verdict::Raised);
    assert_eq!(rig.trap("1.3.6.1.2.1.33.2.4", &alarm(24)), Verdict::Cleared);
    assert_eq!(rig.alert().severity, Severity::Critical);
    assert_eq!(rig.trap("1.3.6.1.2.1.33.2.4", &alarm(2)), Verdict::Cleared);
    assert_eq!(rig.trap("1.3.6.1.2.1.33.2.2", &[("1.3.6.1.2.1.33.1.7.3.0", Value::Integer(5))]), Verdict::Suppressed);
}

#[test]
fn a_start_ends_the_agent_s_shutdown_and_is_reported_itself() {
    let mut rig = Rig::new();
    rig.trap("1.3.6.1.4.1.8072.4.0.2", &[]);
    assert_eq!(rig.trap("1.3.6.1.6.3.1.1.5.1", &[]), Verdict::Raised);
    assert_eq!(rig.key(), ["10.0.0.7", "cold-start", ""]);
}

#[test]
fn an_unknown_trap_is_a_minor_alert_that_names_its_oid_only() {
    let mut rig = Rig::new();
    assert_eq!(rig.trap("1.3.6.1.4.1.9999.0.7", &[("1.3.6.1.4.1.9999.1", text("secret"))]), Verdict::Raised);
    let alert = rig.alert();
    assert_eq!(rig.key(), ["10.0.0.7", "unknown-trap", "1.3.6.1.4.1.9999.0.7"]);
    assert_eq!((alert.severity, alert.summary.as_str()), (Severity::Minor, "Unknown trap 1.3.6.1.4.1.9999.0.7 from 10.0.0.7"));
    assert!(alert.labels.is_empty());
}

#[test]
fn log_lines_find_their_rule() {
    for (program, severity, message, kind, resource) in [
        ("sshd", 6, "Failed password for root from 203.0.113.9 port 4242 ssh2", "ssh-authentication-failure", "db1"),
        (
            "sshd-session",
            6,
            "Failed publickey for bob from 2001:db8::9 port 4242 ssh2: RSA SHA256:abc",
            "ssh-authentication-failure",
            "db1",
        ),
        ("sshd", 6, "Invalid user admin from 203.0.113.9 port 4242", "ssh-authentication-failure", "db1"),
        ("sshd", 6, "Invalid user  from 203.0.113.9", "ssh-authentication-failure", "db1"),
        (
            "sshd",
            5,
            "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=203.0.113.9  user=root",
            "ssh-authentication-failure",
            "db1",
        ),
        (
            "sshd",
            6,
            "error: maximum authentication attempts exceeded for root from 203.0.113.9 port 1 ssh2 [preauth]",
            "ssh-authentication-failure",
            "db1",
        ),
        ("sudo", 5, "pam_unix(sudo:auth): authentication failure; logname=bob uid=1000", "authentication-failure", "db1"),
        (
            "kernel",
            2,
            "EXT4-fs error (device sda1): ext4_lookup:1611: inode #2: comm ls: deleted inode referenced",
            "file-system-error",
            "db1/fs/sda1",
        ),
        ("kernel", 2, "EXT4-fs (dm-0): Remounting filesystem read-only", "file-system-error", "db1/fs/dm-0"),
        ("kernel", 1, "XFS (sdb1): Metadata corruption detected at xfs_agi_verify+0x0/0x0", "file-system-error", "db1/fs/sdb1"),
        ("kernel", 3, "XFS (sdb1): metadata I/O error in \"xfs_trans_read_buf_map\" at daddr 0x1", "file-system-error", "db1/fs/sdb1"),
        ("kernel", 3, "BTRFS error (device sdc): bdev /dev/sdc errs: wr 0, rd 1", "file-system-error", "db1/fs/sdc"),
        ("kernel", 3, "I/O error, dev sda, sector 2048 op 0x0:(READ) flags 0x80700", "disk-error", "db1/disk/sda"),
        ("kernel", 3, "blk_update_request: critical medium error, dev nvme0n1, sector 1", "disk-error", "db1/disk/nvme0n1"),
        ("kernel", 3, "Buffer I/O error on dev sda1, logical block 0, async page read", "disk-error", "db1/disk/sda1"),
        ("smartd", 4, "Device: /dev/sda [SAT], FAILED SMART self-check. BACK UP DATA NOW!", "disk-smart", "db1/disk//dev/sda"),
        ("smartd", 2, "Device: /dev/sda [SAT], 8 Currently unreadable (pending) sectors", "disk-smart", "db1/disk//dev/sda"),
        ("kernel", 1, "md/raid1:md0: Disk failure on sdb1, disabling device.", "raid-degraded", "db1/raid/md0"),
        ("mdadm", 1, "DegradedArray event detected on md device /dev/md/md0", "raid-degraded", "db1/raid/md0"),
        ("postgres", 3, "PANIC: could not write to file \"x\": No space left on device", "no-space-left", "db1"),
        ("kernel", 3, "Out of memory: Killed process 1234 (java) total-vm:1kB", "out-of-memory", "db1"),
        ("kernel", 6, "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,task=java,pid=1234,uid=0", "out-of-memory", "db1"),
        ("kernel", 4, "java invoked oom-killer: gfp_mask=0x0", "out-of-memory", "db1"),
        ("kernel", 0, "Kernel panic - not syncing: Fatal exception", "kernel-panic", "db1"),
        ("kernel", 3, "mce: [Hardware Error]: Machine check events logged", "hardware-error", "db1"),
        ("nginx", 3, "anything else", "syslog-error", "db1"),
    ] {
        let mut rig = Rig::new();
        assert_eq!(rig.syslog(program, severity, message), Verdict::Raised, "{message}");
        let [r, k, _] = rig.key();
        assert_eq!((k.as_str(), r.as_str()), (kind, resource), "{message}");
    }
}

#[test]
fn a_rebuilt_raid_ends_its_degradation() {
    let mut rig = Rig::new();
    rig.syslog("mdadm", 1, "Fail event detected on md device /dev/md0, component device /dev/sdb1");
    assert_eq!(rig.syslog("mdadm", 6, "RebuildFinished event detected on md device /dev/md0"), Verdict::Cleared);
}

#[test]
fn ordinary_lines_raise_nothing() {
    let mut rig = Rig::new();
    for (program, severity, message) in [
        ("sshd", 6, "Accepted publickey for bob from 10.0.0.1 port 22 ssh2"),
        ("kernel", 6, "EXT4-fs (sda1): mounted filesystem with ordered data mode"),
        ("nginx", 4, "a warning"),
    ] {
        assert_eq!(rig.syslog(program, severity, message), Verdict::Unmatched, "{message}");
    }
}

#[test]
fn a_user_name_cannot_forge_the_address_of_a_failed_sign_in() {
    let mut rig = Rig::new();
    rig.syslog("sshd", 6, "Failed password for invalid user x from 198.51.100.1 port 22 ssh2 from 203.0.113.9 port 4242 ssh2");
    assert_eq!(rig.alert().labels, BTreeMap::from([("address".to_owned(), "203.0.113.9".to_owned())]));
}

#[test]
fn severities_of_syslog_follow_rfc_5674() {
    for (severity, expected) in [(0, Severity::Critical), (1, Severity::Critical), (2, Severity::Major), (3, Severity::Minor)] {
        let mut rig = Rig::new();
        rig.syslog("nginx", severity, "x");
        assert_eq!(rig.alert().severity, expected);
    }
}

#[test]
fn pushes_raise_and_clear() {
    let mut rig = Rig::new();
    let push = |state| {
        Body::Push(PushEvent {
            state,
            resource: "sensor-1".to_owned(),
            kind: "too-hot".to_owned(),
            qualifier: "inlet".to_owned(),
            severity: Severity::Warning,
            summary: "SECRET".to_owned(),
            fields: BTreeMap::from([("a".to_owned(), "SECRET".to_owned())]),
        })
    };
    assert_eq!(rig.handle(push(PushState::Raise)), Verdict::Raised);
    let alert = rig.alert();
    assert_eq!(rig.key(), ["sensor-1", "too-hot", "inlet"]);
    assert_eq!((alert.severity, alert.summary.as_str()), (Severity::Warning, "too-hot on sensor-1"));
    assert!(!format!("{alert:?}").contains("SECRET"));
    assert_eq!(rig.handle(push(PushState::Clear)), Verdict::Cleared);
}

#[test]
fn a_push_without_a_qualifier_makes_an_alert_without_one() {
    let mut rig = Rig::new();
    let event = PushEvent {
        state: PushState::Raise,
        resource: "sensor-1".to_owned(),
        kind: "too-hot".to_owned(),
        qualifier: String::new(),
        severity: Severity::Warning,
        summary: String::new(),
        fields: BTreeMap::new(),
    };
    assert_eq!(rig.handle(Body::Push(event)), Verdict::Raised);
    assert_eq!(rig.key(), ["sensor-1", "too-hot", ""]);
}

#[test]
fn a_mark_in_text_that_no_rule_releases_never_comes_out() {
    const MARK: &str = "MARK7f3a";
    let mut rig = Rig::new();
    let document = postern_protocol::revision::parse(postern_protocol::revision::BUILT_IN.as_bytes()).unwrap();
    // Every OID that a rule names, each with a marked varbind that no rule releases.
    for rule in &document.rules {
        if let postern_protocol::revision::document::Matcher::Trap(matcher) = &rule.matcher {
            let oid =
                matcher.oid.clone().or_else(|| matcher.prefix.as_ref().map(|prefix| format!("{prefix}.1"))).unwrap_or("1.3.9".to_owned());
            rig.trap(&oid, &[("1.3.6.1.4.1.9999.1.0", text(MARK)), ("1.3.6.1.2.1.1.5.0", text(MARK))]);
        }
    }
    for severity in 0..=7 {
        for message in [
            MARK.to_owned(),
            format!("No space left on device: {MARK}"),
            format!("Failed password for {MARK} from 10.0.0.1 port 1 ssh2"),
            format!("oom-kill {MARK}"),
        ] {
            rig.syslog("sshd", severity, &message);
            rig.syslog("kernel", severity, &message);
        }
    }
    let changes = rig.0.drain_changes();
    assert!(changes.len() > 25, "the rules were at work");
    for alert in changes {
        let encoded = alert.encode();
        let found = encoded.windows(MARK.len()).any(|window| window == MARK.as_bytes());
        assert!(!found, "{alert:#?}");
    }
}

#[test]
fn evidence_names_the_sender_and_a_claim_that_differs() {
    let mut rig = Rig::new();
    let Body::Notification(notification) = trap("1.3.6.1.6.3.1.1.5.1", &[]) else { panic!("a trap") };
    rig.handle(Body::Notification(Notification { trap_address: Some([192, 0, 2, 9].into()), ..notification }));
    let evidence = rig.alert().evidence;
    assert_eq!((evidence.peer.as_str(), evidence.trap_address.as_str(), evidence.conflict), ("10.0.0.7", "192.0.2.9", true));
    assert_eq!((evidence.chosen_by.as_str(), evidence.transport.as_str()), ("peer", "udp"));

    let mut rig = Rig::new();
    let Body::Syslog(message) = syslog("nginx", 3, "x") else { panic!("a message") };
    rig.handle(Body::Syslog(SyslogMessage { host: Some("10.9.9.9".to_owned()), ..message }));
    let evidence = rig.alert().evidence;
    assert_eq!((evidence.hostname.as_str(), evidence.chosen_by.as_str(), evidence.conflict), ("10.9.9.9", "hostname", true));
}

#[test]
fn the_longest_alert_fits_a_record() {
    let mut rig = Rig::new();
    let long = "ü".repeat(5_000);
    rig.handle(Body::Syslog(SyslogMessage { host: Some(long.clone()), program: Some(long), severity: 1, ..SyslogMessage::default() }));
    let alert = rig.alert();
    assert_eq!(Alert::decode(&alert.encode()).expect("a record"), alert);
}

#[test]
fn every_way_in_which_sshd_reports_a_failed_sign_in_is_found() {
    for (program, message, address) in [
        ("sshd", "message repeated 5 times: [ Failed password for root from 203.0.113.9 port 4242 ssh2]", Some("203.0.113.9")),
        ("sshd(pam_unix)", "authentication failure; logname= uid=0 euid=0 tty=NODEVssh ruser= rhost=203.0.113.9 ", Some("203.0.113.9")),
        (
            "sshd",
            "PAM 5 more authentication failures; logname= uid=0 euid=0 tty=ssh ruser= rhost=203.0.113.9  user=root",
            Some("203.0.113.9"),
        ),
        ("sshd", "error: PAM: Authentication failure for root from 203.0.113.9", Some("203.0.113.9")),
        ("sshd", "error: PAM: User not known to the underlying module for illegal user bob from a.example.com", Some("a.example.com")),
        ("sshd-session", "User bob from 203.0.113.9 not allowed because not listed in AllowUsers", Some("203.0.113.9")),
        ("sshd", "Disconnecting: Too many authentication failures for root [preauth]", None),
        ("sshd", "Disconnecting authenticating user root 203.0.113.9 port 22: Too many authentication failures [preauth]", None),
    ] {
        let mut rig = Rig::new();
        assert_eq!(rig.syslog(program, 6, message), Verdict::Raised, "{message}");
        assert_eq!(rig.key(), ["db1", "ssh-authentication-failure", ""], "{message}");
        assert_eq!(rig.alert().labels.get("address").map(String::as_str), address, "{message}");
    }
}

#[test]
fn a_user_name_cannot_forge_the_address_of_a_pam_failure() {
    let mut rig = Rig::new();
    rig.syslog("sshd", 5, "authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=203.0.113.9  user=x rhost=198.51.100.1");
    assert_eq!(rig.alert().labels, BTreeMap::from([("address".to_owned(), "203.0.113.9".to_owned())]));
}

#[test]
fn failed_sign_ins_of_other_programs_are_found_in_their_words() {
    for (program, message) in [
        ("klogind", "Authentication failed from 203.0.113.9 (203.0.113.9): Permission denied in replay cache code"),
        ("su", "FAILED SU (to root) bob on pts/0"),
        ("login", "FAILED LOGIN (1) on '/dev/tty1' FOR 'root', Authentication failure"),
    ] {
        let mut rig = Rig::new();
        assert_eq!(rig.syslog(program, 5, message), Verdict::Raised, "{message}");
        assert_eq!(rig.key(), ["db1", "authentication-failure", program], "{message}");
    }
}

#[test]
fn a_kill_for_memory_is_found_whatever_the_process_is_called() {
    for (program, severity, message) in [
        ("kernel", 3, "[12.5] Out of memory: Killed process 1234 ((sd-pam)) total-vm:1kB"),
        ("kernel", 3, "[12.5] Memory cgroup out of memory: Killed process 1234 (a(b)) total-vm:1kB"),
        ("systemd", 5, "x.service: A process of this unit has been killed by the OOM killer."),
        ("systemd", 4, "x.service: Failed with result 'oom-kill'."),
    ] {
        let mut rig = Rig::new();
        assert_eq!(rig.syslog(program, severity, message), Verdict::Raised, "{message}");
        assert_eq!(rig.key(), ["db1", "out-of-memory", ""], "{message}");
    }
    let command = "bob : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/usr/bin/grep oom-kill /var/log/syslog";
    assert_eq!(Rig::new().syslog("sudo", 5, command), Verdict::Unmatched);
}

#[test]
fn an_xfs_that_shut_down_is_found() {
    for message in [
        "XFS (sdb1): Filesystem has been shut down due to log error (0x2).",
        "XFS (sdb1): Log I/O Error Detected. Shutting down filesystem",
        "XFS (sdb1): xfs_do_force_shutdown(0x2) called from line 1",
        "XFS (sdb1): xfs_log_force: error -5 returned.",
    ] {
        let mut rig = Rig::new();
        assert_eq!(rig.syslog("kernel", 4, message), Verdict::Raised, "{message}");
        assert_eq!(rig.key(), ["db1/fs/sdb1", "file-system-error", ""], "{message}");
    }
    for message in ["XFS (sdb1): Ending clean mount", "XFS (sdb1): Unmounting Filesystem", "XFS (sdb1): Mounting V5 Filesystem"] {
        assert_eq!(Rig::new().syslog("kernel", 5, message), Verdict::Unmatched, "{message}");
    }
}

#[test]
fn what_a_person_asked_of_a_ups_is_no_major_alarm() {
    for (alarm, severity) in [(11, Severity::Warning), (12, Severity::Warning), (24, Severity::Warning), (18, Severity::Major)] {
        let mut rig = Rig::new();
        rig.trap("1.3.6.1.2.1.33.2.3", &[("1.3.6.1.2.1.33.1.6.2.1.2.9", oid(&format!("1.3.6.1.2.1.33.1.6.3.{alarm}")))]);
        assert_eq!(rig.alert().severity, severity, "upsWellKnownAlarms.{alarm}");
    }
}
