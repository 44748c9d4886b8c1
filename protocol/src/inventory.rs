//! What a gateway is made of. The content of the inventory lane.
//!
//! A record replaces every older one of its gateway. It is sent when it has changed.

use prost::Message as _;

/// Most bytes that one encoded record may have; a longer one is malformed.
pub const MAX_INVENTORY_BYTES: usize = 16 * 1024;

/// Most listeners that a record names, and most characters of a text.
pub const MAX_LISTENERS: usize = 64;
const MAX_TEXT: usize = 200;

/// What a gateway is made of.
#[derive(Clone, PartialEq, Eq, prost::Message, serde::Serialize, serde::Deserialize)]
pub struct Inventory {
    /// Program version.
    #[prost(string, tag = "1")]
    pub version: String,
    /// The operating system's own name, for example `Debian GNU/Linux 12 (bookworm)`; empty when unknown.
    #[prost(string, tag = "2")]
    pub os: String,
    /// The kernel's release.
    #[prost(string, tag = "3")]
    pub kernel: String,
    /// The machine's host name.
    #[prost(string, tag = "4")]
    pub hostname: String,
    /// Processors that the program may use.
    #[prost(uint32, tag = "5")]
    pub cpus: u32,
    /// Bytes of memory.
    #[prost(uint64, tag = "6")]
    pub memory_bytes: u64,
    /// Bytes of the file system that holds the data directory.
    #[prost(uint64, tag = "7")]
    pub disk_bytes: u64,
    /// The sockets, as `NAME PROTOCOL ADDRESS:PORT`.
    #[prost(string, repeated, tag = "8")]
    pub listeners: Vec<String>,
    /// When this was found so, nanoseconds since the Unix epoch.
    #[prost(sfixed64, tag = "9")]
    pub at: i64,
}

/// Why bytes are not a record of the inventory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InventoryError {
    /// The encoding is broken.
    #[error("inventory record is not well formed: {0}")]
    Encoding(#[from] prost::DecodeError),
    /// It is too long.
    #[error("inventory record has {0} bytes, more than {MAX_INVENTORY_BYTES}")]
    Size(usize),
}

impl Inventory {
    /// Whether it says the same as `other`, whenever that was.
    pub fn is_same_as(&self, other: &Self) -> bool {
        Self { at: other.at, ..self.clone() } == *other
    }

    /// Decodes a record; lists and texts that are too long are cut.
    ///
    /// # Errors
    /// [`InventoryError`] when the bytes are too many or not protobuf.
    pub fn read(bytes: &[u8]) -> Result<Self, InventoryError> {
        if bytes.len() > MAX_INVENTORY_BYTES {
            return Err(InventoryError::Size(bytes.len()));
        }
        let mut inventory = Self::decode(bytes)?;
        inventory.listeners.truncate(MAX_LISTENERS);
        let Self { version, os, kernel, hostname, listeners, .. } = &mut inventory;
        for text in [version, os, kernel, hostname].into_iter().chain(listeners) {
            *text = text.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect();
        }
        Ok(inventory)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written_and_bounded() {
        let record =
            Inventory { version: "0.5.0".into(), cpus: 2, listeners: vec!["proxy tcp [::]:3128".into()], at: 7, ..Inventory::default() };
        assert_eq!(Inventory::read(&record.encode_to_vec()), Ok(record.clone()));
        assert!(record.is_same_as(&Inventory { at: 8, ..record.clone() }));
        assert!(!record.is_same_as(&Inventory { cpus: 3, ..record.clone() }));
        let long = Inventory { os: "x\n".repeat(400), listeners: vec![String::new(); 100], ..record };
        let read = Inventory::read(&long.encode_to_vec()).unwrap();
        assert_eq!((read.os.len(), read.listeners.len()), (MAX_TEXT, MAX_LISTENERS));
        assert!(Inventory::read(&vec![0; MAX_INVENTORY_BYTES + 1]).is_err());
    }
}
