//! One life of an appliance: imported, enrolled, reported to, cut off from power in the middle of it, and switched on again.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use postern_tests::deadline::wait_for;
use postern_tests::snmp::Sender;
use postern_tests::tools::{LINK_DOWN, link_inform, link_trap, logger, printed, run, run_with_input};
use serde_json::Value;

use super::listeners;
use crate::harness::artefacts::Artefacts;
use crate::harness::machine::{Chassis, Machine, Plugged};
use crate::harness::settings::{cdrom, environment};
use crate::harness::site::{CONTROL_PLANE, Site, Wire, leased_address};
use crate::harness::steps::step;
use crate::harness::{BOOT, REACTION};

const NAME: &str = "smoke";

/// Interfaces whose informs are sent while the power goes.
const INFORMS: std::ops::Range<u32> = 1000..1400;

#[test]
#[ignore = "needs an image: make test-image"]
fn the_ova_boots_verified_enrols_itself_and_loses_nothing() {
    let image = Artefacts::shipped();
    let unpacked = tempfile::tempdir().unwrap();
    let ova = image.unpack(unpacked.path());
    let chassis = Chassis::new(&ova.disk(), &image.firmware_variables());
    let site = Site::start();
    let token = site.token(NAME);
    let properties = [("hostname", NAME), ("control_plane", CONTROL_PLANE), ("token", &token)];
    let disc = cdrom(chassis.dir(), "settings", environment(&properties).as_bytes());
    let plugged = Plugged { cdrom: Some(&disc), ..Plugged::default() };
    let wire = Wire::watch(&chassis.dir().join("wire.pcap"));

    let machine = step("first boot, until the control plane knows the gateway", || {
        let machine = chassis.boot(&plugged);
        wait_for("the gateway to enrol", BOOT, || if site.gateways() == [NAME] { Ok(()) } else { Err(machine.console.tail()) });
        machine
    });
    let address = leased_address().unwrap();
    step("the console says what happened, and the token is spent", || {
        machine.console.wait_for_field("Enrolment", "enrolled", REACTION);
        machine.console.wait_for("Secure Boot on, verified root", REACTION);
        machine.console.wait_for("UTC, synchronised", REACTION);
        machine.console.wait_for(NAME, REACTION);
        assert_eq!(site.token_states(), ["used"]);
    });
    step("a trap, an inform and lines of syslog become alerts, each once", || reports_become_alerts(&site, address));
    step("scan of all TCP ports", || listeners::only_the_stated_tcp_ports_are_open(address));
    step("probes of UDP ports", || listeners::other_udp_ports_drop_and_count(&machine, &wire, address));
    step("TLS on 6514 and 3128", || listeners::tls_is_strong(address));
    step("the proxy", || listeners::the_proxy_leads_to_the_control_plane_only(&site, address));

    let machine = step("informs while the power goes, and the second boot", || power_cut(&chassis, &plugged, machine, &site, address));
    step("what was answered is there", || {
        let alerts = site.api.alerts();
        for interface in INFORMS {
            let found: Vec<&Value> = alerts.iter().filter(|alert| is_link(alert, interface)).collect();
            assert_eq!(found.len(), 1, "interface {interface}: {found:#?}");
        }
        assert_eq!(site.gateways(), [NAME], "it did not enrol again");
    });
    step("the token is nowhere on the disk, and the second boot did not take it again", || {
        machine.kill();
        assert!(!disk_holds(&chassis.disk(), &token), "the token is still on the disk");
        assert_eq!(site.token_states(), ["used"]);
    });
    step("nothing but DHCP, DNS, NTP and the control plane was spoken to", || listeners::nothing_else_went_out(&wire));
}

pub(crate) fn is_link(alert: &Value, interface: u32) -> bool {
    alert["kind"] == "link-down" && alert["resource"].as_str().unwrap().ends_with(&format!("/if/{interface}"))
}

fn reports_become_alerts(site: &Site, address: IpAddr) {
    let traps = SocketAddr::new(address, 162);
    wait_for("the trap port", REACTION, || {
        let informed = link_inform(traps, LINK_DOWN, 1, &["-r", "0", "-t", "2"]);
        if informed.status.success() { Ok(()) } else { Err(printed(&informed)) }
    });
    link_trap(traps, LINK_DOWN, 2);
    let syslog = SocketAddr::new(address, 514);
    for (program, transport) in [("udp-line", "--udp"), ("tcp-line", "--tcp")] {
        logger(syslog, &[transport, "--rfc5424", "--priority", "daemon.err", "--tag", program, "volume 2 cannot be read"]);
    }
    let line = b"<27>1 - host tls-line - - - volume 2 cannot be read\n";
    let sent = run_with_input("openssl", &["s_client", "-quiet", "-no_ign_eof", "-connect", &format!("{address}:6514")], line);
    assert!(sent.status.success(), "{}", printed(&sent));

    for interface in [1, 2] {
        site.api.wait_for_alert_within("the link", REACTION, |alert| is_link(alert, interface));
    }
    for program in ["udp-line", "tcp-line", "tls-line"] {
        site.api.wait_for_alert_within(program, REACTION, |alert| alert.to_string().contains(program));
    }
    let alerts = site.api.alerts();
    for alert in &alerts {
        assert_eq!(alert["count"], 1, "{alert:#}");
    }
    assert_eq!(alerts.len(), 5, "{alerts:#?}");
}

/// Sends informs until each is answered; in the middle of it the machine loses its power and is switched on again.
fn power_cut(chassis: &Chassis, plugged: &Plugged<'_>, machine: Machine, site: &Site, address: IpAddr) -> Machine {
    let sender = Sender::new(SocketAddr::new(address, 162));
    let (mut running, mut cut) = (Some(machine), None);
    let half = INFORMS.len() / 2;
    let volley = sender.inform(INFORMS, BOOT * 2, |answered| {
        if answered >= half && cut.is_none() {
            cut = Some(answered);
            running.take().unwrap().kill();
            running = Some(chassis.boot(plugged));
        }
    });
    assert_eq!(volley.acknowledged, INFORMS.len(), "{volley:?}");
    assert!(volley.retransmitted > 0, "the cut came too late to matter: {volley:?}");
    println!("   power went after {cut:?} answers; {volley:?}");
    wait_for("the alerts", REACTION + Duration::from_secs(60), || {
        let links = site.api.try_alerts()?.iter().filter(|alert| INFORMS.into_iter().any(|interface| is_link(alert, interface))).count();
        if links == INFORMS.len() { Ok(()) } else { Err(format!("{links} alerts")) }
    });
    running.unwrap()
}

/// Searches the clusters that the machine has written, which are not compressed.
fn disk_holds(overlay: &Path, text: &str) -> bool {
    let found = run("grep", &["--quiet", "--text", "--fixed-strings", text, overlay.to_str().unwrap()]);
    found.status.success()
}
