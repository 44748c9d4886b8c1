//! A cursor over the bytes of a line. Every step says whether it was taken; none can run over the end.
//!
//! It knows whether the whole line is readable as it is, so that its parts need no further look when they become text.

use std::ops::RangeInclusive;

use super::text;

#[derive(Clone, Copy, Debug)]
pub(super) struct Scanner<'a> {
    rest: &'a [u8],
    /// The whole line, if all of it is readable text.
    text: Option<&'a str>,
}

impl<'a> Scanner<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, text: None }
    }

    /// Makes a cursor over a line.
    pub(super) fn over(line: &'a [u8]) -> Self {
        Self { rest: line, text: text::shown_as_is(line) }
    }

    /// Makes a cursor over a part of the same line.
    pub(super) const fn at(&self, part: &'a [u8]) -> Self {
        Self { rest: part, text: self.text }
    }

    /// Makes a part of the line readable.
    pub(super) fn readable(&self, part: &[u8]) -> String {
        // Where the part lies in the line: one that is not of it lies outside.
        let place = |line: &'a str| {
            let start = part.as_ptr().addr().checked_sub(line.as_ptr().addr())?;
            line.get(start..start.checked_add(part.len())?)
        };
        self.text.and_then(place).map_or_else(|| text::readable(part), str::to_owned)
    }

    /// Returns what is not read yet.
    pub(super) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Takes `byte` if it is next.
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        match self.rest.split_first() {
            Some((first, rest)) if *first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// Takes `bytes` if they are next.
    pub(super) fn eat_all(&mut self, bytes: &[u8]) -> bool {
        self.rest.strip_prefix(bytes).map(|rest| self.rest = rest).is_some()
    }

    pub(super) fn skip_bom(&mut self) {
        self.eat_all(b"\xef\xbb\xbf");
    }

    pub(super) fn skip_spaces(&mut self) {
        self.take_while(|byte| byte == b' ');
    }

    /// Takes the bytes for which `wanted` holds.
    pub(super) fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.rest.iter().position(|byte| !wanted(*byte)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, &[]));
        self.rest = rest;
        taken
    }

    /// Takes the next `N` bytes.
    pub(super) fn chunk<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (chunk, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*chunk)
    }

    /// Takes the bytes up to a space, a tab or the end.
    pub(super) fn word(&mut self) -> &'a [u8] {
        self.take_while(|byte| !matches!(byte, b' ' | b'\t'))
    }

    /// Takes a number that has this many digits (at most 9), all of them.
    pub(super) fn digits(&mut self, count: RangeInclusive<usize>) -> Option<u32> {
        let mut ahead = *self;
        let digits = ahead.take_while(|byte| byte.is_ascii_digit());
        if !count.contains(&digits.len()) || digits.len() > 9 {
            return None;
        }
        self.rest = ahead.rest;
        Some(digits.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0')))
    }
}
