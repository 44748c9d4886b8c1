//! Discs of the ISO 9660 reader: bounded work, and whatever is returned was on the disc. The input begins where the descriptors
//! begin, since nothing reads what lies before.
#![no_main]

use std::io::{self, Cursor, Read, Seek, SeekFrom};

use libfuzzer_sys::fuzz_target;
use postern_appliance::firstboot::iso9660::{self, SECTOR_BYTES, Wanted};

const MAX_BYTES: u32 = 64 * 1_024;
/// More than the descriptors, the longest directory and the longest file together.
const MAX_READ_BYTES: usize = 16 * SECTOR_BYTES + 128 * 1_024 + MAX_BYTES as usize;

fuzz_target!(|disc: &[u8]| {
    let mut source = Counted { disc: Cursor::new(disc), bytes: 0 };
    let read = iso9660::read_file(&mut source, &Wanted { label: "OVF ENV", name: "ovf-env.xml", max_bytes: MAX_BYTES });
    assert!(source.bytes <= MAX_READ_BYTES);
    if let Ok(Some(file)) = read {
        assert!(file.len() <= MAX_BYTES as usize);
        assert!(
            file.is_empty() || disc.chunks(SECTOR_BYTES).enumerate().any(|(sector, _)| disc[sector * SECTOR_BYTES..].starts_with(&file))
        );
    }
});

/// The disc behind sector 16, counting what is read of it.
struct Counted<'a> {
    disc: Cursor<&'a [u8]>,
    bytes: usize,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.disc.read(buffer)?;
        self.bytes += bytes;
        Ok(bytes)
    }
}

impl Seek for Counted<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let SeekFrom::Start(at) = to else { unreachable!("the reader seeks from the start") };
        self.disc.seek(SeekFrom::Start(at.saturating_sub(16 * SECTOR_BYTES as u64)))?;
        Ok(at)
    }
}
