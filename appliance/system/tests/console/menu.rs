//! Page, menu and questions: what a person sees, and what the broker is asked for it.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::Receiver;

use postern_appliance::settings::Submission;
use postern_appliance::verb::{
    Answer, Enrolment, Firewall, FirstbootOutcome, FirstbootReport, Reply, Slot, Slots, SshState, SshStatus, Status, Verb,
};
use postern_protocol::status::doctor::{Finding, Grade, Report};
use tempfile::TempDir;

use crate::peer::{done, listen};
use crate::screen::Screen;

const INTERRUPT: &[u8] = b"\x03";
const END: &[u8] = b"\x04";

fn status() -> Status {
    Status {
        version: "0.1.0".to_owned(),
        hostname: "gw1".to_owned(),
        settings: Submission::parse([("hostname", "gw1"), ("dns", "192.0.2.53")]).unwrap().settings,
        damage: None,
        veto: None,
        addresses: Vec::new(),
        enrolment: Enrolment::Refused { reason: "the token was\x1b]0;owned\x07 used before".to_owned() },
        firstboot: Some(FirstbootReport {
            outcome: FirstbootOutcome::NothingFound,
            source: None,
            applied: Vec::new(),
            faults: Vec::new(),
            notes: Vec::new(),
            done: false,
        }),
        ssh: SshStatus::Off {},
        slots: Slots { installed: vec![Slot { name: "a".into(), version: "0.1.0".into(), tries_left: None }], running: Some("a".into()) },
        firewall: Firewall::default(),
        refused_requests: 0,
    }
}

fn answer(verb: &Verb) -> Reply {
    match verb {
        Verb::Status {} => Reply::Ok { answer: Answer::Status { status: Box::new(status()) } },
        Verb::Doctor {} => Reply::Ok { answer: Answer::Doctor { report: Some(report()) } },
        Verb::Slots {} => Reply::Ok { answer: Answer::Slots { slots: status().slots } },
        Verb::Ssh { .. } => Reply::Refused { reason: "the site's veto forbids ssh".to_owned() },
        _ => done(),
    }
}

fn report() -> Report {
    let finding = |grade, what: &str| Finding {
        id: "dns".to_owned(),
        grade,
        what: what.to_owned(),
        evidence: "no answer\x1b[2J".to_owned(),
        advice: "look at the resolvers".to_owned(),
    };
    let findings = vec![finding(Grade::Fault, "the control plane's name has no address"), finding(Grade::Good, "the disks are good")];
    Report { at: 1_800_000_000_000_000_000, findings }
}

/// A console and what it asks its broker.
struct Rig {
    dir: TempDir,
    screen: Screen,
    asked: Option<Receiver<Verb>>,
}

impl Rig {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let asked = Some(listen(&dir.path().join("broker.sock"), answer));
        Self { screen: Screen::open(&dir.path().join("broker.sock"), &[]), dir, asked }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("broker.sock")
    }

    /// Returns what the broker was asked, without the looks at its status.
    fn asked(&self) -> Vec<Verb> {
        self.asked.iter().flat_map(Receiver::try_iter).filter(|verb| *verb != Verb::Status {}).collect()
    }
}

#[test]
fn the_page_is_shown_without_a_key_and_obeys_nobody_outside() {
    let mut rig = Rig::new();
    let screen = &mut rig.screen;
    let page = screen.wait("Number, or Enter to refresh:");
    for text in [
        "Host name       gw1",
        "DNS 192.0.2.53",
        "refused: the token was?]0;owned? used before",
        "no settings found",
        "SSH             off",
    ] {
        assert!(page.contains(text), "{text}: {page}");
    }
    let escapes = page.matches('\x1b').count();
    assert_eq!(escapes, 2 * page.matches("\x1b[2J\x1b[H").count(), "only our own way to clear the screen: {page:?}");
}

#[test]
fn a_setting_is_asked_checked_and_applied_with_the_others() {
    let mut rig = Rig::new();
    let screen = &mut rig.screen;
    screen.enter("4", "time servers");
    screen.keys(b"-bad-\r");
    screen.wait("Not taken: \"-bad-\" is not a host name");
    screen.keys(b"ntpp\x7f.example.com\r");
    screen.finish("Done.");
    screen.wait("Number, ");
    let asked = rig.asked();
    let [Verb::Apply { settings, token: None, veto: None }] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!(
        serde_json::to_value(settings).unwrap(),
        serde_json::json!({"hostname": "gw1", "dns": "192.0.2.53", "ntp": "ntp.example.com"})
    );
}

#[test]
fn a_token_is_not_echoed() {
    const TOKEN: &str = "postern1.BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQAAAAD0hlcAutQ7ng";
    let mut rig = Rig::new();
    let screen = &mut rig.screen;
    screen.enter("6", "URL of the control plane");
    screen.keys(b"https://control.example.com\r");
    screen.wait("Enrolment token");
    screen.keys(format!("{TOKEN}\r").as_bytes());
    let shown = screen.wait("Press Enter");
    assert!(!shown.contains("BwcH") && shown.contains("****") && shown.contains("Done."), "{shown}");
    let asked = rig.asked();
    assert!(matches!(&asked[..], [Verb::Apply { token: Some(token), .. }] if token.expose() == TOKEN), "{asked:?}");
}

