//! What keeps a gateway alive over the years: certificates, trust, confirmed revisions, the countersigned audit, pacing.

/// New certificates are wanted: for fresh keys, each request signed by its own.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CertificateRequest {
    /// PKCS#10 (RFC 2986), DER: for the tunnel's client certificate.
    #[prost(bytes = "vec", tag = "1")]
    pub request: Vec<u8>,
    /// PKCS#10, DER: for the certificate of the gateway's own TLS listeners, with their names; empty when it is not wanted.
    #[prost(bytes = "vec", tag = "2")]
    pub listener_request: Vec<u8>,
}

/// The answer to a [`CertificateRequest`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct CertificateReply {
    /// The certificate, then its intermediates, DER; empty when refused.
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub chain: Vec<Vec<u8>>,
    /// Why it was refused, for a person; empty when it was not.
    #[prost(string, tag = "2")]
    pub refused: String,
    /// The listeners' certificate, then its intermediates, DER; empty when it was not asked for.
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub listener_chain: Vec<Vec<u8>>,
}

/// Whom a gateway trusts: replaces what it had, once its signature and serial are good.
#[derive(Clone, PartialEq, prost::Message)]
pub struct TrustBundle {
    /// Grows with every change; an older one is refused.
    #[prost(uint64, tag = "1")]
    pub serial: u64,
    /// SHA-256 of the SPKIs that the tunnel's server may present: the current one, then the next.
    #[prost(bytes = "vec", repeated, tag = "2")]
    pub server_pins: Vec<Vec<u8>>,
    /// Certificate authorities, DER: the current one and, while it is replaced, the next.
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub authorities: Vec<Vec<u8>>,
    /// Ed25519 public keys that may sign revisions, secrets, dictionaries and the next bundle.
    #[prost(bytes = "vec", repeated, tag = "4")]
    pub signing_keys: Vec<Vec<u8>>,
    /// Further addresses of the control plane (`host:port`), tried in order after the one that it enrolled at.
    #[prost(string, repeated, tag = "5")]
    pub addresses: Vec<String>,
    /// Ed25519 over `trust::signing_input`, by a key that the gateway trusts already.
    #[prost(bytes = "vec", tag = "6")]
    pub signature: Vec<u8>,
}

/// What became of a [`TrustBundle`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct TrustStatus {
    /// Its serial.
    #[prost(uint64, tag = "1")]
    pub serial: u64,
    /// Why it was refused, for a person; empty when it is kept.
    #[prost(string, tag = "2")]
    pub refused: String,
}

/// How fast a lane may send until told otherwise, or until the session ends.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Pace {
    /// Number of the lane; 0 for all but the alerts lane.
    #[prost(uint32, tag = "1")]
    pub lane: u32,
    /// Bytes of batches a second; 0 lifts the limit.
    #[prost(uint64, tag = "2")]
    pub bytes_per_second: u64,
}

/// A provisional revision may stay: whoever pushed it can still reach this gateway.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ConfirmRevision {
    /// Its number.
    #[prost(uint64, tag = "1")]
    pub number: u64,
}

/// Consecutive entries of a gateway's audit log.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AuditEntries {
    /// Oldest first.
    #[prost(message, repeated, tag = "1")]
    pub entries: Vec<AuditEntry>,
}

/// One entry, as it lies in the log.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AuditEntry {
    /// From 1, without a gap.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// The entry's text (JSON), exactly as hashed.
    #[prost(bytes = "vec", tag = "2")]
    pub text: Vec<u8>,
    /// SHA-256 over `audit::chain_input` of the digest before it and the text.
    #[prost(bytes = "vec", tag = "3")]
    pub digest: Vec<u8>,
}

/// The control plane has the log up to an entry, and says so under its signature.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AuditReceipt {
    /// Number of that entry.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// Its digest.
    #[prost(bytes = "vec", tag = "2")]
    pub digest: Vec<u8>,
    /// When, nanoseconds since the Unix epoch, by the control plane's clock.
    #[prost(sfixed64, tag = "3")]
    pub at: i64,
    /// Ed25519 over `audit::receipt_input`.
    #[prost(bytes = "vec", tag = "4")]
    pub signature: Vec<u8>,
}

/// Every open alert was committed again, each under a new revision: what is open elsewhere under an older one is over.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Resent {
    /// Epoch of the sequence.
    #[prost(fixed64, tag = "1")]
    pub epoch: u64,
    /// Sequence of the last of these records in the alerts lane.
    #[prost(uint64, tag = "2")]
    pub sequence: u64,
    /// The revision that the first of them got.
    #[prost(uint64, tag = "3")]
    pub since_revision: u64,
    /// The newest `Welcome::resend_nonce` that had been fulfilled before; 0 for none.
    #[prost(fixed64, tag = "4")]
    pub nonce: u64,
}

/// Alerts in the state that the gateway itself reported, newer than all that its disk knows since it was set back.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Adopt {
    /// Each an encoded `alert::Alert`.
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub alerts: Vec<Vec<u8>>,
    /// Set in the last message of a session's adoption: every open alert is to be committed again then.
    #[prost(bool, tag = "2")]
    pub complete: bool,
}

/// A candidate revision is to be tried on the events that the gateway keeps (see `replay`).
#[derive(Clone, PartialEq, prost::Message)]
pub struct Replay {
    /// Chosen by the control plane; the answer repeats it.
    #[prost(fixed64, tag = "1")]
    pub number: u64,
    /// The candidate document. It is not signed: it is put into force nowhere.
    #[prost(bytes = "vec", tag = "2")]
    pub document: Vec<u8>,
    /// From when on, nanoseconds since the Unix epoch.
    #[prost(sfixed64, tag = "3")]
    pub from: i64,
    /// Who asks, for the gateway's audit log.
    #[prost(string, tag = "4")]
    pub asked_by: String,
}

/// The answer to a [`Replay`].
#[derive(Clone, PartialEq, prost::Message)]
pub struct ReplayReply {
    /// From the question.
    #[prost(fixed64, tag = "1")]
    pub number: u64,
    /// JSON of `replay::Replayed`.
    #[prost(bytes = "vec", tag = "2")]
    pub result: Vec<u8>,
}
