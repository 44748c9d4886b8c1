//! util-linux `logger` and rsyslog against the gateway: nothing of what they say may be misread.

use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::harness::rig::Rig;
use crate::revisions;
use postern_tests::api::Force;
use postern_tests::deadline::{SOON, wait_for};
use postern_tests::tools::{logger, run, succeeded};

/// A rule that shows every part of a syslog message.
pub(crate) fn show_all() -> String {
    let parts = ["facility", "severity", "host", "program", "pid", "msgid", "message", "transport"];
    let mut release: serde_json::Map<String, Value> = parts.iter().map(|part| ((*part).into(), json!({"max_bytes": 200}))).collect();
    release.insert("tiger".into(), json!({"from": "sd:zoo@32473.tiger", "max_bytes": 32}));
    let labels: serde_json::Map<String, Value> = release.keys().map(|part| (part.clone(), format!("{{{part}}}").into())).collect();
    json!({"format": 1, "rules": [{
        "id": "show-all", "match": {"syslog": {}}, "release": release,
        "then": {"raise": {"resource": "{program}", "kind": "line", "severity": "minor", "summary": "{message}", "labels": labels}}
    }]})
    .to_string()
}

fn expect(rig: &Rig, program: &str, labels: &[(&str, &str)]) {
    let alert = rig.api.wait_for_alert(program, |alert| alert["resource"] == program);
    for (name, value) in labels {
        assert_eq!(alert["labels"][name], *value, "{name} of {program}: {alert:#}");
    }
    assert_eq!(alert["count"], 1, "one line, one report");
}

