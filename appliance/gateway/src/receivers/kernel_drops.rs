//! The kernel's own count of datagrams that it dropped, from `/proc/self/net/udp{,6}`, by the socket's inode.
//!
//! `SO_RXQ_OVFL` tells the same number, but only with the next datagram: a source that falls silent would hide its losses. The
//! tables are opened once, before the sandbox closes, and read again and again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::sync::{Arc, Mutex, PoisonError};

/// The open tables. Behind a lock, because a reading is a seek and several reads; it is never held across an await.
#[derive(Clone)]
pub(crate) struct KernelDrops(Arc<Mutex<Vec<File>>>);

impl KernelDrops {
    /// Opens the tables; one that is not there (no IPv6) adds nothing.
    pub(crate) fn open() -> Self {
        let tables = ["/proc/self/net/udp", "/proc/self/net/udp6"].iter().filter_map(|path| File::open(path).ok());
        Self(Arc::new(Mutex::new(tables.collect())))
    }

    /// Reads the drops of every UDP socket in this network namespace; a table that cannot be read adds nothing.
    pub(crate) fn read(&self) -> BTreeMap<u64, u32> {
        let mut drops = BTreeMap::new();
        // Nothing under the lock outlives a failure: the next reading begins at the start again.
        for table in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
            let mut text = String::new();
            if table.rewind().is_ok() && table.read_to_string(&mut text).is_ok() {
                parse(&text, &mut drops);
            }
        }
        drops
    }
}

/// Parses a table as the kernel prints it: the tenth column is the inode, the last the drops.
fn parse(table: &str, drops: &mut BTreeMap<u64, u32>) {
    for line in table.lines().skip(1) {
        let mut columns = line.split_ascii_whitespace();
        let inode = columns.nth(9).and_then(|text| text.parse().ok());
        let dropped = columns.next_back().and_then(|text| text.parse().ok());
        if let (Some(inode), Some(dropped)) = (inode, dropped) {
            drops.insert(inode, dropped);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_read() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops            \n\
                     \x20 123: 0100007F:27B2 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 98765 2 00000000c0ffee00 42         \n";
        let mut drops = BTreeMap::new();
        parse(table, &mut drops);
        assert_eq!(drops, BTreeMap::from([(98765, 42)]));
    }

    #[test]
    fn an_open_socket_is_found_by_its_inode() {
        let drops = KernelDrops::open();
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let inode = nix::sys::stat::fstat(&socket).unwrap().st_ino;
        assert_eq!([drops.read().get(&inode), drops.read().get(&inode)], [Some(&0); 2], "as often as one looks");
    }
}
