//! Rules in the console: replays, counters, packs, maintenance windows, warnings.

use axum::http::StatusCode;
use postern_control::auth::Role;
use postern_control::clock;
use postern_control::store::audit::By;
use postern_control::store::replays::NewReplay;
use postern_protocol::alert::{AlertState, Severity};
use postern_protocol::replay::{Difference, Figures, ReplayState, Replayed, RuleFigures, RuleReport, Seen, WouldBe};
use postern_protocol::timestamp::Timestamp;

use crate::{World, gateway, tenant};

const REPLAYS: &str = "/gateways/gateway-a/replays";
const WINDOWS: &str = "/gateways/gateway-a/windows";

/// A finished replay in which every text is `text`.
pub(crate) async fn replayed(world: &World, text: &str) -> String {
    let store = world.app.stores.tenant(&tenant("a")).unwrap();
    let at = clock::now();
    let new = NewReplay { gateway: gateway("a"), document: b"{}".to_vec(), since: at, by: By::command_line(), at };
    let number = store.ask_replay(new).await.unwrap();
    let rule = |matched| RuleFigures { id: text.into(), version: 1, matched, raised: matched, observes: true, ..RuleFigures::default() };
    let seen = Seen { state: AlertState::Open, severity: Severity::Major, count: 4, raised: 2, rule: text.into(), shown: true };
    let result = Replayed {
        state: ReplayState::Done,
        reason: String::new(),
        problems: Vec::new(),
        from: at.as_nanos() - 3_600_000_000_000,
        until: at.as_nanos(),
        events: 12_345,
        undecodable: 2,
        effective: Figures { raised: 40, shown: 31, rules: vec![rule(40)], ..Figures::default() },
        candidate: Figures { raised: 12, shown: 3, held: 28, rules: vec![rule(12)], ..Figures::default() },
        differences: vec![Difference {
            resource: text.into(),
            kind: text.into(),
            qualifier: text.into(),
            effective: Some(seen),
            candidate: None,
        }],
        further: 0,
    };
    assert!(store.answer_replay(&gateway("a"), (number, result), at).await.unwrap());
    format!("{REPLAYS}/{number}")
}

/// Counters of rules with an observing one, whose texts are `text`.
pub(crate) async fn counted(world: &World, text: &str) {
    let would = WouldBe {
        resource: text.into(),
        kind: text.into(),
        qualifier: text.into(),
        severity: Severity::Critical,
        count: 5,
        last_seen: clock::now().as_nanos(),
    };
    let figures =
        RuleFigures { id: "if-link-down".into(), version: 2, matched: 4_321, raised: 17, would: vec![would], ..RuleFigures::default() };
    let report = RuleReport { revision: 0, since: Timestamp::from_secs(1_800_000_000), rules: vec![figures] };
    world.app.stores.tenant(&tenant("a")).unwrap().put_rule_report(&gateway("a"), report, clock::now()).await.unwrap();
}

