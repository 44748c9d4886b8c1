//! SNMP datagrams as net-snmp sends them, and as nobody should.

use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::event::{Value, Varbind};

/// What `snmptrap -v1 … 1.3.6.1.4.1.8072 10.0.0.7 2 0 12345 ifIndex.3 i 3` sends.
const V1_LINK_DOWN: &str = "303902010004067075626c6963a42c06072b06010401bf0840040a0000070201020201004302303930\
                            11300f060a2b060102010202010103020103";
/// What `snmptrap -v1 … 1.3.6.1.4.1.318 10.0.0.7 6 5 12345 1.3.6.1.4.1.318.2.3.3.0 s hi` sends.
const V1_ENTERPRISE: &str = "303b02010004067075626c6963a42e06072b06010401823e40040a000007020106020105430230393013\
                             3011060b2b06010401823e0203030004026869";
/// What `snmptrap -v2c … 12345 linkDown ifIndex.3 i 3` sends.
const V2C_LINK_DOWN: &str = "305502010104067075626c6963a74802040647990b020100020100303a300e06082b06010201010300430230393017060a\
                             2b06010603010104010006092b0601060301010503300f060a2b060102010202010103020103";
/// What `snmpinform -v2c` sends for the same.
const INFORM: &str = "305502010104067075626c6963a64802040d977b23020100020100303a300e06082b06010201010300430230393017060a\
                      2b06010603010104010006092b0601060301010503300f060a2b060102010202010103020103";
/// What `snmptrap -v2c` sends with a varbind of every type it knows.
const ALL_TYPES: &str = "3082010402010104067075626c6963a781f60204540d42960201000201003081e7300e06082b06010201010300430230393017060a\
                         2b06010603010104010006092b06010401ce0f0001301106092b06010401ce0f0101040474657874300e06092b06010401ce0f0102\
                         0201fb301206092b06010401ce0f010306052b06010401301106092b06010401ce0f010440040a010203301606092b06010401ce0f\
                         0105460900ffffffffffffffff301206092b06010401ce0f0106430500ffffffff301006092b06010401ce0f01070403001a2b300e\
                         06092b06010401ce0f0108410107300e06092b06010401ce0f0109420108301406092b06010401ce0f010a44079f78043fc00000";

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn varbind(name: &str, value: Value) -> Varbind {
    Varbind { name: name.parse().unwrap(), value }
}

/// A v2c trap with these elements as its variable-bindings.
fn v2c(fill: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut out = Writer::default();
    out.constructed(ber::SEQUENCE, |message| {
        message.integer(ber::INTEGER, 1);
        message.element(ber::OCTET_STRING, b"public");
        message.constructed(pdu::TRAP_V2, |pdu| {
            (0..3).for_each(|_| pdu.integer(ber::INTEGER, 0));
            pdu.constructed(ber::SEQUENCE, fill);
        });
    });
    out.into_bytes()
}

fn pair(list: &mut Writer, name: &str, value: impl FnOnce(&mut Writer)) {
    list.constructed(ber::SEQUENCE, |pair| {
        pair.oid(&name.parse().unwrap());
        value(pair);
    });
}

fn trap_oid(list: &mut Writer) {
    pair(list, "1.3.6.1.6.3.1.1.4.1.0", |out| out.oid(&"1.3.6.1.6.3.1.1.5.3".parse().unwrap()));
}

#[test]
fn a_generic_v1_trap_is_mapped_to_its_v2_oid() {
    let message = decode(&bytes(V1_LINK_DOWN)).unwrap();
    assert_eq!((message.version, message.kind, message.request_id), (Version::V1, Kind::Trap, 0));
    assert_eq!(message.community, b"public");
    assert_eq!(message.notification.trap_oid.to_string(), "1.3.6.1.6.3.1.1.5.3");
    assert_eq!(message.notification.uptime, 12345);
    assert_eq!(message.notification.trap_address, Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7))));
    assert_eq!(
        message.notification.varbinds,
        [
            varbind("1.3.6.1.2.1.2.2.1.1.3", Value::Integer(3)),
            varbind("1.3.6.1.6.3.1.1.4.3.0", Value::Oid("1.3.6.1.4.1.8072".parse().unwrap())),
        ]
    );
    assert_eq!(message.response(), None);
}

