//! Properties of the decoders: round trips, no panic on any bytes, lines independent of how a stream is cut.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "test code outside of #[test] functions")]

use postern_engine::ber::{self, Reader, Writer};
use postern_engine::event::{Fields, SyslogMessage, Value, Varbind};
use postern_engine::syslog::Context;
use postern_engine::syslog::framing::{Deframer, FramingError};
use postern_engine::{push, snmp, syslog, value};
use postern_protocol::oid::Oid;
use postern_protocol::timestamp::Timestamp;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

const TRAP_V2: u8 = 0xa7;
const INFORM: u8 = 0xa6;

fn oid() -> impl Strategy<Value = Oid> {
    let root = prop_oneof![(0..=1_u32, 0..40_u32), (Just(2), any::<u32>())];
    let tail = vec(prop_oneof![0..200_u32, any::<u32>()], 0..126);
    (root, tail).prop_map(|((first, second), tail)| Oid::new(&[&[first, second], tail.as_slice()].concat()).unwrap())
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::Integer),
        vec(any::<u8>(), 0..200).prop_map(Value::OctetString),
        Just(Value::Null),
        oid().prop_map(Value::Oid),
        any::<[u8; 4]>().prop_map(|bytes| Value::IpAddress(bytes.into())),
        any::<u32>().prop_map(Value::Counter32),
        any::<u32>().prop_map(Value::Gauge32),
        any::<u32>().prop_map(Value::TimeTicks),
        vec(any::<u8>(), 0..40).prop_map(Value::Opaque),
        any::<u64>().prop_map(Value::Counter64),
    ]
}

fn write_value(out: &mut Writer, value: &Value) {
    match value {
        Value::Integer(number) => out.integer(ber::INTEGER, *number),
        Value::OctetString(bytes) => out.element(ber::OCTET_STRING, bytes),
        Value::Null => out.element(ber::NULL, &[]),
        Value::Oid(oid) => out.oid(oid),
        Value::IpAddress(address) => out.element(0x40, &address.octets()),
        Value::Counter32(number) => out.unsigned(0x41, u64::from(*number)),
        Value::Gauge32(number) => out.unsigned(0x42, u64::from(*number)),
        Value::TimeTicks(number) => out.unsigned(0x43, u64::from(*number)),
        Value::Opaque(bytes) => out.element(0x44, bytes),
        Value::Counter64(number) => out.unsigned(0x46, *number),
    }
}

fn datagram(pdu_tag: u8, community: &[u8], request_id: i32, uptime: u32, trap_oid: &Oid, varbinds: &[Varbind]) -> Vec<u8> {
    let varbind = |name: &str, value: Value| Varbind { name: name.parse().unwrap(), value };
    let mut all =
        vec![varbind("1.3.6.1.2.1.1.3.0", Value::TimeTicks(uptime)), varbind("1.3.6.1.6.3.1.1.4.1.0", Value::Oid(trap_oid.clone()))];
    all.extend_from_slice(varbinds);
    let mut out = Writer::default();
    out.constructed(ber::SEQUENCE, |message| {
        message.integer(ber::INTEGER, 1);
        message.element(ber::OCTET_STRING, community);
        message.constructed(pdu_tag, |pdu| {
            pdu.integer(ber::INTEGER, i64::from(request_id));
            pdu.integer(ber::INTEGER, 0);
            pdu.integer(ber::INTEGER, 0);
            pdu.constructed(ber::SEQUENCE, |list| {
                for varbind in &all {
                    list.constructed(ber::SEQUENCE, |pair| {
                        pair.oid(&varbind.name);
                        write_value(pair, &varbind.value);
                    });
                }
            });
        });
    });
    out.into_bytes()
}

fn varbinds() -> impl Strategy<Value = Vec<Varbind>> {
    // Names outside snmpModules, where the decoder takes facts from.
    let name = oid().prop_filter("no fact of the notification", |oid| oid.numbers().first() != Some(&1));
    vec((name, any_value()).prop_map(|(name, value)| Varbind { name, value }), 0..8)
}

