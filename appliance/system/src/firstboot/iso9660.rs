//! Reads one file from the root directory of an ISO 9660 volume (ECMA-119), in user space and within fixed bounds.
//!
//! Knows the primary volume descriptor and one directory, the root; so nothing on the disc can lead in a circle. Joliet and Rock
//! Ridge give the same files second names and are not needed. Called by `transport`, and by the fuzz target `iso9660`.

use std::io::{self, Read, Seek, SeekFrom};

/// Bytes of a logical sector; the only logical block size that is read.
pub const SECTOR_BYTES: usize = 2_048;
/// First sector of the volume descriptors (ECMA-119 §6.7.1).
const FIRST_DESCRIPTOR: u64 = 16;
/// Most volume descriptors that are looked at.
const MAX_DESCRIPTORS: u64 = 16;
/// Longest root directory that is read, in bytes.
const MAX_DIRECTORY_BYTES: u32 = 128 * 1_024;
const DESCRIPTOR_PRIMARY: u8 = 1;
const DESCRIPTOR_TERMINATOR: u8 = 255;
/// Bytes of a directory record before the name (§9.1).
const RECORD_HEAD_BYTES: usize = 33;
const FLAG_DIRECTORY: u8 = 0x02;
const FLAG_MULTI_EXTENT: u8 = 0x80;

/// What to look for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The volume's label. Letters in either case, and `_`, `-` and space count as one: authoring tools change them.
    pub label: &'a str,
    /// The file's name, compared in the same way, without version.
    pub name: &'a str,
    /// Most bytes that the file may have.
    pub max_bytes: u32,
}

/// Why a volume with the right label gives no file.
#[derive(Debug, thiserror::Error)]
pub enum IsoError {
    /// Two files answer to the name.
    #[error("the disc has more than one file of that name")]
    Ambiguous,
    /// The disc uses another block size.
    #[error("the disc has blocks of {0} bytes, not {SECTOR_BYTES}")]
    BlockSize(u16),
    /// A directory record does not fit into its sector.
    #[error("the disc's root directory is damaged at byte {0}")]
    DirectoryDamaged(usize),
    /// The root directory is longer than any honest disc's.
    #[error("the disc's root directory has {0} bytes, more than {MAX_DIRECTORY_BYTES}")]
    DirectoryTooLong(u32),
    /// The file is in pieces, or no file.
    #[error("the file is a directory, interleaved or in several pieces")]
    FileKind,
    /// The file is longer than asked for.
    #[error("the file has {bytes} bytes, more than {max_bytes}")]
    FileTooLong {
        /// What the directory says.
        bytes: u32,
        /// What is allowed.
        max_bytes: u32,
    },
    /// The right disc without the file.
    #[error("the disc has no such file")]
    Missing,
    /// The drive failed; it may succeed later.
    #[error("the disc cannot be read")]
    Read(#[source] io::Error),
    /// Something lies behind the disc's end.
    #[error("the disc ends before its contents")]
    Truncated,
}

/// Reads the wanted file; `None` when `source` holds no ISO 9660 volume of that label.
///
/// # Errors
/// [`IsoError`]; only [`IsoError::Read`] can be cured by trying again.
pub fn read_file(source: &mut (impl Read + Seek), wanted: &Wanted<'_>) -> Result<Option<Vec<u8>>, IsoError> {
    let Some(descriptor) = primary_descriptor(source)? else { return Ok(None) };
    if !same_name(descriptor.get(40..72).unwrap_or_default(), wanted.label) {
        return Ok(None);
    }
    let block = u16_at(&descriptor, 128);
    if usize::from(block) != SECTOR_BYTES {
        return Err(IsoError::BlockSize(block));
    }
    let root = Record::parse(descriptor.get(156..190).unwrap_or_default()).ok_or(IsoError::DirectoryDamaged(0))?;
    if root.bytes > MAX_DIRECTORY_BYTES {
        return Err(IsoError::DirectoryTooLong(root.bytes));
    }
    let directory = read_extent(source, root)?;
    let file = find(&directory, wanted.name)?;
    if file.bytes > wanted.max_bytes {
        return Err(IsoError::FileTooLong { bytes: file.bytes, max_bytes: wanted.max_bytes });
    }
    read_extent(source, file).map(Some)
}

fn primary_descriptor(source: &mut (impl Read + Seek)) -> Result<Option<[u8; SECTOR_BYTES]>, IsoError> {
    let mut sector = [0; SECTOR_BYTES];
    for number in FIRST_DESCRIPTOR..FIRST_DESCRIPTOR + MAX_DESCRIPTORS {
        match read_at(source, number, &mut sector) {
            Ok(()) => {}
            // A short disc, or none of ours: no reason to complain.
            Err(IsoError::Truncated) => return Ok(None),
            Err(error) => return Err(error),
        }
        if sector.get(1..6) != Some(b"CD001") {
            return Ok(None);
        }
        match sector.first() {
            Some(&DESCRIPTOR_PRIMARY) => return Ok(Some(sector)),
            Some(&DESCRIPTOR_TERMINATOR) => return Ok(None),
            _ => {}
        }
    }
    Ok(None)
}

/// Where a file or directory lies (§9.1).
#[derive(Clone, Copy)]
struct Record<'a> {
    /// First sector of the contents.
    start: u64,
    bytes: u32,
    flags: u8,
    interleaved: bool,
    name: &'a [u8],
}

