//! The questions of one menu entry, and the verb that their answers make. Pure: knows neither terminal nor broker.
//!
//! Every value is checked by `settings`, as first boot and the broker check it.

use std::collections::BTreeMap;

use zeroize::Zeroize as _;

use super::editor::Echo;
use super::menu::Entry;
use super::text::printable;
use crate::settings::{Settings, Submission};
use crate::verb::{MAX_SSH_MINUTES, SshState, Status, Verb};

/// What unsets a value.
const NONE: &str = "-";

/// One question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// A setting by its key.
    Setting(&'static str),
    /// Minutes of SSH, or off.
    SshTime,
    /// `yes`, for something that interrupts the service.
    Sure(Interruption),
    /// The host name, for something that cannot be undone.
    SurelyThis,
}

/// Something that interrupts the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Interruption {
    PowerOff,
    Reboot,
}

/// A question in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Ends without line feed.
    pub text: String,
    /// How the answer is echoed.
    pub echo: Echo,
}

/// What an answer led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The answer cannot be taken, for this reason; the question stays.
    Again(String),
    /// The person does not want it after all.
    Cancelled,
    /// All is answered.
    Done(Box<Verb>),
    /// There is another question.
    Next,
}

/// How an entry begins.
pub enum Start {
    /// With questions.
    Ask(Form),
    /// At once, since there is nothing to ask.
    Do(Verb),
}

/// A form that is being filled in.
pub struct Form {
    steps: Vec<Step>,
    at: usize,
    /// The settings as text by key, changed by the answers so far; `token` is among them once given.
    draft: BTreeMap<String, String>,
    hostname: String,
}

impl Form {
    /// Begins with the settings that `status` tells.
    pub fn start(entry: Entry, status: &Status) -> Start {
        let steps: &[Step] = match entry {
            Entry::Network => &[Step::Setting("address"), Step::Setting("gateway")],
            Entry::HostName => &[Step::Setting("hostname")],
            Entry::Dns => &[Step::Setting("dns")],
            Entry::Ntp => &[Step::Setting("ntp")],
            Entry::Proxy => &[Step::Setting("proxy")],
            Entry::ControlPlane => &[Step::Setting("control_plane"), Step::Setting("token")],
            Entry::SshKey => &[Step::Setting("ssh_key")],
            Entry::Ssh => &[Step::SshTime],
            Entry::Slots => return Start::Do(Verb::Slots {}),
            Entry::Reboot => &[Step::Sure(Interruption::Reboot)],
            Entry::PowerOff => &[Step::Sure(Interruption::PowerOff)],
            Entry::FactoryReset => &[Step::SurelyThis],
            Entry::Doctor => return Start::Do(Verb::Doctor {}),
        };
        Start::Ask(Self { steps: steps.to_vec(), at: 0, draft: texts(&status.settings), hostname: status.hostname.clone() })
    }

    /// Returns the question to ask now; `None` when none is left.
    pub fn prompt(&self) -> Option<Prompt> {
        let step = *self.steps.get(self.at)?;
        let text = match step {
            Step::Setting(key) => setting_prompt(key, self.draft.get(key)),
            Step::SshTime => format!("Minutes for which SSH is on (1 to {MAX_SSH_MINUTES}), or off: "),
            Step::Sure(Interruption::PowerOff) => {
                "Power off now? Nothing is received until someone switches the machine on again.\nType yes: ".to_owned()
            }
            Step::Sure(Interruption::Reboot) => "Reboot now? Alerts are delayed until the gateway is back.\nType yes: ".to_owned(),
            Step::SurelyThis => {
                format!(
                    "All settings, alerts not yet sent and the gateway's identity are erased.\nType the host name {}: ",
                    printable(&self.hostname)
                )
            }
        };
        let echo = if step == Step::Setting("token") { Echo::Stars } else { Echo::Plain };
        Some(Prompt { text, echo })
    }

    /// Takes the answer to the question.
    pub fn answer(&mut self, answer: &str) -> Progress {
        let answer = answer.trim();
        match self.steps.get(self.at).copied() {
            None => Progress::Cancelled,
            Some(Step::Setting(key)) => self.set(key, answer),
            Some(Step::SshTime) => ssh_state(answer),
            Some(Step::Sure(interruption)) if answer == "yes" => Progress::Done(Box::new(match interruption {
                Interruption::PowerOff => Verb::PowerOff {},
                Interruption::Reboot => Verb::Reboot {},
            })),
            Some(Step::Sure(_)) => Progress::Cancelled,
            Some(Step::SurelyThis) if answer.is_empty() => Progress::Cancelled,
            Some(Step::SurelyThis) if answer == self.hostname => {
                Progress::Done(Box::new(Verb::FactoryReset { confirm_hostname: answer.to_owned() }))
            }
            Some(Step::SurelyThis) => Progress::Again("that is not this machine's host name; Enter alone cancels".to_owned()),
        }
    }

