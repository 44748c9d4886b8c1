//! What the signature of a trust bundle covers.

use crate::id::GatewayId;
use crate::message::TrustBundle;

/// Returns the bytes that the signature of a bundle covers: a domain tag, the gateway, and every field, all length-prefixed.
pub fn signing_input(gateway: &GatewayId, bundle: &TrustBundle) -> Vec<u8> {
    let mut out = Vec::new();
    let mut part = |bytes: &[u8]| {
        out.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
        out.extend_from_slice(bytes);
    };
    part(b"postern-trust-v1");
    part(gateway.as_str().as_bytes());
    part(&bundle.serial.to_be_bytes());
    for list in [&bundle.server_pins, &bundle.authorities, &bundle.signing_keys] {
        part(&(list.len() as u64).to_be_bytes());
        list.iter().for_each(|item| part(item));
    }
    part(&(bundle.addresses.len() as u64).to_be_bytes());
    bundle.addresses.iter().for_each(|address| part(address.as_bytes()));
    out
}
