//! Where the content of each field comes from: of a field by itself, else of its whole message.

const RULE: &str = "a rule's template, or a field that the rule releases: the built-in rules release OID, host, program and severity";
const ENGINE: &str = "the gateway's alert engine";
const OWN: &str = "the gateway's own state";
const KEYS: &str = "keys made on the gateway: public halves and signatures only";
const COUNTERS: &str = "the gateway's own counters";
const SOCKET: &str = "addresses and identifiers of senders, as the sockets saw them";
const SPOOL: &str = "the gateway's spool: numbers of its own records";
const MACHINE: &str = "what the operating system says of the machine";
const LINK: &str = "the tunnel's own measurements and errors";

/// By message, or by `Message.field`, which goes before.
pub(crate) const SOURCES: &[(&str, &str)] = &[
    ("Account", COUNTERS),
    ("AgentAccount", COUNTERS),
    ("AgentAccount.agent", "the proxy user's name that the site chose, or the agent's address"),
    ("Alert", ENGINE),
    ("Alert.kind", RULE),
    ("Alert.labels", RULE),
    ("Alert.qualifier", RULE),
    ("Alert.resource", RULE),
    ("Alert.rule", "the revision in force"),
    ("Alert.rule_version", "the revision in force"),
    ("Alert.severity", "the rule, or the event's severity where the rule takes that"),
    ("Alert.summary", RULE),
    ("AlertKey", "the key of another alert of this gateway"),
    ("AuditEntries", "the gateway's audit log"),
    ("AuditEntry", "the gateway's audit log: who did what when, never a secret's content"),
    ("AuditState", "the gateway's audit log"),
    ("AuditText", "the gateway's audit log: who did what when, never a secret's content"),
    ("Batch", SPOOL),
    ("Batch.records_zstd", "the lane's records, compressed"),
    ("CanaryPath", "the gateway's tries of its own listeners"),
    ("CertificateRequest", KEYS),
    ("Course", ENGINE),
    ("CrashWindow", OWN),
    ("Decision", "the gateway's alert engine: numbers, times and identifiers of the revision; never text of an event"),
    ("Difference", "the key of an alert that the revision in force, or the candidate, makes of the ring's events"),
    ("Enforcement", OWN),
    ("EnrolRequest", OWN),
    ("EnrolRequest.client_csr", KEYS),
    ("EnrolRequest.hostname", MACHINE),
    ("EnrolRequest.listener_csr", KEYS),
    ("EnrolRequest.secret", "the one-time token that the control plane issued"),
    ("Evidence", SOCKET),
    ("Evidence.hostname", "the syslog header, only when the rule releases the host"),
    ("FailedRevision", "the revision that was pushed"),
    ("Figures", COUNTERS),
    ("Finding", "the doctor's examination: addresses, certificate names and errors of the way to the control plane"),
    ("Heartbeat", "a random number"),
    ("Hello", OWN),
    ("Hello.heads", SPOOL),
    ("Hello.sealing_key", KEYS),
    ("IdentityState", "the gateway's certificates and pins: public parts only"),
    ("Intake", OWN),
    ("Inventory", MACHINE),
    ("LaneFill", SPOOL),
    ("LanePosition", SPOOL),
    ("Ledger", COUNTERS),
    ("LedgerMinute", COUNTERS),
    ("LedgerMinutes", COUNTERS),
    ("Listener", "the gateway's sockets and the kernel's counters of them"),
    ("Problem", "the revision that was pushed"),
    ("Provisional", OWN),
    ("Records", "the spool: see the stream for what its records are"),
    ("RenewRequest", KEYS),
    ("RenewRequest.incarnations", OWN),
    ("RenewRequest.program_version", OWN),
    ("ReplayReply", "the gateway's ring of received events, replayed through a candidate: keys, severities and counts of alerts"),
    ("Replayed", COUNTERS),
    ("Replayed.problems", "the candidate that was asked about"),
    ("Report", "the doctor's examination"),
    ("Resent", SPOOL),
    ("RevisionProblem", "the revision that was pushed"),
    ("RevisionStatus", "the revision that was pushed"),
    ("Revisions", OWN),
    ("RingState", COUNTERS),
    ("RuleFigures", COUNTERS),
    ("RuleReport", COUNTERS),
    ("Sample", "a push of a device or agent, field by field as it was pushed"),
    ("Sandbox", OWN),
    ("SecretVersion", "names and versions that the control plane gave; never the content"),
    ("Seen", ENGINE),
    ("SnmpEngine", OWN),
    ("SourceAccount", COUNTERS),
    ("SourceAccount.source", SOCKET),
    ("SourceMinute", COUNTERS),
    ("SourceMinute.source", SOCKET),
    ("Spool", SPOOL),
    ("Status", OWN),
    ("Suppression", "a maintenance window of the revision in force"),
    ("TrustStatus", "the trust bundle that was pushed"),
    ("Tunnel", LINK),
    ("UnknownOid", "the OID of a notification, its counts and the address of a sender; never a varbind"),
    ("Up", "see the message"),
    ("Waiting", "headers of SNMPv3 messages that were refused; never a varbind or a key"),
    ("WouldBe", "the key of an alert that a rule that only observes would have raised"),
];

/// Returns where the content of a field comes from.
pub(crate) fn source(message: &str, place: &str) -> Option<&'static str> {
    let of = |wanted: &str| SOURCES.iter().find(|(known, _)| *known == wanted).map(|(_, source)| *source);
    of(place).or_else(|| of(message))
}
