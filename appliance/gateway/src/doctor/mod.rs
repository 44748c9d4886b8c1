//! `postern-gateway doctor`: looks at everything that keeps a gateway from working, and says of each what, how it knows, what to do.
//!
//! Each part observes first and judges then; judging is pure. The command runs beside the daemon or without it; the daemon runs it
//! by itself when the tunnel stays down ([`watch`]). It opens no session and changes nothing but a file of its own.

mod clock;
mod daemon;
mod dialling;
mod disk;
mod finding;
mod identity;
mod probe;
pub mod text;
pub(crate) mod watch;
mod way;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use postern_protocol::revision::document::Document;
use postern_protocol::revision::link::DEFAULT_WARN_BELOW_HOURS;
use postern_protocol::status::doctor::{Finding, Grade, Report};
use postern_protocol::status::{Status, TunnelState};
use postern_protocol::timestamp::Timestamp;
use postern_uplink::dial::link::LinkSettings;
use postern_uplink::identity::{Identity, IdentityError};

use self::clock::{ClockFacts, Source};
pub use self::finding::Id;
use self::finding::good;
pub use self::probe::Ports;
use self::probe::Walk;
use crate::config::Config;
use crate::revision::way_out;

/// What the doctor looks at.
pub struct Patient {
    /// Who the gateway is.
    pub identity: Result<Arc<Identity>, IdentityError>,
    /// How the control plane is reached.
    pub link: LinkSettings,
    /// What the daemon says of itself; why it says nothing, when it does not.
    pub status: Result<Status, String>,
    /// Whether the proxy's password is in the vault, which only the daemon opens.
    pub credentials: Credentials,
    /// Directories that must be writable, and what the spool may still grow by in each.
    pub disks: Vec<(PathBuf, u64)>,
    /// Receive buffers that the configuration asks for, by listener.
    pub buffers: Vec<(&'static str, u64)>,
    /// Hours of room in the spool below which its time is short.
    pub warn_below_hours: u32,
    /// Which ports may be tried.
    pub ports: Ports,
}

impl Patient {
    /// Returns what the command looks at: the daemon beside it, and the files.
    pub async fn of(config: &Config) -> Self {
        let status = crate::status::ask(&config.status_socket()).await;
        let status = status.map(|(status, _)| status).map_err(|error| crate::chain(&error));
        let document = crate::revision::document_in_force(&config.revisions_dir());
        let uplink = document.as_ref().and_then(|document| document.uplink.as_ref());
        let further = Identity::load(&config.identity_dir()).map(|identity| identity.addresses).unwrap_or_default();
        let bootstrap = LinkSettings { further, ..config.link() };
        let (link, lacking) = way_out::settings(&bootstrap, uplink, &|_| None);
        let warn_below_hours = document.as_ref().map_or(DEFAULT_WARN_BELOW_HOURS, Document::warn_below_hours);
        let patient = Self { warn_below_hours, ..Self::new(config, link, status) };
        // The daemon's own directory may not be there yet, and must not be made by another user.
        let disks = std::iter::once((config.data_dir.clone(), 0))
            .chain(patient.disks.into_iter().filter(|(dir, _)| *dir == config.spool_dir() && dir.is_dir()));
        let credentials = if lacking.is_empty() { Credentials::Known } else { Credentials::InVault };
        Self { disks: disks.collect(), credentials, ports: Ports::Plain, ..patient }
    }

    /// Returns what is looked at, with `link` and `status` from whoever knows them best.
    pub(crate) fn new(config: &Config, link: LinkSettings, status: Result<Status, String>) -> Self {
        let udp = [("snmp_trap", &config.snmp_trap), ("syslog", &config.syslog)];
        let used = status.as_ref().map_or(0, |status| status.spool.bytes_on_disk);
        Self {
            identity: Identity::load(&config.identity_dir()).map(Arc::new),
            link,
            status,
            disks: vec![(config.doctor_dir(), 0), (config.spool_dir(), config.spool_max_bytes.saturating_sub(used))],
            buffers: udp.into_iter().filter_map(|(name, udp)| Some((name, udp.as_ref()?.receive_buffer_bytes as u64))).collect(),
            warn_below_hours: DEFAULT_WARN_BELOW_HOURS,
            credentials: Credentials::Known,
            // The daemon's sandbox leaves no other.
            ports: Ports::Own,
        }
    }
}

/// What is known of a proxy's user and password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// A secret of the vault, which only the daemon opens.
    InVault,
    /// They are in the settings, or there are none.
    Known,
}

