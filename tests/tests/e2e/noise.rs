//! From events to the few alerts that matter, with net-snmp and `logger`: what is folded, kept quiet, damped and held back, and what
//! the control plane says when one asks why.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::rig::Rig;
use crate::revisions::apply;
use postern_tests::api::Force;
use postern_tests::deadline::wait_for;
use postern_tests::tools::{IF_INDEX, LINK_DOWN, LINK_UP, logger, run, succeeded};

/// A switch and two servers behind it, as net-snmp's traps come from them.
const SWITCH: &str = "127.0.0.2";
const SERVERS: [&str; 2] = ["127.0.0.3", "127.0.0.4"];

const DEAD: &str = "1.3.6.1.4.1.55555.0.1";
const ALIVE: &str = "1.3.6.1.4.1.55555.0.2";
const FAULT: &str = "1.3.6.1.4.1.55555.0.3";

/// Within which alerts follow one another, by the clocks of the machine that the tests run on.
const LONG: Duration = Duration::from_secs(60);

/// A document with rules for the traps above and links, and further sections.
fn document(sections: &Value) -> String {
    let source = json!({"source": {"max_bytes": 64}});
    let raise = |kind: &str| json!({"raise": {"resource": "{source}", "kind": kind, "severity": "major", "summary": "{source}"}});
    let link = json!({"resource": "{source}/{index}", "kind": "link-down", "severity": "minor", "summary": "{index} is down"});
    let login = json!({"resource": "{host}", "kind": "login-failed", "severity": "minor", "summary": "logins fail at {host}"});
    let mut document = json!({"format": 1, "rules": [
        {"id": "dead", "match": {"trap": {"oid": DEAD}}, "release": source, "then": raise("node-down"), "clear_on": [{"trap": {"oid": ALIVE}}]},
        {"id": "fault", "match": {"trap": {"oid": FAULT}}, "release": source, "then": raise("fault")},
        {"id": "link", "match": {"trap": {"oid": LINK_DOWN}}, "clear_on": [{"trap": {"oid": LINK_UP}}],
         "release": {"source": {"max_bytes": 64}, "index": {"from": format!("index:{IF_INDEX}"), "max_bytes": 16}}, "then": {"raise": link}},
        {"id": "login", "match": {"syslog": {"programs": ["sshd"], "regex": "Failed password"}}, "release": {"host": {"max_bytes": 64}},
         "threshold": {"count": 3, "within_s": 600}, "then": {"raise": login}}
    ]});
    for (name, section) in sections.as_object().unwrap() {
        document[name] = section.clone();
    }
    document.to_string()
}

/// `snmptrap` from one of the addresses of this machine.
fn trap_from(rig: &Rig, source: &str, oid: &str, varbinds: &[&str]) {
    let to = rig.prepared.sockets.snmp_trap().to_string();
    let from = format!("--clientaddr={source}");
    succeeded(&run("snmptrap", &[&[&from, "-v", "2c", "-c", "public", &to, "", oid], varbinds].concat()));
}

/// Waits for the newest state of an alert.
fn wait_for_kind(rig: &Rig, (resource, kind): (&str, &str), is_it: impl Fn(&Value) -> bool) -> Value {
    rig.api.wait_for_alert_within(kind, LONG, |alert| alert["resource"] == resource && alert["kind"] == kind && is_it(alert))
}

/// The resources of open alerts that nothing folds or keeps quiet.
fn shown(rig: &Rig) -> Vec<String> {
    let page = rig.api.get("/api/v1/alerts?parent=none&suppressed=false&state=open").ok().json();
    let mut shown: Vec<_> = page["items"].as_array().unwrap().iter().map(|alert| alert["resource"].as_str().unwrap().to_owned()).collect();
    shown.sort();
    shown
}

