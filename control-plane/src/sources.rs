//! How many connections each address has, so that one peer cannot take every place. Called by the listener.
//!
//! An IPv6 host has as many addresses as it likes: what counts is the /64 that its network gave it (RFC 6177 §2).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Counts by address. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Sources {
    most: usize,
    // A mutex because connections of any address end at any time; it is held for a map look-up. As many entries as connections.
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Sources {
    /// Allows `most` at once from one address.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, taken: Arc::default() }
    }

    /// Takes a place for `from`; `None` when it has all that it may have.
    pub(crate) fn enter(&self, from: IpAddr) -> Option<Place> {
        let source = source(from);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(source).or_default();
        if *count >= self.most {
            return None;
        }
        *count = count.saturating_add(1);
        drop(taken);
        Some(Place { sources: self.clone(), source })
    }
}

/// A place that is taken; given back when dropped.
pub(crate) struct Place {
    sources: Sources,
    source: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.sources.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                taken.remove(&self.source);
            }
        }
    }
}

fn source(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_address_cannot_take_the_places_of_others() {
        let sources = Sources::new(2);
        let first = sources.enter(ip("192.0.2.1"));
        let _second = sources.enter(ip("::ffff:192.0.2.1")).unwrap();
        assert!(sources.enter(ip("192.0.2.1")).is_none());
        assert!(sources.enter(ip("192.0.2.2")).is_some());
        drop(first);
        assert!(sources.enter(ip("192.0.2.1")).is_some());
    }

    #[test]
    fn the_addresses_of_one_ipv6_network_are_one_source() {
        let sources = Sources::new(1);
        let _place = sources.enter(ip("2001:db8:0:1::1")).unwrap();
        assert!(sources.enter(ip("2001:db8:0:1:ffff::2")).is_none());
        assert!(sources.enter(ip("2001:db8:0:2::1")).is_some());
    }

    #[test]
    fn an_address_without_connections_is_forgotten() {
        let sources = Sources::new(1);
        drop(sources.enter(ip("192.0.2.1")));
        assert!(sources.taken.lock().unwrap().is_empty());
    }
}
