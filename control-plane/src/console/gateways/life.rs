//! What keeps a gateway alive, as people read it: what its doctor found, its identity, what it is made of, what it measured, and what
//! happened to it.

use std::time::Duration;

use postern_protocol::inventory::Inventory;
use postern_protocol::status::doctor::{Grade, Report};
use postern_protocol::status::{IdentityState, Status, Tunnel, TunnelState};
use postern_protocol::timestamp::Timestamp;

use super::course::{self, SeriesLine};
use crate::console::figures;
use crate::console::moment::Moment;
use crate::store::gateway_events::GatewayEvent;
use crate::store::gateways::GatewayView;
use crate::store::{StoreError, TenantStore};

/// How much of a series is drawn, and with how many points at most.
const DRAWN: Duration = Duration::from_secs(24 * 3600);
const MAX_POINTS: u32 = 300;

/// Most series on the page.
const MAX_SERIES: usize = 20;

/// Most entries of the history on the page.
const MAX_EVENTS: usize = 50;

/// One finding of the doctor.
pub(super) struct FindingLine {
    pub(super) id: String,
    pub(super) class: &'static str,
    pub(super) grade: &'static str,
    pub(super) what: String,
    pub(super) evidence: String,
    pub(super) advice: String,
}

/// The doctor's last report.
pub(super) struct DoctorLines {
    pub(super) at: Moment,
    pub(super) findings: Vec<FindingLine>,
    /// Whether the tunnel came up after it, so that what it found is over.
    pub(super) is_overtaken: bool,
}

/// How the identity stands.
pub(super) struct IdentityLines {
    pub(super) serial: String,
    pub(super) until: Moment,
    /// How long that is from now; `None` when it has ended.
    pub(super) left: Option<String>,
    pub(super) renew: String,
    pub(super) trust_serial: String,
    pub(super) renewal_error: Option<String>,
}

/// What the gateway is made of.
pub(super) struct MachineLines {
    pub(super) version: String,
    pub(super) os: String,
    pub(super) hostname: String,
    pub(super) size: String,
    pub(super) listeners: Vec<String>,
    pub(super) at: Moment,
}

/// One entry of the history.
pub(super) struct EventLine {
    pub(super) at: Moment,
    pub(super) what: &'static str,
    pub(super) text: String,
}

/// All of it.
pub(super) struct Life {
    pub(super) doctor: Option<DoctorLines>,
    pub(super) identity: Option<IdentityLines>,
    pub(super) machine: Option<MachineLines>,
    pub(super) series: Vec<SeriesLine>,
    pub(super) series_more: usize,
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) events: Vec<EventLine>,
    /// The limit that an administrator set, in words.
    pub(super) pace: Option<String>,
}

impl Life {
    /// Reads it for a gateway's page.
    pub(super) async fn read(store: &TenantStore, gateway: &GatewayView, now: Timestamp) -> Result<Self, StoreError> {
        let status = gateway.status.as_ref();
        let mut all = store.sample_series(&gateway.id).await?;
        let series_more = all.len().saturating_sub(MAX_SERIES);
        all.truncate(MAX_SERIES);
        let from = Timestamp::from_nanos(now.as_nanos().saturating_sub(i64::try_from(DRAWN.as_nanos()).unwrap_or(i64::MAX)));
        let mut series = Vec::with_capacity(all.len());
        for one in all {
            let course = store.sample_course(&gateway.id, one.number, from, MAX_POINTS).await?;
            series.push(SeriesLine::new(one, &course, from, now));
        }
        let pace = store.pace(&gateway.id).await?;
        Ok(Self {
            doctor: status.and_then(|status| Some(doctor(status.doctor.as_ref()?, &status.tunnel, now))),
            identity: status.and_then(|status| status.identity.as_ref()).map(|state| identity(state, now)),
            machine: store.inventory(&gateway.id).await?.map(|inventory| machine(inventory, now)),
            series,
            series_more,
            width: course::WIDTH,
            height: course::HEIGHT,
            events: store.gateway_events(&gateway.id, MAX_EVENTS).await?.into_iter().map(|event| line(event, now)).collect(),
            pace: (pace > 0).then(|| format!("{} a second", figures::bytes(pace))),
        })
    }
}