impl<'a> Record<'a> {
    /// Parses a record that fills `bytes`, apart from what extensions have put behind its name.
    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (head, rest) = bytes.split_at_checked(RECORD_HEAD_BYTES)?;
        let name_bytes = *head.get(32)?;
        Some(Self {
            // An extended attribute record stands before the contents (§9.5).
            start: u64::from(u32_at(head, 2)) + u64::from(*head.get(1)?),
            bytes: u32_at(head, 10),
            flags: *head.get(25)?,
            interleaved: head.get(26..28)? != [0, 0],
            name: rest.get(..usize::from(name_bytes))?,
        })
    }
}

fn find<'a>(directory: &'a [u8], name: &str) -> Result<Record<'a>, IsoError> {
    let mut found = None;
    for (index, sector) in directory.chunks(SECTOR_BYTES).enumerate() {
        let mut at = 0;
        // A record never crosses a sector's end; zero says that the rest of the sector is unused (§6.8.1.1).
        while let Some(&length) = sector.get(at)
            && length != 0
        {
            let damaged = || IsoError::DirectoryDamaged(index * SECTOR_BYTES + at);
            let end = at + usize::from(length);
            let record = sector.get(at..end).and_then(Record::parse).ok_or_else(damaged)?;
            if same_name(without_version(record.name), name) && found.replace(record).is_some() {
                return Err(IsoError::Ambiguous);
            }
            at = end;
        }
    }
    let record = found.ok_or(IsoError::Missing)?;
    if record.interleaved || record.flags & (FLAG_DIRECTORY | FLAG_MULTI_EXTENT) != 0 {
        return Err(IsoError::FileKind);
    }
    Ok(record)
}

/// Reads what `record` points to; the caller has bounded its length.
fn read_extent(source: &mut (impl Read + Seek), record: Record<'_>) -> Result<Vec<u8>, IsoError> {
    let bytes = usize::try_from(record.bytes).map_err(|_| IsoError::Truncated)?;
    let mut contents = vec![0; bytes];
    read_at(source, record.start, &mut contents)?;
    Ok(contents)
}

fn read_at(source: &mut (impl Read + Seek), sector: u64, buffer: &mut [u8]) -> Result<(), IsoError> {
    let at = sector.saturating_mul(SECTOR_BYTES as u64);
    source.seek(SeekFrom::Start(at)).map_err(IsoError::Read)?;
    source.read_exact(buffer).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => IsoError::Truncated,
        _ => IsoError::Read(error),
    })
}

/// Returns `OVF-ENV.XML` of `OVF-ENV.XML;1`, and `NAME` of `NAME.;1`.
fn without_version(name: &[u8]) -> &[u8] {
    let end = name.iter().position(|byte| *byte == b';').unwrap_or(name.len());
    let name = name.get(..end).unwrap_or_default();
    name.strip_suffix(b".").unwrap_or(name)
}

fn same_name(found: &[u8], wanted: &str) -> bool {
    let fold = |byte: u8| match byte {
        b'_' | b' ' => b'-',
        byte => byte.to_ascii_lowercase(),
    };
    let padding = |byte: &u8| matches!(*byte, b' ' | 0);
    let length = found.iter().rposition(|byte| !padding(byte)).map_or(0, |last| last + 1);
    found.iter().take(length).copied().map(fold).eq(wanted.bytes().map(fold))
}

