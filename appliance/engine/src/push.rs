//! The body of `POST /v1/push`: JSON to events and measurements, within limits. The published schema is derived from the same types.
//!
//! Reads a body and nothing else: credentials, idempotency and the answer are the receiver's. `measurement` reads measurements.

mod measurement;

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use postern_protocol::alert::Severity;
use postern_protocol::revision::document::PushState;
use postern_protocol::sample::Sample;
use postern_protocol::timestamp::Timestamp;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use self::measurement::BodyMeasurement;
use crate::event::PushEvent;

pub use self::measurement::{MAX_AGE, MAX_AHEAD, MAX_LABELS};

/// Most bytes that a body may have.
pub const MAX_BODY_BYTES: usize = 256 * 1024;
/// Most events in one body.
pub const MAX_EVENTS: usize = 1_000;
/// Most measurements in one body.
pub const MAX_MEASUREMENTS: usize = 1_000;
/// Most fields of one event.
pub const MAX_FIELDS: usize = 64;

/// Why a body is refused; always the client's fault, and said so that it can be mended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// The body is not JSON or not a push.
    #[error("{path}: {reason}{}", place(*line, *column))]
    Invalid {
        /// Place in the document, for example `events[3].severity`; `.` for the document as a whole.
        path: String,
        /// Line, from 1; 0 when unknown.
        line: usize,
        /// Column, from 1; 0 when unknown.
        column: usize,
        /// What is wrong there.
        reason: String,
    },
    /// It has more than [`MAX_BODY_BYTES`].
    #[error("the body has {0} bytes, more than {MAX_BODY_BYTES}")]
    TooLong(usize),
}

/// What a push brought.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pushed {
    /// Its events, for the engine.
    pub events: Vec<PushEvent>,
    /// Its measurements, for the samples lane.
    pub measurements: Vec<Sample>,
}

impl Pushed {
    /// Returns how many events and measurements there are.
    pub const fn len(&self) -> usize {
        self.events.len().saturating_add(self.measurements.len())
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A push: events for the gateway to turn into alerts by its rules, and measurements to be passed on as they are. One of the two at
/// least.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(extend("anyOf" = [{ "required": ["events"] }, { "required": ["measurements"] }])))]
#[serde(deny_unknown_fields)]
pub struct PushBody {
    /// The events, in the order in which they happened.
    #[serde(default, deserialize_with = "events")]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<BodyEvent>", length(max = 1000)))]
    events: Option<Vec<BodyEvent>>,
    /// The measurements.
    #[serde(default, deserialize_with = "measurements")]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<BodyMeasurement>", length(max = 1000)))]
    measurements: Option<Vec<BodyMeasurement>>,
}

/// One event.
#[derive(Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct BodyEvent {
    /// What is affected, for example a host or a machine.
    resource: Name,
    /// What is wrong with it, for example `temperature`.
    kind: Name,
    /// Tells apart events of one kind on one resource.
    #[serde(default)]
    qualifier: Text<256>,
    /// How grave it is (RFC 8632).
    #[serde(default = "unknown_severity")]
    severity: Severity,
    /// Whether the condition is there or over.
    #[serde(default)]
    state: PushState,
    /// Text for people.
    #[serde(default)]
    summary: Text<1024>,
    /// Further facts by name.
    #[serde(default, deserialize_with = "fields")]
    #[cfg_attr(feature = "schema", schemars(with = "BTreeMap<String, Text<1024>>", extend("maxProperties" = 64, "propertyNames" = { "minLength": 1, "maxLength": 64 })))]
    fields: BTreeMap<String, Text<1024>>,
}

const fn unknown_severity() -> Severity {
    Severity::Indeterminate
}

/// Decodes a body that came at `now`, which is when a measurement was made that does not say.
///
/// # Errors
/// [`PushError`]; a body is taken whole or not at all.
pub fn decode(body: &[u8], now: Timestamp) -> Result<Pushed, PushError> {
    if body.len() > MAX_BODY_BYTES {
        return Err(PushError::TooLong(body.len()));
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let push: PushBody = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        invalid(path, error.inner())
    })?;
    json.end().map_err(|error| invalid(".".to_owned(), &error))?;
    if push.events.is_none() && push.measurements.is_none() {
        return Err(misplaced(".".to_owned(), "neither events nor measurements"));
    }
    let mut measurements = Vec::new();
    for (place, measurement) in push.measurements.into_iter().flatten().enumerate() {
        let placed = |fault: &str| misplaced(format!("measurements[{place}].at"), fault);
        measurements.push(measurement.into_sample(now).map_err(|fault| placed(&fault))?);
    }
    Ok(Pushed { events: push.events.into_iter().flatten().map(PushEvent::from).collect(), measurements })
}

