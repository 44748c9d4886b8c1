//! Unpacks what admins upload, within limits: nothing is written to a disk, names are only names.

use std::io::{Cursor, Read};

use super::report::SkippedFile;

/// Most files in all archives together.
pub(super) const MAX_FILES: usize = 20_000;

/// Most bytes of one file.
pub(super) const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// Most bytes of all files together.
pub(super) const MAX_TOTAL_BYTES: u64 = 512 * 1024 * 1024;

/// Endings of what lies beside modules in vendors' archives and is none.
const NO_MODULES: [&str; 16] =
    ["pdf", "doc", "docx", "xls", "xlsx", "png", "gif", "jpg", "exe", "dll", "class", "jar", "css", "js", "o", "so"];

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It is damaged, or of a kind that is not supported.
    #[error("the archive cannot be read: {0}")]
    Damaged(String),
    /// More than [`MAX_FILES`] files.
    #[error("there are more than {MAX_FILES} files")]
    Files,
    /// More than [`MAX_TOTAL_BYTES`] once unpacked.
    #[error("the files have more than {} MiB", MAX_TOTAL_BYTES / 1024 / 1024)]
    Total,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

/// What was unpacked.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub(super) taken: Vec<File>,
    pub(super) skipped: Vec<SkippedFile>,
    bytes: u64,
}

impl Files {
    /// Adds what is in `archive`: a zip, tar, tar.gz or tar.xz, or the text of one module, which is then called `name`.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub(super) fn unpack(&mut self, name: &str, archive: &[u8]) -> Result<(), ArchiveError> {
        match archive {
            [b'P', b'K', 3 | 5, ..] => self.zip(archive),
            [0x1f, 0x8b, ..] => self.compressed(name, flate2::read::MultiGzDecoder::new(archive)),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => self.compressed(name, lzma_rust2::XzReader::new(archive, true)),
            _ if is_tar(archive) => self.tar(archive),
            _ => self.add(name, &mut Cursor::new(archive)),
        }
    }

    /// Adds one file.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub(super) fn add(&mut self, name: &str, content: &mut dyn Read) -> Result<(), ArchiveError> {
        if self.taken.len() >= MAX_FILES {
            return Err(ArchiveError::Files);
        }
        if let Some(why) = unwanted(name) {
            return self.skip(name, why);
        }
        let mut bytes = Vec::new();
        // One more than may be, to see that there is more.
        let read = content.take(MAX_FILE_BYTES.saturating_add(1)).read_to_end(&mut bytes);
        if let Err(error) = read {
            return self.skip(name, &format!("it cannot be unpacked: {error}"));
        }
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        if self.bytes > MAX_TOTAL_BYTES {
            return Err(ArchiveError::Total);
        }
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return self.skip(name, &format!("it has more than {} MiB", MAX_FILE_BYTES / 1024 / 1024));
        }
        let is_wide = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
        if !is_wide && bytes.iter().take(4096).filter(|byte| **byte == 0).count() > 4 {
            return self.skip(name, "it is no text");
        }
        self.taken.push(File { name: name.to_owned(), bytes });
        Ok(())
    }

    fn skip(&mut self, name: &str, why: &str) -> Result<(), ArchiveError> {
        if self.skipped.len() >= MAX_FILES {
            return Err(ArchiveError::Files);
        }
        self.skipped.push(SkippedFile { file: name.to_owned(), why: why.to_owned() });
        Ok(())
    }

    fn zip(&mut self, archive: &[u8]) -> Result<(), ArchiveError> {
        let mut zip = zip::ZipArchive::new(Cursor::new(archive)).map_err(damaged)?;
        if zip.len() > MAX_FILES {
            return Err(ArchiveError::Files);
        }
        for at in 0..zip.len() {
            match zip.by_index(at) {
                Ok(file) if !file.is_file() => {}
                Ok(mut file) => {
                    let name = file.name().map_or_else(|_| format!("file {at}"), std::borrow::Cow::into_owned);
                    self.add(&name, &mut file)?;
                }
                Err(error) => {
                    self.skip(&format!("file {at}"), &format!("it cannot be unpacked: {error}"))?;
                }
            }
        }
        Ok(())
    }

    fn compressed(&mut self, name: &str, reader: impl Read) -> Result<(), ArchiveError> {
        let left = MAX_TOTAL_BYTES.saturating_sub(self.bytes);
        let mut bytes = Vec::new();
        reader.take(left.saturating_add(1)).read_to_end(&mut bytes).map_err(damaged)?;
        if bytes.len() as u64 > left {
            return Err(ArchiveError::Total);
        }
        if is_tar(&bytes) { self.tar(&bytes) } else { self.add(name, &mut Cursor::new(bytes)) }
    }

    fn tar(&mut self, archive: &[u8]) -> Result<(), ArchiveError> {
        let mut tar = tar::Archive::new(archive);
        for entry in tar.entries().map_err(damaged)? {
            let mut entry = entry.map_err(damaged)?;
            if entry.header().entry_type().is_file() {
                let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
                self.add(&name, &mut entry)?;
            }
        }
        Ok(())
    }
}

