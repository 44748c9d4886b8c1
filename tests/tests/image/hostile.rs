//! First boot with settings that are broken, hostile, late or missing: it always starts, applies all or nothing, and says why.

use std::path::{Path, PathBuf};
use std::time::Duration;

use postern_tests::deadline::wait_for;

use crate::harness::BOOT;
use crate::harness::artefacts::Artefacts;
use crate::harness::checks::Checks;
use crate::harness::machine::{Chassis, Machine, Plugged};
use crate::harness::settings::{cdrom, environment};
use crate::harness::site::{CONTROL_PLANE, Site};

/// First boot waits so long for a device, and some more to say so.
const PATIENCE: Duration = Duration::from_secs(240);

/// A word that no hostile input may bring onto the console as if the appliance had done something with it.
const MARK: &str = "pwned-4711";

fn chassis() -> (Chassis, tempfile::TempDir) {
    let (image, dir) = (Artefacts::shipped(), tempfile::tempdir().unwrap());
    let ova = image.unpack(dir.path());
    (Chassis::new(&ova.disk(), &image.firmware_variables()), dir)
}

/// Starts a fresh machine with this disc and waits for what the console says about it.
fn first_boot(name: &str, environment: &[u8], words: &[&str]) -> String {
    let (chassis, _dir) = chassis();
    let disc = cdrom(chassis.dir(), name, environment);
    let machine = chassis.boot(&Plugged { cdrom: Some(&disc), ..Plugged::default() });
    says(&machine, words)
}

fn says(machine: &Machine, words: &[&str]) -> String {
    wait_for(&format!("{words:?} on the console"), PATIENCE, || {
        let text = machine.console.text();
        if words.iter().all(|word| text.contains(word)) { Ok(text) } else { Err(machine.console.tail()) }
    })
}

const REFUSED: &str = "settings refused";

#[test]
#[ignore = "needs an image: make ci-image"]
fn bad_settings_change_nothing_and_the_console_says_why() {
    let mut checks = Checks::default();
    checks.run("rubbish instead of XML", || {
        let rubbish: Vec<u8> = (0..200_000_u32).map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
        first_boot("rubbish", &rubbish, &[REFUSED]);
    });
    checks.run("a value of 1 MiB", || {
        let long = "a".repeat(1024 * 1024);
        first_boot("long", environment(&[("hostname", &long)]).as_bytes(), &[REFUSED]);
    });
    checks.run("entities that grow, and one that names a file", || {
        let text = environment(&[("hostname", "MARK")]).replace("MARK", "&x;");
        let doctype = format!("<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/hostname\"><!ENTITY y \"{MARK}\">]>\n<Environment");
        let said = first_boot("entities", text.replacen("<Environment", &doctype, 1).as_bytes(), &[REFUSED]);
        assert!(!said.contains(MARK), "{said}");
    });
    checks.run("one bad value among good ones", || {
        let properties = [("hostname", "half"), ("address", "10.99.0.77/24"), ("gateway", "not an address")];
        let said = first_boot("half", environment(&properties).as_bytes(), &[REFUSED, "postern.gateway"]);
        assert!(!said.contains("10.99.0.77"), "half of it was applied: {said}");
    });
    checks.run("a key that nobody knows, twice, and commands for values", || {
        let properties = [("hostname", "$(echo pwned-4711 >/dev/console)"), ("shell", "`id`"), ("shell", "|id")];
        let said = first_boot("commands", environment(&properties).as_bytes(), &[REFUSED, "postern.shell"]);
        assert!(!said.lines().any(|line| line.trim() == MARK), "{said}");
    });
    checks.finish();
}

#[test]
#[ignore = "needs an image: make ci-image"]
fn without_settings_it_starts_with_dhcp_and_takes_them_at_a_later_start() {
    let site = Site::start();
    let (chassis, _dir) = chassis();
    let machine = chassis.boot(&Plugged::default());
    says(&machine, &["no settings found", "10.99.0.5"]);
    assert!(site.gateways().is_empty());
    machine.kill();
    let disc = disc(chassis.dir(), &site, "late");
    let machine = chassis.boot(&Plugged { cdrom: Some(&disc), ..Plugged::default() });
    enrolled(&machine, &site, "late");
}

#[test]
#[ignore = "needs an image: make ci-image"]
fn a_disc_that_comes_late_is_read_when_it_comes() {
    let site = Site::start();
    let (chassis, _dir) = chassis();
    let disc = disc(chassis.dir(), &site, "slow");
    let machine = chassis.boot(&Plugged::default());
    // First boot looks at the empty drive already.
    machine.console.wait_for("looking for settings", BOOT);
    machine.monitor().change_cdrom(Some(&disc));
    enrolled(&machine, &site, "slow");
}

#[test]
#[ignore = "needs an image: make ci-image"]
fn a_bad_token_is_refused_once_and_erased() {
    let site = Site::start();
    let (chassis, _dir) = chassis();
    let mut token = site.token("bad");
    let last = token.pop().unwrap();
    token.push(if last == 'a' { 'b' } else { 'a' });
    let properties = [("hostname", "bad"), ("control_plane", CONTROL_PLANE), ("token", &token)];
    let disc = cdrom(chassis.dir(), "bad", environment(&properties).as_bytes());
    let machine = chassis.boot(&Plugged { cdrom: Some(&disc), ..Plugged::default() });
    says(&machine, &["refused"]);
    assert!(site.gateways().is_empty());
    assert_eq!(site.token_states(), ["usable"]);
}

fn disc(dir: &Path, site: &Site, name: &str) -> PathBuf {
    let properties = [("hostname", name), ("control_plane", CONTROL_PLANE), ("token", &site.token(name))];
    cdrom(dir, name, environment(&properties).as_bytes())
}

fn enrolled(machine: &Machine, site: &Site, name: &str) {
    wait_for("the gateway to enrol", PATIENCE, || if site.gateways() == [name] { Ok(()) } else { Err(machine.console.tail()) });
}
