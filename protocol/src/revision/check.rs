//! The meaning of a document: everything that its shape alone does not say. One pass finds every fault, each with its place.

mod intake;
mod link;
mod noise;
mod pack;
mod rule;
mod tables;

use std::collections::BTreeMap;
use std::fmt::Display;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_path_to_error::Segment;

use self::rule::Surroundings;
use super::document::{Document, Rule, Table};
use super::intake::{Snmp, SourceFacts};
use super::link::{SpoolSettings, Uplink};
use super::locate::{Fault, Node, Place, line_and_column};
use super::noise::{Dependency, Noise, Silence, Window};
use super::pack::PackUse;
use super::{MAX_DOCUMENT_BYTES, Problem};

/// The format that this build reads.
const FORMAT: u32 = 1;

/// Most rules of a document.
pub const MAX_RULES: usize = 10_000;

/// Most regular expressions of a document, those of its packs and of `clear_on` included: each costs memory and time to compile
/// (10 to 100 µs and some 10 KiB), so that all of them stay within a second and 64 MiB; what an event costs depends on those only
/// whose fixed text it holds.
pub const MAX_PATTERNS: usize = 4_000;

/// Most faults that are reported at once.
pub const MAX_PROBLEMS: usize = 100;

/// Most characters of a reason.
const MAX_REASON_CHARS: usize = 400;

/// Parses a document whole.
///
/// # Errors
/// Every fault with its path, line and column, in the order of the text; at most [`MAX_PROBLEMS`].
pub fn parse(text: &[u8]) -> Result<Document, Vec<Problem>> {
    let whole = |line, column, reason: String| vec![Problem { path: String::new(), line, column, reason }];
    if text.len() > MAX_DOCUMENT_BYTES {
        return Err(whole(0, 0, format!("the document has {} bytes, more than {MAX_DOCUMENT_BYTES}", text.len())));
    }
    let text = std::str::from_utf8(text).map_err(|error| {
        let valid = text.get(..error.valid_up_to()).and_then(|valid| std::str::from_utf8(valid).ok()).unwrap_or_default();
        let (line, column) = line_and_column(valid, valid.len());
        whole(line, column, "the document is not UTF-8 from here on".to_owned())
    })?;
    if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        return Err(whole(number(error.line()), number(error.column()), format!("not JSON: {}", reason_of(&error))));
    }
    let tree = Node::parse(text).map_err(|fault| {
        let (at, path, reason) = match fault {
            Fault::Depth(at, path) => (at, path, "nested too deeply: a document needs far fewer levels"),
            Fault::Key(at) => (at, String::new(), "this key is not a text"),
            Fault::Syntax(at) => (at, String::new(), "not JSON"),
        };
        let (line, column) = line_and_column(text, at);
        vec![Problem { path, line, column, reason: reason.to_owned() }]
    })?;
    let mut problems = Problems { text, tree: &tree, found: Vec::new() };
    let document = check(&mut problems);
    match document {
        Some(document) if problems.found.is_empty() => Ok(document),
        _ => Err(problems.into_sorted()),
    }
}

/// The faults found so far.
struct Problems<'t> {
    text: &'t str,
    tree: &'t Node,
    /// With the byte at which each lies.
    found: Vec<(usize, Problem)>,
}

impl Problems<'_> {
    /// Notes a fault of the value at `place`.
    fn add(&mut self, place: &Place<'_>, reason: impl Display) {
        self.add_at(place, place.find(self.tree).at, reason);
    }

    /// Notes a fault of the key at `place`.
    fn add_key(&mut self, place: &Place<'_>, reason: impl Display) {
        self.add_at(place, place.find(self.tree).key_at, reason);
    }

    fn add_at(&mut self, place: &Place<'_>, at: usize, reason: impl Display) {
        if self.found.len() > MAX_PROBLEMS {
            return;
        }
        let (line, column) = line_and_column(self.text, at);
        let reason = reason.to_string().chars().take(MAX_REASON_CHARS).collect();
        self.found.push((at, Problem { path: place.to_string(), line, column, reason }));
    }

    fn into_sorted(mut self) -> Vec<Problem> {
        let more = self.found.len() > MAX_PROBLEMS;
        self.found.truncate(MAX_PROBLEMS);
        self.found.sort_by_key(|(at, _)| *at);
        let mut sorted: Vec<_> = self.found.into_iter().map(|(_, problem)| problem).collect();
        if more {
            let reason = format!("there are more than {MAX_PROBLEMS} faults; these are the first found");
            sorted.push(Problem { path: String::new(), line: 0, column: 0, reason });
        }
        sorted
    }
}

