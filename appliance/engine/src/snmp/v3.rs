//! The SNMPv3 message (RFC 3412 §6) with the parameters of the User-based Security Model (RFC 3414 §2.4), read and written.
//!
//! Knows no key: tags and ciphertext are bytes here. [`super::usm`] calls it.

use postern_protocol::revision::intake::SecurityLevel;

use super::DecodeError;
use super::usm::EngineTime;
use crate::ber::{self, BerError, Element, Fault, Reader, Writer};

/// msgVersion of SNMPv3.
const VERSION: i64 = 3;
/// msgSecurityModel of the User-based one.
const SECURITY_MODEL: i64 = 3;
/// The bits of msgFlags (RFC 3412 §6.4).
const AUTH: u8 = 1;
const PRIV: u8 = 2;
const REPORTABLE: u8 = 4;
/// The least msgMaxSize.
const MIN_MAX_SIZE: i32 = 484;
/// Most bytes of msgUserName (RFC 3414 §2.4).
const MAX_USER_BYTES: usize = 32;
/// What we say that we can take: the largest datagram.
const OUR_MAX_SIZE: i64 = 65_507;

/// A message, before any of it is believed.
pub(super) struct Envelope<'a> {
    /// The message without bytes that follow it, and where its tag is.
    whole: &'a [u8],
    tag_at: usize,
    /// msgID.
    pub(super) id: i32,
    /// What msgFlags says of security.
    pub(super) level: SecurityLevel,
    /// Whether the sender wants a Report when something is wrong.
    pub(super) reportable: Reportable,
    /// msgAuthoritativeEngineID, of any length.
    pub(super) engine: &'a [u8],
    /// msgAuthoritativeEngineBoots and msgAuthoritativeEngineTime.
    pub(super) time: EngineTime,
    /// msgUserName.
    pub(super) user: &'a [u8],
    /// msgAuthenticationParameters.
    pub(super) tag: &'a [u8],
    /// msgPrivacyParameters.
    pub(super) salt: &'a [u8],
    /// The content of encryptedPDU, or the scopedPDU as it stands.
    pub(super) data: &'a [u8],
}

/// The reportableFlag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reportable {
    No,
    Yes,
}

/// A scopedPDU in the clear.
pub(super) struct ScopedPdu<'a> {
    /// All of it, without padding.
    pub(super) whole: &'a [u8],
    /// contextEngineID.
    pub(super) context_engine: &'a [u8],
    /// contextName.
    pub(super) context_name: &'a [u8],
    /// The PDU.
    pub(super) pdu: Element<'a>,
}

impl<'a> Envelope<'a> {
    /// Reads a message. Bytes after it are ignored, as they are for v1 and v2c.
    pub(super) fn parse(datagram: &'a [u8]) -> Result<Self, DecodeError> {
        let mut outside = Reader::new(datagram);
        let mut message = outside.expect(ber::SEQUENCE)?.reader();
        let whole = datagram.get(..outside.position()).unwrap_or_default();
        match message.expect(ber::INTEGER)?.integer()? {
            VERSION => {}
            other => return Err(DecodeError::UnsupportedVersion(other)),
        }
        let header = message.expect(ber::SEQUENCE)?;
        let parameters = message.expect(ber::OCTET_STRING)?;
        let data = message.element()?;
        message.finish()?;

        let mut header = header.reader();
        let id = at_least(0, &header.expect(ber::INTEGER)?)?;
        at_least(MIN_MAX_SIZE, &header.expect(ber::INTEGER)?)?;
        let (level, reportable) = flags(&header.expect(ber::OCTET_STRING)?)?;
        match header.expect(ber::INTEGER)?.integer()? {
            SECURITY_MODEL => {}
            other => return Err(DecodeError::UnsupportedSecurityModel(other)),
        }
        header.finish()?;

        let mut inside = parameters.reader();
        let mut parameters = inside.expect(ber::SEQUENCE)?.reader();
        inside.finish()?;
        let engine = parameters.expect(ber::OCTET_STRING)?.content;
        let boots = at_least(0, &parameters.expect(ber::INTEGER)?)?.cast_unsigned();
        let time = at_least(0, &parameters.expect(ber::INTEGER)?)?.cast_unsigned();
        let user = parameters.expect(ber::OCTET_STRING)?;
        if user.content.len() > MAX_USER_BYTES {
            return Err(user.error(Fault::Number).into());
        }
        let tag = parameters.expect(ber::OCTET_STRING)?;
        let salt = parameters.expect(ber::OCTET_STRING)?.content;
        parameters.finish()?;

        let data = match (level, data.tag) {
            (SecurityLevel::AuthPriv, ber::OCTET_STRING) => data.content,
            (SecurityLevel::AuthNoPriv | SecurityLevel::NoAuthNoPriv, ber::SEQUENCE) => datagram.get(data.position()..).unwrap_or_default(),
            (_, found) => {
                let expected = if level == SecurityLevel::AuthPriv { ber::OCTET_STRING } else { ber::SEQUENCE };
                return Err(data.error(Fault::UnexpectedTag { expected, found }).into());
            }
        };
        let time = EngineTime { boots, time };
        Ok(Self { whole, tag_at: tag.content_at(), id, level, reportable, engine, time, user: user.content, tag: tag.content, salt, data })
    }

