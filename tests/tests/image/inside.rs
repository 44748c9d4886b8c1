//! The running system, seen from inside by root: what is open, what is mounted, what is confined.
//!
//! One boot of a test variant: the same root under the same root hash, with an agent on the tools disk.

use std::collections::BTreeSet;
use std::time::Duration;

use postern_tests::deadline::wait_for;

use crate::harness::artefacts::{Artefacts, tools_disk};
use crate::harness::checks::Checks;
use crate::harness::inside::Inside;
use crate::harness::machine::{Chassis, Plugged};
use crate::harness::settings::{cdrom, environment};
use crate::harness::site::{CONTROL_PLANE, HOST, NEIGHBOUR, Site, Wire};
use crate::harness::{BOOT, REACTION};

#[test]
#[ignore = "needs an image: make ci-image"]
fn the_running_system_is_closed_from_inside() {
    let image = Artefacts::test_variant();
    let chassis = Chassis::new(&image.file("-test.raw"), &image.firmware_variables());
    let site = Site::start();
    let properties = [("hostname", "inside"), ("control_plane", CONTROL_PLANE), ("token", &site.token("inside"))];
    let disc = cdrom(chassis.dir(), "settings", environment(&properties).as_bytes());
    let wire = Wire::watch(&chassis.dir().join("wire.pcap"));
    let machine = chassis.boot(&Plugged { cdrom: Some(&disc), tools: Some(&tools_disk()), ..Plugged::default() });
    let mut inside = Inside::of(&machine);
    wait_for("the gateway to enrol", BOOT, || if site.gateways() == ["inside"] { Ok(()) } else { Err(machine.console.tail()) });
    wait_for("the system to have started", BOOT, || {
        let state = inside.run("systemctl is-system-running").output;
        if state.trim() == "running" {
            Ok(())
        } else {
            Err(format!("{state}\n{}", inside.run("systemctl list-jobs; systemctl --failed").output))
        }
    });

    let mut checks = Checks::default();
    checks.run("only the stated ports are bound", || listening(&mut inside));
    checks.run("nobody reaches another host, and only the gateway the control plane", || outbound(&mut inside, &wire));
    checks.run("the firewall drops by default in every direction", || firewall(&mut inside));
    checks.run("nothing is both writable and executable", || mounts(&mut inside));
    checks.run("no program gives other rights than the stated ones", || privileged_programs(&mut inside));
    checks.run("AppArmor enforces every profile, and the gateway runs under one", || apparmor(&mut inside));
    checks.run("the kernel is locked down and the root verified", || kernel(&mut inside));
    checks.run("a module without a signature is refused", || modules(&mut inside));
    checks.run("no unit has failed, and none runs that nobody asked for", || units(&mut inside));
    checks.run("every account is locked", || accounts(&mut inside));
    checks.run("the gateway's unit is as closed as its file says", || exposure(&mut inside));
    checks.run("the token is erased", || token(&mut inside));
    checks.run("machine id and host name are this machine's own", || identity(&mut inside));
    checks.finish();
}

/// Sockets of /proc/net that wait for anybody: local address and port. UDP sockets with a peer are somebody's question.
fn bound(inside: &mut Inside, protocol: &str, state: &str) -> BTreeSet<u16> {
    let mut ports = BTreeSet::new();
    for file in [format!("/proc/net/{protocol}"), format!("/proc/net/{protocol}6")] {
        for line in inside.run(&format!("cat {file} 2>/dev/null")).output.lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (local, remote) = (words[1], words[2]);
            if words[3] == state && remote.ends_with(":0000") {
                ports.insert(u16::from_str_radix(local.rsplit(':').next().unwrap(), 16).unwrap());
            }
        }
    }
    ports
}

fn listening(inside: &mut Inside) {
    assert_eq!(bound(inside, "tcp", "0A"), BTreeSet::from([514, 3128, 6514]));
    // 68 is the DHCP client, 546 that of IPv6.
    let udp: BTreeSet<u16> = bound(inside, "udp", "07").into_iter().filter(|port| ![68, 546].contains(port)).collect();
    assert_eq!(udp, BTreeSet::from([162, 514]));
    let raw = inside.run("cat /proc/net/raw | tail -n +2").output;
    assert_eq!(raw, "", "no raw socket is open");
}

