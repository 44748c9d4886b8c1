//! Disks that somebody, or time, has changed: what was not signed does not run, and a slot that does not start gives way to the other.

use std::path::{Path, PathBuf};
use std::time::Duration;

use postern_tests::deadline::wait_for;
use postern_tests::tools::{printed, run, succeeded};

use crate::harness::BOOT;
use crate::harness::artefacts::{Artefacts, tools_disk};
use crate::harness::inside::Inside;
use crate::harness::machine::{Chassis, Machine, Plugged};
use crate::harness::steps::step;

/// Three starts that fail and one that does not.
const FALLEN_BACK: Duration = Duration::from_secs(300);

/// Where the data of slot a begins, as image/disk lays it out.
const ROOT_A_BYTES: u64 = 257 * 1024 * 1024;

/// A program of `image/` on packed parts.
fn image_tool(name: &str, args: &[&str]) {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("../image").join(name);
    let parts = Artefacts::shipped().path("parts");
    let output = run(tool.to_str().unwrap(), &[&["--parts", parts.to_str().unwrap()], args].concat());
    assert!(output.status.success(), "{name} {args:?}: {}", printed(&output));
}

/// A UKI of the test variant.
fn uki(dir: &Path, slot: &str, version: &str) -> PathBuf {
    let (out, keys) = (dir.join(format!("{slot}-{version}.efi")), Artefacts::shipped().path("keys"));
    let (to, keys) = (out.to_str().unwrap(), keys.to_str().unwrap());
    image_tool("uki", &["--slot", slot, "--version", version, "--keys", keys, "--test-variant", "--out", to]);
    out
}

/// A disk whose slot a is newer than slot b, which is known to be good.
fn two_slots(dir: &Path) -> PathBuf {
    let (newer, older) = (uki(dir, "a", "0.2.0"), uki(dir, "b", "0.1.0"));
    let disk = dir.join("two.raw");
    let (newer, older) = (format!("a,0.2.0,3,{}", newer.display()), format!("b,0.1.0,-,{}", older.display()));
    image_tool("disk", &["--slot", &newer, "--slot", &older, "--out", disk.to_str().unwrap()]);
    disk
}

fn boot(chassis: &Chassis) -> Machine {
    chassis.boot(&Plugged { tools: Some(&tools_disk()), ..Plugged::default() })
}

fn running_slot(inside: &mut Inside) -> String {
    let line = inside.file("/proc/cmdline");
    let slot = line.split_whitespace().find_map(|word| word.strip_prefix("postern.slot="));
    slot.unwrap_or_else(|| panic!("{line}")).to_owned()
}

/// Names of the boot entries; a count at the end means that the slot is on trial.
fn entries(inside: &mut Inside) -> String {
    inside.run("ls /efi/EFI/Linux").output
}

#[test]
#[ignore = "needs an image: make ci-image"]
fn a_good_slot_is_counted_again_and_gives_way_when_a_block_of_it_rots() {
    let dir = tempfile::tempdir().unwrap();
    let image = Artefacts::shipped();
    let chassis = Chassis::new(&two_slots(dir.path()), &image.firmware_variables());
    step("the newer slot starts, is found good and is armed again", || {
        let machine = boot(&chassis);
        let mut inside = Inside::of(&machine);
        assert_eq!(running_slot(&mut inside), "a");
        wait_for("the slot to be armed again", BOOT, || {
            let seen = entries(&mut inside);
            // Blessed means no count; armed again means all tries and none used.
            if seen.contains("postern-a_0.2.0+3.efi") && healthy(&mut inside) {
                Ok(())
            } else {
                Err(format!("{seen}{}", journal(&mut inside)))
            }
        });
        inside.run("sync");
        machine.kill();
    });
    step("a few bytes of its root are changed", || {
        // The superblock of the squashfs: read at every start.
        let (disk, write) = (chassis.disk(), format!("write -P 0xa5 {} 4", ROOT_A_BYTES + 8));
        succeeded(&run("qemu-io", &["-f", "qcow2", "-c", &write, disk.to_str().unwrap()]));
    });
    step("it does not start, and the other slot does", || {
        let machine = boot(&chassis);
        let mut inside = Inside::within(&machine, FALLEN_BACK);
        assert_eq!(running_slot(&mut inside), "b");
        let text = machine.console.text();
        assert!(text.matches("corrupted").count() + text.matches("not what was signed").count() >= 3, "{text}");
        let seen = entries(&mut inside);
        assert!(seen.contains("postern-a_0.2.0+0-3.efi"), "{seen}");
    });
}

