//! The names that alerts are written with: the built-in table, and the one that the control plane sends.
//!
//! A sent table comes in pieces. It counts only once it is whole, has the digest that it came under, is signed for this gateway and
//! reads as a table; then it is kept in `table.bin` (its signature and its bytes) and the engine has it. What is wrong with one is
//! logged and stands among the report's warnings; the one before stays. `control` is the only caller.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use data_encoding::HEXLOWER;
use postern_protocol::dictionary::table::{Table, TableError};
use postern_protocol::dictionary::{self, Dictionary, MAX_TABLE_BYTES, built_in};
use postern_protocol::message::{DictionaryPart, MAX_DICTIONARY_PART_BYTES};
use tokio::sync::watch;

use crate::revision::signers::Signers;

/// Bytes of an Ed25519 signature.
const SIGNATURE_BYTES: usize = 64;

/// Why a table is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DictionaryError {
    /// The bytes are not those of the digest.
    #[error("the dictionary's bytes are not those that were announced")]
    Digest,
    /// A piece does not follow the one before, or is too large: the fault is the control plane's.
    #[error("a piece of the dictionary does not fit: {0}")]
    Piece(&'static str),
    /// Nobody who may signed it for this gateway.
    #[error("the dictionary is not signed for this gateway")]
    Signature,
    /// The file cannot be written or read.
    #[error("cannot access {}", path.display())]
    Store {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// It is no table.
    #[error(transparent)]
    Table(#[from] TableError),
}

/// What reports say of the dictionary.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DictionaryFacts {
    /// The digest of the sent one, when there is one.
    pub(crate) digest: Option<[u8; 32]>,
    /// What is wrong with the last one that was sent or found.
    pub(crate) problem: Option<String>,
}

impl DictionaryFacts {
    /// Returns the digest in hexadecimal.
    pub(crate) fn digest_text(&self) -> Option<String> {
        self.digest.map(|digest| HEXLOWER.encode(&digest))
    }

    /// Returns what to warn of.
    pub(crate) fn warning(&self) -> Option<String> {
        self.problem.as_ref().map(|problem| format!("the OID dictionary cannot be used, so the one before stays: {problem}"))
    }
}

/// A table on its way.
#[derive(Debug)]
struct Assembly {
    digest: [u8; 32],
    total: usize,
    bytes: Vec<u8>,
}

/// Takes tables in and keeps them.
pub(crate) struct Names {
    dir: PathBuf,
    signers: Signers,
    built_in: Arc<Table>,
    assembly: Option<Assembly>,
    facts: watch::Sender<DictionaryFacts>,
}

impl Names {
    /// Uses `dir`, which is made when absent; returns what names there are. A kept table that is damaged is no reason not to start: it
    /// is told, and the control plane sends it again.
    ///
    /// # Errors
    /// [`DictionaryError::Store`] when the directory cannot be made.
    pub(crate) fn open(dir: &Path, signers: Signers) -> Result<(Self, Arc<Dictionary>), DictionaryError> {
        let made = DirBuilder::new().mode(0o700).recursive(true).create(dir);
        made.map_err(|cause| DictionaryError::Store { path: dir.to_owned(), cause })?;
        let (facts, _) = watch::channel(DictionaryFacts::default());
        let names = Self { dir: dir.to_owned(), signers, built_in: Arc::new(built_in::table()), assembly: None, facts };
        let kept = match names.read() {
            Ok(kept) => kept,
            Err(error) => {
                names.refused(&error);
                None
            }
        };
        if let Some((digest, _)) = &kept {
            names.facts.send_modify(|facts| facts.digest = Some(*digest));
        }
        let dictionary = names.dictionary(kept.map(|(_, table)| table));
        Ok((names, dictionary))
    }

    /// Returns what reports say.
    pub(crate) fn facts(&self) -> watch::Receiver<DictionaryFacts> {
        self.facts.subscribe()
    }

    /// Takes in one piece; with the last one the new names come out. Blocks at the last one.
    pub(crate) fn take(&mut self, part: DictionaryPart) -> Option<Arc<Dictionary>> {
        match self.assemble(part) {
            Ok(None) => None,
            Ok(Some((digest, table))) => {
                tracing::info!(digest = HEXLOWER.encode(&digest), names = table.len(), "an OID dictionary is in force");
                self.facts.send_replace(DictionaryFacts { digest: Some(digest), problem: None });
                Some(self.dictionary(Some(table)))
            }
            Err(error) => {
                self.assembly = None;
                self.refused(&error);
                None
            }
        }
    }

    fn refused(&self, error: &DictionaryError) {
        let problem = crate::chain(error);
        tracing::warn!(error = problem, "an OID dictionary is refused");
        self.facts.send_modify(|facts| facts.problem = Some(problem));
    }

    fn dictionary(&self, sent: Option<Table>) -> Arc<Dictionary> {
        // What an admin uploaded counts before what we wrote.
        Arc::new(Dictionary::new(sent.map(Arc::new).into_iter().chain([Arc::clone(&self.built_in)]).collect()))
    }

    fn assemble(&mut self, part: DictionaryPart) -> Result<Option<([u8; 32], Table)>, DictionaryError> {
        let digest = <[u8; 32]>::try_from(part.digest.as_slice()).map_err(|_| DictionaryError::Piece("its digest is no SHA-256"))?;
        let total = usize::try_from(part.total_bytes).ok().filter(|total| *total <= MAX_TABLE_BYTES).ok_or(TableError::Large)?;
        if part.bytes.len() > MAX_DICTIONARY_PART_BYTES || part.bytes.is_empty() {
            return Err(DictionaryError::Piece("it is empty or too long"));
        }
        if part.offset == 0 {
            self.assembly = Some(Assembly { digest, total, bytes: Vec::new() });
        }
        let Some(assembly) = self.assembly.as_mut().filter(|assembly| assembly.digest == digest && assembly.total == total) else {
            return Err(DictionaryError::Piece("it belongs to another one"));
        };
        if assembly.bytes.len() as u64 != part.offset || part.bytes.len() > total.saturating_sub(assembly.bytes.len()) {
            return Err(DictionaryError::Piece("there is a gap before it, or it reaches behind the end"));
        }
        assembly.bytes.extend_from_slice(&part.bytes);
        if assembly.bytes.len() < total {
            return Ok(None);
        }
        let bytes = self.assembly.take().map(|assembly| assembly.bytes).unwrap_or_default();
        let table = self.checked(digest, &part.signature, bytes)?;
        self.write(&part.signature, table.bytes())?;
        Ok(Some((digest, table)))
    }

    fn checked(&self, digest: [u8; 32], signature: &[u8], bytes: Vec<u8>) -> Result<Table, DictionaryError> {
        if dictionary::digest(&bytes) != digest {
            return Err(DictionaryError::Digest);
        }
        if !self.signers.signed(&dictionary::signing_input(&self.signers.gateway, &digest), signature) {
            return Err(DictionaryError::Signature);
        }
        Ok(Table::parse(bytes.into())?)
    }

    fn path(&self) -> PathBuf {
        self.dir.join("table.bin")
    }

    fn read(&self) -> Result<Option<([u8; 32], Table)>, DictionaryError> {
        let path = self.path();
        let mut content = match fs::read(&path) {
            Ok(content) => content,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(DictionaryError::Store { path, cause }),
        };
        let bytes = content.split_off(SIGNATURE_BYTES.min(content.len()));
        let digest = dictionary::digest(&bytes);
        Ok(Some((digest, self.checked(digest, &content, bytes)?)))
    }

    /// Replaces the file, durably.
    fn write(&self, signature: &[u8], bytes: &[u8]) -> Result<(), DictionaryError> {
        let path = self.path();
        let write = || {
            let staged = path.with_extension("new");
            let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&staged)?;
            out.write_all(signature)?;
            out.write_all(bytes)?;
            out.sync_all()?;
            fs::rename(&staged, &path)?;
            File::open(&self.dir)?.sync_all()
        };
        write().map_err(|cause| DictionaryError::Store { path: path.clone(), cause })
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
    use postern_protocol::dictionary::builder::{Builder, Definition};
    use postern_protocol::dictionary::entry::Kind;

    use super::*;

    struct Rig {
        dir: tempfile::TempDir,
        key: Ed25519KeyPair,
        signers: Signers,
    }

    impl Rig {
        fn new() -> Self {
            let key = Ed25519KeyPair::generate().unwrap();
            let public = <[u8; 32]>::try_from(key.public_key().as_ref()).unwrap();
            Self { dir: tempfile::tempdir().unwrap(), key, signers: Signers::fixed("gw".parse().unwrap(), vec![public]) }
        }

        fn open(&self) -> (Names, Arc<Dictionary>) {
            Names::open(&self.dir.path().join("dictionary"), self.signers.clone()).unwrap()
        }

        /// The pieces of a table that calls an OID of its own by `name`.
        fn pieces(&self, name: &str) -> Vec<DictionaryPart> {
            let mut builder = Builder::default();
            let oid = "1.3.6.1.4.1.32473.1".parse().unwrap();
            builder
                .add(Definition { oid, name: name.into(), module: "M".into(), kind: Kind::Scalar, syntax: None, objects: vec![] })
                .unwrap();
            let table = builder.encode().unwrap();
            let digest = dictionary::digest(&table);
            let signature = self.key.sign(&dictionary::signing_input(&self.signers.gateway, &digest));
            let mut parts: Vec<DictionaryPart> = table
                .chunks(10)
                .zip(0_u64..)
                .map(|(bytes, at)| DictionaryPart {
                    digest: digest.to_vec(),
                    total_bytes: table.len() as u64,
                    offset: at * 10,
                    bytes: bytes.to_vec(),
                    signature: vec![],
                })
                .collect();
            parts.last_mut().unwrap().signature = signature.as_ref().to_vec();
            parts
        }
    }

    fn called(dictionary: &Dictionary) -> String {
        dictionary.longest_prefix(&[1, 3, 6, 1, 4, 1, 32473, 1]).map(|entry| entry.name).unwrap_or_default()
    }

    #[test]
    fn a_table_counts_once_it_is_whole_and_is_there_after_a_restart() {
        let rig = Rig::new();
        let (mut names, before) = rig.open();
        assert_ne!(called(&before), "ours");
        let mut taken: Vec<_> = rig.pieces("ours").into_iter().map(|part| names.take(part)).collect();
        assert_eq!(taken.pop().flatten().map(|dictionary| called(&dictionary)).as_deref(), Some("ours"));
        assert!(taken.iter().all(Option::is_none));
        let (again, dictionary) = rig.open();
        assert_eq!(called(&dictionary), "ours");
        assert_eq!(again.facts().borrow().digest, names.facts().borrow().digest);
        assert!(dictionary.notification(&[1, 3, 6, 1, 6, 3, 1, 1, 5, 3]).is_some(), "the built-in names are there, too");
    }

    #[test]
    fn what_does_not_fit_is_told_and_the_one_before_stays() {
        let rig = Rig::new();
        type Spoil = fn(&mut Vec<DictionaryPart>);
        let spoils: [(&str, Spoil); 6] = [
            ("signed", |parts| parts.last_mut().unwrap().signature = vec![0; 64]),
            ("announced", |parts| parts[1].bytes[0] ^= 1),
            ("gap", |parts| drop(parts.remove(1))),
            ("another", |parts| parts[1].digest[0] ^= 1),
            ("at most", |parts| parts[0].total_bytes = u64::MAX),
            ("SHA-256", |parts| parts[0].digest.truncate(31)),
        ];
        for (what, spoil) in spoils {
            let (mut names, _) = rig.open();
            rig.pieces("ours").into_iter().for_each(|part| drop(names.take(part)));
            let mut parts = rig.pieces("theirs");
            spoil(&mut parts);
            assert!(parts.into_iter().all(|part| names.take(part).is_none()), "{what}");
            let facts = names.facts().borrow().clone();
            assert!(facts.problem.is_some() && facts.digest.is_some(), "{what}: {facts:?}");
            assert_eq!(called(&rig.open().1), "ours", "{what}");
        }
    }

    #[test]
    fn a_damaged_file_is_told_and_forgotten() {
        let rig = Rig::new();
        let (mut names, _) = rig.open();
        rig.pieces("ours").into_iter().for_each(|part| drop(names.take(part)));
        let path = rig.dir.path().join("dictionary/table.bin");
        let mut content = fs::read(&path).unwrap();
        *content.last_mut().unwrap() ^= 1;
        fs::write(&path, content).unwrap();
        let (names, dictionary) = rig.open();
        assert_ne!(called(&dictionary), "ours");
        let facts = names.facts().borrow().clone();
        assert!(facts.digest.is_none() && facts.warning().is_some());
    }
}
