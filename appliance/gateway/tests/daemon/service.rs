//! The service manager's side: passed sockets and notifications.

use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};

use command_fds::{CommandFdExt as _, FdMapping};

use crate::site::{Site, inform};

#[tokio::test]
async fn a_passed_socket_keeps_what_came_before_the_start() {
    let site = Site::new("");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.send_to(&inform(1, 1), socket.local_addr().unwrap()).unwrap();
    let notifications = UnixDatagram::bind(site.path("notify")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_postern-gateway"));
    command.arg("run").arg("--config").arg(site.config_file()).stderr(Stdio::null());
    command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", "snmp_trap").env("NOTIFY_SOCKET", site.path("notify"));
    command.fd_mappings(vec![FdMapping { parent_fd: OwnedFd::from(socket), child_fd: 3 }]).unwrap();
    let mut daemon = command.spawn().unwrap();

    assert_eq!(next(&notifications), "READY=1\n");
    sender.recv(&mut [0; 2048]).unwrap();
    let report = site.running().until(|report| report.ledger.totals.accepted == 1).await;
    assert_eq!(report.open_alerts, 1);

    let pid = nix::unistd::Pid::from_raw(i32::try_from(daemon.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(next(&notifications), "STOPPING=1\n");
    assert!(daemon.wait().unwrap().success());
}

fn next(notifications: &UnixDatagram) -> String {
    let mut text = [0; 256];
    let length = notifications.recv(&mut text).unwrap();
    String::from_utf8_lossy(&text[..length]).into_owned()
}