/// A valid datagram with some bytes changed and its end cut off.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let valid = (any::<i32>(), oid(), varbinds()).prop_map(|(id, oid, varbinds)| datagram(INFORM, b"public", id, 1, &oid, &varbinds));
    (valid, vec((any::<prop::sample::Index>(), any::<u8>()), 0..6), any::<prop::sample::Index>(), any::<bool>()).prop_map(
        |(mut bytes, changes, end, cut)| {
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if cut {
                bytes.truncate(end.index(bytes.len()));
            }
            bytes
        },
    )
}

fn rfc5424(message: &SyslogMessage, timestamp: &str) -> String {
    let field = |field: &Option<String>| field.clone().unwrap_or_else(|| "-".to_owned());
    let mut elements = String::new();
    for (id, params) in &message.structured_data {
        elements.push_str(&format!("[{id}"));
        for (name, value) in params {
            let escaped = value.replace('\\', r"\\").replace('"', r#"\""#).replace(']', r"\]");
            elements.push_str(&format!(" {name}=\"{escaped}\""));
        }
        elements.push(']');
    }
    if elements.is_empty() {
        elements.push('-');
    }
    let pri = u16::from(message.facility) * 8 + u16::from(message.severity);
    let (host, program, pid, msgid) = (field(&message.host), field(&message.program), field(&message.pid), field(&message.msgid));
    format!("<{pri}>1 {timestamp} {host} {program} {pid} {msgid} {elements} \u{feff}{}", message.message)
}

fn syslog_message() -> impl Strategy<Value = SyslogMessage> {
    let field = || prop::option::of("[!-~]{1,20}".prop_filter("not NILVALUE", |text| text != "-"));
    let params = vec(("[a-zA-Z0-9@._-]{1,32}", "[^\\p{C}]{0,20}"), 0..3);
    let elements = vec(("[a-zA-Z0-9@._-]{1,32}", params), 0..3);
    // Without pairs: those become fields.
    let text = "[^\\p{C}\\x{feff}=]{0,60}";
    ((0..24_u8, 0..8_u8), (field(), field(), field(), field()), elements, text).prop_map(
        |((facility, severity), (host, program, pid, msgid), structured_data, message)| SyslogMessage {
            facility,
            severity,
            pri_present: true,
            timestamp: None,
            host,
            program,
            pid,
            msgid,
            structured_data,
            fields: Fields::default(),
            message,
        },
    )
}

/// All the text that was made of a line.
fn syslog_bytes(message: &SyslogMessage) -> usize {
    let words = [&message.host, &message.program, &message.pid, &message.msgid].into_iter().flatten().map(String::len).sum::<usize>();
    let pairs = message.fields.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    let params = message.structured_data.iter().flat_map(|(_, params)| params).map(|(name, value)| name.len() + value.len()).sum::<usize>();
    words + pairs + params + message.message.len()
}

/// Pieces that streams are made of, so that random streams reach every state of the deframer.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let line = vec(prop_oneof![Just(b'<'), Just(b'1'), Just(b' '), b'a'..=b'z'], 0..40);
    let piece = prop_oneof![
        line.clone().prop_map(|line| [line, b"\n".to_vec()].concat()),
        line.prop_map(|line| [format!("{} <", line.len() + 1).into_bytes(), line].concat()),
        Just(b"99999999999 ".to_vec()),
        Just(b"77 <cut".to_vec()),
        Just(b"\r\n\0".to_vec()),
        vec(any::<u8>(), 0..6),
    ];
    vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn cut(stream: &[u8], sizes: &[usize], max_frame: usize) -> Vec<Result<Vec<u8>, FramingError>> {
    let (mut deframer, mut seen, mut rest) = (Deframer::new(max_frame), Vec::new(), stream);
    for size in sizes.iter().cycle() {
        let (chunk, left) = rest.split_at((*size).min(rest.len()));
        deframer.push(chunk);
        while let Some(item) = deframer.next().transpose() {
            seen.push(item);
        }
        rest = left;
        if rest.is_empty() {
            break;
        }
    }
    seen.extend(deframer.finish().transpose());
    seen
}

proptest! {
    #[test]
    fn an_oid_survives_its_encoding(oid in oid()) {
        let mut out = Writer::default();
        out.oid(&oid);
        prop_assert_eq!(Reader::new(&out.into_bytes()).expect(ber::OBJECT_IDENTIFIER).unwrap().oid(), Ok(oid));
    }

    #[test]
    fn numbers_survive_their_encoding(signed in any::<i64>(), unsigned in any::<u64>()) {
        let mut out = Writer::default();
        out.integer(ber::INTEGER, signed);
        out.unsigned(0x46, unsigned);
        let bytes = out.into_bytes();
        let mut reader = Reader::new(&bytes);
        prop_assert_eq!(reader.element().unwrap().integer(), Ok(signed));
        prop_assert_eq!(reader.element().unwrap().unsigned64(), Ok(unsigned));
        prop_assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn a_notification_survives_its_encoding(
        community in vec(any::<u8>(), 0..40), id in any::<i32>(), uptime in any::<u32>(), trap_oid in oid(), varbinds in varbinds(),
    ) {
        let trap = snmp::decode(&datagram(TRAP_V2, &community, id, uptime, &trap_oid, &varbinds)).unwrap();
        prop_assert_eq!(&trap.notification.trap_oid, &trap_oid);
        prop_assert_eq!(&trap.notification.varbinds, &varbinds);
        prop_assert_eq!((trap.community, trap.request_id, trap.notification.uptime), (community, id, uptime));
    }

    #[test]
    fn the_response_to_any_inform_differs_from_it_in_the_pdu_alone(id in any::<i32>(), trap_oid in oid(), varbinds in varbinds()) {
        let inform = datagram(INFORM, b"public", id, 7, &trap_oid, &varbinds);
        let response = snmp::decode(&inform).unwrap().response().unwrap();
        let differing: Vec<_> = inform.iter().zip(&response).filter(|(a, b)| a != b).collect();
        prop_assert_eq!(inform.len(), response.len());
        prop_assert_eq!(differing, [(&0xa6, &0xa2)]);
    }

    #[test]
    fn no_datagram_makes_a_decoder_panic(bytes in prop_oneof![mutated(), vec(any::<u8>(), 0..300)]) {
        if let Ok(message) = snmp::decode(&bytes) {
            for varbind in &message.notification.varbinds {
                let _ = value::text(&varbind.value);
            }
            prop_assert!(message.response().is_none_or(|response| response.len() <= bytes.len() + 16));
        }
        let _ = push::decode(&bytes, Timestamp::from_secs(1));
    }

    #[test]
    fn a_syslog_message_survives_rfc_5424(message in syslog_message(), nanos in 0..4_000_000_000_000_000_000_i64) {
        let secs = nanos / 1_000_000_000;
        let (day, second) = (secs / 86_400, secs % 86_400);
        // Days of one year only: the calendar has its own tests.
        let day = day % 31;
        let fraction = nanos % 1_000_000_000;
        let time = format!("2026-01-{:02}T{:02}:{:02}:{:02}.{fraction:09}Z", day + 1, second / 3600, second / 60 % 60, second % 60);
        let expected = Timestamp::from_nanos((1_767_225_600 + day * 86_400 + second) * 1_000_000_000 + fraction);
        let decoded = syslog::decode(rfc5424(&message, &time).as_bytes(), &Context::utc(Timestamp::default())).unwrap();
        // One leading space is rsyslog's, not the message's.
        let text = message.message.strip_prefix(' ').unwrap_or(&message.message).to_owned();
        prop_assert_eq!(decoded, SyslogMessage { timestamp: Some(expected), message: text, ..message });
    }

    #[test]
    fn no_line_loses_its_pri_or_makes_the_decoder_panic(
        pri in 0..192_u16,
        rest in prop_oneof!["[ -~]{0,80}", "1 [0-9TZ:.+-]{0,30} [ -~]{0,60}", "(\\*|[0-9]{1,3}: )?Mar  1 1[0-9:.]{0,12} [ -~%]{0,60}"],
        noise in vec(any::<u8>(), 0..10),
        received in any::<i64>(),
    ) {
        let line = [format!("<{pri}>{rest}").as_bytes(), &noise].concat();
        let message = syslog::decode(&line, &Context::utc(Timestamp::from_nanos(received))).unwrap();
        prop_assert_eq!((message.pri_present, u16::from(message.facility) * 8 + u16::from(message.severity)), (true, pri));
        prop_assert!(message.message.len() <= line.len() * 3);
        prop_assert!(syslog_bytes(&message) <= line.len() * 12 + 2_048, "{:?}", message);
    }

    #[test]
    fn lines_of_vendors_stay_within_bounds(
        beginning in prop::sample::select(&[
            "<189>date=2026-11-21 time=22:09:39 devname=fw ", "<13>CEF:0|V|P|1|2|n|5|", "<13>h LEEF:2.0|V|P|1|e|^|", "<13>Nov 21 22:09:39 ",
            "<14>1,2026/11/21 22:09:38,001,TRAFFIC,", "<134>1 - h CheckPoint 1 - [action:\"", "<134>Nov 21 22:09:39 filterlog[1]: 5,,,1,igb0,match,block,in,4,",
            "<13>1 - h a - - [x@1 a=\"", "<187>45: r1: 000310: ", "<134>Nov 21 22:09:39 h Severity: ",
        ][..]),
        rest in prop_oneof!["([a-z]{0,3}[=:|,;\" \\\\^\t\\[\\]]){0,60}", "[ -~]{0,120}"],
        noise in vec(any::<u8>(), 0..10),
        received in any::<i64>(),
    ) {
        let line = [beginning.as_bytes(), rest.as_bytes(), &noise].concat();
        let message = syslog::decode(&line, &Context::utc(Timestamp::from_nanos(received))).unwrap();
        prop_assert!(message.pri_present && message.fields.len() <= 256);
        prop_assert!(syslog_bytes(&message) <= line.len() * 12 + 2_048, "{:?}", message);
    }

    #[test]
    fn random_bytes_are_a_line_unless_empty(bytes in vec(any::<u8>(), 0..200), received in any::<i64>()) {
        let empty = bytes.iter().all(|byte| matches!(byte, b'\n' | b'\r' | 0));
        prop_assert_eq!(syslog::decode(&bytes, &Context::utc(Timestamp::from_nanos(received))).is_err(), empty);
    }

    #[test]
    fn frames_do_not_depend_on_how_the_stream_is_cut(stream in stream(), sizes in vec(1..50_usize, 1..8), max_frame in 1..60_usize) {
        let whole = cut(&stream, &[stream.len().max(1)], max_frame);
        prop_assert_eq!(&cut(&stream, &sizes, max_frame), &whole);
        prop_assert_eq!(&cut(&stream, &[1], max_frame), &whole);
        prop_assert!(whole.iter().flatten().all(|line| !line.is_empty() && line.len() <= max_frame));
    }

    #[test]
    fn a_push_survives_its_encoding(
        resource in "[^\\p{C}\\s]{1,256}", summary in "[^\\p{C}]{0,100}", fields in btree_map("[a-z]{1,64}", "[^\\p{C}]{0,20}", 0..64),
    ) {
        let body = serde_json::json!({ "events": [{ "resource": resource, "kind": "k", "summary": summary, "fields": fields }] });
        let events = push::decode(body.to_string().as_bytes(), Timestamp::from_secs(1)).unwrap().events;
        prop_assert_eq!(events.len(), 1);
        prop_assert_eq!(&events[0].resource, &resource);
        prop_assert_eq!(&events[0].summary, &summary);
        prop_assert_eq!(&events[0].fields, &fields);
    }
}
