//! An alert's whole state as one record: what the gateway keeps, spools and sends, and the control plane applies.
//!
//! The text in it comes only from rule templates (see `revision`). A record replaces every older record of its key.

mod course;

use std::collections::BTreeMap;
use std::fmt;

use prost::Message as _;
use serde::{Deserialize, Serialize};

use crate::id::RuleId;
use crate::timestamp::Timestamp;

use self::course::WireCourse;

pub use self::course::{Course, Decision, DecisionKind, MAX_DECISION_TEXT_BYTES, MAX_DECISIONS, Suppression};

/// Most bytes that one encoded alert may have; a longer one is malformed.
pub const MAX_ALERT_BYTES: usize = 16 * 1024;

/// How grave an alert is (RFC 8632 §4.2, the perceived severity), least grave first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The severity could not be determined.
    Indeterminate,
    /// A potential fault, before it has an effect.
    Warning,
    /// A fault that does not affect service.
    Minor,
    /// Service is affected: urgent.
    Major,
    /// Service is lost: act at once.
    Critical,
}

impl Severity {
    /// Every severity, least grave first.
    pub const ALL: [Self; 5] = [Self::Indeterminate, Self::Warning, Self::Minor, Self::Major, Self::Critical];

    /// Returns the severity's name in documents, APIs and stores.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Indeterminate => "indeterminate",
            Self::Warning => "warning",
            Self::Minor => "minor",
            Self::Major => "major",
            Self::Critical => "critical",
        }
    }

    /// Returns the severity of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.name() == name)
    }

    /// Returns the number that stands for the severity on the wire and in stores; it grows with the gravity.
    pub const fn number(self) -> u8 {
        match self {
            Self::Indeterminate => 1,
            Self::Warning => 2,
            Self::Minor => 3,
            Self::Major => 4,
            Self::Critical => 5,
        }
    }

    /// Returns the severity that `number` stands for.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.number() == number)
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What makes two reports the same alert on one gateway (RFC 8632 §3.2: resource, alarm type and qualifier).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlertKey {
    /// The thing that is affected, for example `10.0.0.7/if/3`.
    pub resource: String,
    /// What is wrong with it, for example `link-down`.
    pub kind: String,
    /// Tells apart alerts of one kind on one resource; often empty.
    pub qualifier: String,
}

/// Whether an alert's condition lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// The condition lasts.
    Open,
    /// The condition is over: a clear was reported.
    Cleared,
    /// A person closed the alert in the console.
    Closed,
}

impl AlertState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Open, Self::Cleared, Self::Closed];

    /// Returns the state's name in APIs and stores.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Cleared => "cleared",
            Self::Closed => "closed",
        }
    }

    /// Returns the state of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// How far the sender of an event proved who it is, weakest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Authenticity {
    /// Not at all: syslog over UDP or TCP.
    #[default]
    None,
    /// An SNMP community string, which anyone on the path can read.
    Community,
    /// SNMPv3 USM with authentication; also an HMAC-signed push.
    UsmAuth,
    /// SNMPv3 USM with authentication and privacy.
    UsmPriv,
    /// A TLS client certificate or a credential inside TLS.
    Tls,
}

impl Authenticity {
    /// Every level, weakest first.
    pub const ALL: [Self; 5] = [Self::None, Self::Community, Self::UsmAuth, Self::UsmPriv, Self::Tls];

    /// Returns the name in APIs and stores.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Community => "community",
            Self::UsmAuth => "usm_auth",
            Self::UsmPriv => "usm_priv",
            Self::Tls => "tls",
        }
    }
}

