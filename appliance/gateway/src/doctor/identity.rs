//! Whether this gateway's own certificates are in time, held against the best clock that there is.

use std::time::Duration;

use postern_protocol::status::doctor::Finding;
use postern_protocol::timestamp::Timestamp;
use postern_uplink::examine::Certificate;
use postern_uplink::identity::{Identity, IdentityError};

use super::finding::{Id, good};

/// What is known of the identity.
#[derive(Debug)]
pub(super) struct IdentityFacts {
    /// The tunnel's certificate, then the listeners'.
    pub(super) certificates: Vec<(&'static str, Certificate)>,
}

/// Reads the certificates of `identity`.
pub(super) fn observe(identity: &Identity) -> IdentityFacts {
    let chains = [("tunnel", &identity.client_chain), ("TLS listeners", &identity.listener_chain)];
    let certificates = chains.into_iter().filter_map(|(use_, chain)| Some((use_, Certificate::read(chain.first()?)?)));
    IdentityFacts { certificates: certificates.collect() }
}

/// Says why there is no identity.
pub(super) fn absent(error: &IdentityError) -> Finding {
    let evidence = crate::chain(error);
    match error {
        IdentityError::Missing { .. } => Id::NotEnrolled.fault(
            "this gateway is not enrolled",
            evidence,
            "make a token in the console (Gateways, Enrol) and run postern-gateway enrol with it",
        ),
        _ => Id::NotEnrolled.fault(
            "this gateway's identity cannot be read",
            evidence,
            "run this command as the daemon's own user; when files are damaged, move the identity directory away and enrol anew",
        ),
    }
}

/// Judges the certificates at `now`, a clock that was corrected by the control plane's where that is known.
pub(super) fn judge(facts: &IdentityFacts, now: Timestamp) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        facts.certificates.iter().filter_map(|(use_, certificate)| out_of_time(use_, certificate, now)).collect();
    if let (true, Some((_, certificate))) = (findings.is_empty(), facts.certificates.first()) {
        let left = span(certificate.not_after.saturating_since(now));
        findings.push(good("identity", "this gateway's certificates are valid", format!("{}, for another {left}", certificate.subject)));
    }
    findings
}

fn out_of_time(use_: &str, certificate: &Certificate, now: Timestamp) -> Option<Finding> {
    let Certificate { subject, not_before, not_after, .. } = certificate;
    if now > *not_after {
        let since = span(now.saturating_since(*not_after));
        let what = format!("this gateway's own certificate for the {use_} has expired");
        let evidence = format!("{subject}, {since} ago");
        let advice = "the daemon renews it by itself within the control plane's time for late renewals; later an admin opens that window in \
                      the console (Gateways, this gateway, Identity), or enrols this gateway anew";
        return Some(Id::CertificateExpired.fault(what, evidence, advice));
    }
    (now < *not_before).then(|| {
        let until = span(not_before.saturating_since(now));
        let what = format!("this gateway's own certificate for the {use_} is not valid yet");
        let advice = "set this machine's clock: the certificate was made by the control plane's";
        Id::CertificateNotYetValid.fault(what, format!("{subject}, in {until}"), advice)
    })
}

/// Writes a time span in two units.
pub(super) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> IdentityFacts {
        let (not_before, not_after) = (Timestamp::from_secs(1000), Timestamp::from_secs(2000));
        let certificate = Certificate { subject: "CN=gw".to_owned(), issuer: "CN=ca".to_owned(), not_before, not_after };
        IdentityFacts { certificates: vec![("tunnel", certificate)] }
    }

    #[test]
    fn certificates_before_in_and_after_their_time() {
        let id = |secs| judge(&facts(), Timestamp::from_secs(secs))[0].id.clone();
        assert_eq!([999, 1500, 2001].map(id), ["certificate-not-yet-valid", "identity", "certificate-expired"]);
    }

    #[test]
    fn spans_have_two_units() {
        let shown = |seconds| span(Duration::from_secs(seconds));
        assert_eq!([5, 125, 7260, 90_000].map(shown), ["5 s", "2 min", "2 h 1 min", "1 d 1 h"]);
    }
}
