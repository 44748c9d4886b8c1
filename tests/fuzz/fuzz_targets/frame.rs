//! Frames of the tunnel: independent of how the stream is cut, equal after being written again, and alerts in them checked.
#![no_main]

use libfuzzer_sys::fuzz_target;
use postern_protocol::alert::Alert;
use postern_protocol::frame::{self, Decoder, FrameError};
use postern_protocol::message::{Batch, Down, Up};

fuzz_target!(|input: (u8, &[u8])| {
    let (size, stream) = input;
    let size = usize::from(size) + 1;
    check::<Up>(stream, size);
    check::<Down>(stream, size);
    check::<Batch>(stream, size);
    if let Ok(alert) = Alert::decode(stream) {
        assert_eq!(Alert::decode(&alert.encode()), Ok(alert));
    }
});

fn check<M: prost::Message + Default + PartialEq>(stream: &[u8], size: usize) {
    let (messages, end) = cut::<M>(stream, stream.len().max(1));
    assert_eq!(cut::<M>(stream, size), (messages.clone(), end));
    for encoded in messages {
        let message = M::decode(encoded.as_slice()).unwrap();
        let mut decoder = Decoder::default();
        decoder.push(&frame::encode(&message));
        assert!(decoder.next::<M>().unwrap().is_some_and(|again| again == message));
        assert_eq!(decoder.finish(), Ok(()));
    }
}

/// Every message, encoded, and how the stream ended.
fn cut<M: prost::Message + Default>(stream: &[u8], size: usize) -> (Vec<Vec<u8>>, Result<(), FrameError>) {
    let (mut decoder, mut messages) = (Decoder::default(), Vec::new());
    for chunk in stream.chunks(size) {
        decoder.push(chunk);
        loop {
            match decoder.next::<M>() {
                Ok(Some(message)) => messages.push(message.encode_to_vec()),
                Ok(None) => break,
                Err(error) => return (messages, Err(error)),
            }
        }
    }
    let end = decoder.finish();
    (messages, end)
}
