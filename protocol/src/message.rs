//! The tunnel's messages (protobuf). Field numbers are fixed for ever; an unknown field is skipped, so N talks to N−1.
//!
//! One HTTP/2 connection that the gateway opened carries `POST /tunnel/v1/control` ([`Up`] against [`Down`]) and, for each
//! lane, `POST /tunnel/v1/lane/{name}` ([`Batch`] against [`Ack`]). Both directions of each stream are frames (see `frame`).

/// The protocol version that this build speaks. Version 2 brought confirmed revisions, renewal and trust over the tunnel, the audit,
/// and alerts that go ahead of their order.
pub const PROTOCOL_VERSION: u32 = 2;

/// The oldest version that this build still speaks: always the one before.
pub const OLDEST_PROTOCOL_VERSION: u32 = 1;

/// Most records in one batch.
pub const MAX_BATCH_RECORDS: usize = 4096;

/// Most bytes of records in one batch, before compression.
pub const MAX_BATCH_BYTES: usize = 1024 * 1024;

mod life;

pub use life::{
    Adopt, AuditEntries, AuditEntry, AuditReceipt, CertificateReply, CertificateRequest, ConfirmRevision, Pace, Replay, ReplayReply,
    Resent, TrustBundle, TrustStatus,
};

/// From the gateway on the control stream: exactly one field is set.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Up {
    /// What it says.
    #[prost(oneof = "up::Kind", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11")]
    pub kind: Option<up::Kind>,
}

/// Kinds of [`Up`].
pub mod up {
    /// What the gateway says.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Kind {
        /// The first message of a session.
        #[prost(message, tag = "1")]
        Hello(super::Hello),
        /// Proof of life; the answer is a [`super::HeartbeatReply`].
        #[prost(message, tag = "2")]
        Heartbeat(super::Heartbeat),
        /// How far a pushed revision got.
        #[prost(message, tag = "3")]
        RevisionStatus(super::RevisionStatus),
        /// A `status::Status` as JSON: the very document that `status --json` prints.
        #[prost(bytes, tag = "4")]
        Status(Vec<u8>),
        /// The ledger of whole minutes; a repetition replaces.
        #[prost(message, tag = "5")]
        Minutes(super::LedgerMinutes),
        /// A new certificate is wanted; the answer is a [`super::CertificateReply`].
        #[prost(message, tag = "6")]
        CertificateRequest(super::CertificateRequest),
        /// The next entries of the local audit log; the answer is a [`super::AuditReceipt`].
        #[prost(message, tag = "7")]
        Audit(super::AuditEntries),
        /// A [`super::TrustBundle`] was verified and kept, or refused.
        #[prost(message, tag = "8")]
        TrustStatus(super::TrustStatus),
        /// Every open alert was committed again.
        #[prost(message, tag = "9")]
        Resent(super::Resent),
        /// The answer to a [`super::Replay`].
        #[prost(message, tag = "10")]
        ReplayReply(super::ReplayReply),
        /// JSON of `replay::RuleReport`: the counters of rules.
        #[prost(bytes, tag = "11")]
        Rules(Vec<u8>),
    }
}

/// From the control plane on the control stream: exactly one field is set.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Down {
    /// What it says.
    #[prost(oneof = "down::Kind", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14")]
    pub kind: Option<down::Kind>,
}

/// Kinds of [`Down`].
pub mod down {
    /// What the control plane says.
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Kind {
        /// The answer to a [`super::Hello`].
        #[prost(message, tag = "1")]
        Welcome(super::Welcome),
        /// The answer to a [`super::Heartbeat`].
        #[prost(message, tag = "2")]
        HeartbeatReply(super::HeartbeatReply),
        /// A revision to apply.
        #[prost(message, tag = "3")]
        Revision(super::SignedRevision),
        /// A person closed an alert.
        #[prost(message, tag = "4")]
        CloseAlert(super::CloseAlert),
        /// The session ends, for the reason given.
        #[prost(message, tag = "5")]
        Goodbye(super::Goodbye),
        /// Every sealed secret of the gateway: what is not in it is to be forgotten.
        #[prost(message, tag = "6")]
        Secrets(super::SealedSecrets),
        /// A piece of the OID dictionary.
        #[prost(message, tag = "7")]
        DictionaryPart(super::DictionaryPart),
        /// The answer to a [`super::CertificateRequest`].
        #[prost(message, tag = "8")]
        CertificateReply(super::CertificateReply),
        /// The answer to [`super::AuditEntries`].
        #[prost(message, tag = "9")]
        AuditReceipt(super::AuditReceipt),
        /// Whom to trust from now on.
        #[prost(message, tag = "10")]
        TrustBundle(super::TrustBundle),
        /// How fast a lane may send.
        #[prost(message, tag = "11")]
        Pace(super::Pace),
        /// A provisional revision may stay.
        #[prost(message, tag = "12")]
        ConfirmRevision(super::ConfirmRevision),
        /// Alerts that a gateway forgot when its disk was set back.
        #[prost(message, tag = "13")]
        Adopt(super::Adopt),
        /// What would a candidate revision have made of the last hours? The answer is a [`super::ReplayReply`].
        #[prost(message, tag = "14")]
        Replay(super::Replay),
    }
}

