//! The canary's trap and syslog line as events: decoded as the receivers do, for rules to be rehearsed with.

use std::net::{IpAddr, Ipv4Addr};

use postern_engine::event::{Body, Event, Transport};
use postern_engine::snmp;
use postern_engine::syslog::{self, Context};
use postern_protocol::alert::Authenticity;
use postern_protocol::timestamp::Timestamp;

use super::{MARK_CHARS, NUMBER_CHARS, Path, message};
use crate::site::Site;

/// Where specimens come from.
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Decodes one of each by what `site` says; `None` when a decoder refuses it.
pub(crate) fn events(site: &Site, received: Timestamp) -> Option<Vec<Event>> {
    let text = "0".repeat(MARK_CHARS + NUMBER_CHARS);
    let trap = snmp::decode(&message::of(Path::SnmpTrap, &text)).ok()?.notification;
    let line = syslog::decode(&message::of(Path::SyslogUdp, &text), &Context { received, zone: site.zone(PEER) }).ok()?;
    let event = |body, authenticity| Event {
        received,
        peer: PEER,
        transport: Transport::Udp,
        authenticity,
        relay: site.trusts_relay(PEER).then_some(PEER),
        tls_name: None,
        body,
    };
    Some(vec![event(Body::Notification(trap), Authenticity::Community), event(Body::Syslog(line), Authenticity::None)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_engine::alert::AlertEngine;
    use postern_engine::rule::RuleIndex;

    #[test]
    fn rules_decide_about_specimens_and_nothing_comes_of_it() {
        let events = events(&Site::default(), Timestamp::from_secs(1_800_000_000)).unwrap();
        let engine = AlertEngine::new(RuleIndex::built_in().unwrap());
        let deciding: Vec<usize> = events.iter().map(|event| engine.rehearse(event)).collect();
        assert_eq!(deciding[0], 1, "the built-in rules catch every trap");
        assert_eq!((engine.open_count(), engine.unknown_oids().len(), engine.has_changes()), (0, 0, false));
    }
}