/// A fault that shows only when the whole body was read.
fn misplaced(path: String, reason: &str) -> PushError {
    PushError::Invalid { path, line: 0, column: 0, reason: reason.to_owned() }
}

/// Writes where a fault is; what shows only at the end has no place but its path.
fn place(line: usize, column: usize) -> String {
    if line == 0 { String::new() } else { format!(" (line {line}, column {column})") }
}

fn invalid(path: String, error: &serde_json::Error) -> PushError {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let reason = text.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&text);
    let path = if path.is_empty() { "." } else { &path };
    PushError::Invalid { path: short(path), line, column, reason: short(reason) }
}

/// Both parts of an error can quote the body, which is as long as its sender likes.
fn short(text: &str) -> String {
    match text.char_indices().nth(MAX_ERROR_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

impl From<BodyEvent> for PushEvent {
    fn from(event: BodyEvent) -> Self {
        Self {
            state: event.state,
            resource: event.resource.0,
            kind: event.kind.0,
            qualifier: event.qualifier.0,
            severity: event.severity,
            summary: event.summary.0,
            fields: event.fields.into_iter().map(|(name, text)| (name, text.0)).collect(),
        }
    }
}

/// Part of an alert's key: 1 to 256 characters, none a control character.
#[derive(Debug)]
struct Name(String);

/// A text of at most `MAX` characters, without control characters save tab and line ends.
#[derive(Debug, Default)]
struct Text<const MAX: usize>(String);

const MAX_ERROR_CHARS: usize = 200;
const MAX_NAME_CHARS: usize = 256;
const MAX_FIELD_NAME_CHARS: usize = 64;

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        name_fault(&text, MAX_NAME_CHARS).map_or(Ok(Self(text)), |fault| Err(D::Error::custom(fault)))
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Text<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.chars().nth(MAX).is_some() {
            return Err(D::Error::custom(format_args!("a text of more than {MAX} characters")));
        }
        if text.chars().any(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r')) {
            return Err(D::Error::custom("a control character"));
        }
        Ok(Self(text))
    }
}

fn name_fault(text: &str, max_chars: usize) -> Option<String> {
    if text.trim().is_empty() {
        return Some("an empty text".to_owned());
    }
    if text.chars().nth(max_chars).is_some() {
        return Some(format!("a text of more than {max_chars} characters"));
    }
    text.chars().any(char::is_control).then(|| "a control character".to_owned())
}

fn events<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<BodyEvent>>, D::Error> {
    deserializer.deserialize_seq(Items { most: MAX_EVENTS, name: "events", item: PhantomData }).map(Some)
}

fn measurements<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<BodyMeasurement>>, D::Error> {
    deserializer.deserialize_seq(Items { most: MAX_MEASUREMENTS, name: "measurements", item: PhantomData }).map(Some)
}

fn fields<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Text<1024>>, D::Error> {
    deserializer.deserialize_map(Fields)
}

/// Reads a list and refuses the first item too many, so that the error has its place.
struct Items<T> {
    most: usize,
    name: &'static str,
    item: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array of at most {} {}", self.most, self.name)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element()? {
            if items.len() == self.most {
                return Err(A::Error::custom(format_args!("more than {} {}", self.most, self.name)));
            }
            items.push(item);
        }
        Ok(items)
    }
}

