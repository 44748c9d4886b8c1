//! Dependencies: one dead device is one alert with its children.

use super::{Bench, RACK, STORM, key, rules};

#[test]
fn a_dead_switch_is_one_alert_with_its_children() {
    let mut bench = Bench::new("", RACK);
    bench.raise(1, "old", "unreachable");
    bench.until(31);
    bench.raise(2, "a", "unreachable");
    bench.until(40);
    bench.raise(200, "sw-1", "node-down");
    bench.raise(3, "b", "unreachable");
    bench.raise(201, "elsewhere", "unreachable");
    assert_eq!(bench.shown(), ["elsewhere unreachable", "old unreachable", "sw-1 node-down"]);
    assert_eq!(bench.parent(&key("a", "unreachable")), Some(key("sw-1", "node-down")));
    bench.clear(3, "b", "unreachable");
    bench.clear(200, "sw-1", "node-down");
    assert_eq!(bench.shown(), ["a unreachable", "elsewhere unreachable", "old unreachable"]);
}

#[test]
fn children_stay_folded_while_another_alert_of_the_parent_lasts() {
    let mut bench = Bench::new("", RACK);
    bench.raise(200, "sw-1/if/1", "link-down");
    bench.raise(200, "sw-1/if/2", "link-down");
    bench.raise(2, "a", "unreachable");
    bench.clear(200, "sw-1/if/1", "link-down");
    assert_eq!(bench.shown(), ["sw-1/if/2 link-down"]);
    bench.clear(200, "sw-1/if/2", "link-down");
    assert_eq!(bench.shown(), ["a unreachable"]);
}

#[test]
fn a_dependency_takes_its_children_out_of_a_storm() {
    let mut bench = Bench::new("", &format!("{RACK} {STORM}"));
    for number in 0..6 {
        bench.raise(2, &number.to_string(), "unreachable");
    }
    assert_eq!(bench.shown(), ["192.0.2.2 storm unreachable"]);
    bench.raise(200, "sw-1", "silent");
    assert_eq!(bench.parent(&key("0", "unreachable")), Some(key("sw-1", "silent")));
    bench.until(300);
    assert_eq!(bench.shown(), ["sw-1 silent"], "the storm is over, its alerts are explained");
}

#[test]
fn no_alert_is_folded_under_itself_however_dependencies_go_round() {
    let ring = r#""dependencies": [{"id": "ab", "parent": "a", "children": {"networks": ["192.0.2.2"]}},
        {"id": "ba", "parent": "b", "children": {"networks": ["192.0.2.1"]}}],"#;
    let mut bench = Bench::new("", ring);
    bench.raise(1, "a", "node-down");
    bench.raise(2, "b", "node-down");
    assert_eq!(bench.shown(), ["a node-down"]);
}

#[test]
fn a_dependency_holds_after_a_restart_and_ends_with_the_document_s() {
    let mut bench = Bench::new("", RACK);
    bench.raise(200, "sw-1", "node-down");
    bench.raise(2, "a", "unreachable");
    bench.down_until(10, rules("", RACK));
    bench.raise(3, "b", "unreachable");
    assert_eq!(bench.shown(), ["sw-1 node-down"]);
    bench.engine.replace_rules(rules("", ""));
    bench.until(bench.now + 1);
    assert_eq!(bench.shown(), ["a unreachable", "b unreachable", "sw-1 node-down"]);
}
