//! One measurement of a push: within limits, and small enough for the samples lane.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use postern_protocol::sample::{MAX_SAMPLE_BYTES, Sample};
use postern_protocol::timestamp::Timestamp;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

use super::{Name, Text, name_fault};

/// Most labels of one measurement.
pub const MAX_LABELS: usize = 16;
/// How old a measurement may be: the control plane keeps none that is older.
pub const MAX_AGE: Duration = Duration::from_secs(30 * 24 * 3600);
/// How far the clock of whoever measured may be ahead.
pub const MAX_AHEAD: Duration = Duration::from_secs(3600);

const MAX_LABEL_NAME_CHARS: usize = 64;

/// One measurement.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, try_from = "Fields")]
#[cfg_attr(feature = "schema", schemars(!try_from))]
pub(super) struct BodyMeasurement {
    /// What was measured on: a host, an interface, a machine.
    resource: Name,
    /// What was measured, for example `cpu.load`.
    metric: Name,
    /// The number.
    value: f64,
    /// Its unit (UCUM where there is one), for example `%` or `Cel`.
    #[serde(default)]
    unit: Text<32>,
    /// When (RFC 3339); the moment at which it arrives when left out. At most 30 days ago and an hour ahead.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>", extend("format" = "date-time")))]
    at: Option<Moment>,
    /// Further facts by name; they make a series of their own.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "BTreeMap<String, Text<256>>", extend("maxProperties" = 16, "propertyNames" = { "minLength": 1, "maxLength": 64 })))]
    labels: Labels,
}

/// The same, before its size was looked at.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    resource: Name,
    metric: Name,
    value: f64,
    #[serde(default)]
    unit: Text<32>,
    #[serde(default)]
    at: Option<Moment>,
    #[serde(default)]
    labels: Labels,
}

impl TryFrom<Fields> for BodyMeasurement {
    type Error = String;

    fn try_from(fields: Fields) -> Result<Self, String> {
        let Fields { resource, metric, value, unit, at, labels } = fields;
        let measurement = Self { resource, metric, value, unit, at, labels };
        let bytes = measurement.sample(Timestamp::from_nanos(i64::MAX)).encode().len();
        if bytes > MAX_SAMPLE_BYTES {
            return Err(format!("a measurement of {bytes} bytes, more than {MAX_SAMPLE_BYTES}: shorten its names and labels"));
        }
        Ok(measurement)
    }
}

impl BodyMeasurement {
    /// Returns what the lane takes; the error says what is wrong with `at`.
    pub(super) fn into_sample(self, now: Timestamp) -> Result<Sample, String> {
        let at = self.at.as_ref().map_or(now, |moment| moment.0);
        if at.saturating_since(now) > MAX_AHEAD {
            return Err(format!("a moment more than {} s ahead of the gateway's clock", MAX_AHEAD.as_secs()));
        }
        if now.saturating_since(at) > MAX_AGE {
            return Err(format!("a moment more than {} days ago", MAX_AGE.as_secs() / 86_400));
        }
        Ok(self.sample(at))
    }

    fn sample(&self, at: Timestamp) -> Sample {
        Sample {
            resource: self.resource.0.clone(),
            metric: self.metric.0.clone(),
            value: self.value,
            unit: self.unit.0.clone(),
            at,
            labels: self.labels.0.clone(),
        }
    }
}

/// A moment as RFC 3339 writes it.
#[derive(Debug)]
struct Moment(Timestamp);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let moment = text.parse::<jiff::Timestamp>().map_err(|_| D::Error::custom("not a moment like 2026-11-21T22:03:41Z"))?;
        i64::try_from(moment.as_nanosecond())
            .map(|nanos| Self(Timestamp::from_nanos(nanos)))
            .map_err(|_| D::Error::custom("a moment out of range"))
    }
}

/// Labels; the first one too many is refused, and a name given twice.
#[derive(Debug, Default)]
struct Labels(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(LabelsVisitor).map(Self)
    }
}

struct LabelsVisitor;

impl<'de> Visitor<'de> for LabelsVisitor {
    type Value = BTreeMap<String, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object of at most {MAX_LABELS} texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut labels = BTreeMap::new();
        while let Some((name, text)) = map.next_entry::<String, Text<256>>()? {
            if let Some(fault) = name_fault(&name, MAX_LABEL_NAME_CHARS) {
                return Err(A::Error::custom(format_args!("a label's name is {fault}")));
            }
            if labels.len() == MAX_LABELS {
                return Err(A::Error::custom(format_args!("more than {MAX_LABELS} labels")));
            }
            if labels.insert(name, text.0).is_some() {
                return Err(A::Error::custom("a label twice"));
            }
        }
        Ok(labels)
    }
}
