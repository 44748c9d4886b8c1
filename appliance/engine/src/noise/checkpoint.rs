//! What the noise control remembers, as bytes in the engine's checkpoint. The same state always gives the same bytes.
//!
//! What follows from the open alerts and the document is not in it: that is made anew. Alerts that were remembered in case that their
//! parent's comes are not in it either; a start forgets them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use postern_protocol::alert::{AlertKey, Evidence, Severity};
use postern_protocol::timestamp::Timestamp;
use prost::Message as _;

use super::Noise;
use super::flap::{Flapping, Over};
use super::rate::Last;
use super::recent::Digest;
use super::silence::{Expected, Name, Source};
use super::storm::{New, Storm, StormId, Told};
use super::tally::Tally;
use crate::alert::{CheckpointError, SlotId, Table};

#[derive(Clone, PartialEq, prost::Message)]
struct WireNoise {
    #[prost(message, repeated, tag = "1")]
    thresholds: Vec<WireTimes>,
    #[prost(message, repeated, tag = "2")]
    rates: Vec<WireLast>,
    #[prost(message, repeated, tag = "3")]
    changes: Vec<WireTimes>,
    #[prost(message, repeated, tag = "4")]
    flapping: Vec<WireFlapping>,
    #[prost(message, repeated, tag = "5")]
    storms: Vec<WireStorm>,
    /// Kinds and sources of `openings`.
    #[prost(string, repeated, tag = "6")]
    texts: Vec<String>,
    #[prost(message, repeated, tag = "7")]
    openings: Vec<WireOpening>,
    #[prost(message, repeated, tag = "8")]
    sources: Vec<WireSource>,
    #[prost(message, repeated, tag = "9")]
    expected: Vec<WireExpected>,
    #[prost(sfixed64, optional, tag = "10")]
    last_tick: Option<i64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireTimes {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    /// The first in nanoseconds since the Unix epoch, each other since the one before.
    #[prost(sint64, repeated, tag = "2")]
    times: Vec<i64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireLast {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(double, tag = "2")]
    number: f64,
    #[prost(sfixed64, tag = "3")]
    at: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireFlapping {
    #[prost(string, tag = "1")]
    resource: String,
    #[prost(string, tag = "2")]
    kind: String,
    #[prost(string, tag = "3")]
    qualifier: String,
    #[prost(uint64, tag = "4")]
    occurrence: u64,
    #[prost(sfixed64, tag = "5")]
    last_change: i64,
    #[prost(uint32, tag = "6")]
    quiet_s: u32,
    #[prost(message, optional, tag = "7")]
    over: Option<WireOver>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireOver {
    #[prost(string, tag = "1")]
    rule: String,
    /// Evidence as JSON.
    #[prost(bytes = "vec", tag = "2")]
    evidence: Vec<u8>,
    #[prost(sfixed64, tag = "3")]
    at: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireStorm {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(string, optional, tag = "2")]
    source: Option<String>,
    #[prost(sfixed64, tag = "3")]
    since: i64,
    #[prost(uint64, tag = "4")]
    alerts: u64,
    #[prost(uint32, tag = "5")]
    severity: u32,
    #[prost(btree_map = "string, uint64", tag = "6")]
    sources: BTreeMap<String, u64>,
    #[prost(sfixed64, optional, tag = "7")]
    quiet_since: Option<i64>,
    #[prost(sfixed64, tag = "8")]
    told_at: i64,
    #[prost(uint64, tag = "9")]
    told_alerts: u64,
    #[prost(uint64, tag = "10")]
    told_open: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireOpening {
    #[prost(sfixed64, tag = "1")]
    at: i64,
    #[prost(uint64, tag = "2")]
    occurrence: u64,
    #[prost(uint32, tag = "3")]
    kind: u32,
    #[prost(uint32, tag = "4")]
    source: u32,
    #[prost(uint32, tag = "5")]
    severity: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireSource {
    /// Its name, where that is not its address.
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(string, tag = "2")]
    address: String,
    #[prost(sfixed64, tag = "3")]
    last: i64,
    #[prost(uint64, tag = "4")]
    mean: u64,
    #[prost(uint64, tag = "5")]
    longest: u64,
    #[prost(uint32, tag = "6")]
    gaps: u32,
    #[prost(bool, tag = "7")]
    silent: bool,
    /// What it is called, where that is another address than the one that it sends from.
    #[prost(string, optional, tag = "8")]
    called: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireExpected {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(sfixed64, tag = "2")]
    since: i64,
    #[prost(bool, tag = "3")]
    silent: bool,
}

impl Noise {
    /// Encodes what is remembered.
    pub(crate) fn checkpoint(&self) -> Vec<u8> {
        let mut texts = BTreeMap::new();
        let mut openings = Vec::new();
        for opening in self.storms.recent() {
            let mut number = |text: &Arc<str>| {
                let next = u32::try_from(texts.len()).unwrap_or(u32::MAX);
                *texts.entry(Arc::clone(text)).or_insert(next)
            };
            let (kind, source) = (number(&opening.kind), number(&opening.source));
            openings.push(WireOpening {
                at: opening.at.as_nanos(),
                occurrence: opening.occurrence,
                kind,
                source,
                severity: opening.severity.number().into(),
            });
        }
        let mut texts: Vec<_> = texts.into_iter().map(|(text, number)| (number, text.to_string())).collect();
        texts.sort_unstable();
        WireNoise {
            thresholds: times(self.thresholds.tally()),
            rates: self.rates.table().oldest_first().into_iter().map(|(key, last)| WireLast::new(key, *last)).collect(),
            changes: times(self.flaps.changes()),
            flapping: self.flaps.flapping().map(WireFlapping::new).collect(),
            storms: self.storms.storms().map(WireStorm::new).collect(),
            texts: texts.into_iter().map(|(_, text)| text).collect(),
            openings,
            sources: self.silences.sources().iter().map(WireSource::new).collect(),
            expected: self.silences.expected().iter().map(WireExpected::new).collect(),
            last_tick: self.silences.last_tick().map(Timestamp::as_nanos),
        }
        .encode_to_vec()
    }

    /// Decodes what [`Noise::checkpoint`] gave, beside the table of open alerts that it belongs to.
    ///
    /// # Errors
    /// [`CheckpointError`] when the bytes are anything else.
    pub(crate) fn restore(bytes: &[u8], table: &Table) -> Result<Self, CheckpointError> {
        let wire = WireNoise::decode(bytes)?;
        let mut noise = Self::default();
        noise.outdated();
        put_back(wire.thresholds, noise.thresholds.tally_mut())?;
        put_back(wire.changes, noise.flaps.changes_mut())?;
        for WireLast { key, number, at } in wire.rates {
            noise.rates.table_mut().insert(digest(&key)?, Last { number, at: Timestamp::from_nanos(at) });
        }
        for flapping in wire.flapping {
            let (key, flapping) = flapping.flapping()?;
            noise.flaps.put_back(key, flapping);
        }
        for storm in wire.storms {
            let (id, storm) = storm.storm()?;
            noise.storms.put_back(id, storm);
        }
        let slots: HashMap<u64, SlotId> = table.slots().filter_map(|slot| Some((table.view(slot)?.occurrence, slot))).collect();
        for WireOpening { at, occurrence, kind, source, severity } in wire.openings {
            let text = |number: u32| wire.texts.get(number as usize).map(String::as_str).ok_or(CheckpointError::Field("opening"));
            let (kind, source, at) = (text(kind)?, text(source)?, Timestamp::from_nanos(at));
            let slot = slots.get(&occurrence).copied();
            noise.storms.put_back_opening(New { slot, occurrence, kind, source, severity: severity_of(severity)?, at });
        }
        for source in wire.sources {
            noise.silences.put(source.source()?);
        }
        let expected = wire
            .expected
            .into_iter()
            .map(|WireExpected { name, since, silent }| (name, Expected { watch: 0, since: Timestamp::from_nanos(since), silent }));
        noise.silences.put_back(wire.last_tick.map(Timestamp::from_nanos), expected.collect());
        Ok(noise)
    }
}

fn severity_of(number: u32) -> Result<Severity, CheckpointError> {
    u8::try_from(number).ok().and_then(Severity::from_number).ok_or(CheckpointError::Field("severity"))
}

fn digest(bytes: &[u8]) -> Result<Digest, CheckpointError> {
    Digest::from_bytes(bytes).ok_or(CheckpointError::Field("digest"))
}

fn times(tally: &Tally) -> Vec<WireTimes> {
    let wire = |(key, times): (Digest, &VecDeque<Timestamp>)| {
        let mut before = 0_i64;
        let since_last = |time: &Timestamp| {
            let since = time.as_nanos().wrapping_sub(before);
            before = time.as_nanos();
            since
        };
        WireTimes { key: key.bytes().to_vec(), times: times.iter().map(since_last).collect() }
    };
    tally.oldest_first().into_iter().map(wire).collect()
}

fn put_back(wire: Vec<WireTimes>, tally: &mut Tally) -> Result<(), CheckpointError> {
    for WireTimes { key, times } in wire {
        let mut before = 0_i64;
        let time = |since: i64| {
            before = before.wrapping_add(since);
            Timestamp::from_nanos(before)
        };
        tally.put_back(digest(&key)?, times.into_iter().map(time).collect());
    }
    Ok(())
}

impl WireLast {
    fn new(key: Digest, Last { number, at }: Last) -> Self {
        Self { key: key.bytes().to_vec(), number, at: at.as_nanos() }
    }
}

impl WireFlapping {
    fn new((key, flapping): (&AlertKey, &Flapping)) -> Self {
        let AlertKey { resource, kind, qualifier } = key.clone();
        let over = |over: &Over| WireOver {
            rule: over.rule.clone(),
            // Texts, a keyword and a truth value: there is nothing in it that JSON lacks.
            evidence: serde_json::to_vec(&over.evidence).unwrap_or_default(),
            at: over.at.as_nanos(),
        };
        let Flapping { occurrence, last_change, quiet_s, over: held } = flapping;
        let (occurrence, last_change, quiet_s) = (*occurrence, last_change.as_nanos(), *quiet_s);
        Self { resource, kind, qualifier, occurrence, last_change, quiet_s, over: held.as_deref().map(over) }
    }

    fn flapping(self) -> Result<(AlertKey, Flapping), CheckpointError> {
        let Self { resource, kind, qualifier, occurrence, last_change, quiet_s, over } = self;
        let over = over.map(|WireOver { rule, evidence, at }| {
            let evidence = serde_json::from_slice::<Evidence>(&evidence).map_err(|_| CheckpointError::Field("evidence"))?;
            Ok::<_, CheckpointError>(Box::new(Over { rule, evidence, at: Timestamp::from_nanos(at) }))
        });
        let last_change = Timestamp::from_nanos(last_change);
        Ok((AlertKey { resource, kind, qualifier }, Flapping { occurrence, last_change, quiet_s, over: over.transpose()? }))
    }
}

impl WireStorm {
    fn new((id, storm): (&StormId, &Storm)) -> Self {
        let Told { at, alerts, open } = storm.told;
        Self {
            kind: id.kind.to_string(),
            source: id.source.as_deref().map(str::to_owned),
            since: storm.since.as_nanos(),
            alerts: storm.alerts,
            severity: storm.severity.number().into(),
            sources: storm.sources.iter().map(|(source, count)| (source.to_string(), *count)).collect(),
            quiet_since: storm.quiet_since.map(Timestamp::as_nanos),
            told_at: at.as_nanos(),
            told_alerts: alerts,
            told_open: open,
        }
    }

    fn storm(self) -> Result<(StormId, Storm), CheckpointError> {
        let severity = severity_of(self.severity)?;
        let storm = Storm {
            since: Timestamp::from_nanos(self.since),
            alerts: self.alerts,
            severity,
            sources: self.sources.into_iter().map(|(source, count)| (Arc::from(source), count)).collect(),
            quiet_since: self.quiet_since.map(Timestamp::from_nanos),
            told: Told { at: Timestamp::from_nanos(self.told_at), alerts: self.told_alerts, open: self.told_open },
        };
        Ok((StormId { kind: Arc::from(self.kind), source: self.source.map(Arc::from) }, storm))
    }
}

impl WireSource {
    fn new(source: &Source) -> Self {
        let nanos = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        let (name, called) = match &source.name {
            Name::Address(called) => (None, (*called != source.address).then(|| called.to_string())),
            Name::Text(name) => (Some(name.to_string()), None),
        };
        Self {
            name,
            address: source.address.to_string(),
            last: source.last.as_nanos(),
            mean: nanos(source.mean),
            longest: nanos(source.longest),
            gaps: source.gaps,
            silent: source.silent,
            called,
        }
    }

    fn source(self) -> Result<Source, CheckpointError> {
        let parse = |text: &str| text.parse::<IpAddr>().map_err(|_| CheckpointError::Field("address"));
        let address = parse(&self.address)?;
        let name = match (self.name, self.called) {
            (Some(name), _) => Name::Text(name.into()),
            (None, Some(called)) => Name::Address(parse(&called)?),
            (None, None) => Name::Address(address),
        };
        let mut source = Source::new(name, address, Timestamp::from_nanos(self.last));
        (source.mean, source.longest) = (Duration::from_nanos(self.mean), Duration::from_nanos(self.longest));
        (source.gaps, source.silent) = (self.gaps, self.silent);
        Ok(source)
    }
}

impl WireExpected {
    fn new((name, expected): (&String, &Expected)) -> Self {
        Self { name: name.clone(), since: expected.since.as_nanos(), silent: expected.silent }
    }
}
