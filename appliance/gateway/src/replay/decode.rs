//! From a ring entry back to its events, by the same decoders as the first time. What is not asked again is whether a message is fresh: it
//! was. Retransmitted informs and repeated pushes are recognised as they were.

use std::net::SocketAddr;
use std::sync::Arc;

use postern_engine::event::{Event, Transport};
use postern_engine::push;
use postern_engine::snmp;
use postern_engine::snmp::engine_id::EngineId;
use postern_engine::snmp::usm::{LocalEngine, Outcome, Usm};
use postern_engine::syslog::{self, Context};
use postern_protocol::alert::Authenticity;
use postern_protocol::timestamp::Timestamp;

use crate::intake::Digests;
use crate::pipeline::seen::{PushSighting, Seen, Sighting};
use crate::proxy::Peer;
use crate::proxy::credential::Channel;
use crate::proxy::push::Sender as Pusher;
use crate::receivers::snmp_trap;
use crate::receivers::syslog::Sender;
use crate::ring::entry::{Entry, Way};
use crate::site::Site;

/// Version number of SNMPv3 in a message (RFC 3412 §6).
const SNMP_V3: i64 = 3;

/// An entry that does not decode: its keys are no longer here, or it was none (of a capture).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Undecodable;

/// The decoder of a replay.
pub(crate) struct Decoder {
    site: Arc<Site>,
    /// Without our own engine SNMPv3 is not decoded.
    usm: Option<Usm>,
    digests: Digests,
    seen: Seen,
}

impl Decoder {
    /// Makes one that goes by `site`; `own` is our SNMP engine, for informs.
    pub(crate) fn new(site: Arc<Site>, own: Option<EngineId>) -> Self {
        // Nothing of an inform's answer is ever sent: neither boots nor salt matter.
        let local = |engine| LocalEngine { engine, boots: 1, started: Timestamp::default(), salt: 0 };
        let usm = own.map(|engine| Usm::for_replay(local(engine), Arc::clone(site.users())));
        Self { site, usm, digests: Digests::new(&[0; 32]), seen: Seen::new() }
    }

    /// Returns the events of an entry; none when it only repeats another.
    ///
    /// # Errors
    /// [`Undecodable`].
    pub(crate) fn decode(&mut self, entry: &Entry<'_>) -> Result<Vec<Event>, Undecodable> {
        self.seen.prune(entry.received);
        // Nothing of it is to be kept.
        self.seen.take_fresh();
        match entry.way {
            Way::PushPlain => self.push(entry, Channel::Plain),
            Way::PushTls => self.push(entry, Channel::Tls),
            Way::SnmpTrap => self.trap(entry),
            Way::SyslogTcp => self.line(entry, Transport::Tcp),
            Way::SyslogTls => self.line(entry, Transport::Tls),
            Way::SyslogUdp => self.line(entry, Transport::Udp),
        }
    }

    fn line(&self, entry: &Entry<'_>, transport: Transport) -> Result<Vec<Event>, Undecodable> {
        let context = Context { received: entry.received, zone: self.site.zone(entry.peer) };
        let message = syslog::decode(entry.bytes, &context).map_err(|_| Undecodable)?;
        let authenticity = if entry.is_certified { Authenticity::Tls } else { Authenticity::None };
        let tls_name = entry.tls_name.map(str::to_owned);
        let sender = Sender { source: entry.peer, relay: entry.relay, transport, authenticity, tls_name };
        Ok(vec![sender.event(message, entry.received)])
    }

    fn trap(&mut self, entry: &Entry<'_>) -> Result<Vec<Event>, Undecodable> {
        let peer = SocketAddr::new(entry.peer, entry.port);
        let (authenticity, notification, inform) = match snmp::version(entry.bytes) {
            Ok(SNMP_V3) => {
                let usm = self.usm.as_mut().ok_or(Undecodable)?;
                let outcome = usm.process(entry.bytes, entry.peer, entry.received).map_err(|_| Undecodable)?;
                let Outcome::Notification(taken) = outcome else { return Err(Undecodable) };
                let message = (&*taken.user, taken.scoped_pdu.as_slice());
                let inform = taken.response.as_ref().map(|_| snmp_trap::inform_3_digest(&self.digests, entry.peer, message));
                (snmp_trap::authenticity(taken.level), taken.notification, inform)
            }
            Ok(_) => {
                let message = snmp::decode(entry.bytes).map_err(|_| Undecodable)?;
                let is_inform = message.kind == snmp::Kind::Inform;
                let inform = is_inform.then(|| snmp_trap::inform_digest(&self.digests, peer, entry.bytes));
                (Authenticity::Community, message.notification, inform)
            }
            Err(_) => return Err(Undecodable),
        };
        if inform.is_some_and(|digest| self.seen.inform(digest, entry.received) == Sighting::Again) {
            return Ok(Vec::new());
        }
        Ok(vec![snmp_trap::event(&self.site, (entry.peer, entry.received), authenticity, notification)])
    }

