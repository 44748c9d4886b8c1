//! The text of the ruleset: a pure function from addresses, ports and user ids.
//!
//! One table, replaced in one transaction: its chains and sets are emptied and filled again, so counters and the sources that were
//! too fast at SSH stay known. Nothing but numbers and addresses is put into the text.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::IpAddr;

use crate::veto::Listener;

/// What the ruleset shall let through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ruleset {
    /// Listeners whose ports are open.
    pub(crate) open: BTreeSet<Listener>,
    /// Whether SSH's port is open.
    pub(crate) ssh: Ssh,
    /// Whom anyone here may ask for names.
    pub(crate) resolvers: BTreeSet<IpAddr>,
    /// Whom the time service may ask.
    pub(crate) time_servers: BTreeSet<IpAddr>,
    /// Whom the gateway may connect to.
    pub(crate) targets: BTreeSet<(IpAddr, u16)>,
    /// User id of the gateway.
    pub(crate) gateway: u32,
    /// User id of the time service.
    pub(crate) timesync: u32,
}

/// Whether SSH's port is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Ssh {
    /// Shut.
    #[default]
    Shut,
    /// Open, new connections limited per source.
    Open,
}

/// Chains and sets, made when absent and emptied.
const FRAME: &str = "\
table inet postern {
	counter dropped_in { }
	counter dropped_out { }
	set resolvers4 { type ipv4_addr; }
	set resolvers6 { type ipv6_addr; }
	set time4 { type ipv4_addr; }
	set time6 { type ipv6_addr; }
	set targets4 { type ipv4_addr . inet_service; }
	set targets6 { type ipv6_addr . inet_service; }
	set ssh_rate4 { type ipv4_addr; size 4096; flags dynamic,timeout; timeout 2m; }
	set ssh_rate6 { type ipv6_addr; size 4096; flags dynamic,timeout; timeout 2m; }
	chain untracked_in { type filter hook prerouting priority raw; policy accept; }
	chain input { type filter hook input priority filter; policy drop; }
	chain forward { type filter hook forward priority filter; policy drop; }
	chain output { type filter hook output priority filter; policy drop; }
}
flush chain inet postern untracked_in
flush chain inet postern input
flush chain inet postern forward
flush chain inet postern output
flush set inet postern resolvers4
flush set inet postern resolvers6
flush set inet postern time4
flush set inet postern time6
flush set inet postern targets4
flush set inet postern targets6
";

impl Ruleset {
    /// Renders the text for `nft -f -`.
    pub(crate) fn render(&self) -> String {
        let mut text = FRAME.to_owned();
        let (resolvers4, resolvers6) = by_family(&self.resolvers);
        let (time4, time6) = by_family(&self.time_servers);
        for (set, elements) in [("resolvers4", resolvers4), ("resolvers6", resolvers6), ("time4", time4), ("time6", time6)] {
            add_elements(&mut text, set, elements);
        }
        let targets = |v4: bool| self.targets.iter().filter(move |(address, _)| address.is_ipv4() == v4);
        add_elements(&mut text, "targets4", targets(true).map(|(address, port)| format!("{address} . {port}")).collect());
        add_elements(&mut text, "targets6", targets(false).map(|(address, port)| format!("{address} . {port}")).collect());
        text.push_str("table inet postern {\n");
        self.untracked(&mut text);
        self.input(&mut text);
        text.push_str("\tchain forward {\n\t\tcounter name dropped_in drop\n\t}\n");
        self.output(&mut text);
        text.push_str("}\n");
        text
    }

    /// Syslog over UDP gets no reply, so it needs no entry in the table of connections, which senders could fill.
    fn untracked(&self, text: &mut String) {
        text.push_str("\tchain untracked_in {\n");
        if self.open.contains(&Listener::Syslog) {
            text.push_str("\t\tiif != lo udp dport 514 notrack\n");
        }
        text.push_str("\t}\n");
    }

