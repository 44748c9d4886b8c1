//! How a roll-out goes on: which gateway is in which stage, who is next, and when it stops. Pure.

use std::fmt;
use std::str::FromStr;

use postern_protocol::id::{GatewayId, RevisionNumber};
use serde::{Deserialize, Serialize};

use crate::store::revisions::RevisionState;

/// How far a stage reaches: that many of all gateways have the change after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum Stage {
    /// All of them.
    All,
    /// So many.
    Count(u32),
    /// This part of them, rounded up.
    Percent(u8),
}

/// How a stage is written: `1`, `"10 %"`, `"all"`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Count(u32),
    Text(String),
}

/// A stage that means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stage is a number of gateways, a part such as \"10 %\", or \"all\", not {0:?}")]
pub struct StageError(String);

impl TryFrom<Written> for Stage {
    type Error = StageError;

    fn try_from(written: Written) -> Result<Self, StageError> {
        match written {
            Written::Count(0) => Err(StageError("0".to_owned())),
            Written::Count(count) => Ok(Self::Count(count)),
            Written::Text(text) => text.parse(),
        }
    }
}

impl From<Stage> for Written {
    fn from(stage: Stage) -> Self {
        match stage {
            Stage::Count(count) => Self::Count(count),
            Stage::All | Stage::Percent(_) => Self::Text(stage.to_string()),
        }
    }
}

impl FromStr for Stage {
    type Err = StageError;

    fn from_str(text: &str) -> Result<Self, StageError> {
        let wrong = || StageError(text.chars().take(40).collect());
        let text = text.trim();
        if text == "all" {
            return Ok(Self::All);
        }
        match text.strip_suffix('%') {
            Some(part) => part.trim().parse().ok().filter(|part| (1..=100).contains(part)).map(Self::Percent).ok_or_else(wrong),
            None => text.parse().ok().filter(|count| *count > 0).map(Self::Count).ok_or_else(wrong),
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => out.write_str("all"),
            Self::Count(count) => write!(out, "{count}"),
            Self::Percent(part) => write!(out, "{part} %"),
        }
    }
}

/// Returns the stage of each of `gateways`, from 1. Stages that reach no further than the one before are empty; what none reaches is
/// in the last one.
pub fn assign(stages: &[Stage], gateways: usize) -> Vec<u32> {
    let mut assigned = Vec::with_capacity(gateways);
    for (number, stage) in (1_u32..).zip(stages) {
        let reach = match stage {
            Stage::All => gateways,
            Stage::Count(count) => usize::try_from(*count).unwrap_or(usize::MAX).min(gateways),
            Stage::Percent(part) => gateways.saturating_mul(usize::from(*part)).div_ceil(100),
        };
        assigned.resize(reach.max(assigned.len()), number);
    }
    let last = u32::try_from(stages.len()).unwrap_or(u32::MAX).max(1);
    assigned.resize(gateways, last);
    assigned
}

/// What is done about a gateway that is not connected when its turn comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Offline {
    /// It is left out.
    Skip,
    /// The stage waits for it.
    #[default]
    Wait,
}

/// What is done when a gateway refuses the change or takes it back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The others get it all the same.
    GoOn,
    /// Nobody else gets it.
    #[default]
    Stop,
}

/// How far a roll-out got with one gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberState {
    /// It is in force and confirmed.
    Done,
    /// It was refused or taken back.
    Failed,
    /// It was made the desired configuration.
    Sent,
    /// It is left out.
    Skipped,
    /// Its turn has not come.
    Waiting,
}

impl MemberState {
    /// Returns the state's name in APIs and stores.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Sent => "sent",
            Self::Skipped => "skipped",
            Self::Waiting => "waiting",
        }
    }
}

