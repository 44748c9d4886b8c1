//! How audit logs are chained and countersigned, the same on both sides.

use crate::id::GatewayId;
use crate::message::AuditReceipt;

/// The digest before the first entry.
pub const ORIGIN: [u8; 32] = [0; 32];

/// Returns the bytes whose SHA-256 is an entry's digest: a domain tag, the digest before it, its number and its text.
pub fn chain_input(before: &[u8; 32], number: u64, text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len().saturating_add(96));
    for part in [b"postern-audit-v1".as_slice(), before, &number.to_be_bytes(), text] {
        out.extend_from_slice(&(part.len() as u64).to_be_bytes());
        out.extend_from_slice(part);
    }
    out
}

/// Returns the bytes that the signature of a receipt covers.
pub fn receipt_input(gateway: &GatewayId, receipt: &AuditReceipt) -> Vec<u8> {
    let mut out = Vec::new();
    let number = receipt.number.to_be_bytes();
    let at = receipt.at.to_be_bytes();
    for part in [b"postern-audit-receipt-v1".as_slice(), gateway.as_str().as_bytes(), &number, &receipt.digest, &at] {
        out.extend_from_slice(&(part.len() as u64).to_be_bytes());
        out.extend_from_slice(part);
    }
    out
}
