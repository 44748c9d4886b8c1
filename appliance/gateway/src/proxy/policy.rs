//! Which tunnels the proxy opens: to the control plane and to what the site's own file lists, nothing else.
//!
//! Two checks. By name before any look-up; by address after it, so that a name which is made to resolve to this machine
//! cannot reach a service of the gateway itself.

use std::net::{IpAddr, SocketAddr};

use super::request::{Connect, Host};

/// The destinations of `CONNECT`.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    allowed: Vec<Connect>,
}

/// Why a destination is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PolicyError {
    /// The name resolves to this machine, which the file does not say in so many words.
    #[error("{0} resolves to this gateway itself")]
    Gateway(String),
    /// It is not on the list.
    #[error("CONNECT to {asked} is not allowed; allowed: {allowed}")]
    NotListed {
        /// What was asked for.
        asked: String,
        /// The list.
        allowed: String,
    },
}

impl Policy {
    /// Makes a policy that allows exactly `allowed`.
    pub(crate) const fn new(allowed: Vec<Connect>) -> Self {
        Self { allowed }
    }

    /// Checks a destination by name and port.
    ///
    /// # Errors
    /// [`PolicyError::NotListed`].
    pub(crate) fn check(&self, asked: &Connect) -> Result<(), PolicyError> {
        if self.allowed.contains(asked) {
            return Ok(());
        }
        let allowed: Vec<String> = self.allowed.iter().map(|c| format!("{}:{}", c.host, c.port)).collect();
        Err(PolicyError::NotListed { asked: format!("{}:{}", asked.host, asked.port), allowed: allowed.join(", ") })
    }

    /// Tells whether [`Policy::check_address`] can find anything: the list names an address, or `localhost`, in so many words.
    pub(crate) fn needs_address(asked: &Connect) -> bool {
        match &asked.host {
            Host::Address(_) => false,
            Host::Name(name) => name != "localhost",
        }
    }

    /// Checks where the connection would go: an address of this machine only if the list names that address or `localhost`.
    ///
    /// # Errors
    /// [`PolicyError::Gateway`].
    pub(crate) fn check_address(asked: &Connect, peer: SocketAddr, local: IpAddr) -> Result<(), PolicyError> {
        let peer = peer.ip().to_canonical();
        // A connection to one of its own addresses has the same address on both ends.
        if Self::needs_address(asked) && (peer.is_loopback() || peer.is_unspecified() || peer == local.to_canonical()) {
            return Err(PolicyError::Gateway(asked.host.to_string()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(host: &str, port: u16) -> Connect {
        Connect { host: Host::parse(host).unwrap(), port }
    }

    #[test]
    fn only_the_listed_host_and_port_pass() {
        let policy = Policy::new(vec![connect("control.example.com", 443), connect("10.0.0.1", 8443)]);
        assert_eq!(policy.check(&connect("CONTROL.example.com.", 443)), Ok(()));
        assert_eq!(policy.check(&connect("10.0.0.1", 8443)), Ok(()));
        for refused in [
            connect("control.example.com", 444),
            connect("10.0.0.2", 8443),
            connect("x.control.example.com", 443),
            connect("localhost", 443),
        ] {
            let error = policy.check(&refused).unwrap_err();
            assert!(error.to_string().ends_with("allowed: control.example.com:443, 10.0.0.1:8443"), "{error}");
        }
    }

    #[test]
    fn a_name_that_resolves_to_the_gateway_is_refused() {
        let asked = connect("control.example.com", 443);
        let local = "192.0.2.1".parse().unwrap();
        for peer in ["127.0.0.1:443", "[::1]:443", "[::ffff:127.0.0.1]:443", "192.0.2.1:443"] {
            assert!(Policy::check_address(&asked, peer.parse().unwrap(), local).is_err(), "{peer}");
        }
        assert_eq!(Policy::check_address(&asked, "192.0.2.9:443".parse().unwrap(), local), Ok(()));
        assert_eq!(
            Policy::check_address(&connect("127.0.0.1", 443), "127.0.0.1:443".parse().unwrap(), "127.0.0.1".parse().unwrap()),
            Ok(())
        );
    }
}
