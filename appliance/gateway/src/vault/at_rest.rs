//! `secrets.bin`: a magic number, a nonce, and everything else under the machine key with the vault's owner as context.
//!
//! Inside: the serial (8 bytes, big-endian as all numbers), the count (4), and for each secret its name (1 byte of length), version
//! (4), the digest of its sealed form (32), 1 for a content or 0 for a problem, and that (4 bytes of length).

use std::collections::BTreeMap;
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::machine_key::MachineKey;
use super::{Held, Owner, Secret, VaultError, file};

const MAGIC: &[u8; 4] = b"PVS1";

/// Room for the AEAD's tag.
const TAG_BYTES: usize = 16;

/// The file and what it is encrypted under. No `Debug`.
pub(super) struct AtRest {
    path: PathBuf,
    key: MachineKey,
    context: Vec<u8>,
}

impl AtRest {
    /// Uses `path`, under `key`, for `owner`.
    pub(super) fn new(path: PathBuf, key: MachineKey, owner: &Owner) -> Self {
        let context = format!("postern-vault-v1|{}|{}", owner.tenant, owner.gateway).into_bytes();
        Self { path, key, context }
    }

    /// Reads the serial and the secrets; none when there is no file, or when it cannot be read under this key.
    ///
    /// # Errors
    /// [`VaultError::File`].
    pub(super) fn read(&self) -> Result<(u64, BTreeMap<String, Held>), VaultError> {
        let Some(mut bytes) = file::read(&self.path)? else { return Ok((0, BTreeMap::new())) };
        let decoded = self.decrypt(&mut bytes).and_then(decode);
        Ok(decoded.unwrap_or_else(|| {
            tracing::error!(path = %self.path.display(), "the secrets are damaged or under another machine key: they must come again");
            (0, BTreeMap::new())
        }))
    }

    /// Replaces the file, durably.
    ///
    /// # Errors
    /// [`VaultError`]; the file then holds what it held before.
    pub(super) fn write(&self, serial: u64, held: &BTreeMap<String, Held>) -> Result<(), VaultError> {
        let mut body = encode(serial, held);
        let nonce = self.key.seal(&self.context, &mut body)?;
        file::write(&self.path, &[MAGIC, &nonce[..], &body].concat())
    }

    fn decrypt<'a>(&self, bytes: &'a mut [u8]) -> Option<&'a [u8]> {
        let (magic, rest) = bytes.split_first_chunk_mut::<4>()?;
        let (nonce, sealed) = rest.split_first_chunk_mut::<12>()?;
        if magic != MAGIC { None } else { self.key.open(&self.context, *nonce, sealed) }
    }
}

/// Writes everything into one piece of memory that never moves, so that it can be wiped.
fn encode(serial: u64, held: &BTreeMap<String, Held>) -> Zeroizing<Vec<u8>> {
    let size: usize = held.iter().map(|(name, held)| name.len() + body(held).1.len() + 42).sum();
    let mut out = Zeroizing::new(Vec::with_capacity(size + 12 + TAG_BYTES));
    let capacity = out.capacity();
    out.extend_from_slice(&serial.to_be_bytes());
    out.extend_from_slice(&u32::try_from(held.len()).unwrap_or(u32::MAX).to_be_bytes());
    for (name, held) in held {
        let (kind, body) = body(held);
        out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(&held.version.to_be_bytes());
        out.extend_from_slice(&held.digest);
        out.push(kind);
        out.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(body);
    }
    debug_assert!(out.capacity() == capacity, "the plaintext did not move");
    out
}

fn body(held: &Held) -> (u8, &[u8]) {
    match &held.content {
        Ok(secret) => (1, secret.expose()),
        Err(problem) => (0, problem.as_bytes()),
    }
}

fn decode(mut bytes: &[u8]) -> Option<(u64, BTreeMap<String, Held>)> {
    let serial = u64::from_be_bytes(take(&mut bytes)?);
    let count = u32::from_be_bytes(take(&mut bytes)?);
    let mut all = BTreeMap::new();
    for _ in 0..count {
        let [length] = take(&mut bytes)?;
        let name = String::from_utf8(piece(&mut bytes, usize::from(length))?.to_vec()).ok()?;
        let version = u32::from_be_bytes(take(&mut bytes)?);
        let digest = take(&mut bytes)?;
        let [kind] = take(&mut bytes)?;
        let length = u32::from_be_bytes(take(&mut bytes)?);
        let body = piece(&mut bytes, usize::try_from(length).ok()?)?;
        let content = match kind {
            0 => Err(String::from_utf8(body.to_vec()).ok()?),
            1 => Ok(Secret::new(Zeroizing::new(body.to_vec()))),
            _ => return None,
        };
        all.insert(name, Held { version, digest, content });
    }
    bytes.is_empty().then_some((serial, all))
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

fn piece<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(head)
}