fn healthy(inside: &mut Inside) -> bool {
    inside.run("systemctl is-active boot-complete.target postern-rearm.service").status == 0
}

fn journal(inside: &mut Inside) -> String {
    inside.run("systemctl --failed --no-legend; systemctl list-jobs --no-legend | head -20").output
}

#[test]
#[ignore = "needs an image: make ci-image"]
fn a_new_slot_that_never_becomes_healthy_gives_way() {
    let dir = tempfile::tempdir().unwrap();
    let image = Artefacts::shipped();
    let chassis = Chassis::new(&two_slots(dir.path()), &image.firmware_variables());
    // The agent obeys this before anything else: in the newer slot the broker, which the health check asks, does not live.
    let orders =
        "grep -q postern.slot=a /proc/cmdline || exit 0\nsystemctl mask --runtime --now postern-broker.socket postern-broker.service\n";
    let file = dir.path().join("orders");
    std::fs::write(&file, format!("{orders:\n<4096}")).unwrap();
    let machine = chassis.boot(&Plugged { tools: Some(&tools_disk()), orders: Some(&file), ..Plugged::default() });
    wait_for("the older slot to run", FALLEN_BACK * 3, || {
        let mut inside = Inside::within(&machine, FALLEN_BACK);
        let slot = inside.try_run("cat /proc/cmdline").ok_or("it restarts")?.output;
        if slot.contains("postern.slot=b") { Ok(()) } else { Err(slot) }
    });
    let mut inside = Inside::of(&machine);
    let seen = entries(&mut inside);
    assert!(seen.contains("postern-a_0.2.0+0-3.efi"), "three starts, no more: {seen}");
}

#[test]
#[ignore = "needs an image: make ci-image"]
fn what_is_not_signed_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let image = Artefacts::shipped();
    let path = |name: &str| dir.path().join(name);
    let signed = image.path("parts").join(name_of_uki(&image));
    let bare = uki(dir.path(), "a", "0.1.0").with_extension("unsigned.efi");
    // The command line says `lockdown=integrity`; a machine that starts with another word there would show that nobody checks.
    let altered = path("altered.efi");
    let mut bytes = std::fs::read(&signed).unwrap();
    let at = find(&bytes, b"lockdown=integrity").expect("the command line is in the UKI");
    bytes[at..at + 18].copy_from_slice(b"lockdown=disabled_");
    std::fs::write(&altered, bytes).unwrap();
    for (what, uki) in [("a UKI without a signature", &bare), ("a signed UKI with another command line", &altered)] {
        step(what, || {
            let disk = path("refused.raw");
            let slot = format!("a,0.1.0,3,{}", uki.display());
            image_tool("disk", &["--slot", &slot, "--out", disk.to_str().unwrap()]);
            must_be_refused(&Chassis::new(&disk, &image.firmware_variables()));
        });
    }
    step("a boot loader without a signature", || {
        let (disk, loader) = (path("refused.raw"), "/usr/lib/systemd/boot/efi/systemd-bootx64.efi");
        image_tool("disk", &["--slot", "a,0.1.0,3", "--loader", loader, "--out", disk.to_str().unwrap()]);
        must_be_refused(&Chassis::new(&disk, &image.firmware_variables()));
    });
}

/// The firmware or the boot loader says so, and the kernel is never reached.
fn must_be_refused(chassis: &Chassis) {
    let machine = chassis.boot(&Plugged::default());
    wait_for("the refusal", BOOT, || {
        let text = machine.console.text();
        let refused = ["Access Denied", "Security Violation", "Access denied", "Security violation"];
        if refused.iter().any(|words| text.contains(words)) { Ok(()) } else { Err(machine.console.tail()) }
    });
    let text = machine.console.text();
    assert!(!text.contains("systemd[1]") && !text.contains("Linux version"), "{text}");
}

fn name_of_uki(image: &Artefacts) -> String {
    let parts = std::fs::read_dir(image.path("parts")).unwrap();
    let mut names = parts.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.find(|name| name.starts_with("postern-a_") && !name.contains("unsigned")).expect("the signed UKI of slot a")
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
