//! What became of the events that each rule matched: counted by the engine, told to the control plane now and then while it changes, and to
//! whoever asks for the status.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use postern_engine::alert::AlertEngine;
use postern_protocol::replay::{RuleFigures, RuleReport};
use postern_protocol::status::{Revisions, Tunnel, TunnelState};
use postern_protocol::timestamp::Timestamp;
use postern_uplink::tunnel::Outgoing;
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// How often the pipeline says how the counters stand.
const COUNT_EVERY: Duration = Duration::from_secs(10);

/// So many times as long pass between two reports; the first after other rules comes at once.
const REPORT_EVERY: u32 = 6;

/// Most rules of one report, the costliest.
const MAX_RULES: usize = 1_000;

/// Most rules that a status report names, those that matched most.
const MAX_SHOWN: usize = 20;

/// The counters of the rules in force.
#[derive(Clone, Default)]
pub(crate) struct RuleCounts {
    /// Since when they count.
    pub(crate) since: Timestamp,
    /// Of every rule that an event was held against.
    pub(crate) rules: Arc<Vec<RuleFigures>>,
}

impl RuleCounts {
    /// Returns the rules that matched most.
    pub(crate) fn busiest(&self) -> Vec<RuleFigures> {
        let mut rules: Vec<&RuleFigures> = self.rules.iter().filter(|rule| rule.matched > 0).collect();
        rules.sort_by(|one, other| other.matched.cmp(&one.matched).then_with(|| one.id.cmp(&other.id)));
        rules.into_iter().take(MAX_SHOWN).cloned().collect()
    }
}

/// The pipeline's end: takes the counters from the engine.
pub(crate) struct RuleCounter {
    counts: watch::Sender<RuleCounts>,
    looked: Instant,
}

impl RuleCounter {
    /// Makes it, and the view of what it finds.
    pub(crate) fn new(now: Timestamp) -> (Self, watch::Receiver<RuleCounts>) {
        let (counts, view) = watch::channel(RuleCounts { since: now, ..RuleCounts::default() });
        (Self { counts, looked: Instant::now() }, view)
    }

    /// Says that other rules are in force, whose counters are 0.
    pub(crate) fn begin(&self, now: Timestamp) {
        self.counts.send_replace(RuleCounts { since: now, ..RuleCounts::default() });
    }

    /// Looks now and then how the counters stand.
    pub(crate) fn look(&mut self, engine: &AlertEngine) {
        if self.looked.elapsed() >= COUNT_EVERY {
            self.looked = Instant::now();
            let rules = Arc::new(engine.rule_figures());
            self.counts.send_modify(|counts| counts.rules = rules);
        }
    }
}

/// The task that reports.
pub(crate) struct RuleReporter {
    pub(crate) counts: watch::Receiver<RuleCounts>,
    /// Which revision is in force.
    pub(crate) revisions: watch::Receiver<Revisions>,
    pub(crate) tunnel: watch::Receiver<Tunnel>,
    pub(crate) outgoing: mpsc::Sender<Outgoing>,
}

/// What was told.
#[derive(Default)]
struct Told {
    since: Timestamp,
    rules: HashMap<String, RuleFigures>,
    /// Looks since the last report.
    looks: u32,
}

impl RuleReporter {
    /// Reports until `stop` is cancelled.
    ///
    /// # Errors
    /// When a report cannot be encoded: a fault of the program.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> io::Result<()> {
        let mut tick = tokio::time::interval(COUNT_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = Told::default();
        let mut session = None;
        loop {
            // Cancel-safe.
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = tick.tick() => {}
            }
            let tunnel = self.tunnel.borrow_and_update().clone();
            if tunnel.state != TunnelState::Up {
                continue;
            }
            if session.replace(tunnel.since) != Some(tunnel.since) {
                // What an earlier session was told may not have arrived.
                told = Told::default();
            }
            let counts = self.counts.borrow_and_update().clone();
            let revision = self.revisions.borrow().effective.map_or(0, |number| number.0);
            if let Some(report) = told.next(&counts, revision) {
                let encoded = serde_json::to_vec(&report)?;
                if self.outgoing.try_send(Outgoing::Rules(encoded)).is_ok() {
                    told.note(report);
                }
            }
        }
    }
}

impl Told {
    /// Returns the report that is due.
    fn next(&mut self, counts: &RuleCounts, revision: u64) -> Option<RuleReport> {
        self.looks = self.looks.saturating_add(1);
        let is_other = counts.since != self.since;
        if is_other {
            (self.since, self.rules) = (counts.since, HashMap::new());
        } else if self.looks < REPORT_EVERY {
            return None;
        }
        let mut rules: Vec<&RuleFigures> = counts.rules.iter().filter(|rule| self.rules.get(&rule.id) != Some(*rule)).collect();
        if rules.is_empty() && !is_other {
            return None;
        }
        let cost = |rule: &RuleFigures| rule.examined.saturating_add(rule.scanned_bytes);
        rules.sort_by(|one, other| cost(other).cmp(&cost(one)).then_with(|| one.id.cmp(&other.id)));
        let rules = rules.into_iter().take(MAX_RULES).cloned().collect();
        Some(RuleReport { revision, since: counts.since, rules })
    }

    fn note(&mut self, report: RuleReport) {
        self.looks = 0;
        self.rules.extend(report.rules.into_iter().map(|rule| (rule.id.clone(), rule)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(since: i64, rules: &[(&str, u64)]) -> RuleCounts {
        let figures = |(id, matched): &(&str, u64)| RuleFigures { id: (*id).to_owned(), matched: *matched, ..RuleFigures::default() };
        RuleCounts { since: Timestamp::from_secs(since), rules: Arc::new(rules.iter().map(figures).collect()) }
    }

    fn told(told: &mut Told, counts: &RuleCounts) -> Option<Vec<(String, u64)>> {
        let report = told.next(counts, 7)?;
        let rules = report.rules.iter().map(|rule| (rule.id.clone(), rule.matched)).collect();
        told.note(report);
        Some(rules)
    }

    #[test]
    fn what_changed_is_told_once_a_minute_and_at_once_after_other_rules() {
        let mut known = Told::default();
        assert_eq!(told(&mut known, &counts(5, &[("a", 1), ("b", 2)])), Some(vec![("a".to_owned(), 1), ("b".to_owned(), 2)]));
        let later = counts(5, &[("a", 1), ("b", 3)]);
        for _ in 1..REPORT_EVERY {
            assert_eq!(told(&mut known, &later), None);
        }
        assert_eq!(told(&mut known, &later), Some(vec![("b".to_owned(), 3)]), "the other one is as it was");
        for _ in 0..2 * REPORT_EVERY {
            assert_eq!(told(&mut known, &later), None, "nothing changes");
        }
        assert_eq!(told(&mut known, &counts(9, &[])), Some(Vec::new()), "other rules");
        assert_eq!(told(&mut known, &counts(9, &[("a", 1)])), None);
    }

    #[test]
    fn the_busiest_are_shown_and_no_more() {
        let names: Vec<String> = (0..30).map(|number| format!("{number:02}")).collect();
        let rules: Vec<(&str, u64)> = names.iter().map(String::as_str).zip(0..).collect();
        let busiest = counts(0, &rules).busiest();
        assert_eq!((busiest.len(), busiest[0].matched, busiest[19].matched), (MAX_SHOWN, 29, 10));
    }
}
