//! What the broker asks of the service manager, through `systemctl` and its private socket: there is no message bus.

use std::collections::BTreeSet;

use super::command::{CommandError, Program, run};
use super::paths::Paths;

/// A unit that the broker starts, stops or restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Gateway,
    Networkd,
    PowerOff,
    Reboot,
    Resolved,
    Ssh,
    Timesyncd,
}

impl Unit {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Gateway => "postern-gateway.service",
            Self::Networkd => "systemd-networkd.service",
            Self::PowerOff => "poweroff.target",
            Self::Reboot => "reboot.target",
            Self::Resolved => "systemd-resolved.service",
            Self::Ssh => "postern-ssh.service",
            Self::Timesyncd => "systemd-timesyncd.service",
        }
    }
}

/// Returns those of `units` that are active.
///
/// # Errors
/// When the service manager does not answer.
pub(crate) fn active(paths: &Paths, units: &[&str]) -> Result<BTreeSet<String>, CommandError> {
    let args = [&["show", "--property=Id,ActiveState", "--"], units].concat();
    Ok(parse_active(&run(paths, Program::Systemctl, &args, String::new())?))
}

/// Reads blocks of `Id=` and `ActiveState=` in any order.
fn parse_active(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for block in text.split("\n\n") {
        let value = |key: &str| block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        if let (Some(id), Some("active")) = (value("Id"), value("ActiveState")) {
            found.insert(id.to_owned());
        }
    }
    found
}

/// Starts a unit and waits until it is up.
///
/// # Errors
/// When it does not start.
pub(crate) fn start(paths: &Paths, unit: Unit) -> Result<(), CommandError> {
    run(paths, Program::Systemctl, &["start", "--", unit.name()], String::new()).map(drop)
}

/// Stops a unit and waits until it has ended.
///
/// # Errors
/// When the service manager does not do it.
pub(crate) fn stop(paths: &Paths, unit: Unit) -> Result<(), CommandError> {
    run(paths, Program::Systemctl, &["stop", "--", unit.name()], String::new()).map(drop)
}

/// Starts units anew and waits until they are up.
///
/// # Errors
/// When one does not start.
pub(crate) fn restart(paths: &Paths, units: &[Unit]) -> Result<(), CommandError> {
    let mut args = vec!["restart", "--"];
    args.extend(units.iter().map(|unit| unit.name()));
    run(paths, Program::Systemctl, &args, String::new()).map(drop)
}

/// Starts a unit anew if it runs.
///
/// # Errors
/// When it does not start again.
pub(crate) fn restart_if_active(paths: &Paths, unit: Unit) -> Result<(), CommandError> {
    run(paths, Program::Systemctl, &["try-restart", "--", unit.name()], String::new()).map(drop)
}

/// Begins to leave: the answer still goes out.
///
/// # Errors
/// When the service manager refuses.
pub(crate) fn leave(paths: &Paths, target: Unit) -> Result<(), CommandError> {
    run(paths, Program::Systemctl, &["start", "--no-block", "--job-mode=replace-irreversibly", "--", target.name()], String::new())
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_active_units_count() {
        let text = "Id=a.socket\nActiveState=active\n\nActiveState=activating\nId=b.socket\n\nActiveState=active\nId=c.service\n";
        assert_eq!(parse_active(text), ["a.socket".to_owned(), "c.service".to_owned()].into());
        assert!(parse_active("").is_empty());
    }
}
