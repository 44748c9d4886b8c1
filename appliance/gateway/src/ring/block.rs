//! A file's key, and blocks of entries: packed, sealed, and found again behind damage. Pure but for random numbers.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;
use zeroize::Zeroizing;
use zstd::bulk::Compressor;

use super::entry::MAX_ENTRY_BYTES;

/// Bytes of entries after which a block is full.
pub(super) const BLOCK_BYTES: usize = 256 * 1024;

/// Most bytes of entries in a block: the last one may reach beyond.
const MAX_PLAIN_BYTES: usize = BLOCK_BYTES + MAX_ENTRY_BYTES;

const COMPRESSION_LEVEL: i32 = 1;

const FILE_MAGIC: [u8; 8] = *b"PSTNRNG1";
const BLOCK_MAGIC: [u8; 4] = *b"RBLK";
const TAG_BYTES: usize = 16;
const ID_BYTES: usize = 16;
const WRAPPED_BYTES: usize = NONCE_LEN + 32 + TAG_BYTES;

/// Bytes before a file's first block.
pub(super) const FILE_HEADER_BYTES: usize = FILE_MAGIC.len() + ID_BYTES + WRAPPED_BYTES;

/// Bytes before a block's content.
pub(super) const HEADER_BYTES: usize = 36;

/// A key or a random number could not be made, or sealing failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key of the ring cannot be made or used")]
pub(crate) struct SealError;

/// The key under which files' keys are wrapped: derived from the machine key. No `Debug`.
pub(super) struct RingKey(LessSafeKey);

/// The key of one file. No `Debug`.
pub(super) struct FileKey {
    key: LessSafeKey,
    id: [u8; ID_BYTES],
}

/// What a block's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    plain_bytes: u32,
    sealed_bytes: u32,
    /// Entries in it.
    pub(super) entries: u32,
    /// When the first and the last of them came, nanoseconds since the Unix epoch.
    pub(super) span: (i64, i64),
}

impl RingKey {
    /// Makes it of its bytes.
    ///
    /// # Errors
    /// [`SealError`].
    pub(super) fn new(bytes: &Zeroizing<[u8; 32]>) -> Result<Self, SealError> {
        Ok(Self(key(bytes)?))
    }

    /// Makes a new file's key; returns it with the header that the file begins with.
    ///
    /// # Errors
    /// [`SealError`].
    pub(super) fn fresh(&self) -> Result<(FileKey, Vec<u8>), SealError> {
        let (mut id, mut nonce, mut bytes) = ([0; ID_BYTES], [0; NONCE_LEN], Zeroizing::new([0; 32]));
        for random in [id.as_mut_slice(), nonce.as_mut_slice(), bytes.as_mut_slice()] {
            rand::fill(random).map_err(|_| SealError)?;
        }
        let mut wrapped = bytes.to_vec();
        let sealed = self.0.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(id), &mut wrapped);
        sealed.map_err(|_| SealError)?;
        Ok((FileKey { key: key(&bytes)?, id }, [&FILE_MAGIC[..], &id, &nonce, &wrapped].concat()))
    }

    /// Opens the key of a file that begins with `header`; `None` when it is damaged, or another machine's.
    pub(super) fn open(&self, header: &[u8]) -> Option<FileKey> {
        let (magic, rest) = header.split_first_chunk::<{ FILE_MAGIC.len() }>()?;
        let (id, rest) = rest.split_first_chunk::<ID_BYTES>()?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_LEN>()?;
        if *magic != FILE_MAGIC {
            return None;
        }
        let mut bytes = Zeroizing::new(rest.get(..32 + TAG_BYTES)?.to_vec());
        let opened = self.0.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(*id), &mut bytes).ok()?;
        Some(FileKey { key: key(opened.first_chunk()?).ok()?, id: *id })
    }
}

fn key(bytes: &[u8; 32]) -> Result<LessSafeKey, SealError> {
    Ok(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes).map_err(|_| SealError)?))
}

/// Nothing is written twice to one place of one file: a file is only appended to, by the run that made it.
fn nonce_at(offset: u64) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce.iter_mut().zip(offset.to_le_bytes()).for_each(|(to, from)| *to = from);
    Nonce::assume_unique_for_key(nonce)
}

/// Entries that become a block. No `Debug`: it holds what was received.
#[derive(Default)]
pub(super) struct Plain<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) entries: u32,
    pub(super) span: (i64, i64),
}

