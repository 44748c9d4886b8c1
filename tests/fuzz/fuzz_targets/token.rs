//! Enrolment tokens: one text for each token.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_protocol::enrolment::Token;
use postern_protocol::timestamp::Timestamp;

fuzz_target!(|input: ([u8; 32], [u8; 32], i32, &str)| {
    let (ca_spki_sha256, secret, expires, text) = input;
    if let Ok(token) = Token::parse(text) {
        assert_eq!(token.to_string(), text.trim());
    }
    let token = Token { ca_spki_sha256, secret, expires: Timestamp::from_secs(expires.into()) };
    assert!(Token::parse(&token.to_string()).is_ok_and(|parsed| parsed == token));
});
