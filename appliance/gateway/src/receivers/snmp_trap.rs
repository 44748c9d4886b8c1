//! From a datagram to a trap or inform with its Response. Sends nothing: the pipeline does when the event is durable.

use std::net::UdpSocket;
use std::sync::Arc;

use postern_engine::event::{Body, Event, Transport};
use postern_engine::ledger::DropReason;
use postern_engine::snmp::{self, DecodeError};
use postern_protocol::alert::Authenticity;

use super::udp::Datagram;
use crate::intake::{Arrival, Digests, Inform};

/// Returns the decoder of one trap socket.
pub(crate) fn decoder(
    socket: Arc<UdpSocket>,
    digests: Digests,
) -> impl FnMut(&Datagram<'_>) -> Result<Arrival, DropReason> + Send + 'static {
    move |datagram| {
        let message = snmp::decode(datagram.bytes).map_err(DecodeError::drop_reason)?;
        let inform = message.response().map(|response| Inform {
            digest: digest(&digests, datagram),
            peer: datagram.peer,
            local: datagram.local,
            response,
            socket: Arc::clone(&socket),
        });
        let event = Event {
            received: datagram.received,
            peer: datagram.source,
            transport: Transport::Udp,
            authenticity: Authenticity::Community,
            relay: None,
            tls_name: None,
            body: Body::Notification(message.notification),
        };
        Ok(Arrival { event, inform })
    }
}

/// A retransmission comes from the same address and port with the same bytes.
fn digest(digests: &Digests, datagram: &Datagram<'_>) -> u64 {
    digests.of(&[b"inform", datagram.peer.to_string().as_bytes(), datagram.bytes])
}
