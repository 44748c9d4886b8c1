//! Two tenants on one control plane: for one, what belongs to the other does not exist.
//!
//! Every operation of `openapi.json` is called with the other tenant's real identifiers and with made-up ones. The answers must
//! be the same but for the identifier, hold none of the other's data, and change nothing.

use serde_json::{Value, json};

use crate::harness::rig::Rig;
use crate::interop_snmp::is_link;
use crate::revisions;
use postern_tests::api::{Api, Reply};
use postern_tests::tools::{LINK_DOWN, link_trap};

/// Nobody else's text has these.
const MARK: &str = "alpha-secret-mark";
const TOKEN_NAME: &str = "alpha-token-mark";

struct Site {
    rig: Rig,
    /// A client of the other tenant.
    other: Api,
    alert: String,
    gateway: String,
    token: String,
}

fn client(rig: &Rig, tenant: &str, role: &str) -> Api {
    let printed = rig.control_command(&["client", "create", "--tenant", tenant, "--role", role, "--json"]).unwrap();
    let client: Value = serde_json::from_str(&printed).unwrap();
    Api::for_client(&rig.prepared, client["client_id"].as_str().unwrap(), client["client_secret"].as_str().unwrap())
}

fn site() -> Site {
    let rig = Rig::start();
    link_trap(rig.prepared.sockets.snmp_trap(), LINK_DOWN, 1);
    let alert = rig.api.wait_for_alert("the alert", |alert| is_link(alert, 1));
    let alert = alert["id"].as_str().unwrap().to_owned();
    rig.api.post(&format!("/api/v1/alerts/{alert}/notes"), &json!({"text": MARK}).to_string()).ok();
    let made = rig.api.post("/api/v1/enrolment-tokens", &json!({"gateway_name": TOKEN_NAME}).to_string()).ok().json();
    let token = made["id"].as_str().unwrap_or_else(|| panic!("{made:#}")).to_owned();
    rig.control_command(&["tenant", "create", "beta"]).unwrap();
    let other = client(&rig, "beta", "admin");
    let gateway = rig.gateway_id();
    Site { rig, other, alert, gateway, token }
}

/// Everything of the first tenant that must not be seen by the second.
fn secrets(site: &Site) -> Vec<String> {
    vec![site.gateway.clone(), site.alert.clone(), site.token.clone(), MARK.into(), TOKEN_NAME.into(), "/if/1".into()]
}

/// Method, path template and a body for every operation of the document.
fn operations(document: &Value) -> Vec<(String, String)> {
    let paths = document["paths"].as_object().unwrap();
    let methods = |(path, item): (&String, &Value)| -> Vec<(String, String)> {
        item.as_object().unwrap().keys().filter(|key| *key != "parameters").map(|key| (key.to_uppercase(), path.clone())).collect()
    };
    paths.iter().flat_map(methods).collect()
}

fn body(method: &str, path: &str) -> Option<String> {
    let text = match (method, path.rsplit('/').next()) {
        ("POST", Some("notes")) => json!({"text": "hello"}).to_string(),
        ("POST", Some("enrolment-tokens")) => json!({"gateway_name": "beta-gateway"}).to_string(),
        ("POST", Some(_)) => "{}".to_owned(),
        ("PUT", Some("pace")) => json!({"bytes_per_second": 1_000_000}).to_string(),
        ("PUT", Some("renewal")) => json!({"open_for_s": 3600}).to_string(),
        ("PUT", Some("quarantine")) => json!({"keep": "current"}).to_string(),
        ("PUT", Some("tags")) => json!({"tags": ["beta"]}).to_string(),
        ("PUT", _) => revisions::one_rule("1.3.6.1.4.1.55555.0.1", "beta"),
        _ => return None,
    };
    Some(text)
}