    fn set(&mut self, key: &'static str, answer: &str) -> Progress {
        let before = self.draft.clone();
        if answer == NONE || (key == "address" && answer.eq_ignore_ascii_case("dhcp")) {
            self.draft.remove(key);
        } else if !answer.is_empty() {
            self.draft.insert(key.to_owned(), answer.to_owned());
        }
        if key == "address" && self.draft.get(key) != before.get(key) {
            // The router of another network would be refused; without an address there is none.
            self.draft.remove("gateway");
        }
        let last = self.at + 1 == self.steps.len() || (key == "address" && !self.draft.contains_key(key));
        match Submission::parse(self.draft.iter().map(|(key, value)| (key.as_str(), value.as_str()))) {
            Err(faults) => {
                let reasons = faults
                    .into_iter()
                    .map(|fault| if fault.key == key { fault.reason } else { format!("{}: {}", fault.key, fault.reason) });
                let reasons: Vec<String> = reasons.collect();
                self.draft = before;
                Progress::Again(reasons.join("; "))
            }
            Ok(_) if !last => {
                self.at += 1;
                Progress::Next
            }
            Ok(submission) => {
                Progress::Done(Box::new(Verb::Apply { settings: Box::new(submission.settings), token: submission.token, veto: None }))
            }
        }
    }
}

/// The token and the proxy's password do not stay in memory.
impl Drop for Form {
    fn drop(&mut self) {
        self.draft.values_mut().for_each(|value| value.zeroize());
    }
}

/// Returns the settings as first boot would have read them.
fn texts(settings: &Settings) -> BTreeMap<String, String> {
    // Settings are a map of texts in JSON: see `settings`.
    serde_json::to_value(settings).and_then(serde_json::from_value).unwrap_or_default()
}

fn setting_prompt(key: &str, current: Option<&String>) -> String {
    let (question, unset) = match key {
        "address" => ("Address with prefix length (192.0.2.10/24), or dhcp", "dhcp"),
        "control_plane" => ("URL of the control plane (https://...), or -", "none"),
        "dns" => ("Up to 3 DNS resolvers, or -", "from DHCP"),
        "gateway" => ("Router of that network, or -", "none"),
        "hostname" => ("Host name, or -", "postern"),
        "ntp" => ("Up to 4 time servers, or -", "from DHCP"),
        "proxy" => ("HTTP proxy (http://[user:password@]host:port), or -", "none"),
        "ssh_key" => ("Public key, one line of a .pub file, or -", "none"),
        "token" => ("Enrolment token (postern1...), Enter for none", "none"),
        other => (other, "none"),
    };
    let current = current.map_or(unset.to_owned(), |current| printable(current));
    if key == "token" { format!("{question}: ") } else { format!("{question}\n[{current}]: ") }
}

