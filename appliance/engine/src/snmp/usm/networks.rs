//! A set of networks that finds the longest one around an address.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

/// Networks, with the prefix lengths that occur among them.
#[derive(Default)]
pub(super) struct Networks {
    lengths: BTreeSet<u8>,
    networks: BTreeSet<IpNet>,
}

impl Networks {
    pub(super) fn insert(&mut self, network: IpNet) {
        self.lengths.insert(network.prefix_len());
        self.networks.insert(network.trunc());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.networks.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = IpNet> {
        self.networks.iter().copied()
    }

    /// Returns the length of the longest prefix that holds `address`.
    pub(super) fn longest(&self, address: IpAddr) -> Option<u8> {
        let holds = |length: u8| IpNet::new(address, length).is_ok_and(|network| self.networks.contains(&network.trunc()));
        self.lengths.iter().rev().copied().find(|length| holds(*length))
    }
}

impl FromIterator<IpNet> for Networks {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> Self {
        let mut all = Self::default();
        networks.into_iter().for_each(|network| all.insert(network));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_network_is_found_in_either_family() {
        let networks: Networks =
            ["10.0.0.0/8", "10.1.2.3/16", "2001:db8::/64", "0.0.0.0/0"].iter().map(|text| text.parse().unwrap()).collect();
        let longest = |address: &str| networks.longest(address.parse().unwrap());
        assert_eq!(longest("10.1.9.9"), Some(16));
        assert_eq!(longest("10.2.0.1"), Some(8));
        assert_eq!(longest("192.0.2.1"), Some(0));
        assert_eq!(longest("2001:db8::7"), Some(64));
        assert_eq!(longest("2001:db9::7"), None, "0.0.0.0/0 holds no IPv6 address");
    }
}
