//! Where the firewall's openings come from: socket units that are active, resolvers and time servers in use, the settings.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::super::paths::Paths;
use crate::files::read_foreign;
use crate::settings::Settings;
use crate::settings::host::Host;
use crate::settings::url::Target;
use crate::veto::{Listener, Veto};

/// Which unit listens for what. Nothing else ever gets an open port, whatever is active.
pub(crate) const UNITS: [(&str, Listener); 5] = [
    ("postern-proxy.socket", Listener::Proxy),
    ("postern-snmp-trap.socket", Listener::SnmpTrap),
    ("postern-syslog-tcp.socket", Listener::Syslog),
    ("postern-syslog-tls.socket", Listener::SyslogTls),
    ("postern-syslog-udp.socket", Listener::Syslog),
];

const MAX_FILE_BYTES: u64 = 64 * 1024;
/// systemd-networkd and -resolved list those of all links; more than a few are somebody's mistake.
const MAX_LEASED: usize = 8;

/// Returns the listeners whose ports shall be open, by the units that are active.
pub(crate) fn open_listeners(active: &BTreeSet<String>, veto: Option<&Veto>) -> BTreeSet<Listener> {
    let Some(veto) = veto else { return BTreeSet::new() };
    let open = UNITS.iter().filter(|(unit, listener)| active.contains(*unit) && !veto.listeners_off.contains(listener));
    open.map(|(_, listener)| *listener).collect()
}

/// Returns whom the gateway connects to: the site's proxy, or the control plane when there is none.
///
/// The gateway's own CONNECT listener dials through the same proxy, so nothing else is needed.
pub(crate) fn target(settings: &Settings) -> Option<&Target> {
    let control_plane = settings.control_plane.as_ref()?;
    Some(settings.proxy.as_ref().map_or(control_plane.target(), |proxy| proxy.target()))
}

/// Returns the resolvers in use, as systemd-resolved wrote them.
pub(crate) fn resolvers(paths: &Paths) -> BTreeSet<IpAddr> {
    let text = read_foreign(&paths.at("/run/systemd/resolve/resolv.conf"), MAX_FILE_BYTES);
    text.as_deref().map(parse_resolvers).unwrap_or_default()
}

/// Returns the time servers in use: the settings', or those of the lease.
pub(crate) fn time_servers(paths: &Paths, settings: &Settings) -> Vec<Host> {
    if !settings.ntp.hosts().is_empty() {
        return settings.ntp.hosts().to_vec();
    }
    let text = read_foreign(&paths.at("/run/systemd/netif/state"), MAX_FILE_BYTES);
    text.as_deref().map(parse_leased_time_servers).unwrap_or_default()
}

fn parse_resolvers(text: &str) -> BTreeSet<IpAddr> {
    let servers = text.lines().filter_map(|line| line.strip_prefix("nameserver "));
    // A link-local address carries its zone: `fe80::1%2`.
    let addresses = servers.filter_map(|server| server.trim().split('%').next()?.parse::<IpAddr>().ok());
    addresses.map(|address| address.to_canonical()).take(MAX_LEASED).collect()
}

fn parse_leased_time_servers(text: &str) -> Vec<Host> {
    let leased = text.lines().find_map(|line| line.strip_prefix("NTP=")).unwrap_or_default();
    leased.split_ascii_whitespace().filter_map(|word| word.parse().ok()).take(MAX_LEASED).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Submission;

    #[test]
    fn only_known_units_open_ports_and_the_veto_beats_them() {
        let active: BTreeSet<String> = ["postern-proxy.socket", "postern-syslog-udp.socket", "sshd.socket"].map(str::to_owned).into();
        let open = open_listeners(&active, Some(&Veto::default()));
        assert_eq!(open, [Listener::Proxy, Listener::Syslog].into());
        let veto = Veto { listeners_off: vec![Listener::Proxy], ..Veto::default() };
        assert_eq!(open_listeners(&active, Some(&veto)), [Listener::Syslog].into());
        assert!(open_listeners(&active, None).is_empty(), "a damaged veto forbids everything");
    }

    #[test]
    fn the_proxy_takes_the_place_of_the_control_plane() {
        let of = |pairs: &[(&str, &str)]| target(&Submission::parse(pairs.iter().copied()).unwrap().settings).map(ToString::to_string);
        assert_eq!(of(&[("control_plane", "https://c.example")]), Some("c.example:443".into()));
        assert_eq!(of(&[("control_plane", "https://c.example"), ("proxy", "http://192.0.2.8")]), Some("192.0.2.8:3128".into()));
        assert_eq!(of(&[("proxy", "http://192.0.2.8")]), None);
    }

    #[test]
    fn leases_are_read_and_garbage_in_them_is_not() {
        let text = "# x\nnameserver 192.0.2.53\nnameserver fe80::1%2\nnameserver }; flush ruleset\nsearch lan\n";
        let addresses: Vec<String> = parse_resolvers(text).iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["192.0.2.53", "fe80::1"]);
        let hosts = parse_leased_time_servers("OPER_STATE=routable\nNTP=192.0.2.123 ntp.lan a}b\n");
        assert_eq!(hosts.iter().map(ToString::to_string).collect::<Vec<_>>(), ["192.0.2.123", "ntp.lan"]);
        assert!(parse_leased_time_servers("").is_empty());
    }
}
