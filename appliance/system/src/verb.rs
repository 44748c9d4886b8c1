//! The broker's protocol: one JSON object per line each way, at most [`MAX_LINE_BYTES`] long.
//!
//! Shared by the three programs. A field or verb that is not here is refused, so that nothing is ignored that someone meant.

use std::net::IpAddr;

use data_encoding::HEXLOWER;
use postern_protocol::status::doctor::Report;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::secret::Secret;
use crate::settings::{Fault, Settings};
use crate::veto::{Listener, Veto};

/// Most bytes of a line, its line feed included.
pub const MAX_LINE_BYTES: usize = 128 * 1024;

/// Where the broker listens.
pub const SOCKET: &str = "/run/postern/broker.sock";

/// Longest time for which SSH can be switched on.
pub const MAX_SSH_MINUTES: u32 = 1440;

/// What the broker can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case", deny_unknown_fields)]
pub enum Verb {
    /// Keep these settings and put them in force, all or none.
    Apply {
        /// All settings; what is left out is unset.
        settings: Box<Settings>,
        /// The enrolment token to use.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<Secret>,
        /// The text of the site's veto; only while none is kept.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        veto: Option<String>,
    },
    /// Tell what the gateway's doctor found last.
    Doctor {},
    /// Enrolment has ended; the token is erased.
    EnrolFinished {
        /// How.
        outcome: EnrolOutcome,
    },
    /// Erase all data at the next start, and start anew.
    FactoryReset {
        /// The appliance's host name, so that it is the one that is meant.
        confirm_hostname: String,
    },
    /// Look at once whether the firewall still fits.
    Firewall {},
    /// What first boot did.
    FirstbootReport {
        /// The report.
        report: FirstbootReport,
    },
    /// Switch the machine off.
    PowerOff {},
    /// Start the machine anew.
    Reboot {},
    /// Tell about the two system slots.
    Slots {},
    /// Switch SSH on or off.
    Ssh {
        /// Which.
        state: SshState,
    },
    /// Tell how the appliance is.
    Status {},
}

impl Verb {
    /// Returns the name as on the wire.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Apply { .. } => "apply",
            Self::Doctor {} => "doctor",
            Self::EnrolFinished { .. } => "enrol_finished",
            Self::FactoryReset { .. } => "factory_reset",
            Self::Firewall {} => "firewall",
            Self::FirstbootReport { .. } => "firstboot_report",
            Self::PowerOff {} => "power_off",
            Self::Reboot {} => "reboot",
            Self::Slots {} => "slots",
            Self::Ssh { .. } => "ssh",
            Self::Status {} => "status",
        }
    }

    /// Writes the verb for the audit: without token and password, the veto by its hash.
    pub(crate) fn for_audit(&self) -> Value {
        match self {
            Self::Apply { settings, token, veto } => json!({
                "verb": self.name(),
                "settings": settings.without_secrets(),
                "token": token.as_ref().map(|_| "given"),
                "veto_sha256": veto.as_ref().map(|text| HEXLOWER.encode(&Sha256::digest(text.as_bytes()))),
            }),
            Self::Doctor {}
            | Self::EnrolFinished { .. }
            | Self::FactoryReset { .. }
            | Self::Firewall {}
            | Self::FirstbootReport { .. }
            | Self::PowerOff {}
            | Self::Reboot {}
            | Self::Slots {}
            | Self::Ssh { .. }
            | Self::Status {} => serde_json::to_value(self).unwrap_or_default(),
        }
    }
}

/// How enrolment ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "snake_case", deny_unknown_fields)]
pub enum EnrolOutcome {
    /// The gateway has its identity.
    Enrolled {},
    /// The control plane does not take this token, now or ever.
    Refused {
        /// What it said.
        reason: String,
    },
}

/// Whether SSH is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ssh", rename_all = "snake_case", deny_unknown_fields)]
pub enum SshState {
    /// Off, and sessions end.
    Off {},
    /// On for a time, 1 to [`MAX_SSH_MINUTES`] minutes.
    On {
        /// For how long.
        minutes: u32,
    },
}

/// What first boot did, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FirstbootReport {
    /// How it ended.
    pub outcome: FirstbootOutcome,
    /// Where the settings came from.
    pub source: Option<String>,
    /// What was set, as `key = value`, without secrets.
    pub applied: Vec<String>,
    /// What was wrong.
    pub faults: Vec<Fault>,
    /// What else a person should know.
    pub notes: Vec<String>,
    /// Whether first boot is over; if not it runs again at the next start.
    pub done: bool,
}

/// How first boot ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FirstbootOutcome {
    /// The settings are in force.
    Applied,
    /// Nobody offers settings.
    NothingFound,
    /// The settings have faults; none was applied.
    Refused,
    /// What is offered cannot be read.
    Unreadable,
}

