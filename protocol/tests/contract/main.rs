//! `CONTRACT.json`, the list of every field that can leave a site, is the one that the types say. `UPDATE_GOLDEN=1 cargo test -p
//! postern-protocol --test contract` writes it.
//!
//! It is made from the source of the types: their fields, numbers, types and doc comments. Where each field's content comes from is
//! said in `sources.rs`; a field without such a word fails the test.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod read;
mod sources;

use std::path::Path;

use serde_json::{Value, json};

use crate::read::Types;

/// What is said on a stream or in a request: its name, the request, the message of its frames, the message of its records, meaning.
const WAYS: [(&str, &str, &str, &str, &str); 7] = [
    ("control", "POST /tunnel/v1/control", "Up", "", "one frame a message: greeting, heartbeats, reports"),
    ("alerts", "POST /tunnel/v1/lane/alerts", "Batch", "Alert", "the state of each alert, whenever it changes"),
    ("inventory", "POST /tunnel/v1/lane/inventory", "Batch", "Inventory", "what the gateway is made of, when that changes"),
    ("samples", "POST /tunnel/v1/lane/samples", "Batch", "Sample", "measurements that were pushed to the gateway"),
    ("logs", "POST /tunnel/v1/lane/logs", "Batch", "", "reserved: this version sends no log lines"),
    ("enrolment", "POST /enrol/v1", "EnrolRequest", "", "once in a gateway's life, by the enrol command"),
    ("renewal", "POST /enrol/v1/renew", "RenewRequest", "", "when the client certificate ended while the gateway was off"),
];

/// What leaves beside the messages.
const BESIDE: [&str; 5] = [
    "the TLS handshake's client certificate: gateway and tenant identifiers, and a public key",
    "the doctor's GET /tunnel/v1/examine and GET /enrol/v1: no body, a header of 9 KiB of dashes",
    "to the site's own proxy: CONNECT with the control plane's host and port, and the credentials that the site set for it",
    "DNS queries for the control plane's and the proxy's names, to the resolvers that the machine is configured with",
    "agents' CONNECT tunnels through the gateway to allowed destinations: opaque, the agent's own TLS from end to end",
];

fn generated() -> Value {
    let types = Types::read(Path::new(env!("CARGO_MANIFEST_DIR")));
    let mut roots = vec!["Records".to_owned()];
    let mut ways = Vec::new();
    for (name, request, message, record, meaning) in WAYS {
        roots.extend([message, record].into_iter().filter(|name| !name.is_empty()).map(str::to_owned));
        let mut way = json!({ "name": name, "request": request, "message": message, "meaning": meaning });
        if !record.is_empty() {
            way["record"] = record.into();
        }
        ways.push(way);
    }
    json!({
        "title": "Every field that can leave a site by a Postern gateway",
        "protocol_version": postern_protocol::message::PROTOCOL_VERSION,
        "how_to_read": "Fields with a number are protobuf, the others JSON. A type that is not one of protobuf's own is another message \
                        of this document. `source` says where a field's content comes from. `contains` says what bytes hold.",
        "streams": ways,
        "beside_the_messages": BESIDE,
        "messages": types.reachable(&roots),
    })
}

#[test]
fn the_published_contract_is_that_of_the_types() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("CONTRACT.json");
    let text = format!("{}\n", serde_json::to_string_pretty(&generated()).unwrap());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let published = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(published == text, "{} is out of date: run this test with UPDATE_GOLDEN=1", path.display());
}

#[test]
fn every_field_has_a_meaning_a_type_and_a_source() {
    let contract = generated();
    let messages = contract["messages"].as_object().unwrap();
    let own = ["bool", "bytes", "double", "fixed64", "number", "sfixed64", "string", "uint32", "uint64"];
    let mut wrong = Vec::new();
    for (name, message) in messages {
        for field in message["fields"].as_array().unwrap() {
            let field_name = field["name"].as_str().unwrap();
            let kind = field["type"].as_str().unwrap();
            let known = own.contains(&kind) || messages.contains_key(kind) || kind.starts_with("map<") || field["values"].is_array();
            if !known || field["meaning"].as_str().is_none_or(str::is_empty) || field["source"].as_str().is_none_or(str::is_empty) {
                wrong.push(format!("{name}.{field_name}: {field}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(messages.len() > 30, "the walk over the types goes all the way: {}", messages.len());
}

#[test]
fn what_is_encoded_bears_the_numbers_of_the_contract() {
    // The first key of an encoded message is its number, shifted by the wire type (three bits).
    let contract = generated();
    let number = |message: &str, field: &str| {
        let fields = contract["messages"][message]["fields"].as_array().unwrap().clone();
        fields.iter().find(|known| known["name"] == field).unwrap()["number"].as_u64().unwrap()
    };
    use postern_protocol::message::{Hello, Up, up};
    use prost::Message as _;
    let hello = Hello { dictionary: vec![1], ..Hello::default() };
    assert_eq!(u64::from(hello.encode_to_vec()[0] >> 3), number("Hello", "dictionary"));
    let up = Up { kind: Some(up::Kind::Status(vec![1])) };
    assert_eq!(u64::from(up.encode_to_vec()[0] >> 3), number("Up", "status"));
}

#[test]
fn no_source_is_given_for_what_is_not_there() {
    let contract = generated();
    let messages = contract["messages"].as_object().unwrap();
    let there = |place: &str| match place.split_once('.') {
        None => messages.contains_key(place),
        Some((message, field)) => {
            messages.get(message).is_some_and(|message| message["fields"].as_array().unwrap().iter().any(|known| known["name"] == field))
        }
    };
    let stale: Vec<&str> = sources::SOURCES.iter().map(|(place, _)| *place).filter(|place| !there(place)).collect();
    assert!(stale.is_empty(), "{stale:?}");
}