/// The first message of a session.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Hello {
    /// [`PROTOCOL_VERSION`] of the gateway.
    #[prost(uint32, tag = "1")]
    pub protocol: u32,
    /// The gateway's program version, for people.
    #[prost(string, tag = "2")]
    pub program_version: String,
    /// The epoch of this start.
    #[prost(fixed64, tag = "3")]
    pub epoch: u64,
    /// The durable head of each lane in this epoch.
    #[prost(message, repeated, tag = "4")]
    pub heads: Vec<LanePosition>,
    /// The revision in force; 0 for the built-in one.
    #[prost(uint64, tag = "5")]
    pub effective_revision: u64,
    /// The newest revision number that was ever taken in, so that numbers are never rewound.
    #[prost(uint64, tag = "6")]
    pub newest_revision: u64,
    /// SHA-256 of the pushed dictionary that it has; empty for none.
    #[prost(bytes = "vec", tag = "7")]
    pub dictionary: Vec<u8>,
    /// The RSA public key (SubjectPublicKeyInfo, DER) to which secrets for it are sealed.
    #[prost(bytes = "vec", tag = "8")]
    pub sealing_key: Vec<u8>,
    /// Serial of the newest [`SealedSecrets`] that it took in.
    #[prost(uint64, tag = "9")]
    pub secrets_serial: u64,
    /// Serial of the newest [`TrustBundle`] that it keeps; 0 for what enrolment gave it.
    #[prost(uint64, tag = "10")]
    pub trust_serial: u64,
    /// Drawn at random by each start of the daemon, and kept on its disk.
    #[prost(fixed64, tag = "11")]
    pub incarnation: u64,
    /// The incarnation that the disk held before this start; 0 for none.
    #[prost(fixed64, tag = "12")]
    pub previous_incarnation: u64,
    /// Counts the sessions of this incarnation, from 1.
    #[prost(uint64, tag = "13")]
    pub session: u64,
    /// Number of the last entry of the local audit log; 0 for none.
    #[prost(uint64, tag = "14")]
    pub audit_number: u64,
    /// The revision that is in force and waits for its [`ConfirmRevision`]; 0 for none.
    #[prost(uint64, tag = "15")]
    pub provisional_revision: u64,
    /// This program's disk was found set back to an earlier state, in words for the audit; empty when not.
    #[prost(string, tag = "16")]
    pub rollback: String,
    /// The newest alert revision that this start found on its disk; less than what earlier starts reported: the disk was set back.
    #[prost(uint64, tag = "17")]
    pub alert_revision: u64,
    /// The last incarnation that had a session, and all since, in order: starts that were never heard leave no hole in the chain.
    #[prost(fixed64, repeated, tag = "18")]
    pub earlier_incarnations: Vec<u64>,
}

/// A place in a lane.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LanePosition {
    /// Number of the lane (`id::Lane::number`).
    #[prost(uint32, tag = "1")]
    pub lane: u32,
    /// Epoch of the sequence.
    #[prost(fixed64, tag = "2")]
    pub epoch: u64,
    /// Sequence of the last record.
    #[prost(uint64, tag = "3")]
    pub sequence: u64,
}

