//! Gateways, their configuration, and enrolment.

use axum::http::StatusCode;
use postern_control::auth::Role;
use postern_control::clock;
use postern_control::store::revisions::{RevisionReport, RevisionState};
use postern_protocol::id::RevisionNumber;
use postern_protocol::revision::{BUILT_IN, Problem};
use postern_protocol::status::{Account, Enforcement, Ledger, Listener, Revisions, Sandbox, Spool, Status, Tunnel, TunnelState};

use crate::{World, gateway, tenant};

const EDITOR: &str = "/gateways/gateway-a/configuration";

fn status() -> Status {
    let account = Account { received: 1_000, accepted: 980, in_flight: 5, dropped: [("queue_full".to_owned(), 15)].into() };
    Status {
        intake: postern_protocol::status::intake::Intake::default(),
        version: "0.1.0".into(),
        uptime_s: 90_000,
        doctor: None,
        ring: None,
        rules: Vec::new(),
        audit: None,
        identity: None,
        tunnel: Tunnel {
            state: TunnelState::Up,
            since: 0,
            rtt_ms: Some(2.5),
            clock_offset_ms: None,
            last_error: None,
            address: None,
            proxy: None,
        },
        spool: Spool {
            lanes: [("alerts".to_owned(), Default::default())].into(),
            bytes_on_disk: 2048,
            seconds_left: None,
            quota_bytes: 4096,
            damaged_records: 0,
            damaged_files: Vec::new(),
            evicted_by_reason: Default::default(),
            locked_records: 0,
        },
        revision: Revisions::default(),
        ledger: Ledger { totals: account.clone(), by_protocol: [("syslog".to_owned(), account)].into(), ..Ledger::default() },
        listeners: vec![Listener {
            name: "syslog".into(),
            proto: "udp".into(),
            addr: "127.0.0.1:10514".into(),
            rcvbuf_effective: Some(1 << 20),
            rcvbuf_asked: None,
            kernel_drops: Some(7),
            connections: None,
        }],
        open_alerts: 0,
        sandbox: Some(Sandbox { landlock: Enforcement::PartiallyEnforced { abi: 2 }, seccomp: Enforcement::FullyEnforced }),
    }
}

#[tokio::test]
async fn a_gateways_ledger_is_shown_as_a_sum_that_balances() {
    let world = World::new().await;
    let store = world.app.stores.tenant(&tenant("a")).unwrap();
    store.gateway_connected(&gateway("a"), "0.1.0", clock::now()).await.unwrap();
    store.set_status(&gateway("a"), &status(), clock::now()).await.unwrap();
    let browser = world.browser("a", "vera", Role::Viewer).await;
    let list = browser.get("/gateways").await.body;
    for text in ["Site a", "Connected", ">1,000<", ">15<"] {
        assert!(list.contains(text), "{text} in {list}");
    }
    let page = browser.get("/gateways/gateway-a").await.body;
    for text in [
        "✓ balanced",
        "could not keep up",
        "1.0 MiB",
        "127.0.0.1:10514/udp",
        "2.5 ms",
        "1 d 1 h",
        "built-in rules",
        "up to ABI 2; system calls fully enforced",
    ] {
        assert!(page.contains(text), "{text} in {page}");
    }
}

#[tokio::test]
async fn a_gateway_that_never_came_says_what_to_do() {
    let world = World::new().await;
    let browser = world.browser("a", "vera", Role::Viewer).await;
    let page = browser.get("/gateways/gateway-a").await.body;
    assert!(page.contains("Never connected") && page.contains("postern-gateway run"), "{page}");
}

#[tokio::test]
async fn an_invalid_document_is_refused_at_its_lines_and_kept_in_the_editor() {
    let world = World::new().await;
    let browser = world.browser("a", "anna", Role::Admin).await;
    let page = browser.get(EDITOR).await.body;
    assert!(
        page.contains("catch-all") && page.contains("name=\"base\" id=\"base\" value=\"0\""),
        "the built-in rules are there to start from"
    );
    let document = "{\r\n  \"format\": 1,\r\n  \"rulez\": [\"</textarea><script>\"]\r\n}\r\n";
    let answer = browser.post(EDITOR, &[("document", document), ("base", "0"), ("do", "save")]).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    for text in ["Not saved: ", "<mark>3</mark>", "data-line=\"3\"", "&#60;/textarea&#62;&#60;script&#62;"] {
        assert!(answer.body.contains(text), "{text} in {}", answer.body);
    }
    let store = world.app.stores.tenant(&tenant("a")).unwrap();
    assert_eq!(store.newest_revision(&gateway("a")).await.unwrap(), RevisionNumber(0));
}

