//! Puts revisions in force and takes them back: does what `revision::trial` decides.

use std::sync::Arc;
use std::time::Duration;

use postern_protocol::message::{RevisionState, SignedRevision, Welcome};
use postern_protocol::revision::Problem;
use postern_protocol::revision::link::Uplink;
use postern_protocol::status::TunnelState;
use postern_uplink::dial::link::LinkSettings;
use tokio::sync::oneshot;

use super::{Control, ControlError, MAX_PROBLEMS, clock};
use crate::audit::action::Action;
use crate::pipeline::Order;
use crate::revision::compile::{Compiled, Refusal, built_in, compile};
use crate::revision::trial::reason::Reason;
use crate::revision::trial::{Input, Output, Way};
use crate::revision::{Step, TakenBack, way_out};
use crate::site::{Settings, Site};

/// Time for the tunnel to leave its session once the way out has changed.
const LEAVE: Duration = Duration::from_secs(5);

/// Longest wait before the clocks are read again: the timer stands still while the machine is suspended, a trial's clock does not.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A revision ready to be put in force.
struct Ready {
    compiled: Compiled,
    site: Site,
    link: LinkSettings,
}

/// What the control task knows of the session.
#[derive(Default)]
pub(crate) struct Link {
    /// The round trip that was measured last.
    rtt_ms: Option<f64>,
    /// How many of the messages that wait are of a session by the settings of before.
    stale: usize,
}

impl Control {
    /// Takes in a pushed revision.
    pub(super) async fn revision(&mut self, signed: SignedRevision) -> Result<(), ControlError> {
        let number = signed.number;
        let refusal = match self.revisions.begin(&signed) {
            Ok(Step::InForce(how)) => return self.carry_out(vec![how]).await,
            Ok(Step::TakenBack(problems)) => {
                self.tell(number, RevisionState::Reverted, &problems);
                self.publish();
                return Ok(());
            }
            Ok(Step::Refused(refusal)) => refusal,
            Ok(Step::Compile) => {
                self.tell(number, RevisionState::Applying, &[]);
                match self.apply(signed).await? {
                    Ok(outputs) => return self.carry_out(outputs).await,
                    Err(refusal) => refusal,
                }
            }
            Err(error) => Refusal::not_kept(&error),
        };
        self.refuse(number, &refusal);
        self.publish();
        Ok(())
    }

    /// Parses, compiles, keeps and swaps; the outer error is the daemon's, the inner one the revision's.
    async fn apply(&mut self, signed: SignedRevision) -> Result<Result<Vec<Output>, Refusal>, ControlError> {
        let Ready { compiled, site, link } = match self.ready(Some(signed.clone())).await? {
            (ready, problems) if problems.is_empty() => match ready {
                Ok(ready) => ready,
                Err(refusal) => return Ok(Err(refusal)),
            },
            (_, problems) => return Ok(Err(Refusal::Faulty(problems))),
        };
        let (number, within_s, now) = (signed.number, compiled.confirm_within_s(), clock::now());
        let kept = match self.revisions.put_in_force(signed, within_s, now) {
            Ok(kept) => kept,
            Err(error) => return Ok(Err(Refusal::not_kept(&error))),
        };
        let way = if link == *self.link.borrow() { Way::Same } else { Way::Changed };
        self.swap(compiled, site).await?;
        self.audit.note(Action::RevisionProvisional { number, until: kept.until });
        tracing::info!(revision = number, within_s, "a revision is in force on trial");
        let input = match self.self_test().await? {
            None => Input::Swapped { number, kept, way },
            Some(check) => Input::SelfTestFailed { number, check },
        };
        let outputs = self.revisions.handle(input, clock::now());
        self.publish();
        Ok(Ok(outputs))
    }

    /// Compiles a revision, or the built-in rules, with the vault's secrets; the problems beside it are of secrets that are not there.
    async fn ready(&self, signed: Option<SignedRevision>) -> Result<(Result<Ready, Refusal>, Vec<Problem>), ControlError> {
        let (veto, bootstrap) = (self.revisions.veto(), self.bootstrap.clone());
        let (before, vault) = (Arc::clone(&self.site.borrow()), self.vault.borrow().clone());
        // Thousands of regular expressions and passphrases take longer than a task may block.
        let made = tokio::task::spawn_blocking(move || {
            let compiled = match signed {
                Some(signed) => compile(&veto, &signed),
                None => built_in(&veto).map_err(|error| Refusal::whole(crate::chain(&error))),
            };
            match compiled {
                Ok(compiled) => {
                    let find = |name: &str| vault.secret(name).cloned();
                    let settings = Arc::new(Settings::from(&compiled.document));
                    let (site, mut problems) = Site::compile(settings, &find, Some(&before));
                    let (link, of_link) = way_out::settings(&bootstrap, compiled.document.uplink.as_ref(), &find);
                    problems.extend(of_link);
                    (Ok(Ready { compiled, site, link }), problems)
                }
                Err(refusal) => (Err(refusal), Vec::new()),
            }
        });
        Ok(made.await?)
    }

