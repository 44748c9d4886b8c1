//! Two gateways that get the same informs, declared a pair: one alert for the SOC, whichever of them lives.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use postern_protocol::status::{Status, TunnelState};
use postern_tests::deadline::wait_for;
use postern_tests::launcher::{control_plane, program};
use postern_tests::tools::{LINK_DOWN, LINK_UP, link_inform, printed};
use serde_json::{Value, json};

use crate::harness::rig::{Options, Rig};
use crate::interop_snmp::is_link;

const SOON: Duration = Duration::from_secs(20);

/// A second gateway of the same tenant, with a trap socket of its own.
struct Second {
    config: PathBuf,
    gateway: PathBuf,
    id: String,
    traps: SocketAddr,
    child: Child,
}

impl Second {
    fn start(rig: &Rig) -> Self {
        let root = rig.layout().root().to_owned();
        let (config, data, token) = (root.join("second.toml"), root.join("second"), root.join("second.token"));
        let server = format!("https://{}", rig.prepared.sockets.https());
        let text = format!("data_dir = {data:?}\n\n[server]\nurl = {server:?}\n\n[receivers.snmp_trap]\nlisten = \"127.0.0.1:0\"\n");
        std::fs::write(&config, text).unwrap();
        control_plane::create_token(&rig.prepared.binaries, rig.layout(), &rig.prepared.first.tenant, "second", &token).unwrap();
        let gateway = rig.prepared.binaries.gateway.clone();
        let args: [&Path; 7] =
            ["enrol".as_ref(), "--config".as_ref(), &config, "--server".as_ref(), server.as_ref(), "--token-file".as_ref(), &token];
        program::output(&gateway, args).unwrap();
        let identity: Value = serde_json::from_slice(&std::fs::read(data.join("identity/gateway.json")).unwrap()).unwrap();
        let log = std::fs::File::create(root.join("second.log")).unwrap();
        let child = Command::new(&gateway).arg("run").arg("--config").arg(&config).stderr(log).spawn().unwrap();
        let id = identity["gateway"].as_str().unwrap().to_owned();
        let mut second = Self { config, gateway, id, traps: SocketAddr::from(([0, 0, 0, 0], 0)), child };
        let status = wait_for("the second tunnel", SOON, || {
            let status = second.status()?;
            if status.tunnel.state == TunnelState::Up { Ok(status) } else { Err(format!("{:#?}", status.tunnel)) }
        });
        second.traps = status.listeners.iter().find(|listener| listener.name == "snmp_trap").unwrap().addr.parse().unwrap();
        second
    }

    fn status(&self) -> Result<Status, String> {
        let asked = Command::new(&self.gateway).args(["status", "--json", "--config"]).arg(&self.config).output().unwrap();
        serde_json::from_slice(&asked.stdout).map_err(|_| printed(&asked))
    }

    fn kill(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        self.kill();
    }
}

fn inform(to: SocketAddr, oid: &str, interface: u32) {
    let answered = link_inform(to, oid, interface, &["-r", "2", "-t", "3"]);
    assert!(answered.status.success(), "{}", printed(&answered));
}

fn links(rig: &Rig, interface: u32) -> Vec<Value> {
    rig.api.alerts().into_iter().filter(|alert| is_link(alert, interface)).collect()
}

#[test]
fn a_pair_is_one_alert_with_both_as_evidence_and_one_death_changes_nothing() {
    let rig = Rig::start_with(&Options { control_toml: &[("unreachable_after_s", "2")], ..Options::default() });
    let mut second = Second::start(&rig);
    let (first_id, first_traps) = (rig.gateway_id(), rig.prepared.sockets.snmp_trap());
    inform(first_traps, LINK_DOWN, 1);
    inform(second.traps, LINK_DOWN, 1);
    wait_for("an alert of each", SOON, || if links(&rig, 1).len() == 2 { Ok(()) } else { Err(format!("{:#?}", links(&rig, 1))) });

    let made = rig.api.post("/api/v1/pairs", &json!({"gateways": [first_id, second.id]}).to_string()).ok().json();
    let pair = made["id"].as_str().unwrap().to_owned();
    let merged = links(&rig, 1);
    assert_eq!(merged.len(), 1, "those that were there are one now: {merged:#?}");
    for traps in [first_traps, second.traps] {
        inform(traps, LINK_DOWN, 2);
    }
    let alert =
        rig.api.wait_for_alert("both reports", |alert| is_link(alert, 2) && alert["reports"].as_array().is_some_and(|all| all.len() == 2));
    let id = alert["id"].clone();
    assert_eq!((&alert["pair"], &alert["count"], links(&rig, 2).len()), (&json!(pair), &json!(1), 1));
    let mut gateways: Vec<&str> = alert["reports"].as_array().unwrap().iter().map(|report| report["gateway"].as_str().unwrap()).collect();
    let mut both = vec![first_id.as_str(), second.id.as_str()];
    gateways.sort_unstable();
    both.sort_unstable();
    assert_eq!(gateways, both);
    assert!(alert["reports"].as_array().unwrap().iter().all(|report| report["evidence"]["transport"] == "udp"), "{alert:#}");

    second.kill();
    let gone = rig.api.wait_for_alert("gateway-unreachable", |alert| alert["kind"] == "gateway-unreachable" && alert["state"] == "open");
    assert_eq!(gone["resource"].as_str(), Some(second.id.as_str()));
    let open = rig.api.alerts().into_iter().filter(|alert| alert["state"] == "open").count();
    assert_eq!(open, 3, "two links and the gateway: {:#?}", rig.api.alerts());

    inform(first_traps, LINK_UP, 2);
    let cleared = rig.api.wait_for_alert("the clear", |alert| is_link(alert, 2) && alert["state"] == "cleared");
    assert_eq!((&cleared["id"], links(&rig, 2).len()), (&id, 1));
    assert_eq!(links(&rig, 1)[0]["state"], "open");

    let dissolved = rig.api.ask("DELETE", &format!("/api/v1/pairs/{pair}"), None, &[]).unwrap();
    assert_eq!(dissolved.status, 204);
    assert_eq!(links(&rig, 1).len(), 2, "each has its own again");
    let audit = rig.api.get("/api/v1/audit").ok().json();
    let what: Vec<&str> = audit["items"].as_array().unwrap().iter().map(|entry| entry["what"].as_str().unwrap()).collect();
    assert!(what.contains(&"pair-declared") && what.contains(&"pair-dissolved"), "{audit:#}");
}
