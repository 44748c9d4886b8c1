//! The way out, judged: from what was seen while dialling, in the TLS handshake, and behind it. Pure.

use postern_protocol::farewell;
use postern_protocol::message::{OLDEST_PROTOCOL_VERSION, PROTOCOL_VERSION};
use postern_protocol::status::doctor::Finding;
use postern_protocol::timestamp::Timestamp;
use postern_uplink::dial::error::{Demand, DialError};
use postern_uplink::examine::{Answer, Certificate, Look, PlainAnswer, STEP, Silence, Trust};
use rustls::AlertDescription;

use super::Credentials;
use super::clock::{ClockFacts, Source};
use super::dialling;
use super::finding::{Id, good};
use super::identity::span;

/// What was seen on the way to the control plane.
#[derive(Debug)]
pub(super) struct WayFacts {
    /// The control plane, as `host:port`.
    pub(super) server: String,
    /// The proxy on the way, without credentials.
    pub(super) proxy: Option<String>,
    /// Why there is no connection.
    pub(super) not_dialled: Option<DialError>,
    /// What the tunnel's port showed and answered.
    pub(super) tunnel: Option<Look>,
    /// What enrolment's answered: asked when the tunnel's does not tell the time.
    pub(super) enrolment: Option<Look>,
    /// The tunnel's again, with small segments: asked when the first try stalled.
    pub(super) small: Option<Look>,
    /// What answers in plain HTTP: asked when the peer is not the control plane.
    pub(super) plain: Option<PlainAnswer>,
    /// Whether the proxy could be given its password.
    pub(super) credentials: Credentials,
    /// Our clock when the time was asked.
    pub(super) now: Timestamp,
}

impl WayFacts {
    /// Begins with nothing seen.
    pub(super) const fn new(server: String, proxy: Option<String>) -> Self {
        Self {
            server,
            proxy,
            not_dialled: None,
            tunnel: None,
            enrolment: None,
            small: None,
            plain: None,
            credentials: Credentials::Known,
            now: Timestamp::from_nanos(0),
        }
    }

    /// Returns how far our clock is off, by a peer that has proven who it is.
    pub(super) fn clock(&self) -> Option<ClockFacts> {
        let date = [&self.tunnel, &self.enrolment].into_iter().flatten().find_map(verified_date)?;
        // The header has whole seconds: half of one more is as likely as less.
        let offset = date.as_nanos().saturating_add(500_000_000).saturating_sub(self.now.as_nanos());
        Some(ClockFacts { offset_ms: offset / 1_000_000, source: Source::Date })
    }

    fn whom(&self) -> String {
        match &self.proxy {
            None => self.server.clone(),
            Some(proxy) => format!("{} through the proxy {proxy}", self.server),
        }
    }
}

fn verified_date(look: &Look) -> Option<Timestamp> {
    if look.is_control_plane() { look.answer.as_ref().ok()?.date } else { None }
}

/// Judges the way; nothing is said of what was not looked at.
pub(super) fn judge(facts: &WayFacts) -> Vec<Finding> {
    match (&facts.not_dialled, facts.credentials) {
        (Some(DialError::ProxyAuthentication { demand: Demand::Missing, proxy, .. }), Credentials::InVault) => {
            let what = format!("the proxy {proxy} wants a password that is in the vault, which only the daemon opens");
            let advice = "look at the daemon's own last examination: postern-gateway status --json, under doctor";
            return vec![Id::ProxyAuth.warning(what, "so the way behind the proxy was not looked at", advice)];
        }
        (Some(error), _) => return vec![dialling::judge(error)],
        (None, _) => {}
    }
    let Some(look) = &facts.tunnel else { return Vec::new() };
    let finding = match look.trust {
        Trust::Good => behind(facts, look),
        Trust::OutOfTime => out_of_time(facts, look),
        Trust::OtherAuthority => portal(facts).unwrap_or_else(|| intercepted(facts, look)),
        Trust::OtherKey => wrong_pin(facts, look),
        Trust::OtherName => other_name(facts, look),
        Trust::Unseen => unseen(facts, look),
    };
    vec![finding]
}

