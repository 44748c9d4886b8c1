//! RFC 6587 framing: lines do not depend on how the stream is cut, and keep their limit.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_engine::syslog::framing::{Deframer, FramingError};

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (size, max_frame, stream) = input;
    let max_frame = usize::from(max_frame) + 1;
    let whole = cut(stream, stream.len().max(1), max_frame);
    assert_eq!(cut(stream, usize::from(size) + 1, max_frame), whole);
    assert!(whole.iter().flatten().all(|line| !line.is_empty() && line.len() <= max_frame));
});

fn cut(stream: &[u8], size: usize, max_frame: usize) -> Vec<Result<Vec<u8>, FramingError>> {
    let (mut deframer, mut seen) = (Deframer::new(max_frame), Vec::new());
    for chunk in stream.chunks(size) {
        deframer.push(chunk);
        while let Some(item) = deframer.next().transpose() {
            seen.push(item);
        }
    }
    seen.extend(deframer.finish().transpose());
    seen
}
