//! What the document knows of senders: names, sites, owners, groups and tags, by the longest prefix that holds their address.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use postern_protocol::revision::Problem;
use postern_protocol::revision::intake::SourceFacts;

use super::networks::Networks;

/// Facts by network.
#[derive(Clone, Debug, Default)]
pub(super) struct Sources(Networks<Arc<SourceFacts>>);

impl Sources {
    /// Makes the table. Of two entries for the same network, the first holds.
    pub(super) fn new(sources: &[SourceFacts]) -> Result<Self, Vec<Problem>> {
        let mut table = Self::default();
        let mut problems = Vec::new();
        for (at, facts) in sources.iter().enumerate() {
            let facts = Arc::new(facts.clone());
            for (index, text) in facts.networks.iter().enumerate() {
                match text.parse::<IpNet>() {
                    Ok(network) => {
                        table.0.entry(network, || Arc::clone(&facts));
                    }
                    Err(error) => {
                        let path = format!("sources[{at}].networks[{index}]");
                        problems.push(Problem { path, line: 0, column: 0, reason: error.to_string() });
                    }
                }
            }
        }
        if problems.is_empty() { Ok(table) } else { Err(problems) }
    }

    /// Returns what is known of `address`.
    pub(super) fn of(&self, address: IpAddr) -> Option<&Arc<SourceFacts>> {
        self.0.holding(address).next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_that_holds_an_address_wins() {
        let facts = |name: &str, networks: &[&str]| SourceFacts {
            networks: networks.iter().map(|network| (*network).to_owned()).collect(),
            time_zone: None,
            name: Some(name.to_owned()),
            site: None,
            owner: None,
            group: None,
            tags: Vec::new(),
        };
        let table = Sources::new(&[
            facts("all", &["0.0.0.0/0", "2001:db8::/32"]),
            facts("site", &["10.0.0.0/8", "192.0.2.0/24"]),
            facts("one", &["10.0.0.7/32"]),
            facts("late", &["10.0.0.0/8"]),
        ])
        .unwrap();
        let name = |address: &str| table.of(address.parse().unwrap()).and_then(|facts| facts.name.as_deref());
        for (address, expected) in [
            ("10.0.0.7", Some("one")),
            ("10.0.0.8", Some("site")),
            ("203.0.113.1", Some("all")),
            ("2001:db8::9", Some("all")),
            ("2001:db9::9", None),
        ] {
            assert_eq!(name(address), expected, "{address}");
        }
    }
}
