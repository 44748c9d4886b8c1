//! Tables of OID names: refused or whole, searched without a panic, and equal after being written again.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use postern_protocol::dictionary::builder::Builder;
use postern_protocol::dictionary::table::Table;

fuzz_target!(|bytes: &[u8]| {
    let oid: Vec<u32> = bytes.iter().rev().take(16).map(|byte| u32::from(*byte)).collect();
    let Ok(table) = Table::parse(Bytes::copy_from_slice(bytes)) else { return };
    table.longest_prefix(&oid);
    table.notification(&oid);
    let definitions: Vec<_> = table.definitions().collect();
    assert_eq!(definitions.len(), table.len());
    let mut builder = Builder::default();
    for definition in &definitions {
        assert!(table.longest_prefix(definition.oid.numbers()).is_some_and(|entry| entry.name == definition.name));
        if builder.add(definition.clone()).is_err() {
            return;
        }
    }
    let again = Table::parse(builder.encode().expect("it is no longer than what it was read from").into()).expect("what we write we read");
    assert!(again.definitions().eq(definitions));
});
