//! The appliance from outside: which ports answer, how, and what it says to others by itself.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use postern_tests::deadline::wait_for;
use postern_tests::tools::{printed, run};

use crate::harness::REACTION;
use crate::harness::machine::Machine;
use crate::harness::site::{NEIGHBOUR, Site, Wire};

/// Syslog, syslog over TLS, and the proxy.
const TCP: [u16; 3] = [514, 3128, 6514];
const UDP: [u16; 2] = [162, 514];

pub(crate) fn only_the_stated_tcp_ports_are_open(address: IpAddr) {
    assert_eq!(open_tcp_ports(address), TCP);
}

/// The ports that nmap finds open, all 65,535 tried.
pub(crate) fn open_tcp_ports(address: IpAddr) -> Vec<u16> {
    let address = address.to_string();
    // No answer is the rule here, so waiting for one is what takes the time.
    let pace = ["--min-rate", "4000", "--max-retries", "2", "--max-rtt-timeout", "500ms"];
    let output = run("nmap", &[&["-n", "-Pn", "-sS", "-p-", "-oG", "-"], &pace[..], &[&address]].concat());
    let text = printed(&output);
    assert!(output.status.success(), "{text}");
    let ports = text.lines().filter_map(|line| line.split_once("Ports: ")).flat_map(|(_, ports)| ports.split(", "));
    ports.filter(|port| port.contains("/open/")).map(|port| port.split('/').next().unwrap().trim().parse().unwrap()).collect()
}

/// 1,000 other ports: no answer of any kind, and the firewall has counted them.
pub(crate) fn other_udp_ports_drop_and_count(machine: &Machine, wire: &Wire, address: IpAddr) {
    let before = dropped_in(machine).unwrap_or_else(|seen| panic!("no counter on the console: {seen}"));
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let mut probed = 0;
    for port in (1..=1002).filter(|port| !UDP.contains(port) && *port != 68) {
        socket.send_to(b"\x00probe", SocketAddr::new(address, port)).unwrap();
        probed += 1;
    }
    wait_for("the drop counter", REACTION, || {
        let now = dropped_in(machine)?;
        // A datagram may be lost on its way through an emulated card.
        if now >= before + probed * 9 / 10 { Ok(()) } else { Err(format!("{before} before, {now} now")) }
    });
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut buffer = [0; 64];
    assert!(socket.recv_from(&mut buffer).is_err(), "something answered");
    let port = socket.local_addr().unwrap().port();
    let told = wire.packets(&format!("src host {address} and (udp dst port {port} or icmp)"));
    assert!(told.is_empty(), "{told:#?}");
}

/// What the console says now about packets that the firewall dropped.
fn dropped_in(machine: &Machine) -> Result<u64, String> {
    let text = machine.console.text();
    let (_, rest) = text.rsplit_once("dropped_in").ok_or_else(|| machine.console.tail())?;
    let digits: String = rest.chars().skip_while(|char| !char.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    digits.parse().map_err(|_| machine.console.tail())
}

/// No old version, no weak cipher, no weak key, as sslscan names them.
pub(crate) fn tls_is_strong(address: IpAddr) {
    for port in [6514, 3128] {
        let output = run("sslscan", &["--no-colour", "--xml=-", "--show-certificate", &format!("{address}:{port}")]);
        let text = printed(&output);
        assert!(output.status.success(), "{text}");
        let enabled: Vec<&str> = text.lines().filter(|line| line.contains("<protocol") && line.contains("enabled=\"1\"")).collect();
        assert!(!enabled.is_empty(), "port {port}: {text}");
        for line in enabled {
            assert!(line.contains("version=\"1.2\"") || line.contains("version=\"1.3\""), "port {port}: {line}");
        }
        let ciphers: Vec<&str> = text.lines().filter(|line| line.contains("<cipher ")).collect();
        assert!(!ciphers.is_empty(), "port {port}: {text}");
        for line in ciphers {
            assert!(line.contains("strength=\"strong\"") || line.contains("strength=\"acceptable\""), "port {port}: {line}");
            assert!(["GCM", "CHACHA20"].iter().any(|mode| line.contains(mode)), "port {port}, not authenticated encryption: {line}");
        }
        for weak in ["<renegotiation supported=\"1\" secure=\"0\"", "<compression supported=\"1\"", "vulnerable=\"1\""] {
            assert!(!text.contains(weak), "port {port}: {weak} in {text}");
        }
    }
}

/// CONNECT reaches the control plane and nobody else; a push without a signature is refused with a reason.
pub(crate) fn the_proxy_leads_to_the_control_plane_only(site: &Site, address: IpAddr) {
    let proxy = format!("http://{address}:3128");
    let through = |url: &str| run("curl", &["-sS", "-v", "--max-time", "20", "-x", &proxy, "--cacert", site.api.ca(), url]);
    let document = through("https://control.test/api/v1/openapi.json");
    assert!(document.status.success() && document.stdout.starts_with(b"{"), "{}", printed(&document));
    let elsewhere = printed(&through(&format!("https://{NEIGHBOUR}/")));
    assert!(elsewhere.contains("403"), "{elsewhere}");
    let push = run("curl", &["-sS", "--max-time", "20", "-w", "%{http_code}", "-d", "{}", &format!("{proxy}/v1/push")]);
    let text = printed(&push);
    assert!(text.ends_with("401") || text.ends_with("403"), "{text}");
}

/// Everything that the machine sent in its life is one of the few things that it may send.
pub(crate) fn nothing_else_went_out(wire: &Wire) {
    let from_machine = "ether src 52:54:00:99:00:50";
    let answers = "(tcp src port 514 or tcp src port 6514 or tcp src port 3128 or udp src port 162)";
    let control_plane = "(dst host 10.99.0.1 and tcp dst port 443)";
    let names_and_time = "(dst host 10.99.0.1 and (udp dst port 53 or tcp dst port 53 or udp dst port 123))";
    let addresses = "(arp or udp dst port 67 or (ip6 and udp dst port 547) or (ip6 and ip6[6] = 58) or (ip6 multicast and ip6[6] = 0))";
    let allowed = [answers, control_plane, names_and_time, addresses].join(" or ");
    let others = wire.packets(&format!("{from_machine} and not ({allowed})"));
    assert!(others.is_empty(), "{others:#?}");
}
