//! The power goes in the middle of a write: the device keeps what was synced and some of the rest, and nothing that was answered is
//! missing from it.
//!
//! The gateway's data lies on a volume of its own. At the cut the program is stopped, the device is copied as it is, without what
//! the kernel still holds in memory, and the copy takes the device's place.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use postern_tests::deadline::{SOON, wait_for};
use postern_tests::snmp::Sender;

use crate::flood::counts;
use crate::harness::rig::{Options, Rig};
use crate::harness::volume::Volume;

const INFORMS: u32 = 3_000;
const CUTS: u32 = 4;

#[test]
fn what_was_answered_before_a_power_cut_is_there_after_it() {
    let mut rig = Rig::enrolled(&Options { expected_errors: &["tunnel"], ..Options::default() });
    let images = tempfile::tempdir().unwrap();
    let mut volume = Volume::under(&rig.layout().gateway_dir(), &images.path().join("0.img"), 192);
    // What is answered is nowhere but on that device.
    rig.kill_control();
    rig.spawn_gateway();
    let trap = rig.prepared.sockets.snmp_trap();
    let sent = AtomicBool::new(false);
    let volley = std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let volley = Sender::new(trap).inform(1..=INFORMS, Duration::from_secs(120), |acknowledged| {
                // Slow enough for every cut to fall into it.
                std::thread::sleep(Duration::from_micros(if acknowledged < INFORMS as usize { 1500 } else { 0 }));
            });
            sent.store(true, Ordering::SeqCst);
            volley
        });
        for cut in 1..=CUTS {
            std::thread::sleep(Duration::from_millis(700));
            freeze(&rig);
            let copy = images.path().join(format!("{cut}.img"));
            volume.snapshot(&copy);
            rig.kill_gateway();
            volume.exchange(&copy);
            assert!(!sent.load(Ordering::SeqCst), "cut {cut} fell into the load");
            rig.spawn_gateway();
        }
        sender.join().unwrap()
    });
    println!("{CUTS} power cuts, {volley:?}");
    rig.start_control();
    rig.wait_for_status("the tunnel", |status| status.tunnel.state == postern_protocol::status::TunnelState::Up);
    rig.wait_until_delivered();
    let counts = counts(&rig);
    assert_eq!(counts.len(), INFORMS as usize, "every answered inform has its alert");
    let doubled: Vec<_> = counts.iter().filter(|(_, count)| **count != 1).collect();
    assert!(doubled.is_empty(), "counted more than once: {doubled:?}");
    rig.kill_gateway();
    drop(volume);
}

/// Stops every thread of the gateway; one that is inside a sync stops when that has ended.
fn freeze(rig: &Rig) {
    kill(rig.gateway_pid(), Signal::SIGSTOP).unwrap();
    let tasks = format!("/proc/{}/task", rig.gateway_pid());
    wait_for("every thread to stop", SOON, || {
        for task in std::fs::read_dir(&tasks).unwrap() {
            let stat = std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap();
            let state = stat.rsplit_once(") ").unwrap().1.chars().next();
            if state != Some('T') {
                return Err(stat);
            }
        }
        Ok(())
    });
}
