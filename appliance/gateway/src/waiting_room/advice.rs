//! What to do about a refused notification, in a sentence for whoever configures the site.

use data_encoding::HEXLOWER;
use postern_engine::ledger::DropReason;

use super::{Refused, level, readable};

/// Where snmpEngineBoots ends (RFC 3414 §2.2.2).
const LATCHED: u32 = 2_147_483_647;

/// Whose engine is authoritative (RFC 3414 §1.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Authority {
    /// Ours: an inform.
    Ours,
    /// The sender's: a trap.
    Senders,
}

/// What a message said of its engine's clock, and what was known (RFC 3414 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clocks {
    /// msgAuthoritativeEngineBoots.
    pub(crate) sent_boots: u32,
    /// msgAuthoritativeEngineTime, seconds.
    pub(crate) sent_time: u32,
    /// The boots that were known.
    pub(crate) known_boots: u32,
    /// The time that it should be, seconds.
    pub(crate) known_time: u32,
}

/// Writes the sentence.
pub(super) fn advice(refused: &Refused<'_>) -> String {
    let (engine, user) = (HEXLOWER.encode(refused.engine_id), readable(refused.user));
    let source = refused.source;
    let binding = match refused.authority {
        Authority::Ours => format!("the network of {source}"),
        Authority::Senders => format!("engine {engine} or the network of {source}"),
    };
    match refused.reason {
        DropReason::UnknownUser => {
            format!("no user \"{user}\" may send from here: add it with its algorithms and passphrases, or bind it to {binding}")
        }
        DropReason::UnknownEngine => format!("no user is bound to {binding}: bind \"{user}\" to it, or add that user first"),
        DropReason::WrongDigest => format!(
            "the authentication passphrase or algorithm of user \"{user}\" is not the one that the device uses, or somebody forges \
             its messages: compare the algorithm, then seal the passphrase again"
        ),
        DropReason::DecryptionFailed => format!(
            "user \"{user}\" authenticates, but the message cannot be decrypted: compare the privacy algorithm and passphrase; \
             Cisco's AES-192 and AES-256 need key_extension reeder"
        ),
        DropReason::LevelTooLow => format!(
            "the device sends as {}, which is less than user \"{user}\" must have: raise the level on the device, \
             or lower the user's minimum_level",
            level(refused.level)
        ),
        DropReason::NotInTimeWindow => refused.clocks.map_or_else(
            || format!("the clock of engine {engine} does not fit: if the device was replaced, reset the engine (snmp.engine_resets)"),
            |clocks| window(&engine, clocks),
        ),
        _ => String::new(),
    }
}

fn window(engine: &str, clocks: Clocks) -> String {
    let Clocks { sent_boots, sent_time, known_boots, known_time } = clocks;
    let reset = "if the device was replaced or reset, reset the engine (snmp.engine_resets); if not, somebody replays old messages";
    if sent_boots == LATCHED || known_boots == LATCHED {
        return format!(
            "snmpEngineBoots of engine {engine} is used up: the device needs a new engine ID, as its manual tells (RFC 3414 §2.2.3)"
        );
    }
    if sent_boots < known_boots {
        return format!("the device's clock went back: snmpEngineBoots {sent_boots} where {known_boots} was known; {reset}");
    }
    let behind = known_time.saturating_sub(sent_time);
    format!(
        "the device's clock went back: with the same snmpEngineBoots {sent_boots} its time is {sent_time} s, {behind} s behind what is known, \
         so it restarted without counting its boots, or its messages are late by that much; {reset}"
    )
}
