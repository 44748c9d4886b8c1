//! Captures of every kind that is read, made by hand; lines and JSON.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use etherparse::{EtherType, IpFragOffset, IpNumber, Ipv4Header, PacketBuilder};

use super::*;
use crate::ring::entry::Way;

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
const AT: i64 = 1_767_268_800_123_456_000;

fn reading() -> Reading {
    Reading { trap_ports: vec![162], syslog_ports: vec![514], peer: IpAddr::V4(Ipv4Addr::LOCALHOST) }
}

type Took = (i64, Way, IpAddr, u16, Vec<u8>);

/// Reads a file of these bytes; returns its entries, and how many could not be had.
fn take(bytes: &[u8]) -> Result<(Vec<Took>, u64), InputError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let (mut entries, mut undecodable) = (Vec::new(), 0);
    let stamp = |line: &[u8], _: Timestamp| line.starts_with(b"at 5").then(|| Timestamp::from_secs(5));
    read(file.path(), &reading(), &stamp, &mut |item| match item {
        Item::Entry(entry) => entries.push((entry.received.as_nanos(), entry.way, entry.peer, entry.port, entry.bytes.to_vec())),
        Item::Undecodable => undecodable += 1,
    })?;
    Ok((entries, undecodable))
}

/// IPv4 and UDP around `payload`.
fn ip(port: u16, payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ipv4([192, 0, 2, 7], [192, 0, 2, 1], 64).udp(4000, port);
    let mut out = Vec::new();
    builder.write(&mut out, payload).unwrap();
    out
}

fn pcap(link: u32, packets: &[Vec<u8>]) -> Vec<u8> {
    let mut out = [0xa1b2_c3d4_u32.to_le_bytes(), [2, 0, 4, 0], [0; 4], [0; 4], 65_535_u32.to_le_bytes(), link.to_le_bytes()].concat();
    for packet in packets {
        let length = u32::try_from(packet.len()).unwrap().to_le_bytes();
        out.extend([1_767_268_800_u32.to_le_bytes(), 123_456_u32.to_le_bytes(), length, length].concat());
        out.extend(packet);
    }
    out
}

fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let padded = body.len().next_multiple_of(4);
    let length = u32::try_from(padded + 12).unwrap().to_le_bytes();
    [&kind.to_le_bytes()[..], &length, body, &vec![0; padded - body.len()], &length].concat()
}