/// Who reported an alert last, and how that was decided. Empty texts stand for what was not there or not released.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Address of the sender as the socket saw it, or as the trusted balancer in `relay` named it (PROXY protocol).
    pub peer: String,
    /// `snmpTrapAddress.0` or the agent-addr of a v1 trap (RFC 3584 §3.1).
    pub trap_address: String,
    /// Authoritative engine ID in hexadecimal (RFC 3411 §5).
    pub engine_id: String,
    /// HOSTNAME of the syslog header; only when the rule releases `host`.
    pub hostname: String,
    /// Subject of the TLS client certificate.
    pub tls_name: String,
    /// `udp`, `tcp` or `tls`.
    pub transport: String,
    /// How far the sender proved who it is.
    pub authenticity: Authenticity,
    /// Address of a relay that the site trusts to name the sender: a balancer before `peer`, or `peer` itself when it forwards traps.
    #[serde(default)]
    pub relay: String,
    /// Which of these named the source: `hostname`, `peer`, `push` (the key's id, in `tls_name`), `tls_name`, `trap_address`.
    pub chosen_by: String,
    /// Whether two of them disagree.
    pub conflict: bool,
}

/// The whole state of one alert, at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// What it is about.
    pub key: AlertKey,
    /// The revision at which this occurrence was raised: a raise after a clear or close starts a new one.
    pub occurrence: u64,
    /// Grows with every change of any alert of the gateway; the newest record of a key wins.
    pub revision: u64,
    /// Whether it lasts.
    pub state: AlertState,
    /// How grave it is now.
    pub severity: Severity,
    /// What a person reads first; from the rule's template.
    pub summary: String,
    /// Reports in this occurrence, at least 1.
    pub count: u64,
    /// When this occurrence was first reported.
    pub first_seen: Timestamp,
    /// When it was last reported.
    pub last_seen: Timestamp,
    /// When the clear was reported.
    pub cleared_at: Option<Timestamp>,
    /// Released facts by name.
    pub labels: BTreeMap<String, String>,
    /// The rule that raised it last.
    pub rule: RuleId,
    /// That rule's version.
    pub rule_version: u32,
    /// Who reported it last.
    pub evidence: Evidence,
    /// How it stands among others, and why.
    pub course: Course,
}

