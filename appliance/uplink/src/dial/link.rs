//! What the tunnel is told about its way out: by the bootstrap file, the environment, the revision in force, the trust bundle.

use super::Way;
use crate::url::{HostPort, ProxyUrl, ServerUrl};

/// How the control plane is reached, and who it must be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkSettings {
    /// The control plane: its host is the name that its certificate must have, whatever address is dialled.
    pub server: ServerUrl,
    /// Where to connect to, in order; the server's own host and port when empty.
    pub addresses: Vec<HostPort>,
    /// More of its addresses, tried when none of those answers: they never take the place of one.
    pub further: Vec<HostPort>,
    /// The HTTP proxy to go through; `None` is the direct way.
    pub proxy: Option<ProxyUrl>,
}

impl LinkSettings {
    /// Returns the settings for a server at its own address.
    pub fn new(server: ServerUrl, proxy: Option<ProxyUrl>) -> Self {
        Self { server, addresses: Vec::new(), further: Vec::new(), proxy }
    }

    /// Returns the way there; `turn` says with which of the addresses to begin.
    pub fn way(&self, turn: usize) -> Way {
        let mut addresses = self.addresses.clone();
        if addresses.is_empty() {
            addresses.push(self.server.host_port());
        }
        for address in &self.further {
            if !addresses.contains(address) {
                addresses.push(address.clone());
            }
        }
        let turn = turn.checked_rem(addresses.len()).unwrap_or(0);
        addresses.rotate_left(turn);
        Way { addresses, proxy: self.proxy.clone(), segment_bytes: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> HostPort {
        HostPort::parse(text).unwrap()
    }

    #[test]
    fn further_addresses_come_after_the_own_ones_and_replace_none() {
        let own = LinkSettings::new("https://control.example".parse().unwrap(), None);
        let further = vec![address("192.0.2.2:443"), address("control.example:443")];
        let settings = LinkSettings { further: further.clone(), ..own.clone() };
        assert_eq!(settings.way(0).addresses, [address("control.example:443"), address("192.0.2.2:443")]);
        assert_eq!(settings.way(1).addresses, [address("192.0.2.2:443"), address("control.example:443")]);
        let named = LinkSettings { addresses: vec![address("192.0.2.1:443")], ..settings };
        let all = [address("192.0.2.1:443"), address("192.0.2.2:443"), address("control.example:443")];
        assert_eq!(named.way(0).addresses, all);
        assert_eq!(named.way(usize::MAX).addresses.len(), 3, "every one of them, whoever begins");
    }
}
