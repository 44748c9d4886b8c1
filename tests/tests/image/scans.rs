//! Other people's judgement: oscap with CIS and ANSSI content, and Lynis, inside the booted system.
//!
//! tests/scan judges the results: every rule that fails is on its list of exceptions, and the share that passes never falls.

use std::path::Path;
use std::time::Duration;

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

/// One profile took 166 s on an idle machine.
const EVALUATION: Duration = Duration::from_secs(900);

const RESULTS_BYTES: u64 = 64 * 1024 * 1024;

/// Starts a test variant, enrolled, so that everything runs that a site would have running.
fn enrolled(chassis: &Chassis, site: &Site, scratch: &Path) -> (Machine, Inside) {
    let properties = [("hostname", "scanned"), ("control_plane", CONTROL_PLANE), ("token", &site.token("scanned"))];
    let disc = cdrom(chassis.dir(), "settings", environment(&properties).as_bytes());
    std::fs::File::create(scratch).unwrap().set_len(RESULTS_BYTES).unwrap();
    let plugged = Plugged { cdrom: Some(&disc), tools: Some(&tools_disk()), scratch: Some(scratch), ..Plugged::default() };
    let machine = chassis.boot(&plugged);
    let inside = Inside::of(&machine);
    postern_tests::deadline::wait_for("the gateway to enrol", BOOT, || {
        if site.gateways() == ["scanned"] { Ok(()) } else { Err(machine.console.tail()) }
    });
    (machine, inside)
}

/// Takes a directory of the machine out by way of the scratch disk.
fn take(inside: &mut Inside, from: &str, scratch: &Path, to: &Path) {
    inside.run_within(&format!("tar -cf /dev/disk/by-id/virtio-scratch -C {from} . && sync"), REACTION * 4).ok();
    succeeded(&run("tar", &["--extract", "--file", scratch.to_str().unwrap(), "--directory", to.to_str().unwrap()]));
}

fn judge(arguments: &[&str]) {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("scan/scan");
    let output = run(tool.to_str().unwrap(), &[&["judge", "--where", "vm"], arguments].concat());
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
        let script = "mkdir -p /run/dbus && cp /run/tools/units/dbus.service /run/systemd/system/ && systemctl daemon-reload && systemctl start dbus.service";
        inside.run(script).ok();
    });
    let results = tempfile::tempdir().unwrap();
    let mut checks = Checks::default();
    for profile in PROFILES {
        step(profile, || {
            let script = format!(
                "mkdir -p /run/results && cd /run/results && /run/tools/scan/bin/oscap xccdf eval \
                 --profile xccdf_org.ssgproject.content_profile_{profile} --results {profile}.xml \
                 /run/tools/scan/scap/ssg-debian12-ds.xml > {profile}.txt 2>&1; s=$?; tail -n 5 {profile}.txt; [ $s = 0 ] || [ $s = 2 ]"
            );
            inside.run_within(&script, EVALUATION).ok();
        });
    }
    take(&mut inside, "/run/results", &scratch, results.path());
    for profile in PROFILES {
        let file = results.path().join(format!("{profile}.xml"));
        checks.run(profile, || judge(&["--profile", profile, file.to_str().unwrap()]));
    }
    checks.finish();
}

#[test]
#[ignore = "needs an image: make ci-image"]
fn lynis_gives_at_least_85() {
    let image = Artefacts::test_variant();
    let chassis = Chassis::new(&image.file("-test.raw"), &image.firmware_variables());
    let (site, scratch) = (Site::start(), chassis.dir().join("scratch"));
    let (_machine, mut inside) = enrolled(&chassis, &site, &scratch);
    // Lynis wants a shell and the usual tools: they are the tools disk's, after those of the appliance.
    let script = "mkdir -p /run/results && cd /run/results && PATH=/usr/bin:/usr/sbin:/run/tools/bin \
                  /run/tools/scan/bin/lynis audit system --quick --no-colors --no-log --report-file /run/results/lynis.dat \
                  > lynis.txt 2>&1; grep hardening_index lynis.dat";
    let said = inside.run_within(script, EVALUATION * 2).ok();
    let results = tempfile::tempdir().unwrap();
    take(&mut inside, "/run/results", &scratch, results.path());
    let index: u32 = said.trim().rsplit('=').next().unwrap().parse().unwrap();
    println!("hardening index {index}");
    let report = std::fs::read_to_string(results.path().join("lynis.dat")).unwrap();
    let found: Vec<&str> = report.lines().filter(|line| line.starts_with("warning[]") || line.starts_with("suggestion[]")).collect();
    println!("{found:#?}");
    assert!(index >= 85, "{index}");
}