#[tokio::test]
async fn a_valid_document_becomes_the_desired_revision_and_its_fate_is_shown() {
    let world = World::new().await;
    let browser = world.browser("a", "anna", Role::Admin).await;
    let crlf = BUILT_IN.replace('\n', "\r\n");
    let checked = browser.post(EDITOR, &[("document", &crlf), ("base", "0"), ("do", "check")]).await;
    assert!(checked.body.contains("The document is valid. It was not saved."), "{}", checked.body);
    let saved = browser.post(EDITOR, &[("document", &crlf), ("base", "0"), ("do", "save")]).await;
    assert_eq!((saved.status, saved.header("location")), (StatusCode::SEE_OTHER, EDITOR));
    let store = world.app.stores.tenant(&tenant("a")).unwrap();
    let desired = store.desired(&gateway("a")).await.unwrap().unwrap();
    assert_eq!((desired.document.as_slice(), desired.view.created_by.as_str()), (BUILT_IN.as_bytes(), "anna"));
    let page = browser.get(EDITOR).await.body;
    assert!(page.contains("id=\"revision-state\" data-state=\"desired\" data-number=\"1\""), "{page}");
    let problem = Problem { path: "rules[0].id".into(), line: 5, column: 7, reason: "the <b>veto</b> forbids it".into() };
    let report = RevisionReport { number: RevisionNumber(1), state: RevisionState::Failed, problems: vec![problem] };
    store.set_revision_state(&gateway("a"), report, clock::now()).await.unwrap();
    let page = browser.get(EDITOR).await.body;
    for text in ["data-state=\"failed\"", "the &#60;b&#62;veto&#60;/b&#62; forbids it", "<mark>5</mark>", "goes on with what it had"] {
        assert!(page.contains(text), "{text}");
    }
}

#[tokio::test]
async fn two_people_cannot_overwrite_each_other_unseen() {
    let world = World::new().await;
    let browser = world.browser("a", "anna", Role::Admin).await;
    let fields = [("document", BUILT_IN), ("base", "0"), ("do", "save")];
    assert_eq!(browser.post(EDITOR, &fields).await.status, StatusCode::SEE_OTHER);
    let second = browser.post(EDITOR, &fields).await;
    assert_eq!(second.status, StatusCode::CONFLICT);
    assert!(second.body.contains("Revision 1 was saved since you opened this page"), "{}", second.body);
    assert!(second.body.contains("id=\"base\" value=\"1\""), "saving again is a choice");
}

#[tokio::test]
async fn an_invalid_document_goes_past_the_check_only_when_forced() {
    let world = World::new().await;
    let browser = world.browser("a", "anna", Role::Admin).await;
    let forced = browser.post(EDITOR, &[("document", "{}"), ("base", "0"), ("do", "save"), ("force", "yes")]).await;
    assert_eq!(forced.status, StatusCode::SEE_OTHER, "{}", forced.body);
    let store = world.app.stores.tenant(&tenant("a")).unwrap();
    assert_eq!(store.desired(&gateway("a")).await.unwrap().unwrap().document, b"{}");
}

#[tokio::test]
async fn only_administrators_configure_and_enrol() {
    let world = World::new().await;
    let browser = world.browser("a", "olga", Role::Operator).await;
    let page = browser.get(EDITOR).await.body;
    assert!(page.contains(" readonly>") && !page.contains("id=\"save\"") && !page.contains("id=\"force\""), "{page}");
    let fields = [("document", BUILT_IN), ("base", "0"), ("do", "save")];
    assert_eq!(browser.post(EDITOR, &fields).await.status, StatusCode::FORBIDDEN);
    assert_eq!(browser.get("/gateways/enrol").await.status, StatusCode::FORBIDDEN);
    assert_eq!(browser.post("/gateways/enrol", &[("name", "x"), ("hours", "1")]).await.status, StatusCode::FORBIDDEN);
    assert!(!browser.get("/gateways").await.body.contains("/gateways/enrol"));
}