#[tokio::test]
async fn a_replay_says_what_a_person_would_have_seen_and_what_differs() {
    let world = World::new().await;
    let path = replayed(&world, "link").await;
    let browser = world.browser("a", "anna", Role::Admin).await;
    let page = browser.get(&path).await.body;
    let texts = [
        "would have seen 3 alerts instead of 31",
        "12,345 events",
        "no more with this document",
        "40 matched, 40 raised",
        "open, major, 4 reports, raised 2 times by link",
        "2 could not be decoded again",
        "by command line",
    ];
    for text in texts {
        assert!(page.contains(text), "{text} in {page}");
    }
    assert!(!page.contains("http-equiv=\"refresh\""), "it waits for nothing");
    assert_eq!(browser.get(&format!("{REPLAYS}/99")).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_replay_needs_a_gateway_that_is_there_and_a_good_document() {
    let world = World::new().await;
    let browser = world.browser("a", "anna", Role::Admin).await;
    let away = browser.post(REPLAYS, &[("document", "{\"format\": 1, \"rules\": []}"), ("minutes", "60")]).await;
    assert_eq!(away.status, StatusCode::CONFLICT);
    assert!(away.body.contains("the gateway is not connected: it has the events"), "{}", away.body);
    let viewer = world.browser("a", "vera", Role::Viewer).await;
    assert_eq!(viewer.post(REPLAYS, &[("document", "{}"), ("minutes", "60")]).await.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn rules_show_their_counters_and_what_observing_ones_would_have_raised() {
    let world = World::new().await;
    let browser = world.browser("a", "anna", Role::Viewer).await;
    let page = browser.get("/gateways/gateway-a/rules").await.body;
    assert!(page.contains("has not reported its rules") && page.contains("if-link-down"), "{page}");
    counted(&world, "would-be").await;
    let page = browser.get("/gateways/gateway-a/rules").await.body;
    for text in [
        "4,321",
        "the built-in configuration",
        "What observing rules would have raised",
        "would-be",
        "the SNMP notification 1.3.6.1.6.3.1.1.5.3",
    ] {
        assert!(page.contains(text), "{text} in {page}");
    }
    let packs = browser.get("/packs").await.body;
    for text in ["if-link-down", "&#34;overrides&#34;", "catch-all"] {
        assert!(packs.contains(text), "{text} in {packs}");
    }
}

#[tokio::test]
async fn a_window_is_added_listed_and_ended() {
    let world = World::new().await;
    let browser = world.browser("a", "anna", Role::Admin).await;
    assert!(browser.get(WINDOWS).await.body.contains("raised then"));
    let fields = [
        ("id", "core-patches"),
        ("description", "Patches"),
        ("from", "2020-01-01T00:00"),
        ("until", "2099-01-01T00:00"),
        ("groups", "core, edge"),
    ];
    let added = browser.post(WINDOWS, &fields).await;
    assert_eq!((added.status, added.header("location")), (StatusCode::SEE_OTHER, WINDOWS), "{}", added.body);
    let page = browser.get(WINDOWS).await.body;
    for text in ["core-patches", "groups core, edge", ">now<", "End now", "2099-01-01T00:00:00"] {
        assert!(page.contains(text), "{text} in {page}");
    }
    let twice = browser.post(WINDOWS, &fields).await;
    assert_eq!(twice.status, StatusCode::UNPROCESSABLE_ENTITY, "the name is taken");
    for (from, until, why) in
        [("", "2099-01-01T00:00", "when the window begins"), ("2099-01-01T00:00", "2020-01-01T00:00", "ends before it begins")]
    {
        let refused = browser.post(WINDOWS, &[("id", "x"), ("from", from), ("until", until)]).await;
        assert!(refused.status == StatusCode::UNPROCESSABLE_ENTITY && refused.body.contains(why), "{why} in {}", refused.body);
    }
    assert_eq!(browser.post(&format!("{WINDOWS}/core-patches/end"), &[]).await.status, StatusCode::SEE_OTHER);
    assert!(browser.get(WINDOWS).await.body.contains(">over<"));
    let gone = browser.post(&format!("{WINDOWS}/other/end"), &[]).await;
    assert!(gone.status == StatusCode::CONFLICT && gone.body.contains("there is no window other any more"), "{}", gone.body);
    let viewer = world.browser("a", "vera", Role::Viewer).await;
    assert_eq!(viewer.post(WINDOWS, &fields).await.status, StatusCode::FORBIDDEN);
    assert!(!viewer.get(WINDOWS).await.body.contains("Add a window"));
}

#[tokio::test]
async fn the_editor_says_what_is_hardly_meant_and_saves_it_all_the_same() {
    let world = World::new().await;
    let browser = world.browser("a", "anna", Role::Admin).await;
    let rule = |id: &str| format!(r#"{{"id": "{id}", "match": {{"trap": {{"oid": "1.3.6.1.4.1.9.9.1"}}}}, "then": {{"suppress": {{}}}}}}"#);
    let document = format!(r#"{{"format": 1, "rules": [{}, {}]}}"#, rule("first"), rule("second"));
    let editor = "/gateways/gateway-a/configuration";
    let checked = browser.post(editor, &[("document", &document), ("base", "0"), ("do", "check")]).await;
    assert_eq!(checked.status, StatusCode::OK);
    assert!(checked.body.contains("The document is valid") && checked.body.contains("Hardly meant"), "{}", checked.body);
    let saved = browser.post(editor, &[("document", &document), ("base", "0"), ("do", "save")]).await;
    assert_eq!(saved.status, StatusCode::SEE_OTHER);
    let page = browser.get(editor).await.body;
    assert!(page.contains("Hardly meant") && page.contains("rules[1]"), "{page}");
}
