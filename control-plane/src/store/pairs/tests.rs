//! Declared, reported to, closed and dissolved: what a pair does to the rows that everybody sees.

use std::collections::BTreeMap;

use postern_protocol::alert::{Alert, AlertState, Course, Evidence, Severity};
use postern_protocol::id::{Epoch, RuleId, Sequence};

use super::*;
use crate::store::alert_actions::{Acted, AlertAction, AlertRequest};
use crate::store::alerts::{AlertFilter, AlertView};
use crate::store::ingest::{AlertBatch, Applied};

struct Site {
    _folder: tempfile::TempDir,
    store: TenantStore,
    sequences: BTreeMap<GatewayId, u64>,
}

fn gateway(name: &str) -> GatewayId {
    GatewayId::new(name).unwrap()
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn alert(occurrence: u64, state: AlertState, count: u64, seen: (i64, i64)) -> Alert {
    Alert {
        key: AlertKey { resource: "10.0.0.7/if/3".into(), kind: "link-down".into(), qualifier: String::new() },
        occurrence,
        revision: u64::try_from(seen.1).unwrap() * 1_000_000,
        state,
        severity: Severity::Major,
        summary: "Link 3 is down".into(),
        count,
        first_seen: at(seen.0),
        last_seen: at(seen.1),
        cleared_at: (state == AlertState::Cleared).then_some(at(seen.1)),
        labels: BTreeMap::new(),
        rule: RuleId::new("link-down").unwrap(),
        rule_version: 1,
        course: postern_protocol::alert::Course::default(),
        evidence: Evidence::default(),
    }
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = TenantStore::open(&folder.path().join("t.db")).unwrap();
        Self { _folder: folder, store, sequences: BTreeMap::new() }
    }

    async fn declare(&self) -> String {
        let request = PairRequest { gateways: [gateway("a"), gateway("b")], by: By::command_line(), at: at(1000) };
        self.store.declare_pair(request).await.unwrap().0.id
    }

    async fn report(&mut self, name: &str, alert: Alert) -> Applied {
        let sequence = self.sequences.entry(gateway(name)).or_default();
        *sequence += 1;
        let batch = AlertBatch { epoch: Epoch(7), first_sequence: Sequence(*sequence), alerts: vec![alert] };
        self.store.apply_alerts(&gateway(name), batch, at(2000)).await.unwrap()
    }

    async fn seen(&self) -> Vec<AlertView> {
        self.store.list_alerts(AlertFilter::default(), 100, None).await.unwrap().items
    }

    async fn only(&self) -> AlertView {
        let mut seen = self.seen().await;
        assert_eq!(seen.len(), 1, "{seen:#?}");
        seen.remove(0)
    }

    async fn what(&self, id: &str) -> Vec<String> {
        self.store.alert_history(id).await.unwrap().unwrap().into_iter().map(|entry| entry.what).collect()
    }

    async fn act(&self, id: &str, action: AlertAction) -> Vec<GatewayId> {
        let request = AlertRequest { id: id.to_owned(), action, by: "anna".into(), expected: None, once: None };
        match self.store.act_on_alert(request, at(3000)).await.unwrap() {
            Acted::Done(done) => done.tell,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn both_sides_are_one_row_with_both_as_evidence() {
    let mut site = Site::new();
    let pair = site.declare().await;
    site.report("a", alert(1, AlertState::Open, 2, (10, 20))).await;
    let applied = site.report("b", alert(1, AlertState::Open, 2, (11, 21))).await;
    let row = site.only().await;
    assert_eq!((row.pair.as_deref(), row.count, row.gateway.as_str()), (Some(pair.as_str()), 2, "b"));
    assert_eq!(row.reports.iter().map(|report| report.gateway.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(applied.changes, [Change::Alert { id: row.id.clone(), revision: row.revision }], "the hidden row is nobody's news");
    assert_eq!(site.what(&row.id).await, ["raised"], "once");
    for name in ["a", "b"] {
        let filter = AlertFilter { gateway: Some(name.into()), ..AlertFilter::default() };
        assert!(filter.matches(&row));
        assert_eq!(site.store.list_alerts(filter, 9, None).await.unwrap().items.len(), 1, "{name}");
    }
}

#[tokio::test]
async fn a_clear_through_the_survivor_clears_and_its_next_raise_is_a_new_life() {
    let mut site = Site::new();
    site.declare().await;
    site.report("a", alert(1, AlertState::Open, 1, (10, 10))).await;
    site.report("b", alert(1, AlertState::Open, 1, (10, 10))).await;
    let id = site.only().await.id;
    site.act(&id, AlertAction::Acknowledge).await;
    site.report("a", alert(1, AlertState::Cleared, 1, (10, 50))).await;
    assert_eq!(site.only().await.state, AlertState::Cleared);
    site.report("a", alert(2, AlertState::Open, 1, (90, 90))).await;
    let row = site.only().await;
    assert_eq!((row.state, row.count, row.first_seen, row.acknowledged), (AlertState::Open, 1, at(90), None));
    assert_eq!(site.what(&id).await, ["raised", "acknowledged", "cleared", "raised"]);
    assert_eq!(site.store.occurrences(&id).await.unwrap().unwrap().len(), 1);
}

#[tokio::test]
async fn a_close_goes_to_both_and_late_word_of_the_same_does_not_open_it() {
    let mut site = Site::new();
    site.declare().await;
    site.report("a", alert(1, AlertState::Open, 3, (10, 30))).await;
    let id = site.only().await.id;
    assert_eq!(site.act(&id, AlertAction::Close).await, [gateway("a")]);
    let late = site.report("b", alert(5, AlertState::Open, 3, (10, 31))).await;
    assert!(late.close_pending);
    let row = site.only().await;
    assert_eq!((row.state, row.closed_at), (AlertState::Closed, Some(at(3000))));
    for (name, occurrence) in [("a", 1), ("b", 5)] {
        let pending = site.store.pending_closes(&gateway(name)).await.unwrap();
        assert_eq!(pending.iter().map(|close| (close.occurrence, close.count_seen)).collect::<Vec<_>>(), [(occurrence, 3)], "{name}");
    }
    site.report("b", alert(5, AlertState::Closed, 3, (10, 32))).await;
    assert!(site.store.pending_closes(&gateway("b")).await.unwrap().is_empty());
    assert_eq!(site.only().await.state, AlertState::Closed);
    site.report("a", alert(4000, AlertState::Open, 1, (4000, 4000))).await;
    assert_eq!(site.only().await.state, AlertState::Open, "a new report is a new alert");
}

#[tokio::test]
async fn what_a_gateway_says_of_itself_stays_its_own() {
    let mut site = Site::new();
    site.declare().await;
    for name in ["a", "b"] {
        let own = Alert { rule: RuleId::own(), ..alert(1, AlertState::Open, 1, (10, 10)) };
        site.report(name, own).await;
    }
    let gateways: Vec<_> = site.seen().await.into_iter().map(|row| (row.gateway.as_str().to_owned(), row.pair)).collect();
    assert_eq!(gateways.len(), 2);
    assert!(gateways.iter().all(|(_, pair)| pair.is_none()));
}

#[tokio::test]
async fn declaring_and_dissolving_keep_what_was_there() {
    let mut site = Site::new();
    site.report("a", alert(1, AlertState::Open, 4, (10, 40))).await;
    site.report("b", alert(1, AlertState::Open, 4, (10, 39))).await;
    site.report("c", alert(1, AlertState::Open, 1, (10, 10))).await;
    let before = site.seen().await;
    let of_a = before.iter().find(|row| row.is_of("a")).unwrap().id.clone();
    site.act(&of_a, AlertAction::Acknowledge).await;
    site.act(&of_a, AlertAction::Note("cable".into())).await;
    let pair = site.declare().await;
    let row = site.seen().await.into_iter().find(|row| row.is_of("a")).unwrap();
    assert_eq!((site.seen().await.len(), row.count, row.notes.len()), (2, 4, 1));
    assert_eq!(row.acknowledged.as_ref().unwrap().by, "anna");
    assert_eq!(site.store.find_alert(&of_a).await.unwrap().unwrap().id, row.id, "by its old name, too");
    site.act(&row.id, AlertAction::Note("both".into())).await;
    let changes = site.store.dissolve_pair(&pair, By::command_line(), at(5000)).await.unwrap();
    assert_eq!(changes.len(), 2);
    let after = site.seen().await;
    let mut ids: Vec<_> = after.iter().map(|row| row.id.clone()).collect();
    let mut old: Vec<_> = before.iter().map(|row| row.id.clone()).collect();
    ids.sort();
    old.sort();
    assert_eq!(ids, old);
    let of_a = after.iter().find(|row| row.is_of("a")).unwrap();
    assert_eq!((of_a.notes.len(), of_a.acknowledged.is_some(), of_a.reports.len()), (2, true, 0));
    assert!(site.store.pairs().await.unwrap().is_empty());
    assert!(matches!(site.store.dissolve_pair(&pair, By::command_line(), at(1)).await, Err(StoreError::NotFound)));
}

#[tokio::test]
async fn a_gateway_is_in_one_pair_at_most() {
    let site = Site::new();
    site.declare().await;
    for gateways in [["a", "c"], ["c", "b"], ["c", "c"]] {
        let request = PairRequest { gateways: gateways.map(gateway), by: By::command_line(), at: at(1) };
        assert!(matches!(site.store.declare_pair(request).await, Err(StoreError::Conflict(_))), "{gateways:?}");
    }
}

#[tokio::test]
async fn a_merged_alert_is_folded_under_the_merged_parent_or_under_its_gateways_own() {
    let mut site = Site::new();
    site.declare().await;
    let parent = |kind: &str| Some(AlertKey { kind: kind.into(), ..alert(1, AlertState::Open, 1, (1, 1)).key });
    let under = |kind: &str, count| {
        let course = Course { parent: parent(kind), ..Course::default() };
        Alert { course, ..alert(1, AlertState::Open, count, (10, 20)) }
    };
    let named = |kind: &str, rule: &str| {
        let key = parent(kind).unwrap();
        Alert { key, rule: RuleId::new(rule).unwrap(), ..alert(1, AlertState::Open, 1, (5, 6)) }
    };
    for side in ["a", "b"] {
        site.report(side, named("node-down", "node-down")).await;
        site.report(side, named("storm", "postern")).await;
        site.report(side, under("node-down", 2)).await;
    }
    let find = |seen: &[AlertView], kind: &str| seen.iter().filter(|row| row.kind == kind).cloned().collect::<Vec<_>>();
    let seen = site.seen().await;
    let (child, fault) = (find(&seen, "link-down").remove(0), find(&seen, "node-down").remove(0));
    assert!(child.pair.is_some() && fault.pair.is_some());
    assert_eq!((child.parent, fault.children), (Some(fault.id), 1));
    // A storm is a gateway's own: the merged alert goes with the side that decides.
    site.report("b", Alert { last_seen: at(40), revision: 40_000_000, ..under("storm", 3) }).await;
    let seen = site.seen().await;
    let storms = find(&seen, "storm");
    let of_b = storms.iter().find(|row| row.gateway.as_str() == "b").unwrap();
    assert_eq!(find(&seen, "link-down").remove(0).parent.as_ref(), Some(&of_b.id));
    assert_eq!(storms.iter().map(|row| row.children).sum::<u64>(), 1);
}