/// Returns the little-endian half of a both-endian number (§7.2.3, §7.3.3).
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().map_or(0, u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().map_or(0, u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    const WANTED: Wanted<'static> = Wanted { label: "OVF ENV", name: "ovf-env.xml", max_bytes: 64 * 1_024 };
    const ROOT_SECTOR: u32 = 18;
    const FILE_SECTOR: u32 = 19;

    fn record(name: &[u8], start: u32, bytes: u32, flags: u8) -> Vec<u8> {
        let mut record = vec![0; RECORD_HEAD_BYTES];
        record[2..6].copy_from_slice(&start.to_le_bytes());
        record[10..14].copy_from_slice(&bytes.to_le_bytes());
        record[25] = flags;
        record[32] = name.len() as u8;
        record.extend_from_slice(name);
        record.resize(record.len().next_multiple_of(2), 0);
        record[0] = record.len() as u8;
        record
    }

    /// A disc with these records in its root and `contents` in [`FILE_SECTOR`].
    fn disc(records: &[Vec<u8>], contents: &[u8]) -> Vec<u8> {
        let mut disc = vec![0; SECTOR_BYTES * FILE_SECTOR as usize];
        let descriptor = &mut disc[SECTOR_BYTES * 16..];
        descriptor[0] = DESCRIPTOR_PRIMARY;
        descriptor[1..6].copy_from_slice(b"CD001");
        descriptor[40..72].copy_from_slice(format!("{:<32}", "OVF ENV").as_bytes());
        descriptor[128..130].copy_from_slice(&2_048_u16.to_le_bytes());
        descriptor[156..190].copy_from_slice(&record(&[0], ROOT_SECTOR, SECTOR_BYTES as u32, FLAG_DIRECTORY));
        let mut at = SECTOR_BYTES * ROOT_SECTOR as usize;
        for record in records {
            disc[at..at + record.len()].copy_from_slice(record);
            at += record.len();
        }
        disc.extend_from_slice(contents);
        disc.resize(disc.len().next_multiple_of(SECTOR_BYTES), 0);
        disc
    }

    fn read(disc: Vec<u8>) -> Result<Option<Vec<u8>>, IsoError> {
        read_file(&mut Cursor::new(disc), &WANTED)
    }

    #[test]
    fn the_file_is_found_under_the_names_that_authoring_tools_give_it() {
        for name in ["OVF-ENV.XML;1", "OVF_ENV.XML;1", "ovf-env.xml", "ovf-env.xml;1", "Ovf-Env.Xml."] {
            let disc = disc(&[record(b"\0", ROOT_SECTOR, 2_048, 2), record(name.as_bytes(), FILE_SECTOR, 5, 0)], b"hello");
            assert_eq!(read(disc).unwrap(), Some(b"hello".to_vec()), "{name}");
        }
    }

    #[test]
    fn another_disc_is_no_error() {
        let mut other = disc(&[], b"");
        other[SECTOR_BYTES * 16 + 40..][..7].copy_from_slice(b"DRIVERS");
        assert!(read(other).unwrap().is_none());
        assert!(read(vec![0; 64 * 1_024]).unwrap().is_none());
        assert!(read(Vec::new()).unwrap().is_none());
    }

    #[test]
    fn a_disc_of_descriptors_without_a_primary_one_ends() {
        let mut descriptor = vec![0; SECTOR_BYTES];
        descriptor[0] = 2;
        descriptor[1..6].copy_from_slice(b"CD001");
        assert!(read(descriptor.repeat(100)).unwrap().is_none());
    }

    #[test]
    fn two_files_of_the_name_are_refused() {
        let records = [record(b"OVF-ENV.XML;1", FILE_SECTOR, 1, 0), record(b"OVF_ENV.XML;2", FILE_SECTOR, 1, 0)];
        assert!(matches!(read(disc(&records, b"x")), Err(IsoError::Ambiguous)));
    }

    #[test]
    fn a_root_that_contains_itself_is_read_once() {
        let records = [record(b"\0", ROOT_SECTOR, 2_048, 2), record(b"OVF-ENV.XML;1", ROOT_SECTOR, 2_048, FLAG_DIRECTORY)];
        assert!(matches!(read(disc(&records, b"")), Err(IsoError::FileKind)));
    }

    #[test]
    fn huge_extents_are_refused_before_they_are_read() {
        let file = [record(b"OVF-ENV.XML;1", FILE_SECTOR, u32::MAX, 0)];
        assert!(matches!(read(disc(&file, b"x")), Err(IsoError::FileTooLong { bytes: u32::MAX, .. })));
        let mut root = disc(&[], b"");
        root[SECTOR_BYTES * 16 + 156 + 10..][..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(read(root), Err(IsoError::DirectoryTooLong(u32::MAX))));
    }

    #[test]
    fn what_lies_behind_the_end_is_said_to_be_missing() {
        let file = [record(b"OVF-ENV.XML;1", u32::MAX, 100, 0)];
        assert!(matches!(read(disc(&file, b"x")), Err(IsoError::Truncated)));
        let file = [record(b"OVF-ENV.XML;1", FILE_SECTOR, 2_049, 0)];
        assert!(matches!(read(disc(&file, b"x")), Err(IsoError::Truncated)));
    }

    #[test]
    fn a_record_that_leaves_its_sector_is_damage() {
        let mut disc = disc(&[record(b"OVF-ENV.XML;1", FILE_SECTOR, 1, 0)], b"x");
        disc[SECTOR_BYTES * ROOT_SECTOR as usize + 32] = 200;
        assert!(matches!(read(disc), Err(IsoError::DirectoryDamaged(0))));
    }

    #[test]
    fn the_right_disc_without_the_file_is_an_error() {
        assert!(matches!(read(disc(&[record(b"OTHER.XML;1", FILE_SECTOR, 1, 0)], b"x")), Err(IsoError::Missing)));
    }
}
