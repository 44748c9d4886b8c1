//! `POST /v1/push`: signed over plain HTTP, by bearer token over TLS, answered once it is durable.

use serde_json::{Value, json};

use crate::harness::rig::Rig;
use postern_tests::deadline::{SOON, wait_for};
use postern_tests::tools::{hmac, push, run, succeeded, unix_seconds};

fn event(state: &str) -> String {
    json!({"events": [{"resource": "printer-7", "kind": "out-of-paper", "severity": "warning", "state": state, "summary": "tray 2"}]})
        .to_string()
}

fn is_printer(alert: &Value, state: &str) -> bool {
    alert["resource"] == "printer-7" && alert["kind"] == "out-of-paper" && alert["state"] == state
}

/// curl's status code and body for one request to the proxy listener.
fn curl(args: &[&str]) -> (u16, String) {
    let output = run("curl", &[&["-sS", "--max-time", "10", "-w", "\n%{http_code}"], args].concat());
    succeeded(&output);
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), body.to_owned())
}

fn reason(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"))
}

#[test]
fn a_push_raises_and_a_push_clears() {
    let rig = Rig::start();
    let (status, body) = push(&rig.prepared, &event("raise"), &[]);
    assert_eq!((status, reason(&body)), (200, json!({"accepted": 1})));
    let alert = rig.api.wait_for_alert("the push", |alert| is_printer(alert, "open"));
    assert_eq!(alert["severity"], "warning");
    assert_eq!(alert["evidence"]["tls_name"], "demo", "the key names the sender");
    assert_eq!(push(&rig.prepared, &event("clear"), &[]).0, 200);
    rig.api.wait_for_alert("the clear", |alert| is_printer(alert, "cleared"));
}

#[test]
fn a_bearer_token_is_taken_inside_tls() {
    let rig = Rig::start();
    let first = rig.prepared.describe().unwrap();
    let url = format!("https://{}/v1/push", rig.prepared.sockets.proxy());
    let bearer = format!("Authorization: Bearer {}.{}", first.push.id, first.push.key);
    let (status, body) = curl(&["--cacert", rig.api.ca(), "-H", &bearer, "--data-binary", &event("raise"), &url]);
    assert_eq!(status, 200, "{body}");
    let alert = rig.api.wait_for_alert("the push", |alert| is_printer(alert, "open"));
    assert_eq!(alert["evidence"]["authenticity"], "tls");

    let plain = format!("http://{}/v1/push", rig.prepared.sockets.proxy());
    let (status, body) = curl(&["-H", &bearer, "--data-binary", &event("raise"), &plain]);
    assert_eq!(status, 401, "a token outside TLS: {body}");
    let (status, _) = curl(&["--cacert", rig.api.ca(), "-H", "Authorization: Bearer demo.wrong", "-d", &event("raise"), &url]);
    assert_eq!(status, 401);
}

#[test]
fn a_forged_old_or_replayed_signature_is_refused_and_a_repeated_key_is_answered_again() {
    let rig = Rig::start();
    let first = rig.prepared.describe().unwrap();
    let url = format!("http://{}/v1/push", rig.prepared.sockets.proxy());
    let signed = |seconds: u64, body: &str, signed_body: &str| {
        let mac = hmac(&first.push.key, &format!("{seconds}\n{signed_body}"));
        let header = format!("Postern-Signature: id={}, ts={seconds}, mac={mac}", first.push.id);
        (header, body.to_owned())
    };
    let send = |(header, body): &(String, String), more: &[&str]| curl(&[more, &["-H", header, "--data-binary", body, &url]].concat());

    let now = unix_seconds();
    let forged = send(&signed(now, &event("raise"), "something else"), &[]);
    assert_eq!(forged.0, 401, "{forged:?}");
    let old = send(&signed(now - 3600, &event("raise"), &event("raise")), &[]);
    assert_eq!(old.0, 401, "{old:?}");
    assert_eq!(rig.api.alerts().len(), 0);

    let good = signed(now, &event("raise"), &event("raise"));
    assert_eq!(send(&good, &[]).0, 200);
    let replayed = send(&good, &[]);
    assert_eq!(replayed.0, 409, "{replayed:?}");
    let keyed = signed(now + 1, &event("raise"), &event("raise"));
    for _ in 0..2 {
        let answer = send(&keyed, &["-H", "Idempotency-Key: 4711"]);
        assert_eq!((answer.0, reason(&answer.1)), (200, json!({"accepted": 1})), "the same answer for the same key");
    }
    let alert = rig.api.wait_for_alert("both pushes", |alert| alert["count"] == 2);
    assert!(is_printer(&alert, "open"));
    rig.wait_until_delivered();
    assert_eq!(rig.api.wait_for_alert("the push", |alert| is_printer(alert, "open"))["count"], 2, "nothing counted twice");
    assert!(rig.dropped("bad_signature") >= 1);
    assert!(rig.dropped("replayed") + rig.dropped("duplicate") >= 1);
}

#[test]
fn a_malformed_push_is_refused_with_the_place_of_the_fault() {
    let rig = Rig::start();
    for (body, place) in [
        ("{", "line"),
        (r#"{"events": [{"resource": "r", "kind": "k", "severity": "dreadful"}]}"#, "severity"),
        (r#"{"events": [{"resource": "r", "kind": "k", "severity": "major", "colour": "red"}]}"#, "colour"),
        (r#"{"events": [{"kind": "k", "severity": "major"}]}"#, "resource"),
    ] {
        let (status, answer) = push(&rig.prepared, body, &[]);
        let problem = reason(&answer);
        assert!((400..=422).contains(&status), "{status} {problem}");
        assert_eq!(problem["status"], status);
        assert!(problem["detail"].as_str().unwrap().contains(place), "{problem}");
    }
    let huge = rig.layout().root().join("huge");
    std::fs::write(&huge, vec![b' '; 300 * 1024]).unwrap();
    let url = format!("http://{}/v1/push", rig.prepared.sockets.proxy());
    assert_eq!(curl(&["--data-binary", &format!("@{}", huge.display()), &url]).0, 413);
    assert_eq!(rig.api.alerts().len(), 0);
    assert_eq!(push(&rig.prepared, &event("raise"), &[]).0, 200, "service goes on");
}

#[test]
fn plain_pushes_are_refused_unless_the_site_opts_in() {
    let rig = Rig::enrolled(&crate::harness::rig::Options::default());
    let path = rig.layout().gateway_config();
    let text = std::fs::read_to_string(&path).unwrap().replace("allow_plain_push = true", "allow_plain_push = false");
    std::fs::write(&path, text).unwrap();
    let mut rig = rig;
    rig.start_gateway();
    let (status, body) = push(&rig.prepared, &event("raise"), &[]);
    assert!([401, 403, 426].contains(&status), "{status} {body}");
    assert!(body.contains("TLS"), "it says what to do: {body}");
}

#[test]
fn an_answered_push_survives_kill_9() {
    let mut rig = Rig::start();
    rig.kill_control();
    assert_eq!(push(&rig.prepared, &event("raise"), &[]).0, 200);
    rig.kill_gateway();
    rig.start_control();
    rig.start_gateway();
    wait_for("the push", SOON, || {
        let alerts = rig.api.try_alerts()?;
        alerts.iter().find(|alert| is_printer(alert, "open") && alert["count"] == 1).map(drop).ok_or_else(|| format!("{alerts:#?}"))
    });
}
