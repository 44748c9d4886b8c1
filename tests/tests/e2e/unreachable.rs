//! The first alert that an operator needs: a gateway that is gone.

use crate::harness::rig::{Options, Rig};

#[test]
fn a_silent_gateway_is_a_critical_alert_until_it_returns() {
    let mut rig = Rig::start_with(&Options { control_toml: &[("unreachable_after_s", "2")], ..Options::default() });
    rig.kill_gateway();
    let gateway = rig.gateway_id();
    let alert = rig.api.wait_for_alert("gateway-unreachable", |alert| alert["kind"] == "gateway-unreachable" && alert["state"] == "open");
    assert_eq!(alert["severity"], "critical");
    assert_eq!((&alert["resource"], &alert["gateway"]), (&gateway.as_str().into(), &gateway.as_str().into()));
    rig.start_gateway();
    rig.api.wait_for_alert("its end", |alert| alert["kind"] == "gateway-unreachable" && alert["state"] == "cleared");
}

#[test]
fn a_short_restart_is_no_alert() {
    let mut rig = Rig::start_with(&Options { control_toml: &[("unreachable_after_s", "30")], ..Options::default() });
    rig.kill_gateway();
    rig.start_gateway();
    postern_tests::tools::link_trap(rig.prepared.sockets.snmp_trap(), postern_tests::tools::LINK_DOWN, 1);
    rig.api.wait_for_alert("a later alert", |alert| crate::interop_snmp::is_link(alert, 1));
    assert_eq!(rig.api.alerts().len(), 1);
}
