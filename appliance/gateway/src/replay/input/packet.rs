//! From captured packets to datagrams: link headers off, IP fragments together, UDP to one of the ports that count.

use std::collections::HashMap;
use std::net::IpAddr;

use etherparse::defrag::IpDefragPool;
use etherparse::{EtherType, IpNumber, Ipv6ExtensionSlice, NetSlice, SlicedPacket, TransportSlice, UdpSlice};
use postern_protocol::timestamp::Timestamp;

use super::{Item, Reading};
use crate::ring::entry::{Entry, Way};

/// Link types of captures (the registry of tcpdump.org).
const NULL: i32 = 0;
const ETHERNET: i32 = 1;
const RAW: [i32; 5] = [12, 14, 101, 228, 229];
const LOOP: i32 = 108;
const LINUX_SLL: i32 = 113;
const LINUX_SLL2: i32 = 276;

/// Bytes before the packet: of BSD's loopback, and of Linux's second cooked form.
const LOOPBACK_BYTES: usize = 4;
const SLL2_BYTES: usize = 20;

/// How long the rest of a fragmented datagram is waited for (RFC 1122 §3.3.2), by the capture's clock.
const FRAGMENT_NANOS: i64 = 60 * 1_000_000_000;

/// After so many fragments the pool is looked through for what will not be whole any more.
const SWEEP_EVERY: usize = 1_024;

/// Takes packets, gives datagrams.
pub(super) struct Packets<'r> {
    reading: &'r Reading,
    fragments: IpDefragPool<i64, ()>,
    /// Datagrams of which fragments came, and when the last one did.
    open: HashMap<Fragmented, i64>,
    taken: usize,
}

/// Source, destination and identification of a fragmented datagram.
type Fragmented = (IpAddr, IpAddr, u32);

impl<'r> Packets<'r> {
    pub(super) fn new(reading: &'r Reading) -> Self {
        Self { reading, fragments: IpDefragPool::new(), open: HashMap::new(), taken: 0 }
    }

    /// Takes one packet; what is no UDP, or goes elsewhere, is passed over.
    pub(super) fn take(&mut self, at: Timestamp, link: i32, bytes: &[u8], visit: &mut dyn FnMut(Item<'_>)) {
        let Some(packet) = slice(link, bytes) else { return visit(Item::Undecodable) };
        let source = match &packet.net {
            Some(NetSlice::Ipv4(ip)) => IpAddr::from(ip.header().source()),
            Some(NetSlice::Ipv6(ip)) => IpAddr::from(ip.header().source()),
            Some(NetSlice::Arp(_)) | None => return,
        };
        if packet.is_ip_payload_fragmented() {
            return self.fragment(at, (&packet, source), visit);
        }
        if let Some(TransportSlice::Udp(udp)) = &packet.transport {
            self.datagram(at, source, udp, visit);
        }
    }

    /// Counts the datagrams that are not whole.
    pub(super) fn end(mut self, visit: &mut dyn FnMut(Item<'_>)) {
        self.sweep(i64::MAX, visit);
    }

    fn fragment(&mut self, at: Timestamp, (packet, source): (&SlicedPacket<'_>, IpAddr), visit: &mut dyn FnMut(Item<'_>)) {
        let datagram = fragmented(packet);
        self.open.extend(datagram.map(|datagram| (datagram, at.as_nanos())));
        match self.fragments.process_sliced_packet(packet, at.as_nanos(), ()) {
            Ok(Some(whole)) => {
                datagram.and_then(|datagram| self.open.remove(&datagram));
                if whole.ip_number == IpNumber::UDP {
                    match UdpSlice::from_slice(&whole.payload) {
                        Ok(udp) => self.datagram(at, source, &udp, visit),
                        Err(_) => visit(Item::Undecodable),
                    }
                }
                self.fragments.return_buf(whole);
            }
            Ok(None) => {}
            Err(_) => visit(Item::Undecodable),
        }
        self.taken = self.taken.saturating_add(1);
        if self.taken.is_multiple_of(SWEEP_EVERY) {
            self.sweep(at.as_nanos().saturating_sub(FRAGMENT_NANOS), visit);
        }
    }

    fn sweep(&mut self, oldest: i64, visit: &mut dyn FnMut(Item<'_>)) {
        self.fragments.retain(|at| *at >= oldest);
        let before = self.open.len();
        self.open.retain(|_, at| *at >= oldest);
        for _ in self.open.len()..before {
            visit(Item::Undecodable);
        }
    }

    fn datagram(&self, at: Timestamp, source: IpAddr, udp: &UdpSlice<'_>, visit: &mut dyn FnMut(Item<'_>)) {
        let to = udp.destination_port();
        let way = if self.reading.trap_ports.contains(&to) {
            Way::SnmpTrap
        } else if self.reading.syslog_ports.contains(&to) {
            Way::SyslogUdp
        } else {
            return;
        };
        let entry = Entry::new(at, way, source.to_canonical(), udp.payload());
        visit(Item::Entry(Entry { port: udp.source_port(), ..entry }));
    }
}

fn fragmented(packet: &SlicedPacket<'_>) -> Option<Fragmented> {
    match packet.net.as_ref()? {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            Some((header.source().into(), header.destination().into(), u32::from(header.identification())))
        }
        NetSlice::Ipv6(ip) => {
            let fragment = ip.extensions().clone().into_iter().find_map(|extension| match extension {
                Ipv6ExtensionSlice::Fragment(fragment) => Some(fragment.identification()),
                _ => None,
            });
            Some((ip.header().source().into(), ip.header().destination().into(), fragment?))
        }
        NetSlice::Arp(_) => None,
    }
}

/// Takes a packet apart; `None` when it is cut, no packet, or of a link type that is not known here.
fn slice(link: i32, bytes: &[u8]) -> Option<SlicedPacket<'_>> {
    match link {
        ETHERNET => SlicedPacket::from_ethernet(bytes).ok(),
        NULL | LOOP => SlicedPacket::from_ip(bytes.get(LOOPBACK_BYTES..)?).ok(),
        LINUX_SLL => SlicedPacket::from_linux_sll(bytes).ok(),
        LINUX_SLL2 => {
            let protocol = EtherType(u16::from_be_bytes(*bytes.first_chunk()?));
            SlicedPacket::from_ether_type(protocol, bytes.get(SLL2_BYTES..)?).ok()
        }
        raw if RAW.contains(&raw) => SlicedPacket::from_ip(bytes).ok(),
        _ => None,
    }
}
