//! What OIDs are called: tables of names that are small enough to push and to keep in memory as they came.
//!
//! `table` reads one encoded table and looks OIDs up in its very bytes, `builder` writes one, `varint` is their numbers, `built_in`
//! holds the facts that every gateway has. A [`Dictionary`] asks several tables, the better one first. Nothing here sees a value.

pub mod builder;
pub mod built_in;

pub mod entry;
pub mod table;
mod varint;

use std::sync::Arc;

use sha2::Digest as _;

use self::entry::{Entry, Kind};
use self::table::Table;
use crate::id::GatewayId;

/// Most bytes of a table.
pub const MAX_TABLE_BYTES: usize = 8 * 1024 * 1024;

/// Returns the bytes that the signature of a pushed table covers: the gateway that it is for and its digest.
pub fn signing_input(gateway: &GatewayId, digest: &[u8; 32]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in [b"postern-dictionary-v1", gateway.as_str().as_bytes(), digest] {
        out.extend_from_slice(&(part.len() as u64).to_be_bytes());
        out.extend_from_slice(part);
    }
    out
}

/// Returns the digest by which a table is known.
pub fn digest(table: &[u8]) -> [u8; 32] {
    sha2::Sha256::digest(table).into()
}

/// Names of OIDs, from one table or more.
#[derive(Clone, Debug, Default)]
pub struct Dictionary {
    tables: Vec<Arc<Table>>,
}

impl Dictionary {
    /// Puts tables together; where two name the same OID, the earlier one counts.
    pub const fn new(tables: Vec<Arc<Table>>) -> Self {
        Self { tables }
    }

    /// Returns the entry of the longest prefix of `oid` that has a name.
    ///
    /// Of two tables that name the same prefix the one that knows more than its place counts, else the earlier one.
    pub fn longest_prefix(&self, oid: &[u32]) -> Option<Entry<'_>> {
        let mut best: Option<Entry<'_>> = None;
        for entry in self.tables.iter().filter_map(|table| table.longest_prefix(oid)) {
            let better = best.as_ref().is_none_or(|best| {
                entry.oid_len > best.oid_len || entry.oid_len == best.oid_len && best.kind == Kind::Node && entry.kind != Kind::Node
            });
            if better {
                best = Some(entry);
            }
        }
        best
    }

    /// Returns the notification of this OID, in either form: RFC 3584 §3.1 puts a 0 before the last number of a v1 trap, which many
    /// definitions do not have.
    pub fn notification(&self, oid: &[u32]) -> Option<Entry<'_>> {
        self.tables.iter().find_map(|table| table.notification(oid)).or_else(|| {
            let (specific, enterprise) = oid.split_last()?;
            let (0, enterprise) = enterprise.split_last()? else { return None };
            let short = [enterprise, &[*specific]].concat();
            self.tables.iter().find_map(|table| table.notification(&short))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::builder::{Builder, Definition};
    use super::*;

    fn table(definitions: &[(&str, &str, Kind)]) -> Arc<Table> {
        let mut builder = Builder::default();
        for (oid, name, kind) in definitions {
            let definition = Definition {
                oid: oid.parse().unwrap(),
                name: (*name).into(),
                module: "M".into(),
                kind: *kind,
                syntax: None,
                objects: vec![],
            };
            builder.add(definition).unwrap();
        }
        Arc::new(Table::parse(builder.encode().unwrap().into()).unwrap())
    }

    #[test]
    fn the_longer_prefix_counts_then_the_table_that_knows_more_then_the_earlier_one() {
        let one = table(&[("1.3.6", "a", Kind::Node), ("1.3.6.1", "b", Kind::Node), ("1.3.6.2", "c", Kind::Node)]);
        let two = table(&[("1.3.6", "x", Kind::Node), ("1.3.6.1", "y", Kind::Scalar), ("1.3.6.2.1", "z", Kind::Node)]);
        let dictionary = Dictionary::new(vec![one, two]);
        let name = |oid: &[u32]| dictionary.longest_prefix(oid).map(|entry| entry.name);
        assert_eq!(name(&[1, 3, 6, 9]).as_deref(), Some("a"));
        assert_eq!(name(&[1, 3, 6, 1, 0]).as_deref(), Some("y"));
        assert_eq!(name(&[1, 3, 6, 2, 1, 4]).as_deref(), Some("z"));
        assert_eq!(name(&[1, 2]), None);
    }

    #[test]
    fn a_v1_trap_finds_the_definition_without_the_zero() {
        let dictionary = Dictionary::new(vec![table(&[("1.3.6.1.9.7", "trap", Kind::Notification), ("1.3.6.1.9.8", "node", Kind::Node)])]);
        assert!(dictionary.notification(&[1, 3, 6, 1, 9, 0, 7]).is_some());
        assert!(dictionary.notification(&[1, 3, 6, 1, 9, 7]).is_some());
        assert!(dictionary.notification(&[1, 3, 6, 1, 9, 8]).is_none() && dictionary.notification(&[0]).is_none());
    }
}
