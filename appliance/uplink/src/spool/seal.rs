//! What makes a record unreadable to whoever takes the disk: each segment's own AES-256-GCM key, wrapped under the machine key.
//!
//! The nonce of a record is its offset, so nothing may be written to one place of one segment twice: a segment is only appended
//! to, by the run that made it, and a rewritten one has a new key. The seal covers the header. Long payloads are compressed first.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;
use zstd::bulk::Compressor;

use super::segment::scan::Found;
use super::segment::{self, Kind, Label, SegmentId};
use super::{MAX_COMMIT_BYTES, SpoolError};

/// Bytes that a seal adds.
pub(crate) const TAG_BYTES: usize = 16;

/// Payloads from this length on are compressed, when that makes them shorter.
const COMPRESS_FROM_BYTES: usize = 1024;
const COMPRESSION_LEVEL: i32 = 1;

/// Fills a slice with random bytes: the operating system's, or a test's.
pub type Random = fn(&mut [u8]) -> Result<(), SpoolError>;

/// A key in use. No `Debug`.
struct Key(LessSafeKey);

impl Key {
    fn new(bytes: &[u8; 32]) -> Result<Self, SpoolError> {
        Ok(Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes).map_err(|_| SpoolError::Seal)?)))
    }

    fn open<'a>(&self, nonce: [u8; NONCE_LEN], covered: &[u8], sealed: &'a mut [u8]) -> Option<&'a [u8]> {
        let opened = self.0.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(covered), sealed);
        opened.ok().map(|plain| &*plain)
    }
}

/// Opens what one segment holds. No `Debug`.
pub(crate) struct Cipher {
    key: Key,
    /// The body of the segment's key record, to be written again further on.
    wrapped: Vec<u8>,
}

/// Makes and opens segments' keys, and seals. No `Debug`.
pub(crate) struct Sealer {
    machine: Key,
    random: Random,
    compressor: Compressor<'static>,
    buffer: Vec<u8>,
}

fn nonce_at(offset: u32) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    for (to, from) in nonce.iter_mut().zip(offset.to_le_bytes()) {
        *to = from;
    }
    nonce
}

/// What a wrapped key is bound to: the segment, wherever in it the record stands.
fn owner(id: SegmentId) -> [u8; 16] {
    let mut out = [0; 16];
    let parts = id.epoch.0.to_le_bytes().into_iter().chain(id.number.to_le_bytes()).chain(id.generation.to_le_bytes());
    for (to, from) in out.iter_mut().zip(parts) {
        *to = from;
    }
    out
}

impl Sealer {
    /// Makes one for a machine key.
    pub(crate) fn new(machine_key: &Zeroizing<[u8; 32]>, random: Random) -> Result<Self, SpoolError> {
        let compressor = Compressor::new(COMPRESSION_LEVEL).map_err(|_| SpoolError::Seal)?;
        Ok(Self { machine: Key::new(machine_key)?, random, compressor, buffer: Vec::new() })
    }

    /// Makes the key of a new segment.
    pub(crate) fn fresh(&self, id: SegmentId) -> Result<Arc<Cipher>, SpoolError> {
        let (mut key, mut nonce) = (Zeroizing::new([0; 32]), [0; NONCE_LEN]);
        (self.random)(key.as_mut())?;
        (self.random)(&mut nonce)?;
        let mut wrapped = key.to_vec();
        let sealed = self.machine.0.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(owner(id)), &mut wrapped);
        sealed.map_err(|_| SpoolError::Seal)?;
        Ok(Arc::new(Cipher { key: Key::new(&key)?, wrapped: [&nonce[..], &wrapped].concat() }))
    }

    /// Opens a key record of a segment; `None` when it was wrapped under another machine key.
    pub(crate) fn unwrap(&self, id: SegmentId, body: &[u8]) -> Option<Arc<Cipher>> {
        let (nonce, wrapped) = body.split_first_chunk::<NONCE_LEN>()?;
        let mut bytes = Zeroizing::new(wrapped.to_vec());
        let key: &[u8; 32] = self.machine.open(*nonce, &owner(id), &mut bytes)?.first_chunk()?;
        Some(Arc::new(Cipher { key: Key::new(key).ok()?, wrapped: body.to_vec() }))
    }

    /// Appends a record whose payload is compressed when that helps, and sealed.
    pub(crate) fn append(
        &mut self,
        cipher: &Cipher,
        (id, base): (SegmentId, u32),
        out: &mut Vec<u8>,
        (label, payload): (Label, &[u8]),
    ) -> Result<(), SpoolError> {
        let is_compressed = payload.len() >= COMPRESS_FROM_BYTES && self.compress(payload);
        let packed = if is_compressed { self.buffer.as_slice() } else { payload };
        let label = Label { is_sealed: true, is_compressed, ..label };
        let offset = base.saturating_add(u32::try_from(out.len()).unwrap_or(u32::MAX));
        let mut sealed = Ok(());
        segment::append_with((id, base), out, (label, packed.len().saturating_add(TAG_BYTES)), |header, out| {
            let from = out.len();
            out.extend_from_slice(packed);
            let nonce = Nonce::assume_unique_for_key(nonce_at(offset));
            let body = out.get_mut(from..).unwrap_or_default();
            match cipher.key.0.seal_in_place_separate_tag(nonce, Aad::from(header), body) {
                Ok(tag) => out.extend_from_slice(tag.as_ref()),
                Err(_) => {
                    out.extend_from_slice(&[0; TAG_BYTES]);
                    sealed = Err(SpoolError::Seal);
                }
            }
        });
        sealed
    }

    /// Compresses into the buffer, behind the plain length; says whether that is worth it.
    fn compress(&mut self, payload: &[u8]) -> bool {
        let Ok(length) = u32::try_from(payload.len()) else { return false };
        self.buffer.clear();
        self.buffer.resize(zstd::zstd_safe::compress_bound(payload.len()).saturating_add(4), 0);
        let Some((plain_length, frame)) = self.buffer.split_first_chunk_mut::<4>() else { return false };
        *plain_length = length.to_le_bytes();
        let Ok(written) = self.compressor.compress_to_buffer(payload, frame) else { return false };
        self.buffer.truncate(written.saturating_add(4));
        self.buffer.len() < payload.len() - payload.len() / 16
    }
}

