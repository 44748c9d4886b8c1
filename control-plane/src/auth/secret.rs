//! Random secrets and the hashes under which they rest. A secret of 256 random bits needs no slow hash.

use aws_lc_rs::digest;

use crate::random::{self, Unavailable};

/// Returns a new secret of 256 bits as URL-safe text.
///
/// # Errors
/// [`Unavailable`] when the system has none.
pub(crate) fn fresh() -> Result<String, Unavailable> {
    Ok(data_encoding::BASE64URL_NOPAD.encode(&random::bytes::<32>()?))
}

/// SHA-256 of the parts, each with its length before it.
pub(crate) fn sha256(parts: &[&[u8]]) -> Vec<u8> {
    let mut hash = digest::Context::new(&digest::SHA256);
    for part in parts {
        hash.update(&(part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finish().as_ref().to_vec()
}

/// Whether the two are equal, in a time that does not tell where they differ.
pub(crate) fn equal(a: &[u8], b: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(a, b).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_borders_between_parts_count() {
        assert_ne!(sha256(&[b"ab", b"c"]), sha256(&[b"a", b"bc"]));
        assert_eq!(sha256(&[b"ab"]).len(), 32);
    }

    #[test]
    fn no_two_secrets_are_alike() {
        let (a, b) = (fresh().unwrap(), fresh().unwrap());
        assert_ne!(a, b);
        assert_eq!(a.len(), 43);
        assert!(equal(a.as_bytes(), a.as_bytes()) && !equal(a.as_bytes(), b.as_bytes()));
    }
}
