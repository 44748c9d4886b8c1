//! What comes ahead of its order changes what is shown, and nothing of what is known afterwards.

use std::collections::BTreeMap;

use postern_protocol::alert::{AlertKey, AlertState, Evidence, Severity};
use postern_protocol::id::{AlertId, Lane, RuleId};
use postern_protocol::message::{Hello, LanePosition, PROTOCOL_VERSION};

use super::super::healing;
use super::super::ingest::AlertBatch;
use super::*;

const NOW: Timestamp = Timestamp::from_secs(5_000);
const EPOCH: Epoch = Epoch(9);

struct Site {
    _folder: tempfile::TempDir,
    store: TenantStore,
    gateway: GatewayId,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = TenantStore::open(&folder.path().join("t.db")).unwrap();
        Self { _folder: folder, store, gateway: GatewayId::new("gw").unwrap() }
    }

    async fn ahead(&self, alerts: Vec<Alert>) -> AppliedAhead {
        let batch = AheadBatch { epoch: EPOCH, head: Sequence(50), alerts };
        self.store.apply_ahead(&self.gateway, batch, NOW).await.unwrap()
    }

    async fn in_order(&self, first: u64, alerts: Vec<Alert>) -> Vec<Change> {
        let batch = AlertBatch { epoch: EPOCH, first_sequence: Sequence(first), alerts };
        self.store.apply_alerts(&self.gateway, batch, NOW).await.unwrap().changes
    }

    async fn texts(&self, sql: &'static str) -> Vec<String> {
        let read = self.store.read(move |db| {
            let mut statement = db.prepare(sql)?;
            let texts = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
            Ok(texts)
        });
        read.await.unwrap()
    }

    /// Everything that people can know of alerts, but for our own revisions.
    async fn known(&self) -> Vec<String> {
        let mut known = self
            .texts("SELECT id || state || occurrence || gateway_revision || severity || count || ifnull(cleared_at, '-') FROM alert ORDER BY id")
            .await;
        known.extend(self.history().await);
        known.extend(
            self.texts(
                "SELECT alert || occurrence || state || severity || count || first_seen || last_seen || ifnull(cleared_at, '-')
                 FROM occurrence ORDER BY alert, occurrence",
            )
            .await,
        );
        known.extend(self.texts("SELECT 'overtaken ' || alert FROM alert_overtaken").await);
        known
    }

    async fn history(&self) -> Vec<String> {
        self.texts("SELECT alert || ' ' || at || ' ' || what || ' ' || text FROM alert_history ORDER BY alert, number").await
    }

    async fn execute(&self, sql: &'static str) {
        self.store.write(move |tx| Ok(tx.execute(sql, [])?)).await.unwrap();
    }

    async fn judge(&self, epoch: u64, head: u64, found: u64) -> healing::Judgement {
        let heads = vec![LanePosition { lane: u32::from(Lane::Alerts.number()), epoch, sequence: head }];
        let hello = Hello { protocol: PROTOCOL_VERSION, epoch, heads, alert_revision: found, ..Hello::default() };
        self.store.judge(&self.gateway, &hello, NOW).await.unwrap()
    }
}

fn alert(interface: u64, (occurrence, revision): (u64, u64), state: AlertState) -> Alert {
    let second = |revision: u64| Timestamp::from_secs(i64::try_from(revision).unwrap());
    Alert {
        key: AlertKey { resource: format!("10.0.0.7/if/{interface}"), kind: "link-down".into(), qualifier: String::new() },
        occurrence,
        revision,
        state,
        severity: if revision % 3 == 0 { Severity::Critical } else { Severity::Major },
        summary: "Link is down".into(),
        count: revision - occurrence + 1,
        first_seen: second(occurrence),
        last_seen: second(revision),
        cleared_at: (state == AlertState::Cleared).then_some(second(revision)),
        labels: BTreeMap::new(),
        rule: RuleId::new("link-down").unwrap(),
        rule_version: 1,
        evidence: Evidence::default(),
        course: postern_protocol::alert::Course::default(),
    }
}

/// Two alerts through several occurrences, as their lane says them; each ends open.
fn course() -> Vec<Alert> {
    let one = [
        alert(1, (10, 10), AlertState::Open),
        alert(1, (10, 12), AlertState::Open),
        alert(1, (10, 13), AlertState::Cleared),
        alert(1, (20, 20), AlertState::Open),
        alert(1, (20, 21), AlertState::Closed),
        alert(1, (30, 30), AlertState::Open),
        alert(1, (30, 31), AlertState::Open),
        alert(1, (30, 35), AlertState::Open),
    ];
    let two = [14, 15, 16, 17].map(|revision| alert(2, (14, revision), AlertState::Open));
    let mut all: Vec<_> = one.into_iter().chain(two).collect();
    all.sort_by_key(|alert| alert.revision);
    all
}