/// The peer is the control plane.
fn behind(facts: &WayFacts, look: &Look) -> Finding {
    let silence = match &look.answer {
        Ok(answer) => return answered(facts, answer),
        Err(silence) => silence,
    };
    if let (Silence::Stalled | Silence::Unanswered, Some(finding)) = (silence, black_hole(facts)) {
        return finding;
    }
    let whom = facts.whom();
    match silence {
        Silence::Alert(AlertDescription::CertificateExpired) => Id::CertificateExpired.fault(
            "the control plane refuses this gateway's certificate: it has expired",
            format!("{whom} said so in the TLS handshake"),
            "the daemon renews it by itself; when that fails, an admin opens the window for late renewals in the console, or enrols this \
             gateway anew",
        ),
        Silence::Alert(alert) => {
            super::daemon::revoked(&format!("{whom} refuses this gateway's certificate in the TLS handshake: {alert:?}"))
        }
        Silence::Alpn
        | Silence::Broke(_)
        | Silence::Http(_)
        | Silence::NotTls
        | Silence::Refused(_)
        | Silence::Stalled
        | Silence::Unanswered => unwell(&whom, &crate::chain(silence)),
    }
}

fn answered(facts: &WayFacts, answer: &Answer) -> Finding {
    let whom = facts.whom();
    if let Some((oldest, newest)) = answer.versions
        && (PROTOCOL_VERSION < oldest || OLDEST_PROTOCOL_VERSION > newest)
    {
        return super::daemon::no_common_version(format!(
            "it speaks {oldest} to {newest}, this gateway {OLDEST_PROTOCOL_VERSION} to {PROTOCOL_VERSION}"
        ));
    }
    match answer.status {
        403 if answer.detail.contains(farewell::QUARANTINED) => super::daemon::quarantined(&answer.detail),
        401 | 403 => super::daemon::revoked(&answer.detail),
        500.. => unwell(&whom, &format!("it answers {} {}", answer.status, answer.detail)),
        _ => good("way", "the control plane can be reached, and lets this gateway in", whom),
    }
}

fn unwell(whom: &str, evidence: &str) -> Finding {
    let advice = "look at the control plane's own log and readiness (/readyz); nothing is to be done at this gateway";
    Id::ControlPlaneUnwell.fault("the control plane is there and does not answer as it should", format!("{whom}: {evidence}"), advice)
}

/// A stalled exchange that passes in small segments: somewhere long packets are lost, and nobody says so.
fn black_hole(facts: &WayFacts) -> Option<Finding> {
    facts.small.as_ref().filter(|look| look.is_control_plane())?;
    let what = "long packets are lost on the way (MTU black hole)";
    let evidence = format!(
        "the exchange with {} stalled ({} s at most), and passed at once with segments of {} bytes",
        facts.whom(),
        STEP.as_secs(),
        super::probe::SMALL_SEGMENT_BYTES
    );
    let advice = "let ICMP \"fragmentation needed\" and \"packet too big\" pass the firewalls, or clamp the MSS at the VPN or router, or lower \
                  the MTU of this machine's interface";
    Some(Id::MtuBlackhole.fault(what, evidence, advice))
}

/// The peer holds a pinned key, and its certificate is not in time by our clock.
fn out_of_time(facts: &WayFacts, look: &Look) -> Finding {
    let Some(leaf) = outside(&look.presented, facts.now) else { return unwell(&facts.whom(), "its certificate cannot be read") };
    // By its own clock, when it told that; by ours as long as it has not.
    let its_time = facts.clock().map(|clock| facts.now.as_nanos().saturating_add(clock.offset_ms.saturating_mul(1_000_000)));
    let at = its_time.map_or(facts.now, Timestamp::from_nanos);
    let evidence = |how: String| format!("{} shows {}, {how}", facts.whom(), leaf.subject);
    if at > leaf.not_after {
        let ago = span(at.saturating_since(leaf.not_after));
        let advice =
            "an admin renews the control plane's certificate (restart postern-control, or postern-control ca); check its clock, too";
        return Id::CertificateExpired.fault("the control plane's certificate has expired", evidence(format!("expired {ago} ago")), advice);
    }
    if at < leaf.not_before {
        let until = span(leaf.not_before.saturating_since(at));
        let advice = "compare this machine's clock with the control plane's, and set the one that is wrong";
        let evidence = evidence(format!("valid in {until}"));
        return Id::CertificateNotYetValid.fault("the control plane's certificate is not valid yet", evidence, advice);
    }
    let offset = facts.clock().map_or(0, |clock| clock.offset_ms / 1000);
    let (apart, way) = (offset.unsigned_abs(), if offset > 0 { "behind" } else { "ahead" });
    let what = format!("this machine's clock is {apart} s {way}, so that the control plane's certificate seems out of time");
    let evidence = evidence("in time by the control plane's own clock; its key is pinned".to_owned());
    Id::ClockSkew.fault(what, evidence, "let a time service set the clock (timedatectl set-ntp true), and check the host's own clock")
}

