//! Words the report of first boot: what a person at the console reads, without secrets.

use std::fmt::Write as _;
use std::time::Duration;

use super::PREFIX;
use super::transport::Origin;
use crate::console::text::printable;
use crate::settings::network::Network;
use crate::settings::{Fault, Submission};
use crate::verb::{FirstbootOutcome, FirstbootReport};

/// Most faults that a report lists: enough to read, and few enough for the broker's line.
const MAX_FAULTS: usize = 20;
/// A report of nothing, to be filled.
const EMPTY: FirstbootReport = FirstbootReport {
    outcome: FirstbootOutcome::NothingFound,
    source: None,
    applied: Vec::new(),
    faults: Vec::new(),
    notes: Vec::new(),
    done: false,
};

pub(super) fn applied(origin: &Origin, submission: &Submission) -> FirstbootReport {
    FirstbootReport {
        outcome: FirstbootOutcome::Applied,
        source: Some(origin.to_string()),
        applied: lines(submission),
        done: true,
        ..EMPTY
    }
}

pub(super) fn nothing_found(waited: Duration, troubles: Vec<String>) -> FirstbootReport {
    let mut notes = vec![format!("no settings found in {} s; all by DHCP", waited.as_secs())];
    notes.extend(troubles);
    FirstbootReport { notes, ..EMPTY }
}

pub(super) fn nothing_set(origin: &Origin) -> FirstbootReport {
    let notes = vec![format!("no property {PREFIX}* has a value; all by DHCP")];
    FirstbootReport { source: Some(origin.to_string()), notes, ..EMPTY }
}

pub(super) fn refused(origin: &Origin, mut faults: Vec<Fault>) -> FirstbootReport {
    let more = faults.len().saturating_sub(MAX_FAULTS);
    faults.truncate(MAX_FAULTS);
    let mut notes = vec!["nothing was applied: correct the properties and start the machine again, or use the menu".to_owned()];
    if more > 0 {
        notes.push(format!("and {more} more faults"));
    }
    FirstbootReport { outcome: FirstbootOutcome::Refused, source: Some(origin.to_string()), faults, notes, ..EMPTY }
}

pub(super) fn unreadable(origin: Option<&Origin>, why: String) -> FirstbootReport {
    FirstbootReport { outcome: FirstbootOutcome::Unreadable, source: origin.map(Origin::to_string), notes: vec![why], ..EMPTY }
}

/// Returns the report in printable ASCII and bounded lines: the broker takes no other, and a terminal shows it.
pub(super) fn plain(report: FirstbootReport) -> FirstbootReport {
    let all = |lines: Vec<String>| lines.iter().map(|line| printable(line)).collect();
    let faults = report.faults.into_iter().map(|fault| Fault { key: printable(&fault.key), reason: printable(&fault.reason) });
    FirstbootReport {
        source: report.source.as_deref().map(printable),
        applied: all(report.applied),
        faults: faults.collect(),
        notes: all(report.notes),
        ..report
    }
}

/// Says what was set, as `key = value`.
fn lines(submission: &Submission) -> Vec<String> {
    let settings = &submission.settings;
    let (address, gateway) = match settings.network {
        Network::Dhcp => (None, None),
        Network::Static { address, gateway } => (Some(address.to_string()), gateway.map(|gateway| gateway.to_string())),
    };
    let secret = |given: bool| given.then(|| "(given)".to_owned());
    let all = [
        ("hostname", settings.hostname.as_ref().map(ToString::to_string)),
        ("address", address),
        ("gateway", gateway),
        ("dns", Some(settings.dns.to_string())),
        ("ntp", Some(settings.ntp.to_string())),
        // Without user and password.
        ("proxy", settings.proxy.as_ref().map(ToString::to_string)),
        ("control_plane", settings.control_plane.as_ref().map(ToString::to_string)),
        ("token", secret(submission.token.is_some())),
        ("ssh_key", settings.ssh_key.as_ref().map(|key| key.fingerprint())),
        ("veto", secret(submission.veto.is_some())),
    ];
    let set = all.into_iter().filter_map(|(key, value)| Some((key, value.filter(|value| !value.is_empty())?)));
    set.map(|(key, value)| format!("{key} = {value}")).collect()
}

/// The report as the journal shows it; make it [`plain`] first.
impl std::fmt::Display for FirstbootReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = format!("first boot: {}", headline(self.outcome));
        if let Some(source) = &self.source {
            let _ = write!(text, " (from {source})");
        }
        writeln!(f, "{text}")?;
        let faults = self.faults.iter().map(|fault| format!("refused: {}: {}", fault.key, fault.reason));
        for line in self.applied.iter().map(|line| format!("set: {line}")).chain(faults).chain(self.notes.iter().cloned()) {
            writeln!(f, "  {line}")?;
        }
        Ok(())
    }
}

/// Says in a few words how it ended.
pub(crate) fn headline(outcome: FirstbootOutcome) -> &'static str {
    match outcome {
        FirstbootOutcome::Applied => "settings applied",
        FirstbootOutcome::NothingFound => "no settings found",
        FirstbootOutcome::Refused => "settings refused, nothing applied",
        FirstbootOutcome::Unreadable => "settings unreadable, nothing applied",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[test]
    fn a_report_shows_what_was_set_and_no_secret() {
        let pairs = [("hostname", "gw1"), ("proxy", "http://user:hunter2@proxy.example:8080"), ("control_plane", "https://c.example")];
        let mut submission = Submission::parse(pairs).unwrap();
        submission.token = Some(Secret::new("postern1.secret".to_owned()));
        submission.veto = Some("x".to_owned());
        let text = applied(&Origin::Guestinfo, &submission).to_string();
        for part in ["settings applied (from VMware guestinfo)", "hostname = gw1", "proxy = http://proxy.example:8080", "token = (given)"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains("hunter2") && !text.contains("postern1"), "{text}");
    }

    #[test]
    fn a_flood_of_faults_is_cut_and_counted() {
        let fault = Fault { key: "k".to_owned(), reason: "r".to_owned() };
        let report = refused(&Origin::Guestinfo, vec![fault; 1_000]);
        assert!(report.faults.len() == MAX_FAULTS && report.to_string().contains("and 980 more faults"));
    }

    #[test]
    fn faults_are_told_with_key_and_reason_in_plain_characters() {
        let fault = Fault { key: "postern.\x1b[2Jx".to_owned(), reason: "no\nsuch key".to_owned() };
        let text = plain(refused(&Origin::Cdrom("/dev/sr0".into()), vec![fault])).to_string();
        assert!(text.contains("  refused: postern.?[2Jx: no such key\n"), "{text}");
    }
}
