//! What the store makes of greetings and resends.

use postern_protocol::message::LanePosition;

use super::*;
use crate::store::ingest::AlertBatch;

const NOW: Timestamp = Timestamp::from_secs(5_000);
const EPOCH: u64 = 9;

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

    async fn apply(&self, first: u64, alerts: Vec<Alert>) -> usize {
        let batch = AlertBatch { epoch: Epoch(EPOCH), first_sequence: Sequence(first), alerts };
        self.store.apply_alerts(&self.gateway, batch, NOW).await.unwrap().changes.len()
    }

    async fn resent(&self, sequence: u64, since_revision: u64) -> usize {
        let said = Resent { epoch: EPOCH, sequence, since_revision, nonce: 0 };
        self.store.resent(&self.gateway, said, NOW).await.unwrap().len()
    }

    async fn judge(&self, hello: Hello) -> Judgement {
        self.store.judge(&self.gateway, &hello, NOW).await.unwrap()
    }

    async fn states(&self) -> Vec<String> {
        let sql = "SELECT resource || ' ' || state FROM alert ORDER BY resource";
        let read = self.store.read(move |db| {
            let mut statement = db.prepare(sql)?;
            let states = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
            Ok(states)
        });
        read.await.unwrap()
    }

    async fn history(&self) -> Vec<Happening> {
        self.store.gateway_events(&self.gateway, 100).await.unwrap().into_iter().map(|event| event.what).collect()
    }
}

fn alert(resource: &str, revision: u64, state: AlertState) -> Alert {
    Alert {
        key: AlertKey { resource: resource.into(), kind: "link-down".into(), qualifier: String::new() },
        occurrence: 1,
        revision,
        state,
        severity: Severity::Major,
        summary: "Link is down".into(),
        count: revision,
        first_seen: Timestamp::from_secs(100),
        last_seen: Timestamp::from_secs(200),
        cleared_at: (state == AlertState::Cleared).then_some(Timestamp::from_secs(200)),
        labels: [("site".to_owned(), "x".to_owned())].into(),
        rule: RuleId::new("link-down").unwrap(),
        rule_version: 1,
        course: postern_protocol::alert::Course::default(),
        evidence: Evidence::default(),
    }
}

fn hello(alert_revision: u64, head: u64) -> Hello {
    let heads = vec![LanePosition { lane: 1, epoch: EPOCH, sequence: head }];
    Hello { protocol: 2, epoch: EPOCH, heads, alert_revision, newest_revision: 1, ..Hello::default() }
}

#[tokio::test]
async fn what_a_resend_left_out_is_cleared_once_the_lane_has_come_so_far() {
    let site = Site::new();
    site.apply(1, vec![alert("a", 1, AlertState::Open), alert("b", 2, AlertState::Open)]).await;
    // The clear of a was number 3, and lost. b is sent again as 4, which is still on its way.
    assert_eq!(site.resent(3, 4).await, 0);
    assert_eq!(site.states().await, ["a open", "b open"]);
    assert_eq!(site.apply(3, vec![alert("b", 4, AlertState::Open)]).await, 2, "b again, and the end of a");
    assert_eq!(site.states().await, ["a cleared", "b open"]);
    assert_eq!(site.history().await, [Happening::AlertsHealed]);
    // Only once; and a new raise opens it again.
    assert_eq!(site.apply(4, vec![alert("a", 5, AlertState::Open)]).await, 1);
    assert_eq!(site.states().await, ["a open", "b open"]);
}

#[tokio::test]
async fn a_resend_without_an_open_alert_ends_all_and_closes_the_gap() {
    let site = Site::new();
    site.apply(3, vec![alert("a", 7, AlertState::Open)]).await;
    assert!(site.store.has_open_gap(&site.gateway).await.unwrap());
    assert_eq!(site.resent(0, 8).await, 1);
    assert_eq!(site.states().await, ["a cleared"]);
    assert!(!site.store.has_open_gap(&site.gateway).await.unwrap());
}

#[tokio::test]
async fn a_close_that_the_gateway_cannot_confirm_any_more_is_not_told_for_ever() {
    let site = Site::new();
    site.apply(1, vec![alert("a", 1, AlertState::Open)]).await;
    let close = "UPDATE alert SET state = 'closed', closed_at = 1, closed_by = 'anna', close_count_seen = 1";
    site.store.write(move |tx| Ok(tx.execute(close, [])?)).await.unwrap();
    site.resent(1, 2).await;
    assert!(site.store.pending_closes(&site.gateway).await.unwrap().is_empty());
    assert_eq!(site.states().await, ["a closed"]);
}

#[tokio::test]
async fn our_own_alerts_about_a_gateway_are_left_alone() {
    let site = Site::new();
    let rule = RuleId::new(crate::unreachable::RULE).unwrap();
    let key = crate::unreachable::key(&site.gateway);
    let own = crate::store::own_alerts::OwnAlert { key, severity: Severity::Critical, summary: "away".to_owned(), rule };
    site.store.raise_own(&site.gateway, own, NOW).await.unwrap();
    assert_eq!(site.resent(0, u64::from(u32::MAX)).await, 0);
    assert_eq!(site.judge(hello(5, 0)).await, Judgement::default());
}

