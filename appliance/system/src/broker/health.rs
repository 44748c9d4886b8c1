//! Whether this system is good: asked once after every start, before the boot loader is told to keep it.

use std::time::{Duration, Instant};

use super::firewall;
use super::paths::Paths;
use super::systemd::{self, Unit};
use crate::client::Broker;
use crate::files::read_foreign;
use crate::verb::{Answer, Enrolment, Reply, Status, Verb};

const PAUSE: Duration = Duration::from_secs(1);
const MAX_BYTES: u64 = 256 * 1024;

/// One thing that must be so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// Why it is not.
    pub fault: Option<String>,
}

/// Looks until everything is as it must be, for at most `patience`; returns the last look.
pub fn health(paths: &Paths, patience: Duration) -> Vec<Check> {
    let start = Instant::now();
    loop {
        let checks = look(paths);
        if checks.iter().all(|check| check.fault.is_none()) || start.elapsed() >= patience {
            return checks;
        }
        // Services are still starting; there is nothing that could wake this program.
        std::thread::sleep(PAUSE);
    }
}

fn look(paths: &Paths) -> Vec<Check> {
    let mounts = read_foreign(&paths.at("/proc/self/mountinfo"), MAX_BYTES).unwrap_or_default();
    let status = status(paths);
    let check = |name, fault: Result<(), String>| Check { name, fault: fault.err() };
    vec![
        check("broker", status.as_ref().map(drop).map_err(Clone::clone)),
        check("firewall", firewall::counters(paths).map(drop).map_err(|error| crate::chain(&error))),
        check("gateway", status.and_then(|status| gateway(paths, &status))),
        check("root", verified_root(paths, &mounts)),
        check("var", writable_var(&mounts)),
    ]
}

fn status(paths: &Paths) -> Result<Box<Status>, String> {
    match Broker::connect(&paths.socket()).and_then(|broker| broker.call(&Verb::Status {})) {
        Ok(Reply::Ok { answer: Answer::Status { status } }) => Ok(status),
        Ok(Reply::Failed { reason } | Reply::Refused { reason }) => Err(reason),
        Ok(Reply::Ok { answer: Answer::Doctor { .. } | Answer::Done {} | Answer::Slots { .. } }) => {
            Err("the broker answers another question".to_owned())
        }
        Err(error) => Err(crate::chain(&error)),
    }
}

fn gateway(paths: &Paths, status: &Status) -> Result<(), String> {
    match status.enrolment {
        Enrolment::NoToken {} | Enrolment::Pending {} | Enrolment::Refused { .. } => Ok(()),
        Enrolment::Enrolled {} => {
            let unit = Unit::Gateway.name();
            let active = systemd::active(paths, &[unit]).map_err(|error| crate::chain(&error))?;
            if active.contains(unit) { Ok(()) } else { Err("the gateway is enrolled and does not run".to_owned()) }
        }
    }
}

/// The root file system must be the verified one.
fn verified_root(paths: &Paths, mounts: &str) -> Result<(), String> {
    let mount = mounts.lines().filter_map(Mount::parse).rfind(|mount| mount.point == "/").ok_or("nothing is mounted on /")?;
    let uuid = read_foreign(&paths.at(&format!("/sys/dev/block/{}/dm/uuid", mount.device)), MAX_BYTES).unwrap_or_default();
    // What libcryptsetup names every device that dm-verity checks.
    if uuid.starts_with("CRYPT-VERITY-") { Ok(()) } else { Err(format!("/ is on device {}, which is not verified", mount.device)) }
}

/// A file system that met an error is read-only as a whole, whatever the mount says.
fn writable_var(mounts: &str) -> Result<(), String> {
    let mount = mounts.lines().filter_map(Mount::parse).rfind(|mount| mount.point == "/var").ok_or("nothing is mounted on /var")?;
    if mount.super_options.split(',').any(|option| option == "rw") { Ok(()) } else { Err("/var is read-only".to_owned()) }
}

/// A line of `/proc/self/mountinfo` (proc(5)).
struct Mount<'a> {
    device: &'a str,
    point: &'a str,
    super_options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(2);
        let (device, point) = (fields.next()?, fields.nth(1)?);
        let plain = device.bytes().all(|b| b.is_ascii_digit() || b == b':');
        Some(Self { device, point, super_options: file_system.split(' ').nth(2)? }).filter(|_| plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "22 1 0:20 / / rw - tmpfs tmpfs rw\n\
        24 22 254:0 / / ro,relatime shared:1 - squashfs /dev/mapper/root ro\n\
        30 24 8:6 / /var ro,nosuid shared:7 - ext4 /dev/sda6 rw,errors=remount-ro\n";

    #[test]
    fn the_root_is_what_dm_verity_checks() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        assert_eq!(verified_root(&paths, MOUNTS), Err("/ is on device 254:0, which is not verified".into()));
        std::fs::create_dir_all(paths.at("/sys/dev/block/254:0/dm")).unwrap();
        std::fs::write(paths.at("/sys/dev/block/254:0/dm/uuid"), "CRYPT-VERITY-0123-root\n").unwrap();
        assert_eq!(verified_root(&paths, MOUNTS), Ok(()));
        assert!(verified_root(&paths, "").is_err());
    }

    #[test]
    fn var_is_writable_by_its_file_system_not_by_the_mount_of_a_sandbox() {
        assert_eq!(writable_var(MOUNTS), Ok(()));
        assert_eq!(writable_var(&MOUNTS.replace("rw,errors", "ro,errors")), Err("/var is read-only".into()));
        assert!(writable_var("").is_err());
    }
}
