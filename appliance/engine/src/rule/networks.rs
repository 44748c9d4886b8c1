//! Values by network, found by the prefixes that hold an address.

use std::collections::HashMap;
use std::net::IpAddr;

use foldhash::fast::FixedState;
use ipnet::IpNet;

/// Values by network.
#[derive(Clone, Debug)]
pub(super) struct Networks<T> {
    values: HashMap<IpNet, T, FixedState>,
    /// Lengths of prefixes that occur, the longest first: IPv4, then IPv6.
    lengths: [Vec<u8>; 2],
}

impl<T> Default for Networks<T> {
    fn default() -> Self {
        Self { values: HashMap::default(), lengths: [Vec::new(), Vec::new()] }
    }
}

impl<T> Networks<T> {
    /// Returns the value of exactly this network, made by `new` when it has none.
    pub(super) fn entry(&mut self, network: IpNet, new: impl FnOnce() -> T) -> &mut T {
        let network = network.trunc();
        let [v4, v6] = &mut self.lengths;
        let lengths = if network.addr().is_ipv4() { v4 } else { v6 };
        let length = network.prefix_len();
        if let Err(at) = lengths.binary_search_by(|known| length.cmp(known)) {
            lengths.insert(at, length);
        }
        self.values.entry(network).or_insert_with(new)
    }

    /// Returns the values of all networks that hold `address`, the longest prefix first.
    pub(super) fn holding(&self, address: IpAddr) -> impl Iterator<Item = &T> {
        let [v4, v6] = &self.lengths;
        let lengths = if address.is_ipv4() { v4 } else { v6 };
        lengths.iter().filter_map(move |length| self.values.get(&IpNet::new(address, *length).ok()?.trunc()))
    }
}
