//! Texts in one piece of memory, one after the other, each with its length before it: an open alert has a dozen, most of them short.
//!
//! Written and read by this crate alone; what does not fit together reads as empty texts.

/// Appends `text` to `packed`.
pub(super) fn put(packed: &mut Vec<u8>, text: &str) {
    put_number(packed, text.len() as u64);
    packed.extend_from_slice(text.as_bytes());
}

/// Appends a number in groups of seven bits, lowest first.
pub(super) fn put_number(packed: &mut Vec<u8>, mut number: u64) {
    while let Ok(group) = u8::try_from(number & 0x7f) {
        number >>= 7;
        if number == 0 {
            packed.push(group);
            return;
        }
        packed.push(group | 0x80);
    }
}

/// What is left to read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Texts<'a>(pub(super) &'a [u8]);

impl<'a> Texts<'a> {
    /// Returns whether nothing is left.
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads a number.
    pub(super) fn number(&mut self) -> u64 {
        let mut number = 0_u64;
        for shift in (0..u64::BITS).step_by(7) {
            let Some((group, rest)) = self.0.split_first() else { return number };
            self.0 = rest;
            number |= u64::from(group & 0x7f).checked_shl(shift).unwrap_or(0);
            if group & 0x80 == 0 {
                break;
            }
        }
        number
    }

    /// Reads a text's bytes.
    pub(super) fn bytes(&mut self) -> &'a [u8] {
        let length = usize::try_from(self.number()).unwrap_or(usize::MAX);
        let (text, rest) = self.0.split_at_checked(length).unwrap_or_default();
        self.0 = rest;
        text
    }

    /// Reads a text.
    pub(super) fn text(&mut self) -> &'a str {
        let bytes = self.bytes();
        debug_assert!(std::str::from_utf8(bytes).is_ok(), "only texts are packed");
        std::str::from_utf8(bytes).unwrap_or_default()
    }

    /// Reads a text as one of its own.
    pub(super) fn string(&mut self) -> String {
        self.text().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_packed_is_read(texts in prop::collection::vec(".{0,200}", 0..9), numbers in prop::collection::vec(any::<u64>(), 0..9)) {
            let mut packed = Vec::new();
            texts.iter().for_each(|text| put(&mut packed, text));
            numbers.iter().for_each(|number| put_number(&mut packed, *number));
            let mut left = Texts(&packed);
            let read: Vec<_> = texts.iter().map(|_| left.string()).collect();
            prop_assert_eq!(read, texts);
            let read: Vec<_> = numbers.iter().map(|_| left.number()).collect();
            prop_assert_eq!(read, numbers);
            prop_assert!(left.is_empty());
        }

        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..30)) {
            let mut left = Texts(&bytes);
            for _ in 0..40 {
                left.bytes();
                left.number();
            }
        }
    }
}
