//! The file systems under the gateway's data: room, a write with its fsync, and how long that takes.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::statvfs::statvfs;
use postern_protocol::status::doctor::Finding;

use super::finding::{Id, good};

/// Less is as good as nothing: the spool writes segments of 16 MiB, and the rest of the machine needs some.
const FULL_BYTES: u64 = 64 * 1024 * 1024;

/// An inform is answered after its fsync: from here on senders notice, and from there on they send again.
const SLOW: Duration = Duration::from_millis(250);
const VERY_SLOW: Duration = Duration::from_secs(2);

/// Name and size of the file that is written, and how often: the median counts.
const PROBE: &str = ".doctor-probe";
const PROBE_BYTES: usize = 4096;
const PROBES: usize = 3;

/// What was seen of one directory's file system.
#[derive(Debug)]
pub(super) struct DiskFacts {
    pub(super) dir: PathBuf,
    /// What is free for us, and how much there is; `None` when the system does not tell.
    pub(super) room: Option<Room>,
    /// How long a write with its fsync took.
    pub(super) write: io::Result<Duration>,
    /// What the spool may still grow by there; 0 for a directory without spool.
    pub(super) wanted_bytes: u64,
}

/// The room of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) free_bytes: u64,
    pub(super) total_bytes: u64,
    /// Files that can still be made; `None` where they are not counted.
    pub(super) free_files: Option<u64>,
}

/// Looks at the file systems of `dirs`, each file system once, at the first directory that is on it. Blocks.
pub(super) fn observe(dirs: &[(PathBuf, u64)]) -> Vec<DiskFacts> {
    let mut seen = Vec::new();
    let mut facts: Vec<DiskFacts> = Vec::new();
    for (dir, wanted_bytes) in dirs {
        let device = dir.metadata().ok().map(|metadata| metadata.dev());
        if let Some(at) = seen.iter().position(|other| device.is_some() && *other == device) {
            if let Some(facts) = facts.get_mut(at) {
                facts.wanted_bytes = facts.wanted_bytes.saturating_add(*wanted_bytes);
            }
            continue;
        }
        seen.push(device);
        facts.push(DiskFacts { dir: dir.clone(), room: room(dir), write: write(dir), wanted_bytes: *wanted_bytes });
    }
    facts
}

fn room(dir: &Path) -> Option<Room> {
    let stat = statvfs(dir).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.fragment_size());
    let free_files = (stat.files() > 0).then(|| stat.files_available());
    Some(Room { free_bytes: bytes(stat.blocks_available()), total_bytes: bytes(stat.blocks()), free_files })
}

/// Writes a small file, has it on the disk, removes it; several times, and returns the median of the times.
fn write(dir: &Path) -> io::Result<Duration> {
    let path = dir.join(PROBE);
    let once = || {
        let started = Instant::now();
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&path)?;
        file.write_all(&[0x5a; PROBE_BYTES])?;
        file.sync_all()?;
        Ok(started.elapsed())
    };
    let times: io::Result<Vec<Duration>> = (0..PROBES).map(|_| once()).collect();
    // Left behind, it is overwritten by the next one.
    let _ = std::fs::remove_file(&path);
    let mut times = times?;
    times.sort_unstable();
    Ok(times.get(PROBES / 2).copied().unwrap_or_default())
}

/// Judges one file system.
pub(super) fn judge(facts: &DiskFacts) -> Vec<Finding> {
    let dir = facts.dir.display();
    let mut findings = Vec::new();
    match &facts.write {
        Err(error) => findings.push(unwritable(facts, error)),
        Ok(took) if *took >= SLOW => {
            let what = format!("the disk under {dir} takes long to write");
            let evidence = format!("a write with its fsync took {} ms (median of {PROBES})", took.as_millis());
            let advice = "look for other load on the disk or the host's storage, and for errors of the drive (dmesg, smartctl)";
            let very = *took >= VERY_SLOW;
            findings.push(if very { Id::DiskSlow.fault(what, evidence, advice) } else { Id::DiskSlow.warning(what, evidence, advice) });
        }
        Ok(_) => {}
    }
    let full = findings.iter().any(|finding| finding.id == Id::DiskFull.name());
    if let Some(room) = facts.room.filter(|_| !full) {
        findings.extend(scarce(facts, room));
    }
    if let (true, Ok(took)) = (findings.is_empty(), &facts.write) {
        let free = facts.room.map_or_else(String::new, |room| format!("{} free, ", size(room.free_bytes)));
        findings.push(good("disk", format!("the disk under {dir} can be written"), format!("{free}fsync in {} ms", took.as_millis())));
    }
    findings
}

