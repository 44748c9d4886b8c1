//! One datagram, line or push body as it was received, with what its decoder needs to know of how it came. Pure.
//!
//! ```text
//! entry = length of the rest u32 | way u8 | flags u8 | received i64 | peer | port u16
//!         [relay] [TLS name: length u16, bytes] [signature u64] [idempotency key u64, body u64] | bytes as received
//! address = 4 or 16, then as many bytes
//! ```
//! Numbers are little-endian. What a flag does not announce is not there.

use std::net::IpAddr;

use postern_protocol::timestamp::Timestamp;

/// Longest entry: a push body, and room for what is said of it.
pub(crate) const MAX_ENTRY_BYTES: usize = 512 * 1024;

const RELAY: u8 = 1;
const TLS_NAME: u8 = 2;
const CERTIFIED: u8 = 4;
const SIGNATURE: u8 = 8;
const IDEMPOTENCY: u8 = 16;

/// By which listener an entry came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// A push without TLS.
    PushPlain,
    /// A push over TLS.
    PushTls,
    /// An SNMP datagram.
    SnmpTrap,
    /// A line over TCP.
    SyslogTcp,
    /// A line over TLS.
    SyslogTls,
    /// A syslog datagram.
    SyslogUdp,
}

impl Way {
    const ALL: [Self; 6] = [Self::PushPlain, Self::PushTls, Self::SnmpTrap, Self::SyslogTcp, Self::SyslogTls, Self::SyslogUdp];

    const fn number(self) -> u8 {
        match self {
            Self::PushPlain => 1,
            Self::PushTls => 2,
            Self::SnmpTrap => 3,
            Self::SyslogTcp => 4,
            Self::SyslogTls => 5,
            Self::SyslogUdp => 6,
        }
    }

    fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|way| way.number() == number)
    }

    /// Returns the name in output for people.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::PushPlain => "push, plain",
            Self::PushTls => "push, TLS",
            Self::SnmpTrap => "SNMP",
            Self::SyslogTcp => "syslog, TCP",
            Self::SyslogTls => "syslog, TLS",
            Self::SyslogUdp => "syslog, UDP",
        }
    }
}

/// One entry. Deliberately without `Debug` and without an encoder for anything but the ring.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    /// When it was received.
    pub(crate) received: Timestamp,
    /// By which listener.
    pub(crate) way: Way,
    /// The sender.
    pub(crate) peer: IpAddr,
    /// The sender's port; 0 where it tells nothing.
    pub(crate) port: u16,
    /// The balancer that named the sender.
    pub(crate) relay: Option<IpAddr>,
    /// Subject of the client's certificate, or id of the push key.
    pub(crate) tls_name: Option<&'a str>,
    /// Whether the client showed a certificate.
    pub(crate) is_certified: bool,
    /// Digest of a push's signature.
    pub(crate) signature: Option<u64>,
    /// Digests of a push's idempotency key and body.
    pub(crate) idempotency: Option<(u64, u64)>,
    /// As received.
    pub(crate) bytes: &'a [u8],
}

impl<'a> Entry<'a> {
    /// Describes what came from `peer`, about which nothing else is known.
    pub(crate) const fn new(received: Timestamp, way: Way, peer: IpAddr, bytes: &'a [u8]) -> Self {
        Self { received, way, peer, port: 0, relay: None, tls_name: None, is_certified: false, signature: None, idempotency: None, bytes }
    }

