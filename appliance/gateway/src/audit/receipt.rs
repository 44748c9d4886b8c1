//! The last countersignature: what the control plane says under its key that it has of this log. Kept in `receipt.json`, replaced
//! as a whole.
//!
//! With it, a log that was cut short or set back is found without asking anybody.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use data_encoding::{BASE64, HEXLOWER};
use postern_protocol::audit::receipt_input;
use postern_protocol::message::AuditReceipt;
use serde::{Deserialize, Serialize};

use super::AuditError;
use crate::revision::signers::Signers;

const FILE: &str = "receipt.json";

/// The file's content.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    number: u64,
    digest: String,
    at: i64,
    signature: String,
}

/// What the file holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Found {
    /// No countersignature yet.
    None,
    /// One, not yet verified.
    Receipt(AuditReceipt),
    /// Something else.
    Unreadable,
}

/// Tells whether the control plane signed `receipt` for this gateway.
pub(super) fn signed(receipt: &AuditReceipt, signers: &Signers) -> bool {
    signers.signed(&receipt_input(&signers.gateway, receipt), &receipt.signature)
}

/// Reads the receipt in `dir`.
///
/// # Errors
/// [`AuditError::File`].
pub(super) fn load(dir: &Path) -> Result<Found, AuditError> {
    let path = dir.join(FILE);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::None),
        Err(cause) => return Err(AuditError::File { path, cause }),
    };
    Ok(decode(&text).map_or(Found::Unreadable, Found::Receipt))
}

fn decode(text: &[u8]) -> Option<AuditReceipt> {
    let kept: Kept = serde_json::from_slice(text).ok()?;
    let digest = HEXLOWER.decode(kept.digest.as_bytes()).ok()?;
    Some(AuditReceipt { number: kept.number, digest, at: kept.at, signature: BASE64.decode(kept.signature.as_bytes()).ok()? })
}

/// Replaces the receipt in `dir`, durably.
///
/// # Errors
/// [`AuditError`]; the file then holds what it held before.
pub(super) fn keep(dir: &Path, receipt: &AuditReceipt) -> Result<(), AuditError> {
    let (digest, signature) = (HEXLOWER.encode(&receipt.digest), BASE64.encode(&receipt.signature));
    let text = serde_json::to_vec(&Kept { number: receipt.number, digest, at: receipt.at, signature })?;
    let (path, staged) = (dir.join(FILE), dir.join("receipt.new"));
    let write = || {
        match fs::remove_file(&staged) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Err(_) | Ok(()) => {}
        }
        let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&staged)?;
        out.write_all(&text)?;
        out.sync_all()?;
        fs::rename(&staged, &path)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(|cause| AuditError::File { path: path.clone(), cause })
}