/// One gateway of a roll-out, and how it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Which.
    pub gateway: GatewayId,
    /// Its stage, from 1.
    pub stage: u32,
    /// How far the roll-out got with it.
    pub state: MemberState,
    /// The revision that it got.
    pub revision: Option<RevisionNumber>,
    /// How that stands, and why, if it is undone.
    pub stands: Option<(RevisionState, String)>,
    /// The newest revision of the gateway.
    pub newest: RevisionNumber,
    /// Whether it has a session.
    pub connected: bool,
    /// Whether its identity is still good.
    pub revoked: bool,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The roll-out is over.
    Finish,
    /// Note how far it got with a gateway.
    Mark {
        /// Which.
        gateway: GatewayId,
        /// How far.
        state: MemberState,
        /// Why, for a person; empty when done.
        reason: String,
    },
    /// Make the change the gateway's desired configuration.
    Send {
        /// Which.
        gateway: GatewayId,
    },
    /// End the roll-out: a gateway failed.
    Stop {
        /// Why, for a person.
        reason: String,
    },
}

/// Returns what is to be done; empty while gateways are waited for. Marks come alone: they decide what is next.
pub fn next(offline: Offline, on_failure: OnFailure, members: &[Member]) -> Vec<Step> {
    let marks: Vec<Step> = members.iter().filter_map(|member| settle(offline, member)).collect();
    if !marks.is_empty() {
        return marks;
    }
    let failed = members.iter().find(|member| member.state == MemberState::Failed);
    if let Some(failed) = failed.filter(|_| on_failure == OnFailure::Stop) {
        return vec![Step::Stop { reason: format!("{} failed in stage {}", failed.gateway, failed.stage) }];
    }
    let open = |member: &&Member| matches!(member.state, MemberState::Sent | MemberState::Waiting);
    let Some(stage) = members.iter().filter(open).map(|member| member.stage).min() else { return vec![Step::Finish] };
    let turn = members.iter().filter(|member| member.stage == stage && member.state == MemberState::Waiting);
    turn.map(|member| Step::Send { gateway: member.gateway.clone() }).collect()
}