    /// Appends the entry to `out`.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let at = out.len();
        let flag = |is_there: bool, flag: u8| if is_there { flag } else { 0 };
        let flags = flag(self.relay.is_some(), RELAY)
            | flag(self.tls_name.is_some(), TLS_NAME)
            | flag(self.is_certified, CERTIFIED)
            | flag(self.signature.is_some(), SIGNATURE)
            | flag(self.idempotency.is_some(), IDEMPOTENCY);
        out.extend_from_slice(&[0, 0, 0, 0, self.way.number(), flags]);
        out.extend_from_slice(&self.received.as_nanos().to_le_bytes());
        address(self.peer, out);
        out.extend_from_slice(&self.port.to_le_bytes());
        if let Some(relay) = self.relay {
            address(relay, out);
        }
        if let Some(name) = self.tls_name {
            // A subject is bounded by its certificate's message; of a longer one the end is not kept.
            let length = u16::try_from(name.len()).unwrap_or(u16::MAX);
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(name.as_bytes().get(..usize::from(length)).unwrap_or_default());
        }
        if let Some(signature) = self.signature {
            out.extend_from_slice(&signature.to_le_bytes());
        }
        if let Some((key, body)) = self.idempotency {
            out.extend_from_slice(&key.to_le_bytes());
            out.extend_from_slice(&body.to_le_bytes());
        }
        out.extend_from_slice(self.bytes);
        let length = u32::try_from(out.len().saturating_sub(at).saturating_sub(4)).unwrap_or(u32::MAX);
        if let Some(place) = out.get_mut(at..at.saturating_add(4)) {
            place.copy_from_slice(&length.to_le_bytes());
        }
    }

    /// Takes the first entry off `input`; `None` when it is none.
    pub(crate) fn decode(input: &mut &'a [u8]) -> Option<Self> {
        let length = usize::try_from(u32::from_le_bytes(take(input)?)).ok()?;
        let (mut rest, after) = input.split_at_checked(length)?;
        *input = after;
        let [way, flags] = take(&mut rest)?;
        let has = |flag| flags & flag != 0;
        let received = Timestamp::from_nanos(i64::from_le_bytes(take(&mut rest)?));
        let peer = take_address(&mut rest)?;
        let port = u16::from_le_bytes(take(&mut rest)?);
        let relay = if has(RELAY) { Some(take_address(&mut rest)?) } else { None };
        let tls_name = if has(TLS_NAME) { Some(take_text(&mut rest)?) } else { None };
        let signature = if has(SIGNATURE) { Some(u64::from_le_bytes(take(&mut rest)?)) } else { None };
        let idempotency = match has(IDEMPOTENCY) {
            true => Some((u64::from_le_bytes(take(&mut rest)?), u64::from_le_bytes(take(&mut rest)?))),
            false => None,
        };
        let (way, is_certified) = (Way::from_number(way)?, has(CERTIFIED));
        Some(Self { received, way, peer, port, relay, tls_name, is_certified, signature, idempotency, bytes: rest })
    }
}

fn address(address: IpAddr, out: &mut Vec<u8>) {
    match address {
        IpAddr::V4(address) => {
            out.push(4);
            out.extend_from_slice(&address.octets());
        }
        IpAddr::V6(address) => {
            out.push(16);
            out.extend_from_slice(&address.octets());
        }
    }
}

fn take<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = input.split_first_chunk::<N>()?;
    *input = rest;
    Some(*first)
}

fn take_address(input: &mut &[u8]) -> Option<IpAddr> {
    match take::<1>(input)? {
        [4] => Some(IpAddr::from(take::<4>(input)?)),
        [16] => Some(IpAddr::from(take::<16>(input)?)),
        _ => None,
    }
}

/// A name that was cut within a character loses that.
fn take_text<'a>(input: &mut &'a [u8]) -> Option<&'a str> {
    let length = usize::from(u16::from_le_bytes(take(input)?));
    let (text, rest) = input.split_at_checked(length)?;
    *input = rest;
    match std::str::from_utf8(text) {
        Ok(text) => Some(text),
        Err(error) => std::str::from_utf8(text.get(..error.valid_up_to())?).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)]
    }

    proptest! {
        #[test]
        fn entries_survive_their_encoding(
            (received, way, peer, port) in (any::<i64>(), 0..Way::ALL.len(), any_address(), any::<u16>()),
            (relay, tls_name, is_certified) in (prop::option::of(any_address()), prop::option::of(".{0,20}"), any::<bool>()),
            (signature, idempotency) in (any::<Option<u64>>(), any::<Option<(u64, u64)>>()),
            bytes in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let (received, way, tls_name) = (Timestamp::from_nanos(received), Way::ALL[way], tls_name.as_deref());
            let entry = Entry { received, way, peer, port, relay, tls_name, is_certified, signature, idempotency, bytes: &bytes };
            let mut encoded = Vec::new();
            entry.encode(&mut encoded);
            let second = encoded.len();
            entry.encode(&mut encoded);
            let mut input = encoded.as_slice();
            prop_assert!(Entry::decode(&mut input) == Some(entry));
            prop_assert_eq!(input.len(), encoded.len() - second);
            prop_assert!(Entry::decode(&mut input) == Some(entry) && input.is_empty());
        }

        #[test]
        fn whatever_bytes_there_are_decoding_ends(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut input = bytes.as_slice();
            while Entry::decode(&mut input).is_some() {}
        }
    }
}
