//! Sections of a document that keep noise down: thresholds, rates, flaps, storms, maintenance windows, dependencies, silence.
//!
//! Nothing of it withholds an alert once it is raised: it folds, marks or delays, and says so (`alert::Course`).

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::alert::Severity;
use crate::id::RuleId;

/// A part of the noise control: its settings, or `"off"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(untagged))]
pub enum Switch<T> {
    /// Not wanted.
    #[cfg_attr(feature = "schema", schemars(with = "Off"))]
    Off,
    /// Wanted like this.
    On(T),
}

/// The word that turns a part off.
#[cfg(feature = "schema")]
#[derive(schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is wanted")]
enum Off {
    Off,
}

impl<T: Default> Default for Switch<T> {
    fn default() -> Self {
        Self::On(T::default())
    }
}

impl<T> Switch<T> {
    /// Returns the settings, unless it is off.
    pub const fn settings(&self) -> Option<&T> {
        match self {
            Self::Off => None,
            Self::On(settings) => Some(settings),
        }
    }
}

impl<T: Serialize> Serialize for Switch<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_str("off"),
            Self::On(settings) => settings.serialize(serializer),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Switch<T> {
    /// By hand, because serde's untagged enums lose the place and the reason of a fault.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Wanted<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Wanted<T> {
            type Value = Switch<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"off\", or an object with the settings")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Switch<T>, E> {
                if text == "off" { Ok(Switch::Off) } else { Err(E::custom("write \"off\", or an object with the settings")) }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Switch<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Switch::On)
            }
        }
        deserializer.deserialize_any(Wanted(PhantomData))
    }
}

/// What holds for the whole gateway unless a rule says otherwise. Both parts are on, with their defaults, when left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Noise {
    /// When an alert counts as flapping.
    #[serde(default)]
    pub flap: Switch<Flap>,
    /// When many alerts are a storm.
    #[serde(default)]
    pub storm: Switch<Storm>,
}

/// Holds reports back until there were enough of them in time; then the alert opens with all of them counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Threshold {
    /// So many reports, 2 to 10,000.
    #[cfg_attr(feature = "schema", schemars(range(min = 2, max = 10_000)))]
    pub count: u32,
    /// Within so many seconds, 1 to 86,400.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 86_400)))]
    pub within_s: u32,
    /// What is counted together.
    #[serde(default)]
    pub per: Per,
}

/// What a threshold counts together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Per {
    /// Reports of the same alert.
    #[default]
    Key,
    /// Reports of the same source that this rule matched.
    Source,
}

/// Raises only when a released number changes too fast or too slowly between two reports of the same alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Name of the released field that is a number.
    pub of: String,
    /// Seconds that the limits are for, 1 to 86,400: `{"above": 100, "per_s": 60}` is more than 100 a minute.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 86_400)))]
    pub per_s: u32,
    /// Raise when it grows faster than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above: Option<f64>,
    /// Raise when it grows more slowly than this (a negative number: falls faster).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<f64>,
}

/// When an alert counts as flapping: while it does, clears do not end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Flap {
    /// So many changes between open and over, 4 to 64 (default 8).
    #[cfg_attr(feature = "schema", schemars(range(min = 4, max = 64)))]
    pub changes: u32,
    /// Within so many seconds, 1 to 86,400 (default 600).
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 86_400)))]
    pub within_s: u32,
    /// It flaps no more after so many seconds without a change, 1 to 86,400 (default 600); then what was reported last holds.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 86_400)))]
    pub quiet_s: u32,
}

impl Default for Flap {
    fn default() -> Self {
        Self { changes: 8, within_s: 600, quiet_s: 600 }
    }
}

/// When many alerts are a storm: one alert says so, and those that belong to it are folded under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Storm {
    /// New alerts of one kind from one source within `within_s`, 2 to 100,000 (default 20).
    #[serde(default = "Storm::per_source")]
    #[cfg_attr(feature = "schema", schemars(range(min = 2, max = 100_000)))]
    pub per_source: u32,
    /// New alerts of one kind from all sources within `within_s`, 2 to 100,000 (default 100).
    #[serde(default = "Storm::per_gateway")]
    #[cfg_attr(feature = "schema", schemars(range(min = 2, max = 100_000)))]
    pub per_gateway: u32,
    /// Seconds, 1 to 3,600 (default 60).
    #[serde(default = "Storm::within_s")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 3_600)))]
    pub within_s: u32,
    /// The storm may end after so many seconds below half of its limit, 1 to 86,400 (default 300).
    #[serde(default = "Storm::quiet_s")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 86_400)))]
    pub quiet_s: u32,
}

impl Storm {
    const fn per_source() -> u32 {
        20
    }

    const fn per_gateway() -> u32 {
        100
    }

