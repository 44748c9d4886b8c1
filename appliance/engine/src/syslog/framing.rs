//! Cuts syslog lines out of a TCP or TLS stream (RFC 6587 §3.4, RFC 5425 §4.3). Pure: bytes in, lines out.
//!
//! Octet counting (`MSG-LEN SP <PRI>…`) and LF framing are told apart for every frame, so that relays which mix them lose nothing.
//! A fault costs the bytes that it concerns and no others: the owner counts the error and goes on.

/// Longest MSG-LEN that is read: 9 digits exceed any limit of ours.
const MAX_COUNT_DIGITS: usize = 9;

/// Why bytes of a stream became no line. The stream goes on behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// A MSG-LEN with too many digits. Everything up to the next line feed is skipped.
    #[error("octet count has more than {MAX_COUNT_DIGITS} digits")]
    Count,
    /// A frame above the limit. It is skipped: by its count, or up to the next line feed.
    #[error("frame is longer than {max_frame} bytes")]
    TooLong {
        /// The limit.
        max_frame: usize,
    },
    /// The stream ended inside an octet-counted frame.
    #[error("stream ended {missing} bytes short of a frame")]
    Truncated {
        /// Bytes that are missing.
        missing: usize,
    },
}

/// Cuts one stream into lines. Holds at most one frame and what was pushed since the last call of [`Deframer::next`].
#[derive(Debug)]
pub struct Deframer {
    max_frame: usize,
    buffer: Vec<u8>,
    /// Where the next frame begins in `buffer`.
    start: usize,
    /// How many bytes of it are known to hold no terminator.
    scanned: usize,
    skip: Skip,
}

/// What is being skipped after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Skip {
    Bytes(usize),
    Line,
    Nothing,
}

/// How the next frame is delimited.
enum Delimiter {
    Counted { header: usize, length: usize },
    Line,
    Oversized { digits: usize },
    Unknown,
}

impl Deframer {
    /// Makes a deframer that takes frames of up to `max_frame` bytes, delimiters not counted.
    pub const fn new(max_frame: usize) -> Self {
        Self { max_frame, buffer: Vec::new(), start: 0, scanned: 0, skip: Skip::Nothing }
    }

    /// Takes the next bytes of the stream. The caller then calls [`Deframer::next`] until it returns `Ok(None)`.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start.min(self.buffer.len()));
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the next line without its delimiters, or `None` until more bytes are pushed. Empty lines are passed over.
    ///
    /// # Errors
    /// [`FramingError::Count`] or [`FramingError::TooLong`], once for each fault; the next call goes on behind it.
    #[expect(clippy::should_implement_trait, reason = "an iterator's None is final, ours is not")]
    pub fn next(&mut self) -> Result<Option<Vec<u8>>, FramingError> {
        loop {
            self.skip();
            if self.skip != Skip::Nothing {
                return Ok(None);
            }
            let pending = self.pending();
            match delimiter(pending) {
                Delimiter::Unknown => return Ok(None),
                Delimiter::Oversized { digits } => {
                    self.consume(digits);
                    self.skip = Skip::Line;
                    return Err(FramingError::Count);
                }
                Delimiter::Counted { header, length } if length > self.max_frame => {
                    self.consume(header);
                    self.skip = Skip::Bytes(length);
                    return Err(FramingError::TooLong { max_frame: self.max_frame });
                }
                Delimiter::Counted { header, length } => {
                    let end = header.saturating_add(length);
                    let Some(frame) = pending.get(header..end).map(trim) else { return Ok(None) };
                    self.consume(end);
                    if !frame.is_empty() {
                        return Ok(Some(frame));
                    }
                }
                Delimiter::Line => match self.line()? {
                    Some(line) if line.is_empty() => {}
                    other => return Ok(other),
                },
            }
        }
    }