#[test]
fn every_generic_v1_trap_has_an_oid_and_others_are_refused() {
    let mut datagram = bytes(V1_LINK_DOWN);
    let at = 32;
    assert_eq!(datagram[at], 2, "the generic-trap field");
    for generic in 0..=5 {
        datagram[at] = generic;
        assert_eq!(decode(&datagram).unwrap().notification.trap_oid.to_string(), format!("1.3.6.1.6.3.1.1.5.{}", generic + 1));
    }
    datagram[at] = 7;
    assert_eq!(decode(&datagram), Err(DecodeError::Malformed { at: at - 2, what: Fault::Number }));
}

#[test]
fn a_specific_v1_trap_is_enterprise_zero_number() {
    let message = decode(&bytes(V1_ENTERPRISE)).unwrap();
    assert_eq!(message.notification.trap_oid.to_string(), "1.3.6.1.4.1.318.0.5");
    assert_eq!(message.notification.varbinds.first(), Some(&varbind("1.3.6.1.4.1.318.2.3.3.0", Value::OctetString(b"hi".to_vec()))));
}

#[test]
fn an_agent_address_of_zero_is_no_address() {
    let mut datagram = bytes(V1_LINK_DOWN);
    let at = datagram.windows(6).position(|window| window == [0x40, 4, 10, 0, 0, 7]).unwrap();
    datagram[at + 2..at + 6].fill(0);
    assert_eq!(decode(&datagram).unwrap().notification.trap_address, None);
}

#[test]
fn a_v2c_trap_is_decoded_and_wants_no_answer() {
    let message = decode(&bytes(V2C_LINK_DOWN)).unwrap();
    assert_eq!((message.version, message.kind, message.request_id), (Version::V2c, Kind::Trap, 0x0647_990b));
    assert_eq!(message.notification.trap_oid.to_string(), "1.3.6.1.6.3.1.1.5.3");
    assert_eq!(message.notification.varbinds, [varbind("1.3.6.1.2.1.2.2.1.1.3", Value::Integer(3))]);
    assert_eq!(message.response(), None);
}

#[test]
fn every_type_of_value_is_decoded() {
    let values: Vec<_> = decode(&bytes(ALL_TYPES)).unwrap().notification.varbinds.into_iter().map(|varbind| varbind.value).collect();
    assert_eq!(
        values,
        [
            Value::OctetString(b"text".to_vec()),
            Value::Integer(-5),
            Value::Oid("1.3.6.1.4.1".parse().unwrap()),
            Value::IpAddress([10, 1, 2, 3].into()),
            Value::Counter64(u64::MAX),
            Value::TimeTicks(u32::MAX),
            Value::OctetString(vec![0, 0x1a, 0x2b]),
            Value::Counter32(7),
            Value::Gauge32(8),
            Value::Opaque(vec![0x9f, 0x78, 4, 0x3f, 0xc0, 0, 0]),
        ]
    );
}

#[test]
fn exceptions_and_null_are_null_and_obsolete_types_are_understood() {
    let datagram = v2c(|list| {
        trap_oid(list);
        for tag in [ber::NULL, 0x80, 0x81, 0x82] {
            pair(list, "1.3.1", |out| out.element(tag, &[]));
        }
        pair(list, "1.3.2", |out| out.unsigned(0x47, 9));
        pair(list, "1.3.3", |out| out.element(0x45, &[1]));
    });
    let values: Vec<_> = decode(&datagram).unwrap().notification.varbinds.into_iter().map(|varbind| varbind.value).collect();
    let null = Value::Null;
    assert_eq!(values, [null.clone(), null.clone(), null.clone(), null, Value::Gauge32(9), Value::OctetString(vec![1])]);
}

