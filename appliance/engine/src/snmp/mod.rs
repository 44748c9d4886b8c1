//! SNMP notifications: v1 and v2c traps and informs from a datagram, and the Response that answers an inform.
//!
//! A v1 trap becomes what RFC 3584 §3.1 maps it to, so that one rule serves both versions. Owns no socket and sends nothing:
//! the receiver sends [`Message::response`] when the event is durable. Community strings stay in [`Message`] and reach no event.

pub mod engine_id;
mod pdu;
pub mod usm;
mod v3;
mod varbind;

use std::fmt;

use crate::ber::{self, BerError, Fault, Reader, Writer};
use crate::event::Notification;
use crate::ledger::DropReason;

/// Most varbinds that one notification may have.
pub const MAX_VARBINDS: usize = 4_096;

/// A version of SNMP that has communities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// SNMPv1 (RFC 1157).
    V1,
    /// SNMPv2c (RFC 1901).
    V2c,
}

/// Whether the sender wants an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It does not.
    Trap,
    /// It does, and sends again until it has one.
    Inform,
}

/// A message that carries a notification.
#[derive(Clone, PartialEq)]
pub struct Message {
    /// The version it came in.
    pub version: Version,
    /// Whether it wants an answer.
    pub kind: Kind,
    /// The community string: a secret that is sent in the clear.
    pub community: Vec<u8>,
    /// The request-id; 0 for v1, which has none.
    pub request_id: i32,
    /// What it reports.
    pub notification: Notification,
    /// An inform's variable-bindings as they came, for the answer; else empty.
    echo: Vec<u8>,
}

/// Shows everything but the community.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Message");
        out.field("version", &self.version).field("kind", &self.kind).field("request_id", &self.request_id);
        out.field("notification", &self.notification).finish_non_exhaustive()
    }
}

/// Why a datagram is not a notification; always the sender's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It is not the BER or not the grammar of an SNMP message.
    #[error("not a well-formed SNMP message at byte {at}: {what}")]
    Malformed {
        /// Offset in the datagram.
        at: usize,
        /// What is wrong there.
        what: Fault,
    },
    /// A v2c notification that does not say which it is (RFC 3416 §4.2.6).
    #[error("notification without snmpTrapOID.0")]
    NoTrapOid,
    /// More than [`MAX_VARBINDS`].
    #[error("more than {MAX_VARBINDS} varbinds")]
    TooManyVarbinds,
    /// An SNMPv3 message of another security model than the User-based one (3).
    #[error("SNMPv3 security model {0} is not supported")]
    UnsupportedSecurityModel(i64),
    /// Another version than the function decodes: v1 is 0, v2c 1, v3 is 3.
    #[error("SNMP version number {0} is not supported")]
    UnsupportedVersion(i64),
    /// A well-formed message with another PDU than a notification of its version; its tag.
    #[error("PDU {0:#04x} is not a notification of its SNMP version")]
    WrongPdu(u8),
}

impl From<BerError> for DecodeError {
    fn from(error: BerError) -> Self {
        Self::Malformed { at: error.at, what: error.fault }
    }
}

impl DecodeError {
    /// Returns the reason under which the ledger counts it.
    pub const fn drop_reason(self) -> DropReason {
        match self {
            Self::Malformed { .. } | Self::NoTrapOid => DropReason::Malformed,
            Self::TooManyVarbinds => DropReason::TooMany,
            Self::UnsupportedSecurityModel(_) | Self::UnsupportedVersion(_) => DropReason::UnsupportedVersion,
            Self::WrongPdu(_) => DropReason::WrongPdu,
        }
    }
}

/// Reads only the version number: 0 is v1, 1 is v2c, 3 is v3.
///
/// # Errors
/// [`DecodeError::Malformed`].
pub fn version(datagram: &[u8]) -> Result<i64, DecodeError> {
    Ok(Reader::new(datagram).expect(ber::SEQUENCE)?.reader().expect(ber::INTEGER)?.integer()?)
}

/// Decodes one datagram as an SNMPv1 or v2c notification.
///
/// Bytes after the message are ignored, as net-snmp does: some agents pad their datagrams.
///
/// # Errors
/// [`DecodeError`], one for each reason; a datagram is taken whole or not at all.
pub fn decode(datagram: &[u8]) -> Result<Message, DecodeError> {
    let mut message = Reader::new(datagram).expect(ber::SEQUENCE)?.reader();
    let version = match message.expect(ber::INTEGER)?.integer()? {
        0 => Version::V1,
        1 => Version::V2c,
        other => return Err(DecodeError::UnsupportedVersion(other)),
    };
    let community = message.expect(ber::OCTET_STRING)?.content.to_vec();
    let pdu = message.element()?;
    message.finish()?;
    match (version, pdu.tag) {
        (Version::V1, pdu::TRAP_V1) => {
            let notification = pdu::trap_v1(pdu.reader())?;
            Ok(Message { version, kind: Kind::Trap, community, request_id: 0, notification, echo: Vec::new() })
        }
        (Version::V2c, pdu::TRAP_V2) => {
            let (request_id, notification, _) = pdu::notification_v2(pdu.reader())?;
            Ok(Message { version, kind: Kind::Trap, community, request_id, notification, echo: Vec::new() })
        }
        (Version::V2c, pdu::INFORM) => {
            let (request_id, notification, varbinds) = pdu::notification_v2(pdu.reader())?;
            Ok(Message { version, kind: Kind::Inform, community, request_id, notification, echo: varbinds.to_vec() })
        }
        (Version::V1 | Version::V2c, pdu::FIRST..=pdu::LAST) => Err(DecodeError::WrongPdu(pdu.tag)),
        (Version::V1 | Version::V2c, tag) => Err(pdu.error(Fault::UnknownTag(tag)).into()),
    }
}

impl Message {
    /// Returns the datagram that answers an inform, or `None` for a trap.
    ///
    /// RFC 3416 §4.2.7: a Response with the inform's request-id and variable-bindings, error-status `noError`, error-index 0.
    pub fn response(&self) -> Option<Vec<u8>> {
        let version = match (self.version, self.kind) {
            (Version::V2c, Kind::Inform) => 1,
            (Version::V1 | Version::V2c, Kind::Trap) | (Version::V1, Kind::Inform) => return None,
        };
        let mut out = Writer::default();
        out.constructed(ber::SEQUENCE, |message| {
            message.integer(ber::INTEGER, version);
            message.element(ber::OCTET_STRING, &self.community);
            pdu::response(message, self.request_id, &self.echo);
        });
        Some(out.into_bytes())
    }
}

#[cfg(test)]
mod tests;
