//! Files for systemd-networkd, -resolved and -timesyncd.

use super::MADE;
use crate::settings::Settings;
use crate::settings::network::Network;

/// Renders the `.network` file for the appliance's network card.
pub(super) fn network_file(settings: &Settings) -> String {
    let mut text = format!("{MADE}[Match]\nType=ether\n\n[Network]\nLLMNR=no\nMulticastDNS=no\n");
    match &settings.network {
        Network::Dhcp => {
            let use_dns = yes_no(settings.dns.addresses().is_empty());
            let use_ntp = yes_no(settings.ntp.hosts().is_empty());
            text.push_str("LinkLocalAddressing=ipv6\nDHCP=yes\nIPv6AcceptRA=yes\n\n");
            // The card's address rather than the machine's id: what a site reserves leases by.
            text.push_str(&format!("[DHCPv4]\nClientIdentifier=mac\nUseHostname=no\nUseDNS={use_dns}\nUseNTP={use_ntp}\n\n"));
            text.push_str(&format!("[DHCPv6]\nUseHostname=no\nUseDNS={use_dns}\nUseNTP={use_ntp}\n\n"));
            text.push_str(&format!("[IPv6AcceptRA]\nUseDNS={use_dns}\n"));
        }
        Network::Static { address, gateway } => {
            let link_local = if address.address().is_ipv6() { "ipv6" } else { "no" };
            text.push_str(&format!("LinkLocalAddressing={link_local}\nDHCP=no\nIPv6AcceptRA=no\nAddress={address}\n"));
            if let Some(gateway) = gateway {
                text.push_str(&format!("Gateway={gateway}\n"));
            }
        }
    }
    text
}

/// Renders the drop-in of systemd-resolved.
pub(super) fn resolved_file(settings: &Settings) -> String {
    format!("{MADE}[Resolve]\nDNS={}\nFallbackDNS=\nLLMNR=no\nMulticastDNS=no\nDNSStubListener=no\n", settings.dns)
}

/// Renders the drop-in of systemd-timesyncd.
pub(super) fn timesyncd_file(settings: &Settings) -> String {
    format!("{MADE}[Time]\nNTP={}\nFallbackNTP=\n", settings.ntp)
}

const fn yes_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Submission;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        Submission::parse(pairs.iter().copied()).unwrap().settings
    }

    #[test]
    fn without_settings_everything_comes_by_dhcp() {
        let settings = settings(&[]);
        assert_eq!(
            network_file(&settings).strip_prefix(MADE).unwrap(),
            "[Match]\nType=ether\n\n[Network]\nLLMNR=no\nMulticastDNS=no\nLinkLocalAddressing=ipv6\nDHCP=yes\nIPv6AcceptRA=yes\n\n\
             [DHCPv4]\nClientIdentifier=mac\nUseHostname=no\nUseDNS=yes\nUseNTP=yes\n\n\
             [DHCPv6]\nUseHostname=no\nUseDNS=yes\nUseNTP=yes\n\n[IPv6AcceptRA]\nUseDNS=yes\n"
        );
        assert_eq!(
            resolved_file(&settings).strip_prefix(MADE).unwrap(),
            "[Resolve]\nDNS=\nFallbackDNS=\nLLMNR=no\nMulticastDNS=no\nDNSStubListener=no\n"
        );
        assert_eq!(timesyncd_file(&settings).strip_prefix(MADE).unwrap(), "[Time]\nNTP=\nFallbackNTP=\n");
    }

    #[test]
    fn what_the_site_sets_takes_the_place_of_the_leases() {
        let settings = settings(&[("dns", "192.0.2.53,192.0.2.54"), ("ntp", "a.example 192.0.2.123")]);
        let network = network_file(&settings);
        assert_eq!((network.matches("UseDNS=no").count(), network.matches("UseNTP=no").count()), (3, 2));
        assert!(resolved_file(&settings).contains("\nDNS=192.0.2.53 192.0.2.54\n"));
        assert!(timesyncd_file(&settings).contains("\nNTP=a.example 192.0.2.123\n"));
    }

    #[test]
    fn a_fixed_address_has_no_other_beside_it() {
        let v4 = network_file(&settings(&[("address", "192.0.2.10/24"), ("gateway", "192.0.2.1")]));
        assert!(v4.ends_with("LinkLocalAddressing=no\nDHCP=no\nIPv6AcceptRA=no\nAddress=192.0.2.10/24\nGateway=192.0.2.1\n"));
        let v6 = network_file(&settings(&[("address", "2001:db8::5/64")]));
        assert!(v6.ends_with("LinkLocalAddressing=ipv6\nDHCP=no\nIPv6AcceptRA=no\nAddress=2001:db8::5/64\n"));
    }
}