#[tokio::test]
async fn a_disk_that_was_set_back_gets_back_what_it_had_reported_before_it_resends() {
    let site = Site::new();
    let newer = [alert("b", 6, AlertState::Cleared), alert("c", 7, AlertState::Open)];
    site.apply(1, [vec![alert("a", 5, AlertState::Open)], newer.to_vec()].concat()).await;
    assert_eq!(site.judge(hello(7, 3)).await, Judgement::default());
    // A new start has a new epoch: only the revisions tell.
    let judgement = site.judge(Hello { epoch: 10, ..hello(5, 0) }).await;
    assert_eq!((judgement.adopt.as_slice(), judgement.resend), (newer.as_slice(), false));
    assert_eq!(site.history().await, [Happening::DiskSetBack]);
    // Whatever becomes of that session, and whatever a later start finds: until it has sent its open alerts again, it gets them.
    let judgement = site.judge(Hello { epoch: 11, ..hello(9, 0) }).await;
    assert_eq!((judgement.adopt.as_slice(), judgement.resend), (newer.as_slice(), false));
    assert_eq!(site.history().await.len(), 1, "it is declared once");
    site.resent(0, 10).await;
    assert_eq!(site.judge(Hello { epoch: 12, ..hello(10, 0) }).await, Judgement::default());
}

#[tokio::test]
async fn a_disk_that_was_set_back_to_nobody_knows_when_gets_back_all_that_it_ever_reported() {
    let site = Site::new();
    let reported = [alert("a", 5, AlertState::Open), alert("b", 6, AlertState::Cleared)];
    site.apply(1, reported.to_vec()).await;
    // It was restarted before this greeting, and had reported something new by then: its revision says nothing.
    let greeting = || Hello { epoch: 10, ..hello(7, 0) };
    assert_eq!(site.judge(greeting()).await, Judgement::default());
    site.store.declare_set_back(&site.gateway, "set back".to_owned(), NOW).await.unwrap();
    for _ in 0..2 {
        let judgement = site.judge(greeting()).await;
        assert_eq!((judgement.adopt.as_slice(), judgement.findings.len()), (reported.as_slice(), 0));
    }
    assert_eq!(site.history().await, [Happening::DiskSetBack]);
    site.resent(0, 8).await;
    assert_eq!(site.judge(Hello { epoch: 11, ..hello(8, 0) }).await, Judgement::default());
}

#[tokio::test]
async fn an_adoption_that_was_cut_off_begins_again_whatever_came_meanwhile() {
    let site = Site::new();
    site.apply(1, vec![alert("a", 5, AlertState::Open), alert("b", 6, AlertState::Cleared)]).await;
    let heads = vec![LanePosition { lane: 1, epoch: 10, sequence: 1 }];
    let set_back = || Hello { epoch: 10, heads: heads.clone(), ..hello(5, 0) };
    assert_eq!(site.judge(set_back()).await.adopt, [alert("b", 6, AlertState::Cleared)]);
    // That session ended before the gateway had it all; it has committed something new under its own epoch by now.
    let batch = AlertBatch { epoch: Epoch(10), first_sequence: Sequence(1), alerts: vec![alert("c", 8, AlertState::Open)] };
    site.store.apply_alerts(&site.gateway, batch, NOW).await.unwrap();
    assert_eq!(site.judge(set_back()).await.adopt.len(), 2, "what it has already, it passes over");
    site.resent(0, 9).await;
    assert_eq!(site.judge(set_back()).await, Judgement::default(), "what it reported since its start is no sign");
    assert!(site.history().await.contains(&Happening::DiskSetBack));
}

#[tokio::test]
async fn a_gateway_of_version_1_that_was_set_back_while_it_ran_is_asked_for_its_open_alerts() {
    let site = Site::new();
    site.apply(1, vec![alert("a", 5, AlertState::Open), alert("b", 6, AlertState::Open)]).await;
    let judgement = site.judge(Hello { protocol: 1, ..hello(0, 1) }).await;
    assert!(judgement.resend && judgement.adopt.is_empty());
}

#[tokio::test]
async fn a_restored_database_is_declared_and_asks_for_all_open_alerts() {
    let site = Site::new();
    let row = "INSERT INTO revision (gateway, number, document, signature, created_at, created_by, state_at)
               VALUES ('gw', 3, x'', x'', 0, 'anna', 0)";
    site.store.write(move |tx| Ok(tx.execute_batch(row)?)).await.unwrap();
    assert_eq!(site.judge(Hello { newest_revision: 3, ..hello(1, 0) }).await, Judgement::default());
    let judgement = site.judge(Hello { newest_revision: 9, ..hello(1, 0) }).await;
    assert!(judgement.resend);
    assert!(judgement.findings[0].text.contains("goes out as 10"), "{}", judgement.findings[0].text);
    assert_eq!(site.history().await, [Happening::DatabaseRestored]);
}
