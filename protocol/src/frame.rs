//! Length-prefixed frames on a tunnel stream: a 4-byte big-endian length, then that many bytes of one protobuf message.
//!
//! HTTP/2 DATA frames are not message frames, so both sides reassemble here. Pure: bytes in, frames out.

use bytes::{Buf as _, Bytes, BytesMut};

/// Most bytes that one frame may carry.
pub const MAX_FRAME_BYTES: usize = 4 * 1024 * 1024;

/// Why a stream of frames cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The peer announced a frame above the limit.
    #[error("peer announced a frame of {0} bytes, more than {MAX_FRAME_BYTES}")]
    TooLong(usize),
    /// The stream ended inside a frame.
    #[error("stream ended {missing} bytes short of a frame")]
    Truncated {
        /// Bytes that are missing.
        missing: usize,
    },
    /// The frame's content is not the expected message.
    #[error("frame is not well formed: {0}")]
    Message(#[from] prost::DecodeError),
}

/// Encodes `message` as one frame.
///
/// The caller keeps messages under [`MAX_FRAME_BYTES`]; the peer refuses longer ones.
pub fn encode(message: &impl prost::Message) -> Bytes {
    let length = message.encoded_len();
    debug_assert!(length <= MAX_FRAME_BYTES, "a sender bounds its messages");
    let mut out = BytesMut::with_capacity(length.saturating_add(4));
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(&message.encode_to_vec());
    out.freeze()
}

/// Reassembles frames from a byte stream.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: BytesMut,
}

impl Decoder {
    /// Takes the next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the next whole message, or `None` until more bytes are pushed.
    ///
    /// # Errors
    /// [`FrameError::TooLong`] as soon as the length is known, [`FrameError::Message`] when the content does not decode.
    #[expect(clippy::should_implement_trait, reason = "each call may decode another type and may fail: no Iterator can")]
    pub fn next<M: prost::Message + Default>(&mut self) -> Result<Option<M>, FrameError> {
        let Some(prefix) = self.buffer.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*prefix) as usize;
        if length > MAX_FRAME_BYTES {
            return Err(FrameError::TooLong(length));
        }
        if self.buffer.len().saturating_sub(4) < length {
            return Ok(None);
        }
        self.buffer.advance(4);
        Ok(Some(M::decode(self.buffer.split_to(length))?))
    }

    /// Says that the stream has ended.
    ///
    /// # Errors
    /// [`FrameError::Truncated`] when a frame was begun and not completed.
    pub fn finish(&self) -> Result<(), FrameError> {
        let have = self.buffer.len();
        if have == 0 {
            return Ok(());
        }
        let want = self.buffer.first_chunk::<4>().map_or(4, |p| (u32::from_be_bytes(*p) as usize).saturating_add(4));
        Err(FrameError::Truncated { missing: want.saturating_sub(have) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Ack;

    #[test]
    fn frames_survive_any_fragmentation() {
        let acks =
            [Ack { epoch: 7, sequence: 1, ..Ack::default() }, Ack { epoch: 7, sequence: u64::MAX, ..Ack::default() }, Ack::default()];
        let stream: Vec<u8> = acks.iter().flat_map(|ack| encode(ack).to_vec()).collect();
        for size in 1..=stream.len() {
            let (mut decoder, mut seen) = (Decoder::default(), Vec::new());
            for chunk in stream.chunks(size) {
                decoder.push(chunk);
                while let Some(ack) = decoder.next::<Ack>().unwrap() {
                    seen.push(ack);
                }
            }
            assert_eq!(seen, acks);
            assert_eq!(decoder.finish(), Ok(()));
        }
    }

    #[test]
    fn a_giant_length_is_refused_before_its_bytes_arrive() {
        let mut decoder = Decoder::default();
        decoder.push(&u32::MAX.to_be_bytes());
        assert_eq!(decoder.next::<Ack>(), Err(FrameError::TooLong(u32::MAX as usize)));
    }

    #[test]
    fn a_stream_cut_inside_a_frame_says_how_much_is_missing() {
        let mut decoder = Decoder::default();
        decoder.push(&[0, 0, 0, 9, 1]);
        assert_eq!(decoder.finish(), Err(FrameError::Truncated { missing: 8 }));
    }
}
