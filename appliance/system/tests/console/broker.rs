//! First boot, console and the real broker together, below a directory: what was offered, typed and kept is the same.
//!
//! The service manager and the firewall's program are stand-ins that always succeed; who asks is the user of the test.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::screen::Screen;

/// A broker at work below its own root.
struct Appliance {
    root: TempDir,
    broker: Child,
}

impl Appliance {
    /// `person` is the account for which the broker takes the user of this test.
    fn start(person: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        for dir in
            ["etc", "run/postern", "run/systemd", "var/lib/postern-system", "var/log/postern", "usr/bin", "usr/sbin", "proc/sys/kernel"]
        {
            fs::create_dir_all(at(dir)).unwrap();
        }
        for dir in ["run/systemd/network", "run/systemd/timesyncd.conf.d", "run/systemd/resolved.conf.d"] {
            fs::create_dir_all(at(dir)).unwrap();
        }
        let names = ["postern", "postern-firstboot", "postern-console", "postern-admin", "systemd-timesync"];
        let own = nix::unistd::geteuid().as_raw();
        let group = nix::unistd::getegid().as_raw();
        let lines = names.iter().zip(61_001..).map(|(name, uid)| {
            let uid = if *name == person { own } else { uid };
            format!("{name}:x:{uid}:{group}::/:/bin/false\n")
        });
        fs::write(at("etc/passwd"), lines.collect::<String>()).unwrap();
        fs::write(at("proc/sys/kernel/hostname"), "postern\n").unwrap();
        for program in ["usr/bin/systemctl", "usr/sbin/nft", "usr/bin/ssh-keygen"] {
            fs::write(at(program), "#!/bin/sh\ncat >/dev/null\n").unwrap();
            fs::set_permissions(at(program), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let broker = Command::new(env!("CARGO_BIN_EXE_broker")).arg("--root").arg(root.path()).arg("serve").spawn().unwrap();
        let appliance = Self { root, broker };
        let deadline = Instant::now() + Duration::from_secs(20);
        while UnixStream::connect(appliance.socket()).is_err() {
            assert!(Instant::now() < deadline, "the broker does not serve");
            std::thread::sleep(Duration::from_millis(20));
        }
        appliance
    }

    fn socket(&self) -> PathBuf {
        self.root.path().join("run/postern/broker.sock")
    }

    fn settings(&self) -> serde_json::Value {
        serde_json::from_slice(&fs::read(self.root.path().join("var/lib/postern-system/settings.json")).unwrap()).unwrap()
    }

    fn first_boot(&self, document: &str) -> String {
        let (contents, disc) = (self.root.path().join("contents"), self.root.path().join("disc.iso"));
        fs::create_dir_all(&contents).unwrap();
        fs::write(contents.join("ovf-env.xml"), document).unwrap();
        let made = Command::new("genisoimage").args(["-quiet", "-V", "OVF ENV", "-o"]).arg(&disc).arg(&contents).status().unwrap();
        assert!(made.success());
        let mut command = Command::new(env!("CARGO_BIN_EXE_firstboot"));
        let output = command.arg("--device").arg(disc).args(["--wait", "1", "--broker"]).arg(self.socket()).output().unwrap();
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    }

    fn audit(&self) -> String {
        fs::read_to_string(self.root.path().join("var/log/postern/audit.jsonl")).unwrap()
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        let _ = self.broker.kill();
        let _ = self.broker.wait();
    }
}

fn sample(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples").join(name)).unwrap()
}

#[test]
fn what_first_boot_offers_is_kept_once_and_no_secret_is_told() {
    let appliance = Appliance::start("postern-firstboot");
    let said = appliance.first_boot(&sample("vsphere.xml"));
    assert!(said.contains("settings applied"), "{said}");
    assert_eq!(appliance.settings()["hostname"], "gateway-1");
    assert!(appliance.root.path().join("var/lib/postern-system/firstboot.done").exists());
    let audit = appliance.audit();
    assert!(audit.contains("firstboot_report") && !audit.contains("BwcHBwcH") && !audit.contains("pass&word"), "{audit}");
}

#[test]
fn odd_characters_of_a_refused_property_do_not_lose_the_report() {
    let appliance = Appliance::start("postern-firstboot");
    let odd = sample("ovftool.xml").replace("postern.address", "postern.&#10;&#9;é&#x202e;");
    let said = appliance.first_boot(&odd);
    assert!(said.contains("refused: postern.  ??: there is no such setting"), "{said}");
    let flood: String = (0..1_000).map(|number| format!(r#"<Property oe:key="postern.{number}" oe:value="x"/>"#)).collect();
    let said = appliance.first_boot(&sample("ovftool.xml").replace("</PropertySection>", &(flood + "</PropertySection>")));
    assert!(said.contains("and 980 more faults") && !said.contains("firstboot:"), "{said}");
    assert!(!appliance.root.path().join("var/lib/postern-system/settings.json").exists());
}

#[test]
fn what_is_typed_at_the_console_is_kept_and_shown() {
    let appliance = Appliance::start("postern-console");
    let mut screen = Screen::open(&appliance.socket(), &[]);
    screen.wait("not enrolled: waiting for a token");
    screen.enter("5", "HTTP proxy");
    screen.keys(b"http://site:secret@proxy.example.com:8080\r");
    screen.finish("Done.");
    screen.wait("Host name");
    screen.enter("3", "DNS resolvers");
    screen.keys(b"192.0.2.53\r");
    screen.finish("Done.");
    let page = screen.wait("Number, ");
    assert!(page.contains("DNS 192.0.2.53") && !page.contains("secret"), "{page}");
    let kept = appliance.settings();
    assert_eq!(kept["dns"], "192.0.2.53");
    assert_eq!(kept["proxy"], "http://site:secret@proxy.example.com:8080", "a password that was not typed again is kept");
    screen.keys(b"8\r");
    screen.wait("Minutes");
    screen.keys(b"30\r");
    screen.finish("no SSH key is set");
}
