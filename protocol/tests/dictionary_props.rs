//! Tables say what was put in, find what trying every prefix finds, and never panic over bytes from outside.

// The exception that clippy.toml makes for tests does not reach the functions that they call.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use bytes::Bytes;
use postern_protocol::dictionary::builder::{Builder, Definition, SyntaxDefinition};
use postern_protocol::dictionary::entry::{Class, Kind};
use postern_protocol::dictionary::table::Table;
use postern_protocol::oid::Oid;
use proptest::prelude::*;

fn oids() -> impl Strategy<Value = Oid> {
    prop::collection::vec(prop_oneof![0..4_u32, any::<u32>()], 0..7)
        .prop_map(|rest| Oid::new(&[&[1, 3], rest.as_slice()].concat()).unwrap())
}

fn syntaxes() -> impl Strategy<Value = Option<SyntaxDefinition>> {
    let class = prop::sample::select(&[Class::Integer, Class::OctetString, Class::Bits, Class::InetAddress][..]);
    let labels = prop::collection::btree_map(prop_oneof![0..9_i32, any::<i32>()], "[a-z]{1,8}", 0..5);
    prop::option::of((class, "[ -~]{0,9}", labels).prop_map(|(class, hint, labels)| SyntaxDefinition { class, hint, labels }))
}

fn definitions() -> impl Strategy<Value = Vec<Definition>> {
    let kind = prop::sample::select(&[Kind::Node, Kind::Scalar, Kind::Table, Kind::Row, Kind::Column, Kind::Notification][..]);
    let one = (oids(), "[a-c]{1,6}", "[AB]{1,2}", kind, syntaxes(), prop::collection::vec(oids(), 0..4)).prop_map(
        |(oid, name, module, kind, syntax, objects)| {
            let objects = if kind == Kind::Notification { objects } else { Vec::new() };
            Definition { oid, name, module, kind, syntax, objects }
        },
    );
    prop::collection::vec(one, 0..150)
}

/// What a table of `definitions` should say: the last of each OID, with the objects that are there.
fn model(definitions: &[Definition]) -> BTreeMap<Oid, Definition> {
    let mut all: BTreeMap<Oid, Definition> = definitions.iter().map(|one| (one.oid.clone(), one.clone())).collect();
    let known: Vec<Oid> = all.keys().cloned().collect();
    for one in all.values_mut() {
        one.objects.retain(|object| known.binary_search(object).is_ok());
    }
    all
}

fn encoded(definitions: &[Definition]) -> Vec<u8> {
    let mut builder = Builder::default();
    for one in definitions {
        builder.add(one.clone()).unwrap();
    }
    builder.encode().unwrap()
}

proptest! {
    #[test]
    fn a_table_says_what_was_put_in(definitions in definitions()) {
        let table = Table::parse(encoded(&definitions).into()).unwrap();
        prop_assert_eq!(table.definitions().collect::<Vec<_>>(), model(&definitions).into_values().collect::<Vec<_>>());
    }

    #[test]
    fn the_longest_prefix_is_the_one_that_trying_all_finds(definitions in definitions(), asked in prop::collection::vec(oids(), 1..20)) {
        let table = Table::parse(encoded(&definitions).into()).unwrap();
        let model = model(&definitions);
        for oid in asked.iter().chain(model.keys()) {
            let tried = (1..=oid.numbers().len()).rev().find_map(|length| model.get(&Oid::new(oid.numbers().get(..length)?).ok()?));
            let found = table.longest_prefix(oid.numbers());
            prop_assert_eq!(found.as_ref().map(|entry| (entry.oid_len, &entry.name)), tried.map(|one| (one.oid.numbers().len(), &one.name)));
            let notification = model.get(oid).filter(|one| one.kind == Kind::Notification);
            prop_assert_eq!(table.notification(oid.numbers()).map(|entry| entry.name), notification.map(|one| one.name.clone()));
        }
    }

    #[test]
    fn damage_is_refused_or_harmless(definitions in definitions(), at in any::<prop::sample::Index>(), byte in any::<u8>(), asked in oids()) {
        let mut bytes = encoded(&definitions);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(table) = Table::parse(bytes.into()) {
            table.longest_prefix(asked.numbers());
            prop_assert_eq!(table.definitions().count(), table.len());
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = bytes;
        prop_assert!(Table::parse(Bytes::from(bytes.clone())).is_err());
        bytes.splice(..0, b"PMIB\x01".iter().copied());
        let _ = Table::parse(bytes.into());
    }
}

#[test]
fn a_cut_table_is_refused_and_so_is_one_with_something_behind() {
    let oid: Oid = "1.3.6".parse().unwrap();
    let one = Definition { oid, name: "a".into(), module: "M".into(), kind: Kind::Scalar, syntax: None, objects: Vec::new() };
    let bytes = encoded(&[one]);
    for cut in 0..bytes.len() {
        assert!(Table::parse(Bytes::copy_from_slice(&bytes[..cut])).is_err(), "{cut}");
    }
    assert!(Table::parse([&bytes[..], b"\0"].concat().into()).is_err());
}
