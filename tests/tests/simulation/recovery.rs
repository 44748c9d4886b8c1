//! The gateway's alerts as records of the spool, and put together again from what a start recovers.

use bytes::Bytes;
use postern_engine::alert::AlertEngine;
use postern_engine::rule::RuleIndex;
use postern_protocol::alert::{Alert, AlertState};
use postern_protocol::id::Lane;
use postern_protocol::message::{Up, up};
use postern_uplink::spool::{Record, Recovered, Replayed, Worth};

use crate::gateway::Open;
use crate::world::Violation;

/// Why a step did not end well.
#[derive(Debug)]
pub(crate) enum Stop {
    /// An invariant does not hold.
    Broken(Violation),
    /// The program has to end: its disk failed it, or the machine died.
    Process(String),
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::Process(error.to_string())
    }
}

impl From<Violation> for Stop {
    fn from(violation: Violation) -> Self {
        Self::Broken(violation)
    }
}

pub(crate) fn record(alert: &Alert, content: Vec<u8>) -> Record {
    let worth = if alert.state == AlertState::Open { Worth::Open } else { Worth::Ended };
    // One digit of the kind is its whole identity.
    let key = alert.key.kind.bytes().last().map_or(0, u64::from);
    Record { lane: Lane::Alerts, bytes: Bytes::from(content), key, worth }
}

/// Puts the alerts together from what the spool recovered; says which commit was the last.
pub(crate) fn restore(recovered: Recovered) -> Result<(AlertEngine, u64), Stop> {
    let refuse = |what: &str| Stop::Broken(Violation::broken(format!("the spool hands back {what}")));
    let mut commit = 0;
    let mut engine = match recovered.checkpoint.as_deref().map(<[u8]>::split_first_chunk::<8>) {
        None => AlertEngine::new(rules()),
        Some(Some((number, rest))) => {
            commit = u64::from_le_bytes(*number);
            AlertEngine::restore(rules(), rest).map_err(|_| refuse("a checkpoint that is none"))?
        }
        Some(None) => return Err(refuse("a checkpoint that is none")),
    };
    for replayed in recovered.later {
        match replayed {
            Replayed::Delta(bytes) => {
                let number = <[u8; 8]>::try_from(bytes.as_slice()).map_err(|_| refuse("a delta that is none"))?;
                commit = commit.max(u64::from_le_bytes(number));
            }
            Replayed::Record { lane: Lane::Alerts, bytes } => {
                engine.apply(Alert::decode(&bytes).map_err(|_| refuse("an alert that is none"))?);
            }
            Replayed::Record { .. } => {}
        }
    }
    Ok((engine, commit))
}

/// No rules: what is reported here is about the gateway itself, which needs none.
fn rules() -> RuleIndex {
    RuleIndex::compile(&postern_protocol::revision::parse(br#"{"format": 1, "rules": []}"#).unwrap()).unwrap()
}

pub(crate) fn open_alerts(engine: &AlertEngine) -> Vec<Open> {
    let open = engine.open_alerts().map(|alert| (alert.key.kind.clone(), alert.occurrence, alert.revision, alert.count));
    let mut open: Vec<_> = open.collect();
    open.sort_unstable();
    open
}

pub(crate) fn kind_of(message: &Up) -> String {
    match &message.kind {
        Some(up::Kind::RevisionStatus(status)) => format!("revision {} {:?}", status.number, status.state()),
        Some(up::Kind::Resent(resent)) => format!("resent since {} up to {}", resent.since_revision, resent.sequence),
        Some(_) => "something".to_owned(),
        None => "nothing".to_owned(),
    }
}
