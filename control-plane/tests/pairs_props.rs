//! The merged row of a pair against a tiny model: whatever order the two sides' records come in, and whether the pair was declared
//! before or after them, the row is the same.

// The exception that clippy.toml makes for tests does not reach the functions that they call.
#![allow(clippy::indexing_slicing, clippy::unwrap_used)]

use std::collections::BTreeMap;

use postern_control::store::TenantStore;
use postern_control::store::alerts::{AlertFilter, AlertView};
use postern_control::store::audit::By;
use postern_control::store::ingest::AlertBatch;
use postern_control::store::pairs::PairRequest;
use postern_protocol::alert::{Alert, AlertKey, AlertState, Evidence, Severity};
use postern_protocol::id::{Epoch, GatewayId, RuleId, Sequence};
use postern_protocol::timestamp::Timestamp;
use proptest::prelude::*;

/// One side's life: what happens, how long after what was before, in seconds.
#[derive(Clone, Copy, Debug)]
enum Step {
    Clear(i64),
    Report(i64, u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step =
        prop_oneof![(0..40_i64).prop_map(Step::Clear), (0..40_i64, 1..=5_u8).prop_map(|(after, severity)| Step::Report(after, severity)),];
    prop::collection::vec(step, 1..8)
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

/// What an engine makes of the steps: a record each, the last of which is the state.
fn records(steps: &[Step]) -> Vec<Alert> {
    let mut records: Vec<Alert> = Vec::new();
    let mut clock = 100;
    for (revision, step) in (1..).zip(steps) {
        let last = records.last().cloned();
        let open = last.filter(|alert| alert.state == AlertState::Open);
        let alert = match (*step, open) {
            (Step::Clear(_), None) => continue,
            (Step::Clear(after), Some(open)) => {
                clock += after;
                Alert { revision, state: AlertState::Cleared, cleared_at: Some(at(clock)), ..open }
            }
            (Step::Report(after, severity), open) => {
                clock += after;
                let severity = Severity::from_number(severity).unwrap();
                let fresh = Alert { severity, ..raised(revision, clock) };
                open.map_or(fresh, |open| Alert { revision, severity, count: open.count + 1, last_seen: at(clock), ..open })
            }
        };
        records.push(alert);
    }
    records
}

fn raised(revision: u64, clock: i64) -> Alert {
    Alert {
        key: AlertKey { resource: "r".into(), kind: "k".into(), qualifier: String::new() },
        occurrence: revision,
        revision,
        state: AlertState::Open,
        severity: Severity::Minor,
        summary: "s".into(),
        count: 1,
        first_seen: at(clock),
        last_seen: at(clock),
        cleared_at: None,
        labels: BTreeMap::new(),
        rule: RuleId::new("rule").unwrap(),
        rule_version: 1,
        course: postern_protocol::alert::Course::default(),
        evidence: Evidence::default(),
    }
}

/// State, severity, count, first and last seen, cleared.
type Row = (AlertState, Severity, u64, Timestamp, Timestamp, Option<Timestamp>);

/// The model: whoever knows the newest thing is right; who was there in the last five seconds, or had it open, counts along.
fn model(sides: [Option<&Alert>; 2]) -> Option<Row> {
    let newest = |alert: &Alert| alert.cleared_at.unwrap_or(alert.last_seen).max(alert.last_seen);
    let row = |alert: &Alert, other: Option<&Alert>| {
        let grace = |other: &Alert| if other.state == AlertState::Open { 5 } else { 0 };
        let along = other.filter(|other| newest(other).as_secs() + grace(other) >= alert.first_seen.as_secs()).unwrap_or(alert);
        let (count, first) = (alert.count.max(along.count), alert.first_seen.min(along.first_seen));
        (alert.state, alert.severity, count, first, alert.last_seen.max(along.last_seen), alert.cleared_at)
    };
    match sides {
        [None, None] => None,
        [Some(only), None] | [None, Some(only)] => Some(row(only, None)),
        [Some(a), Some(b)] => {
            let rank = |alert: &Alert| (newest(alert), alert.state == AlertState::Open, alert.severity);
            Some(if rank(a) >= rank(b) { row(a, Some(b)) } else { row(b, Some(a)) })
        }
    }
}

fn seen(row: AlertView) -> Row {
    (row.state, row.severity, row.count, row.first_seen, row.last_seen, row.cleared_at)
}

/// Applies records in this order, the pair being declared after `declared` of them.
fn run(order: &[(usize, Alert)], declared: usize) -> Option<Row> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let store = TenantStore::open(&folder.path().join("t.db")).unwrap();
        let gateways = ["a", "b"].map(|name| GatewayId::new(name).unwrap());
        let declare = || PairRequest { gateways: gateways.clone(), by: By::control_plane(), at: at(1) };
        let mut sequences = [0_u64; 2];
        for (place, (side, alert)) in order.iter().enumerate() {
            if place == declared {
                store.declare_pair(declare()).await.unwrap();
            }
            sequences[*side] += 1;
            let batch = AlertBatch { epoch: Epoch(1), first_sequence: Sequence(sequences[*side]), alerts: vec![alert.clone()] };
            store.apply_alerts(&gateways[*side], batch, at(9_999)).await.unwrap();
        }
        if declared >= order.len() {
            store.declare_pair(declare()).await.unwrap();
        }
        let mut rows = store.list_alerts(AlertFilter::default(), 9, None).await.unwrap().items;
        assert!(rows.len() <= 1, "{rows:#?}");
        rows.pop().map(seen)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_the_sides_records_gives_the_models_row(
        (first, second) in (steps(), steps()),
        lots in prop::collection::vec(any::<u32>(), 16),
        declared in 0..20_usize,
    ) {
        let sides = [records(&first), records(&second)];
        let all = sides.iter().enumerate().flat_map(|(side, records)| records.iter().map(move |alert| (side, alert.clone())));
        let mut order: Vec<_> = all.collect();
        let expected = model([sides[0].last(), sides[1].last()]);
        prop_assert_eq!(run(&order, declared), expected);
        let mut lots = lots.into_iter().cycle();
        order.sort_by_cached_key(|_| lots.next());
        prop_assert_eq!(run(&order, declared), expected);
    }
}
