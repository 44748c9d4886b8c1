//! Values by network: which hold for an address, the longest prefix first. As fast with thousands of networks as with a few.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;

/// Values by network.
#[derive(Clone, Debug)]
pub(crate) struct NetworkMap<T> {
    values: HashMap<IpNet, Vec<T>>,
    /// Prefix lengths that occur, longest first: one look-up each.
    lengths: [Vec<u8>; 2],
}

impl<T> NetworkMap<T> {
    /// Makes the map; a network may come more than once.
    pub(crate) fn new(entries: impl IntoIterator<Item = (IpNet, T)>) -> Self {
        let mut values: HashMap<IpNet, Vec<T>> = HashMap::new();
        let mut lengths = [BTreeSet::new(), BTreeSet::new()];
        for (network, value) in entries {
            let [v4, v6] = &mut lengths;
            match network {
                IpNet::V4(_) => v4.insert(network.prefix_len()),
                IpNet::V6(_) => v6.insert(network.prefix_len()),
            };
            values.entry(network.trunc()).or_default().push(value);
        }
        Self { values, lengths: lengths.map(|lengths| lengths.into_iter().rev().collect()) }
    }

    /// Returns the values of every network that holds `address`, those of the longest prefix first.
    pub(crate) fn of(&self, address: IpAddr) -> impl Iterator<Item = &T> {
        let [v4, v6] = &self.lengths;
        let lengths = if address.is_ipv4() { v4 } else { v6 };
        lengths.iter().filter_map(move |length| self.values.get(&IpNet::new(address, *length).ok()?.trunc())).flatten()
    }
}

impl<T> Default for NetworkMap<T> {
    fn default() -> Self {
        Self { values: HashMap::new(), lengths: Default::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_comes_first() {
        let entries =
            [("10.0.0.0/8", 1), ("10.1.2.0/24", 2), ("10.1.2.3/32", 3), ("10.1.2.9/24", 4), ("2001:db8::/32", 5), ("0.0.0.0/0", 6)];
        let map = NetworkMap::new(entries.map(|(network, value)| (network.parse().unwrap(), value)));
        let of = |address: &str| map.of(address.parse().unwrap()).copied().collect::<Vec<_>>();
        assert_eq!(of("10.1.2.3"), [3, 2, 4, 1, 6]);
        assert_eq!(of("10.9.9.9"), [1, 6]);
        assert_eq!(of("2001:db8::1"), [5]);
        assert_eq!(of("::1"), [0; 0]);
        assert_eq!(NetworkMap::<()>::default().of("::1".parse().unwrap()).count(), 0);
    }
}
