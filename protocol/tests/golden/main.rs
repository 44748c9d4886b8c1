//! Every message as it lies on the wire, checked in: `NAME.hex` beside this file. `UPDATE_GOLDEN=1 cargo test -p postern-protocol
//! --test golden` writes them; a changed file means that programs of two versions no longer understand each other.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod messages;
mod next;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use postern_protocol::message::{Down, Up};
use prost::Message as _;

use crate::messages::{Vector, vectors};

/// Bytes of a vector in one line of its file.
const LINE_BYTES: usize = 32;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn written(bytes: &[u8]) -> String {
    bytes.chunks(LINE_BYTES).map(|line| HEXLOWER.encode(line) + "\n").collect()
}

fn read(name: &str) -> Vec<u8> {
    let path = directory().join(format!("{name}.hex"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    HEXLOWER.decode(text.replace('\n', "").as_bytes()).unwrap()
}

#[test]
fn every_message_is_on_the_wire_as_it_ever_was() {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        for Vector { name, bytes, .. } in vectors() {
            fs::write(directory().join(format!("{name}.hex")), written(&bytes)).unwrap();
        }
    }
    for Vector { name, bytes, is_read_from } in vectors() {
        let golden = read(name);
        assert_eq!(written(&bytes), written(&golden), "{name} is written in another way");
        assert!(is_read_from(&golden), "{name} is read in another way");
    }
}

#[test]
fn no_file_is_left_over() {
    let named: BTreeSet<String> = vectors().iter().map(|vector| format!("{}.hex", vector.name)).collect();
    let entries = fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let found: BTreeSet<String> = entries.filter(|name| name.ends_with(".hex")).collect();
    assert_eq!(found, named);
}

#[test]
fn every_kind_of_message_has_a_vector() {
    // A kind is known when an empty message in its field is one.
    let known = |is_kind: &dyn Fn(&[u8]) -> bool| (1..100).filter(|tag| is_kind(&field(*tag, &[]))).collect::<BTreeSet<u32>>();
    let up = known(&|bytes| Up::decode(bytes).unwrap().kind.is_some());
    let down = known(&|bytes| Down::decode(bytes).unwrap().kind.is_some());
    let shown = |prefix: &str| {
        let of = vectors().into_iter().filter(|vector| vector.name.starts_with(prefix));
        of.map(|vector| u32::try_from(prost::decode_length_delimiter(vector.bytes.as_slice()).unwrap() >> 3).unwrap()).collect()
    };
    let (shown_up, shown_down): (BTreeSet<u32>, BTreeSet<u32>) = (shown("up-"), shown("down-"));
    assert_eq!((shown_up, shown_down), (up, down));
}

/// Encodes a length-delimited field.
fn field(tag: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encode_length_delimiter(usize::try_from(tag << 3 | 2).unwrap(), &mut bytes).unwrap();
    prost::encode_length_delimiter(content.len(), &mut bytes).unwrap();
    bytes.extend_from_slice(content);
    bytes
}
