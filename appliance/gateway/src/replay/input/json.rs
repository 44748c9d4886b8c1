//! Lines of JSON: `{"at": "2026-01-31T12:00:00Z", "peer": "192.0.2.7", …}` with one of
//!
//! * `"trap": {"oid": "1.3.6.1.6.3.1.1.5.3", "uptime": 42, "varbinds": [{"oid": "1.3.6.1.2.1.2.2.1.1.7", "integer": 7}]}`; a value is one of
//!   `integer`, `string`, `hex`, `value_oid`, `ip`, `counter32`, `gauge32`, `timeticks`, `counter64`;
//! * `"trap": "3082…"`: the datagram in hexadecimal;
//! * `"syslog": "<11>Jan  1 12:00:00 sw-12 app: text"`, with `"transport": "udp"` (when left out), `"tcp"` or `"tls"`;
//! * `"push": {…}`: the body of a push.

use std::io::BufRead;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use data_encoding::HEXLOWER_PERMISSIVE;
use postern_engine::ber::{self, Writer};
use postern_protocol::oid::Oid;
use postern_protocol::timestamp::Timestamp;
use serde::Deserialize;

use super::{InputError, Item, Reading};
use crate::ring::entry::{Entry, Way};

const SYS_UP_TIME: &str = "1.3.6.1.2.1.1.3.0";
const SNMP_TRAP_OID: &str = "1.3.6.1.6.3.1.1.4.1.0";
const TRAP_V2: u8 = 0xa7;
const IP_ADDRESS: u8 = 0x40;
const COUNTER_32: u8 = 0x41;
const GAUGE_32: u8 = 0x42;
const TIME_TICKS: u8 = 0x43;
const COUNTER_64: u8 = 0x46;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    at: String,
    peer: Option<IpAddr>,
    tls_name: Option<String>,
    #[serde(default)]
    transport: Transport,
    trap: Option<Trap>,
    syslog: Option<String>,
    push: Option<serde_json::Value>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Transport {
    Tcp,
    Tls,
    #[default]
    Udp,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Trap {
    Datagram(String),
    Said(Said),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    oid: String,
    #[serde(default)]
    uptime: u32,
    #[serde(default)]
    varbinds: Vec<Varbind>,
}

#[derive(Deserialize)]
struct Varbind {
    oid: String,
    #[serde(flatten)]
    value: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Value {
    Counter32(u32),
    Counter64(u64),
    Gauge32(u32),
    Hex(String),
    Integer(i64),
    Ip(Ipv4Addr),
    String(String),
    Timeticks(u32),
    #[serde(rename = "value_oid")]
    Oid(String),
}

/// Reads lines.
///
/// # Errors
/// [`InputError`].
pub(super) fn read(path: &Path, input: impl BufRead, reading: &Reading, visit: &mut dyn FnMut(Item<'_>)) -> Result<(), InputError> {
    for (line, text) in (1..).zip(input.lines()) {
        let text = text.map_err(|cause| InputError::Read { path: path.to_owned(), cause })?;
        if text.trim().is_empty() {
            continue;
        }
        let said = serde_json::from_str::<Line>(&text).map_err(|error| error.to_string()).and_then(|said| entry(said, reading));
        let (entry, bytes, tls_name) = said.map_err(|what| InputError::Json { path: path.to_owned(), line, what })?;
        visit(Item::Entry(Entry { bytes: &bytes, tls_name: tls_name.as_deref(), ..entry }));
    }
    Ok(())
}

type Made = (Entry<'static>, Vec<u8>, Option<String>);

fn entry(line: Line, reading: &Reading) -> Result<Made, String> {
    let Line { at, peer, tls_name, transport, trap, syslog, push } = line;
    let moment = at.parse::<jiff::Timestamp>().ok().and_then(|at| i64::try_from(at.as_nanosecond()).ok());
    let received = moment.map(Timestamp::from_nanos).ok_or_else(|| format!("{at:?} is no time, such as 2026-01-31T12:00:00Z"))?;
    let (way, bytes) = match (trap, syslog, push) {
        (Some(Trap::Datagram(hex)), None, None) => (Way::SnmpTrap, bytes(&hex)?),
        (Some(Trap::Said(said)), None, None) => (Way::SnmpTrap, datagram(&said)?),
        (None, Some(line), None) => match transport {
            Transport::Tcp => (Way::SyslogTcp, line.into_bytes()),
            Transport::Tls => (Way::SyslogTls, line.into_bytes()),
            Transport::Udp => (Way::SyslogUdp, line.into_bytes()),
        },
        (None, None, Some(body)) => (Way::PushTls, body.to_string().into_bytes()),
        _ => return Err("a line has one of trap, syslog and push".to_owned()),
    };
    let entry = Entry::new(received, way, peer.unwrap_or(reading.peer).to_canonical(), &[]);
    Ok((Entry { is_certified: tls_name.is_some(), ..entry }, bytes, tls_name))
}

fn bytes(hex: &str) -> Result<Vec<u8>, String> {
    HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).map_err(|_| format!("{hex:?} is not hexadecimal"))
}

fn oid(text: &str) -> Result<Oid, String> {
    text.parse().map_err(|_| format!("{text:?} is not an OID"))
}

/// Encodes a v2c trap.
fn datagram(said: &Said) -> Result<Vec<u8>, String> {
    let mut list = Writer::default();
    varbind(&mut list, &oid(SYS_UP_TIME)?, |out| out.unsigned(TIME_TICKS, u64::from(said.uptime)));
    let trap_oid = oid(&said.oid)?;
    varbind(&mut list, &oid(SNMP_TRAP_OID)?, |out| out.oid(&trap_oid));
    for Varbind { oid: name, value } in &said.varbinds {
        let name = oid(name)?;
        match value {
            Value::Counter32(number) => varbind(&mut list, &name, |out| out.unsigned(COUNTER_32, u64::from(*number))),
            Value::Counter64(number) => varbind(&mut list, &name, |out| out.unsigned(COUNTER_64, *number)),
            Value::Gauge32(number) => varbind(&mut list, &name, |out| out.unsigned(GAUGE_32, u64::from(*number))),
            Value::Hex(hex) => {
                let content = bytes(hex)?;
                varbind(&mut list, &name, |out| out.element(ber::OCTET_STRING, &content));
            }
            Value::Integer(number) => varbind(&mut list, &name, |out| out.integer(ber::INTEGER, *number)),
            Value::Ip(address) => varbind(&mut list, &name, |out| out.element(IP_ADDRESS, &address.octets())),
            Value::String(text) => varbind(&mut list, &name, |out| out.element(ber::OCTET_STRING, text.as_bytes())),
            Value::Timeticks(number) => varbind(&mut list, &name, |out| out.unsigned(TIME_TICKS, u64::from(*number))),
            Value::Oid(text) => {
                let value = oid(text)?;
                varbind(&mut list, &name, |out| out.oid(&value));
            }
        }
    }
    let (list, mut out) = (list.into_bytes(), Writer::default());
    out.constructed(ber::SEQUENCE, |message| {
        message.integer(ber::INTEGER, 1);
        message.element(ber::OCTET_STRING, b"public");
        message.constructed(TRAP_V2, |pdu| {
            for _ in 0..3 {
                pdu.integer(ber::INTEGER, 0);
            }
            pdu.element(ber::SEQUENCE, &list);
        });
    });
    Ok(out.into_bytes())
}

fn varbind(list: &mut Writer, name: &Oid, value: impl FnOnce(&mut Writer)) {
    list.constructed(ber::SEQUENCE, |pair| {
        pair.oid(name);
        value(pair);
    });
}