fn fill(path: &str, site: &Site) -> (String, String) {
    let path = &path.replace("{number}", "1");
    let (real, made_up) = match path.as_str() {
        path if path.contains("/alerts/{") => (site.alert.clone(), "0123456789abcdef0123456789abcdef".to_owned()),
        path if path.contains("/gateways/{") => (site.gateway.clone(), "no-such-gateway".to_owned()),
        // Nobody has uploaded any: the control plane's own tests do, and look at them from another tenant.
        path if path.contains("/mibs/{") => ("1".to_owned(), "999".to_owned()),
        path if path.contains("/rollouts/{") => ("0123456789ab".to_owned(), "ba9876543210".to_owned()),
        path if path.contains("/pairs/{") => ("pair-1".to_owned(), "pair-2".to_owned()),
        path if path.contains("/enrolment-tokens/{") => (site.token.clone(), "no-such-token".to_owned()),
        path => (path.to_owned(), path.to_owned()),
    };
    let with = |value: &str| match (path.find('{'), path.find('}')) {
        (Some(open), Some(close)) => format!("{}{value}{}", &path[..open], &path[close + 1..]),
        _ => path.to_owned(),
    };
    (with(&real), with(&made_up))
}

/// The answer without what may differ: the identifier that was asked for, and times.
fn essence(reply: &Reply, path: &str) -> (u16, String) {
    let asked = path.split('/').nth(4).unwrap_or("-");
    let body = reply.body.replace(asked, "ID").replace(path, "PATH");
    (reply.status, body)
}

fn public(path: &str) -> bool {
    path == "/oauth2/token" || path.ends_with("/openapi.json") || path.contains("/schemas/")
}

#[test]
fn no_route_shows_one_tenant_to_the_other() {
    let site = site();
    let rig = &site.rig;
    let document = rig.api.bare("GET", "/api/v1/openapi.json", None, &[]).unwrap().ok().json();
    let operations = operations(&document);
    assert!(operations.len() >= 15, "{operations:?}");
    let alert_before = rig.api.get(&format!("/api/v1/alerts/{}", site.alert)).ok().body;
    let configuration_before = rig.api.get(&format!("/api/v1/gateways/{}/configuration", site.gateway)).ok().body;

    let mut walked = 0;
    for (method, template) in operations.iter().filter(|(_, path)| !public(path)) {
        let (real, made_up) = fill(template, &site);
        let body = body(method, template);
        let limits: &[&str] = if template.ends_with("/stream") { &["--max-time", "2"] } else { &[] };
        // A stream never ends, so that curl gives up on it: what counts is what it had shown by then.
        let ask = |path: &str| site.other.ask(method, path, body.as_deref(), limits);
        let Ok(reply) = ask(&real) else {
            assert!(template.ends_with("/stream"), "{method} {real}");
            continue;
        };
        walked += 1;
        for secret in secrets(&site) {
            let echoed = real.contains(&secret) && reply.status >= 400;
            assert!(echoed || !reply.body.contains(&secret), "{method} {real} shows {secret}: {reply:?}");
        }
        if real != made_up {
            let reply_made_up = ask(&made_up).unwrap();
            assert_eq!(essence(&reply, &real), essence(&reply_made_up, &made_up), "{method} {template} tells what exists");
            assert_eq!(reply.status, 404, "{method} {real}: {reply:?}");
        }
        let bare = rig.api.bare(method, &real, body.as_deref(), limits).unwrap();
        assert_eq!(bare.status, 401, "{method} {real} without a token: {bare:?}");
        let wrong = rig.api.bare(method, &real, body.as_deref(), &["-H", "Authorization: Bearer wrong"]).unwrap();
        assert_eq!(wrong.status, 401, "{method} {real} with a wrong token: {wrong:?}");
    }
    println!("{walked} operations walked with a wrong principal");
    assert_eq!(rig.api.get(&format!("/api/v1/alerts/{}", site.alert)).ok().body, alert_before, "nothing was changed");
    assert_eq!(rig.api.get(&format!("/api/v1/gateways/{}/configuration", site.gateway)).ok().body, configuration_before);
    let tokens = rig.api.get("/api/v1/enrolment-tokens").ok().body;
    assert!(tokens.contains(&site.token) && !tokens.contains("beta-gateway"), "{tokens}");
    // The first tenant still sees its own.
    assert_eq!(rig.api.alerts().len(), 1);
    assert_eq!(site.other.alerts().len(), 0);
}