    /// Returns the bytes before the tag and those behind it: what is authenticated, around zeros (RFC 3414 §6.3.2).
    pub(super) fn around_tag(&self) -> (&'a [u8], &'a [u8]) {
        let before = self.whole.get(..self.tag_at).unwrap_or_default();
        let after = self.whole.get(self.tag_at.saturating_add(self.tag.len())..).unwrap_or_default();
        (before, after)
    }
}

impl<'a> ScopedPdu<'a> {
    /// Reads a scopedPDU; what follows it is padding (RFC 3414 §8.1.1.2).
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, BerError> {
        let mut outside = Reader::new(bytes);
        let mut scoped = outside.expect(ber::SEQUENCE)?.reader();
        let whole = bytes.get(..outside.position()).unwrap_or_default();
        let context_engine = scoped.expect(ber::OCTET_STRING)?.content;
        let context_name = scoped.expect(ber::OCTET_STRING)?.content;
        let pdu = scoped.element()?;
        scoped.finish()?;
        Ok(Self { whole, context_engine, context_name, pdu })
    }

    /// Returns the request-id, which every PDU but the v1 trap begins with.
    pub(super) fn request_id(&self) -> Option<i32> {
        self.pdu.reader().expect(ber::INTEGER).ok()?.integer32().ok()
    }
}

fn at_least(least: i32, element: &Element<'_>) -> Result<i32, BerError> {
    let number = element.integer32()?;
    if number >= least { Ok(number) } else { Err(element.error(Fault::Number)) }
}

fn flags(element: &Element<'_>) -> Result<(SecurityLevel, Reportable), BerError> {
    let [flags] = element.content else { return Err(element.error(Fault::Number)) };
    let level = match flags & (AUTH | PRIV) {
        0 => SecurityLevel::NoAuthNoPriv,
        AUTH => SecurityLevel::AuthNoPriv,
        // RFC 3412 §6.4: privacy without authentication is no level.
        PRIV => return Err(element.error(Fault::Number)),
        _ => SecurityLevel::AuthPriv,
    };
    Ok((level, if flags & REPORTABLE == 0 { Reportable::No } else { Reportable::Yes }))
}

/// The header of a message that we send.
pub(super) struct Header<'a> {
    /// msgID: that of the message which is answered.
    pub(super) id: i32,
    pub(super) level: SecurityLevel,
    /// Our engine ID and clock.
    pub(super) engine: &'a [u8],
    pub(super) time: EngineTime,
    pub(super) user: &'a [u8],
    /// How many bytes the tag has.
    pub(super) tag_bytes: usize,
    pub(super) salt: &'a [u8],
}

/// Writes a scopedPDU.
pub(super) fn scoped_pdu(context_engine: &[u8], context_name: &[u8], pdu: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut out = Writer::default();
    out.constructed(ber::SEQUENCE, |scoped| {
        scoped.element(ber::OCTET_STRING, context_engine);
        scoped.element(ber::OCTET_STRING, context_name);
        pdu(scoped);
    });
    out.into_bytes()
}

/// Writes a message around a scopedPDU, which is encrypted already when the level says so. The tag is zeros.
pub(super) fn message(header: &Header<'_>, data: &[u8]) -> Vec<u8> {
    let flags = match header.level {
        SecurityLevel::NoAuthNoPriv => 0,
        SecurityLevel::AuthNoPriv => AUTH,
        SecurityLevel::AuthPriv => AUTH | PRIV,
    };
    let mut parameters = Writer::default();
    parameters.constructed(ber::SEQUENCE, |out| {
        out.element(ber::OCTET_STRING, header.engine);
        out.integer(ber::INTEGER, i64::from(header.time.boots));
        out.integer(ber::INTEGER, i64::from(header.time.time));
        out.element(ber::OCTET_STRING, header.user);
        out.element(ber::OCTET_STRING, [0; 64].get(..header.tag_bytes).unwrap_or_default());
        out.element(ber::OCTET_STRING, header.salt);
    });
    let mut out = Writer::default();
    out.constructed(ber::SEQUENCE, |message| {
        message.integer(ber::INTEGER, VERSION);
        message.constructed(ber::SEQUENCE, |out| {
            out.integer(ber::INTEGER, i64::from(header.id));
            out.integer(ber::INTEGER, OUR_MAX_SIZE);
            out.element(ber::OCTET_STRING, &[flags]);
            out.integer(ber::INTEGER, SECURITY_MODEL);
        });
        message.element(ber::OCTET_STRING, &parameters.into_bytes());
        match header.level {
            SecurityLevel::AuthPriv => message.element(ber::OCTET_STRING, data),
            SecurityLevel::AuthNoPriv | SecurityLevel::NoAuthNoPriv => message.raw(data),
        }
    });
    out.into_bytes()
}

/// Fills in the tag of a message that [`message`] wrote: `sign` gets what stands before and behind it.
pub(super) fn sign(message: &mut [u8], sign: impl FnOnce(&[u8], &[u8], &mut [u8])) -> Result<(), DecodeError> {
    let (at, length) = {
        let envelope = Envelope::parse(message)?;
        (envelope.tag_at, envelope.tag.len())
    };
    let Some((before, rest)) = message.split_at_mut_checked(at) else { return Ok(()) };
    let Some((tag, after)) = rest.split_at_mut_checked(length) else { return Ok(()) };
    sign(before, after, tag);
    Ok(())
}
