//! The other subcommands: boot, rearm, health, audit-verify, enrol-finished; and the firewall loop against a noted `nft`.

use postern_appliance::verb::Enrolment;
use postern_appliance::veto::Listener;

use crate::site::{Site, done};

fn said(output: &std::process::Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn boot_shuts_the_firewall_and_writes_every_file() {
    let Some(site) = Site::new() else { return };
    site.write("active/postern-proxy.socket", "");
    let output = site.run(&["boot"]);
    assert!(output.status.success(), "{}", said(&output));
    assert!(!site.read("loaded.nft").contains("dport 3128"), "nothing is open before the network is there");
    assert!(site.read("run/systemd/network/10-postern.network").contains("DHCP=yes"));
    assert_eq!(site.read("proc/sys/kernel/hostname"), "postern");
    assert!(!site.has("run/postern/gateway.toml"));
    assert_eq!(site.audit()[0]["event"], "boot");
}

#[test]
fn the_service_manager_is_told_when_the_firewall_is_up_and_that_the_broker_lives() {
    let Some(site) = Site::new() else { return };
    let socket = std::os::unix::net::UnixDatagram::bind(site.at("notify")).unwrap();
    socket.set_read_timeout(Some(crate::site::SOON)).unwrap();
    let mut broker = site.command(&["serve"]).env("NOTIFY_SOCKET", site.at("notify")).spawn().unwrap();
    let mut buffer = [0; 64];
    let mut next = || {
        let read = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..read]).trim().to_owned()
    };
    assert_eq!(next(), "READY=1");
    assert!(site.has("loaded.nft"));
    assert_eq!(next(), "WATCHDOG=1");
    broker.kill().unwrap();
    broker.wait().unwrap();
}

#[test]
fn boot_tries_everything_and_fails_when_the_firewall_does() {
    let Some(site) = Site::new() else { return };
    site.write("nft-broken", "");
    let output = site.run(&["boot"]);
    assert!(!output.status.success() && said(&output).contains("syntax error"), "{}", said(&output));
    assert!(site.has("run/systemd/network/10-postern.network"));
}

#[test]
fn boot_with_damaged_settings_uses_the_defaults_and_a_damaged_veto_stops_the_gateway() {
    let Some(mut site) = Site::new() else { return };
    site.write("var/lib/postern-system/settings.json", "{\"hostname\":");
    site.write("run/postern/gateway.toml", "left over");
    site.write("var/lib/postern-system/veto.toml", "[appliance]\nforbid = 1");
    assert!(site.run(&["boot"]).status.success());
    assert_eq!(site.read("proc/sys/kernel/hostname"), "postern");
    assert!(!site.has("run/postern/gateway.toml") && site.has("run/postern/off/snmp_trap"));
    site.start();
    assert!(site.status().damage.unwrap().contains("veto.toml"));
}

#[test]
fn boot_erases_a_token_that_has_done_its_work() {
    let Some(site) = Site::new() else { return };
    site.write("var/lib/postern-system/token", "postern1.x");
    assert!(site.run(&["boot"]).status.success());
    assert!(site.has("var/lib/postern-system/token"));
    std::fs::create_dir(site.at("var/lib/postern/identity")).unwrap();
    site.write("var/lib/postern/identity/gateway.json", "{}");
    assert!(site.run(&["boot"]).status.success());
    assert!(!site.has("var/lib/postern-system/token"));
}

