//! Other people's judgement: oscap with CIS and ANSSI content, and Lynis, inside the booted system.
//!
//! tests/scan judges the results: every rule that fails is on its list of exceptions, and the share that passes never falls.

use std::path::{Path, PathBuf};
use std::time::Duration;

use postern_tests::deadline::wait_for;
use postern_tests::tools::{printed, run, succeeded};

use crate::harness::artefacts::{Artefacts, tools_disk};
use crate::harness::checks::Checks;
use crate::harness::inside::Inside;
use crate::harness::machine::{Chassis, Machine, Plugged};
use crate::harness::settings::{cdrom, environment};
use crate::harness::site::{CONTROL_PLANE, Site};
use crate::harness::steps::step;
use crate::harness::{BOOT, REACTION};

const PROFILES: [&str; 3] = ["cis_level1_server", "cis_level2_server", "anssi_bp28_high"];

/// Lynis took 840 s on a busy machine, one profile of oscap 166 s.
const EVALUATION: Duration = Duration::from_secs(1500);

const RESULTS_BYTES: u64 = 64 * 1024 * 1024;

/// Starts a test variant, enrolled, so that everything runs that a site would have running.
fn enrolled(chassis: &Chassis, site: &Site, scratch: &Path) -> (Machine, Inside) {
    let properties = [("hostname", "scanned"), ("control_plane", CONTROL_PLANE), ("token", &site.token("scanned"))];
    let disc = cdrom(chassis.dir(), "settings", environment(&properties).as_bytes());
    std::fs::File::create(scratch).unwrap().set_len(RESULTS_BYTES).unwrap();
    let plugged = Plugged { cdrom: Some(&disc), tools: Some(&tools_disk()), scratch: Some(scratch), ..Plugged::default() };
    let machine = chassis.boot(&plugged);
    let inside = Inside::of(&machine);
    wait_for("the gateway to enrol", BOOT, || if site.gateways() == ["scanned"] { Ok(()) } else { Err(machine.console.tail()) });
    (machine, inside)
}

/// Runs a scanner with a shell and its usual tools laid over the appliance's, for it alone.
fn scan(inside: &mut Inside, command: &str) {
    let laid = "/run/tools/bin/busybox unshare -m /run/tools/bin/busybox sh /run/tools/bin/lay-programs / /run/tools";
    let script =
        format!("mkdir -p /run/results && {laid} {command} > /run/results/said.txt 2>&1; s=$?; tail -n 5 /run/results/said.txt; exit $s");
    inside.run_within(&script, EVALUATION).ok();
}

/// Takes the results out of the machine by way of the scratch disk; they stay below target/ for people to look at.
fn results(inside: &mut Inside, scratch: &Path) -> PathBuf {
    let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join("scans");
    std::fs::create_dir_all(&to).unwrap();
    inside.run_within("tar -cf /dev/disk/by-id/virtio-scratch -C /run/results . && sync", REACTION * 4).ok();
    succeeded(&run("tar", &["--extract", "--file", scratch.to_str().unwrap(), "--directory", to.to_str().unwrap()]));
    to
}

fn judge(arguments: &[&str]) {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("scan/scan");
    let output = run(tool.to_str().unwrap(), arguments);
    println!("{}", printed(&output));
    assert!(output.status.success(), "{arguments:?}");
}

#[test]
#[ignore = "needs an image: make ci-image"]
fn oscap_finds_what_the_exceptions_explain_and_no_more() {
    let image = Artefacts::test_variant();
    let chassis = Chassis::new(&image.file("-test.raw"), &image.firmware_variables());
    let (site, scratch) = (Site::start(), chassis.dir().join("scratch"));
    let (_machine, mut inside) = enrolled(&chassis, &site, &scratch);
    step("a message bus for the questions about services", || {
        let script =
            "cp /run/tools/units/dbus.* /run/systemd/system/ && systemctl daemon-reload && systemctl start dbus.socket dbus.service";
        inside.run(script).ok();
        let mut joined = || inside.run("busctl --system call org.freedesktop.systemd1 / org.freedesktop.DBus.Peer Ping").status == 0;
        wait_for("systemd to join the bus", REACTION, || if joined() { Ok(()) } else { Err("no answer".to_owned()) });
    });
    let mut checks = Checks::default();
    for profile in PROFILES {
        step(profile, || {
            scan(&mut inside, &format!("/run/tools/bin/scan-profile {profile} /run/results/{profile}.xml"));
        });
    }
    let results = results(&mut inside, &scratch);
    for profile in PROFILES {
        let file = results.join(format!("{profile}.xml"));
        checks.run(profile, || judge(&["judge", "--where", "vm", "--profile", profile, file.to_str().unwrap()]));
    }
    checks.finish();
}

#[test]
#[ignore = "needs an image: make ci-image"]
fn lynis_finds_no_less_than_its_floor() {
    let image = Artefacts::test_variant();
    let chassis = Chassis::new(&image.file("-test.raw"), &image.firmware_variables());
    let (site, scratch) = (Site::start(), chassis.dir().join("scratch"));
    let (_machine, mut inside) = enrolled(&chassis, &site, &scratch);
    let files = "--logfile /run/results/lynis.log --report-file /run/results/lynis.dat";
    scan(&mut inside, &format!("/run/tools/bin/lynis audit system --quick --no-colors {files}"));
    let results = results(&mut inside, &scratch);
    let report = results.join("lynis.dat");
    for line in std::fs::read_to_string(&report).unwrap().lines() {
        if ["hardening_index", "warning[]", "suggestion[]"].iter().any(|name| line.starts_with(name)) {
            println!("{line}");
        }
    }
    judge(&["lynis", "--where", "vm", report.to_str().unwrap()]);
}
