//! One identity on two machines: a copied data directory that is started beside the original.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use postern_protocol::status::{Status, TunnelState};
use postern_tests::deadline::wait_for;
use postern_tests::tools::{LINK_DOWN, link_trap};

use crate::harness::rig::Rig;
use crate::interop_snmp::is_link;

/// Within this a copy is found.
const A_MINUTE: Duration = Duration::from_secs(60);

/// A second gateway on a copy of the first one's data.
struct Copy {
    config: PathBuf,
    log: PathBuf,
    gateway: PathBuf,
    child: Child,
}

impl Copy {
    fn start(rig: &Rig) -> Self {
        let root = rig.layout().root();
        let data = root.join("copy");
        let copied = Command::new("cp").arg("-a").arg(rig.layout().gateway_dir()).arg(&data).status().unwrap();
        assert!(copied.success());
        let (config, log) = (root.join("copy.toml"), root.join("copy.log"));
        let server = rig.prepared.sockets.https();
        std::fs::write(
            &config,
            format!("data_dir = {data:?}\n\n[server]\nurl = \"https://{server}\"\n\n[receivers.syslog]\nlisten = \"127.0.0.1:0\"\n"),
        )
        .unwrap();
        let gateway = rig.prepared.binaries.gateway.clone();
        let child = Self::run(&gateway, &config, &log);
        Self { config, log, gateway, child }
    }

    fn run(gateway: &Path, config: &Path, log: &Path) -> Child {
        let log = std::fs::File::options().create(true).append(true).open(log).unwrap();
        Command::new(gateway).arg("run").arg("--config").arg(config).stderr(log).spawn().unwrap()
    }

    fn restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = Self::run(&self.gateway, &self.config, &self.log);
    }

    fn status(&self) -> Result<Status, String> {
        let asked = Command::new(&self.gateway).args(["status", "--json", "--config"]).arg(&self.config).output().unwrap();
        serde_json::from_slice(&asked.stdout).map_err(|_| String::from_utf8_lossy(&asked.stderr).into_owned())
    }

    fn wait_for(&self, what: &str, is_it: impl Fn(&Status) -> bool) {
        wait_for(what, A_MINUTE, || {
            let log = || std::fs::read_to_string(&self.log).unwrap_or_default();
            let status = self.status().map_err(|error| format!("{error}\n{}", log()))?;
            if is_it(&status) { Ok(()) } else { Err(format!("{:#?}\n{}", status.tunnel, log())) }
        });
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn seen(rig: &Rig) -> serde_json::Value {
    serde_json::from_str(&rig.control_command(&["gateway", "identity", &rig.gateway_id(), "--json"]).unwrap()).unwrap()
}

fn is_quarantined(status: &Status) -> bool {
    status.tunnel.last_error.as_ref().is_some_and(|error| error.contains("is quarantined"))
}

#[test]
fn a_copy_beside_the_original_is_found_within_a_minute_and_the_original_goes_on() {
    let rig = Rig::start();
    let begun = Instant::now();
    let mut copy = Copy::start(&rig);
    wait_for("the quarantine", A_MINUTE, || {
        let seen = seen(&rig);
        if seen["quarantine"].is_null() { Err(format!("{seen:#}")) } else { Ok(()) }
    });
    println!("the copy was found after {:?}", begun.elapsed());
    let quarantine = seen(&rig)["quarantine"].clone();
    assert!(quarantine["proof"].as_str().unwrap().contains("both are running"), "{quarantine:#}");
    assert!(!quarantine["current"].is_null() && !quarantine["other"].is_null(), "{quarantine:#}");
    copy.wait_for("the explanation", is_quarantined);
    rig.api.wait_for_alert("the alert", |alert| alert["kind"] == "gateway-cloned" && alert["state"] == "open");

    // The original never lost its session for it.
    assert_eq!(rig.status().unwrap().tunnel.state, TunnelState::Up);
    link_trap(rig.prepared.sockets.snmp_trap(), LINK_DOWN, 4);
    rig.api.wait_for_alert("an alert of the original", |alert| is_link(alert, 4) && alert["state"] == "open");

    rig.control_command(&["gateway", "keep", &rig.gateway_id(), "--current"]).unwrap();
    rig.api.wait_for_alert("the end of the alert", |alert| alert["kind"] == "gateway-cloned" && alert["state"] == "cleared");
    copy.restart();
    copy.wait_for("the refusal for good", |status| {
        is_quarantined(status) && status.tunnel.last_error.as_ref().is_some_and(|error| error.contains("for good"))
    });
    assert_eq!(rig.status().unwrap().tunnel.state, TunnelState::Up);
}

#[test]
fn an_admin_can_let_the_copy_take_the_originals_place() {
    let rig = Rig::start();
    let copy = Copy::start(&rig);
    wait_for("the quarantine", A_MINUTE, || {
        if seen(&rig)["quarantine"].is_null() { Err(std::fs::read_to_string(&copy.log).unwrap()) } else { Ok(()) }
    });
    rig.control_command(&["gateway", "keep", &rig.gateway_id(), "--other"]).unwrap();
    rig.wait_for_status_within("the original to be shut out", A_MINUTE, is_quarantined);
    wait_for("the copy's session", Duration::from_secs(300), || match copy.status()? {
        status if status.tunnel.state == TunnelState::Up => Ok(()),
        status => Err(format!("{:#?}", status.tunnel)),
    });
}