    /// Says that the stream has ended and returns what it ended with: a last line needs no line feed.
    ///
    /// # Errors
    /// [`FramingError::Truncated`] when an octet-counted frame is not whole, [`FramingError::TooLong`] when the last line is.
    pub fn finish(mut self) -> Result<Option<Vec<u8>>, FramingError> {
        self.skip();
        if self.skip != Skip::Nothing {
            return Ok(None);
        }
        let pending = self.pending();
        if let Delimiter::Counted { header, length } = delimiter(pending) {
            let have = pending.len().saturating_sub(header);
            return Err(FramingError::Truncated { missing: length.saturating_sub(have) });
        }
        if pending.len() > self.max_frame {
            return Err(FramingError::TooLong { max_frame: self.max_frame });
        }
        let last = trim(pending);
        Ok((!last.is_empty()).then_some(last))
    }

    fn pending(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    fn consume(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.buffer.len());
        self.scanned = 0;
    }

    /// Cuts a line at LF, or at NUL (RFC 6587 §3.4.2 saw both).
    fn line(&mut self) -> Result<Option<Vec<u8>>, FramingError> {
        let pending = self.pending();
        let unseen = pending.get(self.scanned..).unwrap_or_default();
        let end = memchr::memchr2(b'\n', 0, unseen).map(|at| at.saturating_add(self.scanned));
        let too_long = FramingError::TooLong { max_frame: self.max_frame };
        match end {
            Some(end) if end > self.max_frame => {
                self.consume(end.saturating_add(1));
                Err(too_long)
            }
            Some(end) => {
                let line = trim(pending.get(..end).unwrap_or_default());
                self.consume(end.saturating_add(1));
                Ok(Some(line))
            }
            None if pending.len() > self.max_frame => {
                self.consume(pending.len());
                self.skip = Skip::Line;
                Err(too_long)
            }
            None => {
                self.scanned = pending.len();
                Ok(None)
            }
        }
    }

    /// Drops what an error condemned, as far as it has arrived, and the delimiters that stand before a frame.
    fn skip(&mut self) {
        let pending = self.pending();
        let (gone, left) = match self.skip {
            Skip::Nothing => (0, Skip::Nothing),
            Skip::Bytes(count) => {
                let gone = count.min(pending.len());
                (gone, if gone == count { Skip::Nothing } else { Skip::Bytes(count - gone) })
            }
            Skip::Line => match memchr::memchr2(b'\n', 0, pending) {
                Some(end) => (end.saturating_add(1), Skip::Nothing),
                None => (pending.len(), Skip::Line),
            },
        };
        if gone > 0 {
            self.consume(gone);
        }
        self.skip = left;
        if left == Skip::Nothing && self.scanned == 0 {
            let blank = self.pending().iter().take_while(|byte| matches!(byte, b'\n' | b'\r' | 0)).count();
            self.consume(blank);
        }
    }
}

/// Looks at the beginning of a frame. A count is one only when a space and a PRI follow: a line without PRI may begin with a number,
/// such as a year.
fn delimiter(pending: &[u8]) -> Delimiter {
    let digits = pending.iter().take_while(|byte| byte.is_ascii_digit()).count();
    // RFC 6587 §3.4.1: MSG-LEN = NONZERO-DIGIT *DIGIT.
    if digits == 0 || pending.first() == Some(&b'0') {
        return if pending.is_empty() { Delimiter::Unknown } else { Delimiter::Line };
    }
    if digits > MAX_COUNT_DIGITS {
        return Delimiter::Oversized { digits };
    }
    match (pending.get(digits), pending.get(digits.saturating_add(1))) {
        (None, _) | (Some(b' '), None) => Delimiter::Unknown,
        (Some(b' '), Some(b'<')) => {
            let number = pending.iter().take(digits).fold(0_usize, |number, digit| number * 10 + usize::from(digit - b'0'));
            Delimiter::Counted { header: digits.saturating_add(1), length: number }
        }
        _ => Delimiter::Line,
    }
}

