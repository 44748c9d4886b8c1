//! net-snmp's `snmptrap` and `snmpinform` against the gateway.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use serde_json::Value;

use crate::harness::rig::Rig;
use postern_tests::api::Force;
use postern_tests::tools::{self, LINK_DOWN, LINK_UP, link_inform, link_trap, printed, run, succeeded};

const IF_INDEX: &str = "1.3.6.1.2.1.2.2.1.1";

pub(crate) fn is_link(alert: &Value, if_index: u32) -> bool {
    alert["kind"] == "link-down" && alert["resource"].as_str().unwrap().ends_with(&format!("/if/{if_index}"))
}

#[test]
fn v1_v2c_and_inform_raise_and_link_up_clears() {
    let rig = Rig::start();
    let to = rig.prepared.sockets.snmp_trap();
    let address = to.to_string();
    let v1 = |generic: &str| {
        let varbind = format!("{IF_INDEX}.1");
        let enterprise = "1.3.6.1.4.1.8072.3.2.10";
        succeeded(&run(
            "snmptrap",
            &["-v", "1", "-c", "public", &address, enterprise, "192.0.2.9", generic, "0", "4711", &varbind, "i", "1"],
        ));
    };

    v1("2");
    link_trap(to, LINK_DOWN, 2);
    succeeded(&link_inform(to, LINK_DOWN, 3, &[]));
    for if_index in 1..=3 {
        let alert = rig.api.wait_for_alert("linkDown", |alert| is_link(alert, if_index));
        assert_eq!(alert["state"], "open");
        assert_eq!(alert["count"], 1);
        assert_eq!(alert["gateway"], rig.gateway_id());
        let evidence = &alert["evidence"];
        assert_eq!(evidence["transport"], "udp");
        assert_eq!(evidence["peer"], "127.0.0.1");
        assert_eq!(evidence["authenticity"], "community");
        let v1_evidence = if_index == 1;
        assert_eq!(evidence["conflict"], v1_evidence, "the v1 trap names another address than its sender's: {evidence}");
        assert_eq!(evidence["trap_address"] == "192.0.2.9", v1_evidence, "{evidence}");
    }

    v1("3");
    link_trap(to, LINK_UP, 2);
    succeeded(&link_inform(to, LINK_UP, 3, &[]));
    for if_index in 1..=3 {
        let alert = rig.api.wait_for_alert("linkUp", |alert| is_link(alert, if_index) && alert["state"] == "cleared");
        assert!(alert["cleared_at"].is_string(), "{alert:#}");
        assert_eq!(alert["count"], 1, "a clear is no report of the condition");
    }
    assert_eq!(rig.status().unwrap().open_alerts, 0);
}

#[test]
fn a_thousand_repeats_are_one_alert_with_count_1000() {
    let rig = Rig::start();
    let to = rig.prepared.sockets.snmp_trap();
    let script = format!("for n in $(seq 1000); do snmptrap -v 2c -c public {to} '' {LINK_DOWN} {IF_INDEX}.7 i 7 || exit 1; done");
    succeeded(&run("sh", &["-c", &script]));
    let alert = rig.api.wait_for_alert("count 1000", |alert| alert["count"] == 1000);
    assert!(is_link(&alert, 7));
    assert_eq!(rig.api.alerts().len(), 1);
    assert!(alert["first_seen"].as_str() < alert["last_seen"].as_str());
    let ledger = rig.status().unwrap().ledger;
    assert_eq!((ledger.totals.received, ledger.totals.accepted), (1000, 1000));
}

/// Every type that the issue names, as net-snmp writes it: name, type letter, value, and the text that a template shows.
const TYPES: [(&str, &str, &str, &str); 7] = [
    ("1", "s", "fan 2 failed", "fan 2 failed"),
    ("2", "i", "-42", "-42"),
    ("3", "o", "1.3.6.1.4.1.9.1.1", "1.3.6.1.4.1.9.1.1"),
    ("4", "a", "192.0.2.77", "192.0.2.77"),
    ("5", "C", "18446744073709551615", "18446744073709551615"),
    ("6", "t", "360000", "360000"),
    ("7", "x", "00FF10", "00:ff:10"),
];
const ENTERPRISE_TRAP: &str = "1.3.6.1.4.1.55555.0.9";
const ENTERPRISE_OBJECT: &str = "1.3.6.1.4.1.55555.1";

