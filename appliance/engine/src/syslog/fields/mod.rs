//! Fields in the text of a message: key=value pairs, CEF, LEEF, Check Point's, and the columns of Palo Alto, Snare and filterlog.
//!
//! A look at the first bytes decides; a line of prose pays for no more. The message itself stays as it is. What a line without header
//! says of its time and its device in its fields becomes `timestamp` and `host`.

mod columns;
mod event_format;
mod key_value;

use postern_protocol::timestamp::Timestamp;

use super::scan::Scanner;
use super::stamp;
use super::zone::Context;
use crate::event::{Fields, SyslogMessage};

/// Most fields of one message; the rest is only in its text.
pub(super) const MAX_FIELDS: usize = 128;

/// How far into a message the first `=` or `:` of a pair may be.
const MAX_FIRST_KEY: usize = 40;

/// Names under which devices call themselves, the best first.
const HOST_KEYS: [&str; 9] = ["devname", "device_name", "dvchost", "unit_hostname", "fw", "dvc", "deviceName", "device_id", "devid"];

/// Most bytes of a host's name.
const MAX_HOST_BYTES: usize = 255;

/// Fills `message.fields` from `message.message`, and time and host from the fields where the header has none.
pub(super) fn extract(message: &mut SyslogMessage, context: &Context<'_>) {
    let SyslogMessage { message: text, fields, .. } = message;
    let text = text.as_str();
    match text.as_bytes() {
        [b'C', b'E', b'F', b':', ..] => event_format::cef(text, fields),
        [b'L', b'E', b'E', b'F', b':', ..] => event_format::leef(text, fields),
        [b'[', ..] if message.program.as_deref() == Some("kernel") => key_value::packet(text, fields),
        [b'[', ..] => key_value::bracketed(text, fields),
        [b'0'..=b'9', ..] => match message.program.as_deref() {
            Some("filterlog") => columns::filterlog(text, fields),
            Some("MSWinEventLog") => columns::snare(text, fields),
            Some(program) if program.starts_with("CISE_") || program.starts_with("CPPM_") => columns::identity_services(text, fields),
            Some(_) | None => columns::palo_alto(text, fields),
        },
        [first, ..] if first.is_ascii_alphabetic() || *first == b'%' => match message.program.as_deref() {
            Some("kernel") => key_value::packet(text, fields),
            // What a program says is prose, nearly always.
            Some(program) if !program.starts_with('%') && !begins_with_pair(text) => {}
            Some(_) | None => pairs(text, fields),
        },
        _ => {}
    }
    if fields.is_empty() {
        return;
    }
    // A FortiGate writes no header: the one before its pairs is a relay's, and the device knows better.
    if text.starts_with("date=") && fields.get("devname").is_some() {
        message.host = None;
        if fields.get("tz").or_else(|| fields.get("eventtime")).is_some() {
            message.timestamp = time(fields, context).or(message.timestamp);
        }
    }
    if message.timestamp.is_some() && message.host.is_some() {
        return;
    }
    if message.timestamp.is_none() {
        message.timestamp = time(fields, context);
    }
    if message.host.is_none() {
        message.host = host(fields).map(str::to_owned);
    }
}

/// Says whether text can begin with a pair, or with one word and a pair.
fn begins_with_pair(text: &str) -> bool {
    let head = text.as_bytes().get(..text.len().min(MAX_FIRST_KEY.saturating_mul(2))).unwrap_or_default();
    memchr::memchr(b'=', head).is_some()
}

/// Reads text that begins with a pair.
fn pairs(text: &str, fields: &mut Fields) {
    let head = text.as_bytes().get(..text.len().min(MAX_FIRST_KEY)).unwrap_or_default();
    let Some(end) = head.iter().position(|byte| !is_key(*byte)) else { return };
    match (head.get(end), head.get(end.saturating_add(1))) {
        (Some(b'='), Some(_)) if end > 0 => key_value::equals(text, fields),
        (Some(b':'), Some(b' ')) if key_value::begins_colons(text) => key_value::colons(text, fields),
        (Some(b','), Some(_)) if is_topics(text) => fields.push("topics", text.split(' ').next().unwrap_or_default()),
        (Some(b' '), Some(_)) => columns::introduced(text, end, fields),
        _ => {}
    }
}

