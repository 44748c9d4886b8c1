//! What a gateway says of its intake, as people read it: the canary, agents, its SNMP engine, its names of OIDs, warnings. Pure.

use data_encoding::HEXLOWER;
use postern_protocol::status::intake::{AgentAccount, CanaryPath, CanaryState, Intake};
use postern_protocol::timestamp::Timestamp;

use crate::console::figures;
use crate::console::moment::Moment;

/// One path that the canary tries.
pub(super) struct CanaryLine {
    pub(super) path: String,
    pub(super) class: &'static str,
    pub(super) state: &'static str,
    pub(super) last_ok: Option<Moment>,
    pub(super) broken: String,
}

/// One agent.
pub(super) struct AgentLine {
    pub(super) agent: String,
    pub(super) open: String,
    pub(super) tunnels: String,
    pub(super) refused: String,
    pub(super) refused_some: bool,
    pub(super) up: String,
    pub(super) down: String,
}

/// Our SNMP engine at the gateway.
pub(super) struct EngineLine {
    pub(super) id: String,
    pub(super) boots: u32,
}

/// The whole of it.
pub(super) struct IntakeLines {
    pub(super) agents: Vec<AgentLine>,
    pub(super) canary: Vec<CanaryLine>,
    pub(super) dictionary: String,
    pub(super) dictionary_waits: bool,
    pub(super) engine: Option<EngineLine>,
    pub(super) unknown_oids: usize,
    pub(super) waiting: usize,
    pub(super) warnings: Vec<String>,
}

impl IntakeLines {
    /// Puts it into words; `wanted` is the digest of the tenant's dictionary.
    pub(super) fn new(intake: &Intake, wanted: Option<[u8; 32]>, now: Timestamp) -> Self {
        let wanted = wanted.map(|digest| HEXLOWER.encode(&digest));
        Self {
            agents: intake.agents.iter().map(agent).collect(),
            canary: intake.canary.iter().map(|path| canary(path, now)).collect(),
            dictionary: dictionary(intake.dictionary.as_deref(), wanted.as_deref()),
            dictionary_waits: wanted.is_some() && wanted != intake.dictionary,
            engine: intake.snmp_engine.as_ref().map(|engine| EngineLine { id: engine.engine_id.clone(), boots: engine.boots }),
            unknown_oids: intake.unknown_oids.len(),
            waiting: intake.waiting_room.len(),
            warnings: intake.warnings.clone(),
        }
    }
}

fn dictionary(has: Option<&str>, wanted: Option<&str>) -> String {
    match (has, wanted) {
        (None, None) => "built-in names".to_owned(),
        (has, wanted) if has == wanted => "built-in and uploaded modules".to_owned(),
        (None, Some(_)) => "built-in names; the uploaded modules are on their way".to_owned(),
        (Some(_), Some(_)) => "an earlier state of the uploaded modules; the present one is on its way".to_owned(),
        (Some(_), None) => "modules that are not uploaded here".to_owned(),
    }
}

fn canary(path: &CanaryPath, now: Timestamp) -> CanaryLine {
    let (class, state) = match path.state {
        CanaryState::Busy => ("applied", "real traffic"),
        CanaryState::Ok => ("applied", "came through"),
        CanaryState::Missed => ("failed", "missed"),
        CanaryState::Waiting => ("", "not tried yet"),
    };
    let name = match path.path.as_str() {
        "proxy" => "CONNECT",
        "snmp_trap" => "SNMP trap",
        "syslog_tcp" => "syslog over TCP",
        "syslog_tls" => "syslog over TLS",
        "syslog_udp" => "syslog over UDP",
        other => other,
    };
    let last_ok = path.last_ok.map(|at| Moment::from_nanos(at, now));
    CanaryLine { path: name.to_owned(), class, state, last_ok, broken: path.broken.clone() }
}

fn agent(one: &AgentAccount) -> AgentLine {
    AgentLine {
        agent: one.agent.clone(),
        open: figures::count(one.open),
        tunnels: figures::count(one.tunnels),
        refused: figures::count(one.refused),
        refused_some: one.refused > 0,
        up: figures::bytes(one.bytes_up),
        down: figures::bytes(one.bytes_down),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dictionary_that_is_not_the_present_one_is_said_so() {
        let digest = HEXLOWER.encode(&[1; 32]);
        let of = |has: Option<&str>, wanted| {
            IntakeLines::new(&Intake { dictionary: has.map(str::to_owned), ..Intake::default() }, wanted, Timestamp::from_secs(0))
        };
        assert!(!of(None, None).dictionary_waits && !of(Some(&digest), Some([1; 32])).dictionary_waits);
        assert!(of(None, Some([1; 32])).dictionary_waits && of(Some("00"), Some([1; 32])).dictionary_waits);
    }
}
