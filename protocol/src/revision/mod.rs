//! A revision: the one document that configures a gateway from afar. JSON, signed, numbered, parsed whole or refused whole.
//!
//! `document`, `intake` and `noise` are the shape, `pack` the rules that programs bring along, `check` the meaning, `locate` finds the line of a fault. `field`, `keyword`, `pattern` and `template` are
//! the words that a document is made of.
//! Control plane and gateway run the same code, so what the console takes, the gateway takes.

mod check;
pub mod document;
pub mod field;
pub mod intake;
pub mod keyword;
pub mod link;
pub mod literal;
mod locate;
pub mod noise;
pub mod pack;
pub mod pattern;
pub mod template;
pub mod time_zone;
mod warnings;
pub mod window_time;

use serde::{Deserialize, Serialize};

use crate::id::{GatewayId, RevisionNumber};

pub use self::warnings::warnings;
pub use check::{MAX_PATTERNS, MAX_PROBLEMS, MAX_RULES, parse};

/// The rules that every gateway has until a revision replaces them.
pub const BUILT_IN: &str = include_str!("../../rules/builtin.json");

/// Most bytes that a revision's document may have.
pub const MAX_DOCUMENT_BYTES: usize = 2 * 1024 * 1024;

/// One fault of a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Place in the document, for example `rules[3].match.trap.oid`; empty for the document as a whole.
    pub path: String,
    /// Line, from 1; 0 when unknown.
    pub line: u32,
    /// Column in bytes, from 1; 0 when unknown.
    pub column: u32,
    /// What is wrong and what to do.
    pub reason: String,
}

/// Returns the bytes that the signature of a revision covers: a domain tag, gateway, number and document.
///
/// Length-prefixed, so that no two revisions share them, and a revision of one gateway is worthless to another.
pub fn signing_input(gateway: &GatewayId, number: RevisionNumber, document: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(document.len().saturating_add(128));
    for part in [b"postern-revision-v1".as_slice(), gateway.as_str().as_bytes(), &number.0.to_be_bytes(), document] {
        out.extend_from_slice(&(part.len() as u64).to_be_bytes());
        out.extend_from_slice(part);
    }
    out
}
