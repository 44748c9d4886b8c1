//! Turns an alert's history and decisions into steps and sentences. Pure.

use postern_protocol::alert::{AlertState, Authenticity, DecisionKind, Evidence};
use postern_protocol::timestamp::Timestamp;

use super::{Step, StepKind};
use crate::rfc3339;
use crate::rule_book::{self, RuleBook, RuleText};
use crate::store::alerts::{AlertView, DecisionView, HistoryEntry};
use crate::store::course;

/// What is known of an alert.
pub(super) struct Facts<'a> {
    pub(super) alert: &'a AlertView,
    /// Oldest first.
    pub(super) history: &'a [HistoryEntry],
    /// The alert that folds it.
    pub(super) parent: Option<&'a AlertView>,
    /// Rules, those in force first.
    pub(super) books: &'a [RuleBook],
}

impl Facts<'_> {
    /// Says how the alert stands.
    pub(super) fn summary(&self) -> String {
        let alert = self.alert;
        let times = match alert.count {
            1 => "reported once".to_owned(),
            count => format!("reported {count} times, last at {}", clock(alert.last_seen)),
        };
        let since = clock(alert.first_seen);
        let mut text = match alert.state {
            AlertState::Open => format!("Lasts since {since}; {times}."),
            AlertState::Cleared => {
                let end = alert.cleared_at.map(|at| format!(" to {}", clock(at))).unwrap_or_default();
                format!("Over: it lasted from {since}{end}; {times}.")
            }
            AlertState::Closed => {
                let end = alert.closed_at.map(|at| format!(" at {}", clock(at))).unwrap_or_default();
                format!("Closed{end}: it began at {since}; {times}.")
            }
        };
        if let Some(parent) = self.parent {
            text.push_str(&format!(" Folded under \"{}\".", parent.summary));
        }
        if let Some(suppressed) = &alert.suppressed {
            let then = if alert.state == AlertState::Open { "; if it still lasts then, it is raised" } else { "" };
            text.push_str(&format!(" Quiet in the maintenance window {} until {}{then}.", suppressed.by, clock(suppressed.until)));
        }
        if alert.flapping {
            text.push_str(" It comes and goes so often that its clears do not count for now.");
        }
        match alert.children {
            0 => {}
            1 => text.push_str(" It folds 1 other alert."),
            children => text.push_str(&format!(" It folds {children} other alerts.")),
        }
        text
    }

    /// Returns the steps of this occurrence, oldest first.
    pub(super) fn steps(&self) -> Vec<Step> {
        let begin = self.history.iter().rposition(|entry| entry.what == "raised");
        let mut steps: Vec<Step> = Vec::new();
        if begin.is_none() {
            steps.push(self.raised()); // it is among those that are no longer kept
        }
        let entries = self.history.get(begin.unwrap_or(0)..).unwrap_or_default();
        steps.extend(entries.iter().map(|entry| self.step(entry)));
        if self.alert.count > 1 {
            let alert = self.alert;
            let text = format!("{} reports so far, the last {}", alert.count, sender(&alert.evidence));
            steps.push(self.plain(alert.last_seen, StepKind::Reported, text));
        }
        steps.sort_by_key(|step| (step.at, step.what == StepKind::Reported));
        steps
    }

    fn step(&self, entry: &HistoryEntry) -> Step {
        let what = kind(&entry.what);
        let decision = self.decision(entry);
        let by = decision.map_or(entry.actor.as_str(), |decision| decision.by.as_str());
        let text = decision.map_or(entry.text.as_str(), |decision| decision.text.as_str());
        let step = Step { at: entry.at, what, by: by.to_owned(), text: text.to_owned(), rule: None, alert: None };
        match what {
            StepKind::Raised => Step { at: entry.at, ..self.raised() },
            StepKind::ThresholdReached | StepKind::RateReached | StepKind::Silent => Step { rule: Some(self.rule()), ..step },
            StepKind::Cleared => self.cleared(step, decision),
            StepKind::Suppressed | StepKind::Unsuppressed => {
                let purpose = self.books.iter().find_map(|book| book.purpose(by));
                Step { text: [Some(text.to_owned()), purpose].into_iter().flatten().collect::<Vec<_>>().join(": "), ..step }
            }
            StepKind::Folded => Step { alert: self.alert.parent.clone(), ..step },
            StepKind::Acknowledged
            | StepKind::Closed
            | StepKind::FlapEnded
            | StepKind::FlapStarted
            | StepKind::LateClear
            | StepKind::LateReport
            | StepKind::Noted
            | StepKind::Paired
            | StepKind::Reported
            | StepKind::SeverityChanged
            | StepKind::TimedOut
            | StepKind::Unacknowledged
            | StepKind::Unfolded
            | StepKind::Unpaired => step,
        }
    }

    fn raised(&self) -> Step {
        let (alert, rule) = (self.alert, self.rule());
        let matched = if rule.matches.is_empty() { String::new() } else { format!("It matches {}. ", rule.matches) };
        let text = format!("{matched}Severity {} and text are the rule's. Reported {}", alert.severity, sender(&alert.evidence));
        Step { at: alert.first_seen, what: StepKind::Raised, by: alert.rule.clone(), text, rule: Some(rule), alert: None }
    }

    fn cleared(&self, step: Step, decision: Option<&DecisionView>) -> Step {
        let Some(decision) = decision else { return step };
        let what = if decision.what == DecisionKind::TimedOut { StepKind::TimedOut } else { StepKind::Cleared };
        let rule = (!decision.by.is_empty()).then(|| rule_book::find(self.books, &decision.by, self.alert.rule_version));
        Step { what, rule, ..step }
    }

    fn rule(&self) -> RuleText {
        rule_book::find(self.books, &self.alert.rule, self.alert.rule_version)
    }

    fn plain(&self, at: Timestamp, what: StepKind, text: String) -> Step {
        Step { at, what, by: format!("gateway:{}", self.alert.gateway), text, rule: None, alert: None }
    }

    /// Finds the decision behind an entry: its figures are kept apart there.
    fn decision(&self, entry: &HistoryEntry) -> Option<&DecisionView> {
        let ends = |what| matches!(what, DecisionKind::Cleared | DecisionKind::TimedOut);
        let is_it = |decision: &&DecisionView| match course::word(decision.what) {
            Some(word) => entry.what == word && decision.at == entry.at,
            None => entry.what == "cleared" && ends(decision.what),
        };
        self.alert.decisions.iter().rev().find(is_it)
    }
}

