//! What the tunnel is told about its way out: by the bootstrap file, the environment, the revision in force.

use super::Way;
use crate::url::{HostPort, ProxyUrl, ServerUrl};

/// How the control plane is reached, and who it must be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkSettings {
    /// The control plane: its host is the name that its certificate must have, whatever address is dialled.
    pub server: ServerUrl,
    /// Where to connect to, in order; the server's own host and port when empty.
    pub addresses: Vec<HostPort>,
    /// The HTTP proxy to go through; `None` is the direct way.
    pub proxy: Option<ProxyUrl>,
}

impl LinkSettings {
    /// Returns the settings for a server at its own address.
    pub fn new(server: ServerUrl, proxy: Option<ProxyUrl>) -> Self {
        Self { server, addresses: Vec::new(), proxy }
    }

    /// Returns the way there; `turn` says with which of the addresses to begin.
    pub fn way(&self, turn: usize) -> Way {
        let mut addresses = self.addresses.clone();
        if addresses.is_empty() {
            addresses.push(self.server.host_port());
        }
        let turn = turn.checked_rem(addresses.len()).unwrap_or(0);
        addresses.rotate_left(turn);
        Way { addresses, proxy: self.proxy.clone(), segment_bytes: None }
    }
}