#[tokio::test]
async fn a_token_is_shown_once_and_can_be_revoked() {
    let world = World::new().await;
    let browser = world.browser("a", "anna", Role::Admin).await;
    let made = browser.post("/gateways/enrol", &[("name", "Site <c>"), ("hours", "24")]).await.body;
    assert!(made.contains("postern1.") && made.contains("Token for Site &#60;c&#62;"), "{made}");
    assert!(made.contains("--server https://localhost:8443 --token-file -"), "{made}");
    let listed = browser.get("/gateways/enrol").await.body;
    assert!(!listed.contains("postern1.") && listed.contains("waits for its gateway"), "{listed}");
    let revoke = listed.split("action=\"").find(|text| text.starts_with("/gateways/enrol/")).unwrap().split('"').next().unwrap().to_owned();
    assert_eq!(browser.post(&revoke, &[]).await.header("location"), "/gateways/enrol");
    assert!(browser.get("/gateways/enrol").await.body.contains(">revoked<"));
}

#[tokio::test]
async fn a_token_without_a_name_is_refused() {
    let world = World::new().await;
    let browser = world.browser("a", "anna", Role::Admin).await;
    for (name, hours) in [("  ", "24"), ("ok", "0"), ("ok", "9999")] {
        let answer = browser.post("/gateways/enrol", &[("name", name), ("hours", hours)]).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{name} {hours}");
    }
}

