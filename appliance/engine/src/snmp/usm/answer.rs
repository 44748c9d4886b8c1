//! What we send: Reports (RFC 3414 §3.2, RFC 3412 §7.1 (3)) and the Response to an inform (RFC 3416 §4.2.7).

use postern_protocol::oid::Oid;
use postern_protocol::revision::intake::{PrivAlgorithm, SecurityLevel};

use super::EngineTime;
use super::auth::Authenticator;
use super::cipher::{BadLength, Cipher, SALT_BYTES};
use super::key::Key;
use crate::ber::{self, Writer};
use crate::snmp::engine_id::EngineId;
use crate::snmp::pdu;
use crate::snmp::v3::{self, Envelope, Header, ScopedPdu};

/// The counters of RFC 3414 §5, in the order of their OIDs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stat {
    UnsupportedSecLevels = 1,
    NotInTimeWindows = 2,
    UnknownUserNames = 3,
    UnknownEngineIds = 4,
    WrongDigests = 5,
    DecryptionErrors = 6,
}

/// How often each was counted.
#[derive(Default)]
pub(super) struct Stats([u32; 6]);

/// Whom an answer is from.
pub(super) struct From<'a> {
    pub(super) engine: &'a EngineId,
    pub(super) time: EngineTime,
}

/// The keys of an answer; without `privacy` it is not encrypted.
pub(super) struct Keys<'a> {
    pub(super) auth: &'a Authenticator,
    pub(super) privacy: Option<(PrivAlgorithm, &'a Key, u64)>,
}

impl Stats {
    /// Counts, and returns the count, which wraps as Counter32 does.
    pub(super) fn count(&mut self, stat: Stat) -> u32 {
        let Some(count) = self.0.get_mut((stat as usize).wrapping_sub(1)) else { return 0 };
        *count = count.wrapping_add(1);
        *count
    }
}

/// Makes the Report that tells a sender the value of one counter; authenticated when there is a key.
pub(super) fn report(from: &From<'_>, request: &Envelope<'_>, counted: (Stat, u32), keys: Option<&Keys<'_>>) -> Option<Vec<u8>> {
    // RFC 3412 §7.1 (3) c: the request-id when it is known. Nothing is known of what is still encrypted.
    let request_id = match request.level {
        SecurityLevel::AuthPriv => None,
        SecurityLevel::AuthNoPriv | SecurityLevel::NoAuthNoPriv => {
            ScopedPdu::parse(request.data).ok().and_then(|scoped| scoped.request_id())
        }
    };
    let name = Oid::new(&[1, 3, 6, 1, 6, 3, 15, 1, 1, counted.0 as u32, 0]).ok()?;
    let scoped = v3::scoped_pdu(from.engine.as_bytes(), b"", |out| {
        out.constructed(pdu::REPORT, |out| {
            out.integer(ber::INTEGER, i64::from(request_id.unwrap_or(0)));
            out.integer(ber::INTEGER, 0);
            out.integer(ber::INTEGER, 0);
            out.constructed(ber::SEQUENCE, |list| {
                list.constructed(ber::SEQUENCE, |pair| {
                    pair.oid(&name);
                    pair.unsigned(COUNTER32, u64::from(counted.1));
                });
            });
        });
    });
    seal(from, request, scoped, keys).ok()
}

const COUNTER32: u8 = 0x41;

/// Makes the Response to an inform: its msgID, request-id and variable-bindings, at its level.
pub(super) fn response(
    from: &From<'_>,
    request: (&Envelope<'_>, &ScopedPdu<'_>),
    inform: (i32, &[u8]),
    keys: Option<&Keys<'_>>,
) -> Option<Vec<u8>> {
    let (envelope, context) = request;
    let scoped = v3::scoped_pdu(context.context_engine, context.context_name, |out: &mut Writer| pdu::response(out, inform.0, inform.1));
    seal(from, envelope, scoped, keys).ok()
}

fn seal(from: &From<'_>, request: &Envelope<'_>, mut scoped: Vec<u8>, keys: Option<&Keys<'_>>) -> Result<Vec<u8>, BadLength> {
    let salt: [u8; SALT_BYTES];
    let mut header = Header {
        id: request.id,
        level: SecurityLevel::NoAuthNoPriv,
        engine: from.engine.as_bytes(),
        time: from.time,
        user: request.user,
        tag_bytes: 0,
        salt: &[],
    };
    let Some(keys) = keys else { return Ok(v3::message(&header, &scoped)) };
    header.level = SecurityLevel::AuthNoPriv;
    header.tag_bytes = keys.auth.tag_bytes();
    if let Some((algorithm, key, counter)) = keys.privacy {
        salt = Cipher::salt(algorithm, from.time.boots, counter);
        scoped.resize(scoped.len().saturating_add(Cipher::padding(algorithm, scoped.len())), 0);
        Cipher { algorithm, key, clock: from.time, salt }.encrypt(&mut scoped)?;
        header.level = SecurityLevel::AuthPriv;
        header.salt = &salt;
    }
    let mut message = v3::message(&header, &scoped);
    v3::sign(&mut message, |before, after, tag| {
        let zeros = [0; super::auth::MAX_TAG_BYTES];
        keys.auth.sign(&[before, zeros.get(..tag.len()).unwrap_or_default(), after], tag);
    })
    .map_err(|_| BadLength)?;
    Ok(message)
}
