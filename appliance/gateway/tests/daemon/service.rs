//! The service manager's side: passed sockets, notifications, the watchdog, and whose the status socket is.

use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt as _, FdMapping};
use postern_protocol::status::Status;
use socket2::{Domain, Socket, Type};

use crate::site::{Site, inform};

/// A daemon with a service manager, which is this test.
struct Service {
    site: Site,
    notifications: UnixDatagram,
    daemon: Option<Child>,
}

impl Service {
    fn new() -> Self {
        let site = Site::new("");
        let notifications = UnixDatagram::bind(site.path("notify")).unwrap();
        notifications.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { site, notifications, daemon: None }
    }

    fn command(&self, names: &str, sockets: Vec<OwnedFd>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postern-gateway"));
        command.arg("run").arg("--config").arg(self.site.config_file()).stderr(Stdio::null());
        command.env("LISTEN_FDS", sockets.len().to_string()).env("LISTEN_FDNAMES", names).env("NOTIFY_SOCKET", self.site.path("notify"));
        let mappings = (3..).zip(sockets).map(|(child_fd, parent_fd)| FdMapping { parent_fd, child_fd });
        command.fd_mappings(mappings.collect()).unwrap();
        command
    }

    /// Starts the daemon with `socket` as its trap listener, and waits until it is ready.
    fn start(&mut self, socket: &UdpSocket) {
        self.daemon = Some(self.command("snmp_trap", vec![socket.try_clone().unwrap().into()]).spawn().unwrap());
        self.hear("READY=1");
    }

    fn stop(&mut self) {
        let mut daemon = self.daemon.take().unwrap();
        let pid = nix::unistd::Pid::from_raw(i32::try_from(daemon.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        self.hear("STOPPING=1");
        assert!(daemon.wait().unwrap().success());
    }

    /// Waits for a notification with this line; returns all of it.
    fn hear(&self, line: &str) -> String {
        loop {
            let mut text = [0; 1024];
            let length = self.notifications.recv(&mut text).unwrap();
            let text = String::from_utf8_lossy(&text[..length]).into_owned();
            if text.lines().any(|said| said == line) {
                return text;
            }
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().unwrap();
            daemon.wait().unwrap();
        }
    }
}

#[tokio::test]
async fn a_passed_socket_keeps_what_comes_before_the_start_and_between_two() {
    let mut service = Service::new();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let send = |numbers: std::ops::Range<i64>| {
        for number in numbers {
            sender.send_to(&inform(number, number), socket.local_addr().unwrap()).unwrap();
        }
    };
    send(0..40);
    service.start(&socket);
    for _ in 0..40 {
        sender.recv(&mut [0; 2048]).unwrap();
    }
    service.stop();
    send(40..100);
    service.start(&socket);
    let report = service.site.running().until(|report| report.ledger.totals.accepted == 100).await;
    // And two that say so: many of one kind at once are a storm, of this source and of the gateway.
    assert_eq!((report.open_alerts, report.ledger.totals.received), (102, 100));
    service.stop();
}

#[tokio::test]
async fn what_a_passed_socket_drops_while_nobody_reads_is_counted_once() {
    let mut service = Service::new();
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    let socket = UdpSocket::from(socket);
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut sent = 0;
    for _ in 0..2 {
        // Far more than a socket takes; each start must find only what is new.
        socket2::SockRef::from(&socket).set_recv_buffer_size(4096).unwrap();
        for number in 0..500 {
            sender.send_to(&inform(number, 1), socket.local_addr().unwrap()).unwrap();
        }
        sent += 500;
        service.start(&socket);
        let report =
            service.site.running().until(|report| report.ledger.totals.received == sent && report.ledger.totals.in_flight == 0).await;
        assert!(report.ledger.totals.dropped["kernel_buffer"] > 0, "{report:?}");
        service.stop();
    }
}

#[tokio::test]
async fn one_passed_socket_for_both_families_knows_its_senders() {
    let mut service = Service::new();
    let Ok(socket) = UdpSocket::bind("[::]:0") else {
        println!("skipped: there is no IPv6 here");
        return;
    };
    let port = socket.local_addr().unwrap().port();
    service.start(&socket);
    for (number, from, to) in [(1, "127.0.0.1:0", format!("127.0.0.1:{port}")), (2, "[::1]:0", format!("[::1]:{port}"))] {
        let sender = UdpSocket::bind(from).unwrap();
        sender.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        sender.send_to(&inform(number, number), to).unwrap();
        sender.recv(&mut [0; 2048]).unwrap();
    }
    let report = service.site.running().until(|report| report.ledger.totals.accepted == 2).await;
    let mut sources: Vec<&str> = report.ledger.top_sources.iter().map(|source| source.source.as_str()).collect();
    sources.sort_unstable();
    assert_eq!(sources, ["127.0.0.1", "::1"]);
    service.stop();
}

#[tokio::test]
async fn a_receive_buffer_of_the_service_manager_is_not_made_smaller() {
    let mut service = Service::new();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let force = nix::sys::socket::sockopt::RcvBufForce;
    // More than the configuration asks for and, in a default kernel, than rmem_max.
    if nix::sys::socket::setsockopt(&socket, force, &(8 << 20)).is_err() {
        println!("skipped: not allowed to force a buffer");
        return;
    }
    service.start(&socket);
    let report = service.site.running().status().await;
    let listener = report.listeners.iter().find(|listener| listener.name == "snmp_trap").unwrap();
    assert!(listener.rcvbuf_effective.unwrap() >= 8 << 20, "{listener:?}");
    service.stop();
}

#[test]
fn passed_sockets_that_would_be_left_aside_keep_the_daemon_from_starting() {
    let service = Service::new();
    let udp = || OwnedFd::from(UdpSocket::bind("127.0.0.1:0").unwrap());
    let tcp = || OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap());
    let silent = || OwnedFd::from(Socket::new(Domain::IPV4, Type::STREAM, None).unwrap());
    let file = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    for (names, sockets, reason) in [
        ("snmp_trap:snmp_trap", vec![udp(), udp()], "two passed sockets are named snmp_trap"),
        ("snmp_trap", vec![udp(), udp()], "2 sockets are passed with 1 names"),
        ("trap", vec![udp()], "which is none of proxy, snmp_trap"),
        ("snmp_trap", vec![tcp()], "snmp_trap is not a socket of its kind"),
        ("syslog_tls", vec![silent()], "syslog_tls does not listen"),
        ("proxy", vec![file()], "proxy is not a socket of its kind"),
    ] {
        let output: Output = service.command(names, sockets).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(reason), "{names}: {said}");
    }
}