fn outbound(inside: &mut Inside, wire: &Wire) {
    let cases = [
        ("root", NEIGHBOUR, 443, false),
        ("root", HOST, 443, false),
        ("root", HOST, 80, false),
        ("postern", NEIGHBOUR, 443, false),
        ("postern", HOST, 80, false),
        ("postern", HOST, 443, true),
        ("nobody", HOST, 443, false),
    ];
    let mut wrong = Vec::new();
    for (user, host, port, expected) in cases {
        let tried = inside.run(&format!(
            "id=$(busybox id -u {user}) && /run/tools/bin/setpriv --reuid $id --regid $id --clear-groups /run/tools/bin/busybox nc -w 5 {host} {port} </dev/null"
        ));
        if (tried.status == 0) != expected {
            wrong.push(format!("{user} to {host}:{port}: {tried:?}"));
        }
    }
    for (user, host, port) in [("root", NEIGHBOUR, 53), ("root", NEIGHBOUR, 123), ("postern", NEIGHBOUR, 514), ("postern", HOST, 5353)] {
        let sent = format!(
            "id=$(busybox id -u {user}) && echo x | /run/tools/bin/setpriv --reuid $id --regid $id --clear-groups /run/tools/bin/busybox nc -u -w 1 {host} {port}"
        );
        inside.run(&sent);
    }
    inside.run(&format!("ping -c 1 -W 2 {NEIGHBOUR}"));
    let seen = wire.packets(&format!("ether src 52:54:00:99:00:50 and (host {NEIGHBOUR} or port 80 or port 5353) and not arp"));
    assert!(seen.is_empty() && wrong.is_empty(), "{wrong:#?}\non the wire: {seen:#?}");
}

fn firewall(inside: &mut Inside) {
    let rules = inside.run("nft list ruleset").ok();
    for hook in ["input", "output", "forward"] {
        let chain = rules.lines().find(|line| line.contains(&format!("hook {hook} ")));
        let chain = chain.unwrap_or_else(|| panic!("no chain at {hook}: {rules}"));
        assert!(chain.contains("policy drop"), "{chain}");
    }
}

