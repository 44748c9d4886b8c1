//! Who may ask what, and what a site forbids to everyone.

use super::people::People;
use super::store::KeptVeto;
use crate::verb::{EnrolOutcome, FirstbootReport, MAX_SSH_MINUTES, SshState, Verb};
use crate::veto::Forbidden;

const MAX_REASON_CHARS: usize = 500;
const MAX_REPORT_LINES: usize = 64;

/// Someone whom the broker knows, by the user id that the kernel tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Admin,
    Console,
    Firstboot,
    Gateway,
    Root,
}

impl Who {
    /// Finds who has `uid`.
    pub(crate) fn find(uid: u32, people: &People) -> Option<Self> {
        match uid {
            0 => Some(Self::Root),
            _ if uid == people.admin => Some(Self::Admin),
            _ if uid == people.console => Some(Self::Console),
            _ if uid == people.firstboot => Some(Self::Firstboot),
            _ if uid == people.gateway => Some(Self::Gateway),
            _ => None,
        }
    }

    /// Returns the name for the audit.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Admin => "postern-admin",
            Self::Console => "postern-console",
            Self::Firstboot => "postern-firstboot",
            Self::Gateway => "postern",
            Self::Root => "root",
        }
    }

    /// Tells whether this one may ever ask `verb`.
    const fn may(self, verb: &Verb) -> bool {
        match self {
            Self::Root => true,
            Self::Admin | Self::Console => !matches!(verb, Verb::EnrolFinished { .. } | Verb::FirstbootReport { .. }),
            Self::Firstboot => matches!(verb, Verb::Apply { .. } | Verb::FirstbootReport { .. }),
            Self::Gateway => matches!(verb, Verb::EnrolFinished { .. } | Verb::Firewall {} | Verb::Status {}),
        }
    }
}

/// What the decision needs to know of the appliance.
#[derive(Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) veto: &'a KeptVeto,
    pub(crate) firstboot_done: bool,
    pub(crate) hostname: &'a str,
}

/// Decides whether `who` may ask `verb` now.
///
/// # Errors
/// The reason for the one who asked.
pub(crate) fn decide(who: Option<Who>, verb: &Verb, facts: Facts<'_>) -> Result<(), String> {
    let name = verb.name();
    let Some(who) = who else { return Err("this user may ask nothing here".to_owned()) };
    if !who.may(verb) {
        return Err(format!("{} may not ask for {name}", who.name()));
    }
    if who == Who::Firstboot && facts.firstboot_done {
        return Err("first boot is over".to_owned());
    }
    if let Some(forbidden) = forbidden_as(verb) {
        match facts.veto {
            KeptVeto::Damaged => return Err("the site's veto cannot be read, so nothing is allowed; see status".to_owned()),
            KeptVeto::Set(veto) if veto.forbid.contains(&forbidden) => return Err(format!("the site's veto forbids {name}")),
            KeptVeto::None | KeptVeto::Set(_) => {}
        }
    }
    check(verb, facts)
}

/// Which word of `veto.toml` forbids `verb`. Looking, and switching SSH off, cannot be forbidden.
const fn forbidden_as(verb: &Verb) -> Option<Forbidden> {
    match verb {
        Verb::Apply { .. } => Some(Forbidden::Apply),
        Verb::FactoryReset { .. } => Some(Forbidden::FactoryReset),
        Verb::PowerOff {} => Some(Forbidden::PowerOff),
        Verb::Reboot {} => Some(Forbidden::Reboot),
        Verb::Ssh { state: SshState::On { .. } } => Some(Forbidden::Ssh),
        Verb::Doctor {}
        | Verb::EnrolFinished { .. }
        | Verb::Firewall {}
        | Verb::FirstbootReport { .. }
        | Verb::Slots {}
        | Verb::Ssh { state: SshState::Off {} }
        | Verb::Status {} => None,
    }
}

/// Checks what the types do not.
fn check(verb: &Verb, facts: Facts<'_>) -> Result<(), String> {
    match verb {
        Verb::Apply { veto: Some(_), .. } if *facts.veto != KeptVeto::None => {
            Err("the site's veto is set and cannot be changed; only a factory reset removes it".to_owned())
        }
        Verb::Ssh { state: SshState::On { minutes } } if !(1..=MAX_SSH_MINUTES).contains(minutes) => {
            Err(format!("SSH can be switched on for 1 to {MAX_SSH_MINUTES} minutes"))
        }
        Verb::FactoryReset { confirm_hostname } if confirm_hostname != facts.hostname => {
            Err(format!("to confirm, give this appliance's host name: {}", facts.hostname))
        }
        Verb::EnrolFinished { outcome: EnrolOutcome::Refused { reason } } if !is_plain(reason) => Err(not_plain("the reason")),
        Verb::FirstbootReport { report } if !is_modest(report) => Err(not_plain("the report")),
        Verb::Apply { .. }
        | Verb::Doctor {}
        | Verb::EnrolFinished { .. }
        | Verb::FactoryReset { .. }
        | Verb::Firewall {}
        | Verb::FirstbootReport { .. }
        | Verb::PowerOff {}
        | Verb::Reboot {}
        | Verb::Slots {}
        | Verb::Ssh { .. }
        | Verb::Status {} => Ok(()),
    }
}

