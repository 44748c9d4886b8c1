//! `postern-gateway audit`: the log for people, and `audit verify`.

use std::fmt::Write as _;
use std::path::Path;

use jiff::Timestamp;
use postern_uplink::identity::Identity;

use super::action::Entry;
use super::receipt::{self, Found};
use super::verify::{self, Verified};
use super::{AuditError, log};
use crate::config::Config;
use crate::revision::signers::Signers;

/// How the log is to be printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One line of the log's own JSON an entry.
    Json,
    /// One sentence an entry.
    Text,
}

/// Writes the log as text, oldest first.
///
/// # Errors
/// [`AuditError`] when it cannot be read.
pub fn entries(config: &Config, form: Form) -> Result<String, AuditError> {
    let dir = config.audit_dir();
    let countersigned = match receipt::load(&dir)? {
        Found::Receipt(receipt) => receipt.number,
        Found::None | Found::Unreadable => 0,
    };
    let mut out = String::new();
    for entry in log::read(&dir, 0, usize::MAX, usize::MAX)? {
        let text = String::from_utf8_lossy(&entry.text);
        let signed = entry.number <= countersigned;
        // Writing to a string does not fail.
        let _ = match (form, serde_json::from_slice::<Entry>(&entry.text)) {
            (Form::Json, _) => {
                let digest = data_encoding::HEXLOWER.encode(&entry.digest);
                writeln!(out, "{{\"number\":{},\"digest\":\"{digest}\",\"countersigned\":{signed},\"entry\":{text}}}", entry.number)
            }
            (Form::Text, Ok(known)) => {
                let mark = if signed { '✓' } else { ' ' };
                writeln!(
                    out,
                    "{:>6} {mark} {}  {:<14} {}",
                    entry.number,
                    moment(known.at),
                    known.by.to_string(),
                    printable(&known.action.to_string())
                )
            }
            // Of a newer version.
            (Form::Text, Err(_)) => writeln!(out, "{:>6}   {}", entry.number, printable(&text)),
        };
    }
    Ok(out)
}

/// Checks the log with the keys of this gateway's identity.
///
/// # Errors
/// When the log or the identity cannot be read.
pub fn verify(config: &Config) -> anyhow::Result<Verified> {
    let signers = signers(&config.identity_dir())?;
    Ok(verify::verify(&config.audit_dir(), signers.as_ref())?)
}

/// Says what [`verify`] found.
pub fn sentence(verified: &Verified) -> String {
    let mut out = String::new();
    let Verified { first, last, digest, countersigned, countersigned_at, faults } = verified;
    for fault in faults {
        let _ = writeln!(out, "FAULT  {fault}");
    }
    let _ = writeln!(out, "entries {first} to {last}, last digest {digest}");
    let _ = match countersigned {
        0 => writeln!(out, "nothing is countersigned yet: an end that was cut off cannot be seen here"),
        number => writeln!(out, "countersigned by the control plane up to {number} at {}", moment(*countersigned_at)),
    };
    let _ = match faults.len() {
        0 => writeln!(out, "the audit log is whole"),
        _ => writeln!(out, "the audit log is damaged: compare it with what the control plane has (console: gateway, audit)"),
    };
    out
}

/// Without an identity there was nobody to countersign.
fn signers(identity_dir: &Path) -> anyhow::Result<Option<Signers>> {
    if !identity_dir.join("gateway.json").exists() {
        return Ok(None);
    }
    let identity = Identity::load(identity_dir)?;
    Ok(Some(Signers::fixed(identity.gateway.clone(), identity.revision_keys.clone())))
}

fn moment(nanos: i64) -> String {
    Timestamp::from_nanosecond(nanos.into()).map_or_else(|_| nanos.to_string(), |at| format!("{at:.0}"))
}

/// Reasons come from outside: no control character reaches a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}
