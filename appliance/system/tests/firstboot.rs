//! First boot as a program: real discs, VMware's tool as a script, and the broker's socket with a test at its other end.

// The exception that clippy.toml makes for tests does not reach the functions that they call.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod peer;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use peer::{done, listen};
use postern_appliance::firstboot::transport::Places;
use postern_appliance::firstboot::{Options, run};
use postern_appliance::verb::{FirstbootOutcome, FirstbootReport, Reply, Verb};
use tempfile::TempDir;

const TOKEN_BODY: &str = "BwcHBwcHBwcH";

fn sample(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples").join(name)).unwrap()
}

/// A directory for one test, with a broker that answers `done` to everything.
struct Rig {
    dir: TempDir,
    asked: Receiver<Verb>,
}

impl Rig {
    fn new() -> Self {
        Self::answering(|_| done())
    }

    fn answering(answer: impl Fn(&Verb) -> Reply + Send + 'static) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let asked = listen(&dir.path().join("broker.sock"), answer);
        Self { dir, asked }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes a disc of one file with an authoring tool and its arguments.
    fn disc(&self, tool: &[&str], file: &str, document: &[u8]) -> PathBuf {
        let (contents, disc) = (self.path("contents"), self.path("disc.iso"));
        let _ = fs::remove_dir_all(&contents);
        fs::create_dir(&contents).unwrap();
        fs::write(contents.join(file), document).unwrap();
        let made = Command::new(tool[0]).args(&tool[1..]).args(["-V", "OVF ENV", "-o"]).arg(&disc).arg(&contents).output();
        let made = made.unwrap_or_else(|error| panic!("{tool:?}: {error}; tests/install-tools installs it"));
        assert!(made.status.success(), "{tool:?}: {}", String::from_utf8_lossy(&made.stderr));
        disc
    }

    fn plain_disc(&self, document: &[u8]) -> PathBuf {
        self.disc(&["genisoimage", "-quiet"], "ovf-env.xml", document)
    }

    fn command(&self, device: &Path, wait_secs: u32) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_firstboot"));
        command.arg("--device").arg(device).args(["--wait", &wait_secs.to_string()]).arg("--broker").arg(self.path("broker.sock"));
        command
    }

    /// Runs the program on a disc and returns what it said and with which status.
    fn boot(&self, device: &Path) -> (String, i32) {
        spoken(&self.command(device, 1).output().unwrap())
    }

    /// Returns everything the broker was asked so far.
    fn asked(&self) -> Vec<Verb> {
        self.asked.try_iter().collect()
    }

    fn report(&self) -> FirstbootReport {
        match self.asked().pop() {
            Some(Verb::FirstbootReport { report }) => report,
            other => panic!("{other:?}"),
        }
    }
}

fn spoken(output: &Output) -> (String, i32) {
    (String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr), output.status.code().unwrap())
}

/// Asserts the whole way of an environment that names `gateway-1`, its control plane and a token.
fn assert_applied(rig: &Rig, disc: &Path, what: &str) {
    let (said, status) = rig.boot(disc);
    assert_eq!(status, 0, "{what}: {said}");
    let asked = rig.asked();
    let [Verb::Apply { settings, token: Some(token), .. }, Verb::FirstbootReport { report }] = &asked[..] else {
        panic!("{what}: {asked:?}")
    };
    assert_eq!(settings.hostname.as_ref().unwrap().as_str(), "gateway-1", "{what}");
    assert_eq!(settings.control_plane.as_ref().unwrap().to_string(), "https://control.example.com:443", "{what}");
    assert!(token.expose().contains(TOKEN_BODY) && report.done && report.outcome == FirstbootOutcome::Applied, "{what}");
    assert!(said.contains("hostname = gateway-1") && said.contains("token = (given)"), "{what}: {said}");
    assert!(!said.contains(TOKEN_BODY) && !said.contains("pass&word"), "{what} shows a secret: {said}");
}

#[test]
fn every_hypervisors_environment_is_applied() {
    let rig = Rig::new();
    for name in ["vsphere.xml", "vsphere-vapp.xml", "ovftool.xml", "virtualbox.xml"] {
        assert_applied(&rig, &rig.plain_disc(sample(name).as_bytes()), name);
    }
}

#[test]
fn every_authoring_tools_disc_is_read() {
    let rig = Rig::new();
    for tool in [
        &["genisoimage", "-quiet"][..],
        &["genisoimage", "-quiet", "-J", "-R"],
        &["genisoimage", "-quiet", "-iso-level", "4", "-allow-lowercase"],
        &["genisoimage", "-quiet", "-U", "-J", "-udf"],
        &["xorriso", "-as", "mkisofs", "-quiet"],
        &["xorriso", "-as", "mkisofs", "-quiet", "-J", "-r"],
    ] {
        for file in ["ovf-env.xml", "OVF-ENV.XML"] {
            assert_applied(&rig, &rig.disc(tool, file, sample("vsphere.xml").as_bytes()), &format!("{tool:?} {file}"));
        }
    }
}

