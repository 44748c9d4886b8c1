//! What holds for every page: no inline code, no way for a text to become markup, friendly errors, headers.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use postern_control::auth::Role;
use postern_protocol::alert::{Alert, Evidence};

use crate::{World, alert, attribute, id};

const ATTACK: &str = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{7*7}}";

/// Every page of the console, for an administrator of tenant `a` who has the alert of `ATTACK`.
async fn pages(world: &World) -> Vec<(String, String)> {
    let key = ATTACK.to_owned();
    let mut hostile = Alert { summary: ATTACK.into(), ..alert(ATTACK, 1) };
    hostile.labels = [(key.clone(), key.clone())].into();
    hostile.evidence = Evidence { peer: key.clone(), trap_address: key.clone(), hostname: key, conflict: true, ..Evidence::default() };
    world.report("a", 1, vec![hostile]).await;
    let browser = world.browser("a", "anna", Role::Admin).await;
    crate::intake::report(world, crate::intake::hostile(ATTACK)).await;
    let alert = format!("/alerts/{}", id("a", ATTACK));
    browser.post(&format!("{alert}/notes"), &[("text", ATTACK)]).await;
    let mut pages = vec![("/sign-in".to_owned(), world.get("/sign-in?next=/%22%3E%3Cscript%3E").await.body)];
    let q = format!("/alerts?state=all&q={}", crate::encode(ATTACK));
    let paths = ["/alerts", q.as_str(), "/alerts?q=nothing", alert.as_str(), "/gateways", "/gateways/gateway-a"];
    let bind = format!("/gateways/gateway-a/waiting-room/bind?reason={0}&engine={0}&source={0}&user={0}&level={0}", crate::encode(ATTACK));
    let filter = format!("/mibs?q={}", crate::encode(ATTACK));
    let intake = ["/gateways/gateway-a/ledger", "/gateways/gateway-a/ledger?span=1h&to=9&at=x", "/gateways/gateway-a/waiting-room"];
    for path in intake.into_iter().chain([bind.as_str(), filter.as_str(), "/mibs", "/unknown-oids"]) {
        pages.push((path.to_owned(), browser.get(path).await.body));
    }
    let hostile = [("name", ATTACK), ("engines", ATTACK), ("sources", ATTACK), ("auth_secret", ATTACK), ("auth", "md5"), ("do", "preview")];
    let bind = "/gateways/gateway-a/waiting-room/bind";
    pages.push((format!("{bind}#posted"), browser.post(bind, &hostile).await.body));
    crate::rules::counted(world, ATTACK).await;
    let replay = crate::rules::replayed(world, ATTACK).await;
    let rules = ["/gateways/gateway-a/rules", "/gateways/gateway-a/windows", "/packs"];
    for path in rules.into_iter().chain([replay.as_str()]) {
        pages.push((path.to_owned(), browser.get(path).await.body));
    }
    let windows = "/gateways/gateway-a/windows";
    pages.push((
        format!("{windows}#posted"),
        browser.post(windows, &[("id", ATTACK), ("from", ATTACK), ("until", ATTACK), ("tags", ATTACK)]).await.body,
    ));
    let more = [
        "/gateways/gateway-a/configuration",
        "/gateways/gateway-a/secrets",
        "/gateways/gateway-a/revoke",
        "/gateways/enrol",
        "/change-password",
        "/nowhere",
    ];
    for path in paths.into_iter().chain(more) {
        pages.push((path.to_owned(), browser.get(path).await.body));
    }
    let editor = "/gateways/gateway-a/configuration";
    pages.push((editor.to_owned(), browser.post(editor, &[("document", ATTACK), ("base", "0"), ("do", "save")]).await.body));
    pages.push(("made".to_owned(), browser.post("/gateways/enrol", &[("name", "<script>"), ("hours", "24")]).await.body));
    pages
}