fn kind(word: &str) -> StepKind {
    match word {
        "acknowledged" => StepKind::Acknowledged,
        "cleared" => StepKind::Cleared,
        "closed" => StepKind::Closed,
        "flap_ended" => StepKind::FlapEnded,
        "flap_started" => StepKind::FlapStarted,
        "folded" => StepKind::Folded,
        "late_clear" => StepKind::LateClear,
        "late_report" => StepKind::LateReport,
        "paired" => StepKind::Paired,
        "raised" => StepKind::Raised,
        "rate_reached" => StepKind::RateReached,
        "severity" => StepKind::SeverityChanged,
        "silent" => StepKind::Silent,
        "suppressed" => StepKind::Suppressed,
        "threshold_reached" => StepKind::ThresholdReached,
        "unacknowledged" => StepKind::Unacknowledged,
        "unfolded" => StepKind::Unfolded,
        "unpaired" => StepKind::Unpaired,
        "unsuppressed" => StepKind::Unsuppressed,
        _ => StepKind::Noted,
    }
}

/// Says who reported, and how far that is sure.
fn sender(evidence: &Evidence) -> String {
    let named = match evidence.chosen_by.as_str() {
        "hostname" => &evidence.hostname,
        "push" | "tls_name" => &evidence.tls_name,
        "trap_address" => &evidence.trap_address,
        _ => &evidence.peer,
    };
    let how = match evidence.authenticity {
        Authenticity::None => "not authenticated",
        Authenticity::Community => "with a community string",
        Authenticity::UsmAuth => "authenticated",
        Authenticity::UsmPriv => "authenticated and encrypted",
        Authenticity::Tls => "authenticated by TLS",
    };
    match (named.as_str(), evidence.chosen_by.as_str()) {
        ("", "gateway") => "by the gateway itself".to_owned(),
        ("", "control-plane") => "by the control plane itself".to_owned(),
        ("", _) => "by nobody who is named".to_owned(),
        (named, _) if evidence.transport.is_empty() => format!("by {named}"),
        (named, _) => format!("by {named} over {}, {how}", evidence.transport),
    }
}

