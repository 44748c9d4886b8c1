//! What the store makes of courses: who is folded, what the history says, what a gateway gets back.

use postern_protocol::alert::{Alert, AlertState, Evidence, Severity};
use postern_protocol::id::{Epoch, RuleId, Sequence};

use super::*;
use crate::store::TenantStore;
use crate::store::alerts::{AlertFilter, AlertView, Folding};
use crate::store::healing;
use crate::store::ingest::AlertBatch;

struct Site {
    _folder: tempfile::TempDir,
    store: TenantStore,
    gateway: GatewayId,
    sequence: u64,
}

fn key(resource: &str) -> AlertKey {
    AlertKey { resource: resource.into(), kind: "link-down".into(), qualifier: String::new() }
}

fn decision(what: DecisionKind, at: i64, by: &str) -> Decision {
    Decision { at: Timestamp::from_secs(at), what, by: by.into(), text: "25 in 60 s".into() }
}

fn alert(resource: &str, revision: u64, course: Course) -> Alert {
    Alert {
        key: key(resource),
        occurrence: 1,
        revision,
        state: AlertState::Open,
        severity: Severity::Major,
        summary: "Link is down".into(),
        count: revision,
        first_seen: Timestamp::from_secs(100),
        last_seen: Timestamp::from_secs(200),
        cleared_at: None,
        labels: [].into(),
        rule: RuleId::new("link-down").unwrap(),
        rule_version: 1,
        course,
        evidence: Evidence::default(),
    }
}

fn under(parent: &str) -> Course {
    Course { parent: Some(key(parent)), decisions: vec![decision(DecisionKind::Folded, 150, parent)], ..Course::default() }
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = TenantStore::open(&folder.path().join("t.db")).unwrap();
        Self { _folder: folder, store, gateway: GatewayId::new("gw").unwrap(), sequence: 1 }
    }

    async fn report(&mut self, alerts: Vec<Alert>) {
        let batch = AlertBatch { epoch: Epoch(1), first_sequence: Sequence(self.sequence), alerts };
        self.sequence += batch.alerts.len() as u64;
        self.store.apply_alerts(&self.gateway, batch, Timestamp::from_secs(300)).await.unwrap();
    }

    fn id(&self, resource: &str) -> String {
        AlertId::derive(&self.gateway, &key(resource)).to_string()
    }

    async fn list(&self, filter: AlertFilter) -> String {
        let page = self.store.list_alerts(filter.clone(), 100, None).await.unwrap();
        let all = self.store.list_alerts(AlertFilter::default(), 100, None).await.unwrap();
        let matching = all.items.iter().filter(|alert| filter.matches(alert)).count();
        assert_eq!(page.items.len(), matching, "the list and a live link mean the same");
        let mut names: Vec<_> = page.items.into_iter().map(|alert| alert.resource).collect();
        names.sort();
        names.join(" ")
    }

    async fn folded(&self, folding: Folding) -> String {
        self.list(AlertFilter { folding: Some(folding), ..AlertFilter::default() }).await
    }

    async fn shown(&self, resource: &str) -> AlertView {
        self.store.find_alert(&self.id(resource)).await.unwrap().unwrap()
    }

    async fn history(&self, resource: &str) -> Vec<String> {
        let history = self.store.alert_history(&self.id(resource)).await.unwrap().unwrap();
        history.into_iter().map(|entry| format!("{} {}", entry.what, entry.text)).collect()
    }
}

