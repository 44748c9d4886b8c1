//! From the bytes that left to JSON, by the published contract and nothing else.
//!
//! The program's own types are not used: what the contract does not name shows as `"not in the contract"`, so that a customer need
//! not believe the program that its contract is whole. Pure.

use data_encoding::{BASE64, HEXLOWER};
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use serde_json::{Map, Value};

use super::contract::{Contract, Field, Message};

/// What stands in place of a field's name that the contract does not have.
pub const NOT_IN_CONTRACT: &str = "not in the contract";

/// Bytes that are shown in hexadecimal; longer ones in base64.
const SHORT_BYTES: usize = 64;

/// Most bytes that a batch is unpacked to: the control plane refuses longer ones.
const MAX_BATCH_BYTES: usize = 2 * postern_protocol::message::MAX_BATCH_BYTES;

/// Deepest nesting; the contract has five levels.
const MAX_DEPTH: u8 = 16;

/// A frame, decoded.
#[derive(Debug, PartialEq)]
pub(super) struct Decoded {
    /// The message's name; on the control stream the kind that is set.
    pub(super) kind: String,
    /// Its content.
    pub(super) content: Value,
}

/// Decodes frames of one build.
pub(super) struct Decoder {
    contract: Contract,
}

impl Decoder {
    pub(super) fn new(contract: Contract) -> Self {
        Self { contract }
    }

    /// Decodes `frame`, four bytes of length and a message, which left on the stream of that name.
    pub(super) fn decode(&self, stream: &str, frame: &[u8]) -> Decoded {
        let message = frame.get(4..).unwrap_or_default();
        let (kind, record) = self.contract.stream(stream);
        let walk = Walk { contract: &self.contract, record };
        let content = match kind {
            Some(kind) => walk.message(kind, message, 0),
            None => unknown(message),
        };
        let kind = kind.unwrap_or(NOT_IN_CONTRACT);
        // What is said on the control stream is one of many: it is known by the one that is set.
        match content {
            Value::Object(map) if kind == "Up" && map.len() == 1 => {
                let (kind, content) = map.into_iter().next().unwrap_or_default();
                Decoded { kind, content }
            }
            content => Decoded { kind: kind.to_owned(), content },
        }
    }
}

struct Walk<'a> {
    contract: &'a Contract,
    /// What the records of the lane are.
    record: Option<&'a str>,
}

impl Walk<'_> {
    fn message(&self, name: &str, bytes: &[u8], depth: u8) -> Value {
        let Some(message) = self.contract.message(name).filter(|_| depth < MAX_DEPTH) else { return unknown(bytes) };
        let mut map = Map::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.field(message, &mut rest, &mut map, depth).is_none() {
                map.insert(NOT_IN_CONTRACT.to_owned(), "the rest is not protobuf".into());
                break;
            }
        }
        Value::Object(map)
    }

    /// Takes the next field; `None` when the bytes make no sense.
    fn field(&self, message: &Message, rest: &mut &[u8], map: &mut Map<String, Value>, depth: u8) -> Option<()> {
        let (number, wire) = decode_key(rest).ok()?;
        let Some(field) = message.numbered(number) else {
            skip_field(wire, number, rest, DecodeContext::default()).ok()?;
            let unknown = map.entry(NOT_IN_CONTRACT).or_insert_with(|| Value::Array(Vec::new()));
            unknown.as_array_mut()?.push(number.into());
            return Some(());
        };
        let value = match wire {
            WireType::Varint => varint(&field.kind, decode_varint(rest).ok()?),
            WireType::SixtyFourBit => sixty_four(&field.kind, take(rest, 8)?.try_into().ok()?),
            WireType::ThirtyTwoBit => u32::from_le_bytes(take(rest, 4)?.try_into().ok()?).into(),
            WireType::LengthDelimited => {
                let length = usize::try_from(decode_varint(rest).ok()?).ok()?;
                self.long(field, take(rest, length)?, depth)
            }
            WireType::StartGroup | WireType::EndGroup => return None,
        };
        put(map, field, value);
        Some(())
    }

    fn long(&self, field: &Field, bytes: &[u8], depth: u8) -> Value {
        let deeper = depth.saturating_add(1);
        match (field.contains.as_deref(), field.kind.as_str()) {
            (Some("record"), _) => match self.record {
                Some(record) => self.message(record, bytes, deeper),
                None => unknown(bytes),
            },
            (Some("json"), _) => serde_json::from_slice(bytes).unwrap_or_else(|_| shown(bytes)),
            (Some(contains), _) => match contains.split_once(':') {
                Some(("zstd", inner)) => match zstd::bulk::decompress(bytes, MAX_BATCH_BYTES) {
                    Ok(unpacked) => self.message(inner, &unpacked, deeper),
                    Err(_) => unknown(bytes),
                },
                Some(("json", inner)) => match serde_json::from_slice(bytes) {
                    Ok(value) => self.json(inner, value, deeper),
                    Err(_) => unknown(bytes),
                },
                _ => unknown(bytes),
            },
            (None, "string") => String::from_utf8_lossy(bytes).into_owned().into(),
            (None, "bytes") => shown(bytes),
            (None, kind) if kind.starts_with("map<") => entry(kind, bytes),
            // Numbers that protobuf packs.
            (None, "uint32" | "uint64" | "bool" | "fixed64" | "sfixed64" | "double") => unknown(bytes),
            (None, kind) => self.message(kind, bytes, deeper),
        }
    }

    /// Holds a JSON document against the contract: fields that it does not name are marked.
    fn json(&self, name: &str, value: Value, depth: u8) -> Value {
        let Some(message) = self.contract.message(name).filter(|_| depth < MAX_DEPTH) else { return value };
        let map = match value {
            Value::Object(map) => map,
            Value::Array(values) => return values.into_iter().map(|value| self.json(name, value, depth)).collect(),
            value => return value,
        };
        let mut checked = Map::new();
        for (key, value) in map {
            let Some(field) = message.named(&key) else {
                let unknown = checked.entry(NOT_IN_CONTRACT).or_insert_with(|| Value::Array(Vec::new()));
                if let Value::Array(names) = unknown {
                    names.push(key.into());
                }
                continue;
            };
            let inner = field.kind.strip_prefix("map<string, ").and_then(|kind| kind.strip_suffix('>'));
            let value = match (inner, value) {
                (Some(inner), Value::Object(map)) => {
                    Value::Object(map.into_iter().map(|(key, value)| (key, self.json(inner, value, depth.saturating_add(1)))).collect())
                }
                (_, value) => self.json(&field.kind, value, depth.saturating_add(1)),
            };
            checked.insert(key, value);
        }
        Value::Object(checked)
    }
}