#[test]
fn what_the_broker_refuses_is_shown_with_its_reason() {
    let mut rig = Rig::new();
    let screen = &mut rig.screen;
    screen.enter("8", "Minutes");
    screen.keys(b"30\r");
    screen.finish("Refused: the site's veto forbids ssh");
    assert_eq!(rig.asked(), [Verb::Ssh { state: SshState::On { minutes: 30 } }]);
}

#[test]
fn a_reset_wants_the_host_name_and_a_reboot_yes() {
    let mut rig = Rig::new();
    rig.screen.enter("12", "Type the host name gw1:");
    rig.screen.keys(b"yes\r");
    rig.screen.wait("not this machine's host name");
    rig.screen.keys(b"\r");
    rig.screen.finish("Nothing was changed.");
    rig.screen.enter("10", "Type yes:");
    rig.screen.keys(b"no\r");
    rig.screen.finish("Nothing was changed.");
    assert_eq!(rig.asked(), []);
    rig.screen.enter("12", "Type the host name gw1:");
    rig.screen.keys(b"gw1\r");
    rig.screen.finish("Done.");
    assert_eq!(rig.asked(), [Verb::FactoryReset { confirm_hostname: "gw1".to_owned() }]);
}

#[test]
fn interrupts_always_lead_back_to_the_menu() {
    let mut rig = Rig::new();
    let screen = &mut rig.screen;
    screen.wait("Number, ");
    for keys in [INTERRUPT, END] {
        screen.keys(keys);
        screen.wait("Number, ");
    }
    // Stop, quit, flow control and arrows do nothing at all.
    screen.keys(b"\x1a\x1c\x13\x11\x1b[A\x1b[B9\r");
    screen.finish("Working ...");
    screen.wait("Number, ");
    screen.keys(b"1\r");
    screen.wait("Address with prefix length");
    screen.keys(b"192.0.2");
    screen.keys(INTERRUPT);
    screen.wait("Number, ");
    assert!(screen.is_running());
    assert_eq!(rig.asked(), [Verb::Slots {}]);
}

#[test]
fn nothing_that_is_typed_at_the_menu_runs_anything() {
    let mut rig = Rig::new();
    let screen = &mut rig.screen;
    screen.wait("Number, ");
    for line in ["sh", "!sh", ";sh", "$(sh)", "../../bin/sh", "0", "99", "q"] {
        screen.keys(format!("{line}\r").as_bytes());
        screen.finish("There is no such entry");
        screen.wait("Number, ");
    }
    assert_eq!(rig.asked(), []);
}

#[test]
fn without_a_broker_it_says_so_and_tries_again() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("broker.sock");
    let mut rig = Rig { screen: Screen::open(&socket, &[]), dir, asked: None };
    rig.screen.wait("the broker does not answer; trying again");
    rig.screen.enter("10", "nothing can be changed");
    rig.screen.finish("");
    rig.screen.wait("Number, ");
    rig.asked = Some(listen(&rig.socket(), answer));
    // It comes back by itself, without a key.
    rig.screen.wait("Host name       gw1");
}

#[test]
fn who_came_by_ssh_can_leave_and_the_terminal_is_as_before() {
    for keys in [&b"q\r"[..], END] {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("broker.sock");
        let _asked = listen(&socket, answer);
        let mut screen = Screen::open(&socket, &[("SSH_CONNECTION", "192.0.2.1 1 192.0.2.2 22")]);
        screen.wait("q to log out:");
        assert!(!screen.is_in_line_mode());
        screen.keys(keys);
        assert!(screen.ended().success() && screen.is_in_line_mode());
    }
}

#[test]
fn the_shell_of_the_admin_runs_no_command() {
    for command in ["/bin/sh", "--broker=/tmp/x", "-i", "sftp-server", ""] {
        let output = Command::new(env!("CARGO_BIN_EXE_console")).args(["-c", command]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{command}");
        assert!(output.stdout.is_empty() && String::from_utf8_lossy(&output.stderr).contains("runs no commands"), "{command}");
    }
}

#[test]
fn a_pipe_is_served_line_by_line_and_its_end_is_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let asked = listen(&dir.path().join("broker.sock"), answer);
    let mut command = Command::new(env!("CARGO_BIN_EXE_console"));
    command.arg("--broker").arg(dir.path().join("broker.sock")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut program = command.spawn().unwrap();
    program.stdin.take().unwrap().write_all(b"3\n192.0.2.54\n\n").unwrap();
    let output = program.wait_with_output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && shown.contains("Done.") && !shown.contains('\x1b'), "{shown}");
    assert!(asked.try_iter().any(|verb| matches!(verb, Verb::Apply { .. })));
}

#[test]
fn what_the_doctor_found_is_shown_with_what_to_do() {
    let mut rig = Rig::new();
    let screen = &mut rig.screen;
    screen.enter("13", "The gateway's doctor looked at 2027-01-15T08:00:00Z.");
    let shown = screen.wait("Press Enter");
    for text in ["FAULT", "the control plane's name has no address", "no answer?[2J", "look at the resolvers", "Looked at and good: 1."] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    screen.keys(b"\r");
    screen.wait("Number, ");
    assert_eq!(rig.asked(), [Verb::Doctor {}]);
}