/// A time to the second, UTC.
fn clock(at: Timestamp) -> String {
    let text = rfc3339::format(at);
    text.get(..19).map_or(text.clone(), |text| format!("{} UTC", text.replace('T', " ")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use postern_protocol::alert::Severity;
    use postern_protocol::id::{GatewayId, RevisionNumber};
    use postern_protocol::revision::BUILT_IN;

    use super::*;
    use crate::store::alerts::Suppressed;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(1_800_000_000 + seconds)
    }

    fn alert() -> AlertView {
        let evidence = Evidence { peer: "10.0.0.7".into(), transport: "udp".into(), chosen_by: "peer".into(), ..Evidence::default() };
        AlertView {
            id: "00ff".to_owned(),
            gateway: GatewayId::new("gw-1").unwrap(),
            pair: None,
            reports: Vec::new(),
            state: AlertState::Open,
            severity: Severity::Major,
            resource: "10.0.0.7/if/3".into(),
            kind: "link-down".into(),
            qualifier: String::new(),
            summary: "Link 3 is down".into(),
            count: 12,
            first_seen: at(0),
            last_seen: at(50),
            cleared_at: None,
            labels: BTreeMap::new(),
            closed_at: None,
            parent: None,
            children: 0,
            revision: 7,
            evidence,
            rule: "if-link-down".into(),
            rule_version: 1,
            acknowledged: None,
            assignee: None,
            notes: Vec::new(),
            suppressed: None,
            flapping: false,
            decisions: Vec::new(),
        }
    }

    fn entry(second: i64, what: &str, text: &str) -> HistoryEntry {
        HistoryEntry { at: at(second), actor: "gateway:gw-1".into(), what: what.into(), text: text.into() }
    }

    fn decision(second: i64, what: DecisionKind, by: &str) -> DecisionView {
        DecisionView { at: at(second), what, by: by.into(), text: "figures".into() }
    }

    fn explain(alert: &AlertView, history: &[HistoryEntry]) -> (String, Vec<Step>) {
        let books = [RuleBook::read(RevisionNumber(0), BUILT_IN.as_bytes()).unwrap()];
        let facts = Facts { alert, history, parent: None, books: &books };
        (facts.summary(), facts.steps())
    }

    #[test]
    fn an_alert_is_explained_by_its_rule_and_what_was_decided_in_order() {
        let decisions = vec![decision(1, DecisionKind::ThresholdReached, "link-down"), decision(30, DecisionKind::Folded, "storm")];
        let alert = AlertView { decisions, parent: Some("ee".into()), ..alert() };
        let history =
            [entry(-900, "raised", ""), entry(0, "raised", "major"), entry(1, "threshold_reached", "x"), entry(30, "folded", "storm: x")];
        let (summary, steps) = explain(&alert, &history);
        assert_eq!(summary, "Lasts since 2027-01-15 08:00:00 UTC; reported 12 times, last at 2027-01-15 08:00:50 UTC.");
        let kinds: Vec<_> = steps.iter().map(|step| step.what).collect();
        assert_eq!(kinds, [StepKind::Raised, StepKind::ThresholdReached, StepKind::Folded, StepKind::Reported]);
        assert!(steps[0].text.starts_with("It matches the SNMP notification 1.3.6.1.6.3.1.1.5.3"), "{}", steps[0].text);
        assert!(steps[0].text.ends_with("Reported by 10.0.0.7 over udp, not authenticated"), "{}", steps[0].text);
        assert_eq!((steps[2].by.as_str(), steps[2].text.as_str(), steps[2].alert.as_deref()), ("storm", "figures", Some("ee")));
    }

    #[test]
    fn an_end_names_the_rule_or_the_time_that_made_it() {
        let over = AlertView { state: AlertState::Cleared, cleared_at: Some(at(60)), ..alert() };
        let history = [entry(0, "raised", "major"), entry(60, "cleared", "")];
        let by_rule = AlertView { decisions: vec![decision(60, DecisionKind::Cleared, "if-link-up")], ..over.clone() };
        let (summary, steps) = explain(&by_rule, &history);
        assert!(summary.starts_with("Over: it lasted from 2027-01-15 08:00:00 UTC to 2027-01-15 08:01:00 UTC"), "{summary}");
        let last = steps.last().unwrap();
        assert_eq!((last.what, last.rule.as_ref().map(|rule| rule.id.as_str())), (StepKind::Cleared, Some("if-link-up")));
        let by_time = AlertView { decisions: vec![decision(60, DecisionKind::TimedOut, "link-down")], ..over };
        assert_eq!(explain(&by_time, &history).1.last().unwrap().what, StepKind::TimedOut);
    }

    #[test]
    fn what_keeps_an_alert_quiet_is_in_the_first_sentences() {
        let suppressed = Some(Suppressed { by: "patch-night".into(), until: at(3600) });
        let (summary, steps) = explain(&AlertView { suppressed, flapping: true, children: 10_000, ..alert() }, &[]);
        for words in ["maintenance window patch-night until 2027-01-15 09:00:00 UTC", "clears do not count", "folds 10000 other alerts"] {
            assert!(summary.contains(words), "{words} in {summary}");
        }
        assert_eq!(steps[0].what, StepKind::Raised, "although its history is gone");
    }
}