/// Examines everything, gravest findings first.
pub async fn examine(patient: Patient) -> Report {
    let at = Timestamp::from(SystemTime::now());
    let mut findings = Vec::new();
    let mut clock = None;
    match &patient.identity {
        Err(error) => findings.push(identity::absent(error)),
        Ok(identity) => {
            let walk = Walk { server: &patient.link.server, way: &patient.link.way(0), identity, ports: patient.ports };
            match probe::observe(walk).await {
                Err(error) => findings.push(Id::NotEnrolled.fault(
                    "this gateway's identity or the control plane's address is not usable",
                    crate::chain(&error),
                    "check server.url; when files of the identity are damaged, move its directory away and enrol anew",
                )),
                Ok(mut facts) => {
                    facts.credentials = patient.credentials;
                    clock = facts.clock();
                    findings.extend(way::judge(&facts));
                }
            }
        }
    }
    clock = patient.status.as_ref().ok().and_then(heartbeat).or(clock);
    let skewed = findings.iter().any(|finding| finding.id == Id::ClockSkew.name());
    findings.extend(clock::judge(clock).filter(|_| !skewed));
    if let Ok(identity) = &patient.identity {
        let offset = clock.map_or(0, |clock| clock.offset_ms.saturating_mul(1_000_000));
        let now = Timestamp::from_nanos(at.as_nanos().saturating_add(offset));
        findings.extend(identity::judge(&identity::observe(identity), now));
    }
    findings.extend(disks(patient.disks).await);
    findings.extend(here(&patient.status, &patient.buffers, hours(patient.warn_below_hours)).await);
    findings.extend(tunnel(&patient.status, &findings));
    // Stable: within a grade they stand in the order of looking.
    findings.sort_by_key(|finding| finding.grade);
    findings.dedup_by(|a, b| a.id == b.id && a.grade == b.grade && a.grade != Grade::Good && a.what == b.what);
    if findings.iter().all(|finding| finding.grade == Grade::Good) {
        findings.insert(0, good(Id::AllGood.name(), "nothing is wrong", "everything below was looked at"));
    }
    Report { at: at.as_nanos(), findings }
}

/// Returns the exit code that says how grave a report is: 0 good, 1 a warning, 2 a fault.
pub fn exit_code(report: &Report) -> u8 {
    match report.findings.iter().map(|finding| finding.grade).min() {
        Some(Grade::Fault) => 2,
        Some(Grade::Warning) => 1,
        Some(Grade::Good) | None => 0,
    }
}

/// The tunnel's own measurement is finer than a header's.
fn heartbeat(status: &Status) -> Option<ClockFacts> {
    let offset_ms = status.tunnel.clock_offset_ms.filter(|_| status.tunnel.state == TunnelState::Up)?;
    Some(ClockFacts { offset_ms: offset_ms as i64, source: Source::Heartbeat })
}

async fn disks(dirs: Vec<(PathBuf, u64)>) -> Vec<Finding> {
    let looked = tokio::task::spawn_blocking(move || disk::observe(&dirs).iter().flat_map(disk::judge).collect());
    looked.await.unwrap_or_else(|_| {
        vec![Id::DiskFailing.fault(
            "the disk could not be looked at",
            "looking at it panicked",
            "report this: it is a fault of the program",
        )]
    })
}

fn hours(hours: u32) -> Duration {
    Duration::from_secs(u64::from(hours).saturating_mul(3600))
}

/// What the daemon knows; without it, what the system says in its place.
async fn here(status: &Result<Status, String>, buffers: &[(&'static str, u64)], warn_below: Duration) -> Vec<Finding> {
    match status {
        Ok(status) => daemon::judge(status, &daemon::try_listeners(&status.listeners).await, warn_below),
        Err(error) => {
            let advice = "start it (systemctl start postern-gateway), or run this command as its user; without it only the way out, the \
                          files and the clock could be looked at";
            let mut findings = vec![Id::DaemonNotRunning.warning("the daemon does not answer", error.clone(), advice)];
            let granted = std::fs::read_to_string("/proc/sys/net/core/rmem_max").ok().and_then(|text| text.trim().parse::<u64>().ok());
            for (name, asked) in buffers {
                if let Some(granted) = granted.filter(|granted| granted < asked) {
                    let what = format!("the receive buffer of {name} would be smaller than asked for");
                    let evidence = format!("net.core.rmem_max is {granted}, receive_buffer_bytes is {asked}");
                    findings.push(Id::ReceiveBuffer.warning(what, evidence, daemon::buffer_advice(*asked)));
                }
            }
            findings
        }
    }
}

/// The tunnel is down although nothing else is wrong: its own last error is all there is.
fn tunnel(status: &Result<Status, String>, others: &[Finding]) -> Option<Finding> {
    let tunnel = &status.as_ref().ok()?.tunnel;
    if tunnel.state == TunnelState::Up {
        let rtt = tunnel.rtt_ms.map_or_else(String::new, |rtt| format!("round trip {rtt:.0} ms"));
        return Some(good("tunnel", "the tunnel is up", rtt));
    }
    if others.iter().any(|finding| finding.grade == Grade::Fault) {
        return None;
    }
    let said = tunnel.last_error.clone().unwrap_or_else(|| "it is being opened for the first time".to_owned());
    let advice = "wait a minute: attempts are spread in time; when it stays down, look at the daemon's log and at the control plane's";
    Some(Id::TunnelDown.warning("the tunnel is not up, although the control plane can be reached", said, advice))
}
