//! The two system slots, by the names of the signed kernels on the boot partition.
//!
//! A name is `postern-<slot>_<version>[+<left>[-<done>]].efi` (the Boot Loader Specification's counters). A kernel without a counter
//! has proved itself; `rearm` gives the running one a new counter, so that it is left when it does not start any more one day.

use std::ffi::OsString;

use super::paths::Paths;
use crate::files::{Dir, FileError, read_foreign};
use crate::verb::{Slot, Slots};

const TRIES: u32 = 3;
const MAX_CMDLINE_BYTES: u64 = 16 * 1024;

/// Why the running slot's counter cannot be set.
#[derive(Debug, thiserror::Error)]
pub enum RearmError {
    /// The boot partition.
    #[error(transparent)]
    File(#[from] FileError),
    /// The boot partition cannot be listed.
    #[error("the kernels on the boot partition cannot be listed")]
    List(#[source] std::io::Error),
    /// It counts: the system has not proved itself.
    #[error("slot {0} still has a counter: it is not marked good yet")]
    NotBlessed(String),
    /// There are none, or several of the same slot.
    #[error("{found} kernels belong to the running slot {slot}, not one")]
    NotOne {
        /// The slot.
        slot: String,
        /// How many.
        found: usize,
    },
    /// The kernel's command line does not say.
    #[error("the kernel's command line names no slot (postern.slot=a or b)")]
    Unknown,
}

/// Tells what is installed and what runs.
pub(crate) fn slots(paths: &Paths) -> Slots {
    let mut installed: Vec<Slot> = names(paths).unwrap_or_default().iter().filter_map(|name| parse(name)).collect();
    installed.sort();
    Slots { installed, running: running(paths) }
}

/// Gives the running slot's kernel a counter again. Called after the system was marked good.
///
/// # Errors
/// [`RearmError`].
pub(crate) fn rearm(paths: &Paths) -> Result<String, RearmError> {
    let running = running(paths).ok_or(RearmError::Unknown)?;
    let names = names(paths).map_err(RearmError::List)?;
    let mine: Vec<(&String, Slot)> =
        names.iter().filter_map(|name| Some((name, parse(name)?))).filter(|(_, slot)| slot.name == running).collect();
    let [(name, slot)] = mine.as_slice() else { return Err(RearmError::NotOne { slot: running, found: mine.len() }) };
    if slot.tries_left.is_some() {
        return Err(RearmError::NotBlessed(running));
    }
    let armed = format!("postern-{}_{}+{TRIES}.efi", slot.name, slot.version);
    Dir::open(&paths.kernels())?.rename(name, &armed)?;
    Ok(armed)
}

fn running(paths: &Paths) -> Option<String> {
    let cmdline = read_foreign(&paths.at("/proc/cmdline"), MAX_CMDLINE_BYTES)?;
    let slot = cmdline.split_ascii_whitespace().rev().find_map(|word| word.strip_prefix("postern.slot="))?;
    matches!(slot, "a" | "b").then(|| slot.to_owned())
}

fn names(paths: &Paths) -> std::io::Result<Vec<String>> {
    let names = std::fs::read_dir(paths.kernels())?.map(|entry| Ok(entry?.file_name()));
    let names: std::io::Result<Vec<OsString>> = names.collect();
    Ok(names?.into_iter().filter_map(|name| name.into_string().ok()).collect())
}

fn parse(name: &str) -> Option<Slot> {
    let (slot, rest) = name.strip_prefix("postern-")?.strip_suffix(".efi")?.split_once('_')?;
    let (version, counter) = match rest.split_once('+') {
        Some((version, counter)) => (version, Some(counter)),
        None => (rest, None),
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'~' | b'-' | b'^');
    if !matches!(slot, "a" | "b") || version.is_empty() || !version.bytes().all(plain) {
        return None;
    }
    let tries_left = match counter {
        Some(counter) => Some(counter.split('-').next()?.parse().ok()?),
        None => None,
    };
    Some(Slot { name: slot.to_owned(), version: version.to_owned(), tries_left })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(names: &[&str], cmdline: &str) -> (tempfile::TempDir, Paths) {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        std::fs::create_dir_all(paths.kernels()).unwrap();
        std::fs::create_dir_all(paths.at("/proc")).unwrap();
        std::fs::write(paths.at("/proc/cmdline"), cmdline).unwrap();
        for name in names {
            std::fs::write(paths.kernels().join(name), "").unwrap();
        }
        (dir, paths)
    }

    #[test]
    fn slots_are_read_from_names_and_other_names_are_not_ours() {
        let names =
            ["postern-b_1.1.0+2-1.efi", "postern-a_1.0.0.efi", "debian.efi", "postern-c_1.efi", "postern-a_$(id).efi", "postern-a_1+x.efi"];
        let (_dir, paths) = with(&names, "quiet postern.slot=a\n");
        let slot = |name: &str, version: &str, tries_left| Slot { name: name.into(), version: version.into(), tries_left };
        let installed = vec![slot("a", "1.0.0", None), slot("b", "1.1.0", Some(2))];
        assert_eq!(slots(&paths), Slots { installed, running: Some("a".into()) });
    }

    #[test]
    fn a_good_running_slot_gets_its_counter_again() {
        let (_dir, paths) = with(&["postern-a_1.0.0.efi", "postern-b_1.1.0.efi"], "postern.slot=a");
        assert_eq!(rearm(&paths).unwrap(), "postern-a_1.0.0+3.efi");
        assert!(matches!(rearm(&paths), Err(RearmError::NotBlessed(_))));
        assert_eq!(slots(&paths).installed.iter().filter(|slot| slot.tries_left == Some(3)).count(), 1);
    }

    #[test]
    fn a_slot_that_is_not_clear_is_left_alone() {
        let (_dir, paths) = with(&["postern-a_1.efi", "postern-a_2.efi"], "postern.slot=a");
        assert!(matches!(rearm(&paths), Err(RearmError::NotOne { found: 2, .. })));
        let (_dir, paths) = with(&["postern-a_1.efi"], "postern.slot=../x");
        assert!(matches!(rearm(&paths), Err(RearmError::Unknown)));
    }
}