#[test]
fn all_settings_of_a_full_environment_arrive() {
    let rig = Rig::new();
    let (said, _) = rig.boot(&rig.plain_disc(sample("vsphere.xml").as_bytes()));
    let Some(Verb::Apply { settings, veto, .. }) = rig.asked().into_iter().next() else { panic!("{said}") };
    let text = serde_json::to_string(&settings).unwrap();
    for part in
        ["192.0.2.10/24", "192.0.2.1", "192.0.2.53", "ntp.example.com", "http://site:pass&word@proxy.example.com:3128", "ssh-ed25519 "]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(veto.unwrap().contains("factory_reset"));
    for part in ["proxy = http://proxy.example.com:3128", "ssh_key = SHA256:", "veto = (given)", "address = 192.0.2.10/24"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn without_a_device_nothing_is_applied_and_the_wait_is_bounded() {
    let rig = Rig::new();
    let started = Instant::now();
    let (said, status) = rig.boot(&rig.path("none"));
    assert!(started.elapsed() < Duration::from_secs(5) && started.elapsed() >= Duration::from_secs(1));
    assert!(status == 0 && said.contains("no settings found"), "{status} {said}");
    let report = rig.report();
    assert!(report.outcome == FirstbootOutcome::NothingFound && !report.done);
}

#[test]
fn a_device_that_appears_late_is_still_read() {
    let rig = Rig::new();
    let disc = rig.plain_disc(sample("ovftool.xml").as_bytes());
    let device = rig.path("sr0");
    let program = rig.command(&device, 20).stdout(std::process::Stdio::piped()).spawn().unwrap();
    // Longer than the pause between two looks: at least one of them finds nothing.
    std::thread::sleep(Duration::from_millis(1_500));
    fs::rename(disc, device).unwrap();
    let (said, status) = spoken(&program.wait_with_output().unwrap());
    assert!(status == 0 && said.contains("settings applied"), "{said}");
}

#[test]
fn one_bad_property_stops_all_of_them_and_is_named() {
    let environment = sample("ovftool.xml");
    for (from, to, key) in [
        (r#"oe:key="postern.address" oe:value="""#, r#"oe:key="postern.shell" oe:value="/bin/sh""#, "postern.shell"),
        (r#"oe:key="postern.address" oe:value="""#, r#"oe:key="postern.address" oe:value="192.0.2.300/24""#, "postern.address"),
        (r#"oe:key="postern.address" oe:value="""#, r#"oe:key="postern.hostname" oe:value="other""#, "postern.hostname"),
        (r#"oe:value="gateway-1""#, r#"oe:value="$(reboot)""#, "postern.hostname"),
        (r#"oe:value="https://control.example.com""#, r#"oe:value="https://c.example/;rm""#, "postern.control_plane"),
    ] {
        let rig = Rig::new();
        let changed = environment.replace(from, to);
        assert_ne!(changed, environment);
        let (said, status) = rig.boot(&rig.plain_disc(changed.as_bytes()));
        assert_eq!(status, 65, "{said}");
        let asked = rig.asked();
        let [Verb::FirstbootReport { report }] = &asked[..] else { panic!("{to}: {asked:?}") };
        assert!(report.outcome == FirstbootOutcome::Refused && !report.done && report.faults[0].key == key, "{to}: {report:?}");
        assert!(said.contains(&format!("refused: {key}: ")) && !said.contains(TOKEN_BODY), "{said}");
    }
}

#[test]
fn what_cannot_be_an_environment_is_reported_and_never_hangs() {
    let bomb = format!("<!DOCTYPE e [<!ENTITY a \"{}\"><!ENTITY b \"{}\">]><e>&b;</e>", "x".repeat(1_000), "&a;".repeat(10_000));
    let long = sample("ovftool.xml").replace("gateway-1", &"a".repeat(1_024 * 1_024));
    for document in [b"garbage".to_vec(), vec![0xff; 4_096], Vec::new(), bomb.into_bytes(), long.into_bytes(), b"<a>".repeat(20_000)] {
        let rig = Rig::new();
        let started = Instant::now();
        let (said, status) = rig.boot(&rig.plain_disc(&document));
        assert!(status == 66 && started.elapsed() < Duration::from_secs(10), "{status} {said}");
        let report = rig.report();
        assert!(report.outcome == FirstbootOutcome::Unreadable && !report.notes.is_empty() && !report.done, "{report:?}");
    }
}

#[test]
fn an_environment_without_values_is_no_error_and_looked_at_again_next_time() {
    let rig = Rig::new();
    let empty = r#"<Environment xmlns="http://schemas.dmtf.org/ovf/environment/1"><PropertySection><Property key="postern.hostname" value=""/></PropertySection></Environment>"#;
    let (said, status) = rig.boot(&rig.plain_disc(empty.as_bytes()));
    assert!(status == 0 && said.contains("no settings found"), "{said}");
    assert!(!rig.report().done);
}

#[test]
fn what_the_broker_refuses_is_told_with_its_reason() {
    let rig = Rig::answering(|verb| match verb {
        Verb::Apply { .. } => Reply::Refused { reason: "the site's veto forbids it".to_owned() },
        _ => done(),
    });
    let (said, status) = rig.boot(&rig.plain_disc(sample("ovftool.xml").as_bytes()));
    assert!(status == 65 && said.contains("the site's veto forbids it"), "{said}");
    assert!(!rig.report().done);
}

#[test]
fn without_a_broker_the_program_ends_with_its_own_status() {
    let rig = Rig::new();
    let disc = rig.plain_disc(sample("ovftool.xml").as_bytes());
    fs::remove_file(rig.path("broker.sock")).unwrap();
    let (said, status) = spoken(&rig.command(&disc, 1).args(["--broker-wait", "1"]).output().unwrap());
    assert!(status == 69 && said.contains("cannot be reached"), "{status} {said}");
}

/// Makes a stand-in for VMware's tool that answers `get` and notes what it is told to set.
fn rpctool(rig: &Rig, get: &str) -> Places {
    fs::write(rig.path("environment"), get).unwrap();
    fs::write(rig.path("sys_vendor"), "VMware, Inc.\n").unwrap();
    let mut tool = fs::File::create(rig.path("rpctool")).unwrap();
    let dir = rig.dir.path().display();
    writeln!(tool, "#!/bin/sh\ncase $1 in\n'info-get guestinfo.ovfEnv') exec /bin/cat {dir}/environment;;").unwrap();
    writeln!(tool, "'info-set guestinfo.ovfEnv '*) printf %s \"$1\" > {dir}/set;;\n*) exit 1;;\nesac").unwrap();
    tool.set_permissions(fs::Permissions::from_mode(0o755)).unwrap();
    Places { devices: Some(Vec::new()), sys_vendor: rig.path("sys_vendor"), rpctool: rig.path("rpctool"), ..Places::default() }
}

fn options(rig: &Rig, places: Places) -> Options {
    Options { places, wait: Duration::from_secs(1), broker: rig.path("broker.sock"), broker_wait: Duration::from_secs(1) }
}

#[test]
fn guestinfo_is_read_and_its_token_blanked_after_use() {
    let rig = Rig::new();
    let places = rpctool(&rig, &sample("vsphere.xml"));
    let (report, told) = run(&options(&rig, places));
    told.unwrap();
    assert_eq!((report.outcome, report.source.as_deref()), (FirstbootOutcome::Applied, Some("VMware guestinfo")));
    assert!(report.notes.iter().any(|note| note.contains("blanked")), "{report:?}");
    let set = fs::read_to_string(rig.path("set")).unwrap();
    let set = set.strip_prefix("info-set guestinfo.ovfEnv ").unwrap();
    assert!(!set.contains(TOKEN_BODY) && set.contains(r#"oe:key="postern.token" oe:value="""#), "{set}");
    assert!(set.contains("gateway-1"), "{set}");
}

#[test]
fn guestinfo_keeps_its_token_while_the_settings_are_refused() {
    let rig = Rig::new();
    let places = rpctool(&rig, &sample("vsphere.xml").replace("postern.ntp", "postern.npt"));
    let (report, told) = run(&options(&rig, places));
    told.unwrap();
    assert_eq!(report.outcome, FirstbootOutcome::Refused);
    assert!(!rig.path("set").exists());
}

#[test]
fn guestinfo_that_is_too_long_is_unreadable_and_not_absent() {
    let rig = Rig::new();
    let places = rpctool(&rig, &sample("vsphere.xml").replace("gateway-1", &"a".repeat(1_024 * 1_024)));
    let (report, told) = run(&options(&rig, places));
    told.unwrap();
    assert_eq!(report.outcome, FirstbootOutcome::Unreadable, "{report:?}");
}

#[test]
fn vmwares_tool_is_not_run_on_other_machines() {
    let rig = Rig::new();
    let places = rpctool(&rig, &sample("vsphere.xml"));
    fs::write(rig.path("sys_vendor"), "QEMU\n").unwrap();
    assert_eq!(run(&options(&rig, places)).0.outcome, FirstbootOutcome::NothingFound);
}