fn enterprise_trap(rig: &Rig) {
    let varbinds: Vec<String> =
        TYPES.iter().flat_map(|(at, kind, value, _)| [format!("{ENTERPRISE_OBJECT}.{at}.0"), (*kind).into(), (*value).into()]).collect();
    let varbinds: Vec<&str> = varbinds.iter().map(String::as_str).collect();
    tools::trap(rig.prepared.sockets.snmp_trap(), ENTERPRISE_TRAP, &varbinds);
}

#[test]
fn an_unknown_trap_is_a_minor_alert_that_names_its_oid_and_nothing_else() {
    let rig = Rig::start();
    enterprise_trap(&rig);
    let alert = rig.api.wait_for_alert("the enterprise trap", |alert| alert.to_string().contains(ENTERPRISE_TRAP));
    assert_eq!(alert["severity"], "minor");
    let text = alert.to_string();
    for (.., shown) in TYPES.iter().filter(|(at, ..)| *at != "2") {
        assert!(!text.contains(shown), "{shown} is shown: {text}");
    }
}

#[test]
fn varbinds_of_every_type_are_read_rightly() {
    let rig = Rig::start();
    let (mut release, mut labels) = (serde_json::Map::new(), serde_json::Map::new());
    for (at, ..) in TYPES {
        let name = format!("v{at}");
        release.insert(name.clone(), serde_json::json!({"from": format!("varbind:{ENTERPRISE_OBJECT}.{at}"), "max_bytes": 64}));
        labels.insert(name.clone(), format!("{{{name}}}").into());
    }
    let document = serde_json::json!({"format": 1, "rules": [{
        "id": "enterprise", "match": {"trap": {"oid": ENTERPRISE_TRAP}}, "release": release,
        "then": {"raise": {"resource": "fan", "kind": "failed", "severity": "major", "summary": "{v1}", "labels": labels}}
    }]});
    crate::revisions::apply(&rig, &document.to_string(), Force::Checked);
    enterprise_trap(&rig);
    let alert = rig.api.wait_for_alert("the enterprise trap", |alert| alert["kind"] == "failed");
    assert_eq!(alert["summary"], "fan 2 failed");
    for (at, _, _, shown) in TYPES {
        assert_eq!(alert["labels"][format!("v{at}")], shown);
    }
}

#[test]
fn an_acknowledged_inform_survives_kill_9_and_an_unheard_one_is_not_acknowledged() {
    let mut rig = Rig::start();
    let to = rig.prepared.sockets.snmp_trap();
    // With the control plane gone, the only place where an event can survive is the spool.
    rig.kill_control();
    for if_index in 1..=5 {
        let acknowledged = link_inform(to, LINK_DOWN, if_index, &["-r", "5", "-t", "3"]);
        rig.kill_gateway();
        succeeded(&acknowledged);
        rig.spawn_gateway();
    }
    rig.wait_for_status("the gateway", |status| status.open_alerts == 5);

    kill(rig.gateway_pid(), Signal::SIGSTOP).unwrap();
    let unheard = link_inform(to, LINK_DOWN, 6, &["-r", "0", "-t", "1"]);
    kill(rig.gateway_pid(), Signal::SIGCONT).unwrap();
    assert!(!unheard.status.success(), "nobody took it in: {}", printed(&unheard));

    rig.start_control();
    rig.wait_until_delivered();
    for if_index in 1..=5 {
        let alert = rig.api.wait_for_alert_within("the inform", Duration::from_secs(40), |alert| is_link(alert, if_index));
        assert_eq!(alert["count"], 1);
    }
}
