//! The ciphers of privacy: CBC-DES (RFC 3414 §8), 3DES-EDE (draft-reeder-snmpv3-usm-3desede-00), CFB128-AES (RFC 3826 and its
//! longer keys). In place; whether the result makes sense is for the caller to see, because none of them says.

use aes::{Aes128Enc, Aes192Enc, Aes256Enc};
use cbc::cipher::array::Array;
use cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit};
use des::{Des, TdesEde3};
use postern_protocol::revision::intake::PrivAlgorithm;

use super::EngineTime;

/// Bytes of msgPrivacyParameters, with every cipher.
pub(super) const SALT_BYTES: usize = 8;

/// Bytes of a block of DES and 3DES.
const DES_BLOCK: usize = 8;

/// A cipher, its localised key, and what makes up a message's initialisation vector.
pub(super) struct Cipher<'a> {
    /// The cipher.
    pub(super) algorithm: PrivAlgorithm,
    /// Its localised key, of [`super::key::needed`] bytes.
    pub(super) key: &'a [u8],
    /// The authoritative engine's clock in the message.
    pub(super) clock: EngineTime,
    /// msgPrivacyParameters.
    pub(super) salt: [u8; SALT_BYTES],
}

/// The lengths do not fit the cipher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadLength;

impl From<cbc::cipher::InvalidLength> for BadLength {
    fn from(_: cbc::cipher::InvalidLength) -> Self {
        Self
    }
}

impl Cipher<'_> {
    /// Makes the salt of one message: RFC 3414 §8.1.1.1 begins it with our boots, RFC 3826 §3.1.2.1 leaves it to us.
    pub(super) fn salt(algorithm: PrivAlgorithm, boots: u32, counter: u64) -> [u8; SALT_BYTES] {
        match algorithm {
            PrivAlgorithm::Des | PrivAlgorithm::TripleDes => ((u64::from(boots) << 32) | (counter & u64::from(u32::MAX))).to_be_bytes(),
            PrivAlgorithm::Aes128 | PrivAlgorithm::Aes192 | PrivAlgorithm::Aes256 => counter.to_be_bytes(),
        }
    }

    /// Says how many bytes must be appended before so many are encrypted (RFC 3414 §8.1.1.2).
    pub(super) const fn padding(algorithm: PrivAlgorithm, length: usize) -> usize {
        match algorithm {
            PrivAlgorithm::Des | PrivAlgorithm::TripleDes => length.next_multiple_of(DES_BLOCK) - length,
            PrivAlgorithm::Aes128 | PrivAlgorithm::Aes192 | PrivAlgorithm::Aes256 => 0,
        }
    }

    /// Decrypts in place.
    pub(super) fn decrypt(&self, data: &mut [u8]) -> Result<(), BadLength> {
        let aes_iv = self.aes_iv();
        match self.algorithm {
            PrivAlgorithm::Des => {
                let (key, iv) = self.des_key()?;
                cbc::Decryptor::<Des>::new_from_slices(key, &iv)?.decrypt_blocks(blocks(data)?);
            }
            PrivAlgorithm::TripleDes => {
                let (key, iv) = self.des_key()?;
                cbc::Decryptor::<TdesEde3>::new_from_slices(key, &iv)?.decrypt_blocks(blocks(data)?);
            }
            PrivAlgorithm::Aes128 => cfb_mode::Decryptor::<Aes128Enc>::new_from_slices(self.key, &aes_iv)?.decrypt(data),
            PrivAlgorithm::Aes192 => cfb_mode::Decryptor::<Aes192Enc>::new_from_slices(self.key, &aes_iv)?.decrypt(data),
            PrivAlgorithm::Aes256 => cfb_mode::Decryptor::<Aes256Enc>::new_from_slices(self.key, &aes_iv)?.decrypt(data),
        }
        Ok(())
    }

    /// Encrypts in place.
    pub(super) fn encrypt(&self, data: &mut [u8]) -> Result<(), BadLength> {
        let aes_iv = self.aes_iv();
        match self.algorithm {
            PrivAlgorithm::Des => {
                let (key, iv) = self.des_key()?;
                cbc::Encryptor::<Des>::new_from_slices(key, &iv)?.encrypt_blocks(blocks(data)?);
            }
            PrivAlgorithm::TripleDes => {
                let (key, iv) = self.des_key()?;
                cbc::Encryptor::<TdesEde3>::new_from_slices(key, &iv)?.encrypt_blocks(blocks(data)?);
            }
            PrivAlgorithm::Aes128 => cfb_mode::Encryptor::<Aes128Enc>::new_from_slices(self.key, &aes_iv)?.encrypt(data),
            PrivAlgorithm::Aes192 => cfb_mode::Encryptor::<Aes192Enc>::new_from_slices(self.key, &aes_iv)?.encrypt(data),
            PrivAlgorithm::Aes256 => cfb_mode::Encryptor::<Aes256Enc>::new_from_slices(self.key, &aes_iv)?.encrypt(data),
        }
        Ok(())
    }

    /// RFC 3826 §3.1.2.1: boots, time and salt, one after the other.
    fn aes_iv(&self) -> [u8; 16] {
        let number = (u128::from(self.clock.boots) << 96) | (u128::from(self.clock.time) << 64) | u128::from(u64::from_be_bytes(self.salt));
        number.to_be_bytes()
    }

    /// RFC 3414 §8.1.1.1: the last 8 bytes are the pre-IV, and the IV is that XOR the salt.
    fn des_key(&self) -> Result<(&[u8], [u8; DES_BLOCK]), BadLength> {
        let (key, pre_iv) = self.key.split_last_chunk::<DES_BLOCK>().ok_or(BadLength)?;
        Ok((key, (u64::from_be_bytes(*pre_iv) ^ u64::from_be_bytes(self.salt)).to_be_bytes()))
    }
}

