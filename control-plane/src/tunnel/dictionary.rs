//! Sends the tenant's OID dictionary to a gateway that has another one, piece by piece, so that other messages pass between two.

use bytes::Bytes;
use postern_protocol::dictionary;
use postern_protocol::message::{DictionaryPart, Hello, MAX_DICTIONARY_PART_BYTES, down};

use super::context::{Context, HandlerError};
use super::downward::Downward;

/// What a session has sent of the dictionary.
pub(super) struct DictionaryNews {
    context: Context,
    /// The digest that the gateway has, or gets; empty for none.
    known: Vec<u8>,
    under_way: Option<UnderWay>,
}

struct UnderWay {
    digest: [u8; 32],
    table: Bytes,
    offset: usize,
}

impl DictionaryNews {
    pub(super) fn new(context: Context) -> Self {
        Self { context, known: Vec::new(), under_way: None }
    }

    /// Takes note of what the gateway has, and loads what it should have.
    pub(super) async fn greet(&mut self, hello: &Hello) -> Result<(), HandlerError> {
        self.known.clone_from(&hello.dictionary);
        self.look().await
    }

    /// Loads the dictionary if it is a new one; one that is under way is given up for it.
    pub(super) async fn look(&mut self) -> Result<(), HandlerError> {
        if self.context.store.dictionary_digest().await?.is_none_or(|digest| digest.as_slice() == self.known) {
            return Ok(());
        }
        if let Some((digest, table)) = self.context.store.dictionary_table().await? {
            self.known = digest.to_vec();
            self.under_way = Some(UnderWay { digest, table, offset: 0 });
        }
        Ok(())
    }

    /// Whether a piece waits to be sent.
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Sends the next piece. Not cancel-safe: a piece that was begun must be sent.
    pub(super) async fn send(&mut self, down: &mut Downward) -> Result<(), HandlerError> {
        let Some(under_way) = &mut self.under_way else { return Ok(()) };
        let gateway = &self.context.peer.gateway;
        let (part, last) = under_way.next(|digest| self.context.app.signer.sign_input(&dictionary::signing_input(gateway, digest)));
        if last {
            tracing::info!(%gateway, bytes = part.total_bytes, "dictionary sent");
            self.under_way = None;
        }
        Ok(down.send(down::Kind::DictionaryPart(part)).await?)
    }
}

impl UnderWay {
    /// Cuts off the next piece and says whether it is the last one.
    fn next(&mut self, sign: impl FnOnce(&[u8; 32]) -> Vec<u8>) -> (DictionaryPart, bool) {
        let end = self.offset.saturating_add(MAX_DICTIONARY_PART_BYTES).min(self.table.len());
        let last = end == self.table.len();
        let part = DictionaryPart {
            digest: self.digest.to_vec(),
            total_bytes: self.table.len() as u64,
            offset: self.offset as u64,
            bytes: self.table.get(self.offset..end).unwrap_or_default().to_vec(),
            signature: if last { sign(&self.digest) } else { Vec::new() },
        };
        self.offset = end;
        (part, last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_small_whole_and_only_the_last_one_is_signed() {
        let table = Bytes::from((0..150_000_u32).map(|n| n.to_be_bytes()[3]).collect::<Vec<_>>());
        let digest = dictionary::digest(&table);
        let mut under_way = UnderWay { digest, table: table.clone(), offset: 0 };
        let mut whole = Vec::new();
        loop {
            let (part, last) = under_way.next(|digest| digest.to_vec());
            assert!(part.bytes.len() <= MAX_DICTIONARY_PART_BYTES && part.offset == whole.len() as u64);
            assert_eq!((part.signature.is_empty(), part.total_bytes), (!last, 150_000));
            whole.extend_from_slice(&part.bytes);
            if last {
                break;
            }
        }
        assert_eq!(whole, table);
    }
}