/// Reads fields and refuses the first one too many, and a name given twice.
struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = BTreeMap<String, Text<1024>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object of at most {MAX_FIELDS} texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = BTreeMap::new();
        while let Some((name, text)) = map.next_entry::<String, Text<1024>>()? {
            if let Some(fault) = name_fault(&name, MAX_FIELD_NAME_CHARS) {
                return Err(A::Error::custom(format_args!("a field's name is {fault}")));
            }
            if fields.len() == MAX_FIELDS {
                return Err(A::Error::custom(format_args!("more than {MAX_FIELDS} fields")));
            }
            if fields.insert(name, text).is_some() {
                return Err(A::Error::custom("a field twice"));
            }
        }
        Ok(fields)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Name {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Name".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "minLength": 1, "maxLength": MAX_NAME_CHARS, "pattern": r"^[^\x00-\x1f]*$" })
    }
}

#[cfg(feature = "schema")]
impl<const MAX: usize> schemars::JsonSchema for Text<MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Text".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "maxLength": MAX })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_000_000_000);

    fn fault(body: &str) -> (String, usize, String) {
        match decode(body.as_bytes(), NOW).unwrap_err() {
            PushError::Invalid { path, line, reason, .. } => (path, line, reason),
            PushError::TooLong(_) => panic!("not too long"),
        }
    }

    #[test]
    fn a_push_with_all_its_fields_is_decoded() {
        let body = r#"{"events":[{"resource":"press-4","kind":"temperature","qualifier":"bearing","severity":"major","state":"clear",
                      "summary":"91 °C","fields":{"celsius":"91"}}]}"#;
        let event = PushEvent {
            state: PushState::Clear,
            resource: "press-4".into(),
            kind: "temperature".into(),
            qualifier: "bearing".into(),
            severity: Severity::Major,
            summary: "91 °C".into(),
            fields: [("celsius".into(), "91".into())].into(),
        };
        assert_eq!(decode(body.as_bytes(), NOW), Ok(Pushed { events: vec![event], measurements: Vec::new() }));
    }

    #[test]
    fn resource_and_kind_are_enough() {
        let events = decode(br#"{"events":[{"resource":"r","kind":"k"}]}"#, NOW).unwrap().events;
        assert_eq!((events[0].state, events[0].severity), (PushState::Raise, Severity::Indeterminate));
    }

    #[test]
    fn a_fault_is_named_with_its_place() {
        for (body, path, line) in [
            ("{\"events\":[\n{\"resource\":\"r\",\"kind\":\"k\"},\n{\"resource\":\"r\",\"kind\":\"\"}]}", "events[1].kind", 3),
            ("{\"events\":[{\"resource\":\"a\\u0000\",\"kind\":\"k\"}]}", "events[0].resource", 1),
            ("{\"events\":[{\"resource\":\"r\",\"kind\":\"k\",\"severity\":\"bad\"}]}", "events[0].severity", 1),
            ("{\"events\":[{\"resource\":\"r\",\"kind\":\"k\",\"severety\":\"major\"}]}", "events[0].severety", 1),
            ("{\"events\":[{\"resource\":\"r\"}]}", "events[0]", 1),
            ("{\"events\":[{\"resource\":\"r\",\"kind\":\"k\",\"fields\":{\"a\":\"1\",\"a\":\"2\"}}]}", "events[0].fields", 1),
            ("{\"events\":[],\"x\":1}", "x", 1),
        ] {
            let found = fault(body);
            assert_eq!((found.0.as_str(), found.1), (path, line), "{body}: {}", found.2);
            assert!(!found.2.contains("line"), "{}", found.2);
        }
        assert_eq!(fault("{\"events\":[]} x").2, "trailing characters");
        assert_eq!(fault(r#"{"events":[],"":1}"#).0, ".");
        let long = fault(&format!(r#"{{"events":[],"{}":1}}"#, "é".repeat(100_000)));
        assert!(long.0.chars().count() == 201 && long.2.chars().count() == 201);
        fault("");
        fault(&"[".repeat(100_000));
    }

    #[test]
    fn limits_hold() {
        let event = r#"{"resource":"r","kind":"k"}"#;
        let events = |count: usize| format!(r#"{{"events":[{}]}}"#, vec![event; count].join(","));
        assert_eq!(decode(events(MAX_EVENTS).as_bytes(), NOW).unwrap().len(), MAX_EVENTS);
        assert_eq!(fault(&events(MAX_EVENTS + 1)).2, "more than 1000 events");

        let summary = |length: usize| format!(r#"{{"events":[{{"resource":"r","kind":"k","summary":"{}"}}]}}"#, "é".repeat(length));
        assert!(decode(summary(1024).as_bytes(), NOW).is_ok());
        assert_eq!(fault(&summary(1025)).0, "events[0].summary");

        let fields: Vec<_> = (0..=MAX_FIELDS).map(|at| format!("\"f{at}\":\"\"")).collect();
        let body = format!(r#"{{"events":[{{"resource":"r","kind":"k","fields":{{{}}}}}]}}"#, fields.join(","));
        assert_eq!(fault(&body).2, "more than 64 fields");

        assert_eq!(decode(&vec![b' '; MAX_BODY_BYTES + 1], NOW), Err(PushError::TooLong(MAX_BODY_BYTES + 1)));
    }

    #[test]
    fn measurements_are_read_with_their_place_and_time() {
        let body = r#"{"measurements":[{"resource":"press-4","metric":"bearing.temperature","value":91.5,"unit":"Cel",
                      "at":"2001-09-09T03:46:39.5+02:00","labels":{"side":"left"}},{"resource":"r","metric":"m","value":-1}]}"#;
        let pushed = decode(body.as_bytes(), NOW).unwrap();
        assert_eq!((pushed.len(), pushed.is_empty(), pushed.events.len()), (2, false, 0));
        let expected = Sample {
            resource: "press-4".into(),
            metric: "bearing.temperature".into(),
            value: 91.5,
            unit: "Cel".into(),
            at: Timestamp::from_nanos(999_999_999_500_000_000),
            labels: [("side".into(), "left".into())].into(),
        };
        assert_eq!(pushed.measurements[0], expected);
        assert_eq!((pushed.measurements[1].value, pushed.measurements[1].at), (-1.0, NOW));
    }

    #[test]
    fn a_measurements_fault_is_named_with_its_place() {
        let with = |fields: &str| format!(r#"{{"measurements":[{{"resource":"r","metric":"m","value":1}},{{{fields}}}]}}"#);
        for (fields, path) in [
            (r#""resource":"","metric":"m","value":1"#, "measurements[1].resource"),
            (r#""resource":"r","metric":"m\u0007","value":1"#, "measurements[1].metric"),
            (r#""resource":"r","metric":"m","value":"1""#, "measurements[1].value"),
            (r#""resource":"r","metric":"m","value":1e999"#, "measurements[1].value"),
            (r#""resource":"r","metric":"m","value":null"#, "measurements[1].value"),
            (r#""resource":"r","metric":"m","value":1,"at":"yesterday""#, "measurements[1].at"),
            (r#""resource":"r","metric":"m","value":1,"at":"2001-09-09T03:46:40Z""#, "measurements[1].at"),
            (r#""resource":"r","metric":"m","value":1,"at":"2001-08-01T00:00:00Z""#, "measurements[1].at"),
            (r#""resource":"r","metric":"m","value":1,"labels":{"":"x"}"#, "measurements[1].labels"),
            (r#""resource":"r","metric":"m","value":1,"unti":"s""#, "measurements[1].unti"),
            (r#""resource":"r","metric":"m","unit":"s""#, "measurements[1]"),
        ] {
            let body = with(fields);
            assert_eq!(fault(&body).0, path, "{body}");
        }
        assert_eq!(fault("{}").2, "neither events nor measurements");
        let many = vec![r#"{"resource":"r","metric":"m","value":1}"#; MAX_MEASUREMENTS + 1].join(",");
        assert_eq!(fault(&format!(r#"{{"measurements":[{many}]}}"#)).2, "more than 1000 measurements");
        let labels: Vec<_> = (0..MAX_LABELS).map(|n| format!(r#""l{n}":"{}""#, "ü".repeat(200))).collect();
        let body = with(&format!(r#""resource":"r","metric":"m","value":1,"labels":{{{}}}"#, labels.join(",")));
        assert_eq!(fault(&body).0, "measurements[1]");
    }

    #[cfg(feature = "schema")]
    #[test]
    fn the_published_schema_is_that_of_the_types() {
        let derived = format!("{:#}\n", schemars::schema_for!(PushBody).as_value());
        let published = include_str!("../schema/push.schema.json");
        assert!(published == derived, "schema/push.schema.json should be:\n{derived}");
    }
}
