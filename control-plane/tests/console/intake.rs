//! The intake in the console: the balance, the waiting room with its binding, MIB modules, unknown OIDs.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use postern_control::auth::Role;
use postern_control::clock;
use postern_control::store::minutes::{Minute, minute_of};
use postern_protocol::status::intake::{AgentAccount, CanaryPath, CanaryState, Intake, UnknownOid, Waiting};
use postern_protocol::status::{Account, Status};

use crate::{Browser, World, attribute, gateway, tenant};

const ENGINE: &str = "80001f8880e9630000d61ff449";

/// Lets the gateway of tenant a report.
pub(crate) async fn report(world: &World, intake: Intake) {
    let status = serde_json::json!({
        "version": "1", "uptime_s": 7200, "open_alerts": 0, "listeners": [], "revision": {},
        "tunnel": {"state": "up", "since": 0, "rtt_ms": null, "clock_offset_ms": null, "last_error": null},
        "spool": {"lanes": {}, "bytes_on_disk": 0, "seconds_left": null},
        "ledger": {"totals": {"received": 0, "accepted": 0, "in_flight": 0, "dropped": {}}, "by_protocol": {}, "top_sources": [], "crash_windows": []},
    });
    let status = Status { intake, ..serde_json::from_value(status).unwrap() };
    let store = world.app.stores.tenant(&tenant("a")).unwrap();
    store.gateway_connected(&gateway("a"), "1", clock::now()).await.unwrap();
    store.set_status(&gateway("a"), &status, clock::now()).await.unwrap();
    store.put_unknown_oids(&gateway("a"), status.intake.unknown_oids, clock::now()).await.unwrap();
}

fn waiting(reason: &str, user: &str) -> Waiting {
    let now = clock::now().as_nanos();
    Waiting {
        reason: reason.into(),
        source: "10.0.0.7".into(),
        engine_id: ENGINE.into(),
        user: user.into(),
        level: "auth_priv".into(),
        count: 3,
        first_seen: now,
        last_seen: now,
        advice: String::new(),
    }
}

/// A report in which every text is `text`.
pub(crate) fn hostile(text: &str) -> Intake {
    let all = || text.to_owned();
    let one = Waiting { reason: all(), source: all(), engine_id: all(), level: all(), advice: all(), ..waiting("", text) };
    let now = clock::now().as_nanos();
    Intake {
        waiting_room: vec![one],
        unknown_oids: vec![UnknownOid { oid: all(), count: 1, first_seen: now, last_seen: now, source: all() }],
        canary: vec![CanaryPath { path: all(), state: CanaryState::Missed, last_ok: None, broken: all() }],
        agents: vec![AgentAccount { agent: all(), ..AgentAccount::default() }],
        dictionary: Some(all()),
        warnings: vec![all()],
        ..Intake::default()
    }
}

async fn newest(world: &World) -> (u64, String) {
    let desired = world.app.stores.tenant(&tenant("a")).unwrap().desired(&gateway("a")).await.unwrap().unwrap();
    assert_eq!(desired.view.created_by, "anna");
    (desired.view.number.0, String::from_utf8(desired.document).unwrap())
}

const BIND: &str = "/gateways/gateway-a/waiting-room/bind";

#[tokio::test]
async fn a_refused_engine_is_bound_by_a_form_that_first_shows_what_changes() {
    let world = World::new().await;
    report(&world, Intake { waiting_room: vec![waiting("unknown_user", "ops")], ..Intake::default() }).await;
    let anna = world.browser("a", "anna", Role::Admin).await;
    let list = anna.get("/gateways/gateway-a/waiting-room").await.body;
    assert!(list.contains("none of this name") && !list.contains("Bind to ops"), "{list}");
    assert!(anna.get("/gateways").await.body.contains("1 in the waiting room"));
    let link = attribute(&list, "class=\"acts\"", "href").replace("&#38;", "&");
    let form = anna.get(&link).await.body;
    assert_eq!(attribute(&form, "id=\"name\"", "value"), "ops");
    assert!(form.contains(ENGINE) && form.contains("10.0.0.7/32"), "{form}");
    let fields = [("name", "ops"), ("engines", ENGINE), ("sources", "10.0.0.7"), ("reason", "unknown_user")];
    let preview = anna.post(BIND, &[&fields[..], &[("do", "preview")]].concat()).await;
    assert_eq!(preview.status, StatusCode::OK, "{}", preview.body);
    assert!(
        preview.body.contains("class=\"added\"") && !preview.body.contains("class=\"removed\"><td>−</td><td>  \"rules"),
        "{}",
        preview.body
    );
    let base = attribute(&preview.body, "name=\"base\"", "value");
    let saved = anna.post(BIND, &[&fields[..], &[("do", "apply"), ("base", &base)]].concat()).await;
    assert_eq!(
        (saved.status, saved.header("location")),
        (StatusCode::SEE_OTHER, "/gateways/gateway-a/waiting-room?bound=1"),
        "{}",
        saved.body
    );
    let (_, document) = newest(&world).await;
    let document = postern_protocol::revision::parse(document.as_bytes()).unwrap();
    assert_eq!(document.snmp.unwrap().users[0].sources, ["10.0.0.7/32"]);
    let stale = anna.post(BIND, &[("name", "other"), ("engines", ENGINE), ("do", "apply"), ("base", "0")]).await;
    assert_eq!(stale.status, StatusCode::CONFLICT);
    assert!(stale.body.contains("revision 1 was stored meanwhile"), "{}", stale.body);
}

