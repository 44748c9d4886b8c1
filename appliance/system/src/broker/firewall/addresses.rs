//! Addresses of the names that the appliance talks to, as DNS last told them.
//!
//! An address stays for an hour after DNS last named it: a name with many addresses shows other ones each time, and the program
//! that connects may have seen one of the earlier ones. When DNS fails, what is known stays.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::settings::host::Host;

const KEEP: Duration = Duration::from_secs(3600);
const MAX_ADDRESSES: usize = 64;

/// What is known by name.
#[derive(Debug, Default)]
pub(crate) struct Addresses(BTreeMap<String, Known>);

#[derive(Debug, Default)]
struct Known {
    seen: BTreeMap<IpAddr, Instant>,
    failing: bool,
}

impl Addresses {
    /// Takes in what DNS said about `name`; `None` when it said nothing useful.
    pub(crate) fn learn(&mut self, name: String, found: Option<Vec<IpAddr>>, now: Instant) {
        let known = self.0.entry(name).or_default();
        known.failing = found.is_none();
        let Some(found) = found else { return };
        known.seen.retain(|_, seen| now.saturating_duration_since(*seen) < KEEP);
        known.seen.extend(found.into_iter().take(MAX_ADDRESSES).map(|address| (address.to_canonical(), now)));
        while known.seen.len() > MAX_ADDRESSES {
            let Some(oldest) = known.seen.iter().min_by_key(|(_, seen)| **seen).map(|(address, _)| *address) else { break };
            known.seen.remove(&oldest);
        }
    }

    /// Forgets every name that is not in `wanted`.
    pub(crate) fn retain(&mut self, wanted: &BTreeSet<String>) {
        self.0.retain(|name, _| wanted.contains(name));
    }

    /// Returns the addresses of `host`.
    pub(crate) fn of(&self, host: &Host) -> Vec<IpAddr> {
        match host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => self.0.get(name).map(|known| known.seen.keys().copied().collect()).unwrap_or_default(),
        }
    }

    /// Returns the names that DNS does not tell at the moment.
    pub(crate) fn failing(&self) -> Vec<String> {
        self.0.iter().filter(|(_, known)| known.failing).map(|(name, _)| name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn what_dns_told_stays_when_it_fails_and_for_an_hour_when_it_changes() {
        let (mut known, start) = (Addresses::default(), Instant::now());
        let host = Host::Name("a.example".into());
        known.learn("a.example".into(), Some(addresses(&["192.0.2.1"])), start);
        known.learn("a.example".into(), None, start + KEEP * 2);
        assert_eq!((known.of(&host), known.failing()), (addresses(&["192.0.2.1"]), vec!["a.example".to_owned()]));
        known.learn("a.example".into(), Some(addresses(&["192.0.2.2"])), start + KEEP / 2);
        assert_eq!(known.of(&host).len(), 2);
        known.learn("a.example".into(), Some(addresses(&["192.0.2.2"])), start + KEEP);
        assert_eq!(known.of(&host), addresses(&["192.0.2.2"]));
        known.retain(&BTreeSet::new());
        assert!(known.of(&host).is_empty() && known.failing().is_empty());
    }

    #[test]
    fn a_name_has_a_bounded_number_of_addresses() {
        let (mut known, start) = (Addresses::default(), Instant::now());
        for n in 0..200_u32 {
            known.learn("a".into(), Some(vec![IpAddr::V4(n.into())]), start + Duration::from_secs(n.into()));
        }
        let of = known.of(&Host::Name("a".into()));
        assert_eq!((of.len(), of.contains(&IpAddr::V4(199.into()))), (MAX_ADDRESSES, true));
    }
}
