//! The daemon's own doctor: examines when the tunnel stays down, now and then while it is up, and keeps the last report.
//!
//! The report outlives a restart in a small file, and goes into every status report: the console learns of a fault when the
//! tunnel is up again. One task; it ends with its token.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postern_protocol::status::doctor::{Finding, Grade, Report};
use postern_protocol::status::{self, TunnelState};
use postern_uplink::dial::link::LinkSettings;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Patient, examine};
use crate::audit::Audit;
use crate::audit::action::Action;
use crate::config::Config;
use crate::status::Reporter;

/// How long the tunnel may be down before it is looked at, and how long until the next look.
const PATIENCE: Duration = Duration::from_secs(30);
const WHILE_DOWN: Duration = Duration::from_secs(300);

/// How often all is looked at while the tunnel is up; a report of a fault stays that long behind the recovery.
const WHILE_UP: Duration = Duration::from_secs(6 * 3600);

const FILE: &str = "report.json";

/// The last report, and its file.
pub(crate) struct Kept {
    dir: PathBuf,
    report: watch::Sender<Option<Report>>,
}

impl Kept {
    /// Reads what the last run of the daemon left in `dir`; the other end is for status reports.
    pub(crate) fn open(dir: PathBuf) -> (Self, watch::Receiver<Option<Report>>) {
        // One that cannot be made shows when a report is to be kept.
        let _ = crate::create_private_dir(&dir);
        let (report, view) = watch::channel(read(&dir.join(FILE)));
        (Self { dir, report }, view)
    }

    async fn keep(&self, report: Report) {
        let (dir, text) = (self.dir.clone(), serde_json::to_vec(&report));
        self.report.send_replace(Some(report));
        let written = tokio::task::spawn_blocking(move || write(&dir, &text?)).await;
        match written.map_err(io::Error::other).flatten() {
            Ok(()) => {}
            Err(error) => tracing::warn!(%error, "the doctor's report cannot be kept over a restart"),
        }
    }
}

/// A report that cannot be read is as good as none.
fn read(path: &Path) -> Option<Report> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

fn write(dir: &Path, text: &[u8]) -> io::Result<()> {
    let staged = dir.join("report.new");
    std::fs::write(&staged, text)?;
    std::fs::File::open(&staged)?.sync_all()?;
    std::fs::rename(staged, dir.join(FILE))
}

/// The task.
pub(crate) struct Watch {
    pub(crate) config: Config,
    pub(crate) link: watch::Receiver<LinkSettings>,
    pub(crate) tunnel: watch::Receiver<status::Tunnel>,
    pub(crate) reporter: Reporter,
    pub(crate) kept: Kept,
    pub(crate) audit: Audit,
    /// By the revision in force.
    pub(crate) warn_below_hours: watch::Receiver<u32>,
}

impl Watch {
    /// Looks on until `stop` is cancelled.
    ///
    /// # Errors
    /// None: what is wrong is in the report.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> io::Result<()> {
        let mut due = Due::new(Instant::now(), self.tunnel.borrow().state);
        loop {
            // Every arm is cancel-safe; an examination that is given up was for nothing.
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                changed = self.tunnel.changed() => {
                    if changed.is_err() {
                        stop.cancelled().await;
                        return Ok(());
                    }
                    due.saw(self.tunnel.borrow_and_update().state, Instant::now());
                    continue;
                }
                () = tokio::time::sleep_until(due.at) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = self.look() => due.looked(Instant::now()),
            }
        }
    }

    async fn look(&self) {
        let link = self.link.borrow().clone();
        let warn_below_hours = *self.warn_below_hours.borrow();
        let patient = Patient::new(&self.config, link, Ok(self.reporter.report()));
        let report = examine(Patient { warn_below_hours, ..patient }).await;
        let known = faults(self.kept.report.borrow().as_ref());
        for Finding { id, what, evidence, advice, .. } in report.findings.iter().filter(|finding| finding.grade == Grade::Fault) {
            tracing::warn!(id, what, evidence, advice, "the doctor found a fault");
            // Every five minutes the same is no news.
            if !known.contains(id) {
                self.audit.note(Action::DoctorFault { finding: id.clone(), text: what.clone() });
            }
        }
        self.kept.keep(report).await;
    }
}

/// Kinds of faults in a report.
fn faults(report: Option<&Report>) -> Vec<String> {
    let findings = report.map_or(&[][..], |report| &report.findings);
    findings.iter().filter(|finding| finding.grade == Grade::Fault).map(|finding| finding.id.clone()).collect()
}

/// When the next examination is due. Pure.
#[derive(Debug)]
struct Due {
    is_up: bool,
    at: Instant,
}

impl Due {
    fn new(now: Instant, state: TunnelState) -> Self {
        let is_up = state == TunnelState::Up;
        Self { is_up, at: now + if is_up { WHILE_UP } else { PATIENCE } }
    }

    /// The tunnel went up or down; attempts in between change nothing.
    fn saw(&mut self, state: TunnelState, now: Instant) {
        if self.is_up != (state == TunnelState::Up) {
            *self = Self::new(now, state);
        }
    }

    fn looked(&mut self, now: Instant) {
        self.at = now + if self.is_up { WHILE_UP } else { WHILE_DOWN };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_that_stays_down_is_looked_at_after_half_a_minute_and_every_five() {
        let start = Instant::now();
        let mut due = Due::new(start, TunnelState::Connecting);
        assert_eq!(due.at, start + PATIENCE);
        due.saw(TunnelState::Waiting, start + PATIENCE / 2);
        assert_eq!(due.at, start + PATIENCE, "an attempt that failed is no news");
        due.looked(start + PATIENCE);
        assert_eq!(due.at, start + PATIENCE + WHILE_DOWN);
        due.saw(TunnelState::Up, start + WHILE_DOWN);
        assert_eq!(due.at, start + WHILE_DOWN + WHILE_UP);
        due.saw(TunnelState::Waiting, start + WHILE_UP);
        assert_eq!(due.at, start + WHILE_UP + PATIENCE);
    }

    #[tokio::test]
    async fn the_last_report_outlives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let (kept, _) = Kept::open(dir.path().to_owned());
        let report = Report { at: 7, findings: Vec::new() };
        kept.keep(report.clone()).await;
        let (_, view) = Kept::open(dir.path().to_owned());
        assert_eq!(*view.borrow(), Some(report));
    }
}