fn damaged(error: impl std::fmt::Display) -> ArchiveError {
    ArchiveError::Damaged(error.to_string())
}

/// The mark of POSIX and GNU archives (POSIX.1-1988 §10.1.1).
fn is_tar(bytes: &[u8]) -> bool {
    bytes.get(257..262) == Some(b"ustar")
}

fn unwanted(name: &str) -> Option<&'static str> {
    let file = name.rsplit(['/', '\\']).next().unwrap_or(name);
    let ending = file.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase()).unwrap_or_default();
    if name.starts_with("__MACOSX") || file.starts_with("._") || file == ".DS_Store" {
        return Some("it is a by-product of an operating system");
    }
    if matches!(ending.as_str(), "zip" | "gz" | "tgz" | "xz" | "tar" | "7z" | "rar") {
        return Some("it is an archive within an archive: upload it on its own");
    }
    NO_MODULES.contains(&ending.as_str()).then_some("files of this kind hold no modules")
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn names(files: &Files) -> Vec<&str> {
        files.taken.iter().map(|file| file.name.as_str()).collect()
    }

    #[test]
    fn every_kind_of_archive_gives_its_files() {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for name in ["a/", "a/ONE.mib", "__MACOSX/x", "b.pdf", "inner.zip"] {
            zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(b"text").unwrap();
        }
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(4);
        header.set_cksum();
        tar.append_data(&mut header, "d/TWO", &b"text"[..]).unwrap();
        let tar = tar.into_inner().unwrap();
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&tar).unwrap();

        let mut files = Files::default();
        for archive in [&zip.finish().unwrap().into_inner()[..], &tar, &gz.finish().unwrap(), b"plain"] {
            files.unpack("upload", archive).unwrap();
        }
        assert_eq!(names(&files), ["a/ONE.mib", "d/TWO", "d/TWO", "upload"]);
        assert_eq!(files.skipped.len(), 3);
    }

    #[test]
    fn a_damaged_archive_is_told_and_what_is_no_text_is_left_out() {
        let mut files = Files::default();
        assert!(files.unpack("x", b"PK\x03\x04nothing").is_err());
        assert!(files.unpack("x", b"\x1f\x8bnothing").is_err());
        files.unpack("x", &[0; 100]).unwrap();
        assert!(files.taken.is_empty() && files.skipped.len() == 1);
    }

    #[test]
    fn what_unpacks_to_more_than_fits_is_refused() {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let block = vec![b'a'; 1024 * 1024];
        for _ in 0..=MAX_TOTAL_BYTES / 1024 / 1024 {
            gz.write_all(&block).unwrap();
        }
        let bomb = gz.finish().unwrap();
        assert!(matches!(Files::default().unpack("bomb", &bomb), Err(ArchiveError::Total)));
    }
}