/// Packs blocks. No `Debug`.
pub(super) struct Packer(Compressor<'static>);

impl Packer {
    /// Makes one.
    ///
    /// # Errors
    /// [`SealError`] when there is no memory.
    pub(super) fn new() -> Result<Self, SealError> {
        Compressor::new(COMPRESSION_LEVEL).map(Self).map_err(|_| SealError)
    }

    /// Makes the block that is written at `offset` of the file.
    ///
    /// # Errors
    /// [`SealError`].
    pub(super) fn pack(&mut self, file: &FileKey, offset: u64, plain: &Plain<'_>) -> Result<Vec<u8>, SealError> {
        let packed = self.0.compress(plain.bytes).map_err(|_| SealError)?;
        let length = |bytes: usize| u32::try_from(bytes).map_err(|_| SealError);
        let header = Header {
            plain_bytes: length(plain.bytes.len())?,
            sealed_bytes: length(packed.len().saturating_add(TAG_BYTES))?,
            entries: plain.entries,
            span: plain.span,
        };
        let header = header.encode();
        let mut out = header.to_vec();
        out.extend_from_slice(&packed);
        let body = out.get_mut(HEADER_BYTES..).ok_or(SealError)?;
        let tag = file.key.seal_in_place_separate_tag(nonce_at(offset), Aad::from(file.covered(&header)), body).map_err(|_| SealError)?;
        out.extend_from_slice(tag.as_ref());
        Ok(out)
    }
}

impl FileKey {
    fn covered(&self, header: &[u8; HEADER_BYTES]) -> [u8; ID_BYTES + HEADER_BYTES] {
        let mut covered = [0; ID_BYTES + HEADER_BYTES];
        covered.iter_mut().zip(self.id.iter().chain(header)).for_each(|(to, from)| *to = *from);
        covered
    }

    /// Opens the block at `offset` of the file; `None` when it is damaged.
    pub(super) fn open(&self, offset: u64, header: &Header, sealed: &[u8]) -> Option<Vec<u8>> {
        let mut body = sealed.to_vec();
        let covered = self.covered(&header.encode());
        let packed = self.key.open_in_place(nonce_at(offset), Aad::from(covered), &mut body).ok()?;
        let length = usize::try_from(header.plain_bytes).ok().filter(|length| *length <= MAX_PLAIN_BYTES)?;
        zstd::bulk::decompress(packed, length).ok().filter(|plain| plain.len() == length)
    }
}

impl Header {
    /// Bytes behind the header.
    pub(super) const fn sealed_bytes(&self) -> usize {
        self.sealed_bytes as usize
    }

    fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        let numbers = [self.plain_bytes, self.sealed_bytes, self.entries];
        let parts = BLOCK_MAGIC.into_iter().chain(numbers.into_iter().flat_map(u32::to_le_bytes));
        let parts = parts.chain([self.span.0, self.span.1].into_iter().flat_map(i64::to_le_bytes));
        out.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        if let Some((covered, sum)) = out.split_last_chunk_mut::<4>() {
            *sum = crc32c::crc32c(covered).to_le_bytes();
        }
        out
    }

    /// Reads a header off the beginning of `bytes`; `None` when it is none, or damaged.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let header = bytes.first_chunk::<HEADER_BYTES>()?;
        let (covered, sum) = header.split_last_chunk::<4>()?;
        let rest = covered.strip_prefix(&BLOCK_MAGIC)?;
        if crc32c::crc32c(covered).to_le_bytes() != *sum {
            return None;
        }
        let number = |at: usize| rest.get(at..).and_then(<[u8]>::first_chunk).copied().map(u32::from_le_bytes);
        let time = |at: usize| rest.get(at..).and_then(<[u8]>::first_chunk).copied().map(i64::from_le_bytes);
        Some(Self { plain_bytes: number(0)?, sealed_bytes: number(4)?, entries: number(8)?, span: (time(12)?, time(20)?) })
    }

    /// Returns where behind the beginning of `bytes` the next header stands.
    pub(super) fn seek(bytes: &[u8]) -> Option<usize> {
        let mut further = 1..bytes.len().saturating_sub(HEADER_BYTES.saturating_sub(1));
        further.find(|at| {
            let rest = bytes.get(*at..).unwrap_or_default();
            rest.starts_with(&BLOCK_MAGIC) && Self::decode(rest).is_some()
        })
    }
}
