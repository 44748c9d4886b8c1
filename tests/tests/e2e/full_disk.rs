//! The disk is full, and has room again: what matters stays, what is given up is counted, nobody has to restart anything.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::time::Duration;

use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::statvfs::statvfs;
use postern_tests::deadline::wait_for;
use postern_tests::snmp::Sender;
use postern_tests::tools::push;
use serde_json::Value;

use crate::harness::rig::{Options, Rig};
use crate::harness::volume::Volume;

const LONG: Duration = Duration::from_secs(90);
const INFORMS: u32 = 500;

/// Measurements that no compression makes small.
fn measurements(random: &mut u64, count: u32) -> String {
    let one = |random: &mut u64| {
        let mut noise = String::new();
        for _ in 0..15 {
            *random ^= *random << 13;
            *random ^= *random >> 7;
            *random ^= *random << 17;
            noise.push_str(&format!("{:016x}", *random));
        }
        format!(r#"{{"resource":"sensor-{random:x}","metric":"noise","value":{},"labels":{{"n":"{noise}"}}}}"#, *random % 1000)
    };
    // Each of a resource of its own: none replaces another.
    let list: Vec<String> = (0..count).map(|_| one(random)).collect();
    format!(r#"{{"measurements":[{}]}}"#, list.join(","))
}

/// Takes all room but `spare` bytes.
fn fill(volume: &Volume, spare: u64) -> std::path::PathBuf {
    let path = volume.path().join("filler");
    let mut file = File::create(&path).unwrap();
    let free = statvfs(volume.path()).unwrap();
    let free = free.blocks_available() * free.fragment_size();
    let length = i64::try_from(free.saturating_sub(spare)).unwrap();
    if fallocate(&file, FallocateFlags::empty(), 0, length).is_err() {
        // The file system counts its own blocks, too: fill it by hand.
        while file.write_all(&[0; 65_536]).is_ok() {}
    }
    path
}

#[test]
fn a_full_disk_costs_measurements_and_no_alert_and_ends_by_itself() {
    let mut rig = Rig::enrolled(&Options {
        // Small segments: what is taken in advance for one is soon used up.
        gateway_toml: "[spool]\nsegment_bytes = 1048576\n",
        expected_errors: &["tunnel", "disk", "No space", "full"],
        ..Options::default()
    });
    let images = tempfile::tempdir().unwrap();
    let volume = Volume::under(&rig.layout().gateway_dir(), &images.path().join("disk.img"), 160);
    rig.start_gateway();
    let pid = rig.gateway_pid();
    rig.kill_control();
    // Measurements wait on the disk, then the disk fills up around them.
    let (mut random, mut accepted, mut refused) = (0x5eed_u64, 0_u64, 0_u64);
    let mut push_some = |times: u32| {
        for _ in 0..times {
            match push(&rig.prepared, &measurements(&mut random, 700), &[]) {
                (200..=299, _) => accepted += 700,
                (503, _) => refused += 700,
                (status, said) => panic!("{status} {said}"),
            }
        }
    };
    push_some(20);
    let filler = fill(&volume, 3 << 20);
    push_some(20);
    // Alerts pass all the same: measurements make room for them.
    let trap = rig.prepared.sockets.snmp_trap();
    let volley = Sender::new(trap).inform(1..=INFORMS, LONG, |_| {});
    assert_eq!(volley.acknowledged, INFORMS as usize);
    let status = rig.status().unwrap();
    let samples = status.spool.lanes["samples"];
    println!("{accepted} measurements taken, {refused} refused while full; {samples:?} with the disk full");
    assert!(samples.evicted > 0, "measurements made room: {:?}", status.spool);
    assert_eq!(status.spool.lanes["alerts"].evicted, 0, "{:?}", status.spool);
    // Room again: everything goes on, in the same program.
    std::fs::remove_file(filler).unwrap();
    let volley = Sender::new(trap).inform(INFORMS + 1..=2 * INFORMS, LONG, |_| {});
    assert_eq!(volley.acknowledged, INFORMS as usize);
    rig.start_control();
    wait_for("everything to be delivered", LONG, || {
        let status = rig.status()?;
        let waiting: u64 = status.spool.lanes.values().map(|lane| lane.records).sum();
        if waiting == 0 && status.ledger.totals.in_flight == 0 { Ok(()) } else { Err(format!("{:?}", status.spool)) }
    });
    assert_eq!(rig.gateway_pid(), pid, "no restart was needed");
    let alerts = rig.api.alerts();
    let links: Vec<&Value> = alerts.iter().filter(|alert| alert["kind"] == "link-down").collect();
    let resources: BTreeSet<&str> = links.iter().filter_map(|alert| alert["resource"].as_str()).collect();
    assert_eq!((links.len(), resources.len()), (2 * INFORMS as usize, 2 * INFORMS as usize), "every answered inform has its alert, once");
    assert!(links.iter().all(|alert| alert["count"] == 1));
    rig.api.wait_for_alert("the gateway to say that it gave something up", |alert| alert["kind"] == "spool-evicted");
    let evicted = rig.status().unwrap().spool.lanes["samples"].evicted;
    let stored = stored_samples(&rig);
    println!("{stored} measurements stored, {evicted} given up");
    assert_eq!(stored + evicted, accepted, "each measurement that was taken is stored or counted as given up");
    rig.kill_gateway();
    drop(volume);
}

/// Counts what the control plane has, page by page.
fn stored_samples(rig: &Rig) -> u64 {
    let (mut sum, mut cursor) = (0, String::new());
    loop {
        let path = format!("/api/v1/samples?gateway={}&metric=noise&limit=1000{cursor}", rig.gateway_id());
        let page = rig.api.get(&path).ok().json();
        sum += page["items"].as_array().unwrap().len() as u64;
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return sum,
        }
    }
}