/// The broker's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case", deny_unknown_fields)]
pub enum Reply {
    /// It was tried and went wrong.
    Failed {
        /// Why.
        reason: String,
    },
    /// It is done.
    Ok {
        /// What there is to tell.
        answer: Answer,
    },
    /// It was not tried.
    Refused {
        /// Why.
        reason: String,
    },
}

/// What there is to tell when a verb is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case", deny_unknown_fields)]
pub enum Answer {
    /// To `doctor`.
    Doctor {
        /// What it found last; none before its first look.
        report: Option<Report>,
    },
    /// Nothing more.
    Done {},
    /// To `slots`.
    Slots {
        /// The slots.
        slots: Slots,
    },
    /// To `status`.
    Status {
        /// Everything.
        status: Box<Status>,
    },
}

/// The two system slots, from the names of the signed kernels on the boot partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slots {
    /// Every kernel that is there.
    pub installed: Vec<Slot>,
    /// The name of the slot that runs; none when the kernel's command line does not say.
    pub running: Option<String>,
}

/// One installed system.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slot {
    /// `a` or `b`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// How many starts it has left to prove itself; none when it has.
    pub tries_left: Option<u32>,
}

/// How the appliance is. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// Version of the broker.
    pub version: String,
    /// The host name in force.
    pub hostname: String,
    /// The settings that are kept, without the proxy's password.
    pub settings: Settings,
    /// What of the stored settings or the veto cannot be used, and why. A veto that cannot be read forbids every change.
    pub damage: Option<String>,
    /// The site's veto, when there is one.
    pub veto: Option<Veto>,
    /// Addresses of the network cards.
    pub addresses: Vec<Address>,
    /// How far enrolment is.
    pub enrolment: Enrolment,
    /// What first boot said last.
    pub firstboot: Option<FirstbootReport>,
    /// SSH.
    pub ssh: SshStatus,
    /// The system slots.
    pub slots: Slots,
    /// The firewall.
    pub firewall: Firewall,
    /// Requests that the broker refused since it started, for whatever reason.
    pub refused_requests: u64,
}

/// An address of a network card.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// The card.
    pub interface: String,
    /// Its address.
    pub address: IpAddr,
}

/// How far enrolment is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case", deny_unknown_fields)]
pub enum Enrolment {
    /// The gateway has its identity.
    Enrolled {},
    /// There is no token.
    NoToken {},
    /// There is a token, and it is being tried.
    Pending {},
    /// The token was refused and erased.
    Refused {
        /// Why.
        reason: String,
    },
}

/// Whether SSH is on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ssh", rename_all = "snake_case", deny_unknown_fields)]
pub enum SshStatus {
    /// Nothing listens on 22.
    Off {},
    /// It is on.
    On {
        /// Minutes until it goes off, rounded up.
        minutes_left: u32,
        /// Fingerprints of the host keys, to compare at the first log-in.
        fingerprints: Vec<String>,
    },
}

/// The firewall as it is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Firewall {
    /// Why the last ruleset could not be loaded; the one before is still in force.
    pub failure: Option<String>,
    /// Listeners whose ports are open.
    pub open: Vec<Listener>,
    /// Packets to this machine that were dropped.
    pub dropped_in: u64,
    /// Packets from this machine that were refused.
    pub dropped_out: u64,
    /// Names that DNS does not resolve at the moment.
    pub unresolved: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_have_exactly_their_fields() {
        let parse = |text: &str| serde_json::from_str::<Verb>(text);
        assert_eq!(parse(r#"{"verb":"reboot"}"#).unwrap(), Verb::Reboot {});
        assert_eq!(parse(r#"{"verb":"ssh","state":{"ssh":"on","minutes":5}}"#).unwrap(), Verb::Ssh { state: SshState::On { minutes: 5 } });
        assert_eq!(
            parse(r#"{"verb":"enrol_finished","outcome":{"result":"enrolled"}}"#).unwrap(),
            Verb::EnrolFinished { outcome: EnrolOutcome::Enrolled {} }
        );
        for bad in [
            r#"{"verb":"reboot","now":true}"#,
            r#"{"verb":"shell"}"#,
            r#"{}"#,
            r#"{"verb":"ssh","state":{"ssh":"off","minutes":5}}"#,
            r#"{"verb":"ssh","state":{"ssh":"on","minutes":-5}}"#,
            r#"{"verb":"reboot","verb":"power_off"}"#,
            r#"{"verb":"apply"}"#,
            r#"{"verb":"apply","settings":{"hostname":"a","hostname":"b"}}"#,
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_is_not_printed() {
        let verb = Verb::Apply { settings: Box::default(), token: Some(Secret::new("postern1.x".into())), veto: None };
        assert!(!format!("{verb:?}").contains("postern1"));
        assert!(serde_json::to_string(&verb).unwrap().contains("postern1.x"));
        assert!(!verb.for_audit().to_string().contains("postern1"));
    }
}
