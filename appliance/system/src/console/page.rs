//! Words the status page. Pure: what it shows is given to it, and nothing from outside reaches the terminal unfiltered.

use postern_protocol::status::doctor::{Finding, Grade, Report};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::machine::Machine;
use super::text::labelled;
use crate::firstboot::report::headline;
use crate::settings::network::Network;
use crate::verb::{Enrolment, FirstbootOutcome, FirstbootReport, Slot, Slots, SshStatus, Status};

/// Most lines of one list that the page shows.
const MAX_LIST: usize = 5;

/// Returns the page that stands above the menu.
pub fn page(status: &Status, machine: Machine, now: OffsetDateTime) -> String {
    let mut lines = Vec::new();
    let mut add = |label: &str, text: &str| lines.extend(labelled(label, text));
    add("Postern gateway", &status.version);
    add("Host name", &status.hostname);
    add("Addresses", &addresses(status));
    add("Network", &network(status));
    add("Control plane", &control_plane(status));
    add("Enrolment", &enrolment(&status.enrolment));
    for (place, text) in firstboot(status.firstboot.as_ref()).iter().enumerate() {
        add(if place == 0 { "First boot" } else { "" }, text);
    }
    for (place, text) in ssh(&status.ssh).iter().enumerate() {
        add(if place == 0 { "SSH" } else { "" }, text);
    }
    add("System", &slots(&status.slots));
    add("Start", &integrity(machine));
    add("Time", &clock(machine, now));
    add("Firewall", &firewall(status));
    for text in troubles(status) {
        add("ATTENTION", &text);
    }
    lines.push(String::new());
    lines.join("\n") + "\n"
}

/// Returns the page for when the broker does not answer.
pub fn page_without_status(trouble: &str) -> String {
    let mut lines = vec!["Postern gateway".to_owned()];
    lines.extend(labelled("ATTENTION", &format!("the broker does not answer; trying again ({trouble})")));
    lines.push(String::new());
    lines.join("\n") + "\n"
}

/// Returns the slots in words: the answer to the menu's entry.
pub fn slot_list(slots: &Slots) -> String {
    let mut lines: Vec<String> = slots.installed.iter().take(MAX_LIST).flat_map(|slot| labelled("", &slot_line(slot, slots))).collect();
    if lines.is_empty() {
        lines.push("no system slot is known".to_owned());
    }
    lines.join("\n") + "\n"
}

/// Returns what the gateway's doctor found last, in words: faults and warnings with what to do, and how much is good.
pub fn doctor(report: Option<&Report>) -> String {
    let Some(report) = report else {
        return "The gateway's doctor has not looked yet: it does half a minute after the tunnel was lost.\n".to_owned();
    };
    let at = OffsetDateTime::from_unix_timestamp_nanos(report.at.into()).ok().and_then(|at| at.format(&Rfc3339).ok());
    let mut lines = vec![format!("The gateway's doctor looked at {}.", at.unwrap_or_else(|| "an unknown time".to_owned()))];
    let bad = report.findings.iter().filter_map(|finding| match finding.grade {
        Grade::Fault => Some(("FAULT", finding)),
        Grade::Warning => Some(("warning", finding)),
        Grade::Good => None,
    });
    for (grade, Finding { what, evidence, advice, .. }) in bad.take(MAX_LIST) {
        lines.push(String::new());
        lines.extend(labelled(grade, what));
        lines.extend(labelled("  seen", evidence));
        lines.extend(labelled("  to do", advice));
    }
    let good = report.findings.iter().filter(|finding| finding.grade == Grade::Good).count();
    lines.push(String::new());
    lines.push(format!("Looked at and good: {good}."));
    lines.join("\n") + "\n"
}

fn addresses(status: &Status) -> String {
    let all: Vec<String> =
        status.addresses.iter().take(MAX_LIST).map(|found| format!("{} on {}", found.address, found.interface)).collect();
    if all.is_empty() { "none yet".to_owned() } else { all.join(", ") }
}

