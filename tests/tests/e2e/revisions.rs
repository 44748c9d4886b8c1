//! Configuration from the console to the gateway and back: effective at once, refused with the place of the fault, never half applied.

use serde_json::{Value, json};

use crate::harness::rig::{Options, Rig};
use crate::interop_snmp::is_link;
use postern_tests::api::Force;
use postern_tests::tools::{LINK_DOWN, link_trap, trap};

/// Puts the built-in rules in force without storms and flaps: for tests that open and end more alerts than a healthy site does.
pub(crate) fn without_noise_control(rig: &Rig) {
    let mut document: serde_json::Value = serde_json::from_str(postern_protocol::revision::BUILT_IN).unwrap();
    document["noise"] = serde_json::json!({"flap": "off", "storm": "off"});
    apply(rig, &document.to_string(), Force::Checked);
}

/// Puts a configuration and waits until the gateway says that it is in force.
pub(crate) fn apply(rig: &Rig, document: &str, force: Force) -> u64 {
    let reply = rig.api.put_configuration(&rig.gateway_id(), document, force).ok();
    let number = number(&reply.json());
    rig.wait_for_status("the revision to be effective", |status| status.revision.effective.is_some_and(|effective| effective.0 == number));
    number
}

pub(crate) fn number(reply: &Value) -> u64 {
    reply["number"].as_u64().unwrap_or_else(|| panic!("{reply:#}"))
}

/// One rule: this trap is an alert of this kind.
pub(crate) fn one_rule(oid: &str, kind: &str) -> String {
    json!({"format": 1, "rules": [{
        "id": "one", "match": {"trap": {"oid": oid}}, "release": {"peer": {"max_bytes": 64}},
        "then": {"raise": {"resource": "{peer}", "kind": kind, "severity": "major", "summary": "seen at {peer}"}}
    }]})
    .to_string()
}

const OWN_TRAP: &str = "1.3.6.1.4.1.55555.0.1";

/// Well-formed JSON with one fault: `max_bytes` is beyond its bound, on line 5.
pub(crate) const INVALID: &str = r#"{
  "format": 1,
  "rules": [
    {"id": "fine", "match": {"trap": {"oid": "1.3.6.1.4.1.55555.0.1"}},
     "release": {"peer": {"max_bytes": 5000}},
     "then": {"raise": {"resource": "{peer}", "kind": "k", "severity": "major", "summary": "s"}}}
  ]
}"#;

#[test]
fn a_new_revision_replaces_the_rules_and_is_reported_as_applied() {
    let rig = Rig::start();
    let gateway = rig.gateway_id();
    let number = apply(&rig, &one_rule(OWN_TRAP, "first"), Force::Checked);
    trap(rig.prepared.sockets.snmp_trap(), OWN_TRAP, &[]);
    let alert = rig.api.wait_for_alert("the new rule's alert", |alert| alert["kind"] == "first");
    assert_eq!(alert["severity"], "major");
    assert_eq!(alert["summary"], "seen at 127.0.0.1");

    let configuration = rig.api.get(&format!("/api/v1/gateways/{gateway}/configuration")).ok();
    assert!(configuration.body.contains("first"), "{configuration:?}");
    postern_tests::deadline::wait_for("the console to know", postern_tests::deadline::SOON, || {
        let revisions = rig.api.get(&format!("/api/v1/gateways/{gateway}/revisions")).ok().json();
        let text = revisions.to_string();
        let items = revisions["items"].as_array().or_else(|| revisions.as_array()).cloned().unwrap_or_default();
        let newest = items.iter().find(|item| item["number"] == number).cloned().unwrap_or_default();
        if newest["state"] == "applied" { Ok(()) } else { Err(text) }
    });
}