#[test]
fn the_firewall_follows_sockets_leases_and_what_someone_took_away() {
    let Some(mut site) = Site::new() else { return };
    site.start();
    site.wait_for("the first load", || site.has("loaded.nft"));
    assert!(site.status().firewall.open.is_empty());
    site.write("active/postern-snmp-trap.socket", "");
    site.write("run/systemd/resolve/resolv.conf", "nameserver 192.0.2.53\n");
    site.write("run/systemd/netif/state", "NTP=192.0.2.123\n");
    assert_eq!(site.ask(r#"{"verb":"firewall"}"#), done());
    let loaded = site.read("loaded.nft");
    for text in ["udp dport 162 accept", "resolvers4 { 192.0.2.53 }", "time4 { 192.0.2.123 }"] {
        assert!(loaded.contains(text), "{text}\n{loaded}");
    }
    let firewall = site.status().firewall;
    assert_eq!((firewall.open, firewall.dropped_in, firewall.dropped_out), (vec![Listener::SnmpTrap], 3, 4));
    // Without being asked, right after a lease.
    site.write("run/systemd/resolve/resolv.conf", "nameserver 192.0.2.54\n");
    site.wait_for("the other resolver", || site.read("loaded.nft").contains("resolvers4 { 192.0.2.54 }"));
    let loads = site.read("loads").len();
    assert_eq!(site.ask(r#"{"verb":"firewall"}"#), done());
    assert_eq!(site.read("loads").len(), loads, "nothing changed, nothing is loaded");
    std::fs::remove_file(site.at("loaded.nft")).unwrap();
    site.wait_for("the table to be put back", || site.has("loaded.nft"));
    // A ruleset that cannot be loaded is told, and the one before stays.
    site.write("nft-broken", "");
    std::fs::remove_file(site.at("active/postern-snmp-trap.socket")).unwrap();
    site.wait_for("the failure", || site.status().firewall.failure.is_some_and(|failure| failure.contains("syntax error")));
    std::fs::remove_file(site.at("nft-broken")).unwrap();
    site.wait_for("the repair", || site.status().firewall.failure.is_none());
    assert!(!site.read("loaded.nft").contains("dport 162"));
}

#[test]
fn the_chain_of_the_audit_goes_on_through_kills_and_is_verified() {
    let Some(mut site) = Site::new() else { return };
    assert!(site.run(&["boot"]).status.success());
    for _ in 0..3 {
        site.start();
        assert_eq!(site.ask(r#"{"verb":"reboot"}"#), done());
        site.kill();
    }
    let file = site.at("var/log/postern/audit.jsonl");
    let verified = site.run(&["audit-verify", file.to_str().unwrap()]);
    assert!(verified.status.success(), "{}", said(&verified));
    let text = site.read("var/log/postern/audit.jsonl");
    site.write("var/log/postern/audit.jsonl", &text.replacen("\"uid\":0", "\"uid\":1", 1));
    let verified = site.run(&["audit-verify", file.to_str().unwrap()]);
    assert!(!verified.status.success() && said(&verified).contains("the line was changed"), "{}", said(&verified));
}

#[test]
fn factory_reset_marks_the_data_and_leaves() {
    let Some(mut site) = Site::new() else { return };
    site.start();
    crate::site::refused(&site.ask(r#"{"verb":"factory_reset","confirm_hostname":"other"}"#), "host name: before");
    assert_eq!(site.ask(r#"{"verb":"factory_reset","confirm_hostname":"before"}"#), done());
    let variable = std::fs::read(site.at("sys/firmware/efi/efivars/FactoryReset-8cf2644b-4b0b-428f-9387-6d876050dc67")).unwrap();
    assert_eq!(variable, b"\x07\0\0\0y\0e\0s\0\0\0");
    assert_eq!(site.asked(), ["start --no-block --job-mode=replace-irreversibly -- reboot.target"]);
}

#[test]
fn rearm_gives_the_running_slot_its_counter() {
    let Some(site) = Site::new() else { return };
    let output = site.run(&["rearm"]);
    assert!(!output.status.success() && said(&output).contains("still has a counter"), "{}", said(&output));
    std::fs::rename(site.at("efi/EFI/Linux/postern-a_1.0.0+3.efi"), site.at("efi/EFI/Linux/postern-a_1.0.0.efi")).unwrap();
    assert!(site.run(&["rearm"]).status.success());
    assert!(site.has("efi/EFI/Linux/postern-a_1.0.0+3.efi"));
}

#[test]
fn health_is_good_only_when_everything_is() {
    let Some(mut site) = Site::new() else { return };
    let output = site.run(&["health", "--wait", "0"]);
    let text = said(&output);
    assert!(!output.status.success());
    for bad in ["broker: the broker cannot be reached", "firewall: ", "root: nothing is mounted on /", "var: nothing is mounted on /var"] {
        assert!(text.contains(bad), "{bad}\n{text}");
    }
    site.write(
        "proc/self/mountinfo",
        "24 22 254:0 / / ro - squashfs /dev/mapper/root ro\n30 24 8:6 / /var rw - ext4 /dev/sda6 rw,errors=remount-ro\n",
    );
    std::fs::create_dir_all(site.at("sys/dev/block/254:0/dm")).unwrap();
    site.write("sys/dev/block/254:0/dm/uuid", "CRYPT-VERITY-0-root\n");
    site.start();
    let output = site.run(&["health", "--wait", "20"]);
    assert!(output.status.success(), "{}", said(&output));
    std::fs::create_dir(site.at("var/lib/postern/identity")).unwrap();
    site.write("var/lib/postern/identity/gateway.json", "{}");
    let output = site.run(&["health", "--wait", "0"]);
    assert!(!output.status.success() && said(&output).contains("gateway: the gateway is enrolled and does not run"));
    site.write("active/postern-gateway.service", "");
    assert!(site.run(&["health", "--wait", "0"]).status.success());
}

#[test]
fn the_end_of_enrolment_is_told_by_its_exit_code() {
    let Some(mut site) = Site::new() else { return };
    site.start();
    for (code, ends) in [("75", false), ("1", false), ("76", true)] {
        site.write("var/lib/postern-system/token", "postern1.x");
        let output = site.command(&["enrol-finished"]).env("EXIT_STATUS", code).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        assert_eq!(!site.has("var/lib/postern-system/token"), ends, "{code}");
    }
    assert!(matches!(site.status().enrolment, Enrolment::Refused { .. }));
}

#[test]
fn call_prints_the_answer_and_fails_when_it_is_no() {
    let Some(mut site) = Site::new() else { return };
    site.start();
    let slots = site.run(&["call", r#"{"verb":"slots"}"#]);
    assert!(slots.status.success() && said(&slots).contains(r#""running":"a""#), "{}", said(&slots));
    assert!(!site.run(&["call", r#"{"verb":"ssh","state":{"ssh":"on","minutes":5}}"#]).status.success());
    assert!(said(&site.run(&["call", "x"])).contains("this is not a request"));
}