/// The document's own members; the rules are read one by one, so that each can report its fault.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    format: u32,
    #[serde(rename = "rules")]
    _rules: IgnoredAny,
    #[serde(default, rename = "packs")]
    _packs: Option<IgnoredAny>,
    #[serde(default, rename = "tables")]
    _tables: Option<IgnoredAny>,
    #[serde(default, rename = "noise")]
    _noise: Option<IgnoredAny>,
    #[serde(default, rename = "windows")]
    _windows: Option<IgnoredAny>,
    #[serde(default, rename = "dependencies")]
    _dependencies: Option<IgnoredAny>,
    #[serde(default, rename = "silences")]
    _silences: Option<IgnoredAny>,
    #[serde(default, rename = "snmp")]
    _snmp: Option<IgnoredAny>,
    #[serde(default, rename = "sources")]
    _sources: Option<IgnoredAny>,
    #[serde(default, rename = "uplink")]
    _uplink: Option<IgnoredAny>,
    #[serde(default, rename = "spool")]
    _spool: Option<IgnoredAny>,
    #[serde(default, rename = "confirm_within_s")]
    _confirm_within_s: Option<IgnoredAny>,
}

/// Reads and checks the whole tree; `None` when a part has the wrong shape.
fn check(problems: &mut Problems<'_>) -> Option<Document> {
    let tree = problems.tree;
    tree.repeated_keys(&Place::Root, &mut |place, at| problems.add_at(place, at, "this key is given twice: keep one"));
    let head = shape::<Head>(problems, &Place::Root, tree);
    if let Some(head) = &head
        && head.format != FORMAT
    {
        problems.add(&Place::Root.key("format"), format!("format {} is not known here: this program reads format {FORMAT}", head.format));
    }
    let place = Place::Root.key("rules");
    let entries = tree.member("rules").map(Node::entries);
    let Some(Some(entries)) = entries else {
        if entries.is_some() {
            problems.add(&place, "rules must be a list");
        }
        return None;
    };
    if entries.len() > MAX_RULES {
        // Before any is read.
        problems.add(&place, format!("{} rules are more than {MAX_RULES}", entries.len()));
        return None;
    }
    let rules: Vec<_> = entries.iter().enumerate().map(|(index, node)| rule_shape(problems, &place.index(index), node)).collect();
    let packs = member::<Vec<PackUse>>(problems, "packs");
    let tables = member::<BTreeMap<String, Table>>(problems, "tables");
    let wanted = packs.as_ref().and_then(Option::as_deref).unwrap_or_default();
    let expanded = pack::expand(wanted, &Place::Root.key("packs"), problems);
    if !pack::bounded(&rules, &expanded, problems) {
        // Before any expression is compiled: that is what the limit is for.
        return None;
    }
    let no_tables = BTreeMap::new();
    let around = Surroundings { tables: tables.as_ref().and_then(Option::as_ref).unwrap_or(&no_tables) };
    tables::tables(around.tables, &Place::Root.key("tables"), problems);
    let mut seen = BTreeMap::new();
    for (index, rule) in rules.iter().enumerate() {
        let Some(rule) = rule else { continue };
        let place = place.index(index);
        if let Some(first) = seen.insert(rule.id.as_str(), index) {
            problems.add(&place.key("id"), format!("rules[{first}] has the id {} already", rule.id));
        } else if let Some(at) = expanded.iter().position(|of_pack| of_pack.iter().any(|other| other.id == rule.id)) {
            let reason = format!("packs[{at}] has the rule {} already: choose another id, or change the pack's by its overrides", rule.id);
            problems.add(&place.key("id"), reason);
        }
        rule::check(rule, &around, &place, problems);
    }
    pack::frugal(&rules, &expanded, problems);
    pack::check(wanted, &expanded, &around, problems);
    let snmp = member::<Snmp>(problems, "snmp");
    let sources = member::<Vec<SourceFacts>>(problems, "sources");
    if let Some(Some(snmp)) = &snmp {
        intake::snmp(snmp, &Place::Root.key("snmp"), problems);
    }
    if let Some(Some(sources)) = &sources {
        intake::sources(sources, &Place::Root.key("sources"), problems);
    }
    let noise = member::<Noise>(problems, "noise");
    if let Some(Some(noise)) = &noise {
        noise::noise(noise, &Place::Root.key("noise"), problems);
    }
    let windows = member::<Vec<Window>>(problems, "windows");
    if let Some(Some(windows)) = &windows {
        noise::windows(windows, &Place::Root.key("windows"), problems);
    }
    let dependencies = member::<Vec<Dependency>>(problems, "dependencies");
    if let Some(Some(dependencies)) = &dependencies {
        noise::dependencies(dependencies, &Place::Root.key("dependencies"), problems);
    }
    let silences = member::<Vec<Silence>>(problems, "silences");
    if let Some(Some(silences)) = &silences {
        let known = rules.iter().flatten().chain(expanded.iter().flatten());
        noise::silences(silences, known, &Place::Root.key("silences"), problems);
    }
    let uplink = member::<Uplink>(problems, "uplink");
    if let Some(Some(uplink)) = &uplink {
        link::uplink(uplink, &Place::Root.key("uplink"), problems);
    }
    let spool = member::<SpoolSettings>(problems, "spool");
    if let Some(Some(spool)) = &spool {
        link::spool(spool, &Place::Root.key("spool"), problems);
    }
    let confirm_within_s = member::<u32>(problems, "confirm_within_s");
    if let Some(Some(seconds)) = confirm_within_s {
        link::confirm(seconds, &Place::Root.key("confirm_within_s"), problems);
    }
    Some(Document {
        format: head?.format,
        rules: rules.into_iter().collect::<Option<_>>()?,
        packs: packs?.unwrap_or_default(),
        tables: tables?.unwrap_or_default(),
        noise: noise?,
        windows: windows?.unwrap_or_default(),
        dependencies: dependencies?.unwrap_or_default(),
        silences: silences?.unwrap_or_default(),
        snmp: snmp?,
        sources: sources?.unwrap_or_default(),
        uplink: uplink?,
        spool: spool?,
        confirm_within_s: confirm_within_s?,
    })
}

