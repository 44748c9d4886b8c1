//! Decodes and bounds a batch. Pure; every fault is the gateway's and ends the session.

use postern_protocol::alert::{Alert, AlertError};
use postern_protocol::id::{Epoch, Lane, Sequence};
use postern_protocol::inventory::{Inventory, InventoryError};
use postern_protocol::message::{Batch, MAX_BATCH_BYTES, MAX_BATCH_RECORDS, Records};
use postern_protocol::sample::{Sample, SampleError};
use prost::Message as _;

use crate::store::ahead::AheadBatch;
use crate::store::ingest::AlertBatch;
use crate::store::inventory::InventoryBatch;
use crate::store::samples::SampleBatch;

/// Most bytes that a batch may unpack to: its records, and the tag and length before each.
const MAX_UNPACKED_BYTES: usize = MAX_BATCH_BYTES + 8 * MAX_BATCH_RECORDS;

/// Why a batch is refused.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// Only alerts go ahead of their order, and what does has no place in it.
    #[error("a batch of the lane {lane} that begins at sequence {first_sequence} cannot go ahead of the order")]
    Ahead {
        /// The lane's name.
        lane: &'static str,
        /// Where it begins.
        first_sequence: u64,
    },
    /// A record is not what its lane carries.
    #[error("record {sequence} of epoch {epoch:016x} is not good")]
    Record {
        /// Epoch of the record.
        epoch: u64,
        /// Its sequence.
        sequence: u64,
        /// Why.
        #[source]
        source: RecordError,
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

/// Why a record is not what its lane carries.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The alerts lane has alerts.
    #[error(transparent)]
    Alert(#[from] AlertError),
    /// The inventory lane has what gateways are made of.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
    /// The samples lane has measurements.
    #[error(transparent)]
    Sample(#[from] SampleError),
}

/// Decodes a batch of the alerts lane.
///
/// # Errors
/// [`BatchError`]: the gateway is at fault.
pub fn decode_alerts(batch: &Batch) -> Result<AlertBatch, BatchError> {
    let alerts = decode(batch, |record| Ok(Alert::decode(record)?))?;
    Ok(AlertBatch { epoch: Epoch(batch.epoch), first_sequence: Sequence(batch.first_sequence), alerts })
}

/// Decodes a batch of alerts that goes ahead of its order.
///
/// # Errors
/// [`BatchError`]: the gateway is at fault.
pub fn decode_ahead(batch: &Batch) -> Result<AheadBatch, BatchError> {
    if batch.first_sequence != 0 {
        return Err(BatchError::Ahead { lane: Lane::Alerts.name(), first_sequence: batch.first_sequence });
    }
    let records = unpack(batch)?;
    let alerts = records.iter().zip(1..).map(|(record, sequence)| {
        let named = |source: AlertError| BatchError::Record { epoch: batch.epoch, sequence, source: source.into() };
        Alert::decode(record).map_err(named)
    });
    Ok(AheadBatch { epoch: Epoch(batch.epoch), head: Sequence(batch.head), alerts: alerts.collect::<Result<_, _>>()? })
}

/// Decodes a batch of the samples lane.
///
/// # Errors
/// [`BatchError`]: the gateway is at fault.
pub fn decode_samples(batch: &Batch) -> Result<SampleBatch, BatchError> {
    let samples = decode(batch, |record| Ok(Sample::decode(record)?))?;
    Ok(SampleBatch { epoch: Epoch(batch.epoch), first_sequence: Sequence(batch.first_sequence), samples })
}

/// Decodes a batch of the inventory lane.
///
/// # Errors
/// [`BatchError`]: the gateway is at fault.
pub fn decode_inventory(batch: &Batch) -> Result<InventoryBatch, BatchError> {
    let records = decode(batch, |record| Ok(Inventory::read(record)?))?;
    Ok(InventoryBatch { epoch: Epoch(batch.epoch), first_sequence: Sequence(batch.first_sequence), records })
}

fn unpack(batch: &Batch) -> Result<Vec<bytes::Bytes>, BatchError> {
    let unpacked = zstd::bulk::decompress(&batch.records_zstd, MAX_UNPACKED_BYTES).map_err(BatchError::Unpack)?;
    let records = Records::decode(unpacked.as_slice()).map_err(BatchError::Records)?.records;
    if records.is_empty() || records.len() > MAX_BATCH_RECORDS {
        return Err(BatchError::Count(records.len()));
    }
    Ok(records)
}

fn decode<T>(batch: &Batch, read: impl Fn(&[u8]) -> Result<T, RecordError>) -> Result<Vec<T>, BatchError> {
    let records = unpack(batch)?;
    let first = batch.first_sequence;
    let in_range = first.checked_add(records.len() as u64).is_some_and(|end| i64::try_from(end).is_ok());
    if first == 0 || !in_range {
        return Err(BatchError::Sequence(first));
    }
    let named = |(sequence, record): (u64, &bytes::Bytes)| {
        read(record).map_err(|source| BatchError::Record { epoch: batch.epoch, sequence, source })
    };
    (first..).zip(&records).map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(first_sequence: u64, records: Vec<Vec<u8>>) -> Batch {
        let records = Records { records: records.into_iter().map(Into::into).collect() };
        Batch { epoch: 1, first_sequence, records_zstd: zstd::bulk::compress(&records.encode_to_vec(), 1).unwrap(), ..Batch::default() }
    }

    #[test]
    fn a_small_batch_that_unpacks_to_a_giant_is_refused() {
        let bomb = zstd::bulk::compress(&vec![0; 64 * 1024 * 1024], 1).unwrap();
        assert!(bomb.len() < 16 * 1024);
        let refused = decode_alerts(&Batch { epoch: 1, first_sequence: 1, records_zstd: bomb, ..Batch::default() });
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
    fn each_lane_takes_its_own_records_only() {
        let sample = Sample {
            resource: "r".into(),
            metric: "m".into(),
            value: 1.5,
            unit: String::new(),
            at: postern_protocol::timestamp::Timestamp::from_secs(1),
            labels: std::collections::BTreeMap::new(),
        };
        assert_eq!(decode_samples(&batch(3, vec![sample.encode()])).unwrap().samples, [sample]);
        assert!(decode_samples(&batch(3, vec![vec![0xff; 9]])).is_err());
        let inventory = Inventory { cpus: 4, ..Inventory::default() };
        assert_eq!(decode_inventory(&batch(3, vec![inventory.encode_to_vec()])).unwrap().records, [inventory]);
    }

    #[test]
    fn what_goes_ahead_has_no_place_in_the_order() {
        let ahead = |first_sequence, records| Batch { ahead: true, head: 9, ..batch(first_sequence, records) };
        let refused = decode_ahead(&ahead(3, vec![Vec::new()]));
        assert!(matches!(refused, Err(BatchError::Ahead { first_sequence: 3, .. })));
        assert!(matches!(decode_ahead(&ahead(0, Vec::new())), Err(BatchError::Count(0))));
        assert!(matches!(decode_ahead(&ahead(0, vec![b"no".to_vec()])), Err(BatchError::Record { sequence: 1, .. })));
        assert!(matches!(decode_alerts(&ahead(0, vec![Vec::new()])), Err(BatchError::Sequence(0))));
    }

    #[test]
    fn a_bad_record_is_named_by_its_sequence() {
        let refused = decode_alerts(&batch(7, vec![b"not an alert".to_vec()]));
        assert!(matches!(refused, Err(BatchError::Record { sequence: 7, .. })));
    }
}