fn put(map: &mut Map<String, Value>, field: &Field, value: Value) {
    if field.kind.starts_with("map<") {
        let all = map.entry(&field.name).or_insert_with(|| Value::Object(Map::new()));
        if let (Value::Object(all), Value::Object(one)) = (all, value) {
            all.extend(one);
        }
    } else if field.repeated {
        let all = map.entry(&field.name).or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(all) = all {
            all.push(value);
        }
    } else {
        map.insert(field.name.clone(), value);
    }
}

/// One entry of a map: key in field 1, value in field 2; what is left out is empty or 0.
fn entry(kind: &str, bytes: &[u8]) -> Value {
    let is_number = kind.ends_with("uint64>");
    let (mut key, mut value) = (String::new(), if is_number { Value::from(0) } else { Value::from("") });
    let mut rest = bytes;
    while !rest.is_empty() {
        let Ok((number, wire)) = decode_key(&mut rest) else { return unknown(bytes) };
        let Ok(first) = decode_varint(&mut rest) else { return unknown(bytes) };
        let text = match wire {
            WireType::LengthDelimited => match usize::try_from(first).ok().and_then(|length| take(&mut rest, length)) {
                Some(text) => String::from_utf8_lossy(text).into_owned(),
                None => return unknown(bytes),
            },
            _ => String::new(),
        };
        match number {
            1 => key = text,
            2 if is_number => value = first.into(),
            2 => value = text.into(),
            _ => return unknown(bytes),
        }
    }
    Value::Object([(key, value)].into_iter().collect())
}

fn varint(kind: &str, value: u64) -> Value {
    if kind == "bool" { (value != 0).into() } else { value.into() }
}

fn sixty_four(kind: &str, bytes: [u8; 8]) -> Value {
    match kind {
        "double" => f64::from_le_bytes(bytes).into(),
        "sfixed64" => i64::from_le_bytes(bytes).into(),
        _ => u64::from_le_bytes(bytes).into(),
    }
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    Some(taken)
}

fn shown(bytes: &[u8]) -> Value {
    if bytes.len() <= SHORT_BYTES { HEXLOWER.encode(bytes).into() } else { format!("base64:{}", BASE64.encode(bytes)).into() }
}

/// Bytes of which the contract says nothing, whole.
fn unknown(bytes: &[u8]) -> Value {
    Value::Object([(NOT_IN_CONTRACT.to_owned(), shown(bytes))].into_iter().collect())
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
