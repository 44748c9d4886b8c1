//! The resolvers and time servers that the site names, bounded lists.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::host::{Host, HostError};
use super::network::is_unicast;

/// Most resolvers; the C library uses no more either.
const MAX_RESOLVERS: usize = 3;
/// Most time servers: three outvote a false one, a fourth may be down.
const MAX_TIME_SERVERS: usize = 4;

/// Why a text is no list of servers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServersError {
    /// One of them is no address.
    #[error("{0:?} is not the IP address of a resolver, for example 192.0.2.53")]
    Address(String),
    /// One of them is no host.
    #[error(transparent)]
    Host(#[from] HostError),
    /// Too many.
    #[error("there are more than {0}; name the best")]
    Many(usize),
    /// One of them is there twice.
    #[error("{0} is there twice")]
    Twice(String),
}

/// Addresses of DNS resolvers; none stands for those of DHCP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Resolvers(Vec<IpAddr>);

impl Resolvers {
    /// Returns the addresses in order.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.0
    }
}

impl FromStr for Resolvers {
    type Err = ServersError;

    fn from_str(text: &str) -> Result<Self, ServersError> {
        let address = |word: &str| {
            let address = word.parse().map(|address: IpAddr| address.to_canonical()).ok().filter(|address| is_unicast(*address));
            address.ok_or_else(|| ServersError::Address(super::shown(word)))
        };
        list(text, MAX_RESOLVERS, address).map(Self)
    }
}

/// Machines that tell the time by NTP; none stands for those of DHCP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeServers(Vec<Host>);

impl TimeServers {
    /// Returns the machines in order.
    pub fn hosts(&self) -> &[Host] {
        &self.0
    }
}

impl FromStr for TimeServers {
    type Err = ServersError;

    fn from_str(text: &str) -> Result<Self, ServersError> {
        list(text, MAX_TIME_SERVERS, |word| Ok(word.parse()?)).map(Self)
    }
}

impl fmt::Display for Resolvers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&joined(&self.0))
    }
}

impl fmt::Display for TimeServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&joined(&self.0))
    }
}

super::text_of!(Resolvers, ServersError);
super::text_of!(TimeServers, ServersError);

fn list<T: PartialEq>(text: &str, most: usize, parse: impl Fn(&str) -> Result<T, ServersError>) -> Result<Vec<T>, ServersError> {
    let mut all = Vec::new();
    for word in text.split([' ', ',', '\t']).filter(|word| !word.is_empty()) {
        let item = parse(word)?;
        if all.len() == most {
            return Err(ServersError::Many(most));
        }
        if all.contains(&item) {
            return Err(ServersError::Twice(super::shown(word)));
        }
        all.push(item);
    }
    Ok(all)
}

fn joined<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_split_bounded_and_without_repetition() {
        assert_eq!("192.0.2.1, 2001:db8::1".parse::<Resolvers>().unwrap().to_string(), "192.0.2.1 2001:db8::1");
        assert_eq!("".parse(), Ok(Resolvers::default()));
        assert_eq!("a.example,192.0.2.1".parse::<TimeServers>().unwrap().hosts().len(), 2);
        assert!(matches!("a".parse::<Resolvers>(), Err(ServersError::Address(_))));
        assert!(matches!("0.0.0.0".parse::<Resolvers>(), Err(ServersError::Address(_))));
        assert!(matches!("1.1.1.1 1.1.1.2 1.1.1.3 1.1.1.4".parse::<Resolvers>(), Err(ServersError::Many(3))));
        assert!(matches!("a.example A.example".parse::<TimeServers>(), Err(ServersError::Twice(_))));
        assert!(matches!("-x".parse::<TimeServers>(), Err(ServersError::Host(_))));
        assert!(matches!("a\nb".parse::<TimeServers>(), Err(ServersError::Host(_))));
    }
}