fn mounts(inside: &mut Inside) {
    let text = inside.file("/proc/mounts");
    let mut wrong = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (place, kind, options) = (words[1], words[2], words[3].split(',').collect::<Vec<_>>());
        let has = |option: &str| options.contains(&option);
        // What triggers a mount holds no files.
        if has("rw") && !has("noexec") && kind != "autofs" {
            wrong.push(format!("{line}: writable and executable"));
        }
        let data = ["/var", "/var/log", "/var/log/audit", "/tmp", "/var/tmp", "/home", "/dev/shm"].contains(&place);
        if data && !["nodev", "nosuid", "noexec"].into_iter().all(has) {
            wrong.push(format!("{line}: lacks one of nodev, nosuid, noexec"));
        }
        if place == "/" && !(has("ro") && kind == "squashfs") {
            wrong.push(format!("{line}: the root is not the read-only one"));
        }
    }
    for place in ["/var", "/var/log", "/var/log/audit", "/tmp", "/var/tmp", "/home", "/dev/shm"] {
        if !text.lines().any(|line| line.split_whitespace().nth(1) == Some(place)) {
            wrong.push(format!("{place} is no mount of its own"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}\n{text}");
}

fn privileged_programs(inside: &mut Inside) {
    let found = inside.run("find / -xdev \\( -perm -4000 -o -perm -2000 \\) -type f").ok();
    let found: Vec<&str> = found.lines().collect();
    assert!(found.is_empty(), "{found:?}");
}

fn apparmor(inside: &mut Inside) {
    let profiles = inside.file("/sys/kernel/security/apparmor/profiles");
    let lax: Vec<&str> = profiles.lines().filter(|line| !line.ends_with("(enforce)")).collect();
    assert!(lax.is_empty(), "{lax:?}");
    let running = inside.run("for p in /proc/[0-9]*; do echo \"$(readlink $p/exe) $(cat $p/attr/current)\"; done").output;
    for program in ["/usr/bin/postern-gateway", "/usr/lib/postern/console", "/usr/lib/postern/broker"] {
        let mut confined = running.lines().filter(|line| line.starts_with(program)).peekable();
        assert!(confined.peek().is_some(), "{program} does not run: {running}");
        for line in confined {
            assert!(line.ends_with("(enforce)"), "{line}");
        }
    }
}

fn kernel(inside: &mut Inside) {
    assert!(inside.file("/sys/kernel/security/lockdown").contains("[integrity]"));
    let mapped = inside.run("cat /sys/block/dm-*/dm/uuid").ok();
    assert!(mapped.contains("CRYPT-VERITY-"), "{mapped}");
    let root = inside.run("head -c 1 /dev/mapper/postern-root >/dev/null && echo readable").output;
    assert_eq!(root.trim(), "readable");
    let secure = inside.run("tail -c 1 /sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c | od -An -tu1").ok();
    assert_eq!(secure.trim(), "1", "Secure Boot");
    let modes = inside.file("/proc/sys/kernel/kexec_load_disabled");
    assert_eq!(modes.trim(), "1");
}

/// A module of the image itself, with its signature cut off.
fn modules(inside: &mut Inside) {
    let script = "module=$(find /usr/lib/modules -name '*.ko*' | head -n 1) && size=$(stat -c %s $module) && \
                  head -c $((size - 100)) $module > /run/inside/unsigned.ko && insmod /run/inside/unsigned.ko";
    let tried = inside.run(script);
    let refusals = ["Key was rejected", "Required key", "Operation not permitted"];
    assert!(tried.status != 0 && refusals.iter().any(|words| tried.output.contains(words)), "{tried:?}");
    let tried = inside.run("cat /proc/modules | wc -l; modprobe usb_storage; modprobe sctp");
    assert_ne!(tried.status, 0, "a module that is not in the image: {tried:?}");
}

fn units(inside: &mut Inside) {
    let failed = inside.run("systemctl list-units --state=failed --no-legend --plain").ok();
    assert_eq!(failed.trim(), "");
    let services = inside.run("systemctl list-units --type=service --state=running --no-legend --plain").ok();
    println!("{services}");
    for unwanted in ["getty", "ssh", "rescue", "emergency", "debug-shell", "dbus", "logind", "cron"] {
        assert!(!services.contains(unwanted), "{unwanted}: {services}");
    }
    for masked in ["rescue.service", "emergency.service", "debug-shell.service", "ctrl-alt-del.target", "getty@tty1.service"] {
        let state = inside.run(&format!("systemctl is-enabled {masked}")).output;
        assert_eq!(state.trim(), "masked", "{masked}");
    }
}

fn accounts(inside: &mut Inside) {
    for line in inside.file("/etc/shadow").lines() {
        let password = line.split(':').nth(1).unwrap();
        assert!(password.starts_with('!') || password.starts_with('*'), "{line}");
    }
}

fn exposure(inside: &mut Inside) {
    let text = inside.run_within("systemd-analyze security --no-pager postern-gateway.service", REACTION * 2).output;
    let line = text.lines().find(|line| line.contains("Overall exposure level")).unwrap_or_else(|| panic!("{text}"));
    println!("{line}");
    let figure: f32 = line.split_whitespace().find_map(|word| word.parse().ok()).unwrap();
    assert!(figure <= 1.5, "{line}");
}

fn token(inside: &mut Inside) {
    let found = inside.run("ls /var/lib/postern-system/token").output;
    assert!(found.contains("No such file"), "{found}");
}

fn identity(inside: &mut Inside) {
    assert_eq!(inside.file("/proc/sys/kernel/hostname").trim(), "inside");
    let id = inside.file("/etc/machine-id");
    assert!(id.trim().len() == 32 && id.trim().chars().all(|char| char.is_ascii_hexdigit()), "{id:?}");
    let disks = inside.run("ls -l /dev/disk/by-partlabel/").output;
    for label in ["var", "log", "audit"] {
        assert!(disks.contains(&format!(" {label} ->")), "{disks}");
    }
    let clock = inside.run("busybox date +%s").ok();
    let now = postern_tests::tools::unix_seconds();
    assert!(clock.trim().parse::<u64>().unwrap().abs_diff(now) <= Duration::from_secs(30).as_secs(), "{clock}");
}