#[test]
fn an_invalid_revision_is_refused_with_path_and_line() {
    let rig = Rig::start();
    let before = rig.wait_for_status("the first revision", |status| status.revision.confirmed.is_some()).revision;
    let reply = rig.api.put_configuration(&rig.gateway_id(), INVALID, Force::Checked);
    assert!((400..500).contains(&reply.status), "{reply:?}");
    assert_eq!(reply.header("content-type"), Some("application/problem+json"));
    for part in ["rules[0].release.peer.max_bytes", "\"line\":5"] {
        assert!(reply.body.replace(": ", ":").contains(part), "{part} is missing: {reply:?}");
    }
    assert_eq!(rig.status().unwrap().revision, before);
}

#[test]
fn a_forced_invalid_revision_is_refused_by_the_gateway_which_keeps_the_old_one_and_says_where() {
    let rig = Rig::start();
    let good = apply(&rig, &one_rule(OWN_TRAP, "good"), Force::Checked);
    let reply = rig.api.put_configuration(&rig.gateway_id(), INVALID, Force::Forced).ok();
    let bad = number(&reply.json());
    let status = rig.wait_for_status("the refusal", |status| status.revision.failed.is_some());
    let failed = status.revision.failed.unwrap();
    assert_eq!(failed.number.0, bad);
    assert_eq!((failed.problems[0].path.as_str(), failed.problems[0].line), ("rules[0].release.peer.max_bytes", 5));
    assert_eq!(status.revision.effective.map(|number| number.0), Some(good));

    trap(rig.prepared.sockets.snmp_trap(), OWN_TRAP, &[]);
    rig.api.wait_for_alert("the old rule at work", |alert| alert["kind"] == "good");
    postern_tests::deadline::wait_for("the console to know", postern_tests::deadline::SOON, || {
        let view = rig.api.get(&format!("/api/v1/gateways/{}", rig.gateway_id())).ok().body;
        if view.contains("rules[0].release.peer.max_bytes") { Ok(()) } else { Err(view) }
    });
    // The way out of a bad revision is a good one.
    apply(&rig, &one_rule(OWN_TRAP, "better"), Force::Checked);
}

#[test]
fn a_revision_survives_restarts_and_one_made_meanwhile_arrives_later() {
    let mut rig = Rig::start();
    apply(&rig, &one_rule(OWN_TRAP, "kept"), Force::Checked);
    rig.kill_gateway();
    rig.kill_control();
    rig.spawn_gateway();
    rig.wait_for_status("the stored revision", |status| status.revision.effective.is_some());
    trap(rig.prepared.sockets.snmp_trap(), OWN_TRAP, &[]);
    rig.wait_for_status("the alert", |status| status.open_alerts == 1);
    rig.kill_gateway();
    rig.start_control();
    let reply = rig.api.put_configuration(&rig.gateway_id(), &one_rule(OWN_TRAP, "later"), Force::Checked).ok();
    rig.start_gateway();
    let number = number(&reply.json());
    rig.wait_for_status("the later revision", |status| status.revision.effective.is_some_and(|effective| effective.0 == number));
    rig.api.wait_for_alert("the alert of before", |alert| alert["kind"] == "kept");
}

#[test]
fn a_site_can_veto_a_field_whatever_is_pushed() {
    let rig = Rig::start_with(&Options { gateway_toml: "\n[veto]\nforbidden_fields = [\"message\"]\n", ..Options::default() });
    let reply = rig.api.put_configuration(&rig.gateway_id(), &crate::interop_syslog::show_all(), Force::Checked).ok();
    // The first revision, the built-in rules, is refused before it: some of them release parts of messages.
    let number = number(&reply.json());
    let status =
        rig.wait_for_status("the refusal", |status| status.revision.failed.as_ref().is_some_and(|failed| failed.number.0 == number));
    let failed = status.revision.failed.unwrap();
    assert!(failed.problems.iter().any(|problem| problem.path.contains("release.message")), "{failed:?}");
    link_trap(rig.prepared.sockets.snmp_trap(), LINK_DOWN, 1);
    rig.api.wait_for_alert("the rules of before", |alert| is_link(alert, 1));
}
