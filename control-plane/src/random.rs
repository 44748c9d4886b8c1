//! Random bytes from the system, for identifiers, serial numbers and secrets.

/// The system gave no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gave no random bytes")]
pub struct Unavailable;

/// Returns `N` random bytes.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], Unavailable> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Unavailable)?;
    Ok(bytes)
}

/// Returns `N` random bytes as 2·`N` hexadecimal digits.
pub(crate) fn hex<const N: usize>() -> Result<String, Unavailable> {
    Ok(data_encoding::HEXLOWER.encode(&bytes::<N>()?))
}
