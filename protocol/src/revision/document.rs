//! The shape of a revision document. What it may mean is checked by `revision::parse`; a [`Document`] in hand is good.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::intake::{Snmp, SourceFacts};
use super::link::{DEFAULT_WARN_BELOW_HOURS, SpoolSettings, Uplink};
use super::noise::{Dependency, Flap, Noise, Rate, Silence, Switch, Threshold, Window};
use super::pack::PackUse;
use crate::alert::Severity;
use crate::id::RuleId;

/// A whole configuration of a gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Version of this format: 1.
    pub format: u32,
    /// Rules in order: the first that matches decides, unless it says `continue`.
    pub rules: Vec<Rule>,
    /// Rule packs, whose rules come after these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packs: Vec<PackUse>,
    /// Lookup tables by name, for `lookup:TABLE:FIELD`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tables: BTreeMap<String, Table>,
    /// Flaps and storms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise: Option<Noise>,
    /// Maintenance windows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<Window>,
    /// What is unreachable when something else is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<Dependency>,
    /// Sources that must be heard.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub silences: Vec<Silence>,
    /// How SNMP notifications are taken in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snmp: Option<Snmp>,
    /// Facts about senders.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceFacts>,
    /// How the control plane is reached; the bootstrap file's way when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uplink: Option<Uplink>,
    /// When the durable queue is to raise an alert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spool: Option<SpoolSettings>,
    /// Seconds in which the gateway must have reached the control plane again after it put this revision in force, else it goes
    /// back to the one before: 10 to 3,600 (default 300).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_within_s: Option<u32>,
}

impl Document {
    /// Returns the hours below which the durable queue raises an alert.
    pub fn warn_below_hours(&self) -> u32 {
        self.spool.as_ref().map_or(DEFAULT_WARN_BELOW_HOURS, |spool| spool.warn_below_hours)
    }
}

/// Seconds that a revision has to be confirmed when its document does not say.
pub const DEFAULT_CONFIRM_WITHIN_S: u32 = 300;

/// One rule: what it is for, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Name of the rule, unique in the document.
    #[cfg_attr(feature = "schema", schemars(with = "String", regex(pattern = "^[a-z0-9._-]{1,64}$")))]
    pub id: RuleId,
    /// Counted up by whoever changes the rule; alerts carry it.
    #[serde(default = "one")]
    pub version: u32,
    /// For people: what the rule is for, with its source.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Which events it is for.
    #[serde(rename = "match")]
    pub matcher: Matcher,
    /// The fields of the event that may leave the site, by the name that templates use.
    #[serde(default)]
    pub release: BTreeMap<String, Release>,
    /// What to do.
    pub then: Action,
    /// Whether later rules see the event too.
    #[serde(default, rename = "continue", skip_serializing_if = "std::ops::Not::not")]
    pub continues: bool,
    /// Whether it acts, or only observes: it then runs and counts and shows what it would raise, and raises nothing; later rules see
    /// the event as if it were not there.
    #[serde(default, skip_serializing_if = "Mode::is_active")]
    pub mode: Mode,
    /// Words by which windows choose rules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Events that end what this rule raised: the same key, made of the same released fields of the event that matches here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clear_on: Vec<Matcher>,
    /// How many reports it takes; only with `raise`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<Threshold>,
    /// How fast a number must change; only with `raise`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// When its alerts count as flapping, in place of the document's `noise.flap`; only with `raise`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flap: Option<Switch<Flap>>,
}

/// Whether a rule acts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// It acts.
    #[default]
    Active,
    /// It only observes.
    Observe,
}

impl Mode {
    fn is_active(&self) -> bool {
        *self == Self::Active
    }
}

/// A lookup table: text for text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Text for what has no row; the field is absent then when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// Text by text.
    pub rows: BTreeMap<String, String>,
}

const fn one() -> u32 {
    1
}

/// Which events a rule is for. Every condition that is given must hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Matcher {
    /// Events pushed over HTTP.
    Push(PushMatch),
    /// Syslog messages.
    Syslog(SyslogMatch),
    /// SNMP traps and informs.
    Trap(TrapMatch),
}

/// Conditions on a notification; an SNMPv1 trap has the OID that RFC 3584 §3.1 gives it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TrapMatch {
    /// The notification's OID, exactly. Also matches the OID that RFC 3584 §3.1 makes when an SNMPv1 agent sends the same
    /// notification: with a 0 before the last number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oid: Option<String>,
    /// An OID that the notification's OID equals or lies below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Conditions on varbinds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub varbinds: Vec<VarbindTest>,
    /// Networks (CIDR) of which one must hold the peer's address; empty for any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
}

/// A condition on the first varbind whose name equals or lies below `oid`. Without `equals` and `regex` it need only be there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct VarbindTest {
    /// The object's OID, with or without the instance.
    pub oid: String,
    /// The value, written as in a template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equals: Option<String>,
    /// A regular expression (linear time) that the value, written as in a template, must contain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
}