/// What `explain` tells, in its order; waits until it tells the last of `wanted`.
fn explained(rig: &Rig, alert: &Value, wanted: &[&str]) -> Value {
    let path = format!("/api/v1/alerts/{}/explain", alert["id"].as_str().unwrap());
    let explanation = wait_for("the explanation", LONG, || {
        let explanation = rig.api.get(&path).ok().json();
        let steps = explanation["steps"].as_array().unwrap();
        if steps.iter().any(|step| step["what"] == wanted[wanted.len() - 1]) { Ok(explanation) } else { Err(format!("{explanation:#}")) }
    });
    let steps = explanation["steps"].as_array().unwrap();
    let mut told = steps.iter().map(|step| step["what"].as_str().unwrap());
    for step in wanted {
        assert!(told.any(|what| what == *step), "{step} is not told in its place: {explanation:#}");
    }
    let times: Vec<_> = steps.iter().map(|step| step["at"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "{explanation:#}");
    explanation
}

#[test]
fn a_dead_switch_is_one_alert_with_its_children_listed() {
    let rig = Rig::start();
    let networks: Vec<_> = SERVERS.iter().map(|server| format!("{server}/32")).collect();
    let dependency = json!({"id": "rack", "parent": SWITCH, "children": {"networks": networks}, "before_s": 120});
    apply(&rig, &document(&json!({"dependencies": [dependency]})), Force::Checked);
    // One child speaks before the switch is known to be dead, one after.
    trap_from(&rig, SERVERS[0], FAULT, &[]);
    wait_for_kind(&rig, (SERVERS[0], "fault"), |alert| alert["parent"].is_null());
    trap_from(&rig, SWITCH, DEAD, &[]);
    trap_from(&rig, SERVERS[1], FAULT, &[]);
    let switch = wait_for_kind(&rig, (SWITCH, "node-down"), |alert| alert["children"] == 2);
    assert_eq!(shown(&rig), [SWITCH]);
    let children = rig.api.get(&format!("/api/v1/alerts/{}/children", switch["id"].as_str().unwrap())).ok().json();
    let children = children["items"].as_array().unwrap();
    assert!(children.len() == 2 && children.iter().all(|child| child["parent"] == switch["id"]), "{children:#?}");
    for child in children {
        let told = explained(&rig, child, &["raised", "folded"])["steps"].clone();
        assert_eq!(told.as_array().unwrap().iter().find(|step| step["what"] == "folded").unwrap()["alert"], switch["id"], "{told:#}");
    }

    trap_from(&rig, SWITCH, ALIVE, &[]);
    let child = wait_for_kind(&rig, (SERVERS[0], "fault"), |alert| alert["parent"].is_null());
    wait_for_kind(&rig, (SERVERS[1], "fault"), |alert| alert["parent"].is_null());
    assert_eq!(shown(&rig), SERVERS, "what is left stands for itself");
    let told = explained(&rig, &child, &["raised", "folded", "unfolded"])["steps"].clone();
    let folded = told.as_array().unwrap().iter().find(|step| step["what"] == "folded").unwrap();
    assert_eq!((&folded["by"], &folded["text"]), (&json!(format!("{SWITCH} node-down")), &json!("dependency rack")), "{told:#}");
}

#[test]
fn a_window_keeps_quiet_what_is_new_and_raises_at_its_end_what_still_lasts() {
    let rig = Rig::start();
    let time = |when: &str| String::from_utf8(run("date", &["-u", "-d", when, "+%FT%TZ"]).stdout).unwrap().trim().to_owned();
    let when = json!({"once": {"from": time("-1 hour"), "until": time("+15 seconds")}});
    apply(
        &rig,
        &document(&json!({"windows": [{"id": "patching", "affects": {"rules": ["fault", "dead"]}, "when": when}]})),
        Force::Checked,
    );
    trap_from(&rig, SERVERS[0], FAULT, &[]);
    trap_from(&rig, SWITCH, DEAD, &[]);
    let quiet = wait_for_kind(&rig, (SERVERS[0], "fault"), |alert| alert["suppressed"]["by"] == "patching");
    assert_eq!(quiet["state"], "open", "it is kept, not withheld");
    trap_from(&rig, SWITCH, ALIVE, &[]);
    wait_for_kind(&rig, (SWITCH, "node-down"), |alert| alert["state"] == "cleared");
    assert!(shown(&rig).is_empty(), "a clear passes, and nothing is shown");

    let raised = wait_for_kind(&rig, (SERVERS[0], "fault"), |alert| alert["suppressed"].is_null());
    assert_eq!(shown(&rig), [SERVERS[0]]);
    explained(&rig, &raised, &["raised", "suppressed", "unsuppressed"]);
}

#[test]
fn a_link_that_flaps_is_one_alert_that_says_so_until_it_is_quiet() {
    let rig = Rig::start();
    apply(&rig, &document(&json!({"noise": {"flap": {"changes": 4, "within_s": 600, "quiet_s": 8}}})), Force::Checked);
    let index = format!("{IF_INDEX}.7");
    for _ in 0..6 {
        for oid in [LINK_DOWN, LINK_UP] {
            trap_from(&rig, SWITCH, oid, &[&index, "i", "7"]);
        }
    }
    let resource = format!("{SWITCH}/7");
    let flapping = wait_for_kind(&rig, (&resource, "link-down"), |alert| alert["flapping"] == true);
    assert_eq!(flapping["state"], "open");
    let quiet = wait_for_kind(&rig, (&resource, "link-down"), |alert| alert["state"] == "cleared" && alert["flapping"] == false);
    assert!(shown(&rig).is_empty(), "the last report was that it is up");
    let alerts: Vec<_> = rig.api.alerts().into_iter().filter(|alert| alert["kind"] == "link-down").collect();
    assert_eq!(alerts.len(), 1, "{alerts:#?}");
    // The clear that held in the end came before the quiet did.
    explained(&rig, &quiet, &["flap_started", "cleared", "flap_ended"]);
}

#[test]
fn a_threshold_holds_lines_back_until_there_are_enough() {
    let rig = Rig::start();
    apply(&rig, &document(&json!({})), Force::Checked);
    let fail = || {
        logger(
            rig.prepared.sockets.syslog(),
            &["--udp", "--rfc5424", "--tag", "sshd", "--priority", "auth.info", "Failed password for root"],
        )
    };
    let accepted = || rig.status().unwrap().ledger.totals.accepted;
    let before = accepted();
    fail();
    fail();
    rig.wait_for_status("both lines", |status| status.ledger.totals.accepted == before + 2);
    rig.wait_until_delivered();
    assert_eq!(rig.api.alerts(), Vec::<Value>::new(), "two are not enough");
    fail();
    let alert = rig.api.wait_for_alert("the third", |alert| alert["kind"] == "login-failed");
    assert_eq!(alert["count"], 3, "all of them are counted: {alert:#}");
    let explanation = explained(&rig, &alert, &["threshold_reached"]);
    let reached = explanation["steps"].as_array().unwrap().iter().find(|step| step["what"] == "threshold_reached").unwrap();
    assert!(reached["text"].as_str().unwrap().contains("3 reports within 600 s"), "{explanation:#}");
    assert!(!explanation.to_string().contains("root"), "nothing of the line leaves the site: {explanation:#}");
}