#[tokio::test]
async fn no_page_has_inline_code_and_no_text_becomes_markup() {
    let world = World::new().await;
    for (path, page) in pages(&world).await {
        assert!(page.starts_with("<!doctype html>"), "{path}: {page}");
        for tag in page.split('<').skip(1).map(|rest| rest.split('>').next().unwrap_or_default()) {
            assert!(!tag.starts_with("style"), "{path}: <{tag}>");
            assert!(!tag.starts_with("script") || tag.contains("src=\"/static/"), "{path}: <{tag}>");
            assert!(!tag.starts_with("img") || tag.contains("src=\"/static/"), "{path}: <{tag}>");
            let names = tag.split('"').step_by(2).flat_map(str::split_whitespace).filter_map(|text| text.strip_suffix('='));
            for name in names {
                assert!(name != "style" && !name.starts_with("on"), "{path}: <{tag}>");
            }
        }
        assert!(!page.contains("javascript:") && !page.contains("<script>"), "{path}");
    }
}

#[tokio::test]
async fn hostile_texts_are_shown_as_they_are() {
    let world = World::new().await;
    let pages = pages(&world).await;
    let escaped = "&#34;&#39;&#62;&#60;script&#62;alert(1)&#60;/script&#62;&#60;img src=x onerror=alert(1)&#62;{{7*7}}";
    let find =
        |start: &str| pages.iter().find(|(path, _)| path == start).or_else(|| pages.iter().find(|(path, _)| path.starts_with(start)));
    let shown = |start: &str| find(start).unwrap().1.matches(escaped).count();
    assert!(shown("/alerts/") >= 8, "summary, resource, labels, evidence, note");
    assert!(shown("/alerts?state=all") >= 4, "row and search field");
    assert!(shown("/gateways/gateway-a/waiting-room") >= 5, "reason, source, engine, user, advice");
    assert!(shown("/gateways/gateway-a/waiting-room/bind#posted") >= 3, "name, engines, secret");
    assert!(shown("/gateways/gateway-a") >= 3, "warning, canary, agent");
    assert!(shown("/gateways/gateway-a/rules") >= 2, "resource, kind and qualifier");
    assert!(shown("/gateways/gateway-a/replays") >= 4, "resource, kind, rules");
    assert!(shown("/gateways/gateway-a/windows#posted") >= 4, "name, times, tags");
}

#[tokio::test]
async fn every_answer_carries_the_policy_and_stays_out_of_caches() {
    let world = World::new().await;
    let browser = world.browser("a", "anna", Role::Admin).await;
    for path in ["/alerts", "/gateways", "/nowhere", "/sign-in", "/events?view=no"] {
        let answer = browser.get(path).await;
        let policy = answer.header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';") && !policy.contains("unsafe"),
            "{path}: {policy}"
        );
        assert_eq!((answer.header("x-content-type-options"), answer.header("cache-control")), ("nosniff", "no-store"), "{path}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{path}");
    }
}

#[tokio::test]
async fn errors_are_pages_for_people_and_texts_for_scripts() {
    let world = World::new().await;
    let missing = world.get("/alerts/x/y/z").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert!(missing.body.contains("<h1>Not found</h1>"), "{}", missing.body);
    let script = world.send(Request::get("/alerts/x/y/z").body(Body::empty()).unwrap()).await;
    assert_eq!(script.body, "there is nothing here");
    let method = world.get("/sign-out").await;
    assert_eq!((method.status, method.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, "POST"));
    assert!(method.body.contains("<h1>Not here</h1>"), "{}", method.body);
}

#[tokio::test]
async fn pages_name_assets_that_exist_and_may_be_kept() {
    let world = World::new().await;
    let page = world.get("/sign-in").await.body;
    let sheet = attribute(&page, "rel=\"stylesheet\"", "href");
    let answer = world.get(&sheet).await;
    assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, "text/css; charset=utf-8"));
    assert!(answer.header("cache-control").contains("immutable"));
    let folder = sheet.rsplit_once('/').unwrap().0;
    for module in ["console.js", "alerts.js", "theme.js", "icon.svg"] {
        assert_eq!(world.get(&format!("{folder}/{module}")).await.status, StatusCode::OK, "{module}");
    }
    assert_eq!(world.get(&format!("{folder}/..%2f..%2fCargo.toml")).await.status, StatusCode::NOT_FOUND);
}