fn unwritable(facts: &DiskFacts, error: &io::Error) -> Finding {
    let dir = facts.dir.display();
    let evidence = format!("writing a file there: {error}");
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Id::DiskFull.fault(
            format!("the disk under {dir} is full"),
            evidence,
            "make room there, or lower spool.max_bytes; the gateway goes on by itself, and gives up logs and samples first",
        ),
        ErrorKind::ReadOnlyFilesystem => Id::DiskFailing.fault(
            format!("the file system under {dir} is read-only"),
            evidence,
            "the system makes it so after errors of the drive: look at dmesg, then check the file system and mount it again",
        ),
        ErrorKind::PermissionDenied | ErrorKind::NotFound => Id::DiskFailing.fault(
            format!("{dir} cannot be written by this user"),
            evidence,
            "run this command as the daemon's own user, and check that the directory is there and is its own, mode 0700",
        ),
        _ => Id::DiskFailing.fault(
            format!("the disk under {dir} fails"),
            evidence,
            "look at dmesg and smartctl, and replace the drive or move the data",
        ),
    }
}

fn scarce(facts: &DiskFacts, room: Room) -> Option<Finding> {
    let dir = facts.dir.display();
    let evidence = format!("{} of {} are free", size(room.free_bytes), size(room.total_bytes));
    if room.free_bytes < FULL_BYTES {
        let advice = "make room there, or lower spool.max_bytes";
        return Some(Id::DiskFull.fault(format!("the disk under {dir} is as good as full"), evidence, advice));
    }
    if room.free_files == Some(0) {
        let evidence = "no file can be made any more (inodes)";
        return Some(Id::DiskFull.fault(format!("the file system under {dir} is full"), evidence, "remove files there that nobody needs"));
    }
    (room.free_bytes < facts.wanted_bytes).then(|| {
        let what = format!("the disk under {dir} will be full before the spool has reached its limit");
        let evidence = format!("{evidence}, and the spool may still grow by {}", size(facts.wanted_bytes));
        Id::DiskFull.warning(what, evidence, "give it more room, or lower spool.max_bytes to what there is")
    })
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_048_576 => format!("{} KiB", bytes / 1024),
        1_048_576..10_737_418_240 => format!("{} MiB", bytes / 1_048_576),
        _ => format!("{} GiB", bytes / 1_073_741_824),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_protocol::status::doctor::Grade;

    const ROOM: Room = Room { free_bytes: 20 << 30, total_bytes: 40 << 30, free_files: Some(9) };

    fn judged(write: io::Result<Duration>, room: Room) -> (String, Grade) {
        let facts = DiskFacts { dir: "/data".into(), room: Some(room), write, wanted_bytes: 4 << 30 };
        let findings = judge(&facts);
        assert_eq!(findings.len(), 1, "{findings:?}");
        (findings[0].id.clone(), findings[0].grade)
    }

    #[test]
    fn each_way_in_which_a_disk_fails_is_told_apart() {
        let errno = |errno: i32| Err(io::Error::from_raw_os_error(errno));
        let quick = || Ok(Duration::from_millis(3));
        let fault = |id: &str| (id.to_owned(), Grade::Fault);
        assert_eq!(judged(quick(), ROOM), ("disk".to_owned(), Grade::Good));
        assert_eq!(judged(errno(nix::libc::ENOSPC), ROOM), fault("disk-full"));
        assert_eq!(judged(errno(nix::libc::EROFS), ROOM), fault("disk-failing"));
        assert_eq!(judged(errno(nix::libc::EIO), ROOM), fault("disk-failing"));
        assert_eq!(judged(Ok(Duration::from_millis(300)), ROOM), ("disk-slow".to_owned(), Grade::Warning));
        assert_eq!(judged(Ok(Duration::from_secs(3)), ROOM), fault("disk-slow"));
        assert_eq!(judged(quick(), Room { free_bytes: 1 << 20, ..ROOM }), fault("disk-full"));
        assert_eq!(judged(quick(), Room { free_files: Some(0), ..ROOM }), fault("disk-full"));
        assert_eq!(judged(quick(), Room { free_bytes: 1 << 30, ..ROOM }), ("disk-full".to_owned(), Grade::Warning));
    }

    #[test]
    fn one_file_system_is_written_once_and_nothing_is_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let facts = observe(&[(dir.path().to_owned(), 1), (dir.path().to_owned(), 2)]);
        assert_eq!((facts.len(), facts[0].wanted_bytes), (1, 3));
        assert!(facts[0].write.is_ok() && facts[0].room.is_some());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        let missing = observe(&[(dir.path().join("missing"), 0)]);
        assert_eq!(judge(&missing[0])[0].id, "disk-failing");
    }
}