#[test]
fn a_response_repeats_the_informs_identity_and_varbinds() {
    let inform = bytes(INFORM);
    let mut expected = inform.clone();
    let pdu = expected.iter().position(|byte| *byte == pdu::INFORM).unwrap();
    expected[pdu] = pdu::RESPONSE;
    assert_eq!(decode(&inform).unwrap().response(), Some(expected));
}

#[test]
fn the_original_senders_address_is_found_and_its_community_forgotten() {
    let datagram = v2c(|list| {
        trap_oid(list);
        pair(list, "1.3.6.1.6.3.18.1.3.0", |out| out.element(0x40, &[192, 0, 2, 9]));
        pair(list, "1.3.6.1.6.3.18.1.4.0", |out| out.element(ber::OCTET_STRING, b"secret"));
    });
    let notification = decode(&datagram).unwrap().notification;
    assert_eq!(notification.trap_address, Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 9))));
    assert_eq!(notification.varbinds, [varbind("1.3.6.1.6.3.18.1.3.0", Value::IpAddress([192, 0, 2, 9].into()))]);
}

#[test]
fn a_trap_without_uptime_is_understood_and_one_without_trap_oid_refused() {
    assert_eq!(decode(&v2c(trap_oid)).unwrap().notification.uptime, 0);
    assert_eq!(decode(&v2c(|_| ())), Err(DecodeError::NoTrapOid));
    let integer = v2c(|list| pair(list, "1.3.6.1.6.3.1.1.4.1.0", |out| out.integer(ber::INTEGER, 1)));
    assert_eq!(decode(&integer), Err(DecodeError::NoTrapOid));
}

#[test]
fn absurdly_many_varbinds_are_refused() {
    let datagram = v2c(|list| {
        trap_oid(list);
        (0..MAX_VARBINDS).for_each(|_| pair(list, "1.3", |out| out.element(ber::NULL, &[])));
    });
    assert_eq!(decode(&datagram), Err(DecodeError::TooManyVarbinds));
}

#[test]
fn versions_and_pdus_that_are_not_notifications_are_told_apart() {
    let mut v3 = bytes(V2C_LINK_DOWN);
    v3[4] = 3;
    assert_eq!(decode(&v3), Err(DecodeError::UnsupportedVersion(3)));
    let mut get = bytes(V2C_LINK_DOWN);
    get[13] = pdu::FIRST;
    assert_eq!(decode(&get), Err(DecodeError::WrongPdu(0xa0)));
    let mut v2_pdu_in_v1 = bytes(V2C_LINK_DOWN);
    v2_pdu_in_v1[4] = 0;
    assert_eq!(decode(&v2_pdu_in_v1), Err(DecodeError::WrongPdu(0xa7)));
    let mut unknown = bytes(V2C_LINK_DOWN);
    unknown[13] = 0x31;
    assert_eq!(decode(&unknown), Err(DecodeError::Malformed { at: 13, what: Fault::UnknownTag(0x31) }));
}

#[test]
fn every_truncation_is_refused_and_padding_behind_the_message_ignored() {
    for datagram in [V1_LINK_DOWN, V1_ENTERPRISE, V2C_LINK_DOWN, INFORM, ALL_TYPES].map(bytes) {
        for length in 0..datagram.len() {
            assert!(matches!(decode(&datagram[..length]), Err(DecodeError::Malformed { .. })), "{length} bytes");
        }
        let whole = decode(&datagram).unwrap();
        assert_eq!(decode(&[&datagram[..], &[0, 0, 0]].concat()), Ok(whole));
    }
}

#[test]
fn debug_output_does_not_show_the_community() {
    assert!(!format!("{:?}", decode(&bytes(V1_LINK_DOWN)).unwrap()).contains("112"), "p of public");
}
