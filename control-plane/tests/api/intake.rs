//! The ledger's minutes and the waiting room over the API.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use postern_control::auth::Role;
use postern_control::store::minutes::Minute;
use postern_protocol::status::{Account, SourceAccount, Status};
use postern_protocol::timestamp::Timestamp;

use super::{World, gateway, tenant};

const LEDGER: &str = "/api/v1/gateways/gateway-a/ledger";
const BIND: &str = "/api/v1/gateways/gateway-a/waiting-room/bind";

/// Lets the gateway of tenant a report one of everything.
pub(crate) async fn furnish(world: &World) {
    let store = world.app.stores.tenant(&tenant("a")).unwrap();
    let now = postern_control::clock::now();
    let account = |in_flight| Account { received: 10, accepted: 9, in_flight, dropped: BTreeMap::from([("malformed".to_owned(), 1)]) };
    let source = SourceAccount { source: "10.0.0.1".into(), protocol: "syslog".into(), account: account(0) };
    let present = postern_control::store::minutes::minute_of(now);
    let minute = |minute| Minute { minute, protocol: "syslog".into(), account: account(1), sources: vec![source.clone()] };
    store.put_minutes(&gateway("a"), vec![minute(present - 5), minute(present - 1)], now).await.unwrap();
    let nanos = now.as_nanos();
    let status = serde_json::json!({
        "version": "1", "uptime_s": 7200, "open_alerts": 0, "listeners": [], "revision": {},
        "tunnel": {"state": "up", "since": 0, "rtt_ms": null, "clock_offset_ms": null, "last_error": null},
        "spool": {"lanes": {}, "bytes_on_disk": 0, "seconds_left": null},
        "ledger": {"totals": {"received": 0, "accepted": 0, "in_flight": 0, "dropped": {}}, "by_protocol": {}, "top_sources": [],
                   "crash_windows": []},
        "intake": {
            "waiting_room": [{"reason": "unknown_user", "source": "10.0.0.1", "engine_id": "80", "user": "u", "level": "auth_priv",
                              "count": 1, "first_seen": nanos, "last_seen": nanos, "advice": ""}],
            "unknown_oids": [{"oid": "1.3.6.1.4.1.9.1", "count": 1, "first_seen": nanos, "last_seen": nanos, "source": "10.0.0.1"}],
        },
    });
    let status: Status = serde_json::from_value(status).unwrap();
    store.gateway_connected(&gateway("a"), "1", now).await.unwrap();
    store.set_status(&gateway("a"), &status, now).await.unwrap();
    store.put_unknown_oids(&gateway("a"), status.intake.unknown_oids, now).await.unwrap();
}

#[tokio::test]
async fn the_ledger_shows_minutes_gaps_and_sources() {
    let world = World::new().await;
    let viewer = world.token("a", Role::Viewer).await;
    let dropped = BTreeMap::from([("malformed".to_owned(), 2)]);
    let minute = |minute, accepted| {
        let account = Account { received: 10, accepted, in_flight: 0, dropped: dropped.clone() };
        let source = SourceAccount { source: "10.0.0.1".into(), protocol: "syslog".into(), account: account.clone() };
        Minute { minute, protocol: "syslog".into(), account, sources: vec![source] }
    };
    let minutes = vec![minute(29_000_000, 8), minute(29_000_001, 5)];
    let now = Timestamp::from_secs(29_000_002 * 60);
    world.app.stores.tenant(&tenant("a")).unwrap().put_minutes(&gateway("a"), minutes, now).await.unwrap();
    // Minute 29,000,000 is 2025-02-19T21:20Z.
    let found = world.get(&viewer, &format!("{LEDGER}?from=2025-02-19T21:20:00Z&to=2025-02-19T22:20:00Z")).await.json();
    assert_eq!(found["items"].as_array().map(Vec::len), Some(2), "{found}");
    assert_eq!((found["items"][0]["gap"].as_i64(), found["items"][1]["gap"].as_i64()), (Some(0), Some(3)));
    assert_eq!((found["totals"]["gap"].as_i64(), found["totals"]["dropped"]["malformed"].as_u64()), (Some(3), Some(4)));
    assert_eq!(found["sources"][0]["received"], 20);
    for wrong in
        ["from=2025-01-01T00:00:00Z&to=2025-01-02T00:01:00Z", "from=2025-01-01T00:01:00Z&to=2025-01-01T00:01:30Z", "from=x", "form=x"]
    {
        let answer = world.get(&viewer, &format!("{LEDGER}?{wrong}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{wrong}");
        assert!(answer.is_problem());
    }
}

#[tokio::test]
async fn a_reset_becomes_a_revision_that_says_who_made_it() {
    let world = World::new().await;
    let admin = world.token("a", Role::Admin).await;
    let reset = r#"{"action":"reset_engine","engine":"80001F8880E9630000D61FF449"}"#;
    let preview = world.post(&admin, &format!("{BIND}?preview=true"), &[], reset).await;
    assert_eq!((preview.status, preview.json()["snmp"]["engine_resets"][0]["serial"].as_u64()), (StatusCode::OK, Some(1)));
    let revisions = async || world.get(&admin, "/api/v1/gateways/gateway-a/revisions").await.json()["items"].clone();
    assert_eq!(revisions().await.as_array().map(Vec::len), Some(0), "a preview stores nothing");
    let bound = world.post(&admin, BIND, &[], reset).await;
    assert_eq!((bound.status, bound.json()["number"].as_u64()), (StatusCode::OK, Some(1)));
    assert!(revisions().await[0]["created_by"].as_str().unwrap().starts_with("client:"));
    assert_eq!(world.post(&admin, BIND, &[], reset).await.json()["number"], 2);
    let wrong = world.post(&admin, BIND, &[], r#"{"action":"reset_engine","engine":"<script>"}"#).await;
    assert_eq!(
        (wrong.status, wrong.json()["problems"][0]["path"].as_str()),
        (StatusCode::UNPROCESSABLE_ENTITY, Some("snmp.engine_resets[1].engine"))
    );
}

#[tokio::test]
async fn a_user_whose_secret_is_in_no_vault_is_refused_with_its_path() {
    let world = World::new().await;
    let admin = world.token("a", Role::Admin).await;
    let user = r#"{"action":"bind_user","user":{"name":"ops","engines":["80001f8880e9630000d61ff449"],
        "auth":{"algorithm":"sha-256","secret":"ops.auth"}}}"#;
    let refused = world.post(&admin, BIND, &[], user).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    let problem = &refused.json()["problems"][0];
    assert_eq!(problem["path"], "snmp.users[0].auth.secret");
    assert!(problem["reason"].as_str().unwrap().contains("seal it first") && problem["line"].as_u64() > Some(1), "{problem}");
    // What is forced is stored all the same, as everywhere.
    let document = world.post(&admin, &format!("{BIND}?preview=true"), &[], user).await;
    assert_eq!(document.status, StatusCode::OK);
}
