//! The version after this one, made up: it has a field more in the greetings, a kind more in either direction, and a state more.
//! Both versions must read what the other writes.

use postern_protocol::message::{Down, Hello, RevisionState, RevisionStatus, Up, Welcome, up};
use prost::Message as _;

use crate::messages::{Vector, hello, vectors, welcome};

/// A `Hello` of the next version, as far as it matters here.
#[derive(Clone, PartialEq, prost::Message)]
struct NextHello {
    #[prost(uint32, tag = "1")]
    protocol: u32,
    #[prost(string, tag = "2")]
    program_version: String,
    #[prost(fixed64, tag = "3")]
    epoch: u64,
    /// What it adds.
    #[prost(message, optional, tag = "60")]
    novelty: Option<Novelty>,
}

/// A `Welcome` of the next version, as far as it matters here.
#[derive(Clone, PartialEq, prost::Message)]
struct NextWelcome {
    #[prost(uint32, tag = "1")]
    protocol: u32,
    #[prost(bool, tag = "3")]
    resend_open_alerts: bool,
    #[prost(message, optional, tag = "60")]
    novelty: Option<Novelty>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Novelty {
    #[prost(string, tag = "1")]
    text: String,
    #[prost(sint64, repeated, tag = "2")]
    numbers: Vec<i64>,
}

/// An `Up` or `Down` of the next version.
#[derive(Clone, PartialEq, prost::Message)]
struct NextEither {
    #[prost(oneof = "NextKind", tags = "1, 60")]
    kind: Option<NextKind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum NextKind {
    #[prost(message, tag = "1")]
    Hello(NextHello),
    #[prost(message, tag = "60")]
    Novelty(Novelty),
}

fn novelty() -> Novelty {
    Novelty { text: "new".to_owned(), numbers: vec![-1, 1 << 40] }
}

#[test]
fn a_greeting_of_the_next_version_is_read_without_what_it_adds() {
    let next = NextHello { protocol: 3, program_version: "9.0".to_owned(), epoch: 7, novelty: Some(novelty()) };
    let wanted = Hello { protocol: 3, program_version: "9.0".to_owned(), epoch: 7, ..Hello::default() };
    assert_eq!(Hello::decode(next.encode_to_vec().as_slice()), Ok(wanted.clone()));
    let whole = NextEither { kind: Some(NextKind::Hello(next)) };
    assert_eq!(Up::decode(whole.encode_to_vec().as_slice()), Ok(Up { kind: Some(up::Kind::Hello(wanted)) }));
    let next = NextWelcome { protocol: 2, resend_open_alerts: true, novelty: Some(novelty()) };
    let wanted = Welcome { protocol: 2, resend_open_alerts: true, ..Welcome::default() };
    assert_eq!(Welcome::decode(next.encode_to_vec().as_slice()), Ok(wanted));
}

#[test]
fn the_next_version_reads_our_greetings_and_finds_what_it_adds_empty() {
    let ours = Up { kind: Some(up::Kind::Hello(hello())) };
    let wanted = NextHello { protocol: 2, program_version: "0.5.0".to_owned(), epoch: hello().epoch, novelty: None };
    assert_eq!(NextEither::decode(ours.encode_to_vec().as_slice()), Ok(NextEither { kind: Some(NextKind::Hello(wanted)) }));
    let wanted = NextWelcome { protocol: 2, resend_open_alerts: true, novelty: None };
    assert_eq!(NextWelcome::decode(welcome().encode_to_vec().as_slice()), Ok(wanted));
}

#[test]
fn a_kind_of_the_next_version_is_an_empty_message_and_no_error() {
    let next = NextEither { kind: Some(NextKind::Novelty(novelty())) }.encode_to_vec();
    assert_eq!(Up::decode(next.as_slice()), Ok(Up { kind: None }));
    assert_eq!(Down::decode(next.as_slice()), Ok(Down { kind: None }));
}

#[test]
fn a_state_of_the_next_version_reads_as_none_that_we_know() {
    let status = RevisionStatus { number: 1, state: 99, problems: Vec::new() };
    let read = RevisionStatus::decode(status.encode_to_vec().as_slice()).unwrap();
    assert_eq!((read.state(), read.state), (RevisionState::Unspecified, 99));
}

#[test]
fn every_message_is_read_though_a_field_of_any_wire_type_was_added() {
    // Field 500 as a number, eight bytes, a text, and four bytes (protobuf's wire types 0, 1, 2 and 5).
    let added: [&[u8]; 4] = [
        &[0xa0, 0x1f, 0x96, 0x01],
        &[0xa1, 0x1f, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0xa2, 0x1f, 0x03, b'n', b'e', b'w'],
        &[0xa5, 0x1f, 1, 2, 3, 4],
    ];
    for Vector { name, bytes, is_read_from } in vectors() {
        for field in added {
            assert!(is_read_from(&[&bytes, field].concat()) && is_read_from(&[field, &bytes].concat()), "{name} {field:?}");
        }
    }
}
