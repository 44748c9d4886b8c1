//! Who reported an event: the name that alerts carry, and the evidence for it, side by side.
//!
//! | event | named by, the first that is there |
//! |---|---|
//! | trap, inform | `trap_address`, when the peer is a relay that the site trusts; `peer` |
//! | syslog | `hostname`; `tls_name` of a client certificate; `peer` |
//! | push | `push`, the key's id; `peer` |
//!
//! What an untrusted sender writes into a trap is evidence, never the name. Two facts that disagree are a conflict, and choosing one
//! of them makes it no smaller.

use std::borrow::Cow;
use std::net::IpAddr;

use postern_protocol::alert::Evidence;

use super::field::{Released, cut};
use crate::event::{Body, Event, Notification, SyslogMessage};
use crate::value;

/// Most bytes of a certificate's subject in evidence.
pub(crate) const MAX_TLS_NAME_BYTES: usize = 256;

/// Most bytes of an engine ID (RFC 3411 §5: SnmpEngineID has 5 to 32 octets).
const MAX_ENGINE_ID_BYTES: usize = 32;

/// Who sent an event, told apart without a copy of the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender<'a> {
    /// An address is its name.
    Address(IpAddr),
    /// It has a name of its own.
    Name(&'a str),
}

/// Returns who sent `event`, and from where.
pub(crate) fn sender(event: &Event) -> (Sender<'_>, IpAddr) {
    let sender = match chosen(event) {
        Chosen::Hostname(name) | Chosen::Push(name) | Chosen::TlsName(name) => Sender::Name(name),
        Chosen::Peer(address) | Chosen::TrapAddress(address) => Sender::Address(address),
    };
    (sender, address(event))
}

/// Returns the best name of the sender.
pub(super) fn source(event: &Event) -> Cow<'_, str> {
    match chosen(event) {
        Chosen::Hostname(name) | Chosen::Push(name) | Chosen::TlsName(name) => Cow::Borrowed(name),
        Chosen::Peer(address) | Chosen::TrapAddress(address) => Cow::Owned(value::address(address)),
    }
}

/// Returns the address to which networks of the document's facts are held: the sender's, or the one that a trusted relay names.
pub(super) fn address(event: &Event) -> IpAddr {
    match &event.body {
        Body::Notification(Notification { trap_address: Some(address), .. }) if forwards(event) => *address,
        Body::Notification(_) | Body::Push(_) | Body::Syslog(_) => event.peer,
    }
}

/// Returns the evidence that an alert carries. HOSTNAME is in it only when one of `released` releases it.
pub(super) fn evidence(event: &Event, hostname: Option<&Released>) -> Evidence {
    let (trap_address, engine_id) = match &event.body {
        Body::Notification(trap) => (trap.trap_address, trap.engine_id.as_deref()),
        Body::Push(_) | Body::Syslog(_) => (None, None),
    };
    let hostname = hostname.and_then(|released| Some(cut(host(event)?.to_owned(), released.max_bytes)));
    let address = |address: Option<IpAddr>| address.map(value::address).unwrap_or_default();
    Evidence {
        peer: value::address(event.peer),
        trap_address: address(trap_address),
        engine_id: engine_id.map(hexadecimal).unwrap_or_default(),
        hostname: hostname.unwrap_or_default(),
        tls_name: event.tls_name.as_deref().map(|name| cut(name.to_owned(), MAX_TLS_NAME_BYTES)).unwrap_or_default(),
        transport: event.transport.name().to_owned(),
        authenticity: event.authenticity,
        relay: address(event.relay),
        chosen_by: chosen(event).name().to_owned(),
        conflict: conflict(event),
    }
}

/// What named the source.
enum Chosen<'a> {
    Hostname(&'a str),
    Peer(IpAddr),
    Push(&'a str),
    TlsName(&'a str),
    TrapAddress(IpAddr),
}

impl Chosen<'_> {
    const fn name(&self) -> &'static str {
        match self {
            Self::Hostname(_) => "hostname",
            Self::Peer(_) => "peer",
            Self::Push(_) => "push",
            Self::TlsName(_) => "tls_name",
            Self::TrapAddress(_) => "trap_address",
        }
    }
}

fn chosen(event: &Event) -> Chosen<'_> {
    let proven = event.tls_name.as_deref().filter(|name| !name.is_empty());
    let named = match &event.body {
        Body::Notification(trap) => trap.trap_address.filter(|_| forwards(event)).map(Chosen::TrapAddress),
        Body::Push(_) => proven.map(Chosen::Push),
        Body::Syslog(_) => host(event).map(Chosen::Hostname).or(proven.map(Chosen::TlsName)),
    };
    named.unwrap_or(Chosen::Peer(event.peer))
}

/// Tells whether the peer is a relay whose word about the sender the site believes.
fn forwards(event: &Event) -> bool {
    event.relay == Some(event.peer)
}

fn host(event: &Event) -> Option<&str> {
    match &event.body {
        Body::Syslog(message) => message.host.as_deref().filter(|host| !host.is_empty()),
        Body::Notification(_) | Body::Push(_) => None,
    }
}

fn conflict(event: &Event) -> bool {
    match &event.body {
        Body::Notification(trap) => !forwards(event) && names_another(trap, event.peer),
        Body::Push(_) => false,
        Body::Syslog(message) => {
            claims_another_address(message, event.peer)
                || event.tls_name.as_deref().is_some_and(|proven| claims_another_name(message, proven))
        }
    }
}

fn names_another(trap: &Notification, peer: IpAddr) -> bool {
    trap.trap_address.is_some_and(|claimed| claimed.to_canonical() != peer)
}