fn network(status: &Status) -> String {
    let settings = &status.settings;
    let mut text = match settings.network {
        Network::Dhcp => "DHCP".to_owned(),
        Network::Static { address, gateway: None } => format!("{address}, no router"),
        Network::Static { address, gateway: Some(gateway) } => format!("{address}, router {gateway}"),
    };
    for (what, list) in [("DNS", settings.dns.to_string()), ("NTP", settings.ntp.to_string())] {
        if !list.is_empty() {
            text.push_str(&format!("; {what} {list}"));
        }
    }
    text
}

fn control_plane(status: &Status) -> String {
    let Some(control_plane) = &status.settings.control_plane else { return "not set".to_owned() };
    match &status.settings.proxy {
        None => control_plane.to_string(),
        Some(proxy) => format!("{control_plane} by {proxy}"),
    }
}

fn enrolment(enrolment: &Enrolment) -> String {
    match enrolment {
        Enrolment::Enrolled {} => "enrolled".to_owned(),
        Enrolment::NoToken {} => "not enrolled: waiting for a token".to_owned(),
        Enrolment::Pending {} => "not enrolled yet: the token is being tried".to_owned(),
        Enrolment::Refused { reason } => format!("refused: {reason}"),
    }
}

fn firstboot(report: Option<&FirstbootReport>) -> Vec<String> {
    let Some(report) = report else { return vec!["looking for settings, or not yet run".to_owned()] };
    let mut lines = vec![headline(report.outcome).to_owned()];
    if let Some(source) = &report.source {
        lines = vec![format!("{} (from {source})", headline(report.outcome))];
    }
    if report.outcome == FirstbootOutcome::Applied {
        let keys: Vec<&str> = report.applied.iter().filter_map(|line| line.split(" = ").next()).collect();
        lines.push(keys.join(", "));
        return lines;
    }
    lines.extend(report.faults.iter().take(MAX_LIST).map(|fault| format!("{}: {}", fault.key, fault.reason)));
    lines.extend(report.notes.iter().take(MAX_LIST).cloned());
    lines
}

fn ssh(ssh: &SshStatus) -> Vec<String> {
    match ssh {
        SshStatus::Off {} => vec!["off".to_owned()],
        SshStatus::On { minutes_left, fingerprints } => {
            let mut lines = vec![format!("on for {minutes_left} more minutes; host keys:")];
            lines.extend(fingerprints.iter().take(MAX_LIST).cloned());
            lines
        }
    }
}

fn slots(slots: &Slots) -> String {
    let all: Vec<String> = slots.installed.iter().take(MAX_LIST).map(|slot| slot_line(slot, slots)).collect();
    if all.is_empty() { "no slot is known".to_owned() } else { all.join("; ") }
}

fn slot_line(slot: &Slot, slots: &Slots) -> String {
    let mut text = format!("slot {} version {}", slot.name, slot.version);
    if slots.running.as_ref() == Some(&slot.name) {
        text.push_str(", running");
    }
    if let Some(tries) = slot.tries_left {
        text.push_str(&format!(", {tries} starts left to prove itself"));
    }
    text
}

fn integrity(machine: Machine) -> String {
    let secure_boot = match machine.secure_boot {
        None => "Secure Boot unknown",
        Some(false) => "Secure Boot OFF",
        Some(true) => "Secure Boot on",
    };
    let verity = if machine.verity { "verified root" } else { "root NOT verified" };
    format!("{secure_boot}, {verity}")
}

fn clock(machine: Machine, now: OffsetDateTime) -> String {
    let state = if machine.time_synchronised { "synchronised" } else { "not synchronised yet" };
    format!("{} {:02}:{:02} UTC, {state}", now.date(), now.hour(), now.minute())
}

fn firewall(status: &Status) -> String {
    let open: Vec<&str> = status.firewall.open.iter().map(|listener| listener.name()).collect();
    let open = if open.is_empty() { "no port open".to_owned() } else { format!("open: {}", open.join(", ")) };
    format!("{open}; dropped_in {}, dropped_out {}", status.firewall.dropped_in, status.firewall.dropped_out)
}