/// Copies a line without the line ends and NULs at its end.
fn trim(line: &[u8]) -> Vec<u8> {
    let end = line.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r' | 0)).map_or(0, |last| last.saturating_add(1));
    line.get(..end).unwrap_or_default().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything that a stream yields when it arrives in chunks of `size`: lines, and errors in their place.
    fn cut(stream: &[u8], size: usize, max_frame: usize) -> Vec<Result<String, FramingError>> {
        let (mut deframer, mut seen) = (Deframer::new(max_frame), Vec::new());
        let text = |line: Vec<u8>| String::from_utf8(line).unwrap();
        for chunk in stream.chunks(size) {
            deframer.push(chunk);
            while let Some(item) = deframer.next().transpose() {
                seen.push(item.map(text));
            }
        }
        seen.extend(deframer.finish().transpose().map(|item| item.map(text)));
        seen
    }

    fn lines(texts: &[&str]) -> Vec<Result<String, FramingError>> {
        texts.iter().map(|text| Ok((*text).to_owned())).collect()
    }

    #[test]
    fn both_framings_may_be_mixed_in_any_fragmentation() {
        let stream = b"5 <1>ab<2>line\r\n<3>nul\x00\n\n6 <4>a\nb7 <5>end\n2026 no pri\n<6>last";
        let expected = lines(&["<1>ab", "<2>line", "<3>nul", "<4>a\nb", "<5>end", "2026 no pri", "<6>last"]);
        for size in 1..=stream.len() {
            assert_eq!(cut(stream, size, 64), expected, "chunks of {size}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_reported_once_and_the_next_one_comes() {
        let stream = [b"<1>ok\n".as_slice(), &[b'x'; 100], b"\n<2>ok\n"].concat();
        let expected = [lines(&["<1>ok"]), vec![Err(FramingError::TooLong { max_frame: 10 })], lines(&["<2>ok"])].concat();
        for size in 1..=stream.len() {
            assert_eq!(cut(&stream, size, 10), expected, "chunks of {size}");
        }
        assert_eq!(cut(b"1234567890\n", 3, 10), [Err(FramingError::Count)]);
        assert_eq!(cut(b"a234567890\n", 3, 10), lines(&["a234567890"]));
    }

    #[test]
    fn a_counted_frame_that_is_too_long_is_skipped_by_its_count() {
        let stream = [b"100 <1>".as_slice(), &[b'\n'; 97], b"5 <2>ok"].concat();
        let expected = [vec![Err(FramingError::TooLong { max_frame: 10 })], lines(&["<2>ok"])].concat();
        for size in 1..=stream.len() {
            assert_eq!(cut(&stream, size, 10), expected, "chunks of {size}");
        }
    }

    #[test]
    fn a_garbage_count_is_an_error_and_the_stream_goes_on_at_the_next_line() {
        let stream = b"99999999999999999999 <1>x\n<2>ok\n";
        for size in 1..=stream.len() {
            assert_eq!(cut(stream, size, 64), [vec![Err(FramingError::Count)], lines(&["<2>ok"])].concat());
        }
    }

    #[test]
    fn a_stream_that_ends_inside_a_counted_frame_says_so() {
        assert_eq!(cut(b"10 <1>x", 1, 64), [Err(FramingError::Truncated { missing: 6 })]);
        assert_eq!(cut(b"10 ", 1, 64), lines(&["10 "]));
        assert_eq!(cut(b"\r\n\0", 1, 64), []);
    }

    #[test]
    fn an_endless_stream_without_line_feed_holds_no_memory() {
        let mut deframer = Deframer::new(1_000);
        let mut errors = 0;
        for _ in 0..1_000 {
            deframer.push(&[b'x'; 500]);
            errors += u32::from(deframer.next().is_err());
            assert!(deframer.buffer.len() <= 1_500);
        }
        assert_eq!(errors, 1);
    }
}
