//! Syslog lines as real senders write them.

use postern_protocol::timestamp::Timestamp;

use super::*;
use crate::event::Fields;

/// 2026-11-21T22:09:40Z.
const RECEIVED: Timestamp = Timestamp::from_secs(1_795_298_980);

fn line(text: impl AsRef<[u8]>) -> SyslogMessage {
    decode(text.as_ref(), &Context::utc(RECEIVED)).unwrap()
}

/// Host, program, PID and message of a line; empty for what is not there.
fn parts(text: &str) -> [String; 4] {
    let message = line(text);
    [message.host.unwrap_or_default(), message.program.unwrap_or_default(), message.pid.unwrap_or_default(), message.message]
}

fn seconds(text: &str) -> i64 {
    line(text).timestamp.unwrap().as_secs()
}

#[test]
fn the_examples_of_rfc_5424_are_decoded() {
    let message = line(
        "<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog 8710 ID47 [exampleSDID@32473 iut=\"3\" eventSource=\"Application\" \
         eventID=\"1011\"][examplePriority@32473 class=\"high\"] \u{feff}An application event log entry...",
    );
    let param = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        message,
        SyslogMessage {
            facility: 20,
            severity: 5,
            pri_present: true,
            timestamp: Some(Timestamp::from_nanos(1_065_910_455_003_000_000)),
            host: Some("mymachine.example.com".into()),
            program: Some("evntslog".into()),
            pid: Some("8710".into()),
            msgid: Some("ID47".into()),
            structured_data: vec![
                ("exampleSDID@32473".into(), vec![param("iut", "3"), param("eventSource", "Application"), param("eventID", "1011")]),
                ("examplePriority@32473".into(), vec![param("class", "high")]),
            ],
            fields: Fields::default(),
            message: "An application event log entry...".into(),
        }
    );
}

#[test]
fn a_nil_value_is_none() {
    let message = line("<0>1 - - - - - -");
    assert_eq!(message, SyslogMessage { pri_present: true, ..SyslogMessage::default() });
    assert_eq!(line("<34>1 - - su - - - hi").message, "hi");
}

