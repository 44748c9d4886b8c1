//! What the audit log can say: every local and pushed action, typed, so that no free text of a peer becomes an entry's meaning.
//!
//! Pure. An entry's text is JSON; it is hashed and sent as it was written. New actions may be added, none may be renamed: old logs
//! are read for years.

use std::fmt;

use postern_protocol::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

/// Longest text in an action, in characters: reasons come from outside, and an entry must fit a message.
pub const MAX_TEXT_CHARACTERS: usize = 500;

/// Something that was done to this gateway, or that it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Action {
    /// The control plane closed an alert, for a person.
    AlertClosed {
        /// What it is about.
        resource: String,
        /// What is wrong with it.
        kind: String,
        /// Tells apart alerts of one kind.
        qualifier: String,
        /// The count that the person saw.
        count_seen: u64,
    },
    /// This log was found damaged.
    AuditDamaged {
        /// How, in words.
        damage: String,
    },
    /// The oldest entries were removed for want of room.
    AuditTrimmed {
        /// Number of the last one that is gone.
        up_to: u64,
        /// Whether the control plane had countersigned them.
        countersigned: bool,
    },
    /// A certificate could not be renewed.
    CertificateFailed {
        /// Why, in words.
        reason: String,
    },
    /// The client or a listener's certificate was replaced.
    CertificateRenewed {
        /// Serial number, hexadecimal.
        serial: String,
        /// When it ends, nanoseconds since the Unix epoch.
        not_after: i64,
    },
    /// A pushed dictionary was refused.
    DictionaryRefused {
        /// Why, in words.
        reason: String,
    },
    /// A pushed dictionary was taken in.
    DictionaryTaken {
        /// Its SHA-256, hexadecimal.
        digest: String,
    },
    /// The doctor found a fault that it had not found before.
    DoctorFault {
        /// The finding's identifier.
        finding: String,
        /// What it is, in words.
        text: String,
    },
    /// The clock of an SNMP engine, ours or a device's, was taken anew.
    EngineReset {
        /// The engine's identifier, hexadecimal.
        engine: String,
        /// Why, in words.
        reason: String,
    },
    /// The gateway got its identity.
    Enrolled {
        /// Its tenant.
        tenant: String,
        /// Its identifier.
        gateway: String,
        /// The control plane.
        server: String,
    },
    /// Entries were given up because they came faster than the disk takes them.
    EntriesLost {
        /// How many.
        count: u64,
    },
    /// Somebody on site read the received events behind an alert.
    EventsRead {
        /// The alert's identifier.
        alert: String,
        /// The user's id on this machine.
        user: u32,
    },
    /// A certificate for the TLS listeners was installed.
    ListenerCertificateInstalled {
        /// Its common name.
        name: String,
    },
    /// A key for the TLS listeners was made, with a request for its certificate.
    ListenerKeyMade {
        /// The common name that was asked for.
        name: String,
    },
    /// Somebody read what leaves this gateway.
    OutboundRead,
    /// A line for the proxy's file of users was made.
    ProxyUserMade {
        /// The user.
        name: String,
    },
    /// The control plane asked what a candidate revision would have made of the events that are kept here.
    ReplayAsked {
        /// Who asked.
        asked_by: String,
        /// From when on, nanoseconds since the Unix epoch.
        from: i64,
        /// SHA-256 of the candidate, hexadecimal.
        document: String,
    },
    /// A revision is in force.
    RevisionApplied {
        /// Its number.
        number: u64,
    },
    /// A revision on trial stays.
    RevisionConfirmed {
        /// Its number.
        number: u64,
    },
    /// A revision is in force on trial.
    RevisionProvisional {
        /// Its number.
        number: u64,
        /// When it is taken back unless it is confirmed, nanoseconds since the Unix epoch.
        until: i64,
    },
    /// A revision was refused.
    RevisionRefused {
        /// Its number.
        number: u64,
        /// Why, in words.
        reason: String,
    },
    /// A revision on trial was taken back.
    RevisionReverted {
        /// Its number.
        number: u64,
        /// The one that is in force again; 0 for the built-in one.
        to: u64,
        /// Why, in words.
        reason: String,
    },
    /// A revision was refused because this site forbids what it says.
    RevisionVetoed {
        /// Its number.
        number: u64,
        /// What the site forbids, in words.
        reason: String,
    },
    /// The disk was found set back to an older state.
    RollbackFound {
        /// How that was seen, in words.
        evidence: String,
    },
    /// The daemon runs in safe mode.
    SafeMode,
    /// A set of secrets was refused.
    SecretsRefused {
        /// Its serial.
        serial: u64,
        /// Why, in words.
        reason: String,
    },
    /// A set of secrets was taken in.
    SecretsTaken {
        /// Its serial.
        serial: u64,
        /// How many the vault holds now.
        secrets: u64,
    },
    /// The daemon began.
    Started {
        /// The program's version.
        version: String,
        /// The revision in force; 0 for the built-in one.
        revision: u64,
    },
    /// The daemon ended in good order.
    Stopped,
    /// A trust bundle was refused.
    TrustRefused {
        /// Its serial.
        serial: u64,
        /// Why, in words.
        reason: String,
    },
    /// A trust bundle is in use.
    TrustTaken {
        /// Its serial.
        serial: u64,
    },
    /// The daemon before this one did not end in good order.
    UncleanStop {
        /// When it was last known to live, nanoseconds since the Unix epoch.
        since: i64,
    },
}

