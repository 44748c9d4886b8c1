//! What the doctor can find: each kind once, with the name that programs know it by.

use postern_protocol::status::doctor::{Finding, Grade};

/// A kind of finding. GATEWAY.md lists them with their meaning and advice; a test holds the two together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Id {
    /// Nothing is wrong.
    AllGood,
    /// The audit log is not whole.
    AuditDamaged,
    /// A sign-in page answers in place of the control plane.
    CaptivePortal,
    /// A certificate is over.
    CertificateExpired,
    /// A certificate is not valid yet.
    CertificateNotYetValid,
    /// This machine's clock is wrong.
    ClockSkew,
    /// The control plane is there, and fails.
    ControlPlaneUnwell,
    /// The daemon does not answer.
    DaemonNotRunning,
    /// The disk cannot be written.
    DiskFailing,
    /// The disk is full, or will be.
    DiskFull,
    /// The disk takes long.
    DiskSlow,
    /// The control plane's name cannot be resolved.
    DnsFailed,
    /// Another machine goes on under this identity.
    IdentityQuarantined,
    /// The control plane does not let this gateway in.
    IdentityRevoked,
    /// A listener of the gateway's own does not answer.
    ListenerUnreachable,
    /// Long packets are lost on the way.
    MtuBlackhole,
    /// No network leads there.
    NoRoute,
    /// This gateway has no usable identity.
    NotEnrolled,
    /// Something else answers at the control plane's address.
    OtherService,
    /// The proxy wants other credentials.
    ProxyAuth,
    /// The proxy does not connect.
    ProxyRefused,
    /// A receive buffer is smaller than asked for.
    ReceiveBuffer,
    /// Nobody listens there.
    Refused,
    /// Records are damaged on the disk.
    SpoolDamaged,
    /// The spool will be full soon.
    SpoolTimeLeft,
    /// Nothing answers.
    TimedOut,
    /// The TLS handshake is cut off.
    TlsCut,
    /// Something between terminates TLS.
    TlsIntercepted,
    /// All is well here, and the tunnel is not up.
    TunnelDown,
    /// The two sides have no protocol version in common.
    VersionTooOld,
    /// The control plane's key is none of the pinned ones.
    WrongPin,
}

impl Id {
    /// Every kind.
    pub const ALL: [Self; 31] = [
        Self::AllGood,
        Self::AuditDamaged,
        Self::CaptivePortal,
        Self::CertificateExpired,
        Self::CertificateNotYetValid,
        Self::ClockSkew,
        Self::ControlPlaneUnwell,
        Self::DaemonNotRunning,
        Self::DiskFailing,
        Self::DiskFull,
        Self::DiskSlow,
        Self::DnsFailed,
        Self::IdentityQuarantined,
        Self::IdentityRevoked,
        Self::ListenerUnreachable,
        Self::MtuBlackhole,
        Self::NoRoute,
        Self::NotEnrolled,
        Self::OtherService,
        Self::ProxyAuth,
        Self::ProxyRefused,
        Self::ReceiveBuffer,
        Self::Refused,
        Self::SpoolDamaged,
        Self::SpoolTimeLeft,
        Self::TimedOut,
        Self::TlsCut,
        Self::TlsIntercepted,
        Self::TunnelDown,
        Self::VersionTooOld,
        Self::WrongPin,
    ];

    /// Returns the name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AllGood => "all-good",
            Self::AuditDamaged => "audit-damaged",
            Self::CaptivePortal => "captive-portal",
            Self::CertificateExpired => "certificate-expired",
            Self::CertificateNotYetValid => "certificate-not-yet-valid",
            Self::ClockSkew => "clock-skew",
            Self::ControlPlaneUnwell => "control-plane-unwell",
            Self::DaemonNotRunning => "daemon-not-running",
            Self::DiskFailing => "disk-failing",
            Self::DiskFull => "disk-full",
            Self::DiskSlow => "disk-slow",
            Self::DnsFailed => "dns-failed",
            Self::IdentityQuarantined => "identity-quarantined",
            Self::IdentityRevoked => "identity-revoked",
            Self::ListenerUnreachable => "listener-unreachable",
            Self::MtuBlackhole => "mtu-blackhole",
            Self::NoRoute => "no-route",
            Self::NotEnrolled => "not-enrolled",
            Self::OtherService => "other-service",
            Self::ProxyAuth => "proxy-auth",
            Self::ProxyRefused => "proxy-refused",
            Self::ReceiveBuffer => "receive-buffer",
            Self::Refused => "refused",
            Self::SpoolDamaged => "spool-damaged",
            Self::SpoolTimeLeft => "spool-time-left",
            Self::TimedOut => "timed-out",
            Self::TlsCut => "tls-cut",
            Self::TlsIntercepted => "tls-intercepted",
            Self::TunnelDown => "tunnel-down",
            Self::VersionTooOld => "version-too-old",
            Self::WrongPin => "wrong-pin",
        }
    }

    /// Makes a finding of something that does not work.
    pub(super) fn fault(self, what: impl Into<String>, evidence: impl Into<String>, advice: impl Into<String>) -> Finding {
        self.finding(Grade::Fault, (what.into(), evidence.into(), advice.into()))
    }

    /// Makes a finding of something that works and should be looked at.
    pub(super) fn warning(self, what: impl Into<String>, evidence: impl Into<String>, advice: impl Into<String>) -> Finding {
        self.finding(Grade::Warning, (what.into(), evidence.into(), advice.into()))
    }

    fn finding(self, grade: Grade, (what, evidence, advice): (String, String, String)) -> Finding {
        Finding { id: self.name().to_owned(), grade, what, evidence, advice }
    }
}

/// Makes a finding of something that works; it is named after what was looked at.
pub(super) fn good(subject: &str, what: impl Into<String>, evidence: impl Into<String>) -> Finding {
    Finding { id: subject.to_owned(), grade: Grade::Good, what: what.into(), evidence: evidence.into(), advice: String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_explains_every_kind_of_finding() {
        let manual = include_str!("../../GATEWAY.md");
        for id in Id::ALL {
            assert!(manual.contains(&format!("| `{}` |", id.name())), "{} is not in GATEWAY.md's table", id.name());
        }
    }
}