#[tokio::test]
async fn one_click_binds_to_a_user_that_exists() {
    let world = World::new().await;
    let anna = world.browser("a", "anna", Role::Admin).await;
    let user = [("name", "ops"), ("engines", "8000000001"), ("sources", "10.1.0.0/16"), ("do", "apply")];
    assert_eq!(anna.post(BIND, &user).await.status, StatusCode::SEE_OTHER);
    report(&world, Intake { waiting_room: vec![waiting("unknown_engine", "ops")], ..Intake::default() }).await;
    let list = anna.get("/gateways/gateway-a/waiting-room").await.body;
    assert!(list.contains("Bind to ops"), "{list}");
    // What the button sends, and nothing else.
    let click = [("reason", "unknown_engine"), ("engines", ENGINE), ("sources", "10.0.0.7"), ("name", "ops"), ("do", "apply")];
    assert_eq!(anna.post(BIND, &click).await.header("location"), "/gateways/gateway-a/waiting-room?bound=2");
    let (_, document) = newest(&world).await;
    let user = postern_protocol::revision::parse(document.as_bytes()).unwrap().snmp.unwrap().users.remove(0);
    assert_eq!((user.engines.len(), user.sources.len()), (2, 2));
    assert_eq!(anna.post(BIND, &click).await.status, StatusCode::CONFLICT, "it is bound already");
}

#[tokio::test]
async fn an_engine_that_starts_over_is_reset_after_a_look() {
    let world = World::new().await;
    let anna = world.browser("a", "anna", Role::Admin).await;
    let page = anna.get(&format!("{BIND}?reason=not_in_time_window&engine={ENGINE}")).await;
    assert!(page.body.contains("engine_resets") && page.body.contains("&#34;serial&#34;: 1"), "{}", page.body);
    let saved = anna.post(BIND, &[("reason", "not_in_time_window"), ("engines", ENGINE), ("base", "0"), ("do", "apply")]).await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER, "{}", saved.body);
    assert!(newest(&world).await.1.contains(ENGINE));
}

#[tokio::test]
async fn only_an_administrator_of_the_tenant_binds_and_uploads() {
    let world = World::new().await;
    report(&world, Intake { waiting_room: vec![waiting("unknown_user", "ops")], ..Intake::default() }).await;
    let form = [("name", "ops"), ("engines", ENGINE), ("do", "apply")];
    for (of, name, role, bound) in [
        ("a", "vera", Role::Viewer, StatusCode::FORBIDDEN),
        ("a", "otto", Role::Operator, StatusCode::FORBIDDEN),
        ("b", "bert", Role::Admin, StatusCode::NOT_FOUND),
    ] {
        let person = world.browser(of, name, role).await;
        assert_eq!(person.post(BIND, &form).await.status, bound, "{name}");
        let own = if of == "a" { StatusCode::OK } else { StatusCode::NOT_FOUND };
        for path in ["/gateways/gateway-a/waiting-room", "/gateways/gateway-a/ledger"] {
            let page = person.get(path).await;
            assert_eq!(page.status, own, "{name} {path}");
            assert!(!page.body.contains("waiting-room/bind"), "{name}");
        }
        if role < Role::Admin {
            assert_eq!(upload(&person, Some(&person.csrf), "X-MIB DEFINITIONS ::= BEGIN END").await.status, StatusCode::FORBIDDEN);
            assert_eq!(person.post("/mibs/1/delete", &[]).await.status, StatusCode::FORBIDDEN);
            assert!(!person.get("/mibs").await.body.contains("id=\"upload\""));
        }
    }
    let forged = world.browser("a", "anna", Role::Admin).await;
    assert_eq!(forged.post_bare(BIND, &form, "text/html").await.status, StatusCode::FORBIDDEN, "without a token");
    assert_eq!(upload(&forged, None, "X-MIB DEFINITIONS ::= BEGIN END").await.status, StatusCode::FORBIDDEN, "without a token");
}

