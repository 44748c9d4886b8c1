//! Looks where a hypervisor may have put the OVF environment: a CD-ROM drive, VMware's guestinfo and, in test builds, QEMU's fw_cfg.
//!
//! Fetches bytes and judges no contents. A source that is not there (yet) is no error: `search` asks again until its time is over.

use std::fmt;
use std::fs::{self, File};
use std::io;
#[cfg(feature = "fw-cfg")]
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::iso9660::{self, IsoError, Wanted};
use super::{command, ovf};

/// Pause between two looks at all sources: a medium's arrival sends no event that an unprivileged process could wait for.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Time beyond the wanted one after which a look that has not come back is given up.
const LOOK_GRACE: Duration = Duration::from_secs(20);
/// Longest time that VMware's program may take.
const GUESTINFO_TIMEOUT: Duration = Duration::from_secs(5);
const GUESTINFO_KEY: &str = "guestinfo.ovfEnv";

/// Where the sources are on this machine.
#[derive(Clone, Debug)]
pub struct Places {
    /// The CD-ROM drives; `None` takes what the kernel lists.
    pub devices: Option<Vec<PathBuf>>,
    /// The kernel's list of block devices.
    pub sys_block: PathBuf,
    /// File with the machine's maker.
    pub sys_vendor: PathBuf,
    /// VMware's program for guestinfo.
    pub rpctool: PathBuf,
    /// The environment in QEMU's fw_cfg.
    #[cfg(feature = "fw-cfg")]
    pub fw_cfg: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            devices: None,
            sys_block: "/sys/block".into(),
            sys_vendor: "/sys/class/dmi/id/sys_vendor".into(),
            rpctool: "/usr/bin/vmware-rpctool".into(),
            #[cfg(feature = "fw-cfg")]
            fw_cfg: "/sys/firmware/qemu_fw_cfg/by_name/opt/postern/ovf-env/raw".into(),
        }
    }
}

/// Where an environment was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// On the disc in this drive.
    Cdrom(PathBuf),
    /// In QEMU's fw_cfg.
    #[cfg(feature = "fw-cfg")]
    FwCfg,
    /// In VMware's guestinfo.
    Guestinfo,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cdrom(device) => write!(f, "CD-ROM {}", device.display()),
            #[cfg(feature = "fw-cfg")]
            Self::FwCfg => f.write_str("fw_cfg"),
            Self::Guestinfo => f.write_str("VMware guestinfo"),
        }
    }
}

/// An environment, unread. It may hold secrets: no `Debug`.
pub struct Found {
    /// Where it was.
    pub origin: Origin,
    /// Its bytes, at most [`ovf::MAX_BYTES`].
    pub document: Vec<u8>,
}

/// What a search ends with.
pub enum Searched {
    /// An environment.
    Found(Found),
    /// No environment; what stood in the way at the last look, if anything did.
    Nothing(Vec<String>),
    /// A source that is surely meant for us cannot be used.
    Unusable(Origin, IsoError),
    /// A device has swallowed a request and does not answer.
    Stuck,
}

/// Looks at all sources again and again for at most `wait`, and returns what is found first.
pub fn search(places: &Places, wait: Duration) -> Searched {
    search_with_grace(places, wait, LOOK_GRACE)
}

fn search_with_grace(places: &Places, wait: Duration, grace: Duration) -> Searched {
    let (sender, receiver) = mpsc::sync_channel(1);
    let places = places.clone();
    // A thread, because a read from a broken drive may never come back; it then dies with the process.
    std::thread::spawn(move || sender.send(search_until(&places, Instant::now() + wait)));
    match receiver.recv_timeout(wait + grace) {
        Ok(searched) => searched,
        Err(RecvTimeoutError::Disconnected | RecvTimeoutError::Timeout) => Searched::Stuck,
    }
}

fn search_until(places: &Places, deadline: Instant) -> Searched {
    loop {
        let troubles = match look(places) {
            Searched::Nothing(troubles) => troubles,
            searched @ (Searched::Found(_) | Searched::Stuck | Searched::Unusable(..)) => return searched,
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Searched::Nothing(troubles);
        }
        std::thread::sleep(left.min(LOOK_EVERY));
    }
}

