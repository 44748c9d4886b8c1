//! What of a trust bundle others work by, from the moment that it is kept: the keys that sign what is pushed, and where else the control
//! plane is found.
//!
//! The keeper of the identity sends it; `Signers` and the control task read it. It never says whom to trust at an address.

use std::collections::BTreeSet;

use postern_uplink::identity::Identity;
use postern_uplink::url::HostPort;

/// It.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trusted {
    /// Ed25519 public keys that may sign revisions, secrets, dictionaries and receipts.
    pub(crate) signing_keys: Vec<[u8; 32]>,
    /// Addresses of the control plane besides those of the bootstrap file and the revision in force.
    pub(crate) addresses: Vec<HostPort>,
}

impl From<&Identity> for Trusted {
    fn from(identity: &Identity) -> Self {
        Self { signing_keys: identity.revision_keys.clone(), addresses: identity.addresses.clone() }
    }
}

/// An address that the gateway could not connect to, whatever stands there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its address {address} is out of reach: the gateway's sandbox lets it connect only to the ports {}", listed(.ports))]
pub(crate) struct OutOfReach {
    address: HostPort,
    ports: BTreeSet<u16>,
}

fn listed(ports: &BTreeSet<u16>) -> String {
    ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")
}

/// Checks that every address has one of `ports`.
///
/// # Errors
/// The first that has not.
pub(super) fn within_reach(addresses: &[HostPort], ports: &BTreeSet<u16>) -> Result<(), OutOfReach> {
    match addresses.iter().find(|address| !ports.contains(&address.port())) {
        None => Ok(()),
        Some(address) => Err(OutOfReach { address: address.clone(), ports: ports.clone() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_on_a_port_that_the_sandbox_shuts_is_named_with_those_that_it_leaves() {
        let ports = BTreeSet::from([443, 8443]);
        let addresses = ["192.0.2.1:8443", "192.0.2.2:22"].map(|text| HostPort::parse(text).unwrap());
        assert_eq!(within_reach(&addresses[..1], &ports), Ok(()));
        let refused = within_reach(&addresses, &ports).unwrap_err().to_string();
        assert!(refused.contains("192.0.2.2:22") && refused.ends_with("443, 8443"), "{refused}");
    }
}
