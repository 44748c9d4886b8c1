//! What the built-in rules make of real notifications.

use super::*;

#[test]
fn a_link_goes_down_and_comes_up_by_index_and_source() {
    let mut rig = Rig::new();
    let down = [
        ("1.3.6.1.2.1.2.2.1.1.3", Value::Integer(3)),
        ("1.3.6.1.2.1.2.2.1.7.3", Value::Integer(1)),
        ("1.3.6.1.2.1.2.2.1.2.3", text("ge-0/0/1")),
    ];
    assert_eq!(rig.trap("1.3.6.1.6.3.1.1.5.3", &down), Verdict::Raised);
    let alert = rig.alert();
    assert_eq!(rig.key(), ["10.0.0.7/if/3", "link-down", ""]);
    assert_eq!((alert.severity, alert.summary.as_str()), (Severity::Major, "Interface ge-0/0/1 of 10.0.0.7 is down (ifIndex 3)"));
    let other = [("1.3.6.1.2.1.2.2.1.1.4", Value::Integer(4))];
    assert_eq!(rig.trap("1.3.6.1.6.3.1.1.5.4", &other), Verdict::ClearedNothing);
    assert_eq!(rig.trap("1.3.6.1.6.3.1.1.5.4", &down), Verdict::Cleared);
}

#[test]
fn states_read_in_their_modules_words() {
    let mut rig = Rig::new();
    rig.trap("1.3.6.1.6.3.1.1.5.3", &[("1.3.6.1.2.1.2.2.1.7.7", Value::Integer(1)), ("1.3.6.1.2.1.2.2.1.8.7", Value::Integer(2))]);
    let labels = rig.alert().labels;
    assert_eq!(labels.get("admin_status").map(String::as_str), Some("ifAdminStatus.7 = up(1)"));
    assert_eq!(labels.get("oper_status").map(String::as_str), Some("ifOperStatus.7 = down(2)"));
}

#[test]
fn a_trap_without_a_rule_is_called_by_its_name_and_counted_when_it_has_none() {
    let mut rig = Rig::new();
    rig.trap("1.3.6.1.4.1.9.9.41.2.0.1", &[]);
    assert_eq!(rig.alert().summary, "Trap clogMessageGenerated from 10.0.0.7, for which there is no rule");
    assert_eq!(rig.key()[2], "1.3.6.1.4.1.9.9.41.2.0.1", "what tells alerts apart never depends on the names at hand");
    assert_eq!(rig.0.unknown_oids(), []);
    rig.trap("1.3.6.1.4.1.32473.0.9", &[]);
    rig.trap("1.3.6.1.4.1.32473.0.9", &[]);
    let unknown: Vec<_> = rig.0.unknown_oids().into_iter().map(|unknown| (unknown.oid, unknown.count, unknown.source)).collect();
    assert_eq!(unknown, [("1.3.6.1.4.1.32473.0.9".to_owned(), 2, "10.0.0.7".to_owned())]);
}

#[test]
fn an_interface_without_if_index_is_told_by_the_index_of_another_column() {
    let mut rig = Rig::new();
    rig.trap("1.3.6.1.6.3.1.1.5.3", &[("1.3.6.1.2.1.2.2.1.8.17", Value::Integer(2)), ("1.3.6.1.2.1.2.2.1.7.17", Value::Integer(2))]);
    assert_eq!(rig.key(), ["10.0.0.7/if/17", "link-down", ""]);
    assert_eq!(rig.alert().severity, Severity::Minor, "the administrator shut the port");
    assert_eq!(rig.trap("1.3.6.1.6.3.1.1.5.4", &[("1.3.6.1.2.1.31.1.1.1.1.17", text("Gi17"))]), Verdict::Cleared);
}

#[test]
fn a_link_trap_without_any_index_still_raises() {
    let mut rig = Rig::new();
    rig.trap("1.3.6.1.6.3.1.1.5.3", &[]);
    assert_eq!(rig.key(), ["10.0.0.7/if/-", "link-down", ""]);
}