fn look(places: &Places) -> Searched {
    let mut troubles = Vec::new();
    for device in places.devices.clone().unwrap_or_else(|| drives(&places.sys_block)) {
        match read_disc(&device) {
            Ok(Some(document)) => return Searched::Found(Found { origin: Origin::Cdrom(device), document }),
            Ok(None) => {}
            Err(IsoError::Read(error)) => troubles.push(format!("{}: {error}", device.display())),
            Err(error) => return Searched::Unusable(Origin::Cdrom(device), error),
        }
    }
    if let Some(document) = read_guestinfo(places) {
        return Searched::Found(Found { origin: Origin::Guestinfo, document });
    }
    #[cfg(feature = "fw-cfg")]
    if let Some(document) = read_fw_cfg(&places.fw_cfg) {
        return Searched::Found(Found { origin: Origin::FwCfg, document });
    }
    Searched::Nothing(troubles)
}

/// Returns the drives that the kernel knows, `sr0` first.
fn drives(sys_block: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(sys_block).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut drives: Vec<PathBuf> = names.filter(|name| name.starts_with("sr")).map(|name| Path::new("/dev").join(name)).collect();
    drives.sort();
    drives
}

fn read_disc(device: &Path) -> Result<Option<Vec<u8>>, IsoError> {
    let mut source = match File::open(device) {
        Ok(source) => source,
        // Not there yet, or without a disc: nothing to tell anyone.
        Err(error) if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(nix::libc::ENOMEDIUM) => return Ok(None),
        Err(error) => return Err(IsoError::Read(error)),
    };
    let max_bytes = u32::try_from(ovf::MAX_BYTES).unwrap_or(u32::MAX);
    iso9660::read_file(&mut source, &Wanted { label: "OVF ENV", name: "ovf-env.xml", max_bytes })
}

fn read_guestinfo(places: &Places) -> Option<Vec<u8>> {
    if !fs::read_to_string(&places.sys_vendor).is_ok_and(|vendor| vendor.starts_with("VMware")) {
        return None;
    }
    let document = command::output(&places.rpctool, &format!("info-get {GUESTINFO_KEY}"), GUESTINFO_TIMEOUT, ovf::MAX_BYTES + 1).ok()?;
    // The program ends its answer with a line end.
    let document = document.trim_ascii().to_vec();
    (!document.is_empty()).then_some(document)
}

/// Puts `document` where VMware keeps the environment for this machine.
///
/// # Errors
/// [`command::CommandError`] when VMware's program fails.
pub(crate) fn replace_guestinfo(places: &Places, document: &str) -> Result<(), command::CommandError> {
    command::output(&places.rpctool, &format!("info-set {GUESTINFO_KEY} {document}"), GUESTINFO_TIMEOUT, ovf::MAX_BYTES)?;
    Ok(())
}

#[cfg(feature = "fw-cfg")]
fn read_fw_cfg(path: &Path) -> Option<Vec<u8>> {
    let mut document = Vec::new();
    let file = File::open(path).ok()?;
    file.take(ovf::MAX_BYTES as u64 + 1).read_to_end(&mut document).ok()?;
    (!document.is_empty()).then_some(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drive_that_swallows_a_request_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let device = dir.path().join("sr0");
        // Opening a pipe that nobody writes to does not come back.
        nix::unistd::mkfifo(&device, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let places = Places { devices: Some(vec![device]), ..Places::default() };
        let searched = search_with_grace(&places, Duration::ZERO, Duration::from_millis(200));
        assert!(matches!(searched, Searched::Stuck));
    }

    #[test]
    fn drives_are_listed_in_order_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["sr1", "sda", "vda", "sr0", "loop0", "xsr"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        assert_eq!(drives(dir.path()), [PathBuf::from("/dev/sr0"), PathBuf::from("/dev/sr1")]);
        assert!(drives(&dir.path().join("none")).is_empty());
    }

    #[test]
    fn a_drive_that_cannot_be_read_is_told_at_the_end() {
        let places = Places { devices: Some(vec!["/".into()]), sys_vendor: "/none".into(), ..Places::default() };
        assert!(matches!(search(&places, Duration::ZERO), Searched::Nothing(troubles) if troubles.len() == 1));
    }
}
