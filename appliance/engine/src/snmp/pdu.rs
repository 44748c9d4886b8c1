//! The two shapes of a notification: the Trap-PDU of v1 (RFC 1157 §4.1.6) and the PDUs of v2 (RFC 3416 §3).

use std::net::IpAddr;

use postern_protocol::oid::Oid;

use super::DecodeError;
use super::varbind::{self, IP_ADDRESS, TIME_TICKS};
use crate::ber::{self, BerError, Element, Fault, Reader, Writer};
use crate::event::{Notification, Value, Varbind};

/// The lowest tag of a PDU, GetRequest.
pub(super) const FIRST: u8 = 0xa0;
/// Response.
pub(super) const RESPONSE: u8 = 0xa2;
/// The v1 Trap-PDU.
pub(super) const TRAP_V1: u8 = 0xa4;
/// InformRequest.
pub(super) const INFORM: u8 = 0xa6;
/// SNMPv2-Trap.
pub(super) const TRAP_V2: u8 = 0xa7;
/// The highest tag of a PDU.
pub(super) const LAST: u8 = REPORT;
/// Report.
pub(super) const REPORT: u8 = 0xa8;

const SNMP_TRAPS: &[u32] = &[1, 3, 6, 1, 6, 3, 1, 1, 5];
const SNMP_TRAP_ENTERPRISE: &[u32] = &[1, 3, 6, 1, 6, 3, 1, 1, 4, 3, 0];
// Encoded, so that they are recognised without decoding: an OID has only one encoding.
const SYS_UP_TIME: &[u8] = &[0x2b, 6, 1, 2, 1, 1, 3, 0];
const SNMP_TRAP_OID: &[u8] = &[0x2b, 6, 1, 6, 3, 1, 1, 4, 1, 0];
const SNMP_TRAP_ADDRESS: &[u8] = &[0x2b, 6, 1, 6, 3, 18, 1, 3, 0];
const SNMP_TRAP_COMMUNITY: &[u8] = &[0x2b, 6, 1, 6, 3, 18, 1, 4, 0];
const ENTERPRISE_SPECIFIC: i32 = 6;

/// Reads a Trap-PDU and maps it (RFC 3584 §3.1).
///
/// `snmpTrapEnterprise.0` is added, as a proxy would (§3.1 (4)), so that no fact of a generic trap is lost.
pub(super) fn trap_v1(mut pdu: Reader<'_>) -> Result<Notification, DecodeError> {
    let enterprise_field = pdu.expect(ber::OBJECT_IDENTIFIER)?;
    let enterprise = enterprise_field.oid()?;
    let agent = pdu.expect(IP_ADDRESS)?.ipv4()?;
    let generic = pdu.expect(ber::INTEGER)?;
    let specific = pdu.expect(ber::INTEGER)?.unsigned32()?;
    let uptime = pdu.expect(TIME_TICKS)?.unsigned32()?;
    let varbinds = pdu.expect(ber::SEQUENCE)?;
    pdu.finish()?;

    let trap_oid = trap_oid_v1(&enterprise_field, &enterprise, &generic, specific)?;
    let List { mut varbinds, trap_address, .. } = List::read(&varbinds, Leading::Kept)?;
    if !varbinds.iter().any(|varbind| varbind.name.numbers() == SNMP_TRAP_ENTERPRISE) {
        let name = Oid::new(SNMP_TRAP_ENTERPRISE).map_err(|_| enterprise_field.error(Fault::Oid))?;
        varbinds.push(Varbind { name, value: Value::Oid(enterprise) });
    }
    let agent = (!agent.is_unspecified()).then_some(IpAddr::V4(agent));
    Ok(Notification { trap_oid, uptime, trap_address: trap_address.or(agent), engine_id: None, varbinds })
}