    fn push(&mut self, entry: &Entry<'_>, channel: Channel) -> Result<Vec<Event>, Undecodable> {
        let pushed = push::decode(entry.bytes, entry.received).map_err(|_| Undecodable)?;
        let count = u32::try_from(pushed.events.len()).unwrap_or(u32::MAX);
        match self.seen.push(entry.signature, entry.idempotency, count, entry.received) {
            PushSighting::First => {}
            PushSighting::Full | PushSighting::KeyReused | PushSighting::Repeated(_) | PushSighting::Replayed => return Ok(Vec::new()),
        }
        let peer = Peer { source: entry.peer, relay: entry.relay };
        let sender = Pusher { received: entry.received, peer, channel, key: entry.tls_name.unwrap_or_default() };
        Ok(pushed.events.into_iter().map(|event| sender.event(event)).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use postern_engine::ber::{self, Writer};
    use postern_engine::event::Body;
    use postern_protocol::oid::Oid;

    use super::*;

    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

    fn entry(secs: i64, way: Way, bytes: &[u8]) -> Entry<'_> {
        Entry { port: 4000, ..Entry::new(Timestamp::from_secs(secs), way, PEER, bytes) }
    }

    fn decoder() -> Decoder {
        Decoder::new(Arc::new(Site::default()), None)
    }

    /// A v2c inform of linkDown.
    fn inform() -> Vec<u8> {
        let oid = |text: &str| text.parse::<Oid>().unwrap();
        let mut out = Writer::default();
        out.constructed(ber::SEQUENCE, |message| {
            message.integer(ber::INTEGER, 1);
            message.element(ber::OCTET_STRING, b"public");
            message.constructed(0xa6, |pdu| {
                [7, 0, 0].into_iter().for_each(|number| pdu.integer(ber::INTEGER, number));
                pdu.constructed(ber::SEQUENCE, |list| {
                    list.constructed(ber::SEQUENCE, |pair| {
                        pair.oid(&oid("1.3.6.1.2.1.1.3.0"));
                        pair.element(0x43, &[1]);
                    });
                    list.constructed(ber::SEQUENCE, |pair| {
                        pair.oid(&oid("1.3.6.1.6.3.1.1.4.1.0"));
                        pair.oid(&oid("1.3.6.1.6.3.1.1.5.3"));
                    });
                });
            });
        });
        out.into_bytes()
    }

    #[test]
    fn a_retransmitted_inform_is_one_event_and_the_same_bytes_from_another_port_are_another() {
        let (mut decoder, inform) = (decoder(), inform());
        let mut events = |entry: Entry<'_>| decoder.decode(&entry).unwrap().len();
        assert_eq!(events(entry(100, Way::SnmpTrap, &inform)), 1);
        assert_eq!(events(entry(101, Way::SnmpTrap, &inform)), 0);
        assert_eq!(events(Entry { port: 4001, ..entry(102, Way::SnmpTrap, &inform) }), 1);
        assert_eq!(events(entry(900, Way::SnmpTrap, &inform)), 1, "so much later it is no retransmission");
    }

    #[test]
    fn a_line_keeps_what_is_known_of_its_sender() {
        let relay = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let line = Entry { relay, tls_name: Some("CN=sw"), is_certified: true, ..entry(5, Way::SyslogTls, b"<11>app: text") };
        let [event] = decoder().decode(&line).unwrap().try_into().unwrap();
        assert_eq!((event.received, event.peer, event.relay, event.transport), (line.received, PEER, relay, Transport::Tls));
        assert_eq!((event.authenticity, event.tls_name.as_deref()), (Authenticity::Tls, Some("CN=sw")));
        assert!(matches!(event.body, Body::Syslog(message) if message.message == "text"));
    }

    #[test]
    fn a_push_that_was_sent_again_under_its_key_is_one() {
        let body = br#"{"events": [{"resource": "pump-3", "kind": "dry", "severity": "major", "summary": "no water"}]}"#;
        let push = Entry { tls_name: Some("demo"), idempotency: Some((1, 2)), ..entry(5, Way::PushTls, body) };
        let mut decoder = decoder();
        assert_eq!(decoder.decode(&push).unwrap().len(), 1);
        assert_eq!(decoder.decode(&push).unwrap().len(), 0);
        assert_eq!(decoder.decode(&Entry { idempotency: None, ..push }).unwrap().len(), 1);
    }

    #[test]
    fn what_is_no_event_is_told_apart() {
        assert_eq!(decoder().decode(&entry(5, Way::SnmpTrap, b"no snmp")), Err(Undecodable));
        assert_eq!(decoder().decode(&entry(5, Way::SyslogUdp, b"")), Err(Undecodable));
        assert_eq!(decoder().decode(&entry(5, Way::PushPlain, b"{")), Err(Undecodable));
    }
}