const fn is_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-')
}

/// Says whether text begins with MikroTik's topics: lower-case words with commas between, one of them a level.
fn is_topics(text: &str) -> bool {
    const LEVELS: [&str; 5] = ["critical", "debug", "error", "info", "warning"];
    let Some((topics, _)) = text.split_once(' ') else { return false };
    topics.len() <= 64
        && topics.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b',' | b'-' | b'!'))
        && topics.split(',').any(|topic| LEVELS.contains(&topic))
}

/// Returns the name by which a line without header calls its device.
fn host(fields: &Fields) -> Option<&str> {
    let own = HOST_KEYS.iter().find_map(|key| fields.get(key).filter(|name| !name.is_empty()));
    // Check Point's exporter; in others' lines `hostname` is where somebody went.
    let exporter = || fields.get("hostname").filter(|_| fields.get("product").is_some() && fields.get("ifdir").is_some());
    let name = own.or_else(exporter)?;
    let good = name.len() <= MAX_HOST_BYTES && !name.contains(char::is_control);
    good.then_some(name)
}

/// Returns the time that the fields of a line without header say.
fn time(fields: &Fields, context: &Context<'_>) -> Option<Timestamp> {
    let read = |text: &str| stamp::any(&mut Scanner::new(text.as_bytes()), context);
    if let Some(date) = fields.get("date") {
        return date_and_time(date, fields, context);
    }
    if let Some(time) = fields.get("time") {
        return match fields.get("tz") {
            Some(zone) => read(&format!("{time}{zone}")).or_else(|| read(time)),
            None => read(time),
        };
    }
    let named = ["timestamp", "rt", "devTime", "eventtime", "time_generated", "receive_time", "date_time"];
    named.iter().find_map(|key| fields.get(key)).and_then(|text| read(text).or_else(|| long_epoch(text)))
}

/// Reads FortiGate's `date=`, `time=` and `tz=`; its `eventtime=`, which needs no zone, stands in for a zone that is not there.
fn date_and_time(date: &str, fields: &Fields, context: &Context<'_>) -> Option<Timestamp> {
    /// Two places are never farther apart than this.
    const MAX_OFFSET_NANOS: u64 = 26 * 3_600 * 1_000_000_000;
    let time = fields.get("time")?;
    let read = |text: &str| stamp::any(&mut Scanner::new(text.as_bytes()), context);
    if let Some(stamp) = fields.get("tz").and_then(|zone| read(&format!("{date} {time}{zone}"))) {
        return Some(stamp);
    }
    if let Some(stamp) = fields.get("timezone").and_then(|zone| read(&format!("{date} {time} {}", offset_of(zone)))) {
        return Some(stamp);
    }
    let local = read(&format!("{date} {time}"))?;
    let exact = fields.get("eventtime").and_then(long_epoch);
    Some(exact.filter(|exact| exact.as_nanos().abs_diff(local.as_nanos()) <= MAX_OFFSET_NANOS).unwrap_or(local))
}

/// Returns the offset of a zone as FortiWeb writes it: `(GMT+1:00)Berlin,Bern`.
fn offset_of(zone: &str) -> &str {
    zone.strip_prefix("(GMT").and_then(|zone| zone.split_once(')')).map_or(zone, |(offset, _)| offset)
}

/// Reads a number of seconds, milliseconds, microseconds or nanoseconds since the epoch; its digits tell which.
fn long_epoch(text: &str) -> Option<Timestamp> {
    let number: i64 = text.parse().ok()?;
    let factor = match text.len() {
        10 => 1_000_000_000,
        13 => 1_000_000,
        16 => 1_000,
        19 => 1,
        _ => return None,
    };
    Some(Timestamp::from_nanos(number.checked_mul(factor)?))
}