/// Reads an optional member of the document: `Some(None)` when it is not there, `None` when its shape is wrong.
fn member<T: for<'de> Deserialize<'de>>(problems: &mut Problems<'_>, key: &str) -> Option<Option<T>> {
    match problems.tree.member(key) {
        None => Some(None),
        Some(node) => shape(problems, &Place::Root.key(key), node).map(Some),
    }
}

/// Reads one rule; the parts that are alternatives are looked at first, because serde's words for them help nobody.
fn rule_shape(problems: &mut Problems<'_>, place: &Place<'_>, node: &Node) -> Option<Rule> {
    let alternatives = [("match", ["push", "syslog", "trap"]), ("then", ["clear", "raise", "suppress"])];
    let mut good = true;
    for (key, names) in alternatives {
        let Some(member) = node.member(key) else { continue };
        if !matches!(member.members(), Some([(name, _)]) if names.contains(&name.as_str())) {
            problems.add(&place.key(key), format!("must be an object with exactly one member: {}", names.join(", ")));
            good = false;
        }
    }
    let outer = place.key("clear_on");
    for (index, ending) in node.member("clear_on").and_then(Node::entries).unwrap_or_default().iter().enumerate() {
        if !matches!(ending.members(), Some([(name, _)]) if ["push", "syslog", "trap"].contains(&name.as_str())) {
            problems.add(&outer.index(index), "must be an object with exactly one member: push, syslog, trap");
            good = false;
        }
    }
    if good { shape(problems, place, node) } else { None }
}

/// Reads the value at `node` as a `T`; a fault is noted with its place below `place`.
fn shape<T: for<'de> Deserialize<'de>>(problems: &mut Problems<'_>, place: &Place<'_>, node: &Node) -> Option<T> {
    let text = problems.text.get(node.at..node.end)?;
    match serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(text)) {
        Ok(value) => Some(value),
        Err(error) => {
            let reason = reason_of(error.inner());
            if reason.starts_with("duplicate field") {
                // Noted already, with the key's place, by `Node::repeated_keys`.
                return None;
            }
            let unknown_key = reason.starts_with("unknown field");
            let path: Vec<_> = error.path().iter().collect();
            descend(&path, place, &mut |place| if unknown_key { problems.add_key(place, &reason) } else { problems.add(place, &reason) });
            None
        }
    }
}

/// Calls `found` with the place that `path` leads to from `place`.
fn descend(path: &[&Segment], place: &Place<'_>, found: &mut impl FnMut(&Place<'_>)) {
    match path.split_first() {
        None | Some((Segment::Unknown, _)) => found(place),
        Some((Segment::Seq { index }, rest)) => descend(rest, &place.index(*index), found),
        Some((Segment::Map { key }, rest)) => descend(rest, &place.key(key), found),
        Some((Segment::Enum { variant }, rest)) => descend(rest, &place.key(variant), found),
    }
}

/// Returns what is wrong without the place, which is that of a part of the text.
fn reason_of(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text.get(..end).unwrap_or_default().to_owned(),
        None => text,
    }
}
