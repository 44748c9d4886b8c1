//! Measurements, pushed with curl and read from the API: each arrives once, an outage or not.

use postern_tests::deadline::{SOON, wait_for};
use postern_tests::tools::push;
use serde_json::{Value, json};

use crate::harness::rig::Rig;

fn measurement(n: u32) -> Value {
    json!({ "resource": "press-4", "metric": "bearing.temperature", "value": f64::from(n) + 0.5, "unit": "Cel", "labels": { "n": n.to_string() } })
}

/// The values that the API has of the test's metric, in ascending order.
fn values(rig: &Rig) -> Vec<f64> {
    let mut values = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = rig.api.get(&format!("/api/v1/samples?metric=bearing.temperature&resource=press-4&limit=7{cursor}")).ok().json();
        values.extend(page["items"].as_array().unwrap().iter().map(|item| item["value"].as_f64().unwrap()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    values.sort_by(f64::total_cmp);
    values
}

#[test]
fn measurements_are_pushed_and_read_and_arrive_once_after_an_outage() {
    let mut rig = Rig::start();
    let body = json!({ "measurements": [measurement(0), measurement(1)] }).to_string();
    let (status, answer) = push(&rig.prepared, &body, &["-H", "Idempotency-Key: first"]);
    assert_eq!((status, answer.as_str()), (200, r#"{"accepted":2}"#));
    assert_eq!(push(&rig.prepared, &body, &["-H", "Idempotency-Key: first"]).0, 200);
    wait_for("two measurements", SOON, || (values(&rig) == [0.5, 1.5]).then_some(()).ok_or_else(|| format!("{:?}", values(&rig))));
    let item = rig.api.get("/api/v1/samples?limit=1").ok().json()["items"][0].clone();
    assert_eq!((&item["unit"], &item["gateway"]), (&json!("Cel"), &json!(rig.gateway_id())));

    rig.kill_control();
    for n in 2..40 {
        let body = json!({ "measurements": [measurement(n)], "events": [] }).to_string();
        assert_eq!(push(&rig.prepared, &body, &[]).0, 200, "answered after the fsync, whoever is away");
    }
    rig.wait_for_status("the backlog", |status| status.spool.lanes.get("samples").is_some_and(|lane| lane.records >= 38));
    rig.start_control();
    rig.wait_until_delivered();
    let expected: Vec<f64> = (0..40).map(|n| f64::from(n) + 0.5).collect();
    wait_for("every measurement once", SOON, || (values(&rig) == expected).then_some(()).ok_or_else(|| format!("{:?}", values(&rig))));
    // Counted like events: the repetition as a duplicate.
    let account =
        rig.wait_for_status("the account", |status| status.ledger.by_protocol.get("push").is_some_and(|push| push.in_flight == 0));
    let push = &account.ledger.by_protocol["push"];
    assert_eq!((push.received, push.accepted, push.dropped["duplicate"]), (42, 40, 2));
}

#[test]
fn a_measurement_that_is_wrong_is_refused_with_its_place() {
    let rig = Rig::start();
    let body = json!({ "measurements": [measurement(0), { "resource": "r", "metric": "m", "value": "warm" }] }).to_string();
    let (status, answer) = push(&rig.prepared, &body, &[]);
    assert_eq!(status, 400);
    assert!(answer.contains("measurements[1].value"), "{answer}");
    let refused = rig.api.ask("GET", "/api/v1/samples?metrik=m", None, &[]).unwrap();
    assert_eq!(refused.status, 400, "a misspelt filter does not list everything");
    assert!(values(&rig).is_empty());
}