#[tokio::test]
async fn what_is_known_in_the_end_is_the_same_wherever_something_went_ahead() {
    let plain = Site::new();
    plain.in_order(1, course()).await;
    let expected = plain.known().await;
    let all = course();
    for ahead in 0..all.len() {
        for split in 0..=ahead {
            let site = Site::new();
            if split > 0 {
                site.in_order(1, all[..split].to_vec()).await;
            }
            site.ahead(vec![all[ahead].clone()]).await;
            for (sequence, alert) in (1..).zip(&all).skip(split) {
                site.in_order(sequence, vec![alert.clone()]).await;
                // Said again by a session that was cut: nothing more.
                site.ahead(vec![all[ahead].clone()]).await;
            }
            assert_eq!(site.known().await, expected, "number {ahead} went ahead after {split}");
        }
    }
}

#[tokio::test]
async fn the_newest_state_is_shown_at_once_and_no_cursor_moves() {
    let site = Site::new();
    let applied = site.ahead(vec![alert(1, (30, 35), AlertState::Open)]).await;
    let id = AlertId::derive(&site.gateway, &alert(1, (30, 35), AlertState::Open).key);
    assert_eq!(applied.changes, [Change::Alert { id: id.as_str().to_owned(), revision: 1 }]);
    assert_eq!(site.texts("SELECT state || ' ' || count FROM alert").await, ["open 6"]);
    assert!(site.store.cursors(&site.gateway).await.unwrap().is_empty());
    assert!(site.history().await.is_empty(), "it comes in its order");
    assert!(site.in_order(1, vec![alert(1, (10, 10), AlertState::Open)]).await.len() == 1, "the history has grown");
    assert_eq!(site.texts("SELECT state || ' ' || count FROM alert").await, ["open 6"]);
    assert!(site.ahead(vec![alert(1, (30, 35), AlertState::Open)]).await.changes.is_empty());
}

#[tokio::test]
async fn what_a_person_closed_stays_closed_whatever_the_lane_says_later() {
    let site = Site::new();
    site.ahead(vec![alert(1, (30, 31), AlertState::Open)]).await;
    site.execute("UPDATE alert SET state = 'closed', closed_at = 1, closed_by = 'anna', close_count_seen = count").await;
    site.in_order(1, vec![alert(1, (30, 30), AlertState::Open), alert(1, (30, 31), AlertState::Open)]).await;
    assert_eq!(site.texts("SELECT state || ' ' || closed_by FROM alert").await, ["closed anna"]);
    site.in_order(3, vec![alert(1, (30, 34), AlertState::Closed)]).await;
    assert_eq!(site.texts("SELECT what FROM alert_history ORDER BY number").await, ["raised", "severity"], "anna's own entry is enough");
    assert_eq!(site.texts("SELECT state || ' ' || ifnull(close_count_seen, 'confirmed') FROM alert").await, ["closed confirmed"]);
}

#[tokio::test]
async fn a_cut_before_the_first_ordered_batch_is_no_disk_that_was_set_back() {
    let site = Site::new();
    // The start found alerts up to revision 20; what came later went ahead.
    site.ahead(vec![alert(1, (30, 35), AlertState::Open)]).await;
    let judgement = site.judge(EPOCH.0, 50, 20).await;
    assert_eq!((judgement.findings, judgement.resend, judgement.adopt), (vec![], false, vec![]));
}

#[tokio::test]
async fn a_gateway_that_is_behind_what_it_sent_ahead_was_set_back_and_gets_it_back() {
    let site = Site::new();
    site.ahead(vec![alert(1, (30, 35), AlertState::Open)]).await;
    let judgement = site.judge(EPOCH.0, 49, 20).await;
    assert_eq!(judgement.findings.len(), 1, "{judgement:?}");
    assert_eq!(judgement.adopt.iter().map(|alert| alert.revision).collect::<Vec<_>>(), [35]);
    // It was declared: once is enough.
    assert!(site.judge(EPOCH.0, 49, 20).await.findings.is_empty());
    // Another start of a disk that was set back shows as ever.
    let other = Site::new();
    other.ahead(vec![alert(1, (30, 35), AlertState::Open)]).await;
    assert!(other.judge(EPOCH.0 + 1, 0, 35).await.adopt.is_empty());
    assert_eq!(other.judge(EPOCH.0 + 1, 0, 34).await.adopt.len(), 1);
}