/// The answer to a [`Hello`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct Welcome {
    /// The protocol version that the session uses: the lower of the two.
    #[prost(uint32, tag = "1")]
    pub protocol: u32,
    /// What the control plane has committed: the last sequence of every lane in every epoch that it remembers.
    #[prost(message, repeated, tag = "2")]
    pub committed: Vec<LanePosition>,
    /// Set when the two sides' states do not fit together (a snapshot or backup was restored): the gateway then sends the
    /// whole state of every open alert again.
    #[prost(bool, tag = "3")]
    pub resend_open_alerts: bool,
    /// Wall clock of the control plane, nanoseconds since the Unix epoch.
    #[prost(sfixed64, tag = "4")]
    pub time: i64,
    /// Number of the last audit entry that the control plane has; 0 for none.
    #[prost(uint64, tag = "5")]
    pub audit_number: u64,
    /// Address from which the gateway's connection came, as the control plane saw it.
    #[prost(string, tag = "6")]
    pub peer: String,
    /// Names what this session asks for when the gateway has to send all its open alerts again, at once or after an adoption (then
    /// `resend_open_alerts` is not set): [`Resent`] repeats it. 0 when nothing is asked for.
    #[prost(fixed64, tag = "7")]
    pub resend_nonce: u64,
}

/// Proof of life.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Heartbeat {
    /// Echoed in the reply.
    #[prost(fixed64, tag = "1")]
    pub nonce: u64,
}

/// The answer to a [`Heartbeat`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct HeartbeatReply {
    /// From the heartbeat.
    #[prost(fixed64, tag = "1")]
    pub nonce: u64,
    /// Wall clock of the control plane, nanoseconds since the Unix epoch.
    #[prost(sfixed64, tag = "2")]
    pub time: i64,
}

/// A revision document with its number and signature.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SignedRevision {
    /// Number, greater than every earlier one.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// The document's bytes, exactly as signed.
    #[prost(bytes = "vec", tag = "2")]
    pub document: Vec<u8>,
    /// Ed25519 over `revision::signing_input`.
    #[prost(bytes = "vec", tag = "3")]
    pub signature: Vec<u8>,
}

/// How far a pushed revision got.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RevisionStatus {
    /// Number of the revision.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// How far it got.
    #[prost(enumeration = "RevisionState", tag = "2")]
    pub state: i32,
    /// What is wrong, when it failed.
    #[prost(message, repeated, tag = "3")]
    pub problems: Vec<RevisionProblem>,
}

/// One fault of a revision.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RevisionProblem {
    /// Place in the document, for example `rules[3].match.trap.oid`; empty for the document as a whole.
    #[prost(string, tag = "1")]
    pub path: String,
    /// Line, from 1; 0 when unknown.
    #[prost(uint32, tag = "2")]
    pub line: u32,
    /// Column in bytes, from 1; 0 when unknown.
    #[prost(uint32, tag = "3")]
    pub column: u32,
    /// What is wrong and what to do.
    #[prost(string, tag = "4")]
    pub reason: String,
}

/// How far a revision got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
pub enum RevisionState {
    /// Never sent.
    Unspecified = 0,
    /// Taken in, not yet in force.
    Applying = 1,
    /// In force.
    Applied = 2,
    /// Refused; the one before is in force.
    Failed = 3,
    /// In force, and taken back unless it is confirmed in time (since version 2).
    Provisional = 4,
    /// Was in force, was not confirmed in time, and was taken back; the one before is in force (since version 2).
    Reverted = 5,
}

/// A person closed an alert in the console.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CloseAlert {
    /// Part of the key.
    #[prost(string, tag = "1")]
    pub resource: String,
    /// Part of the key.
    #[prost(string, tag = "2")]
    pub kind: String,
    /// Part of the key.
    #[prost(string, tag = "3")]
    pub qualifier: String,
    /// The occurrence that was closed; another one stays open.
    #[prost(uint64, tag = "4")]
    pub occurrence: u64,
    /// The count that the person saw: reports beyond it start a new occurrence.
    #[prost(uint64, tag = "5")]
    pub count_seen: u64,
}

/// The secrets of one gateway, each sealed to its key (see `secret`).
#[derive(Clone, PartialEq, prost::Message)]
pub struct SealedSecrets {
    /// Grows with every change; an older set is refused.
    #[prost(uint64, tag = "1")]
    pub serial: u64,
    /// All of them, by ascending name.
    #[prost(message, repeated, tag = "2")]
    pub secrets: Vec<SealedSecret>,
    /// Ed25519 over `secret::signing_input`.
    #[prost(bytes = "vec", tag = "3")]
    pub signature: Vec<u8>,
}

/// One sealed secret.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SealedSecret {
    /// The name that revisions use.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Counted up with every new content; part of what the seal covers.
    #[prost(uint32, tag = "2")]
    pub version: u32,
    /// The sealed content.
    #[prost(bytes = "vec", tag = "3")]
    pub sealed: Vec<u8>,
}

/// Most bytes of one [`DictionaryPart`]: small, so that heartbeats pass between two.
pub const MAX_DICTIONARY_PART_BYTES: usize = 64 * 1024;

