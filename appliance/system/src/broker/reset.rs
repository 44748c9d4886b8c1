//! Factory reset: asks systemd-repart, by an EFI variable, to make the data partitions anew at the next start.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use nix::fcntl::OFlag;

use super::paths::Paths;

const VARIABLE: &str = "/sys/firmware/efi/efivars/FactoryReset-8cf2644b-4b0b-428f-9387-6d876050dc67";
/// Non-volatile, seen by boot services and at run time: the first four bytes of a file of efivarfs.
const ATTRIBUTES: [u8; 4] = [7, 0, 0, 0];

/// The variable cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("the EFI variable FactoryReset cannot be written; reset the appliance by importing it anew")]
pub(crate) struct ResetError(#[source] std::io::Error);

/// Marks the data for erasure at the next start.
///
/// # Errors
/// [`ResetError`].
pub(crate) fn request(paths: &Paths) -> Result<(), ResetError> {
    let flags = OFlag::O_NOFOLLOW.bits();
    let opened =
        std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).custom_flags(flags).open(paths.at(VARIABLE));
    // efivarfs takes a variable in one write.
    opened.and_then(|mut file| file.write_all(&content())).map_err(ResetError)
}

/// The variable as systemd reads it: a boolean as UTF-16LE text with its terminator.
fn content() -> Vec<u8> {
    let text = "yes\0".encode_utf16().flat_map(u16::to_le_bytes);
    ATTRIBUTES.into_iter().chain(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_has_systemds_form() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::below(dir.path());
        assert!(request(&paths).is_err(), "a machine without EFI variables says so");
        std::fs::create_dir_all(paths.at("/sys/firmware/efi/efivars")).unwrap();
        request(&paths).unwrap();
        assert_eq!(std::fs::read(paths.at(VARIABLE)).unwrap(), b"\x07\0\0\0y\0e\0s\0\0\0");
    }
}
