//! Who reported an event: the name that alerts carry, and the evidence for it.

use std::borrow::Cow;
use std::net::IpAddr;

use postern_protocol::alert::Evidence;

use super::field::{Released, cut};
use crate::event::{Body, Event, SyslogMessage};

/// Most bytes of a certificate's subject in evidence.
pub(crate) const MAX_TLS_NAME_BYTES: usize = 256;

/// Returns the best name of the sender: the push key or the client certificate of a push, HOSTNAME of a syslog message, else the
/// peer's address. A trap's own claim of an address is evidence, never the name.
pub(super) fn source(event: &Event) -> Cow<'_, str> {
    match chosen(event) {
        (_, Some(name)) => Cow::Borrowed(name),
        (_, None) => Cow::Owned(event.peer.to_string()),
    }
}

/// Returns the evidence that an alert carries. HOSTNAME is in it only when one of `released` releases it.
pub(super) fn evidence(event: &Event, hostname: Option<&Released>) -> Evidence {
    let (trap_address, conflict) = match &event.body {
        Body::Notification(trap) => (trap.trap_address, trap.trap_address.is_some_and(|claimed| claimed != event.peer)),
        Body::Push(_) => (None, false),
        Body::Syslog(message) => (None, claims_another_address(message, event.peer)),
    };
    let hostname = hostname.and_then(|released| Some(cut(host(event)?, released.max_bytes)));
    Evidence {
        peer: event.peer.to_string(),
        trap_address: trap_address.map(|address| address.to_string()).unwrap_or_default(),
        engine_id: String::new(),
        hostname: hostname.unwrap_or_default(),
        tls_name: event.tls_name.as_deref().map(|name| cut(name, MAX_TLS_NAME_BYTES)).unwrap_or_default(),
        transport: event.transport.name().to_owned(),
        authenticity: event.authenticity,
        chosen_by: chosen(event).0.to_owned(),
        conflict,
    }
}

/// Returns what named the source, and the name unless it is the peer's address.
fn chosen(event: &Event) -> (&'static str, Option<&str>) {
    let named = match &event.body {
        Body::Notification(_) => None,
        Body::Push(_) => event.tls_name.as_deref().map(|name| ("push", name)),
        Body::Syslog(_) => host(event).map(|host| ("hostname", host)),
    };
    match named.filter(|(_, name)| !name.is_empty()) {
        Some((by, name)) => (by, Some(name)),
        None => ("peer", None),
    }
}

fn host(event: &Event) -> Option<&str> {
    match &event.body {
        Body::Syslog(message) => message.host.as_deref(),
        Body::Notification(_) | Body::Push(_) => None,
    }
}

fn claims_another_address(message: &SyslogMessage, peer: IpAddr) -> bool {
    message.host.as_deref().and_then(|host| host.parse::<IpAddr>().ok()).is_some_and(|claimed| claimed.to_canonical() != peer)
}
