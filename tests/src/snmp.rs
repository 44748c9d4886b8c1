//! SNMP messages made by hand, for what net-snmp cannot send: thousands at a time, retransmissions, and damage.

// An inform that nobody acknowledges ends the test.
#![allow(clippy::indexing_slicing, clippy::missing_panics_doc, clippy::panic, clippy::unwrap_used)]

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// PDU tag of the answer to an inform (RFC 3416 §3).
pub const RESPONSE: u8 = 0xa2;
/// PDU tag of an inform.
pub const INFORM: u8 = 0xa6;
/// PDU tag of an SNMPv2 trap.
pub const TRAP_V2: u8 = 0xa7;

/// IF-MIB's linkDown (RFC 2863).
pub const LINK_DOWN: &[u32] = &[1, 3, 6, 1, 6, 3, 1, 1, 5, 3];
/// IF-MIB's linkUp.
pub const LINK_UP: &[u32] = &[1, 3, 6, 1, 6, 3, 1, 1, 5, 4];

/// A TLV with the shortest length (X.690 §8.1.3).
pub fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match content.len() {
        short @ 0..=127 => out.push(u8::try_from(short).unwrap()),
        long => {
            let bytes: Vec<u8> = long.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
            out.push(0x80 | u8::try_from(bytes.len()).unwrap());
            out.extend(bytes);
        }
    }
    out.extend(content);
    out
}

/// An INTEGER in its shortest form.
pub fn integer(value: i64) -> Vec<u8> {
    tlv(2, &shortest(value))
}

fn shortest(value: i64) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let spare = (0..7).take_while(|at| match (bytes[*at], bytes[at + 1] & 0x80) {
        (0, 0) => true,
        (0xff, sign) => sign != 0,
        _ => false,
    });
    bytes[spare.count()..].to_vec()
}

/// An OBJECT IDENTIFIER.
pub fn oid(numbers: &[u32]) -> Vec<u8> {
    let mut out = Vec::new();
    for number in std::iter::once(numbers[0] * 40 + numbers[1]).chain(numbers[2..].iter().copied()) {
        let mut septets = vec![(number & 0x7f) as u8];
        let mut rest = number >> 7;
        while rest > 0 {
            septets.push(0x80 | (rest & 0x7f) as u8);
            rest >>= 7;
        }
        out.extend(septets.iter().rev());
    }
    tlv(6, &out)
}

/// A name and its encoded value.
pub fn varbind(name: &[u32], value: &[u8]) -> Vec<u8> {
    tlv(0x30, &[oid(name), value.to_vec()].concat())
}

/// A whole v2c message: sysUpTime.0, snmpTrapOID.0, then `varbinds`.
pub fn message(pdu: u8, request_id: i32, trap_oid: &[u32], varbinds: &[Vec<u8>]) -> Vec<u8> {
    let mut list = varbind(&[1, 3, 6, 1, 2, 1, 1, 3, 0], &tlv(0x43, &[1]));
    list.extend(varbind(&[1, 3, 6, 1, 6, 3, 1, 1, 4, 1, 0], &oid(trap_oid)));
    list.extend(varbinds.concat());
    let body = [integer(request_id.into()), integer(0), integer(0), tlv(0x30, &list)].concat();
    tlv(0x30, &[integer(1), tlv(4, b"public"), tlv(pdu, &body)].concat())
}

/// linkDown or linkUp with its ifIndex.
pub fn link(pdu: u8, request_id: i32, trap_oid: &[u32], if_index: u32) -> Vec<u8> {
    let index = varbind(&[1, 3, 6, 1, 2, 1, 2, 2, 1, 1, if_index], &integer(if_index.into()));
    message(pdu, request_id, trap_oid, &[index])
}

/// What became of a volley of informs.
#[derive(Debug, Default)]
pub struct Volley {
    /// Informs with a Response.
    pub acknowledged: usize,
    /// Datagrams sent again.
    pub retransmitted: usize,
}

/// Sends informs as a careful device does: a window, and each again until it is acknowledged.
pub struct Sender {
    socket: UdpSocket,
    window: usize,
    retry_after: Duration,
}

impl Sender {
    /// Opens a socket towards `to`.
    pub fn new(to: SocketAddr) -> Self {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.connect(to).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        Self { socket, window: 64, retry_after: Duration::from_secs(1) }
    }

    /// Sends one datagram without waiting for anything.
    pub fn send(&self, datagram: &[u8]) {
        self.socket.send(datagram).unwrap();
    }

    /// Sends what will be sent again if need be: an error may be an earlier datagram's, to a host that is away for a moment.
    fn try_send(&self, datagram: &[u8]) {
        drop(self.socket.send(datagram));
    }

    /// Sends linkDown informs for these interfaces until all are acknowledged; `between` is called again and again with the number
    /// acknowledged so far.
    pub fn inform(&self, interfaces: impl Iterator<Item = u32>, deadline: Duration, between: impl FnMut(usize)) -> Volley {
        self.inform_of(LINK_DOWN, interfaces, deadline, between)
    }

    /// The same with another notification about interfaces.
    pub fn inform_of(
        &self,
        trap_oid: &[u32],
        interfaces: impl Iterator<Item = u32>,
        deadline: Duration,
        mut between: impl FnMut(usize),
    ) -> Volley {
        let start = Instant::now();
        let mut waiting: HashMap<Vec<u8>, (Vec<u8>, Instant)> = HashMap::new();
        let mut interfaces = interfaces.enumerate();
        let mut volley = Volley::default();
        let mut buffer = vec![0; 2048];
        loop {
            while waiting.len() < self.window {
                let Some((at, if_index)) = interfaces.next() else { break };
                let request_id = i32::try_from(at).unwrap() + 1;
                let inform = link(INFORM, request_id, trap_oid, if_index);
                self.try_send(&inform);
                // RFC 3416 §4.2.7: the same request-id and varbinds, error-status 0: the same bytes but for the tag.
                waiting.insert(link(RESPONSE, request_id, trap_oid, if_index), (inform, Instant::now()));
            }
            if waiting.is_empty() {
                return volley;
            }
            if let Ok(length) = self.socket.recv(&mut buffer) {
                volley.acknowledged += usize::from(waiting.remove(&buffer[..length]).is_some());
            }
            for (inform, sent) in waiting.values_mut().filter(|(_, sent)| sent.elapsed() > self.retry_after) {
                self.try_send(inform);
                *sent = Instant::now();
                volley.retransmitted += 1;
            }
            between(volley.acknowledged);
            assert!(start.elapsed() < deadline, "{} informs are not acknowledged after {deadline:?}; {volley:?}", waiting.len());
        }
    }
}