fn claims_another_address(message: &SyslogMessage, peer: IpAddr) -> bool {
    message.host.as_deref().and_then(|host| host.parse::<IpAddr>().ok()).is_some_and(|claimed| claimed.to_canonical() != peer)
}

/// Tells whether HOSTNAME is a name other than the proven one. `core-1` is `core-1.example.com`: devices write either.
fn claims_another_name(message: &SyslogMessage, proven: &str) -> bool {
    let Some(claimed) = message.host.as_deref().filter(|host| !host.is_empty() && host.parse::<IpAddr>().is_err()) else { return false };
    if proven.is_empty() {
        return false;
    }
    let whole = |name: &str| name.trim_end_matches('.').to_ascii_lowercase();
    let (claimed, proven) = (whole(claimed), whole(proven));
    let begins = |long: &str, short: &str| long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    let short = |name: &str| !name.contains('.');
    !(claimed == proven || (short(&claimed) && begins(&proven, &claimed)) || (short(&proven) && begins(&claimed, &proven)))
}

fn hexadecimal(engine_id: &[u8]) -> String {
    engine_id.iter().take(MAX_ENGINE_ID_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Transport;
    use postern_protocol::alert::Authenticity;
    use postern_protocol::timestamp::Timestamp;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn event(body: Body) -> Event {
        Event {
            received: Timestamp::from_secs(0),
            peer: address("10.0.0.7"),
            transport: Transport::Udp,
            authenticity: Authenticity::None,
            relay: None,
            tls_name: None,
            body,
        }
    }

    fn trap(claimed: Option<&str>) -> Event {
        event(Body::Notification(Notification {
            trap_oid: "1.3.6.1.6.3.1.1.5.3".parse().unwrap(),
            uptime: 0,
            trap_address: claimed.map(address),
            engine_id: None,
            varbinds: vec![],
        }))
    }

    fn syslog(host: Option<&str>, tls_name: Option<&str>) -> Event {
        let message = SyslogMessage { host: host.map(str::to_owned), ..SyslogMessage::default() };
        Event { tls_name: tls_name.map(str::to_owned), ..event(Body::Syslog(message)) }
    }

    fn facts(event: &Event) -> (String, String, bool) {
        let evidence = evidence(event, None);
        (source(event).into_owned(), evidence.chosen_by, evidence.conflict)
    }

    fn fact(source: &str, by: &str, conflict: bool) -> (String, String, bool) {
        (source.to_owned(), by.to_owned(), conflict)
    }

    #[test]
    fn an_address_in_a_trap_names_the_sender_only_when_a_trusted_relay_wrote_it() {
        let claimed = trap(Some("192.0.2.9"));
        assert_eq!(facts(&claimed), fact("10.0.0.7", "peer", true));
        let relayed = Event { relay: Some(claimed.peer), ..claimed.clone() };
        assert_eq!(facts(&relayed), fact("192.0.2.9", "trap_address", false));
        assert_eq!((evidence(&relayed, None).peer, evidence(&relayed, None).relay), ("10.0.0.7".to_owned(), "10.0.0.7".to_owned()));
        let own = Event { relay: Some(claimed.peer), ..trap(None) };
        assert_eq!(facts(&own), fact("10.0.0.7", "peer", false), "a relay's own trap");
        assert_eq!(facts(&trap(Some("10.0.0.7"))), fact("10.0.0.7", "peer", false));
        assert_eq!(facts(&trap(Some("::ffff:10.0.0.7"))), fact("10.0.0.7", "peer", false));
    }

    #[test]
    fn an_engine_id_is_evidence_in_hexadecimal() {
        let mut event = trap(None);
        let Body::Notification(trap) = &mut event.body else { panic!("it is a trap") };
        trap.engine_id = Some(vec![0x80, 0, 0x1f, 0x88, 4]);
        assert_eq!(evidence(&event, None).engine_id, "80001f8804");
        assert_eq!(facts(&event), fact("10.0.0.7", "peer", false));
    }

    #[test]
    fn a_line_is_named_by_its_host_then_by_its_certificate_then_by_its_address() {
        assert_eq!(facts(&syslog(Some("core-1"), Some("core-1.example.com"))), fact("core-1", "hostname", false));
        assert_eq!(facts(&syslog(None, Some("core-1.example.com"))), fact("core-1.example.com", "tls_name", false));
        assert_eq!(facts(&syslog(None, None)), fact("10.0.0.7", "peer", false));
    }

    #[test]
    fn a_host_that_is_another_address_or_another_name_than_the_proven_one_is_a_conflict() {
        assert_eq!(facts(&syslog(Some("10.9.9.9"), None)), fact("10.9.9.9", "hostname", true));
        assert!(!facts(&syslog(Some("10.0.0.7"), Some("core-1"))).2);
        for (host, proven, conflict) in [
            ("core-1", "core-2", true),
            ("core-1.example.com", "core-1.example.net", true),
            ("core-1", "core-10.example.com", true),
            ("CORE-1.example.com.", "core-1.example.com", false),
            ("core-1.example.com", "core-1", false),
        ] {
            assert_eq!(facts(&syslog(Some(host), Some(proven))).2, conflict, "{host} {proven}");
        }
    }

    #[test]
    fn a_balancer_that_named_the_client_is_told_beside_it() {
        let event = Event { relay: Some(address("10.0.0.1")), ..syslog(None, None) };
        let evidence = evidence(&event, None);
        assert_eq!((evidence.peer.as_str(), evidence.relay.as_str(), evidence.chosen_by.as_str()), ("10.0.0.7", "10.0.0.1", "peer"));
    }
}