#[test]
fn every_standard_notification_has_its_alert() {
    for (notification, varbinds, resource, kind) in [
        ("1.3.6.1.6.3.1.1.5.1", vec![], "10.0.0.7", "cold-start"),
        ("1.3.6.1.6.3.1.1.5.2", vec![], "10.0.0.7", "warm-start"),
        ("1.3.6.1.6.3.1.1.5.5", vec![], "10.0.0.7", "snmp-authentication-failure"),
        (
            "1.3.6.1.6.3.1.1.5.6",
            vec![("1.3.6.1.2.1.8.5.1.2.10.1.1.1", Value::IpAddress([10, 1, 1, 1].into()))],
            "10.0.0.7/egp/10.1.1.1",
            "egp-neighbour-loss",
        ),
        ("1.3.6.1.2.1.47.2.0.1", vec![], "10.0.0.7", "entity-config-change"),
        ("1.3.6.1.2.1.17.0.2", vec![], "10.0.0.7", "bridge-topology-change"),
        ("1.3.6.1.2.1.68.0.1", vec![], "10.0.0.7", "vrrp-new-master"),
        (
            "1.3.6.1.4.1.9.9.91.2.0.1",
            vec![("1.3.6.1.4.1.9.9.91.1.1.1.1.4.1001", Value::Integer(61))],
            "10.0.0.7/entity/1001",
            "sensor-threshold",
        ),
        (
            "1.3.6.1.2.1.88.2.0.1",
            vec![("1.3.6.1.2.1.88.2.1.1.0", text("dskTable")), ("1.3.6.1.2.1.88.2.1.4.0", oid("1.3.6.1.4.1.2021.9.1.100.1"))],
            "10.0.0.7",
            "trigger-fired",
        ),
        ("1.3.6.1.2.1.14.16.2.6", vec![], "10.0.0.7", "ospf-event"),
    ] {
        let mut rig = Rig::new();
        assert_eq!(rig.trap(notification, &varbinds), Verdict::Raised, "{notification}");
        let [r, k, _] = rig.key();
        assert_eq!((r.as_str(), k.as_str()), (resource, kind), "{notification}");
    }
}

#[test]
fn pairs_of_notifications_end_each_other() {
    let peer = |column: &str| vec![(format!("1.3.6.1.2.1.15.3.1.{column}.10.0.0.9"), Value::Integer(1))];
    let of = |name: &str, value: i64| vec![(name.to_owned(), Value::Integer(value))];
    for (raise, varbinds, clear, end_varbinds, resource) in [
        ("1.3.6.1.2.1.15.7.2", peer("14"), "1.3.6.1.2.1.15.7.1", peer("2"), "10.0.0.7/bgp/10.0.0.9"),
        ("1.3.6.1.2.1.15.0.2", peer("2"), "1.3.6.1.2.1.15.7.0.1", peer("14"), "10.0.0.7/bgp/10.0.0.9"),
        (
            "1.3.6.1.2.1.14.16.2.2",
            of("1.3.6.1.2.1.14.10.1.6.10.0.0.9.0", 1),
            "1.3.6.1.2.1.14.16.2.2",
            of("1.3.6.1.2.1.14.10.1.6.10.0.0.9.0", 8),
            "10.0.0.7/ospf/10.0.0.9.0",
        ),
        (
            "1.3.6.1.2.1.14.16.2.16",
            of("1.3.6.1.2.1.14.7.1.12.10.0.0.9.0", 1),
            "1.3.6.1.2.1.14.16.2.16",
            of("1.3.6.1.2.1.14.7.1.12.10.0.0.9.0", 4),
            "10.0.0.7/ospf-if/10.0.0.9.0",
        ),
        (
            "1.3.6.1.2.1.131.0.2",
            of("1.3.6.1.2.1.131.1.1.1.2.42", 4),
            "1.3.6.1.2.1.131.0.1",
            of("1.3.6.1.2.1.131.1.1.1.5.42", 1),
            "10.0.0.7/entity/42",
        ),
        (
            "1.3.6.1.2.1.16.0.1",
            of("1.3.6.1.2.1.16.3.1.1.1.5", 5),
            "1.3.6.1.2.1.16.0.2",
            of("1.3.6.1.2.1.16.3.1.1.1.5", 5),
            "10.0.0.7/rmon/5",
        ),
        (
            "1.3.6.1.2.1.105.0.2",
            of("1.3.6.1.2.1.105.1.3.1.1.4.1", 9),
            "1.3.6.1.2.1.105.0.3",
            of("1.3.6.1.2.1.105.1.3.1.1.4.1", 1),
            "10.0.0.7/poe/1",
        ),
        ("1.3.6.1.4.1.8072.4.0.2", vec![], "1.3.6.1.4.1.8072.4.0.3", vec![], "10.0.0.7"),
        ("1.3.6.1.2.1.33.2.2", of("1.3.6.1.2.1.33.1.7.3.0", 3), "1.3.6.1.2.1.33.2.0.2", of("1.3.6.1.2.1.33.1.7.3.0", 1), "10.0.0.7"),
    ] {
        let send = |rig: &mut Rig, oid: &str, list: &[(String, Value)]| {
            let list: Vec<_> = list.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
            rig.trap(oid, &list)
        };
        let mut rig = Rig::new();
        assert_eq!(send(&mut rig, raise, &varbinds), Verdict::Raised, "{raise}");
        assert_eq!(rig.alert().key.resource, resource);
        assert_eq!(send(&mut rig, clear, &end_varbinds), Verdict::Cleared, "{clear}");
    }
}