async fn upload(person: &Browser<'_>, csrf: Option<&str>, text: &str) -> crate::Answer {
    let mut request = Request::post("/mibs").header("cookie", &person.cookie).header("x-file-name", "my%20%3Cmibs%3E.txt");
    if let Some(csrf) = csrf {
        request = request.header("x-csrf-token", csrf);
    }
    person.world.send(request.header("content-type", "application/octet-stream").body(Body::from(text.to_owned())).unwrap()).await
}

#[tokio::test]
async fn an_uploaded_module_is_listed_with_what_is_wrong_and_can_be_deleted() {
    let world = World::new().await;
    let anna = world.browser("a", "anna", Role::Admin).await;
    let text = "ACME-MIB DEFINITIONS ::= BEGIN\nIMPORTS NOTIFICATION-TYPE FROM SNMPv2-SMI acmeRoot FROM ACME-ROOT-MIB;\n\
                acmeLost NOTIFICATION-TYPE STATUS current DESCRIPTION \"-\" ::= { acmeRoot 1 }\nEND\n";
    let answer = upload(&anna, Some(&anna.csrf), text).await;
    assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, "1 module, 0 of 1 notification resolved"));
    let page = anna.get("/mibs").await.body;
    for shown in ["my &#60;mibs&#62;.txt", "ACME-MIB", "acmeLost", "ACME-ROOT-MIB"] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    let bert = world.browser("b", "bert", Role::Admin).await;
    assert!(!bert.get("/mibs").await.body.contains("ACME-MIB"), "another tenant's modules");
    assert_eq!(bert.post("/mibs/1/delete", &[]).await.status, StatusCode::NOT_FOUND);
    assert!(!anna.get("/mibs?q=nothing").await.body.contains("<b>acmeLost</b>"));
    assert_eq!(upload(&anna, Some(&anna.csrf), text).await.status, StatusCode::CONFLICT);
    let action = page.split("action=\"/mibs/").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(anna.post(&format!("/mibs/{action}"), &[]).await.status, StatusCode::SEE_OTHER);
    assert!(!anna.get("/mibs").await.body.contains("acmeLost"));
}

#[tokio::test]
async fn the_balance_shows_gaps_and_the_sources_of_a_chosen_bar() {
    let world = World::new().await;
    report(&world, Intake::default()).await;
    let last = minute_of(clock::now()) - 10;
    let minute = |minute: u64, accepted| {
        let account = Account { received: 10, accepted, in_flight: 0, dropped: BTreeMap::from([("malformed".to_owned(), 1)]) };
        Minute { minute, protocol: "syslog".into(), account, sources: Vec::new() }
    };
    let minutes = vec![minute(last - 3, 9), minute(last - 2, 4), minute(last, 9)];
    world.app.stores.tenant(&tenant("a")).unwrap().put_minutes(&gateway("a"), minutes, clock::now()).await.unwrap();
    let anna = world.browser("a", "anna", Role::Viewer).await;
    let own = anna.get("/gateways/gateway-a").await.body;
    assert!(own.contains("does not balance") && own.contains("5 unaccounted for"), "{own}");
    let page = anna.get("/gateways/gateway-a/ledger?span=1h").await.body;
    assert!(page.contains("class=\"gap\"") && page.contains("class=\"missing\"") && page.contains("1 minute without a report"), "{page}");
    let bar = anna.get(&format!("/gateways/gateway-a/ledger?span=1h&at={}", last - 2)).await.body;
    assert!(bar.contains("✗ off by 5") && bar.contains("id=\"chosen\""), "{bar}");
}

#[tokio::test]
async fn the_authoritys_certificate_can_be_had_by_everybody() {
    let world = World::new().await;
    let answer = world.get("/ca.pem").await;
    assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, world.app.trust.current().issuing().pem()));
    assert!(answer.header("content-disposition").starts_with("attachment"));
}