fn host_name() -> String {
    let output = run("uname", &["-n"]);
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn logger_over_udp_and_tcp_in_both_grammars() {
    let rig = Rig::start();
    revisions::apply(&rig, &show_all(), Force::Checked);
    let (to, host) = (rig.prepared.sockets.syslog(), host_name());
    let short_host = host.split('.').next().unwrap();
    let message = "volume 2: I/O error, dev sda <sector 7>";
    let cases: [(&str, &[&str]); 6] = [
        ("u3164", &["--udp", "--rfc3164"]),
        ("u5424", &["--udp", "--rfc5424"]),
        ("t3164", &["--tcp", "--rfc3164"]),
        ("t5424", &["--tcp", "--rfc5424"]),
        ("o3164", &["--tcp", "--rfc3164", "--octet-count"]),
        ("o5424", &["--tcp", "--rfc5424", "--octet-count"]),
    ];
    for (tag, flags) in cases {
        logger(to, &[flags, &["--priority", "local3.crit", "--tag", tag, "--id=4711", message]].concat());
    }
    for (tag, flags) in cases {
        let transport = flags[0].trim_start_matches('-');
        // RFC 3164 §4.1.2 has no room for a domain: logger sends the short name.
        let host = if flags[1] == "--rfc3164" { short_host } else { host.as_str() };
        let labels =
            [("facility", "local3"), ("severity", "crit"), ("pid", "4711"), ("message", message), ("transport", transport), ("host", host)];
        expect(&rig, tag, &labels);
    }
    let zoo = ["--tcp", "--rfc5424", "--tag", "zoo", "--msgid", "FED", "--sd-id", "zoo@32473", "--sd-param", "tiger=\"hungry\"", "roar"];
    logger(to, &zoo);
    expect(&rig, "zoo", &[("msgid", "FED"), ("tiger", "hungry"), ("message", "roar"), ("facility", "user"), ("severity", "notice")]);
    let totals = rig.status().unwrap().ledger.totals;
    assert_eq!((totals.received, totals.accepted), (7, 7), "{totals:?}");
}

#[test]
fn a_whole_file_over_one_tcp_connection_arrives_line_by_line() {
    let rig = Rig::start();
    revisions::apply(&rig, &show_all(), Force::Checked);
    let lines: String = (0..500).map(|number| format!("line number {number}\n")).collect();
    let file = rig.layout().root().join("lines");
    std::fs::write(&file, lines).unwrap();
    logger(rig.prepared.sockets.syslog(), &["--tcp", "--octet-count", "--tag", "file", "--file", file.to_str().unwrap()]);
    let alert = rig.api.wait_for_alert("all lines", |alert| alert["count"] == 500);
    assert_eq!(alert["labels"]["message"], "line number 499", "the last line is the last state");
}

/// A rsyslogd of the test's own, that takes datagrams on a socket and forwards them.
struct Rsyslog {
    child: Child,
    socket: std::path::PathBuf,
}

impl Rsyslog {
    fn start(rig: &Rig, name: &str, action: &str) -> Self {
        let dir = rig.layout().root().join(name);
        std::fs::create_dir(&dir).unwrap();
        let (socket, config) = (dir.join("in"), dir.join("rsyslog.conf"));
        let text = format!(
            "global(workDirectory={dir:?})\nmodule(load=\"imuxsock\" SysSock.Use=\"off\")\n\
             input(type=\"imuxsock\" Socket={socket:?} ParseHostname=\"off\")\n{action}\n"
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new("rsyslogd");
        command.env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin").arg("-n").arg("-f").arg(&config).arg("-i").arg(dir.join("pid"));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_for("rsyslogd", SOON, || socket.exists().then_some(()).ok_or_else(|| "no socket".to_owned()));
        Self { child, socket }
    }

    fn log(&self, args: &[&str]) {
        succeeded(&run("logger", &[&["--socket", self.socket.to_str().unwrap()], args].concat()));
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn rsyslog_forwards_over_udp_and_tcp_in_both_grammars_and_framings() {
    let rig = Rig::start();
    revisions::apply(&rig, &show_all(), Force::Checked);
    let port = rig.prepared.sockets.syslog().port();
    let cases = [
        ("udp3164", "udp", "RSYSLOG_TraditionalForwardFormat", "traditional"),
        ("udp5424", "udp", "RSYSLOG_SyslogProtocol23Format", "traditional"),
        ("tcp3164", "tcp", "RSYSLOG_TraditionalForwardFormat", "traditional"),
        ("tcp5424", "tcp", "RSYSLOG_SyslogProtocol23Format", "octet-counted"),
        ("tcpfwd", "tcp", "RSYSLOG_ForwardFormat", "octet-counted"),
    ];
    for (name, protocol, template, framing) in cases {
        let action = format!(
            "action(type=\"omfwd\" target=\"127.0.0.1\" port=\"{port}\" protocol=\"{protocol}\" template=\"{template}\" \
             TCP_Framing=\"{framing}\")"
        );
        let rsyslog = Rsyslog::start(&rig, name, &action);
        rsyslog.log(&["--priority", "authpriv.warning", "--tag", name, "--id=99", "session opened for user root"]);
        let labels = [
            ("facility", "authpriv"),
            ("severity", "warning"),
            ("program", name),
            ("pid", "99"),
            ("message", "session opened for user root"),
            ("transport", protocol),
        ];
        expect(&rig, name, &labels);
        let alert = rig.api.wait_for_alert(name, |alert| alert["resource"] == name);
        let host = alert["labels"]["host"].as_str().unwrap();
        assert!(host_name().starts_with(host), "{host}");
    }
}

#[test]
fn the_built_in_rules_raise_errors_and_leave_chatter_alone() {
    let rig = Rig::start();
    let to = rig.prepared.sockets.syslog();
    logger(to, &["--udp", "--priority", "daemon.info", "--tag", "chatter", "all is well"]);
    logger(to, &["--udp", "--priority", "daemon.err", "--tag", "backup", "volume 2 cannot be read"]);
    let alert = rig.api.wait_for_alert("the error", |alert| alert.to_string().contains("backup"));
    assert_eq!(alert["state"], "open");
    assert!(!alert.to_string().contains("volume 2"), "a catch-all rule releases no message: {alert:#}");
    rig.wait_for_status("both lines", |status| status.ledger.totals.accepted == 2);
    assert_eq!(rig.api.alerts().len(), 1);
}
