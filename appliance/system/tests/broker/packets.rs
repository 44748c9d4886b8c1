//! The real ruleset in a network namespace, and real packets to and from it.

use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Output};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use postern_appliance::veto::Listener;

use crate::site::{GATEWAY, Nft, Site, done};

const APPLIANCE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const SHORT: Duration = Duration::from_millis(400);
const TIMESYNC: u32 = 997;

/// A network namespace, held by a process that sleeps.
struct Namespace(Child);

impl Namespace {
    fn new() -> Self {
        // Ends with the test, however that ends.
        let child = Command::new("setpriv").args(["--pdeathsig", "KILL", "unshare", "--net", "sleep", "600"]).spawn().unwrap();
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        let start = std::time::Instant::now();
        while std::fs::read_link(format!("/proc/{}/ns/net", child.id())).is_ok_and(|of| of == own) {
            assert!(start.elapsed() < crate::site::SOON, "no namespace");
            std::thread::sleep(Duration::from_millis(5));
        }
        let namespace = Self(child);
        namespace.run(&["ip", "link", "set", "lo", "up"]);
        namespace
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--target", &self.0.id().to_string(), "--"]).args(args);
        command
    }

    fn run(&self, args: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.command(args).output().unwrap();
        assert!(status.success(), "{args:?}: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).unwrap()
    }

    /// Does `work` in here.
    fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let namespace: OwnedFd = std::fs::File::open(format!("/proc/{}/ns/net", self.0.id())).unwrap().into();
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
                work()
            });
            thread.join().unwrap()
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// An appliance with its real firewall and a machine on the same wire.
struct Wire {
    site: Site,
    appliance: Namespace,
    outside: Namespace,
}

impl Wire {
    fn new() -> Option<Self> {
        let mut site = Site::with(Nft::Real)?;
        let (appliance, outside) = (Namespace::new(), Namespace::new());
        let peer = outside.0.id().to_string();
        appliance.run(&["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", &peer]);
        for (namespace, address) in [(&appliance, APPLIANCE), (&outside, OUTSIDE)] {
            namespace.run(&["ip", "address", "add", &format!("{address}/24"), "dev", "eth0"]);
            namespace.run(&["ip", "link", "set", "eth0", "up"]);
        }
        site.namespace_of = Some(appliance.0.id());
        Some(Self { site, appliance, outside })
    }

    /// A TCP connection from outside: made, refused aloud, or without an answer.
    fn connect(&self, port: u16) -> Result<TcpStream, std::io::ErrorKind> {
        self.outside.within(|| TcpStream::connect_timeout(&(APPLIANCE, port).into(), SHORT)).map_err(|error| error.kind())
    }

    fn wait_for_ruleset(&self) {
        let listed = || self.appliance.command(&["nft", "list", "table", "inet", "postern"]).output().unwrap();
        self.site.wait_for("the ruleset", || listed().status.success());
    }

    /// Listens in the appliance on all addresses.
    fn listen(&self, port: u16) -> TcpListener {
        self.appliance.within(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap())
    }

    /// Connects from the appliance as `uid`; returns what bash says, empty when it is connected.
    fn connect_as(&self, uid: u32, port: u16) -> String {
        let script = format!("exec 3<>/dev/tcp/{OUTSIDE}/{port}");
        let uid = uid.to_string();
        let args = ["setpriv", "--reuid", &uid, "--regid", &uid, "--clear-groups", "timeout", "5", "bash", "-c", &script];
        let output = self.appliance.command(&args).output().unwrap();
        if output.status.success() { String::new() } else { format!("{} {}", output.status, String::from_utf8_lossy(&output.stderr)) }
    }

    /// Sends a datagram from the appliance as `uid`; whether it leaves is the receiver's to say.
    fn send_as(&self, uid: u32, port: u16) {
        let script = format!("echo x > /dev/udp/{OUTSIDE}/{port}");
        let uid = uid.to_string();
        let args = ["setpriv", "--reuid", &uid, "--regid", &uid, "--clear-groups", "bash", "-c", &script];
        self.appliance.command(&args).output().unwrap();
    }
}