/// A section with one interface whose clock counts nanoseconds, and one packet.
fn pcapng(link: u16, packet: &[u8]) -> Vec<u8> {
    let section = block(0x0a0d_0d0a, &[&0x1a2b_3c4d_u32.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat());
    let options = [9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0];
    let interface = block(1, &[&link.to_le_bytes()[..], &[0, 0], &65_535_u32.to_le_bytes(), &options].concat());
    let (at, length) = (u64::try_from(AT).unwrap(), u32::try_from(packet.len()).unwrap().to_le_bytes());
    let (high, low) = (u32::try_from(at >> 32).unwrap(), u32::try_from(at & 0xffff_ffff).unwrap());
    let body = [&[0; 4][..], &high.to_le_bytes(), &low.to_le_bytes(), &length, &length, packet].concat();
    let simple = block(3, &[&length[..], packet].concat());
    [section, interface, block(6, &body), simple].concat()
}

fn ethernet(kind: EtherType, payload: &[u8]) -> Vec<u8> {
    [&[2; 12][..], &kind.0.to_be_bytes(), payload].concat()
}

fn one(way: Way, text: &[u8]) -> Vec<Took> {
    vec![(AT, way, PEER, 4000, text.to_vec())]
}

#[test]
fn datagrams_are_found_under_every_link_type() {
    let packet = ip(162, b"trap");
    let vlan = [&[0, 7][..], &EtherType::IPV4.0.to_be_bytes(), &packet].concat();
    let sll = [&[0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0][..], &packet].concat();
    let sll2 = [&[8, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0][..], &packet].concat();
    let cases = [
        (1, ethernet(EtherType::IPV4, &packet)),
        (1, ethernet(EtherType::VLAN_TAGGED_FRAME, &vlan)),
        (0, [&[2, 0, 0, 0][..], &packet].concat()),
        (101, packet.clone()),
        (113, sll),
        (276, sll2),
    ];
    for (link, packet) in cases {
        assert_eq!(take(&pcap(link, &[packet])).unwrap(), (one(Way::SnmpTrap, b"trap"), 0), "link type {link}");
    }
    assert_eq!(take(&pcapng(1, &ethernet(EtherType::IPV4, &packet))).unwrap(), (one(Way::SnmpTrap, b"trap"), 1), "one has no time");
}

#[test]
fn what_goes_elsewhere_is_passed_over_and_what_is_cut_is_counted() {
    let cut = ethernet(EtherType::IPV4, &ip(162, b"a long text"));
    let packets = [ethernet(EtherType::IPV4, &ip(53, b"query")), ethernet(EtherType::IPV4, &ip(514, b"line")), cut[..40].to_vec()];
    assert_eq!(take(&pcap(1, &packets)).unwrap(), (one(Way::SyslogUdp, b"line"), 1));
    assert_eq!(take(&pcap(999, &packets)).unwrap(), (Vec::new(), 3), "a link type that is not known");
    let whole = pcap(1, &packets);
    let (entries, undecodable) = take(&whole[..whole.len() - 3]).unwrap();
    assert_eq!((entries.len(), undecodable), (1, 1), "a file that was cut");
    assert!(matches!(take(&pcap(1, &[])[..10]), Err(InputError::Capture { .. })));
}

#[test]
fn ipv6_is_read() {
    let peer: std::net::Ipv6Addr = "2001:db8::7".parse().unwrap();
    let mut packet = Vec::new();
    PacketBuilder::ipv6(peer.octets(), [1; 16], 64).udp(4000, 162).write(&mut packet, b"trap").unwrap();
    let (entries, _) = take(&pcap(1, &[ethernet(EtherType::IPV6, &packet)])).unwrap();
    assert_eq!(entries, [(AT, Way::SnmpTrap, IpAddr::from(peer), 4000, b"trap".to_vec())]);
}

#[test]
fn fragments_are_put_together_and_those_that_stay_alone_counted() {
    let text = vec![b'x'; 2_000];
    let datagram = ip(514, &text)[20..].to_vec();
    let fragment = |at: usize, length: usize, id: u16| {
        let content = &datagram[at..at + length];
        let mut header = Ipv4Header::new(u16::try_from(length).unwrap(), 64, IpNumber::UDP, [192, 0, 2, 7], [192, 0, 2, 1]).unwrap();
        header.identification = id;
        header.more_fragments = at + length < datagram.len();
        header.fragment_offset = IpFragOffset::try_new(u16::try_from(at / 8).unwrap()).unwrap();
        ethernet(EtherType::IPV4, &[&header.to_bytes()[..], content].concat())
    };
    let rest = datagram.len() - 1_400;
    let packets = [fragment(1_400, rest, 1), fragment(0, 1_400, 2), fragment(0, 1_400, 1)];
    assert_eq!(take(&pcap(1, &packets)).unwrap(), (one(Way::SyslogUdp, &text), 1));
}

#[test]
fn lines_are_as_old_as_they_say_or_as_the_line_before() {
    let (entries, _) = take(b"first\nat 5 second\n\nthird\r\n").unwrap();
    let texts: Vec<&[u8]> = entries.iter().map(|entry| entry.4.as_slice()).collect();
    assert_eq!(texts, [b"first".as_slice(), b"at 5 second", b"third"]);
    assert!(entries[0].0 > AT - 1_000_000_000_000_000_000, "when the file was changed");
    assert_eq!((entries[1].0, entries[2].0), (5_000_000_000, 5_000_000_000));
}

#[test]
fn json_says_traps_lines_and_pushes() {
    let text = r#"
        {"at": "2026-01-01T12:00:00.123456Z", "peer": "192.0.2.7", "syslog": "<11>app: text", "transport": "tls", "tls_name": "CN=sw"}
        {"at": "2026-01-01T12:00:00.123456Z", "peer": "192.0.2.7", "trap": {"oid": "1.3.6.1.6.3.1.1.5.3", "uptime": 7, "varbinds": [
    "#;
    let lines: Vec<String> = vec![
        text.lines().nth(1).unwrap().trim().to_owned(),
        text.lines().nth(2).unwrap().trim().to_owned()
            + r#"{"oid": "1.3.6.1.2.1.2.2.1.1.7", "integer": 7}, {"oid": "1.3.6.1.4.1.9.1", "string": "text"}, {"oid": "1.3.6.1.4.1.9.2", "value_oid": "1.3.6.1"}]}}"#,
        r#"{"at": "2026-01-01T12:00:00.123456Z", "push": {"events": []}}"#.to_owned(),
        r#"{"at": "2026-01-01T12:00:00.123456Z", "trap": "30 00"}"#.replace(' ', ""),
    ];
    let (entries, _) = take(lines.join("\n").as_bytes()).unwrap();
    assert_eq!(entries.iter().map(|entry| entry.1).collect::<Vec<_>>(), [Way::SyslogTls, Way::SnmpTrap, Way::PushTls, Way::SnmpTrap]);
    assert!(entries.iter().all(|entry| entry.0 == AT));
    let trap = postern_engine::snmp::decode(&entries[1].4).unwrap().notification;
    assert_eq!((trap.trap_oid.to_string().as_str(), trap.uptime, trap.varbinds.len()), ("1.3.6.1.6.3.1.1.5.3", 7, 3));
    for bad in
        ["{}", r#"{"at": "now", "syslog": "x"}"#, r#"{"at": "2026-01-01T12:00:00Z"}"#, r#"{"at": "2026-01-01T12:00:00Z", "trap": "xx"}"#]
    {
        let error = take(format!("{}\n{bad}\n", lines[0]).as_bytes()).unwrap_err();
        assert!(matches!(error, InputError::Json { line: 2, .. }), "{error}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = read(Path::new("/nonexistent/file"), &reading(), &|_, _| None, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/file"), "{error}");
}