fn doctor(report: &Report, tunnel: &Tunnel, now: Timestamp) -> DoctorLines {
    let findings = report.findings.iter().map(|finding| {
        let (class, grade) = match finding.grade {
            Grade::Fault => ("failed", "fault"),
            Grade::Warning => ("warn", "warning"),
            Grade::Good => ("applied", "good"),
        };
        FindingLine {
            id: finding.id.clone(),
            class,
            grade,
            what: finding.what.clone(),
            evidence: finding.evidence.clone(),
            advice: finding.advice.clone(),
        }
    });
    let is_overtaken = tunnel.state == TunnelState::Up && tunnel.since > report.at;
    DoctorLines { at: Moment::from_nanos(report.at, now), findings: findings.collect(), is_overtaken }
}

fn identity(state: &IdentityState, now: Timestamp) -> IdentityLines {
    let (until, renew_at) = (Timestamp::from_nanos(state.not_after), Timestamp::from_nanos(state.renew_at));
    let renew = if renew_at > now { format!("in {}", figures::duration(renew_at.saturating_since(now))) } else { "due".to_owned() };
    IdentityLines {
        serial: state.certificate.clone(),
        until: Moment::new(until, now),
        left: (until > now).then(|| figures::duration(until.saturating_since(now))),
        renew,
        trust_serial: if state.trust_serial == 0 { "what enrolment gave".to_owned() } else { figures::count(state.trust_serial) },
        renewal_error: state.renewal_error.clone(),
    }
}

fn machine(inventory: Inventory, now: Timestamp) -> MachineLines {
    let cpus = usize::try_from(inventory.cpus).unwrap_or(usize::MAX);
    let sizes = (figures::bytes(inventory.memory_bytes), figures::bytes(inventory.disk_bytes));
    MachineLines {
        version: inventory.version,
        os: format!("{}, Linux {}", if inventory.os.is_empty() { "an unnamed system" } else { &inventory.os }, inventory.kernel),
        hostname: inventory.hostname,
        size: format!("{}, {} of memory, {} of disk", figures::counted(cpus, "processor"), sizes.0, sizes.1),
        listeners: inventory.listeners,
        at: Moment::from_nanos(inventory.at, now),
    }
}

fn line(event: GatewayEvent, now: Timestamp) -> EventLine {
    EventLine { at: Moment::new(event.at, now), what: event.what.name(), text: event.text }
}

/// How the spool's quota stands, in words.
pub(super) fn quota(status: &Status) -> Option<String> {
    let spool = &status.spool;
    let share = spool.bytes_on_disk.saturating_mul(100).checked_div(spool.quota_bytes)?;
    Some(format!("{} of {} ({share} %)", figures::bytes(spool.bytes_on_disk), figures::bytes(spool.quota_bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_has_ended_has_no_time_left() {
        let now = Timestamp::from_secs(1_000_000);
        let state = |days: i64| IdentityState {
            not_after: Timestamp::from_secs(1_000_000 + days * 86_400).as_nanos(),
            renew_at: Timestamp::from_secs(1_000_000 + (days - 10) * 86_400).as_nanos(),
            ..IdentityState::default()
        };
        let live = identity(&state(30), now);
        assert_eq!(
            (live.left.as_deref(), live.renew.as_str(), live.trust_serial.as_str()),
            (Some("30 d 0 h"), "in 20 d 0 h", "what enrolment gave")
        );
        let ended = identity(&state(-1), now);
        assert_eq!((ended.left, ended.renew.as_str()), (None, "due"));
    }
}
