//! Names of SNMP engines (RFC 3411 §5): 5 to 32 bytes, compared and shown, never interpreted.

use std::fmt;
use std::str::FromStr;

/// Fewest bytes of an engine ID.
const MIN_BYTES: usize = 5;

/// Most bytes of an engine ID.
pub const MAX_BYTES: usize = 32;

/// An snmpEngineID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EngineId {
    bytes: [u8; MAX_BYTES],
    length: u8,
}

/// Why something is not an engine ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an engine ID is 5 to 32 bytes in hexadecimal, such as 80001f8880e9630000d61ff449")]
pub struct EngineIdError;

impl EngineId {
    /// Takes `bytes` as an engine ID.
    ///
    /// # Errors
    /// [`EngineIdError`] when there are fewer than 5 or more than 32 of them.
    pub fn new(bytes: &[u8]) -> Result<Self, EngineIdError> {
        if bytes.len() < MIN_BYTES {
            return Err(EngineIdError);
        }
        let mut padded = [0; MAX_BYTES];
        padded.get_mut(..bytes.len()).ok_or(EngineIdError)?.copy_from_slice(bytes);
        Ok(Self { bytes: padded, length: u8::try_from(bytes.len()).map_err(|_| EngineIdError)? })
    }

    /// Returns its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }
}

/// Lower-case hexadecimal, as in revisions.
impl fmt::Display for EngineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for EngineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EngineId({self})")
    }
}

impl FromStr for EngineId {
    type Err = EngineIdError;

    /// Reads hexadecimal in either case.
    fn from_str(text: &str) -> Result<Self, EngineIdError> {
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return Err(EngineIdError) };
        let bytes: Option<Vec<u8>> = pairs.iter().map(|[high, low]| Some((digit(*high)? << 4) | digit(*low)?)).collect();
        Self::new(&bytes.ok_or(EngineIdError)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_survives_and_wrong_lengths_are_refused() {
        let id: EngineId = "80001F8880e9630000d61ff449".parse().unwrap();
        assert_eq!(id.to_string(), "80001f8880e9630000d61ff449");
        assert_eq!(EngineId::new(id.as_bytes()), Ok(id));
        for bad in ["", "8000", "80001f88", "80001f888", "80001f88zz", &"80".repeat(33)] {
            assert_eq!(bad.parse::<EngineId>(), Err(EngineIdError), "{bad}");
        }
        assert_eq!("80".repeat(32).parse::<EngineId>().unwrap().as_bytes().len(), 32);
    }
}