fn ssh_state(answer: &str) -> Progress {
    let state = match answer {
        "" => return Progress::Cancelled,
        "off" => Some(SshState::Off {}),
        minutes => minutes.parse().ok().filter(|minutes| (1..=MAX_SSH_MINUTES).contains(minutes)).map(|minutes| SshState::On { minutes }),
    };
    match state {
        Some(state) => Progress::Done(Box::new(Verb::Ssh { state })),
        None => Progress::Again(format!("a number from 1 to {MAX_SSH_MINUTES}, or off")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verb::{Enrolment, Firewall, Slots, SshStatus};

    fn status(pairs: &[(&str, &str)]) -> Status {
        Status {
            version: "0".to_owned(),
            hostname: "gw1".to_owned(),
            settings: Submission::parse(pairs.iter().copied()).unwrap().settings,
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

    fn form(entry: Entry, pairs: &[(&str, &str)]) -> Form {
        match Form::start(entry, &status(pairs)) {
            Start::Ask(form) => form,
            Start::Do(verb) => panic!("{verb:?}"),
        }
    }

    /// Returns the settings that the last answer asks for, as text by key.
    fn applied(progress: Progress) -> Vec<(String, String)> {
        match progress {
            Progress::Done(verb) => match *verb {
                Verb::Apply { settings, .. } => texts(&settings).into_iter().collect(),
                verb => panic!("{verb:?}"),
            },
            progress => panic!("{progress:?}"),
        }
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    const FIXED: [(&str, &str); 3] = [("address", "192.0.2.10/24"), ("gateway", "192.0.2.1"), ("dns", "192.0.2.53")];

    #[test]
    fn a_fixed_address_is_asked_with_its_router_and_all_else_stays() {
        let mut form = form(Entry::Network, &[("dns", "192.0.2.53")]);
        assert_eq!(form.answer("192.0.2.10/24"), Progress::Next);
        assert!(form.prompt().unwrap().text.contains("Router"));
        let all = [pair("address", "192.0.2.10/24"), pair("dns", "192.0.2.53"), pair("gateway", "192.0.2.1")];
        assert_eq!(applied(form.answer("192.0.2.1")), all);
    }

    #[test]
    fn dhcp_drops_address_and_router_at_once() {
        assert_eq!(applied(form(Entry::Network, &FIXED).answer("DHCP")), [pair("dns", "192.0.2.53")]);
    }

    #[test]
    fn another_network_forgets_the_old_router() {
        let mut form = form(Entry::Network, &FIXED);
        assert_eq!(form.answer("198.51.100.7/24"), Progress::Next);
        assert_eq!(applied(form.answer("")), [pair("address", "198.51.100.7/24"), pair("dns", "192.0.2.53")]);
    }

    #[test]
    fn enter_keeps_and_a_dash_unsets() {
        assert!(applied(form(Entry::Dns, &FIXED).answer("")).contains(&pair("dns", "192.0.2.53")));
        assert!(!applied(form(Entry::Dns, &FIXED).answer("-")).iter().any(|(key, _)| key == "dns"));
    }

    #[test]
    fn a_bad_value_is_told_and_asked_again() {
        let mut form = form(Entry::Dns, &[]);
        let Progress::Again(reason) = form.answer("resolver.example") else { panic!("taken") };
        assert!(reason.contains("IP address"), "{reason}");
        assert_eq!(applied(form.answer("192.0.2.53")), [pair("dns", "192.0.2.53")]);
    }

    #[test]
    fn a_token_needs_its_control_plane_and_is_typed_unseen() {
        let mut form = form(Entry::ControlPlane, &[]);
        assert_eq!(form.answer("https://control.example.com"), Progress::Next);
        assert_eq!(form.prompt().unwrap().echo, Echo::Stars);
        assert!(matches!(form.answer("postern1.wrong"), Progress::Again(reason) if reason.contains("altered")));
        assert_eq!(applied(form.answer("")), [pair("control_plane", "https://control.example.com:443")]);
    }

    #[test]
    fn ssh_is_minutes_or_off() {
        let done = |state| Progress::Done(Box::new(Verb::Ssh { state }));
        assert_eq!(form(Entry::Ssh, &[]).answer("30"), done(SshState::On { minutes: 30 }));
        assert_eq!(form(Entry::Ssh, &[]).answer("off"), done(SshState::Off {}));
        assert_eq!(form(Entry::Ssh, &[]).answer(""), Progress::Cancelled);
        for answer in ["0", "1441", "-1", "on", "1e3"] {
            assert!(matches!(form(Entry::Ssh, &[]).answer(answer), Progress::Again(_)), "{answer}");
        }
    }

    #[test]
    fn what_interrupts_wants_yes_and_what_erases_wants_the_host_name() {
        assert_eq!(form(Entry::Reboot, &[]).answer("yes"), Progress::Done(Box::new(Verb::Reboot {})));
        assert_eq!(form(Entry::PowerOff, &[]).answer("yes"), Progress::Done(Box::new(Verb::PowerOff {})));
        assert_eq!(form(Entry::PowerOff, &[]).answer("y"), Progress::Cancelled);
        let mut form = form(Entry::FactoryReset, &[]);
        assert!(matches!(form.answer("yes"), Progress::Again(_)));
        assert_eq!(form.answer("gw1"), Progress::Done(Box::new(Verb::FactoryReset { confirm_hostname: "gw1".to_owned() })));
    }

    #[test]
    fn slots_are_asked_for_without_a_question() {
        assert!(matches!(Form::start(Entry::Slots, &status(&[])), Start::Do(Verb::Slots {})));
    }
}
