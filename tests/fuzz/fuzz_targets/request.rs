//! The head of a request to the proxy: one reading only, however much of it has arrived.
#![no_main]

use libfuzzer_sys::fuzz_target;

// The one file instead of the whole gateway: it is pure, and this way no TLS library is built for fuzzing.
#[allow(dead_code)]
#[path = "../../../appliance/gateway/src/proxy/request.rs"]
mod request;

fuzz_target!(|bytes: &[u8]| match request::parse(bytes) {
    Ok(Some(head)) => {
        assert!(head.bytes <= bytes.len() && head.bytes <= request::MAX_HEAD_BYTES);
        assert_eq!(request::parse(&bytes[..head.bytes]), Ok(Some(head.clone())), "what follows the head must not change it");
        assert!(!matches!(request::parse(&bytes[..head.bytes - 1]), Ok(Some(_))), "an incomplete head must not be acted on");
        if let request::Request::Connect(connect) = &head.request {
            assert!(connect.port != 0);
            assert_eq!(request::Host::parse(&connect.host.to_string()).as_ref(), Some(&connect.host));
        }
    }
    Ok(None) => assert!(bytes.len() < request::MAX_HEAD_BYTES, "a head cannot stay incomplete for ever"),
    Err(refusal) => assert!((400..600).contains(&refusal.status) && !refusal.reason.is_empty()),
});
