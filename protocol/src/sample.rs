//! A measurement: one number of one thing at one moment. The content of the samples lane.

use std::collections::BTreeMap;

use prost::Message as _;

use crate::timestamp::Timestamp;

/// Most bytes that one encoded sample may have; a longer one is malformed.
pub const MAX_SAMPLE_BYTES: usize = 4 * 1024;

/// One measurement.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The thing that was measured, for example `10.0.0.7/if/3`.
    pub resource: String,
    /// What was measured, for example `cpu.load`.
    pub metric: String,
    /// The number; finite.
    pub value: f64,
    /// Its unit (UCUM where there is one), for example `%`; empty for a bare number.
    pub unit: String,
    /// When.
    pub at: Timestamp,
    /// Further facts by name.
    pub labels: BTreeMap<String, String>,
}

/// Why bytes are not a sample.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SampleError {
    /// The encoding is broken.
    #[error("sample is not well formed: {0}")]
    Encoding(#[from] prost::DecodeError),
    /// A field has a value outside its range.
    #[error("sample has an invalid {0}")]
    Field(&'static str),
    /// It is too long.
    #[error("sample has {0} bytes, more than {MAX_SAMPLE_BYTES}")]
    Size(usize),
}

impl Sample {
    /// Encodes the sample (protobuf; field numbers are those of the private `Wire`).
    pub fn encode(&self) -> Vec<u8> {
        Wire {
            resource: self.resource.clone(),
            metric: self.metric.clone(),
            value: self.value,
            unit: self.unit.clone(),
            at: self.at.as_nanos(),
            labels: self.labels.clone(),
        }
        .encode_to_vec()
    }

    /// Decodes and checks a sample.
    ///
    /// # Errors
    /// [`SampleError`] when the bytes are too many, not protobuf, or a field is out of range.
    pub fn decode(bytes: &[u8]) -> Result<Self, SampleError> {
        if bytes.len() > MAX_SAMPLE_BYTES {
            return Err(SampleError::Size(bytes.len()));
        }
        let Wire { resource, metric, value, unit, at, labels } = Wire::decode(bytes)?;
        if resource.is_empty() {
            return Err(SampleError::Field("resource"));
        }
        if metric.is_empty() {
            return Err(SampleError::Field("metric"));
        }
        if !value.is_finite() {
            return Err(SampleError::Field("value"));
        }
        Ok(Self { resource, metric, value, unit, at: Timestamp::from_nanos(at), labels })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct Wire {
    #[prost(string, tag = "1")]
    resource: String,
    #[prost(string, tag = "2")]
    metric: String,
    #[prost(double, tag = "3")]
    value: f64,
    #[prost(string, tag = "4")]
    unit: String,
    #[prost(sfixed64, tag = "5")]
    at: i64,
    #[prost(btree_map = "string, string", tag = "6")]
    labels: BTreeMap<String, String>,
}