/// Text that is shown on a terminal later: short, and without control characters.
fn is_plain(text: &str) -> bool {
    text.chars().count() <= MAX_REASON_CHARS && !text.chars().any(char::is_control)
}

fn is_modest(report: &FirstbootReport) -> bool {
    let FirstbootReport { outcome: _, source, applied, faults, notes, done: _ } = report;
    let lists = [applied.len(), faults.len(), notes.len()];
    let texts = source.iter().chain(applied).chain(notes).chain(faults.iter().flat_map(|fault| [&fault.key, &fault.reason]));
    lists.into_iter().all(|lines| lines <= MAX_REPORT_LINES) && texts.into_iter().all(|text| is_plain(text))
}

fn not_plain(what: &str) -> String {
    format!("{what} has more than {MAX_REASON_CHARS} characters or {MAX_REPORT_LINES} lines, or control characters")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::veto::Veto;

    const PEOPLE: People = People { gateway: 970, gateway_group: 970, firstboot: 971, console: 972, admin: 973, timesync: 997 };

    fn facts(veto: &KeptVeto) -> Facts<'_> {
        Facts { veto, firstboot_done: false, hostname: "gw1" }
    }

    fn every_verb() -> Vec<Verb> {
        let report = r#"{"outcome":"applied","source":null,"applied":[],"faults":[],"notes":[],"done":true}"#;
        [
            r#"{"verb":"apply","settings":{}}"#,
            r#"{"verb":"enrol_finished","outcome":{"result":"enrolled"}}"#,
            r#"{"verb":"factory_reset","confirm_hostname":"gw1"}"#,
            r#"{"verb":"firewall"}"#,
            &format!(r#"{{"verb":"firstboot_report","report":{report}}}"#),
            r#"{"verb":"power_off"}"#,
            r#"{"verb":"reboot"}"#,
            r#"{"verb":"slots"}"#,
            r#"{"verb":"ssh","state":{"ssh":"on","minutes":5}}"#,
            r#"{"verb":"status"}"#,
        ]
        .map(|text| serde_json::from_str(text).unwrap())
        .into()
    }

    fn allowed(uid: u32, facts: Facts<'_>) -> Vec<&'static str> {
        let who = Who::find(uid, &PEOPLE);
        every_verb().iter().filter(|verb| decide(who, verb, facts).is_ok()).map(Verb::name).collect()
    }

    #[test]
    fn each_account_has_its_own_verbs() {
        let facts = facts(&KeptVeto::None);
        assert_eq!(allowed(0, facts).len(), 10);
        let people = ["apply", "factory_reset", "firewall", "power_off", "reboot", "slots", "ssh", "status"];
        assert_eq!((allowed(972, facts), allowed(973, facts)), (people.to_vec(), people.to_vec()));
        assert_eq!(allowed(971, facts), ["apply", "firstboot_report"]);
        assert_eq!(allowed(970, facts), ["enrol_finished", "firewall", "status"]);
        assert_eq!(allowed(997, facts), [""; 0]);
        assert_eq!(allowed(971, Facts { firstboot_done: true, ..facts }), [""; 0]);
    }

    #[test]
    fn the_veto_binds_root_too_and_a_damaged_one_forbids_all_that_changes() {
        let forbid = vec![Forbidden::Apply, Forbidden::Reboot];
        let veto = KeptVeto::Set(Veto { forbid, ..Veto::default() });
        let root = allowed(0, facts(&veto));
        assert!(!root.contains(&"apply") && !root.contains(&"reboot") && root.contains(&"ssh"));
        assert_eq!(allowed(0, facts(&KeptVeto::Damaged)), ["enrol_finished", "firewall", "firstboot_report", "slots", "status"]);
        let off: Verb = serde_json::from_str(r#"{"verb":"ssh","state":{"ssh":"off"}}"#).unwrap();
        assert_eq!(decide(Some(Who::Console), &off, facts(&KeptVeto::Damaged)), Ok(()));
    }

    #[test]
    fn what_the_types_do_not_say_is_checked() {
        let refused = |text: &str, veto: &KeptVeto| {
            let verb = serde_json::from_str(text).unwrap();
            decide(Some(Who::Root), &verb, facts(veto)).unwrap_err()
        };
        let set = KeptVeto::Set(Veto::default());
        assert!(refused(r#"{"verb":"apply","settings":{},"veto":""}"#, &set).contains("factory reset"));
        assert!(refused(r#"{"verb":"ssh","state":{"ssh":"on","minutes":1441}}"#, &set).contains("1 to 1440"));
        assert!(refused(r#"{"verb":"ssh","state":{"ssh":"on","minutes":0}}"#, &set).contains("1 to 1440"));
        assert!(refused(r#"{"verb":"factory_reset","confirm_hostname":"gw2"}"#, &set).contains("gw1"));
        assert!(refused(r#"{"verb":"enrol_finished","outcome":{"result":"refused","reason":"a\u001b[2J"}}"#, &set).contains("control"));
    }
}