/// Returns the certificate that is not in time, of those presented; the first when all are.
fn outside(presented: &[Certificate], now: Timestamp) -> Option<&Certificate> {
    presented.iter().find(|certificate| now < certificate.not_before || now > certificate.not_after).or(presented.first())
}

fn shown(look: &Look) -> (String, String) {
    let leaf = look.presented.first();
    // The last one shown names who vouches for all of them.
    let root = look.presented.last();
    (leaf.map_or_else(String::new, |leaf| leaf.subject.clone()), root.map_or_else(|| "nobody".to_owned(), |root| root.issuer.clone()))
}

fn intercepted(facts: &WayFacts, look: &Look) -> Finding {
    let (subject, issuer) = shown(look);
    let what = format!("something on the way terminates TLS: the certificate there was issued by {issuer}");
    let evidence = format!("{} shows {subject}, issued by {issuer}, not by the control plane's authority", facts.whom());
    let advice = format!("have {} excepted from TLS inspection: the tunnel must reach the control plane unopened", facts.server);
    Id::TlsIntercepted.fault(what, evidence, advice)
}

fn wrong_pin(facts: &WayFacts, look: &Look) -> Finding {
    let (subject, issuer) = shown(look);
    let advice = "when the control plane's key was replaced without a pin pushed before, move the identity directory away and enrol anew; \
                  else somebody holds a certificate of its authority: tell its admin at once";
    let evidence = format!("{} shows {subject}, issued by {issuer}, whose key this gateway does not know", facts.whom());
    Id::WrongPin.fault("the control plane's key is none of the pinned ones", evidence, advice)
}

fn other_name(facts: &WayFacts, look: &Look) -> Finding {
    let (subject, issuer) = shown(look);
    let evidence = format!("{} shows {subject}, issued by {issuer}", facts.whom());
    let advice = "check server.url and the addresses: they lead to a machine of the same control plane that has another name";
    Id::OtherService.fault("what answers has a certificate for another name", evidence, advice)
}

fn portal(facts: &WayFacts) -> Option<Finding> {
    let plain = facts.plain.as_ref()?;
    if plain.location.is_none() && !plain.is_page {
        return None;
    }
    let sends = plain.location.as_ref().map_or_else(|| "a page".to_owned(), |location| format!("a redirection to {location}"));
    let what = "a sign-in page or block page answers in place of the control plane (captive portal)";
    let evidence = format!("plain HTTP to {} is answered {} with {sends}", facts.server, plain.status);
    let advice = "sign this machine in at that network's portal, or have it excepted there";
    Some(Id::CaptivePortal.fault(what, evidence, advice))
}

/// No certificate was seen.
fn unseen(facts: &WayFacts, look: &Look) -> Finding {
    let whom = facts.whom();
    let silence = match &look.answer {
        // Without a certificate there is no handshake, so no answer.
        Ok(answer) => return answered(facts, answer),
        Err(silence) => silence,
    };
    if let Some(finding) = black_hole(facts).or_else(|| portal(facts)) {
        return finding;
    }
    let evidence = format!("{whom}: {}", crate::chain(silence));
    match silence {
        Silence::Stalled | Silence::Unanswered => Id::TimedOut.fault(
            "the connection opens, and then nothing comes",
            evidence,
            "a firewall on the way swallows TLS: have it let TLS to this host and port pass unopened",
        ),
        Silence::Broke(_) | Silence::Http(_) => Id::TlsCut.fault(
            "the connection opens, and is cut off in the TLS handshake",
            evidence,
            "a firewall on the way cuts TLS that it does not know (by name or ALPN): have it let TLS to this host and port pass unopened",
        ),
        Silence::Alert(_) | Silence::Alpn | Silence::NotTls | Silence::Refused(_) => Id::OtherService.fault(
            "what answers at the control plane's address is something else, or a device that terminates TLS",
            evidence,
            "check server.url, the addresses and DNS; have the host excepted from TLS inspection",
        ),
    }
}

#[cfg(test)]
#[path = "way_tests.rs"]
mod tests;