#[tokio::test]
async fn a_course_comes_back_whole_for_a_gateway_that_forgot_it() {
    let mut site = Site::new();
    let course = Course {
        parent: Some(key("storm")),
        suppressed: Some(Suppression { by: "patch-night".into(), until: Timestamp::from_secs(900) }),
        flapping: true,
        decisions: vec![decision(DecisionKind::ThresholdReached, 100, "link-down"), decision(DecisionKind::Folded, 150, "storm")],
    };
    site.report(vec![alert("a", 5, course), alert("b", 6, Course::default())]).await;
    let gateway = site.gateway.clone();
    let back = site.store.read(move |db| healing::reported_after(db, &gateway, 0)).await.unwrap();
    assert_eq!(back.iter().map(|alert| alert.key.resource.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(back[0].course.parent, Some(key("storm")));
    assert_eq!(back[0].course.suppressed.as_ref().unwrap().by, "patch-night");
    assert_eq!((back[0].course.flapping, back[0].course.decisions.len()), (true, 2));
    assert!(back[1].course.is_plain());
}

#[tokio::test]
async fn children_are_folded_only_while_their_parent_is_here_and_open() {
    let mut site = Site::new();
    site.report(vec![alert("a", 5, under("storm")), alert("b", 6, Course::default())]).await;
    assert_eq!(site.folded(Folding::Nothing).await, "a b", "nobody sees the storm yet");
    assert_eq!(site.shown("a").await.parent, None);
    site.report(vec![alert("storm", 7, Course::default())]).await;
    let storm = site.id("storm");
    assert_eq!(site.folded(Folding::Nothing).await, "b storm");
    assert_eq!(site.folded(Folding::Under(storm.clone())).await, "a");
    assert_eq!((site.shown("a").await.parent, site.shown("storm").await.children), (Some(storm.clone()), 1));
    site.report(vec![Alert { state: AlertState::Cleared, ..alert("storm", 8, Course::default()) }]).await;
    assert_eq!(site.folded(Folding::Nothing).await, "a b storm", "what is open is never behind what is over");
    assert_eq!((site.shown("a").await.parent, site.shown("storm").await.children), (None, 0));
    site.report(vec![Alert { state: AlertState::Cleared, ..alert("a", 9, under("storm")) }]).await;
    assert_eq!(site.folded(Folding::Under(storm)).await, "a", "what ended in the storm stays with it");
}

#[tokio::test]
async fn alerts_that_fold_one_another_are_both_seen_or_one_of_them() {
    let mut site = Site::new();
    site.report(vec![alert("a", 5, under("a")), alert("b", 6, under("c")), alert("c", 7, under("b"))]).await;
    assert_eq!(site.folded(Folding::Nothing).await, "a c");
}

#[tokio::test]
async fn what_keeps_an_alert_quiet_or_open_can_be_asked_for() {
    let mut site = Site::new();
    let suppressed = Some(Suppression { by: "patch-night".into(), until: Timestamp::from_secs(900) });
    let quiet = Course { suppressed, ..Course::default() };
    site.report(vec![alert("a", 5, quiet), alert("b", 6, Course { flapping: true, ..Course::default() })]).await;
    assert_eq!(site.list(AlertFilter { suppressed: Some(true), ..AlertFilter::default() }).await, "a");
    assert_eq!(site.list(AlertFilter { suppressed: Some(false), ..AlertFilter::default() }).await, "b");
    assert_eq!(site.list(AlertFilter { flapping: Some(true), ..AlertFilter::default() }).await, "b");
    let view = site.shown("a").await.suppressed.unwrap();
    assert_eq!((view.by.as_str(), view.until), ("patch-night", Timestamp::from_secs(900)));
    site.report(vec![alert("a", 7, Course::default())]).await;
    assert_eq!(site.shown("a").await.suppressed, None);
}

#[tokio::test]
async fn the_history_says_each_decision_once_and_who_ended_it() {
    let mut site = Site::new();
    let threshold = decision(DecisionKind::ThresholdReached, 100, "link-down");
    let raised = Course { decisions: vec![threshold.clone()], ..Course::default() };
    site.report(vec![alert("a", 5, raised.clone()), alert("a", 6, raised)]).await;
    let end = decision(DecisionKind::Cleared, 210, "link-up");
    let decisions = vec![threshold, decision(DecisionKind::FlapStarted, 205, ""), end];
    let over = Alert { state: AlertState::Cleared, cleared_at: Some(Timestamp::from_secs(210)), ..alert("a", 7, Course::default()) };
    site.report(vec![Alert { course: Course { decisions, ..Course::default() }, ..over }]).await;
    let expected = ["raised major", "threshold_reached link-down: 25 in 60 s", "flap_started 25 in 60 s", "cleared link-up: 25 in 60 s"];
    assert_eq!(site.history("a").await, expected);
}
