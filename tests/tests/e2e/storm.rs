//! A storm of datagrams at a real gateway, with faults hidden in it: no datagram is lost or unaccounted for, each fault is shown, and
//! the rest is folded under alerts that say so.

use std::collections::BTreeMap;
use std::net::{IpAddr, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::rig::Rig;
use postern_tests::deadline::wait_for;
use postern_tests::snmp::{LINK_DOWN, LINK_UP, TRAP_V2, link, message};

const SOURCES: u32 = 200;
const MANY: u32 = 20_000;
const FAULTS: u32 = 10;

/// Datagrams a second: a tenth of what the gateway takes without loss.
const PACE: u32 = 2_000;

/// Of which all is delivered, and settled in the control plane.
const LONG: Duration = Duration::from_secs(120);

const AUTHENTICATION_FAILURE: &[u32] = &[1, 3, 6, 1, 6, 3, 1, 1, 5, 5];
const CONFIGURATION_CHANGED: &[u32] = &[1, 3, 6, 1, 4, 1, 9, 9, 43, 2, 0, 1];
const UNKNOWN: [u32; 7] = [1, 3, 6, 1, 4, 1, 55_555];

/// Faults of rarer kinds: fan, power supply, UPS on battery, charger, stack member.
const RARE: [(&[u32], &str); 5] = [
    (&[1, 3, 6, 1, 4, 1, 9, 9, 13, 3, 0, 4], "fan-failed"),
    (&[1, 3, 6, 1, 4, 1, 9, 9, 13, 3, 0, 5], "power-supply-failed"),
    (&[1, 3, 6, 1, 4, 1, 318, 0, 5], "ups-on-battery"),
    (&[1, 3, 6, 1, 4, 1, 318, 0, 51], "ups-charger-failed"),
    (&[1, 3, 6, 1, 4, 1, 9, 9, 500, 0, 0, 6], "stack-member-removed"),
];

/// A device: an address of this machine.
fn device(number: u32) -> UdpSocket {
    UdpSocket::bind((IpAddr::from([127, 0, 1, u8::try_from(number).unwrap()]), 0)).unwrap()
}

fn noise(number: u32, request: i32) -> Vec<u8> {
    // Each device goes through all of it.
    let turn = number / SOURCES + number;
    match turn % 10 {
        0..=4 => link(TRAP_V2, request, if turn % 4 == 3 { LINK_UP } else { LINK_DOWN }, number / SOURCES % 4 + 1),
        5 | 6 => message(TRAP_V2, request, AUTHENTICATION_FAILURE, &[]),
        7 => message(TRAP_V2, request, CONFIGURATION_CHANGED, &[]),
        _ => message(TRAP_V2, request, &[&UNKNOWN[..], &[0, turn % 3 + 1]].concat(), &[]),
    }
}

#[test]
fn a_storm_is_accounted_for_to_the_last_datagram_and_every_fault_in_it_is_shown() {
    let rig = Rig::start();
    let to = rig.prepared.sockets.snmp_trap();
    let devices: Vec<_> = (1..=SOURCES).map(device).collect();
    let (started, mut faults) = (Instant::now(), BTreeMap::new());
    for number in 0..MANY {
        let (device, request) = (&devices[(number % SOURCES) as usize], i32::try_from(number).unwrap());
        device.send_to(&noise(number, request), to).unwrap();
        // The faults lie at odd places, each of another device.
        if number % (MANY / FAULTS) == 777 {
            let (oid, kind) = RARE[faults.len() % RARE.len()];
            let at = &devices[faults.len() * 17 + 3];
            at.send_to(&message(TRAP_V2, request, oid, &[]), to).unwrap();
            faults.insert(at.local_addr().unwrap().ip().to_string(), kind);
        }
        if number % 20 == 0 {
            let due = Duration::from_secs(1) * number / PACE;
            std::thread::sleep(due.saturating_sub(started.elapsed()));
        }
    }
    assert_eq!(faults.len(), FAULTS as usize);
    let sent = u64::from(MANY + FAULTS);
    let status = rig.wait_for_status_within("all datagrams", LONG, |status| {
        let totals = &status.ledger.totals;
        totals.received == sent && totals.in_flight == 0 && status.spool.lanes.get("alerts").is_none_or(|lane| lane.records == 0)
    });
    let totals = status.ledger.totals;
    assert_eq!((totals.received, totals.accepted), (sent, sent), "{totals:?}");
    assert_eq!(totals.dropped.values().sum::<u64>(), 0, "{totals:?}");

    // What is shown: open, and folded under nothing.
    let is_shown = |alert: &&Value| alert["state"] == "open" && alert["parent"].is_null();
    let alerts = wait_for("the faults alone to be shown besides storms", LONG, || {
        let alerts = rig.api.try_alerts()?;
        let others = alerts.iter().filter(is_shown).filter(|alert| alert["kind"] != "storm");
        let found: BTreeMap<_, _> = others.map(|alert| (text(alert, "resource"), text(alert, "kind"))).collect();
        let is_fault = |device: &String, kind: &String| faults.get(device).is_some_and(|fault| fault == kind);
        let all = found.len() == faults.len() && found.iter().all(|(resource, kind)| is_fault(&device_of(resource), kind));
        if all { Ok(alerts) } else { Err(format!("{found:#?}")) }
    });
    let storms: Vec<_> = alerts.iter().filter(is_shown).filter(|alert| alert["kind"] == "storm").collect();
    assert!((1..=8).contains(&storms.len()), "{storms:#?}");
    let folded = alerts.iter().filter(|alert| alert["state"] == "open" && alert["parent"].is_string()).count();
    let took = started.elapsed().as_secs_f64();
    println!("{sent} datagrams in {took:.1} s; {} storms and {FAULTS} faults are shown, {folded} alerts are folded", storms.len());
    for storm in &storms {
        println!("{} with {} children", storm["summary"], storm["children"]);
        assert!(storm["children"].as_u64().unwrap() > 0, "{storm:#}");
    }
}

fn text(alert: &Value, name: &str) -> String {
    alert[name].as_str().unwrap_or_default().to_owned()
}

/// The part of a resource before the first `/`.
fn device_of(resource: &str) -> String {
    resource.split('/').next().unwrap_or_default().to_owned()
}
