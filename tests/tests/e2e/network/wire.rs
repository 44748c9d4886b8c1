//! What a wire does by itself: loss, delay, disorder, cuts, small packets.

use std::time::{Duration, Instant};

use postern_protocol::status::TunnelState;
use postern_tests::snmp::Sender;

use super::namespace::Quality;
use super::{PATIENCE, Sites};

const INTERFACES: u32 = 300;

/// Sends informs on the site's side until each is answered, and waits until each is an alert with count 1 on the other side.
fn carry(sites: &Sites, interfaces: std::ops::RangeInclusive<u32>) {
    let (rig, wire) = (&sites.rig, &sites.wire);
    let trap = rig.prepared.sockets.snmp_trap();
    let wanted = usize::try_from(*interfaces.end()).unwrap();
    wire.cloud.run(|| Sender::new(trap).inform(interfaces, PATIENCE, |_| {}));
    rig.wait_for_status_within("everything to be delivered", PATIENCE, |status| {
        status.ledger.totals.in_flight == 0 && status.spool.lanes.get("alerts").is_none_or(|lane| lane.records == 0)
    });
    let alerts = wire.cloud.run(|| rig.api.alerts());
    let counted: Vec<u64> =
        alerts.iter().filter(|alert| alert["kind"] == "link-down").filter_map(|alert| alert["count"].as_u64()).collect();
    assert_eq!(counted.len(), wanted, "each answered inform is an alert");
    assert!(counted.iter().all(|count| *count == 1), "and none is there twice");
}

fn survives(mtu: u16, quality: Quality) -> Duration {
    let mut sites = Sites::new(mtu, "");
    sites.wire.set(quality);
    let start = Instant::now();
    sites.start_gateway();
    sites.wait_for_tunnel(TunnelState::Up);
    let up = start.elapsed();
    carry(&sites, 1..=INTERFACES);
    println!("{quality:?}, MTU {mtu}: tunnel up after {up:?}, all delivered after {:?}", start.elapsed());
    up
}

#[test]
fn thirty_percent_loss_costs_time_and_nothing_else() {
    survives(1500, Quality { loss_percent: 30, ..Quality::default() });
}

#[test]
fn two_seconds_of_delay_cost_time_and_nothing_else() {
    survives(1500, Quality { delay: Duration::from_secs(2), ..Quality::default() });
}

#[test]
fn packets_in_disorder_change_nothing() {
    survives(1500, Quality { delay: Duration::from_millis(20), jitter: Duration::from_millis(200), ..Quality::default() });
}

#[test]
fn the_smallest_packets_of_ipv4_are_enough() {
    // RFC 791: every host takes 576 bytes.
    survives(576, Quality::default());
}

#[test]
fn a_cut_is_noticed_and_what_came_meanwhile_arrives_once() {
    let mut sites = Sites::new(1500, "");
    sites.start_gateway();
    sites.wait_for_tunnel(TunnelState::Up);
    carry(&sites, 1..=50);
    sites.wire.set(Quality { is_cut: true, ..Quality::default() });
    let trap = sites.rig.prepared.sockets.snmp_trap();
    let Sites { rig, wire } = &sites;
    // Answered without the control plane: they are on disk.
    wire.cloud.run(|| Sender::new(trap).inform(51..=INTERFACES, PATIENCE, |_| {}));
    let start = Instant::now();
    rig.wait_for_status_within("the loss to be noticed", PATIENCE, |status| status.tunnel.state != TunnelState::Up);
    println!("a cut is noticed after {:?}", start.elapsed());
    assert!(rig.status().unwrap().spool.lanes["alerts"].records > 0);
    sites.wire.set(Quality::default());
    let start = Instant::now();
    sites.wait_for_tunnel(TunnelState::Up);
    println!("back after {:?}", start.elapsed());
    carry(&sites, INTERFACES + 1..=INTERFACES + 1);
}