    /// Hands rules and settings to those who work by them.
    async fn swap(&mut self, compiled: Compiled, site: Site) -> Result<(), ControlError> {
        let Compiled { document, rules } = compiled;
        let (done, swapped) = oneshot::channel();
        self.order(Order::ReplaceRules(Box::new(rules), done)).await?;
        swapped.await.map_err(|_| ControlError::PipelineEnded)?;
        self.site.send_replace(Arc::new(site));
        self.warn_below_hours.send_replace(document.warn_below_hours());
        self.uplink = document.uplink;
        Ok(())
    }

    /// A session began.
    pub(super) async fn welcomed(&mut self, welcome: &Welcome) -> Result<(), ControlError> {
        let outputs = self.revisions.handle(Input::SessionBegan { protocol: welcome.protocol }, clock::now());
        self.carry_out(outputs).await
    }

    /// The control plane confirms a revision.
    pub(super) async fn confirmed(&mut self, number: u64) -> Result<(), ControlError> {
        let outputs = self.revisions.handle(Input::Confirm { number }, clock::now());
        self.carry_out(outputs).await
    }

    /// Looks at what the tunnel reports of itself.
    pub(super) async fn tunnel_changed(&mut self) -> Result<(), ControlError> {
        let (state, rtt_ms) = {
            let tunnel = self.tunnel.borrow_and_update();
            (tunnel.state, tunnel.rtt_ms)
        };
        let answered = rtt_ms.is_some() && rtt_ms != self.session.rtt_ms;
        self.session.rtt_ms = rtt_ms;
        let input = match state {
            TunnelState::Up if answered => Input::Answered,
            TunnelState::Up => return Ok(()),
            TunnelState::Connecting | TunnelState::Waiting => Input::SessionEnded,
        };
        let outputs = self.revisions.handle(input, clock::now());
        self.carry_out(outputs).await
    }

    /// Takes a revision back whose time is over.
    pub(super) async fn tick(&mut self) -> Result<(), ControlError> {
        let outputs = self.revisions.handle(Input::Tick, clock::now());
        self.carry_out(outputs).await
    }

    /// Returns how long the clocks need not be looked at; `None` while no revision is on trial.
    pub(super) fn trial_rests(&self) -> Option<Duration> {
        let deadline = self.revisions.trial().poll_timeout()?;
        Some(deadline.saturating_sub(clock::now().since_boot).min(LOOK_EVERY))
    }

    /// Notes in the files that the program stops cleanly, and so is not what a revision on trial made die.
    pub(super) fn stop_cleanly(&mut self) {
        for output in self.revisions.handle(Input::Stopping, clock::now()) {
            if let Output::Keep(kept) = output
                && let Err(error) = self.revisions.keep_trial(kept)
            {
                tracing::warn!(error = %crate::chain(&error), "a clean stop cannot be kept with the revision on trial");
            }
        }
    }

    /// Tells what a start took back, and goes on with a trial that a start found.
    pub(super) fn started(&mut self) {
        if let Some(taken_back) = self.taken_back.take() {
            self.tell_taken_back(taken_back);
        }
        self.publish();
    }

    /// Whether the next message is of a session by the settings of before: what it proves, it proves of those.
    pub(super) const fn is_stale(&mut self) -> bool {
        let stale = self.session.stale > 0;
        self.session.stale = self.session.stale.saturating_sub(1);
        stale
    }

    async fn carry_out(&mut self, outputs: Vec<Output>) -> Result<(), ControlError> {
        let mut left = std::collections::VecDeque::from(outputs);
        while let Some(output) = left.pop_front() {
            match output {
                Output::Confirm { number } => match self.revisions.keep_confirmed() {
                    Ok(()) => {
                        tracing::info!(revision = number, "a revision is confirmed");
                        self.audit.note(Action::RevisionConfirmed { number });
                        left.extend(self.revisions.handle(Input::ConfirmKept { number }, clock::now()));
                    }
                    Err(error) => {
                        let error = crate::chain(&error);
                        tracing::error!(revision = number, error, "a revision cannot be kept as confirmed: it stays on trial");
                    }
                },
                Output::Keep(kept) => {
                    if let Err(error) = self.revisions.keep_trial(kept) {
                        tracing::warn!(error = %crate::chain(&error), "how a revision's trial stands cannot be kept");
                    }
                }
                Output::Redial => self.redial().await,
                Output::Revert { from, to, reason } => self.revert(TakenBack { from, to, reason }).await?,
                Output::TellApplied { number } => self.tell(number, RevisionState::Applied, &[]),
                Output::TellProvisional { number } => self.tell(number, RevisionState::Provisional, &[]),
                Output::TellReverted { number } => {
                    let problems = self.revisions.problems_of_newest().to_vec();
                    self.tell(number, RevisionState::Reverted, &problems);
                }
            }
            self.publish();
        }
        Ok(())
    }

