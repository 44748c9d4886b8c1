//! Decodes and bounds a batch. Pure; every fault is the gateway's and ends the session.

use postern_protocol::alert::{Alert, AlertError};
use postern_protocol::id::{Epoch, Sequence};
use postern_protocol::message::{Batch, MAX_BATCH_BYTES, MAX_BATCH_RECORDS, Records};
use prost::Message as _;

use crate::store::ingest::AlertBatch;

/// Most bytes that a batch may unpack to: its records, and the tag and length before each.
const MAX_UNPACKED_BYTES: usize = MAX_BATCH_BYTES + 8 * MAX_BATCH_RECORDS;

/// Why a batch is refused.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// A record is not an alert.
    #[error("record {sequence} of epoch {epoch:016x} is not an alert")]
    Alert {
        /// Epoch of the record.
        epoch: u64,
        /// Its sequence.
        sequence: u64,
        /// Why.
        #[source]
        source: AlertError,
    },
    /// It has no record, or more than a batch may have.
    #[error("a batch has {0} records")]
    Count(usize),
    /// Its content is not a list of records.
    #[error("a batch does not hold records")]
    Records(#[source] prost::DecodeError),
    /// Its sequences are out of range.
    #[error("a batch begins at sequence {0}")]
    Sequence(u64),
    /// It does not unpack, or to more than a batch may have.
    #[error("a batch does not unpack")]
    Unpack(#[source] std::io::Error),
}

/// Decodes a batch of the alerts lane.
///
/// # Errors
/// [`BatchError`]: the gateway is at fault.
pub fn decode_alerts(batch: &Batch) -> Result<AlertBatch, BatchError> {
    let unpacked = zstd::bulk::decompress(&batch.records_zstd, MAX_UNPACKED_BYTES).map_err(BatchError::Unpack)?;
    let records = Records::decode(unpacked.as_slice()).map_err(BatchError::Records)?.records;
    if records.is_empty() || records.len() > MAX_BATCH_RECORDS {
        return Err(BatchError::Count(records.len()));
    }
    let first = batch.first_sequence;
    let in_range = first.checked_add(records.len() as u64).is_some_and(|end| i64::try_from(end).is_ok());
    if first == 0 || !in_range {
        return Err(BatchError::Sequence(first));
    }
    let mut alerts = Vec::with_capacity(records.len());
    for (sequence, record) in (first..).zip(&records) {
        alerts.push(Alert::decode(record).map_err(|source| BatchError::Alert { epoch: batch.epoch, sequence, source })?);
    }
    Ok(AlertBatch { epoch: Epoch(batch.epoch), first_sequence: Sequence(first), alerts })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(first_sequence: u64, records: Vec<Vec<u8>>) -> Batch {
        let records = Records { records: records.into_iter().map(Into::into).collect() };
        Batch { epoch: 1, first_sequence, records_zstd: zstd::bulk::compress(&records.encode_to_vec(), 1).unwrap() }
    }

    #[test]
    fn a_small_batch_that_unpacks_to_a_giant_is_refused() {
        let bomb = zstd::bulk::compress(&vec![0; 64 * 1024 * 1024], 1).unwrap();
        assert!(bomb.len() < 16 * 1024);
        let refused = decode_alerts(&Batch { epoch: 1, first_sequence: 1, records_zstd: bomb });
        assert!(matches!(refused, Err(BatchError::Unpack(_))));
    }

    #[test]
    fn counts_and_sequences_are_bounded() {
        assert!(matches!(decode_alerts(&batch(1, Vec::new())), Err(BatchError::Count(0))));
        assert!(matches!(decode_alerts(&batch(1, vec![Vec::new(); MAX_BATCH_RECORDS + 1])), Err(BatchError::Count(_))));
        assert!(matches!(decode_alerts(&batch(0, vec![Vec::new()])), Err(BatchError::Sequence(0))));
        assert!(matches!(decode_alerts(&batch(u64::MAX, vec![Vec::new()])), Err(BatchError::Sequence(_))));
    }

    #[test]
    fn a_bad_record_is_named_by_its_sequence() {
        let refused = decode_alerts(&batch(7, vec![b"not an alert".to_vec()]));
        assert!(matches!(refused, Err(BatchError::Alert { sequence: 7, .. })));
    }
}