/// Conditions on a syslog message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SyslogMatch {
    /// Facilities by keyword (`kern`, `auth`, `local7` …); empty for any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub facilities: Vec<String>,
    /// The least grave severity that matches: 0 (emergency) to 7 (debug). 3 matches 0 to 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 7)))]
    pub max_severity: Option<u8>,
    /// Program names, exactly; empty for any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub programs: Vec<String>,
    /// Host names, exactly; empty for any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// MSGIDs, or the mnemonics or numbers by which vendors name messages, exactly; empty for any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub msgids: Vec<String>,
    /// Fields of the vendor's format (`field:NAME`) that must be there with exactly this text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
    /// A regular expression (linear time) that the first 8 KiB of the message must contain; named groups are fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
    /// Networks (CIDR) of which one must hold the peer's address; empty for any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
}

/// Conditions on a pushed event.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PushMatch {
    /// Whether the event reports a condition or its end; either when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<PushState>,
    /// Kinds, exactly; empty for any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<String>,
    /// Fields that must be there with exactly this text.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
    /// Networks (CIDR) of which one must hold the peer's address; empty for any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
}

/// Whether a pushed event reports a condition or its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum PushState {
    /// The condition is there.
    #[default]
    Raise,
    /// It is over.
    Clear,
}

/// One field that may leave the site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Which field, or several with ` | ` between them: the first that the event has. Any event: `source`, `peer`, `transport`. Traps: `trap_oid`, `trap_name`, `varbind:OID` (the value of the first varbind at or
    /// below OID), `index:OID` (what follows OID in that varbind's name), and in a MIB module's words `name:OID` (`ifOperStatus.7`),
    /// `value:OID` (`down(2)`), `named:OID` (both). Syslog: `facility`, `severity`, `program`, `host`,
    /// `pid`, `msgid`, `message`, `capture:NAME`, `field:NAME`, `sd:ID.PARAM`. Pushes: `resource`, `kind`, `qualifier`, `severity`, `summary`,
    /// `field:NAME`. The release's own name when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Most bytes of it (1 to 1024); what is longer is cut at a character's start and ends in `…`.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 1024)))]
    pub max_bytes: u16,
}

/// What becomes of an event that a rule matches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Action {
    /// End the alert of this key, if it is open.
    Clear(Key),
    /// Open an alert, or count it again.
    Raise(Raise),
    /// Count the event as accepted and do nothing.
    Suppress {},
}

/// Templates of an alert's key: text with `{name}` for released fields; `{{` and `}}` for braces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// What is affected.
    pub resource: String,
    /// What is wrong with it.
    pub kind: String,
    /// Tells apart alerts of one kind on one resource.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub qualifier: String,
}

/// An alert to open: its key (see `clear`), severity and text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Raise {
    /// Template of what is affected.
    pub resource: String,
    /// Template of what is wrong with it.
    pub kind: String,
    /// Template that tells apart alerts of one kind on one resource.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub qualifier: String,
    /// How grave it is.
    pub severity: SeverityChoice,
    /// Template of the text that a person reads first.
    pub summary: String,
    /// Templates of further facts by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Ends the alert by itself when it was not reported for so many seconds, 1 to 2,592,000; never when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 2_592_000)))]
    pub clear_after_s: Option<u32>,
}

/// A fixed severity, or one looked up from a released field.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum SeverityChoice {
    /// Always this one.
    Fixed(Severity),
    /// By the text of a released field.
    Map(SeverityMap),
}

impl<'de> Deserialize<'de> for SeverityChoice {
    /// By hand, because serde's untagged enums lose the place and the reason of a fault.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Choice;
        impl<'de> Visitor<'de> for Choice {
            type Value = SeverityChoice;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{SEVERITY_EXPECTED}")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<SeverityChoice, E> {
                let severity = Severity::from_name(name);
                severity.map(SeverityChoice::Fixed).ok_or_else(|| E::custom(format_args!("not a severity: write {SEVERITY_EXPECTED}")))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SeverityChoice, A::Error> {
                SeverityMap::deserialize(MapAccessDeserializer::new(map)).map(SeverityChoice::Map)
            }
        }
        deserializer.deserialize_any(Choice)
    }
}

/// What a severity may look like.
const SEVERITY_EXPECTED: &str =
    r#"critical, major, minor, warning or indeterminate, or {"by": NAME, "map": {TEXT: SEVERITY}, "default": SEVERITY}"#;

/// A severity looked up from a released field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SeverityMap {
    /// Name of the released field.
    pub by: String,
    /// Severity by the field's text.
    pub map: BTreeMap<String, Severity>,
    /// Severity for any other text.
    pub default: Severity,
}