#[test]
fn an_idle_daemon_feeds_its_watchdog_and_tells_of_its_tunnel() {
    let mut service = Service::new();
    let period = Duration::from_secs(4);
    let mut command = service.command("", Vec::new());
    command.env_remove("LISTEN_FDS").env("WATCHDOG_USEC", period.as_micros().to_string());
    service.daemon = Some(command.spawn().unwrap());
    let ready = service.hear("READY=1");
    assert!(ready.contains("STATUS=enrolled as gw-test of default; tunnel "), "{ready}");
    let mut last = Instant::now();
    for _ in 0..2 {
        service.hear("WATCHDOG=1");
        assert!(last.elapsed() < period, "{:?}", last.elapsed());
        last = Instant::now();
    }
    service.stop();
}

#[tokio::test]
async fn a_service_manager_that_hangs_does_not_hold_the_daemon() {
    let mut service = Service::new();
    service.daemon = Some(service.command("", Vec::new()).env_remove("LISTEN_FDS").spawn().unwrap());
    service.site.running().ready().await;
    // Until its queue is full; nobody reads.
    let flood = UnixDatagram::unbound().unwrap();
    flood.set_nonblocking(true).unwrap();
    while flood.send_to(b"X=1", service.site.path("notify")).is_ok() {}
    let mut daemon = service.daemon.take().unwrap();
    let pid = nix::unistd::Pid::from_raw(i32::try_from(daemon.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert!(daemon.wait().unwrap().success());
}

/// The appliance's case: the daemon is another user's, and its directory is closed.
#[tokio::test]
async fn root_may_ask_a_daemon_of_another_user() {
    const NOBODY: u32 = 65_534;
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        println!("skipped: not root");
        return;
    }
    let mut service = Service::new();
    let mut paths = vec![service.site.path("")];
    while let Some(path) = paths.pop() {
        std::os::unix::fs::chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
        if path.is_dir() {
            paths.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    let mut command = service.command("", Vec::new());
    service.daemon = Some(command.env_remove("LISTEN_FDS").uid(NOBODY).gid(NOBODY).spawn().unwrap());
    service.hear("READY=1");
    let mut asked = Command::new(env!("CARGO_BIN_EXE_postern-gateway"));
    let output = asked.args(["status", "--json", "--config"]).arg(service.site.config_file()).output().unwrap();
    let report: Status = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report.sandbox.is_some());
    service.stop();
}
