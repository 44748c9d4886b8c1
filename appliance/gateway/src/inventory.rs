//! What this gateway is made of: looked at before the sandbox closes, sent at every start.
//!
//! Nothing of it changes while the daemon runs: listeners are bound at the start, and a machine that gets more memory or another
//! system starts anew.

use std::ffi::OsStr;
use std::path::Path;

use nix::sys::statvfs::statvfs;
use nix::sys::sysinfo::sysinfo;
use nix::sys::utsname::{UtsName, uname};
use postern_protocol::inventory::Inventory;
use postern_protocol::status::Listener;
use postern_protocol::timestamp::Timestamp;

/// The machine that the daemon runs on.
pub(crate) struct Machine(Inventory);

impl Machine {
    /// Looks at the machine; what cannot be read stays empty.
    pub(crate) fn observe(data_dir: &Path) -> Self {
        // By system calls: the service manager hides what /proc says of the machine.
        let names = uname();
        let name = |of: fn(&UtsName) -> &OsStr| names.as_ref().map(|names| of(names).to_string_lossy().into_owned()).unwrap_or_default();
        Self(Inventory {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            os: pretty_name(&std::fs::read_to_string("/etc/os-release").unwrap_or_default()),
            kernel: name(|name| name.release()),
            hostname: name(|name| name.nodename()),
            cpus: std::thread::available_parallelism().map_or(0, |cpus| u32::try_from(cpus.get()).unwrap_or(u32::MAX)),
            memory_bytes: sysinfo().map_or(0, |info| info.ram_total()),
            disk_bytes: statvfs(data_dir).map_or(0, |disk| disk.blocks().saturating_mul(disk.fragment_size())),
            listeners: Vec::new(),
            at: 0,
        })
    }

    /// Returns the record, with the sockets.
    pub(crate) fn with(self, listeners: impl Iterator<Item = Listener>, now: Timestamp) -> Inventory {
        let listeners = listeners.map(|listener| format!("{} {} {}", listener.name, listener.proto, listener.addr)).collect();
        Inventory { listeners, at: now.as_nanos(), ..self.0 }
    }
}

/// Returns `PRETTY_NAME` of an os-release file (os-release(5)).
fn pretty_name(text: &str) -> String {
    let value = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    value.unwrap_or_default().trim_matches(['"', '\'']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_and_its_sockets_are_described() {
        let listener = Listener {
            name: "proxy".into(),
            proto: "tcp".into(),
            addr: "[::]:3128".into(),
            rcvbuf_effective: None,
            rcvbuf_asked: None,
            kernel_drops: None,
            connections: None,
        };
        let inventory = Machine::observe(Path::new("/")).with([listener].into_iter(), Timestamp::from_secs(7));
        assert_eq!(inventory.listeners, ["proxy tcp [::]:3128"]);
        assert!(inventory.cpus > 0 && inventory.memory_bytes > 1 << 20 && inventory.disk_bytes > 0 && !inventory.kernel.is_empty());
    }

    #[test]
    fn the_systems_name_is_read() {
        assert_eq!(pretty_name("NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian"), "Debian GNU/Linux 12 (bookworm)");
        assert_eq!(pretty_name(""), "");
    }
}
