//! Whatever is typed, pasted or sent from outside: the console asks only for what its forms allow, and shows plain text.

#![allow(clippy::panic, clippy::unwrap_used)]

use postern_appliance::console::editor::{Echo, LineEditor, MAX_LINE_BYTES, Step};
use postern_appliance::console::form::{Form, Progress, Start};
use postern_appliance::console::menu::{Choice, Entry, Session};
use postern_appliance::console::text::{WIDTH, labelled, paragraph, printable};
use postern_appliance::settings::Settings;
use postern_appliance::verb::{Enrolment, Firewall, Slots, SshStatus, Status, Verb};
use proptest::prelude::*;

fn status() -> Status {
    Status {
        version: String::new(),
        hostname: "gw1".to_owned(),
        settings: Settings::default(),
        damage: None,
        veto: None,
        addresses: Vec::new(),
        enrolment: Enrolment::NoToken {},
        firstboot: None,
        ssh: SshStatus::Off {},
        slots: Slots::default(),
        firewall: Firewall::default(),
        refused_requests: 0,
    }
}

/// Answers of people: mostly nearly right.
fn answers() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "(dhcp|-|yes|off|gw1|[0-9]{1,5}|)",
        "[0-9]{1,3}(\\.[0-9]{1,3}){3}(/[0-9]{1,2})?",
        "https?://[a-z:@.0-9/-]{0,20}",
        "postern1\\.[A-Za-z0-9_-]{0,120}",
        "ssh-ed25519 [A-Za-z0-9+/=]{0,80} [ -~]{0,20}",
    ]
}

proptest! {
    #[test]
    fn the_editor_gives_only_printable_bounded_lines(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        let mut editor = LineEditor::new(Echo::Stars);
        for byte in bytes {
            match editor.feed(byte) {
                Step::Line(line) => {
                    prop_assert!(line.len() <= MAX_LINE_BYTES && line.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
                    prop_assert!(editor.is_empty());
                }
                Step::Echo(echo) => prop_assert!(echo.bytes().all(|byte| matches!(byte, b'*' | b' ' | 0x07 | 0x08))),
                Step::End | Step::Interrupt => prop_assert!(editor.is_empty()),
            }
        }
    }

    #[test]
    fn a_typed_line_is_the_line_that_arrives(line in "[ -~]{0,200}", end in "(\r|\n|\r\n)") {
        let mut editor = LineEditor::new(Echo::Plain);
        let steps: Vec<Step> = (line.clone() + &end).bytes().map(|byte| editor.feed(byte)).collect();
        let lines: Vec<&Step> = steps.iter().filter(|step| matches!(step, Step::Line(_))).collect();
        prop_assert_eq!(lines, [&Step::Line(line)]);
    }

    #[test]
    fn forms_end_in_their_own_verbs_only(entry in proptest::sample::select(&Entry::ALL[..]), answers in proptest::collection::vec(answers(), 1..6)) {
        let mut form = match Form::start(entry, &status()) {
            Start::Ask(form) => form,
            Start::Do(verb) => {
                let fits = matches!((entry, verb), (Entry::Slots, Verb::Slots {}) | (Entry::Doctor, Verb::Doctor {}));
                prop_assert!(fits, "{:?}", entry);
                return Ok(());
            }
        };
        for answer in answers {
            prop_assert!(form.prompt().is_some());
            match form.answer(&answer) {
                Progress::Again(reason) => prop_assert!(!reason.is_empty()),
                Progress::Next => {}
                Progress::Cancelled => return Ok(()),
                Progress::Done(verb) => {
                    let fits = match *verb {
                        Verb::Apply { ref settings, ref veto, .. } => {
                            // What the broker parses is what was meant.
                            let text = serde_json::to_string(settings).unwrap();
                            serde_json::from_str::<Settings>(&text).is_ok_and(|again| again == **settings) && veto.is_none()
                                && matches!(entry, Entry::Network | Entry::HostName | Entry::Dns | Entry::Ntp | Entry::Proxy | Entry::ControlPlane | Entry::SshKey)
                        }
                        Verb::Ssh { .. } => entry == Entry::Ssh,
                        Verb::Reboot {} => entry == Entry::Reboot && answer.trim() == "yes",
                        Verb::PowerOff {} => entry == Entry::PowerOff && answer.trim() == "yes",
                        Verb::FactoryReset { .. } => entry == Entry::FactoryReset && answer.trim() == "gw1",
                        ref other => panic!("{other:?}"),
                    };
                    prop_assert!(fits, "{:?} {:?}", entry, verb);
                    return Ok(());
                }
            }
        }
    }

    #[test]
    fn every_line_at_the_menu_means_something(line in any::<String>()) {
        let _ = Choice::parse(&line, Session::Local);
        prop_assert!(Choice::parse(&line, Session::Local) != Choice::LogOut);
    }

    #[test]
    fn shown_text_is_plain_and_fits(label in "[ -~]{0,15}", text in any::<String>()) {
        let plain = |text: &str| text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        prop_assert!(plain(&printable(&text)));
        prop_assert!(labelled(&label, &text).iter().all(|line| plain(line) && line.len() <= WIDTH));
        prop_assert!(paragraph(&text).lines().all(|line| plain(line) && line.len() <= WIDTH));
    }
}
