//! What the console sees of the machine by itself, without the broker: how it was started and whether its clock is right.

use std::fs;
use std::path::{Path, PathBuf};

/// Where the kernel and systemd tell.
#[derive(Clone, Debug)]
pub struct Places {
    /// The firmware's variables.
    pub efivars: PathBuf,
    /// The mounts of this process.
    pub mountinfo: PathBuf,
    /// Block devices by number.
    pub sys_dev_block: PathBuf,
    /// Exists once the clock was set by NTP.
    pub synchronised: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            efivars: "/sys/firmware/efi/efivars".into(),
            mountinfo: "/proc/self/mountinfo".into(),
            sys_dev_block: "/sys/dev/block".into(),
            synchronised: "/run/systemd/timesync/synchronized".into(),
        }
    }
}

/// How the machine was started, and its clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Whether the firmware checks signatures; `None` when it does not tell.
    pub secure_boot: Option<bool>,
    /// Whether the root file system is checked block by block.
    pub verity: bool,
    /// Whether the clock was set by NTP since the start.
    pub time_synchronised: bool,
}

impl Machine {
    /// Reads how the machine is now.
    pub fn read(places: &Places) -> Self {
        Self {
            secure_boot: secure_boot(&places.efivars),
            verity: verity(places).unwrap_or(false),
            time_synchronised: places.synchronised.exists(),
        }
    }
}

fn secure_boot(efivars: &Path) -> Option<bool> {
    // UEFI §3.3, in EFI_GLOBAL_VARIABLE; Linux puts four bytes of attributes first.
    let variable = fs::read(efivars.join("SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c")).ok()?;
    variable.get(4).map(|value| *value == 1)
}

fn verity(places: &Places) -> Option<bool> {
    let mounts = fs::read_to_string(&places.mountinfo).ok()?;
    let mut fields = mounts.lines().map(|line| line.split(' ').skip(2));
    // Fields from the third: device number, root, mount point (proc_pid_mountinfo(5)).
    let device = fields.find_map(|mut fields| Some((fields.next()?, fields.nth(1)?)).filter(|(_, mounted)| *mounted == "/"))?.0;
    let uuid = fs::read_to_string(places.sys_dev_block.join(device).join("dm/uuid")).ok()?;
    Some(uuid.starts_with("CRYPT-VERITY-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn firmware_root_and_clock_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let place = |name: &str| dir.path().join(name);
        let places = Places {
            efivars: place(""),
            mountinfo: place("mountinfo"),
            sys_dev_block: place("block"),
            synchronised: place("synchronized"),
        };
        assert_eq!(Machine::read(&places), Machine { secure_boot: None, verity: false, time_synchronised: false });
        fs::write(place("SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"), [6, 0, 0, 0, 1]).unwrap();
        fs::write(place("mountinfo"), "22 1 0:5 / /proc rw - proc proc rw\n23 1 254:0 / / ro - squashfs /dev/dm-0 ro\n").unwrap();
        fs::create_dir_all(place("block/254:0/dm")).unwrap();
        fs::write(place("block/254:0/dm/uuid"), "CRYPT-VERITY-0123-root\n").unwrap();
        fs::write(place("synchronized"), "").unwrap();
        assert_eq!(Machine::read(&places), Machine { secure_boot: Some(true), verity: true, time_synchronised: true });
    }
}
