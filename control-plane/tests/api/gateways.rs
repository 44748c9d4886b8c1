//! A gateway's history and its end by the API, and what is kept only for a while.

use axum::http::StatusCode;
use postern_control::auth::Role;
use postern_control::retention;
use postern_control::store::gateway_events::{GatewayEvent, Happening};
use postern_control::store::samples::{SampleBatch, SampleFilter};
use postern_protocol::id::{Epoch, Sequence};
use postern_protocol::sample::Sample;
use postern_protocol::timestamp::Timestamp;

use super::{World, clock, gateway, tenant};

const HISTORY: &str = "/api/v1/gateways/gateway-a/history";
const REVOKE: &str = "/api/v1/gateways/gateway-a/revoke";

#[tokio::test]
async fn the_history_is_read_page_by_page_newest_first() {
    let world = World::new().await;
    let viewer = world.token("a", Role::Viewer).await;
    assert_eq!(world.get(&viewer, HISTORY).await.json(), serde_json::json!({"items": [], "next_cursor": null}));
    let store = world.app.stores.tenant(&tenant("a")).unwrap();
    for n in 1..=5 {
        let event = GatewayEvent { at: Timestamp::from_secs(n), what: Happening::DiskSetBack, text: format!("event {n}") };
        store.note_gateway_event(&gateway("a"), event).await.unwrap();
    }
    let (mut seen, mut path) = (Vec::new(), format!("{HISTORY}?limit=2"));
    loop {
        let page = world.get(&viewer, &path).await.json();
        seen.extend(page["items"].as_array().unwrap().iter().map(|item| item["text"].as_str().unwrap().to_owned()));
        let Some(next) = page["next_cursor"].as_str() else { break };
        path = format!("{HISTORY}?limit=2&cursor={next}");
    }
    assert_eq!(seen, ["event 5", "event 4", "event 3", "event 2", "event 1"]);
    let first = world.get(&viewer, &format!("{HISTORY}?limit=1")).await.json()["items"][0].clone();
    assert_eq!(first, serde_json::json!({"at": "1970-01-01T00:00:05.000000Z", "what": "disk_set_back", "text": "event 5"}));
    assert_eq!(world.get(&viewer, &format!("{HISTORY}?cursor=x")).await.json()["parameter"], "cursor");
}

#[tokio::test]
async fn a_gateway_is_revoked_once_and_for_all_to_see() {
    let world = World::new().await;
    let operator = world.token("a", Role::Operator).await;
    assert_eq!(world.post(&operator, REVOKE, &[], "").await.status, StatusCode::FORBIDDEN);
    let admin = world.token("a", Role::Admin).await;
    let revoked = world.post(&admin, REVOKE, &[], "").await;
    assert_eq!(revoked.status, StatusCode::OK);
    let at = revoked.json()["revoked_at"].clone();
    assert!(at.is_string(), "{}", revoked.json());
    assert_eq!(world.post(&admin, REVOKE, &[], "").await.json()["revoked_at"], at, "the first time counts");
    let audit = world.get(&admin, "/api/v1/audit").await.json();
    let noted: Vec<_> = audit["items"].as_array().unwrap().iter().filter(|item| item["about"] == "gateway gateway-a").collect();
    assert_eq!((noted.len(), noted[0]["what"].as_str()), (1, Some("gateway-revoked")), "{audit}");
    let history = world.get(&admin, HISTORY).await.json();
    assert_eq!((history["items"].as_array().unwrap().len(), history["items"][0]["what"].as_str()), (1, Some("revoked")));
    let document = r#"{"format":1,"rules":[]}"#;
    let late = world.post(&admin, "/api/v1/gateways/gateway-a/configuration/import", &[], document).await;
    assert_eq!(late.status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn the_retention_task_forgets_what_is_too_old_and_nothing_else() {
    let world = World::new().await;
    let token = world.token("a", Role::Viewer).await;
    let (store, system) = (world.app.stores.tenant(&tenant("a")).unwrap(), world.app.stores.system());
    let now = clock::now();
    let sample = |days: i64| Sample {
        resource: "r".into(),
        metric: "m".into(),
        value: days as f64,
        unit: String::new(),
        at: Timestamp::from_secs(now.as_secs() - days * 86_400),
        labels: Default::default(),
    };
    let batch = SampleBatch { epoch: Epoch(1), first_sequence: Sequence(1), samples: vec![sample(31), sample(29)] };
    store.apply_samples(&gateway("a"), batch, now).await.unwrap();
    let aged = format!(
        "INSERT INTO ledger_minute (gateway, minute, protocol, received, accepted, in_flight, dropped) VALUES ('gateway-a', 5, 'push', 1, 1, 0, '{{}}');
         INSERT INTO unknown_oid (gateway, oid, count, first_seen, last_seen, source) VALUES ('gateway-a', '1.3', 1, 1, 1, ''), ('gateway-a', '1.4', 1, 1, {0}, '');
         INSERT INTO idempotency (principal, key, request, status, body, created_at) VALUES ('p', 'k', x'', 200, x'', 1)",
        now.as_nanos()
    );
    store.write(move |tx| Ok(tx.execute_batch(&aged)?)).await.unwrap();
    let ended = "INSERT INTO access_token (token_sha256, client, expires_at) SELECT x'00', id, 1 FROM api_client LIMIT 1";
    system.write(move |tx| Ok(tx.execute_batch(ended)?)).await.unwrap();
    let forgotten = async {
        loop {
            let left = store.read(|db| {
                let sql =
                    "SELECT (SELECT count(*) FROM ledger_minute) + (SELECT count(*) FROM idempotency) + (SELECT count(*) FROM unknown_oid)";
                Ok(db.query_row(sql, [], |row| row.get::<_, i64>(0))?)
            });
            let tokens = system.read(|db| Ok(db.query_row("SELECT count(*) FROM access_token", [], |row| row.get::<_, i64>(0))?));
            if (left.await.unwrap(), tokens.await.unwrap()) == (1, 1) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = retention::watch(world.app.clone()) => unreachable!(),
        () = forgotten => {}
    }
    let kept = store.list_samples(SampleFilter::default(), 9, None).await.unwrap().items;
    assert_eq!(kept.iter().map(|sample| sample.value).collect::<Vec<_>>(), [29.0]);
    assert_eq!(world.get(&token, HISTORY).await.status, StatusCode::OK, "a token that is good stays");
}
