//! The accounts that the broker knows, by their names in `/etc/passwd`.
//!
//! The file is part of the verified image; it is read directly, so that no name service can answer in its place.

use std::collections::BTreeMap;

use super::paths::Paths;

const NAMES: [&str; 5] = ["postern", "postern-firstboot", "postern-console", "postern-admin", "systemd-timesync"];

/// Why the accounts are not known.
#[derive(Debug, thiserror::Error)]
pub enum PeopleError {
    /// There is no such account.
    #[error("there is no account {0} in /etc/passwd")]
    Missing(&'static str),
    /// The file cannot be read.
    #[error("/etc/passwd cannot be read")]
    Read(#[source] std::io::Error),
}

/// User ids, and the gateway's group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct People {
    pub(crate) gateway: u32,
    pub(crate) gateway_group: u32,
    pub(crate) firstboot: u32,
    pub(crate) console: u32,
    pub(crate) admin: u32,
    pub(crate) timesync: u32,
}

impl People {
    /// Reads the accounts.
    ///
    /// # Errors
    /// [`PeopleError`] when one is missing: the image is not complete.
    pub(crate) fn load(paths: &Paths) -> Result<Self, PeopleError> {
        Self::parse(&std::fs::read_to_string(paths.at("/etc/passwd")).map_err(PeopleError::Read)?)
    }

    fn parse(passwd: &str) -> Result<Self, PeopleError> {
        let mut known = BTreeMap::new();
        for line in passwd.lines() {
            let mut fields = line.split(':');
            let (Some(name), Some(_), Some(uid), Some(gid)) = (fields.next(), fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            if let (Some(name), Ok(uid), Ok(gid)) = (NAMES.into_iter().find(|known| *known == name), uid.parse(), gid.parse()) {
                known.entry(name).or_insert((uid, gid));
            }
        }
        let find = |name| known.get(name).copied().ok_or(PeopleError::Missing(name));
        let (gateway, gateway_group) = find("postern")?;
        Ok(Self {
            gateway,
            gateway_group,
            firstboot: find("postern-firstboot")?.0,
            console: find("postern-console")?.0,
            admin: find("postern-admin")?.0,
            timesync: find("systemd-timesync")?.0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_found_by_name_and_none_may_be_missing() {
        let passwd = "root:x:0:0::/root:/bin/sh\npostern:x:970:970::/:/no\npostern-firstboot:x:971:971::/:/no\n\
            postern-console:x:972:972::/:/no\npostern-admin:x:973:973::/:/no\nsystemd-timesync:x:997:997::/:/no\npostern:x:0:0::/:/no\n";
        let people = People::parse(passwd).unwrap();
        assert_eq!((people.gateway, people.admin, people.timesync), (970, 973, 997));
        assert!(matches!(People::parse("root:x:0:0::/root:/bin/sh\n"), Err(PeopleError::Missing("postern"))));
    }
}