impl Cipher {
    /// Appends the segment's key record.
    pub(crate) fn append_key(&self, place: (SegmentId, u32), out: &mut Vec<u8>) {
        segment::append(place, out, Label::plain(Kind::Key, 0), &self.wrapped);
    }
}

/// Returns the payload of a record as it was committed; `None` when it cannot be opened. `base` is the offset of the bytes in which
/// it was found.
pub(crate) fn open(cipher: Option<&Cipher>, (id, base): (SegmentId, u32), found: &Found<'_>) -> Option<Vec<u8>> {
    let label = found.header.label;
    if !label.is_sealed {
        return Some(found.body.to_vec());
    }
    let offset = base.saturating_add(u32::try_from(found.at).ok()?);
    let covered = segment::header(id, offset, label, found.body.len());
    let mut body = found.body.to_vec();
    let length = cipher?.key.open(nonce_at(offset), &covered, &mut body)?.len();
    body.truncate(length);
    if !label.is_compressed {
        return Some(body);
    }
    let (plain_length, frame) = body.split_first_chunk::<4>()?;
    let plain_length = usize::try_from(u32::from_le_bytes(*plain_length)).ok()?;
    if plain_length > MAX_COMMIT_BYTES {
        return None;
    }
    zstd::bulk::decompress(frame, plain_length).ok().filter(|plain| plain.len() == plain_length)
}

#[cfg(test)]
mod tests {
    use postern_protocol::id::{Epoch, Lane};

    use super::super::segment::scan::{Step, Walk};
    use super::*;

    const ID: SegmentId = SegmentId::new(3, Epoch(9));

    fn counting(bytes: &mut [u8]) -> Result<(), SpoolError> {
        (0_u8..).zip(bytes).for_each(|(n, byte)| *byte = n);
        Ok(())
    }

    fn sealer(key: u8) -> Sealer {
        Sealer::new(&Zeroizing::new([key; 32]), counting).unwrap()
    }

    fn one(bytes: &[u8], base: u32) -> Found<'_> {
        let Some(Step::Record(found)) = Walk::new(ID, base, bytes).next() else { panic!("a record is there") };
        found
    }

    #[test]
    fn what_is_sealed_opens_in_its_place_only_and_long_text_gets_short() {
        let mut sealer = sealer(1);
        let cipher = sealer.fresh(ID).unwrap();
        for payload in [b"short".to_vec(), b"a long text ".repeat(1000)] {
            let mut out = Vec::new();
            let label = Label { key: 5, ..Label::plain(Kind::Record(Lane::Alerts), 1) };
            sealer.append(&cipher, (ID, 64), &mut out, (label, &payload)).unwrap();
            assert!(out.len() < payload.len() + 100 && !out.windows(5).any(|window| window == b"short"));
            let found = one(&out, 64);
            assert_eq!(open(Some(&cipher), (ID, 64), &found), Some(payload));
            assert_eq!(open(Some(&cipher), (ID, 65), &found), None);
            assert_eq!(open(None, (ID, 64), &found), None);
            let mut relabelled = found;
            relabelled.header.label.key = 6;
            assert_eq!(open(Some(&cipher), (ID, 64), &relabelled), None, "the seal covers the header");
        }
    }

    #[test]
    fn a_key_opens_under_its_machine_key_and_for_its_segment_only() {
        let mut sealer = sealer(1);
        let cipher = sealer.fresh(ID).unwrap();
        let mut out = Vec::new();
        sealer.append(&cipher, (ID, 0), &mut out, (Label::plain(Kind::Delta, 0), b"state")).unwrap();
        let found = one(&out, 0);
        let again = sealer.unwrap(ID, &cipher.wrapped).unwrap();
        assert_eq!(open(Some(&again), (ID, 0), &found).as_deref(), Some(b"state".as_slice()));
        assert!(super::tests::sealer(2).unwrap(ID, &cipher.wrapped).is_none());
        assert!(sealer.unwrap(ID.rewritten(), &cipher.wrapped).is_none());
    }
}