/// RFC 3584 §3.1 (2): generic traps have OIDs under `snmpTraps`; specific ones are the enterprise, 0 and the specific number.
fn trap_oid_v1(field: &Element<'_>, enterprise: &Oid, generic: &Element<'_>, specific: u32) -> Result<Oid, BerError> {
    let (base, last) = match generic.integer32()? {
        number @ 0..=5 => (SNMP_TRAPS, &[number.cast_unsigned().saturating_add(1)][..]),
        ENTERPRISE_SPECIFIC => (enterprise.numbers(), &[0, specific][..]),
        _ => return Err(generic.error(Fault::Number)),
    };
    Oid::new(&[base, last].concat()).map_err(|_| field.error(Fault::Oid))
}

/// Reads the PDU of an SNMPv2-Trap or InformRequest: request-id, notification and the raw content of the variable-bindings.
///
/// RFC 3416 §4.2.6 puts `sysUpTime.0` and `snmpTrapOID.0` first; agents that put them elsewhere, or leave out the first, are
/// understood all the same.
pub(super) fn notification_v2(mut pdu: Reader<'_>) -> Result<(i32, Notification, &[u8]), DecodeError> {
    let request_id = pdu.expect(ber::INTEGER)?.integer32()?;
    pdu.expect(ber::INTEGER)?.integer()?;
    pdu.expect(ber::INTEGER)?.integer()?;
    let list = pdu.expect(ber::SEQUENCE)?;
    pdu.finish()?;

    let List { uptime, trap_oid, trap_address, varbinds } = List::read(&list, Leading::Taken)?;
    let uptime = match uptime {
        Some(Value::TimeTicks(ticks)) => ticks,
        Some(_) | None => 0,
    };
    let trap_oid = match trap_oid {
        Some(Value::Oid(oid)) => oid,
        Some(_) | None => return Err(DecodeError::NoTrapOid),
    };
    Ok((request_id, Notification { trap_oid, uptime, trap_address, engine_id: None, varbinds }, list.content))
}

/// Writes a Response-PDU with `noError` around variable-bindings as they came (RFC 3416 §4.2.7).
pub(super) fn response(out: &mut Writer, request_id: i32, varbinds: &[u8]) {
    out.constructed(RESPONSE, |pdu| {
        pdu.integer(ber::INTEGER, i64::from(request_id));
        pdu.integer(ber::INTEGER, 0);
        pdu.integer(ber::INTEGER, 0);
        pdu.element(ber::SEQUENCE, varbinds);
    });
}

/// What the variable-bindings say.
struct List {
    /// The value of `sysUpTime.0`.
    uptime: Option<Value>,
    /// The value of `snmpTrapOID.0`.
    trap_oid: Option<Value>,
    /// The original sender's address (RFC 3584 §3.1).
    trap_address: Option<IpAddr>,
    /// The others.
    varbinds: Vec<Varbind>,
}

/// Whether the first `sysUpTime.0` and `snmpTrapOID.0` mean the notification, as in v2, or are varbinds like others, as in v1.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leading {
    Kept,
    Taken,
}

impl List {
    /// Reads them. `snmpTrapCommunity.0`, a secret that proxies add (RFC 3584 §3.1 (4)), is left out.
    fn read(list: &Element<'_>, leading: Leading) -> Result<Self, DecodeError> {
        // A varbind has at least 7 bytes, and 17 or more as a rule.
        let room = (list.content.len() / 16).clamp(2, 64);
        let mut all = Self { uptime: None, trap_oid: None, trap_address: None, varbinds: Vec::with_capacity(room) };
        varbind::each(list.reader(), |name, value| {
            match (name.content, leading) {
                (SYS_UP_TIME, Leading::Taken) if all.uptime.is_none() => all.uptime = Some(value),
                (SNMP_TRAP_OID, Leading::Taken) if all.trap_oid.is_none() => all.trap_oid = Some(value),
                (SNMP_TRAP_COMMUNITY, _) => {}
                (encoded, _) => {
                    match value {
                        Value::IpAddress(address) if encoded == SNMP_TRAP_ADDRESS && !address.is_unspecified() => {
                            all.trap_address = all.trap_address.or(Some(IpAddr::V4(address)));
                        }
                        _ => {}
                    }
                    all.varbinds.push(Varbind { name: name.oid()?, value });
                }
            }
            Ok(())
        })?;
        Ok(all)
    }
}