fn settle(offline: Offline, member: &Member) -> Option<Step> {
    let mark = |state, reason: String| Some(Step::Mark { gateway: member.gateway.clone(), state, reason });
    let open = matches!(member.state, MemberState::Sent | MemberState::Waiting);
    if !open {
        return None;
    }
    let stands = member.stands.as_ref().map(|(state, reason)| (*state, reason));
    match (member.state, stands) {
        (MemberState::Sent, Some((RevisionState::Applied, _))) => mark(MemberState::Done, String::new()),
        (MemberState::Sent, Some((state, reason))) if state.is_undone() => {
            mark(MemberState::Failed, format!("revision {}: {reason}", state.name()))
        }
        _ if member.revoked => mark(MemberState::Skipped, "the gateway was revoked".to_owned()),
        (MemberState::Sent, _) if member.revision.is_some_and(|revision| revision < member.newest) => {
            mark(MemberState::Skipped, format!("revision {} was saved over it", member.newest))
        }
        // One that took it in comes back with it, or tells that it went back.
        (MemberState::Sent, Some((RevisionState::Desired, _))) | (MemberState::Waiting, _)
            if offline == Offline::Skip && !member.connected =>
        {
            mark(MemberState::Skipped, "the gateway was not connected".to_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, stage: u32, state: MemberState) -> Member {
        Member {
            gateway: GatewayId::new(name).unwrap(),
            stage,
            state,
            revision: (state != MemberState::Waiting).then_some(RevisionNumber(2)),
            stands: None,
            newest: RevisionNumber(2),
            connected: true,
            revoked: false,
        }
    }

    fn stands(state: RevisionState, member: Member) -> Member {
        Member { stands: Some((state, "bad".to_owned())), ..member }
    }

    fn go(members: &[Member]) -> Vec<Step> {
        next(Offline::Wait, OnFailure::Stop, members)
    }

    fn send(name: &str) -> Step {
        Step::Send { gateway: GatewayId::new(name).unwrap() }
    }

    #[test]
    fn stages_are_read_as_they_are_written() {
        let stages: Vec<Stage> = serde_json::from_str(r#"[1, "10 %", "25%", "all"]"#).unwrap();
        assert_eq!(stages, [Stage::Count(1), Stage::Percent(10), Stage::Percent(25), Stage::All]);
        assert_eq!(serde_json::to_string(&stages).unwrap(), r#"[1,"10 %","25 %","all"]"#);
        for wrong in ["0", "\"0 %\"", "\"101 %\"", "\"some\"", "-1"] {
            assert!(serde_json::from_str::<Stage>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn each_stage_reaches_further_and_the_last_one_everybody() {
        let stages = [Stage::Count(1), Stage::Percent(10), Stage::All];
        assert_eq!(assign(&stages, 3), [1, 3, 3]);
        let many = assign(&stages, 40);
        assert_eq!([1, 2, 3].map(|stage| many.iter().filter(|one| **one == stage).count()), [1, 3, 36]);
        assert_eq!(assign(&[Stage::Count(2)], 3), [1, 1, 1], "nobody is forgotten");
        assert!(assign(&stages, 0).is_empty());
    }

    #[test]
    fn a_stage_begins_when_the_one_before_is_done() {
        let (waiting, sent, done) = (MemberState::Waiting, MemberState::Sent, MemberState::Done);
        assert_eq!(go(&[member("a", 1, waiting), member("b", 2, waiting), member("c", 2, waiting)]), [send("a")]);
        let on_trial = stands(RevisionState::Provisional, member("a", 1, sent));
        assert_eq!(go(&[on_trial, member("b", 2, waiting)]), []);
        assert_eq!(go(&[member("a", 1, done), member("b", 2, waiting), member("c", 2, waiting)]), [send("b"), send("c")]);
        assert_eq!(go(&[member("a", 1, done), member("b", 2, done)]), [Step::Finish]);
    }

    #[test]
    fn a_failure_stops_it_or_does_not_as_it_says() {
        let failing = [stands(RevisionState::Reverted, member("a", 1, MemberState::Sent)), member("b", 2, MemberState::Waiting)];
        let gateway = GatewayId::new("a").unwrap();
        let mark = Step::Mark { gateway, state: MemberState::Failed, reason: "revision reverted: bad".to_owned() };
        assert_eq!(go(&failing), [mark]);
        let failed = [member("a", 1, MemberState::Failed), member("b", 2, MemberState::Waiting)];
        assert_eq!(go(&failed), [Step::Stop { reason: "a failed in stage 1".to_owned() }]);
        assert_eq!(next(Offline::Wait, OnFailure::GoOn, &failed), [send("b")]);
    }

    #[test]
    fn a_gateway_that_is_away_is_waited_for_or_skipped() {
        let away = |state| Member { connected: false, ..member("a", 1, state) };
        assert_eq!(go(&[away(MemberState::Waiting)]), [send("a")], "it gets it when it is back");
        let sent = [stands(RevisionState::Desired, away(MemberState::Sent)), member("b", 2, MemberState::Waiting)];
        assert_eq!(go(&sent), []);
        for away in [away(MemberState::Waiting), stands(RevisionState::Desired, away(MemberState::Sent))] {
            let steps = next(Offline::Skip, OnFailure::Stop, &[away]);
            assert!(matches!(&steps[..], [Step::Mark { state: MemberState::Skipped, .. }]), "{steps:?}");
        }
        let trying = stands(RevisionState::Provisional, away(MemberState::Sent));
        assert_eq!(next(Offline::Skip, OnFailure::Stop, &[trying]), [], "it dials by new settings, perhaps");
    }

    #[test]
    fn what_was_saved_over_or_revoked_is_skipped() {
        let over = Member { newest: RevisionNumber(3), ..stands(RevisionState::Desired, member("a", 1, MemberState::Sent)) };
        let revoked = Member { revoked: true, ..member("a", 1, MemberState::Waiting) };
        for skipped in [over, revoked] {
            assert!(matches!(&go(&[skipped])[..], [Step::Mark { state: MemberState::Skipped, .. }]));
        }
    }
}