/// Who did it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Actor {
    /// Somebody at the command line, by user id.
    Local(u32),
    /// The daemon, by itself or because the control plane wanted it.
    Daemon,
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When, nanoseconds since the Unix epoch, by the gateway's clock.
    pub at: i64,
    /// Who.
    pub by: Actor,
    /// What.
    #[serde(flatten)]
    pub action: Action,
}

impl Entry {
    /// Writes the entry's text; what came from outside is cut to [`MAX_TEXT_CHARACTERS`].
    ///
    /// # Errors
    /// When it cannot be written as JSON: a fault of the program.
    pub fn text(at: Timestamp, by: Actor, action: Action) -> Result<Vec<u8>, serde_json::Error> {
        let mut value = serde_json::to_value(Self { at: at.as_nanos(), by, action })?;
        if let Some(fields) = value.as_object_mut() {
            for text in fields.values_mut() {
                if let serde_json::Value::String(text) = text
                    && text.chars().count() > MAX_TEXT_CHARACTERS
                {
                    *text = text.chars().take(MAX_TEXT_CHARACTERS).chain(['…']).collect();
                }
            }
        }
        serde_json::to_vec(&value)
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Daemon => f.write_str("daemon"),
            Self::Local(user) => write!(f, "local user {user}"),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlertClosed { resource, kind, qualifier, count_seen } => {
                write!(f, "alert {kind} {qualifier} of {resource} closed by the control plane at count {count_seen}")
            }
            Self::AuditDamaged { damage } => write!(f, "this log is damaged: {damage}"),
            Self::AuditTrimmed { up_to, countersigned: true } => write!(f, "entries up to {up_to}, countersigned, removed for room"),
            Self::AuditTrimmed { up_to, countersigned: false } => write!(f, "entries up to {up_to} removed for room, not countersigned"),
            Self::CertificateFailed { reason } => write!(f, "certificate not renewed: {reason}"),
            Self::CertificateRenewed { serial, .. } => write!(f, "certificate renewed: serial {serial}"),
            Self::DictionaryRefused { reason } => write!(f, "dictionary refused: {reason}"),
            Self::DictionaryTaken { digest } => write!(f, "dictionary {digest} taken in"),
            Self::DoctorFault { finding, text } => write!(f, "doctor found {finding}: {text}"),
            Self::EngineReset { engine, reason } => write!(f, "SNMP engine {engine} taken anew: {reason}"),
            Self::Enrolled { tenant, gateway, server } => write!(f, "enrolled as {gateway} of {tenant} at {server}"),
            Self::EntriesLost { count } => write!(f, "{count} entries given up: they came too fast"),
            Self::EventsRead { alert, user } => write!(f, "local user {user} read the events behind alert {alert}"),
            Self::ListenerCertificateInstalled { name } => write!(f, "listener certificate of {name} installed"),
            Self::ListenerKeyMade { name } => write!(f, "listener key for {name} made"),
            Self::OutboundRead => f.write_str("outbound viewer read"),
            Self::ProxyUserMade { name } => write!(f, "line for proxy user {name} made"),
            Self::ReplayAsked { asked_by, document, .. } => write!(f, "replay of candidate {document} asked for by {asked_by}"),
            Self::RevisionApplied { number } => write!(f, "revision {number} in force"),
            Self::RevisionConfirmed { number } => write!(f, "revision {number} confirmed"),
            Self::RevisionProvisional { number, .. } => write!(f, "revision {number} in force on trial"),
            Self::RevisionRefused { number, reason } => write!(f, "revision {number} refused: {reason}"),
            Self::RevisionReverted { number, to, reason } => write!(f, "revision {number} taken back, {to} in force: {reason}"),
            Self::RevisionVetoed { number, reason } => write!(f, "revision {number} vetoed by this site: {reason}"),
            Self::RollbackFound { evidence } => write!(f, "disk set back: {evidence}"),
            Self::SafeMode => f.write_str("safe mode"),
            Self::SecretsRefused { serial, reason } => write!(f, "secrets {serial} refused: {reason}"),
            Self::SecretsTaken { serial, secrets } => write!(f, "secrets {serial} taken in: {secrets} held"),
            Self::Started { version, revision } => write!(f, "started: version {version}, revision {revision}"),
            Self::Stopped => f.write_str("stopped"),
            Self::TrustRefused { serial, reason } => write!(f, "trust bundle {serial} refused: {reason}"),
            Self::TrustTaken { serial } => write!(f, "trust bundle {serial} in use"),
            Self::UncleanStop { .. } => f.write_str("the last stop was unclean"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_survives_its_text() {
        let action = Action::RevisionReverted { number: 7, to: 6, reason: "no confirmation came".into() };
        let text = Entry::text(Timestamp::from_secs(9), Actor::Local(0), action.clone()).unwrap();
        let entry: Entry = serde_json::from_slice(&text).unwrap();
        assert_eq!(entry, Entry { at: 9_000_000_000, by: Actor::Local(0), action });
    }

    #[test]
    fn a_long_reason_is_cut_and_says_so() {
        let action = Action::CertificateFailed { reason: "ä".repeat(MAX_TEXT_CHARACTERS * 3) };
        let text = Entry::text(Timestamp::default(), Actor::Daemon, action).unwrap();
        let Action::CertificateFailed { reason } = serde_json::from_slice::<Entry>(&text).unwrap().action else { panic!("another") };
        assert_eq!((reason.chars().count(), reason.ends_with('…')), (MAX_TEXT_CHARACTERS + 1, true));
    }
}