#[test]
fn the_stream_shows_only_what_is_ones_own() {
    let site = site();
    let rig = &site.rig;
    let listen = |api: &Api| {
        let (url, bearer) = (format!("{}/api/v1/alerts/stream", api.console()), format!("Authorization: Bearer {}", api.token().unwrap()));
        let mut command = std::process::Command::new("curl");
        command.args(["-sS", "-N", "--max-time", "8", "--cacert", api.ca(), "-H", &bearer, &url]);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn().unwrap()
    };
    let (own, other) = (listen(&rig.api), listen(&site.other));
    // Reports go on while both listen, however long it takes them to connect.
    for if_index in 100..112 {
        link_trap(rig.prepared.sockets.snmp_trap(), LINK_DOWN, if_index);
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
    let own = String::from_utf8(own.wait_with_output().unwrap().stdout).unwrap();
    let other = String::from_utf8(other.wait_with_output().unwrap().stdout).unwrap();
    assert!(own.contains("/if/1"), "the stream works: {own}");
    assert!(!other.contains("/if/") && !other.contains(&site.gateway), "{other}");
}

#[test]
fn a_viewer_may_read_and_nothing_else() {
    let site = site();
    let rig = &site.rig;
    let viewer = client(rig, "default", "viewer");
    assert_eq!(viewer.alerts().len(), 1);
    let alert = &site.alert;
    for (method, path, body) in [
        ("POST", format!("/api/v1/alerts/{alert}/acknowledge"), "{}".to_owned()),
        ("POST", format!("/api/v1/alerts/{alert}/close"), "{}".to_owned()),
        ("POST", format!("/api/v1/alerts/{alert}/notes"), json!({"text": "x"}).to_string()),
        ("POST", "/api/v1/enrolment-tokens".to_owned(), json!({"gateway_name": "x"}).to_string()),
        ("PUT", format!("/api/v1/gateways/{}/configuration", site.gateway), revisions::one_rule("1.3.6.1", "x")),
        ("DELETE", format!("/api/v1/enrolment-tokens/{}", site.token), String::new()),
    ] {
        let reply = viewer.ask(method, &path, Some(&body), &[]).unwrap();
        assert_eq!(reply.status, 403, "{method} {path}: {reply:?}");
    }
}

#[test]
fn alerts_are_acted_on_and_the_gateway_hears_of_a_close() {
    let site = site();
    let api = &site.rig.api;
    let path = |action: &str| format!("/api/v1/alerts/{}/{action}", site.alert);
    let acknowledged = api.post(&path("acknowledge"), "{}").ok().json();
    assert!(acknowledged["acknowledged"]["by"].is_string(), "{acknowledged:#}");
    let back = api.post(&path("unacknowledge"), "{}").ok().json();
    assert!(back["acknowledged"].is_null(), "{back:#}");
    let closed = api.post(&path("close"), "{}").ok().json();
    assert_eq!(closed["state"], "closed");
    assert!(closed["closed_at"].is_string());
    let history = api.get(&path("history")).ok().body;
    for what in ["raised", "note", "acknowledged", "unacknowledged", "closed"] {
        assert!(history.contains(what), "{what} is missing: {history}");
    }
    site.rig.wait_for_status("the close", |status| status.open_alerts == 0);
    link_trap(site.rig.prepared.sockets.snmp_trap(), LINK_DOWN, 1);
    let again = api.wait_for_alert("the next occurrence", |alert| is_link(alert, 1) && alert["state"] == "open");
    assert_eq!((&again["id"], &again["count"]), (&site.alert.as_str().into(), &1.into()));
}
