//! Delivery is at least once and may begin again anywhere; what is stored is as if each record had come once, in order.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::BTreeMap;

use postern_control::store::TenantStore;
use postern_control::store::ingest::AlertBatch;
use postern_protocol::alert::{Alert, AlertKey, AlertState, Evidence, Severity};
use postern_protocol::id::{Epoch, GatewayId, RuleId, Sequence};
use postern_protocol::timestamp::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;

/// What one step of a gateway's engine does to one of three alerts.
#[derive(Clone, Copy, Debug)]
enum Step {
    Clear(u8),
    Report(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    vec((any::<bool>(), 0_u8..3).prop_map(|(report, key)| if report { Step::Report(key) } else { Step::Clear(key) }), 1..40)
}

/// Returns the records that the steps leave in the alerts lane.
fn records(steps: &[Step]) -> Vec<Alert> {
    let mut open: BTreeMap<u8, Alert> = BTreeMap::new();
    let mut records = Vec::new();
    for (step, revision) in steps.iter().zip(1..) {
        match *step {
            Step::Report(key) => {
                let alert = open.entry(key).or_insert_with(|| first(key, revision));
                alert.count += u64::from(alert.revision != revision);
                alert.revision = revision;
                records.push(alert.clone());
            }
            Step::Clear(key) => {
                if let Some(alert) = open.remove(&key) {
                    let cleared_at = Some(Timestamp::from_secs(9));
                    records.push(Alert { state: AlertState::Cleared, revision, cleared_at, ..alert });
                }
            }
        }
    }
    records
}

fn first(key: u8, revision: u64) -> Alert {
    Alert {
        key: AlertKey { resource: format!("r{key}"), kind: "k".into(), qualifier: String::new() },
        occurrence: revision,
        revision,
        state: AlertState::Open,
        severity: Severity::Minor,
        summary: "s".into(),
        count: 1,
        first_seen: Timestamp::from_secs(1),
        last_seen: Timestamp::from_secs(2),
        cleared_at: None,
        labels: BTreeMap::new(),
        rule: RuleId::new("r").unwrap(),
        rule_version: 1,
        course: postern_protocol::alert::Course::default(),
        evidence: Evidence::default(),
    }
}

/// Deliveries: where each begins again (before what was acknowledged, as a share of it) and how many records it holds.
fn deliveries() -> impl Strategy<Value = Vec<(u8, u8)>> {
    vec((any::<u8>(), 1_u8..9), 0..20)
}

async fn deliver(records: &[Alert], deliveries: &[(u8, u8)]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let store = TenantStore::open(&folder.path().join("t.db")).unwrap();
    let gateway = GatewayId::new("gw").unwrap();
    let mut acknowledged = 0;
    let rest = std::iter::once(&(u8::MAX, u8::MAX));
    for (back, length) in deliveries.iter().chain(rest) {
        let from = acknowledged * usize::from(*back) / usize::from(u8::MAX);
        let to = records.len().min(from + usize::from(*length));
        if from == to {
            continue;
        }
        let first_sequence = Sequence(from as u64 + 1);
        let batch = AlertBatch { epoch: Epoch(7), first_sequence, alerts: records[from..to].to_vec() };
        let applied = store.apply_alerts(&gateway, batch, Timestamp::from_secs(10)).await.unwrap();
        assert_eq!((applied.committed.0, applied.skipped), (to.max(acknowledged) as u64, 0));
        acknowledged = acknowledged.max(to);
    }
    dump(&store).await
}

async fn dump(store: &TenantStore) -> Vec<String> {
    let sql =
        "SELECT resource || ' ' || occurrence || ' ' || gateway_revision || ' ' || revision || ' ' || state || ' ' || count FROM alert
         UNION ALL SELECT alert || ' ' || occurrence || ' ' || state || ' ' || count FROM occurrence
         UNION ALL SELECT number || ' ' || alert || ' ' || what || ' ' || text FROM alert_history ORDER BY 1";
    store.read(move |db| Ok(db.prepare(sql)?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)).await.unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn repeated_deliveries_leave_what_one_delivery_leaves(steps in steps(), deliveries in deliveries()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let records = records(&steps);
        let (once, repeated) = runtime.block_on(async { (deliver(&records, &[]).await, deliver(&records, &deliveries).await) });
        prop_assert_eq!(once, repeated);
    }
}