#[test]
fn a_ups_on_battery_is_one_alert_that_the_removal_of_its_alarm_ends() {
    let mut rig = Rig::new();
    let alarm = |n: u32| [("1.3.6.1.2.1.33.1.6.2.1.2.9", oid(&format!("1.3.6.1.2.1.33.1.6.3.{n}")))];
    assert_eq!(rig.trap("1.3.6.1.2.1.33.2.1", &[("1.3.6.1.2.1.33.1.2.3.0", Value::Integer(25))]), Verdict::Raised);
    assert_eq!(rig.alert().summary, "The UPS 10.0.0.7 runs on battery, about 25 minutes left");
    assert_eq!(rig.trap("1.3.6.1.2.1.33.2.3", &alarm(2)), Verdict::Updated);
    assert_eq!(rig.trap("1.3.6.1.2.1.33.2.3", &alarm(24)), Verdict::Raised);
    assert_eq!(rig.trap("1.3.6.1.2.1.33.2.4", &alarm(24)), Verdict::Cleared);
    assert_eq!(rig.alert().severity, Severity::Critical);
    assert_eq!(rig.trap("1.3.6.1.2.1.33.2.4", &alarm(2)), Verdict::Cleared);
    assert_eq!(rig.trap("1.3.6.1.2.1.33.2.2", &[("1.3.6.1.2.1.33.1.7.3.0", Value::Integer(5))]), Verdict::Suppressed);
}

#[test]
fn a_start_ends_the_agent_s_shutdown_and_is_reported_itself() {
    let mut rig = Rig::new();
    rig.trap("1.3.6.1.4.1.8072.4.0.2", &[]);
    assert_eq!(rig.trap("1.3.6.1.6.3.1.1.5.1", &[]), Verdict::Raised);
    assert_eq!(rig.key(), ["10.0.0.7", "cold-start", ""]);
}

#[test]
fn an_unknown_trap_is_a_minor_alert_that_names_its_oid_only() {
    let mut rig = Rig::new();
    assert_eq!(rig.trap("1.3.6.1.4.1.9999.0.7", &[("1.3.6.1.4.1.9999.1", text("secret"))]), Verdict::Raised);
    let alert = rig.alert();
    assert_eq!(rig.key(), ["10.0.0.7", "unknown-trap", "1.3.6.1.4.1.9999.0.7"]);
    assert_eq!(
        (alert.severity, alert.summary.as_str()),
        (Severity::Minor, "Trap 1.3.6.1.4.1.9999.0.7 from 10.0.0.7, for which there is no rule")
    );
    assert!(alert.labels.is_empty());
}

#[test]
fn what_a_person_asked_of_a_ups_is_no_major_alarm() {
    for (alarm, severity) in [(11, Severity::Warning), (12, Severity::Warning), (24, Severity::Warning), (18, Severity::Major)] {
        let mut rig = Rig::new();
        rig.trap("1.3.6.1.2.1.33.2.3", &[("1.3.6.1.2.1.33.1.6.2.1.2.9", oid(&format!("1.3.6.1.2.1.33.1.6.3.{alarm}")))]);
        assert_eq!(rig.alert().severity, severity, "upsWellKnownAlarms.{alarm}");
    }
}
