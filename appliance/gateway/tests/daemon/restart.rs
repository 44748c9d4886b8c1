//! What survives a restart, a clean one and a kill.

use std::process::{Child, Command, Stdio};

use postern_gateway::config::Config;
use tokio::net::UdpSocket;

use crate::site::{ONE_EVENT, Running, Site, inform, signed_push};

#[tokio::test]
async fn alerts_counts_and_digests_survive_a_clean_restart() {
    let site = Site::new("");
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let request = signed_push(ONE_EVENT, "");
    site.run(async |gateway| {
        gateway.ask_snmp(&socket, &inform(1, 1)).await;
        gateway.exchange(&request).await;
    })
    .await;
    site.run(async |gateway| {
        gateway.ask_snmp(&socket, &inform(1, 1)).await;
        assert!(gateway.exchange(&request).await.starts_with("HTTP/1.1 409 "));
        let report = gateway.status().await;
        assert_eq!(report.open_alerts, 2);
        let totals = &report.ledger.totals;
        assert_eq!((totals.accepted, totals.dropped["duplicate"], totals.dropped["replayed"]), (2, 1, 1));
    })
    .await;
}

#[tokio::test]
async fn an_answered_inform_survives_kill_and_counts_once() {
    let site = Site::new("");
    let mut answered: Vec<(UdpSocket, i64)> = Vec::new();
    for round in 0..3_i64 {
        let mut daemon = start(&site);
        let gateway = site.running();
        ready(&gateway, &mut daemon).await;
        for n in 0..40 {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let number = round * 100 + n;
            gateway.ask_snmp(&socket, &inform(number, 1)).await;
            answered.push((socket, number));
        }
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }
    let mut daemon = start(&site);
    let gateway = site.running();
    ready(&gateway, &mut daemon).await;
    for (socket, number) in &answered {
        gateway.ask_snmp(socket, &inform(*number, 1)).await;
    }
    let report = gateway.status().await;
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    let traps = &report.ledger.by_protocol["snmp_trap"];
    assert_eq!((traps.accepted, traps.dropped["duplicate"], report.open_alerts), (120, 120, 1));
    assert_eq!(report.ledger.crash_windows.len(), 3);
}

#[tokio::test]
async fn a_terminated_daemon_drains_and_exits_cleanly() {
    let site = Site::new("");
    let mut daemon = start(&site);
    ready(&site.running(), &mut daemon).await;
    let pid = nix::unistd::Pid::from_raw(i32::try_from(daemon.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert!(daemon.wait().unwrap().success());
    assert!(!Config::load(&site.config_file()).unwrap().status_socket().exists());
}

/// Starts the program.
pub(crate) fn start(site: &Site) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postern-gateway"));
    command.arg("run").arg("--config").arg(site.config_file()).stderr(Stdio::null()).spawn().unwrap()
}

/// Waits for the daemon; a stale socket of a killed one answers nobody.
pub(crate) async fn ready(gateway: &Running, daemon: &mut Child) {
    gateway.ready().await;
    assert!(daemon.try_wait().unwrap().is_none(), "the daemon runs");
}