#[test]
fn only_open_ports_answer_and_all_else_is_dropped_and_counted() {
    let Some(mut wire) = Wire::new() else { return };
    assert!(wire.site.run(&["boot"]).status.success());
    let listeners: Vec<TcpListener> = [22, 514, 3128, 6514, 9999].map(|port| wire.listen(port)).into();
    for port in [22, 514, 3128, 6514, 9999] {
        assert_eq!(wire.connect(port).unwrap_err(), std::io::ErrorKind::TimedOut, "{port} before the broker serves");
    }
    wire.site.write("active/postern-syslog-tls.socket", "");
    wire.site.write("active/postern-syslog-udp.socket", "");
    wire.site.start();
    wire.site.wait_for("the port to open", || wire.site.status().firewall.open == [Listener::Syslog, Listener::SyslogTls]);
    let before = wire.site.status().firewall.dropped_in;
    for port in [514, 6514] {
        assert!(wire.connect(port).is_ok(), "{port}");
    }
    for port in [22, 3128, 9999] {
        assert_eq!(wire.connect(port).unwrap_err(), std::io::ErrorKind::TimedOut, "{port}");
    }
    assert!(wire.site.status().firewall.dropped_in >= before + 3);

    // Syslog by UDP arrives and leaves no entry in the table of connections; another port gives no sign of life.
    let syslog = wire.appliance.within(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 514)).unwrap());
    syslog.set_read_timeout(Some(SHORT)).unwrap();
    let sender = wire.outside.within(|| UdpSocket::bind((OUTSIDE, 0)).unwrap());
    sender.set_read_timeout(Some(SHORT)).unwrap();
    sender.send_to(b"<13>hello", (APPLIANCE, 514)).unwrap();
    assert_eq!(syslog.recv(&mut [0; 64]).unwrap(), 9);
    let counted = wire.site.status().firewall.dropped_in;
    for port in 2000..2100 {
        sender.send_to(b"probe", (APPLIANCE, port)).unwrap();
    }
    assert!(sender.recv(&mut [0; 64]).is_err(), "a closed port answered");
    assert_eq!(wire.site.status().firewall.dropped_in, counted + 100);
    drop(listeners);

    // A socket that goes is a port that shuts, and connections that are made stay.
    let listener = wire.listen(6514);
    let mut held = wire.connect(6514).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    std::fs::remove_file(wire.site.at("active/postern-syslog-tls.socket")).unwrap();
    assert_eq!(wire.site.ask(r#"{"verb":"firewall"}"#), done());
    assert_eq!(wire.connect(6514).unwrap_err(), std::io::ErrorKind::TimedOut);
    std::io::Write::write_all(&mut &accepted, b"still here").unwrap();
    held.set_read_timeout(Some(SHORT)).unwrap();
    held.read_exact(&mut [0; 10]).unwrap();
    assert!(wire.site.status().firewall.dropped_in > counted, "a reload keeps the counters");
}

#[test]
fn an_inform_is_answered_and_nothing_else_leaves_from_its_port() {
    let Some(mut wire) = Wire::new() else { return };
    wire.site.write("active/postern-snmp-trap.socket", "");
    wire.site.start();
    wire.site.wait_for("the port to open", || wire.site.status().firewall.open == [Listener::SnmpTrap]);
    let receiver = wire.appliance.within(|| UdpSocket::bind((APPLIANCE, 162)).unwrap());
    let sender = wire.outside.within(|| UdpSocket::bind((OUTSIDE, 0)).unwrap());
    let stranger = wire.outside.within(|| UdpSocket::bind((OUTSIDE, 0)).unwrap());
    for socket in [&receiver, &sender, &stranger] {
        socket.set_read_timeout(Some(SHORT)).unwrap();
    }
    sender.send_to(b"inform", (APPLIANCE, 162)).unwrap();
    let (_, from) = receiver.recv_from(&mut [0; 64]).unwrap();
    receiver.send_to(b"response", from).unwrap();
    assert_eq!(sender.recv(&mut [0; 64]).unwrap(), 8);
    let refused = receiver.send_to(b"exfiltrated", stranger.local_addr().unwrap());
    assert!(refused.is_err() || stranger.recv(&mut [0; 64]).is_err());
}

#[test]
fn only_the_gateway_reaches_only_the_control_plane() {
    let Some(mut wire) = Wire::new() else { return };
    wire.site.start();
    let settings = format!(r#"{{"verb":"apply","settings":{{"control_plane":"https://{OUTSIDE}:8443","ntp":"{OUTSIDE}"}}}}"#);
    assert_eq!(wire.site.ask(&settings), done());
    let _listeners = wire.outside.within(|| [8443, 443].map(|port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap()));
    assert_eq!(wire.connect_as(GATEWAY, 8443), "");
    for (uid, port) in [(GATEWAY, 443), (TIMESYNC, 8443), (0, 8443), (0, 443)] {
        let said = wire.connect_as(uid, port);
        assert!(said.contains("Connection refused"), "{uid} {port}: {said}");
    }
    assert!(wire.site.status().firewall.dropped_out >= 4);
    // By UDP: the time service its server, anyone a resolver, and nobody anything else.
    wire.site.write("run/systemd/resolve/resolv.conf", &format!("nameserver {OUTSIDE}\n"));
    assert_eq!(wire.site.ask(r#"{"verb":"firewall"}"#), done());
    for (uid, port, arrives) in [(TIMESYNC, 123, true), (GATEWAY, 123, false), (GATEWAY, 53, true), (0, 53, true), (GATEWAY, 5353, false)] {
        let receiver = wire.outside.within(|| UdpSocket::bind((OUTSIDE, port)).unwrap());
        receiver.set_read_timeout(Some(SHORT)).unwrap();
        wire.send_as(uid, port);
        assert_eq!(receiver.recv(&mut [0; 16]).is_ok(), arrives, "{uid} {port}");
    }
}

#[test]
fn ssh_is_open_while_it_is_on_and_slow_for_one_source() {
    let Some(mut wire) = Wire::new() else { return };
    wire.site.write("active/postern-ssh.service", "");
    wire.site.write("run/postern/ssh.json", r#"{"until_s":9000000000}"#);
    wire.site.start();
    let _listener = wire.listen(22);
    wire.wait_for_ruleset();
    let made = (0..12).filter(|_| wire.connect(22).is_ok()).count();
    assert!((3..=7).contains(&made), "{made} of 12");
}

#[test]
fn every_direction_is_shut_by_default_also_over_the_images_own_ruleset() {
    let Some(mut wire) = Wire::new() else { return };
    // As /etc/nftables.conf has it.
    let chain = |hook: &str| format!("chain {hook} {{ type filter hook {hook} priority filter; policy drop; }}\n");
    wire.site.write("static.nft", &format!("table inet postern {{\n{}}}\n", ["input", "forward", "output"].map(chain).concat()));
    wire.appliance.run(&["nft", "-f", wire.site.at("static.nft").to_str().unwrap()]);
    let booted = wire.site.run(&["boot"]);
    assert!(booted.status.success(), "{booted:?}");
    wire.site.start();
    assert_eq!(wire.site.status().firewall.failure, None);
    let rules = wire.appliance.run(&["nft", "list", "table", "inet", "postern"]);
    for chain in
        ["hook input priority filter; policy drop", "hook forward priority filter; policy drop", "hook output priority filter; policy drop"]
    {
        assert!(rules.contains(chain), "{chain}");
    }
}