/// Why bytes are not an alert.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AlertError {
    /// The encoding is broken.
    #[error("alert record is not well formed: {0}")]
    Encoding(#[from] prost::DecodeError),
    /// A field has a value outside its range.
    #[error("alert record has an invalid {0}")]
    Field(&'static str),
    /// The record is too long.
    #[error("alert record has {0} bytes, more than {MAX_ALERT_BYTES}")]
    Size(usize),
}

impl Alert {
    /// Encodes the record (protobuf; field numbers are those of the private `Wire`).
    pub fn encode(&self) -> Vec<u8> {
        let e = &self.evidence;
        Wire {
            resource: self.key.resource.clone(),
            kind: self.key.kind.clone(),
            qualifier: self.key.qualifier.clone(),
            occurrence: self.occurrence,
            revision: self.revision,
            state: match self.state {
                AlertState::Open => 1,
                AlertState::Cleared => 2,
                AlertState::Closed => 3,
            },
            severity: u32::from(self.severity.number()),
            summary: self.summary.clone(),
            count: self.count,
            first_seen: self.first_seen.as_nanos(),
            last_seen: self.last_seen.as_nanos(),
            cleared_at: self.cleared_at.map(Timestamp::as_nanos),
            labels: self.labels.clone(),
            rule: self.rule.as_str().to_owned(),
            rule_version: self.rule_version,
            evidence: Some(WireEvidence {
                peer: e.peer.clone(),
                trap_address: e.trap_address.clone(),
                engine_id: e.engine_id.clone(),
                hostname: e.hostname.clone(),
                tls_name: e.tls_name.clone(),
                transport: e.transport.clone(),
                authenticity: e.authenticity as u32,
                chosen_by: e.chosen_by.clone(),
                conflict: e.conflict,
                relay: e.relay.clone(),
            }),
            course: WireCourse::of(&self.course),
        }
        .encode_to_vec()
    }

    /// Decodes and checks a record.
    ///
    /// # Errors
    /// [`AlertError`] when the bytes are too many, not protobuf, or a field is out of range.
    pub fn decode(bytes: &[u8]) -> Result<Self, AlertError> {
        if bytes.len() > MAX_ALERT_BYTES {
            return Err(AlertError::Size(bytes.len()));
        }
        let w = Wire::decode(bytes)?;
        let e = w.evidence.unwrap_or_default();
        if w.resource.is_empty() {
            return Err(AlertError::Field("resource"));
        }
        if w.kind.is_empty() {
            return Err(AlertError::Field("kind"));
        }
        if w.count == 0 {
            return Err(AlertError::Field("count"));
        }
        if w.occurrence == 0 || w.revision < w.occurrence || w.revision > i64::MAX as u64 {
            return Err(AlertError::Field("revision"));
        }
        Ok(Self {
            key: AlertKey { resource: w.resource, kind: w.kind, qualifier: w.qualifier },
            occurrence: w.occurrence,
            revision: w.revision,
            state: match w.state {
                1 => AlertState::Open,
                2 => AlertState::Cleared,
                3 => AlertState::Closed,
                _ => return Err(AlertError::Field("state")),
            },
            severity: u8::try_from(w.severity).ok().and_then(Severity::from_number).ok_or(AlertError::Field("severity"))?,
            summary: w.summary,
            count: w.count,
            first_seen: Timestamp::from_nanos(w.first_seen),
            last_seen: Timestamp::from_nanos(w.last_seen),
            cleared_at: w.cleared_at.map(Timestamp::from_nanos),
            labels: w.labels,
            rule: RuleId::new(w.rule).map_err(|_| AlertError::Field("rule"))?,
            rule_version: w.rule_version,
            evidence: Evidence {
                peer: e.peer,
                trap_address: e.trap_address,
                engine_id: e.engine_id,
                hostname: e.hostname,
                tls_name: e.tls_name,
                transport: e.transport,
                authenticity: Authenticity::ALL
                    .into_iter()
                    .find(|a| *a as u32 == e.authenticity)
                    .ok_or(AlertError::Field("authenticity"))?,
                chosen_by: e.chosen_by,
                conflict: e.conflict,
                relay: e.relay,
            },
            course: w.course.map_or(Some(Course::default()), WireCourse::course).ok_or(AlertError::Field("parent"))?,
        })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct Wire {
    #[prost(string, tag = "1")]
    resource: String,
    #[prost(string, tag = "2")]
    kind: String,
    #[prost(string, tag = "3")]
    qualifier: String,
    #[prost(uint64, tag = "4")]
    occurrence: u64,
    #[prost(uint64, tag = "5")]
    revision: u64,
    #[prost(uint32, tag = "6")]
    state: u32,
    #[prost(uint32, tag = "7")]
    severity: u32,
    #[prost(string, tag = "8")]
    summary: String,
    #[prost(uint64, tag = "9")]
    count: u64,
    #[prost(sfixed64, tag = "10")]
    first_seen: i64,
    #[prost(sfixed64, tag = "11")]
    last_seen: i64,
    #[prost(sfixed64, optional, tag = "12")]
    cleared_at: Option<i64>,
    #[prost(btree_map = "string, string", tag = "13")]
    labels: BTreeMap<String, String>,
    #[prost(string, tag = "14")]
    rule: String,
    #[prost(uint32, tag = "15")]
    rule_version: u32,
    #[prost(message, optional, tag = "16")]
    evidence: Option<WireEvidence>,
    #[prost(message, optional, tag = "17")]
    course: Option<WireCourse>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireEvidence {
    #[prost(string, tag = "1")]
    peer: String,
    #[prost(string, tag = "2")]
    trap_address: String,
    #[prost(string, tag = "3")]
    engine_id: String,
    #[prost(string, tag = "4")]
    hostname: String,
    #[prost(string, tag = "5")]
    tls_name: String,
    #[prost(string, tag = "6")]
    transport: String,
    #[prost(uint32, tag = "7")]
    authenticity: u32,
    #[prost(string, tag = "8")]
    chosen_by: String,
    #[prost(bool, tag = "9")]
    conflict: bool,
    #[prost(string, tag = "10")]
    relay: String,
}