#[test]
fn escapes_in_structured_data_are_resolved_and_other_backslashes_kept() {
    let message = line(r#"<13>1 - h a - - [x@1 a="q\" b\\ c\] d\n" b=""][y] text"#);
    let values: Vec<_> = message.structured_data[0].1.iter().map(|(_, value)| value.as_str()).collect();
    assert_eq!(values, [r#"q" b\ c] d\n"#, ""]);
    assert_eq!(message.structured_data[1], ("y".to_owned(), vec![]));
    assert_eq!(message.message, "text");
}

#[test]
fn broken_structured_data_stays_in_the_message_and_loses_no_header() {
    for broken in ["[x@1 a=\"b", "[x@1 a=b] text", "[", "[]", "text without", "[x@1 a=\"b\"c]"] {
        let message = line(format!("<13>1 2003-10-11T22:14:15Z host app 1 id {broken}"));
        assert_eq!((message.host.as_deref(), message.program.as_deref()), (Some("host"), Some("app")));
        assert_eq!(message.message, broken);
    }
}

#[test]
fn a_truncated_rfc_5424_line_keeps_what_arrived() {
    let whole = "<13>1 2003-10-11T22:14:15Z host app 1 id - text";
    let message = line("<13>1 2003-10-11T22:14:15Z host app");
    assert_eq!((message.host.as_deref(), message.program.as_deref(), message.pid), (Some("host"), Some("app"), None));
    for length in 4..whole.len() {
        assert!(line(&whole[..length]).pri_present);
    }
}

#[test]
fn a_line_that_only_looks_like_rfc_5424_is_all_message() {
    assert_eq!(parts("<13>1 2003-13-11T22:14:15Z host app")[3], "1 2003-13-11T22:14:15Z host app");
    assert_eq!(parts("<13>1 apple a day")[3], "1 apple a day");
}

#[test]
fn what_util_linux_logger_sends_is_decoded() {
    assert_eq!(parts("<155>Nov 21 22:09:39 vm root: Hello wörld: x"), ["vm", "root", "", "Hello wörld: x"]);
    assert_eq!(parts("<155>Nov 21 22:09:39 vm app[77]: Hello"), ["vm", "app", "77", "Hello"]);
    assert_eq!(seconds("<155>Nov 21 22:09:39 vm app[77]: Hello"), RECEIVED.as_secs() - 1);
    let message = line(
        "<155>1 2026-11-21T22:09:39.118347+00:00 vm root - ID47 [timeQuality tzKnown=\"1\" isSynced=\"0\"]\
         [zoo@123 tiger=\"hun\\\"gry\"] Hello wörld: x",
    );
    assert_eq!((message.facility, message.severity, message.msgid.as_deref()), (19, 3, Some("ID47")));
    assert_eq!(message.structured_data[1].1, [("tiger".to_owned(), "hun\"gry".to_owned())]);
}

#[test]
fn what_rsyslog_forwards_is_decoded() {
    assert_eq!(parts("<38>Nov 21 22:09:39 web1 sshd[812]: Failed password"), ["web1", "sshd", "812", "Failed password"]);
    assert_eq!(parts("<38>2026-11-21T23:09:39.123456+01:00 web1 sshd[812]: Failed"), ["web1", "sshd", "812", "Failed"]);
    assert_eq!(seconds("<38>2026-11-21T23:09:39.123456+01:00 web1 sshd[812]: Failed"), RECEIVED.as_secs() - 1);
    // It came to rsyslog as RFC 5424, without and with PROCID.
    assert_eq!(parts("<155>Nov 21 22:26:31 vm sshd Hello wörld: x"), ["vm", "sshd", "", "Hello wörld: x"]);
    assert_eq!(parts("<155>2026-11-21T22:26:31.216328+00:00 vm app Hello wörld: x"), ["vm", "app", "", "Hello wörld: x"]);
    assert_eq!(parts("<155>2026-11-21T22:26:31.216328+00:00 vm app[5] Hello wörld: x"), ["vm", "app", "5", "Hello wörld: x"]);
    assert_eq!(parts("<6>Nov 21 22:09:39 web1 kernel: [ 12.5] oom"), ["web1", "kernel", "", "[ 12.5] oom"]);
}

#[test]
fn the_examples_of_rfc_3164_are_decoded() {
    assert_eq!(
        parts("<34>Oct 11 22:14:15 mymachine su: 'su root' failed for lonvick on /dev/pts/8"),
        ["mymachine", "su", "", "'su root' failed for lonvick on /dev/pts/8"]
    );
    assert_eq!(parts("Use the BFG!"), ["", "", "", "Use the BFG!"]);
    let message = line("Use the BFG!");
    assert_eq!((message.facility, message.severity, message.pri_present), (1, 5, false));
    assert_eq!(parts("<13>Feb  5 17:32:18 10.0.0.99 Use the BFG!"), ["10.0.0.99", "", "", "Use the BFG!"]);
}

#[test]
fn a_line_without_host_or_time_is_understood() {
    assert_eq!(parts("<13>Nov 21 22:09:39 cron[9]: run"), ["", "cron", "9", "run"]);
    assert_eq!(parts("<13>cron[9]: run"), ["", "cron", "9", "run"]);
    assert_eq!(parts("<13>postfix/smtpd[12]: run"), ["", "postfix/smtpd", "12", "run"]);
    assert_eq!(parts("<13>no header at all: http://x/"), ["", "", "", "no header at all: http://x/"]);
    assert_eq!(parts("<13>Nov 21 22:09:39 last message repeated 3 times")[0], "");
    assert_eq!(parts("<13>Nov 21 22:09:39 fe80::1 su: x"), ["fe80::1", "su", "", "x"]);
}

#[test]
fn a_pri_is_never_lost_and_a_wrong_one_never_invented() {
    for (text, pri) in [("<0>x", Some((0, 0))), ("<191>x", Some((23, 7))), ("<013>x", Some((1, 5))), ("\u{feff} <14>x", Some((1, 6)))] {
        let message = line(text);
        assert_eq!(message.pri_present.then_some((message.facility, message.severity)), pri, "{text}");
        assert_eq!(message.message, "x");
    }
    for text in ["<192>x", "<>x", "<1x", "<-1>x", "<1234>x", "<999999999999>x"] {
        let message = line(text);
        assert_eq!((message.pri_present, message.facility, message.severity), (false, 1, 5), "{text}");
        assert_eq!(message.message, text);
    }
}

#[test]
fn cisco_lines_are_known_by_their_label() {
    for (text, host) in [
        ("<187>29: *Mar  1 18:46:11.123 UTC: %LINK-3-UPDOWN: Interface down", ""),
        ("<187>29: r1: 000025: Mar  1 18:46:11: %LINK-3-UPDOWN: Interface down", "r1"),
        ("<187>45: 3d02h: %LINK-3-UPDOWN: Interface down", ""),
        ("<187>45: .Mar  1 2021 18:46:11 CET: %LINK-3-UPDOWN: Interface down", ""),
        ("<187>: 2021 Mar  1 18:46:11 UTC: %LINK-3-UPDOWN: Interface down", ""),
        ("<187>sw01.pdx01: 2021 Mar  1 18:46:11 UTC: %LINK-3-UPDOWN: Interface down", "sw01.pdx01"),
        ("<187>Mar  1 18:46:11 excal-113 %LINK-3-UPDOWN: Interface down", "excal-113"),
        ("<187>Mar  1 2021 18:46:11 fw1 : %LINK-3-UPDOWN: Interface down", "fw1"),
        ("<187>Mar  1 18:46:11 172.22.22.45 : 2021 Mar 01 18:18:22 UTC: %LINK-3-UPDOWN: Interface down", "172.22.22.45"),
        ("<187>%LINK-3-UPDOWN: Interface down", ""),
    ] {
        let message = line(text);
        assert_eq!((message.facility, message.severity), (23, 3), "{text}");
        assert_eq!(parts(text), [host, "%LINK-3-UPDOWN", "", "Interface down"], "{text}");
        assert_eq!(message.msgid.as_deref(), Some("UPDOWN"), "{text}");
    }
    let xr = "<187>9: router1 RP/0/RSP0/CPU0:Mar  1 18:46:11.123 : ifmgr[209]: %PKT_INFRA-LINK-3-UPDOWN : Interface down";
    assert_eq!(parts(xr), ["router1", "%PKT_INFRA-LINK-3-UPDOWN", "209", "Interface down"]);
    assert!(line(xr).timestamp.is_some());
}

#[test]
fn a_program_that_quotes_a_cisco_label_stays_the_program() {
    let text = "<13>Nov 21 22:09:39 host app: %FOO-3-BAR: x";
    assert_eq!(parts(text), ["host", "app", "", "%FOO-3-BAR: x"]);
    assert_eq!(parts("<13>app: %FOO-3-BAR: x"), ["", "app", "", "%FOO-3-BAR: x"]);
    assert_eq!(parts("<13>Nov 21 22:09:39 host df: 95% full"), ["host", "df", "", "95% full"]);
}

#[test]
fn lines_of_other_vendors_keep_their_pri_and_their_whole_text() {
    assert_eq!(parts("<189>date=2026-11-21 time=22:09:39 devname=\"fw\"")[3], "date=2026-11-21 time=22:09:39 devname=\"fw\"");
    assert_eq!(parts("<30>system,info,account user admin logged in")[3], "system,info,account user admin logged in");
    assert_eq!(parts("<14>Nov 21 22:09:39 PA-VM 1,2026/11/21 22:09:39,TRAFFIC")[3], "1,2026/11/21 22:09:39,TRAFFIC");
    assert_eq!(parts("<13>Nov 21 22:09:39 h CEF:0|V|P|1: x"), ["h", "CEF", "", "CEF:0|V|P|1: x"]);
    assert_eq!(line("<189>date=2026-11-21").severity, 5);
}

#[test]
fn trailing_line_ends_and_nuls_are_no_part_of_a_line() {
    assert_eq!(line("<13>su: x\n").message, "x");
    assert_eq!(line("<13>su: x\r\n\0").message, "x");
    assert_eq!(decode(b"\n\0", &Context::utc(RECEIVED)), Err(DecodeError::Empty));
    assert_eq!(decode(b"", &Context::utc(RECEIVED)), Err(DecodeError::Empty));
    assert_eq!(decode(&vec![b'x'; MAX_LINE_BYTES + 1], &Context::utc(RECEIVED)), Err(DecodeError::TooLong(MAX_LINE_BYTES + 1)));
}

#[test]
fn what_is_not_readable_is_made_readable() {
    assert_eq!(line(b"<13>su: b\xfcro \x1b[31m\tx").message, "b\u{fffd}ro \u{fffd}[31m\tx");
    assert_eq!(line(b"<13>1 - h\x01\xff a - - -").host.as_deref(), Some("h\u{fffd}\u{fffd}"));
}

#[test]
fn the_space_that_rsyslog_puts_before_a_message_is_no_part_of_it() {
    // RSYSLOG_SyslogProtocol23Format of a line that came as RFC 3164.
    let text = "<86>1 2026-11-21T22:09:39+00:00 web1 sshd 812 - -  Failed password";
    assert_eq!(parts(text), ["web1", "sshd", "812", "Failed password"]);
    assert_eq!(line("<13>1 - h a - - [x@1 a=\"b\"]  text").message, "text");
    assert_eq!(line("<13>1 - h a - - -    indented").message, "  indented");
}

#[test]
fn a_line_of_a_leap_day_keeps_its_header_in_a_year_without_one() {
    let text = "<86>Feb 29 12:00:00 web1 sshd[812]: Failed password";
    assert_eq!(parts(text), ["web1", "sshd", "812", "Failed password"]);
    // 2024-02-29T12:00:00Z.
    assert_eq!(seconds(text), 1_709_208_000);
}

#[test]
fn offsets_without_colon_and_fractions_behind_a_comma_lose_no_header() {
    let expected = RECEIVED.as_secs() - 1;
    for text in [
        "<13>1 2026-11-21T23:09:39+0100 web1 app 7 - - x",
        "<13>1 2026-11-21T22:09:39,500Z web1 app 7 - - x",
        "<13>2026-11-21T23:09:39+0100 web1 app[7]: x",
        "<13>Nov 21 22:09:39,500 web1 app[7]: x",
    ] {
        assert_eq!(parts(text), ["web1", "app", "7", "x"], "{text}");
        assert_eq!(seconds(text), expected, "{text}");
    }
}

#[test]
fn a_repetition_that_a_relay_reports_has_no_program() {
    assert_eq!(parts("<13>Nov 21 22:09:39 web1 last message repeated 3 times"), ["web1", "", "", "last message repeated 3 times"]);
}

#[test]
fn a_junos_program_is_not_lost_behind_an_explicit_priority() {
    for text in [
        "<28>Nov 21 22:09:39  mx1 mib2d[1234]: %DAEMON-4-SNMP_TRAP_LINK_DOWN: ifIndex 526",
        "<28>Nov 21 22:09:39.123 2026  mx1 mib2d[1234]: %DAEMON-4-SNMP_TRAP_LINK_DOWN: ifIndex 526",
    ] {
        assert_eq!(parts(text), ["mx1", "mib2d", "1234", "%DAEMON-4-SNMP_TRAP_LINK_DOWN: ifIndex 526"], "{text}");
    }
}

#[test]
fn a_word_before_a_cisco_label_is_a_host_only_behind_a_counter_or_a_time() {
    assert_eq!(parts("<187>hunter2 %SYS-3-FOO: x"), ["", "", "", "hunter2 %SYS-3-FOO: x"]);
}

#[test]
fn a_cisco_line_names_its_device_context_or_task() {
    let vdc = ["2026 Nov 21 22:09:39.5 CET: %$ VDC-1 %$ %PLATFORM-2-PS_FAIL: x", "Nov 21 22:09:39 n7k %$ VDC-1 %$ %PLATFORM-2-PS_FAIL: x"];
    assert_eq!(parts(&format!("<187>: {}", vdc[0])), ["", "%PLATFORM-2-PS_FAIL", "", "x"]);
    assert_eq!(parts(&format!("<187>{}", vdc[1])), ["n7k", "%PLATFORM-2-PS_FAIL", "", "x"]);
    let aireos = "<134>wlc1: *spamApTask4: Nov 21 22:09:39.123: %CAPWAP-3-DECODE_ERR: capwap_ac_sm.c:1234 x";
    assert_eq!(parts(aireos), ["wlc1", "%CAPWAP-3-DECODE_ERR", "", "capwap_ac_sm.c:1234 x"]);
    assert_eq!(parts("<13>Nov 21 22:09:39 web1 load: 5 %$ of %FOO-3-BAR: x")[1], "load");
}