#[tokio::test]
async fn a_revision_shows_who_when_and_what_it_changed_and_returns_in_one_click() {
    let world = World::new().await;
    let browser = world.browser("a", "anna", Role::Admin).await;
    for (document, base) in [(r#"{"format":1,"rules":[]}"#, "0"), (r#"{"format":1,"rules":[],"confirm_within_s":10}"#, "1")] {
        browser.post(EDITOR, &[("document", document), ("base", base), ("do", "save"), ("force", "")]).await;
    }
    let page = browser.get("/gateways/gateway-a/revisions/2").await.body;
    for text in ["by anna", "against revision", "&#34;confirm_within_s&#34;: 10,", "<tr class=\"added\">"] {
        assert!(page.contains(text), "{text} in {page}");
    }
    assert!(!page.contains("Return to this one"), "it is the newest");
    let earlier = browser.get("/gateways/gateway-a/revisions/1").await.body;
    assert!(earlier.contains("Return to this one"), "{earlier}");
    let returned = browser.post("/gateways/gateway-a/revisions/1/return", &[]).await;
    assert_eq!((returned.status, returned.header("location")), (StatusCode::SEE_OTHER, EDITOR));
    let page = browser.get(EDITOR).await.body;
    assert!(page.contains("data-number=\"3\"") && page.contains("return to revision 1"), "{page}");
    let viewer = world.browser("a", "vera", Role::Viewer).await;
    assert_eq!(viewer.post("/gateways/gateway-a/revisions/1/return", &[]).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_revision_that_was_taken_back_says_so_everywhere() {
    let world = World::new().await;
    let browser = world.browser("a", "anna", Role::Admin).await;
    browser.post(EDITOR, &[("document", BUILT_IN), ("base", "0"), ("do", "save"), ("force", "")]).await;
    let store = world.app.stores.tenant(&tenant("a")).unwrap();
    let told = |state, problems| RevisionReport { number: RevisionNumber(1), state, problems };
    store.set_revision_state(&gateway("a"), told(RevisionState::Provisional, Vec::new()), clock::now()).await.unwrap();
    assert!(browser.get(EDITOR).await.body.contains("In force on trial"));
    let problem = Problem { path: String::new(), line: 0, column: 0, reason: "the control plane was not reached within 10 s".into() };
    store.set_revision_state(&gateway("a"), told(RevisionState::Reverted, vec![problem]), clock::now()).await.unwrap();
    let page = browser.get(EDITOR).await.body;
    for text in ["data-state=\"reverted\"", "was not reached within 10 s", "not what it should run: it took that back"] {
        assert!(page.contains(text), "{text} in {page}");
    }
    assert!(browser.get("/gateways").await.body.contains("1 reverted"));
}

#[tokio::test]
async fn a_roll_out_is_begun_and_stopped_in_the_console() {
    let world = World::new().await;
    let browser = world.browser("a", "anna", Role::Admin).await;
    let tagged = browser.post("/gateways/gateway-a/tags", &[("tags", "Branch, canary")]).await;
    assert_eq!(tagged.status, StatusCode::SEE_OTHER);
    assert!(browser.get(EDITOR).await.body.contains("value=\"branch canary\""));
    let form = |change| [("tag", "branch"), ("change", change), ("stages", "1, 10 %, all"), ("offline", "wait"), ("on_failure", "stop")];
    let refused = browser.post("/rollouts", &form("{\"rules\":{}}")).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(refused.body.contains("sets no rule and removes none"), "{}", refused.body);
    let begun = browser.post("/rollouts", &form(r#"{"document":{"format":1,"rules":[]}}"#)).await;
    assert_eq!(begun.status, StatusCode::SEE_OTHER, "{}", begun.body);
    let path = begun.header("location").to_owned();
    let page = browser.get(&path).await.body;
    for text in ["Stage 1", "data-gateway=\"gateway-a\" data-state=\"waiting\"", "a whole document", ">Stop<"] {
        assert!(page.contains(text), "{text} in {page}");
    }
    browser.post(&format!("{path}/stop"), &[]).await;
    assert!(browser.get(&path).await.body.contains("stopped by anna"));
    assert!(browser.get("/rollouts").await.body.contains(&path));
    let other = world.browser("b", "bea", Role::Admin).await;
    assert_eq!(other.get(&path).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn an_admin_bounds_the_pace_and_revokes_after_a_question() {
    let world = World::new().await;
    let browser = world.browser("a", "anna", Role::Admin).await;
    let store = world.app.stores.tenant(&tenant("a")).unwrap();
    let paced = browser.post("/gateways/gateway-a/pace", &[("kib_per_second", "256")]).await;
    assert_eq!((paced.status, paced.header("location")), (StatusCode::SEE_OTHER, "/gateways/gateway-a"));
    assert_eq!(store.pace(&gateway("a")).await.unwrap(), 262_144);
    store.gateway_connected(&gateway("a"), "0.1.0", clock::now()).await.unwrap();
    store.set_status(&gateway("a"), &status(), clock::now()).await.unwrap();
    let page = browser.get("/gateways/gateway-a").await.body;
    for text in ["name=\"kib_per_second\" value=\"256\"", "with at most 256 KiB a second", "href=\"/gateways/gateway-a/revoke\""] {
        assert!(page.contains(text), "{text} in {page}");
    }
    assert_eq!(browser.post("/gateways/gateway-a/pace", &[("kib_per_second", "fast")]).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    let operator = world.browser("a", "olga", Role::Operator).await;
    let page = operator.get("/gateways/gateway-a").await.body;
    assert!(!page.contains("kib_per_second") && !page.contains("/revoke"), "{page}");
    assert_eq!(operator.get("/gateways/gateway-a/revoke").await.status, StatusCode::FORBIDDEN);
    assert_eq!(operator.post("/gateways/gateway-a/revoke", &[]).await.status, StatusCode::FORBIDDEN);
    assert_eq!(operator.post("/gateways/gateway-a/pace", &[("kib_per_second", "1")]).await.status, StatusCode::FORBIDDEN);
    let asked = browser.get("/gateways/gateway-a/revoke").await.body;
    assert!(asked.contains("Revoke Site a for good?") && asked.contains("action=\"/gateways/gateway-a/revoke\""), "{asked}");
    let without = [("csrf", "x")];
    assert_eq!(browser.post_bare("/gateways/gateway-a/revoke", &without, "text/html").await.status, StatusCode::FORBIDDEN);
    let found = world.app.stores.find_gateway(&tenant("a"), &gateway("a")).await.unwrap().unwrap();
    assert_eq!(found.revoked_at, None, "nothing happens without the page's token");
    let revoked = browser.post("/gateways/gateway-a/revoke", &[]).await;
    assert_eq!((revoked.status, revoked.header("location")), (StatusCode::SEE_OTHER, "/gateways/gateway-a"));
    let page = browser.get("/gateways/gateway-a").await.body;
    assert!(page.contains("This gateway is revoked") && page.contains("revoked by anna") && !page.contains("kib_per_second"), "{page}");
    assert!(browser.get("/audit").await.body.contains("gateway revoked"));
    let asked = browser.get("/gateways/gateway-a/revoke").await.body;
    assert!(asked.contains("It was revoked") && !asked.contains("action=\"/gateways/gateway-a/revoke\""), "{asked}");
    let other = world.browser("b", "bea", Role::Admin).await;
    assert_eq!(other.post("/gateways/gateway-a/revoke", &[]).await.status, StatusCode::NOT_FOUND);
}
