//! The PROXY protocol's header: bounded, one reading only, and never a byte beyond its end.
#![no_main]

use libfuzzer_sys::fuzz_target;

// The one file instead of the whole gateway: it is pure, and this way no TLS library is built for fuzzing.
#[allow(dead_code)]
#[path = "../../../appliance/gateway/src/receivers/proxy_protocol.rs"]
mod proxy_protocol;

use proxy_protocol::{MAX_HEADER_BYTES, Parsed, parse};

fuzz_target!(|bytes: &[u8]| match parse(bytes) {
    Ok(Parsed::Header(header)) => {
        assert!(header.bytes <= bytes.len() && header.bytes <= MAX_HEADER_BYTES);
        let exact = &bytes[..header.bytes];
        assert_eq!(parse(exact), Ok(Parsed::Header(header)), "what follows the header must not change it");
        let mut have = 0;
        while let Ok(Parsed::Wants(more)) = parse(&exact[..have]) {
            assert!(more > 0);
            have += more;
            assert!(have <= exact.len(), "a reader would take what belongs to the connection");
        }
        assert_eq!(have, exact.len());
    }
    Ok(Parsed::Wants(more)) => {
        assert!(more > 0 && bytes.len() + more <= MAX_HEADER_BYTES, "a header cannot stay incomplete for ever");
    }
    Err(_) => {}
});
