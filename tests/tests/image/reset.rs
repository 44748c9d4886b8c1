//! Factory reset: what the site entered and what the gateway kept is gone, and the machine is as after its import.

use std::time::Duration;

use postern_tests::deadline::wait_for;

use crate::harness::BOOT;
use crate::harness::artefacts::{Artefacts, tools_disk};
use crate::harness::inside::Inside;
use crate::harness::machine::{Chassis, Plugged};
use crate::harness::settings::{cdrom, environment};
use crate::harness::site::{CONTROL_PLANE, Site};
use crate::harness::steps::step;

#[test]
#[ignore = "needs an image: make ci-image"]
fn a_factory_reset_leaves_nothing_behind() {
    let image = Artefacts::test_variant();
    let chassis = Chassis::new(&image.file("-test.raw"), &image.firmware_variables());
    let site = Site::start();
    let properties = [("hostname", "reset"), ("control_plane", CONTROL_PLANE), ("token", &site.token("reset"))];
    let disc = cdrom(chassis.dir(), "settings", environment(&properties).as_bytes());
    let machine = chassis.boot(&Plugged { cdrom: Some(&disc), tools: Some(&tools_disk()), ..Plugged::default() });
    let mut inside = Inside::of(&machine);
    wait_for("the gateway to enrol", BOOT, || if site.gateways() == ["reset"] { Ok(()) } else { Err(machine.console.tail()) });
    machine.monitor().change_cdrom(None);
    step("the wrong name is refused, the right one resets", || {
        let wrong = inside.run(&reset("other")).output;
        assert!(wrong.contains(r#""reply":"refused""#), "{wrong}");
        // The machine may restart before the answer is out.
        let right = inside.try_run(&reset("reset")).map_or_else(String::new, |ran| ran.output);
        assert!(!right.contains("refused") && !right.contains("failed"), "{right}");
    });
    // Its line is for one listener.
    drop(inside);
    step("it starts anew", || {
        machine.console.wait_for("no settings found", BOOT * 2);
        let mut inside = Inside::within(&machine, BOOT + Duration::from_secs(60));
        let left = inside.run("find /var/lib/postern /var/lib/postern-system -type f").output;
        for kept in ["identity", "settings.json", "token", "firstboot.done"] {
            assert!(!left.contains(kept), "{kept}: {left}");
        }
    });
}

fn reset(name: &str) -> String {
    format!(r#"echo '{{"verb":"factory_reset","confirm_hostname":"{name}"}}' | socat -t 30 - UNIX-CONNECT:/run/postern/broker.sock"#)
}