fn blocks(data: &mut [u8]) -> Result<&mut [Array<u8, cbc::cipher::consts::U8>], BadLength> {
    match Array::slice_as_chunks_mut(data) {
        (blocks, []) => Ok(blocks),
        (_, [..]) => Err(BadLength),
    }
}

#[cfg(test)]
mod tests {
    use super::super::key;
    use super::*;

    #[test]
    fn what_is_encrypted_is_decrypted_with_the_same_key_and_clock_only() {
        for algorithm in [PrivAlgorithm::Des, PrivAlgorithm::TripleDes, PrivAlgorithm::Aes128, PrivAlgorithm::Aes192, PrivAlgorithm::Aes256]
        {
            let bytes: Vec<u8> = (0..32).collect();
            let clock = EngineTime { boots: 3, time: 7 };
            let cipher = Cipher { algorithm, key: &bytes[..key::needed(algorithm)], clock, salt: Cipher::salt(algorithm, 3, u64::MAX) };
            let plain = [b'x'; 48];
            let mut data = plain;
            cipher.encrypt(&mut data).unwrap();
            assert_ne!(data, plain);
            let other = Cipher { salt: Cipher::salt(algorithm, 3, 1), ..cipher };
            let mut garbled = data;
            other.decrypt(&mut garbled).unwrap();
            assert_ne!(garbled, plain);
            cipher.decrypt(&mut data).unwrap();
            assert_eq!(data, plain);
        }
    }

    #[test]
    fn blocks_that_are_cut_are_refused() {
        for algorithm in [PrivAlgorithm::Des, PrivAlgorithm::TripleDes] {
            let key = [1; 32];
            let clock = EngineTime { boots: 1, time: 1 };
            let cipher = Cipher { algorithm, key: &key[..key::needed(algorithm)], clock, salt: [0; 8] };
            assert_eq!(cipher.decrypt(&mut [0; 15]), Err(BadLength));
            assert_eq!(Cipher::padding(algorithm, 15), 1);
            assert_eq!(Cipher::padding(algorithm, 16), 0);
        }
    }
}
