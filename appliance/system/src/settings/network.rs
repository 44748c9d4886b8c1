//! How the appliance gets its address: by DHCP, or one that the site sets.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Why a text is not an address of this machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not `address/prefix`.
    #[error("{0:?} is not an address with its prefix length, for example 192.0.2.10/24")]
    Form(String),
    /// The address of the gateway is no IP address.
    #[error("{0:?} is not an IP address, for example 192.0.2.1")]
    Gateway(String),
    /// The router cannot be reached from the address.
    #[error("{gateway} is not a neighbour of {address}: it must be another address of the same network")]
    Neighbour {
        /// The router.
        gateway: IpAddr,
        /// The machine's own address.
        address: Cidr,
    },
    /// An address that no machine can have.
    #[error("{0} cannot be the address of a machine")]
    Special(IpAddr),
}

/// An address of this machine and the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr(IpNet);

impl Cidr {
    /// Returns the address.
    pub fn address(self) -> IpAddr {
        self.0.addr()
    }
}

impl FromStr for Cidr {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let net: IpNet = text.parse().map_err(|_| AddressError::Form(super::shown(text)))?;
        let whole_network = match net {
            // RFC 3021: a network of two addresses has no other ones.
            IpNet::V4(v4) => v4.prefix_len() < 31 && (v4.addr() == v4.network() || v4.addr() == v4.broadcast()),
            // RFC 4291 §2.6.1: the subnet-router anycast address.
            IpNet::V6(v6) => v6.prefix_len() < 127 && v6.addr() == v6.network(),
        };
        if net.prefix_len() == 0 || whole_network || !is_unicast(net.addr()) {
            return Err(AddressError::Special(net.addr()));
        }
        Ok(Self(net))
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

super::text_of!(Cidr, AddressError);

/// How the appliance gets its address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// By DHCP and IPv6 router advertisements.
    #[default]
    Dhcp,
    /// As the site says.
    Static {
        /// The machine's address.
        address: Cidr,
        /// The router; without one only neighbours are reached.
        gateway: Option<IpAddr>,
    },
}

impl Network {
    /// Makes a fixed address with its router.
    ///
    /// # Errors
    /// [`AddressError::Neighbour`] or [`AddressError::Special`] when `gateway` cannot be reached from `address`.
    pub fn fixed(address: Cidr, gateway: Option<IpAddr>) -> Result<Self, AddressError> {
        if let Some(gateway) = gateway {
            let link_local = matches!(gateway, IpAddr::V6(v6) if v6.is_unicast_link_local()) && address.address().is_ipv6();
            if gateway == address.address() || !(address.0.contains(&gateway) || link_local) {
                return Err(AddressError::Neighbour { gateway, address });
            }
            if !is_unicast(gateway) {
                return Err(AddressError::Special(gateway));
            }
        }
        Ok(Self::Static { address, gateway })
    }
}

/// Tells whether a machine on a network can have `address`.
pub(super) fn is_unicast(address: IpAddr) -> bool {
    let v4_only = match address {
        IpAddr::V4(v4) => !v4.is_broadcast() && v4.octets().first() != Some(&0),
        IpAddr::V6(v6) => v6.to_ipv4_mapped().is_none(),
    };
    v4_only && !address.is_unspecified() && !address.is_loopback() && !address.is_multicast()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Result<Cidr, AddressError> {
        text.parse()
    }

    #[test]
    fn an_address_is_one_that_a_machine_can_have() {
        for good in ["192.0.2.10/24", "192.0.2.0/31", "192.0.2.1/32", "2001:db8::5/64", "10.0.0.1/8"] {
            assert_eq!(cidr(good).unwrap().to_string(), good);
        }
        for bad in ["192.0.2.10", "192.0.2.10/33", "192.0.2.10/24 ", "192.0.2.10/24\nDHCP=yes", "a/24", ""] {
            assert!(matches!(cidr(bad), Err(AddressError::Form(_))), "{bad:?}");
        }
        for bad in ["192.0.2.0/24", "192.0.2.255/24", "127.0.0.1/8", "224.0.0.1/24", "0.0.0.0/0", "::1/128", "2001:db8::/64", "10.0.0.1/0"]
        {
            assert!(matches!(cidr(bad), Err(AddressError::Special(_))), "{bad:?}");
        }
    }

    #[test]
    fn a_router_is_a_neighbour() {
        let fixed = |address: &str, gateway: &str| Network::fixed(cidr(address).unwrap(), Some(gateway.parse().unwrap()));
        assert!(fixed("192.0.2.10/24", "192.0.2.1").is_ok());
        assert!(fixed("2001:db8::5/64", "fe80::1").is_ok());
        for (address, gateway) in
            [("192.0.2.10/24", "192.0.3.1"), ("192.0.2.10/24", "192.0.2.10"), ("192.0.2.10/24", "fe80::1"), ("2001:db8::5/64", "192.0.2.1")]
        {
            assert!(matches!(fixed(address, gateway), Err(AddressError::Neighbour { .. })), "{address} {gateway}");
        }
    }
}