    fn input(&self, text: &mut String) {
        text.push_str(
            "\tchain input {\n\
             \t\tiif lo accept\n\
             \t\tct state established,related accept\n\
             \t\tct state invalid counter name dropped_in drop\n\
             \t\tmeta l4proto tcp ct state new tcp flags & (fin | syn | rst | ack) != syn counter name dropped_in drop\n\
             \t\tip protocol icmp icmp type echo-request limit rate 10/second burst 20 packets accept\n\
             \t\ticmpv6 type echo-request limit rate 10/second burst 20 packets accept\n\
             \t\ticmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } ip6 hoplimit 255 limit rate 100/second burst 200 packets accept\n\
             \t\ticmpv6 type mld-listener-query ip6 saddr fe80::/10 limit rate 10/second burst 20 packets accept\n\
             \t\tmeta nfproto ipv4 udp sport 67 udp dport 68 accept\n\
             \t\tip6 saddr fe80::/10 udp sport 547 udp dport 546 accept\n",
        );
        for listener in &self.open {
            let port = listener.port();
            match listener {
                Listener::Proxy | Listener::SyslogTls => text.push_str(&format!("\t\ttcp dport {port} accept\n")),
                Listener::SnmpTrap => text.push_str(&format!("\t\tudp dport {port} accept\n")),
                Listener::Syslog => text.push_str(&format!("\t\tudp dport {port} accept\n\t\ttcp dport {port} accept\n")),
            }
        }
        match self.ssh {
            Ssh::Shut => {}
            Ssh::Open => {
                for (family, set) in [("ip", "ssh_rate4"), ("ip6", "ssh_rate6")] {
                    text.push_str(&format!(
                        "\t\ttcp dport 22 update @{set} {{ {family} saddr limit rate over 6/minute burst 6 packets }} counter name dropped_in drop\n"
                    ));
                }
                text.push_str("\t\ttcp dport 22 accept\n");
            }
        }
        text.push_str("\t\tcounter name dropped_in drop\n\t}\n");
    }

    fn output(&self, text: &mut String) {
        let Self { gateway, timesync, .. } = self;
        text.push_str("\tchain output {\n");
        text.push_str(
            "\t\toif lo accept\n\
             \t\tct state established,related accept\n\
             \t\tmeta nfproto ipv4 udp sport 68 udp dport 67 accept\n\
             \t\tip6 daddr ff02::1:2 udp sport 546 udp dport 547 accept\n\
             \t\ticmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, mld2-listener-report } accept\n",
        );
        for (family, set) in [("ip", "resolvers4"), ("ip6", "resolvers6")] {
            text.push_str(&format!("\t\t{family} daddr @{set} meta l4proto {{ tcp, udp }} th dport 53 accept\n"));
        }
        for (family, set) in [("ip", "time4"), ("ip6", "time6")] {
            text.push_str(&format!("\t\tmeta skuid {timesync} {family} daddr @{set} udp dport 123 accept\n"));
        }
        for (family, set) in [("ip", "targets4"), ("ip6", "targets6")] {
            text.push_str(&format!("\t\tmeta skuid {gateway} {family} daddr . tcp dport @{set} accept\n"));
        }
        // A program that is refused learns it at once, instead of waiting for nobody.
        text.push_str("\t\tmeta l4proto tcp counter name dropped_out reject with tcp reset\n");
        text.push_str("\t\tcounter name dropped_out reject with icmpx admin-prohibited\n\t}\n");
    }
}

fn by_family(addresses: &BTreeSet<IpAddr>) -> (Vec<String>, Vec<String>) {
    let of = |v4: bool| addresses.iter().filter(|address| address.is_ipv4() == v4).map(IpAddr::to_string).collect();
    (of(true), of(false))
}

fn add_elements(text: &mut String, set: &str, elements: Vec<impl Display>) {
    if !elements.is_empty() {
        let elements: Vec<String> = elements.iter().map(ToString::to_string).collect();
        text.push_str(&format!("add element inet postern {set} {{ {} }}\n", elements.join(", ")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ruleset() -> Ruleset {
        Ruleset { gateway: 970, timesync: 997, ..Ruleset::default() }
    }

    #[test]
    fn without_anything_known_nothing_is_open_and_no_set_is_filled() {
        let text = ruleset().render();
        assert!(!text.contains("add element") && !text.contains("notrack"));
        for port in ["162", "514", "6514", "3128", "22 "] {
            assert!(!text.contains(&format!("dport {port}")), "{port}");
        }
    }

    #[test]
    fn sets_carry_the_addresses_by_family() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let text = Ruleset {
            open: Listener::ALL.into(),
            ssh: Ssh::Open,
            resolvers: [address("192.0.2.53"), address("2001:db8::53")].into(),
            time_servers: [address("192.0.2.123")].into(),
            targets: [(address("192.0.2.8"), 443), (address("192.0.2.9"), 443), (address("2001:db8::8"), 8443)].into(),
            ..ruleset()
        }
        .render();
        for line in [
            "add element inet postern resolvers4 { 192.0.2.53 }\n",
            "add element inet postern resolvers6 { 2001:db8::53 }\n",
            "add element inet postern time4 { 192.0.2.123 }\n",
            "add element inet postern targets4 { 192.0.2.8 . 443, 192.0.2.9 . 443 }\n",
            "add element inet postern targets6 { 2001:db8::8 . 8443 }\n",
            "\t\ttcp dport 3128 accept\n\t\tudp dport 162 accept\n\t\tudp dport 514 accept\n\t\ttcp dport 514 accept\n\t\ttcp dport 6514 accept\n",
            "\t\ttcp dport 22 accept\n",
            "\t\tmeta skuid 970 ip daddr . tcp dport @targets4 accept\n",
            "\t\tmeta skuid 997 ip daddr @time4 udp dport 123 accept\n",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
