//! An explanation as the page shows it: a sentence, and the steps as a timeline.

use postern_protocol::timestamp::Timestamp;

use super::GatewayNames;
use super::timeline;
use crate::console::moment::Moment;
use crate::explain::{Explanation, Step, StepKind};
use crate::rule_book::{Origin, RuleText};

/// Why an alert is as it is.
pub(super) struct Why {
    /// In a few sentences.
    pub(super) summary: String,
    /// In order.
    pub(super) steps: Vec<WhyStep>,
}

/// One step.
pub(super) struct WhyStep {
    /// Class of the list item.
    pub(super) class: &'static str,
    /// Identifier of the icon.
    pub(super) icon: &'static str,
    /// What.
    pub(super) what: &'static str,
    /// Who or what did it.
    pub(super) by: String,
    /// When.
    pub(super) at: Moment,
    /// The figures behind it.
    pub(super) text: String,
    /// What the rule is for.
    pub(super) rule: String,
    /// The other alert that it is about.
    pub(super) alert: Option<String>,
}

/// Puts an explanation into words.
pub(super) fn tell(explanation: Explanation, gateways: &GatewayNames, now: Timestamp) -> Why {
    let steps = explanation.steps.into_iter().map(|step| in_words(step, gateways, now)).collect();
    Why { summary: explanation.summary, steps }
}

fn in_words(step: Step, gateways: &GatewayNames, now: Timestamp) -> WhyStep {
    let (class, icon, what) = kind(step.what);
    let by = match &step.rule {
        Some(rule) => format!("rule {} version {}", rule.id, rule.version),
        None => timeline::actor(step.by, gateways),
    };
    let rule = step.rule.map(|rule| rule.description).unwrap_or_default();
    WhyStep { class, icon, what, by, at: Moment::new(step.at, now), text: step.text, rule, alert: step.alert }
}

const fn kind(what: StepKind) -> (&'static str, &'static str, &'static str) {
    match what {
        StepKind::Acknowledged => ("acknowledged", "i-cleared", "Acknowledged"),
        StepKind::Cleared => ("cleared", "i-cleared", "Cleared"),
        StepKind::Closed => ("closed", "i-closed", "Closed"),
        StepKind::FlapEnded => ("other", "i-dot", "Flaps no more"),
        StepKind::FlapStarted => ("severity", "i-minor", "Began to flap: clears do not count"),
        StepKind::Folded => ("other", "i-down", "Folded under another alert"),
        StepKind::LateClear => ("other", "i-dot", "A late clear was passed over"),
        StepKind::LateReport => ("other", "i-dot", "A late report was passed over"),
        StepKind::Noted => ("note", "i-note", "Note"),
        StepKind::Paired => ("other", "i-dot", "Merged with its pair's"),
        StepKind::Raised => ("raised", "i-open", "Raised"),
        StepKind::RateReached => ("raised", "i-open", "The number changed too fast or too slowly"),
        StepKind::Reported => ("other", "i-dot", "Reported again"),
        StepKind::SeverityChanged => ("severity", "i-minor", "Severity changed"),
        StepKind::Silent => ("raised", "i-open", "Silent for too long"),
        StepKind::Suppressed => ("other", "i-dot", "Kept quiet by a maintenance window"),
        StepKind::ThresholdReached => ("raised", "i-open", "The threshold was reached"),
        StepKind::TimedOut => ("cleared", "i-cleared", "Ended: nothing was heard of it"),
        StepKind::Unacknowledged => ("unacknowledged", "i-dot", "Acknowledgement taken back"),
        StepKind::Unfolded => ("other", "i-dot", "Stands for itself again"),
        StepKind::Unpaired => ("other", "i-dot", "Its own again"),
        StepKind::Unsuppressed => ("raised", "i-open", "The window is over, and it still lasts"),
    }
}

/// Says where a rule is written.
pub(super) fn source(rule: &RuleText) -> String {
    let revision = match rule.revision {
        None => String::new(),
        Some(number) if number.0 == 0 => ", in the built-in configuration".to_owned(),
        Some(number) => format!(", in revision {number}"),
    };
    match (rule.source, &rule.pack) {
        (Origin::ControlPlane, _) => "the control plane's own watch".to_owned(),
        (Origin::Gateway, _) => "the gateway's own watch".to_owned(),
        (Origin::Unknown, _) => "no revision here has it any more".to_owned(),
        (Origin::Pack, Some(pack)) => format!("from the pack {pack}{revision}"),
        (Origin::Document | Origin::Pack, _) => format!("from the gateway's document{revision}"),
    }
}
