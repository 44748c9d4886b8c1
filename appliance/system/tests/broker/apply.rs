//! Settings: kept and in force, or nothing at all; first boot; token and veto.

use std::process::Command;

use postern_appliance::verb::{Enrolment, Reply};

use crate::requests::raw;
use crate::site::{CONSOLE, FIRSTBOOT, GATEWAY, Site, access, done, refused, token};

const SETTINGS: &str = r#"{"hostname":"gw1","address":"192.0.2.10/24","gateway":"192.0.2.1","dns":"192.0.2.53","ntp":"192.0.2.123",
    "proxy":"http://site:secret-word@192.0.2.8:8080","control_plane":"https://control.example.com"}"#;

fn apply(settings: &str) -> String {
    let compact: String = settings.split_whitespace().collect();
    format!(r#"{{"verb":"apply","settings":{compact}}}"#)
}

fn report(done: bool) -> String {
    format!(
        "{{\"verb\":\"firstboot_report\",\"report\":{{\"outcome\":\"applied\",\"source\":\"CD-ROM\",\"applied\":[\"hostname = gw1\"],\
         \"faults\":[],\"notes\":[],\"done\":{done}}}}}"
    )
}

#[test]
fn settings_are_kept_rendered_and_put_in_force() {
    let Some(mut site) = Site::new() else { return };
    site.start();
    assert_eq!(site.ask(&apply(SETTINGS)), done());
    assert_eq!(site.read("proc/sys/kernel/hostname"), "gw1");
    assert!(site.read("run/systemd/network/10-postern.network").contains("Address=192.0.2.10/24\nGateway=192.0.2.1\n"));
    assert!(site.read("run/systemd/resolved.conf.d/postern.conf").contains("DNS=192.0.2.53\n"));
    assert!(site.read("run/systemd/timesyncd.conf.d/postern.conf").contains("NTP=192.0.2.123\n"));
    assert!(site.read("run/postern/gateway.toml").contains("http://site:secret-word@192.0.2.8:8080"));
    assert!(site.read("run/postern/enrol.env").ends_with("\nPOSTERN_SERVER=https://control.example.com:443\n"));
    assert_eq!(access(&site.at("run/postern/gateway.toml")), (0o640, 0, GATEWAY));
    assert_eq!(access(&site.at("var/lib/postern-system/settings.json")), (0o600, 0, 0));
    assert_eq!(
        site.asked(),
        [
            "restart -- systemd-resolved.service systemd-timesyncd.service systemd-networkd.service",
            "try-restart -- postern-gateway.service"
        ]
    );
    // Nothing of it is new: nothing is started again.
    assert_eq!(site.ask(&apply(SETTINGS)), done());
    assert_eq!(site.asked().len(), 2);
    let status = site.status();
    assert_eq!((status.hostname.as_str(), status.settings.proxy.unwrap().with_credentials().as_str()), ("gw1", "http://192.0.2.8:8080"));
    for text in [site.read("var/log/postern/audit.jsonl"), site.read("broker.log")] {
        assert!(!text.contains("secret-word"));
    }
    // The firewall lets the gateway reach the proxy, and the time service its server.
    let loaded = site.read("loaded.nft");
    assert!(loaded.contains("targets4 { 192.0.2.8 . 8080 }") && loaded.contains("time4 { 192.0.2.123 }"), "{loaded}");
}

#[test]
fn the_gateway_takes_the_file_that_is_made_for_it() {
    let Some(mut site) = Site::new() else { return };
    let gateway = std::path::Path::new(env!("CARGO_BIN_EXE_broker")).with_file_name("postern-gateway");
    if !gateway.exists() {
        eprintln!("skipped: {} is not built", gateway.display());
        return;
    }
    site.start();
    let veto = r#""veto":"[veto]\nforbidden_fields = [\"message\", \"capture:user name\"]\n[appliance]\nlisteners_off = [\"proxy\"]\n""#;
    let request = apply(SETTINGS).replacen("\"settings\"", &format!("{veto},\"settings\""), 1);
    assert_eq!(site.ask(&request), done());
    let checked = Command::new(&gateway).args(["check", "--config"]).arg(site.at("run/postern/gateway.toml")).output().unwrap();
    assert!(checked.status.success(), "{}\n{}", String::from_utf8_lossy(&checked.stderr), site.read("run/postern/gateway.toml"));
    assert!(site.has("run/postern/off/proxy") && !site.has("run/postern/off/syslog"));
}

#[test]
fn when_a_service_does_not_start_everything_is_as_before() {
    let Some(mut site) = Site::new() else { return };
    site.start();
    assert_eq!(site.ask(&apply(r#"{"hostname":"old","control_plane":"https://old.example.com"}"#)), done());
    let before = site.read("var/lib/postern-system/settings.json");
    site.write("broken", "restart systemd-networkd.service\n");
    let request = apply(SETTINGS).replacen("\"settings\"", &format!(r#""token":"{}","veto":"","settings""#, token()), 1);
    let Reply::Failed { reason } = site.ask(&request) else { panic!() };
    assert!(reason.contains("Job for systemd-networkd.service failed."), "{reason}");
    assert_eq!(site.read("var/lib/postern-system/settings.json"), before);
    assert!(!site.has("var/lib/postern-system/token") && !site.has("var/lib/postern-system/veto.toml"));
    assert_eq!(site.read("proc/sys/kernel/hostname"), "old");
    assert!(site.read("run/systemd/network/10-postern.network").contains("DHCP=yes"));
    assert!(site.read("run/postern/gateway.toml").contains("https://old.example.com:443"));
    assert_eq!(site.status().settings.hostname.unwrap().as_str(), "old");
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_touched() {
    let Some(mut site) = Site::new() else { return };
    site.start();
    refused(&raw(&site, b"{\"verb\":\"apply\",\"settings\":{\"gateway\":\"192.0.2.1\"}}\n"), "gateway: it belongs to an address");
    refused(&raw(&site, b"{\"verb\":\"apply\",\"settings\":{\"ntp\":\"a\\nb\"}}\n"), "ntp: ");
    refused(&site.ask(r#"{"verb":"apply","settings":{},"veto":"[appliance]\nforbid = [\"all\"]"}"#), "veto: ");
    refused(&site.ask(r#"{"verb":"apply","settings":{"control_plane":"https://c.example"},"token":"postern1.x"}"#), "token: ");
    refused(&site.ask(&format!(r#"{{"verb":"apply","settings":{{}},"token":"{}"}}"#, token())), "control_plane: ");
    assert!(!site.has("var/lib/postern-system/settings.json") && site.asked().is_empty());
    std::fs::create_dir(site.at("var/lib/postern/identity")).unwrap();
    site.write("var/lib/postern/identity/gateway.json", "{}");
    let request = format!(r#"{{"verb":"apply","settings":{{"control_plane":"https://c.example"}},"token":"{}"}}"#, token());
    refused(&site.ask(&request), "this gateway is enrolled");
}

#[test]
fn the_veto_is_set_once() {
    let Some(mut site) = Site::new() else { return };
    site.start();
    assert_eq!(site.ask(r#"{"verb":"apply","settings":{},"veto":"[appliance]\nforbid = [\"ssh\"]\n"}"#), done());
    refused(&site.ask(r#"{"verb":"apply","settings":{},"veto":""}"#), "factory reset");
    site.stop();
    site.start();
    refused(&site.ask(r#"{"verb":"ssh","state":{"ssh":"on","minutes":5}}"#), "forbids ssh");
    assert_eq!(access(&site.at("var/lib/postern-system/veto.toml")), (0o644, 0, 0));
}

#[test]
fn first_boot_applies_once_and_the_token_lives_until_enrolment_ends() {
    let Some(mut site) = Site::new() else { return };
    site.start();
    let request = apply(SETTINGS).replacen("\"settings\"", &format!(r#""token":"{}","settings""#, token()), 1);
    assert_eq!(site.ask_as(FIRSTBOOT, &request), done());
    assert_eq!(access(&site.at("var/lib/postern-system/token")), (0o600, GATEWAY, GATEWAY));
    assert_eq!((site.read("var/lib/postern-system/token"), site.status().enrolment), (token(), Enrolment::Pending {}));
    assert!(!site.has("var/lib/postern-system/firstboot.done"));
    assert_eq!(site.ask_as(FIRSTBOOT, &report(true)), done());
    refused(&site.ask_as(FIRSTBOOT, &request), "first boot is over");
    refused(&site.ask_as(FIRSTBOOT, &report(true)), "first boot is over");
    assert_eq!(site.status().firstboot.unwrap().applied, ["hostname = gw1"]);
    let refusal = r#"{"verb":"enrol_finished","outcome":{"result":"refused","reason":"it was used"}}"#;
    assert_eq!(site.ask_as(GATEWAY, refusal), done());
    assert!(!site.has("var/lib/postern-system/token"));
    assert_eq!(site.status().enrolment, Enrolment::Refused { reason: "it was used".into() });
    let audit = site.read("var/log/postern/audit.jsonl");
    assert!(audit.contains("\"token\":\"given\"") && !audit.contains("postern1."));
}

#[test]
fn first_boot_ends_also_when_power_was_cut_before_its_report() {
    let Some(mut site) = Site::new() else { return };
    std::fs::create_dir(site.at("var/lib/postern/identity")).unwrap();
    site.write("var/lib/postern/identity/gateway.json", "{}");
    site.start();
    let request = apply(SETTINGS).replacen("\"settings\"", &format!(r#""token":"{}","settings""#, token()), 1);
    assert_eq!(site.ask_as(FIRSTBOOT, &request), done());
    assert!(!site.has("var/lib/postern-system/token"));
    assert_eq!(site.ask_as(FIRSTBOOT, &report(true)), done());
}

#[test]
fn who_changes_what_status_shows_keeps_the_proxys_password() {
    let Some(mut site) = Site::new() else { return };
    site.start();
    assert_eq!(site.ask(&apply(SETTINGS)), done());
    let mut settings = site.status().settings;
    settings.dns = "192.0.2.54".parse().unwrap();
    let shown = serde_json::to_string(&settings).unwrap();
    assert!(!shown.contains("secret-word"));
    assert_eq!(site.ask_as(CONSOLE, &apply(&shown)), done());
    assert!(site.read("run/postern/gateway.toml").contains("http://site:secret-word@192.0.2.8:8080"));
    assert_eq!(site.ask_as(CONSOLE, &apply(&shown.replace("192.0.2.8", "192.0.2.9"))), done());
    assert!(site.read("run/postern/gateway.toml").contains("\"http://192.0.2.9:8080\""));
}

#[test]
fn a_person_who_sets_the_machine_up_ends_first_boot() {
    let Some(mut site) = Site::new() else { return };
    site.start();
    assert_eq!(site.ask_as(FIRSTBOOT, &report(false)), done());
    assert_eq!(site.ask_as(CONSOLE, r#"{"verb":"apply","settings":{"hostname":"by-hand"}}"#), done());
    refused(&site.ask_as(FIRSTBOOT, r#"{"verb":"apply","settings":{}}"#), "first boot is over");
    assert_eq!(site.status().hostname, "by-hand");
}

#[test]
fn a_link_laid_in_place_of_a_rendered_file_is_replaced_not_followed() {
    let Some(mut site) = Site::new() else { return };
    site.write("victim", "victim");
    for path in ["run/systemd/network/10-postern.network", "run/postern/gateway.toml", "var/lib/postern-system/settings.json"] {
        std::os::unix::fs::symlink(site.at("victim"), site.at(path)).unwrap();
    }
    site.start();
    assert!(site.status().damage.unwrap().contains("settings.json is not a plain file"));
    assert_eq!(site.ask(&apply(SETTINGS)), done());
    assert_eq!((site.read("victim").as_str(), site.status().damage), ("victim", None));
}
