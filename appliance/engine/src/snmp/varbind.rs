//! Lists of varbinds and the ten types of value (RFC 3416 §3, RFC 2578 §7.1).

use super::{DecodeError, MAX_VARBINDS};
use crate::ber::{self, BerError, Element, Fault, Reader};
use crate::event::Value;

pub(super) const IP_ADDRESS: u8 = 0x40;
pub(super) const TIME_TICKS: u8 = 0x43;
const COUNTER32: u8 = 0x41;
const GAUGE32: u8 = 0x42;
const OPAQUE: u8 = 0x44;
const COUNTER64: u8 = 0x46;
// Obsolete, but old agents send them: NsapAddress and UInteger32 (RFC 1442 §7.1.8, §7.1.11).
const NSAP_ADDRESS: u8 = 0x45;
const UINTEGER32: u8 = 0x47;
const NO_SUCH_OBJECT: u8 = 0x80;
const NO_SUCH_INSTANCE: u8 = 0x81;
const END_OF_MIB_VIEW: u8 = 0x82;

/// Reads the content of a variable-bindings list to its end, and hands on each name and value.
pub(super) fn each<'a>(
    mut reader: Reader<'a>,
    mut take: impl FnMut(Element<'a>, Value) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let mut left = MAX_VARBINDS;
    while !reader.is_empty() {
        left = left.checked_sub(1).ok_or(DecodeError::TooManyVarbinds)?;
        let mut pair = reader.expect(ber::SEQUENCE)?.reader();
        let name = pair.expect(ber::OBJECT_IDENTIFIER)?;
        let value = value(&pair.element()?)?;
        pair.finish()?;
        take(name, value)?;
    }
    Ok(())
}

fn value(element: &Element<'_>) -> Result<Value, BerError> {
    Ok(match element.tag {
        ber::INTEGER => Value::Integer(element.integer()?),
        ber::OCTET_STRING | NSAP_ADDRESS => Value::OctetString(element.content.to_vec()),
        ber::OBJECT_IDENTIFIER => Value::Oid(element.oid()?),
        ber::NULL | NO_SUCH_OBJECT | NO_SUCH_INSTANCE | END_OF_MIB_VIEW => {
            element.null()?;
            Value::Null
        }
        IP_ADDRESS => Value::IpAddress(element.ipv4()?),
        COUNTER32 => Value::Counter32(element.unsigned32()?),
        GAUGE32 | UINTEGER32 => Value::Gauge32(element.unsigned32()?),
        TIME_TICKS => Value::TimeTicks(element.unsigned32()?),
        OPAQUE => Value::Opaque(element.content.to_vec()),
        COUNTER64 => Value::Counter64(element.unsigned64()?),
        other => return Err(element.error(Fault::UnknownTag(other))),
    })
}