fn troubles(status: &Status) -> Vec<String> {
    let mut found = Vec::new();
    found.extend(status.damage.as_ref().map(|damage| format!("not all stored settings can be used: {damage}")));
    found.extend(status.firewall.failure.as_ref().map(|failure| format!("the firewall could not be renewed: {failure}")));
    if !status.firewall.unresolved.is_empty() {
        found.push(format!("DNS does not know {}", status.firewall.unresolved.join(", ")));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::text::WIDTH;
    use crate::settings::{Fault, Submission};
    use crate::verb::{Address, Firewall};

    const MACHINE: Machine = Machine { secure_boot: Some(true), verity: true, time_synchronised: true };

    fn status() -> Status {
        let pairs = [("hostname", "gw1"), ("control_plane", "https://c.example"), ("proxy", "http://u:hunter2@proxy.example:8080")];
        Status {
            version: "0.1.0".to_owned(),
            hostname: "gw1".to_owned(),
            settings: Submission::parse(pairs).unwrap().settings,
            damage: None,
            veto: None,
            addresses: vec![Address { interface: "eth0".to_owned(), address: "192.0.2.10".parse().unwrap() }],
            enrolment: Enrolment::Enrolled {},
            firstboot: Some(FirstbootReport {
                outcome: FirstbootOutcome::Applied,
                source: Some("CD-ROM /dev/sr0".to_owned()),
                applied: vec!["hostname = gw1".to_owned(), "token = (given)".to_owned()],
                faults: Vec::new(),
                notes: Vec::new(),
                done: true,
            }),
            ssh: SshStatus::Off {},
            slots: Slots {
                installed: vec![
                    Slot { name: "a".to_owned(), version: "0.1.0".to_owned(), tries_left: None },
                    Slot { name: "b".to_owned(), version: "0.2.0".to_owned(), tries_left: Some(3) },
                ],
                running: Some("a".to_owned()),
            },
            firewall: Firewall { dropped_in: 7, ..Firewall::default() },
            refused_requests: 0,
        }
    }

    fn shown(status: &Status) -> String {
        page(status, MACHINE, OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap())
    }

    #[test]
    fn the_page_says_how_the_appliance_is() {
        let text = shown(&status());
        for line in [
            "Host name       gw1",
            "Addresses       192.0.2.10 on eth0",
            "Network         DHCP",
            "Control plane   https://c.example:443 by http://proxy.example:8080",
            "Enrolment       enrolled",
            "First boot      settings applied (from CD-ROM /dev/sr0)",
            "                hostname, token",
            "SSH             off",
            "System          slot a version 0.1.0, running; slot b version 0.2.0, 3 starts",
            "Start           Secure Boot on, verified root",
            "Time            2027-01-15 08:00 UTC, synchronised",
            "Firewall        no port open; dropped_in 7, dropped_out 0",
        ] {
            assert!(text.lines().any(|shown| shown.starts_with(line)), "{line}\n{text}");
        }
        assert!(!text.contains("hunter2"));
    }

    #[test]
    fn reasons_from_outside_reach_the_terminal_as_plain_text() {
        let mut status = status();
        status.hostname = "\x1b[2Jgw".to_owned();
        status.enrolment = Enrolment::Refused { reason: "token\r\nexpired\x07".to_owned() };
        status.damage = Some("\u{9b}31m".repeat(1_000));
        if let Some(report) = &mut status.firstboot {
            report.faults = vec![Fault { key: "postern.\x1b]0;x\x07".to_owned(), reason: "é".to_owned() }; 100];
        }
        let text = shown(&status);
        assert!(text.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)), "{text:?}");
        assert!(text.lines().all(|line| line.len() <= WIDTH) && text.lines().count() < 60);
        assert!(text.contains("refused: token  expired?") || text.contains("refused: token expired?"), "{text}");
    }

    #[test]
    fn a_machine_that_is_not_verified_is_shown_so() {
        let machine = Machine { secure_boot: Some(false), verity: false, time_synchronised: false };
        let text = page(&status(), machine, OffsetDateTime::UNIX_EPOCH);
        assert!(text.contains("Secure Boot OFF, root NOT verified") && text.contains("not synchronised yet"));
    }
}