    /// Puts what was confirmed last in force again.
    async fn revert(&mut self, taken_back: TakenBack) -> Result<(), ControlError> {
        if let Err(error) = self.revisions.take_back(taken_back.from, taken_back.reason) {
            tracing::error!(error = %crate::chain(&error), "that a revision is taken back cannot be kept: the next start does it again");
        }
        let mut made = self.ready(self.revisions.effective().cloned()).await?;
        if let (Err(refusal), _) = &made {
            let reason = refusal.problems().first().map_or("", |problem| problem.reason.as_str());
            tracing::error!(revision = taken_back.to, reason, "the confirmed revision is not usable: the built-in rules are in force");
            self.revisions.fall_to_built_in(refusal.problems().to_vec(), clock::now());
            made = self.ready(None).await?;
        }
        let (Ok(Ready { compiled, site, link }), problems) = made else { return Err(ControlError::BuiltIn) };
        lacking(&problems);
        self.swap(compiled, site).await?;
        self.tell_taken_back(taken_back);
        // The greeting that the new settings bring says already what is in force.
        self.publish();
        self.use_link(link);
        Ok(())
    }

    fn tell_taken_back(&self, TakenBack { from, to, reason }: TakenBack) {
        tracing::warn!(revision = from, in_force = to, %reason, "a revision is taken back");
        self.audit.note(Action::RevisionReverted { number: from, to, reason: reason.to_string() });
        self.tell(from, RevisionState::Reverted, &[whole(reason)]);
        if to > 0 && to == self.revisions.numbers().0 {
            self.tell(to, RevisionState::Applied, &[]);
        }
    }

    fn refuse(&mut self, number: u64, refusal: &Refusal) {
        let mut problems = refusal.problems().to_vec();
        problems.truncate(MAX_PROBLEMS);
        let first = problems.first();
        let (path, reason) = first.map_or(("", ""), |problem| (problem.path.as_str(), problem.reason.as_str()));
        tracing::warn!(revision = number, path, reason, problems = problems.len(), "a revision is refused");
        let reason = if path.is_empty() { reason.to_owned() } else { format!("{path}: {reason}") };
        self.audit.note(match refusal {
            Refusal::Faulty(_) => Action::RevisionRefused { number, reason },
            Refusal::Vetoed(_) => Action::RevisionVetoed { number, reason },
        });
        self.tell(number, RevisionState::Failed, &problems);
        if let Err(error) = self.revisions.refused(number, problems) {
            tracing::warn!(error = %crate::chain(&error), "a refused revision cannot be kept");
        }
    }

    /// Has the tunnel leave its session and dial by the settings of the revision in force; what waits of sessions before proves
    /// nothing from then on.
    async fn redial(&mut self) {
        let vault = self.vault.borrow().clone();
        let (link, _told_before) = way_out::settings(&self.bootstrap, self.uplink.as_ref(), &|name| vault.secret(name).cloned());
        let mut tunnel = self.tunnel.clone();
        let since = tunnel.borrow().since;
        // Before the tunnel reads them for its next greeting.
        self.publish();
        self.use_link(link);
        let left = tunnel.wait_for(|tunnel| tunnel.state != TunnelState::Up || tunnel.since != since);
        if tokio::time::timeout(LEAVE, left).await.is_err() {
            tracing::warn!("the tunnel does not leave its session although the way out has changed");
        }
        self.session.stale = self.incoming.len();
    }

    fn use_link(&self, link: LinkSettings) {
        self.link.send_if_modified(|in_use| {
            let changed = *in_use != link;
            *in_use = link;
            changed
        });
    }

    /// Makes the settings anew after the vault or the trust bundle has changed: a proxy's password may be another one, or there are other
    /// addresses.
    pub(super) fn remake_link(&self) {
        let vault = self.vault.borrow().clone();
        let (link, problems) = way_out::settings(&self.bootstrap, self.uplink.as_ref(), &|name| vault.secret(name).cloned());
        lacking(&problems);
        self.use_link(link);
    }

    /// Brings greeting and report up to date.
    fn publish(&self) {
        let (effective, newest) = self.revisions.numbers();
        let provisional = self.revisions.trial().provisional().map_or(0, |(number, _)| number);
        self.facts.send_modify(|facts| (facts.effective, facts.newest, facts.provisional) = (effective, newest, provisional));
        let report = self.revisions.report();
        self.report.send_if_modified(|before| {
            let changed = *before != report;
            *before = report;
            changed
        });
    }
}

/// Says which secrets the revision in force lacks.
pub(super) fn lacking(problems: &[Problem]) {
    for problem in problems {
        tracing::warn!(path = problem.path, reason = problem.reason, "the revision in force lacks a secret");
    }
}

fn whole(reason: Reason) -> Problem {
    Problem { path: String::new(), line: 0, column: 0, reason: reason.to_string() }
}

/// The way out at a start.
pub(crate) fn first_link(bootstrap: &LinkSettings, uplink: Option<&Uplink>, vault: &crate::vault::Vault) -> LinkSettings {
    let (link, problems) = way_out::settings(bootstrap, uplink, &|name| vault.secret(name).cloned());
    lacking(&problems);
    link
}