    const fn within_s() -> u32 {
        60
    }

    const fn quiet_s() -> u32 {
        300
    }
}

impl Default for Storm {
    fn default() -> Self {
        Self { per_source: Self::per_source(), per_gateway: Self::per_gateway(), within_s: Self::within_s(), quiet_s: Self::quiet_s() }
    }
}

/// What a window or dependency is about. A list that is left out is no condition; of each list that is given, one entry must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// Networks (CIDR) of which one holds the source's address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<String>,
    /// Names of sources: as `sources` names them, or as alerts name them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
    /// Groups of sources, as `sources` says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Rules by id; `cisco.*` for all whose id begins so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
    /// Tags of the rule or of the source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// A maintenance window: new alerts within it are marked as suppressed; what is still open at its end is raised then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// Name of the window, unique in the document.
    #[cfg_attr(feature = "schema", schemars(with = "String", regex(pattern = "^[a-z0-9._-]{1,64}$")))]
    pub id: RuleId,
    /// For people: what is done then.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Which alerts it keeps quiet; all when left out.
    #[serde(default)]
    pub affects: Scope,
    /// When.
    pub when: When,
}

/// When a maintenance window is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum When {
    /// One time.
    Once(Once),
    /// Every week.
    Weekly(Weekly),
    /// Every month.
    Monthly(Monthly),
}

/// A window that is once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Once {
    /// Its begin (RFC 3339), for example `2026-12-24T22:00:00+01:00`.
    pub from: String,
    /// Its end (RFC 3339).
    pub until: String,
}

/// A window that comes every week. It begins at the local time `at`; where a clock is set forward over it, at the first moment after
/// the gap; where `at` comes twice, at the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Weekly {
    /// On which days it begins.
    pub days: Vec<Day>,
    /// Local time of its begin, `HH:MM`.
    pub at: String,
    /// Its length in minutes, elapsed time, 1 to 10,080.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 10_080)))]
    pub minutes: u32,
    /// IANA name (`Europe/Berlin`) or fixed offset (`+02:00`); UTC when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
}

/// A window that comes every month, on the nth such day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Monthly {
    /// Which of the month's such days: 1 to 4, or -1 for the last.
    #[cfg_attr(feature = "schema", schemars(range(min = -1, max = 4)))]
    pub nth: i8,
    /// On which day of the week it begins.
    pub day: Day,
    /// Local time of its begin, `HH:MM`; see the weekly window.
    pub at: String,
    /// Its length in minutes, elapsed time, 1 to 10,080.
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 10_080)))]
    pub minutes: u32,
    /// As in the weekly window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "they are the days of the week")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// Says what is unreachable when something else is: while an alert of the parent lasts that means so, alerts of the children are
/// folded under it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Dependency {
    /// Name of the dependency, unique in the document.
    #[cfg_attr(feature = "schema", schemars(with = "String", regex(pattern = "^[a-z0-9._-]{1,64}$")))]
    pub id: RuleId,
    /// The parent: an alert's resource, or the part of it before the first `/` (the device).
    pub parent: String,
    /// Kinds of the parent's alerts that take its children away (default `silent`, `unreachable`, `node-down`, `link-down`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<String>,
    /// What depends on it.
    pub children: Scope,
    /// Children's alerts that opened up to so many seconds before the parent's are folded, too: 0 to 3,600 (default 120).
    #[serde(default = "Dependency::before_s")]
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 3_600)))]
    pub before_s: u32,
}

impl Dependency {
    /// Kinds that take a parent's children away unless the dependency names others.
    pub const KINDS: [&'static str; 4] = ["silent", "unreachable", "node-down", "link-down"];

    const fn before_s() -> u32 {
        120
    }
}

/// Raises an alert of kind `silent` when nothing is heard of a source for too long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Silence {
    /// Name of the watch, unique among it and the rules: alerts carry it as their rule.
    #[cfg_attr(feature = "schema", schemars(with = "String", regex(pattern = "^[a-z0-9._-]{1,64}$")))]
    pub id: RuleId,
    /// Which sources; all when left out.
    #[serde(default)]
    pub of: Scope,
    /// A heartbeat: every source must be heard at least so often, in seconds, 1 to 604,800. Learned for each source when left out:
    /// the mean time between two reports, once there were eight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 1, max = 604_800)))]
    pub every_s: Option<u32>,
    /// Silent after so many times the heartbeat or rhythm, 2 to 1,000 (default 3; learned: 12, and 15 minutes at least).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 2, max = 1_000)))]
    pub times: Option<u32>,
    /// How grave it is (default `major`).
    #[serde(default = "Silence::severity")]
    pub severity: Severity,
}

impl Silence {
    const fn severity() -> Severity {
        Severity::Major
    }
}