/// A piece of the OID dictionary; pieces come in order, the last one with the signature.
#[derive(Clone, PartialEq, prost::Message)]
pub struct DictionaryPart {
    /// SHA-256 of the whole.
    #[prost(bytes = "vec", tag = "1")]
    pub digest: Vec<u8>,
    /// Bytes of the whole.
    #[prost(uint64, tag = "2")]
    pub total_bytes: u64,
    /// Where this piece begins.
    #[prost(uint64, tag = "3")]
    pub offset: u64,
    /// The piece.
    #[prost(bytes = "vec", tag = "4")]
    pub bytes: Vec<u8>,
    /// Ed25519 over `dictionary::signing_input`; empty but in the last piece.
    #[prost(bytes = "vec", tag = "5")]
    pub signature: Vec<u8>,
}

/// The ledger of some whole minutes.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LedgerMinutes {
    /// One for each minute and protocol in which something happened.
    #[prost(message, repeated, tag = "1")]
    pub minutes: Vec<LedgerMinute>,
}

/// What became of what one protocol received in one minute. What is in flight at a minute's end is settled in a later one, so
/// `received` = `accepted` + Σ `dropped` + the change of what is in flight.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LedgerMinute {
    /// Minutes since the Unix epoch.
    #[prost(uint64, tag = "1")]
    pub minute: u64,
    /// `snmp_trap`, `syslog` or `push`.
    #[prost(string, tag = "2")]
    pub protocol: String,
    /// Everything that reached the socket, kernel drops included.
    #[prost(uint64, tag = "3")]
    pub received: u64,
    /// Handled by the engine.
    #[prost(uint64, tag = "4")]
    pub accepted: u64,
    /// What was in flight at the end of the minute.
    #[prost(uint64, tag = "5")]
    pub in_flight: u64,
    /// Given up, by reason.
    #[prost(btree_map = "string, uint64", tag = "6")]
    pub dropped: std::collections::BTreeMap<String, u64>,
    /// The busiest sources of the minute; the rest is the difference to the sums.
    #[prost(message, repeated, tag = "7")]
    pub sources: Vec<SourceMinute>,
}

/// One source's part of a [`LedgerMinute`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct SourceMinute {
    /// Address of the peer.
    #[prost(string, tag = "1")]
    pub source: String,
    /// As in [`LedgerMinute`].
    #[prost(uint64, tag = "2")]
    pub received: u64,
    /// As in [`LedgerMinute`].
    #[prost(uint64, tag = "3")]
    pub accepted: u64,
    /// As in [`LedgerMinute`].
    #[prost(btree_map = "string, uint64", tag = "4")]
    pub dropped: std::collections::BTreeMap<String, u64>,
}

/// The last message of a session.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Goodbye {
    /// Why, for a person.
    #[prost(string, tag = "1")]
    pub reason: String,
    /// Whether trying again can help.
    #[prost(bool, tag = "2")]
    pub retry: bool,
}

/// Records of one lane, in order and without a gap; or, ahead of that order, the newest states of alerts, which come again in it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Batch {
    /// Epoch of the sequences.
    #[prost(fixed64, tag = "1")]
    pub epoch: u64,
    /// Sequence of the first record; 0 for what goes ahead: its records may be of any place and epoch.
    #[prost(uint64, tag = "2")]
    pub first_sequence: u64,
    /// A [`Records`], zstd-compressed.
    #[prost(bytes = "vec", tag = "3")]
    pub records_zstd: Vec<u8>,
    /// Set for alerts that go ahead of their order.
    #[prost(bool, tag = "4")]
    pub ahead: bool,
    /// With what goes ahead: the lane's durable head in the epoch. A gateway that is ever behind it was set back.
    #[prost(uint64, tag = "5")]
    pub head: u64,
}

/// The content of a [`Batch`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct Records {
    /// Records of the lane's type: on the alerts lane an encoded `alert::Alert`.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub records: Vec<bytes::Bytes>,
}

/// Everything up to and including `sequence` is committed in the tenant's database.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Ack {
    /// Epoch of the sequence.
    #[prost(fixed64, tag = "1")]
    pub epoch: u64,
    /// The last committed sequence; 0 in the answer to what went ahead.
    #[prost(uint64, tag = "2")]
    pub sequence: u64,
    /// Set in the answer to a [`Batch`] that went ahead: it is stored, and its records are still owed in their order.
    #[prost(bool, tag = "3")]
    pub ahead: bool,
}
