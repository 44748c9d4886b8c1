//! One open alert in little memory: its texts lie in one piece, its course in another, and only where something was decided.

use std::collections::BTreeMap;

use postern_protocol::alert::{Alert, AlertKey, AlertState, Authenticity, Course, Decision, DecisionKind, Evidence, Severity, Suppression};
use postern_protocol::id::RuleId;
use postern_protocol::timestamp::Timestamp;

use super::memo::Writer;
use super::moment::Clock;
use super::text::{Texts, put, put_number};
use crate::rule::Report;

/// An open alert.
#[derive(Debug)]
pub(super) struct Slot {
    /// Key, rule, summary, evidence and labels, as [`Written::pack`] has them.
    pub(super) text: Box<[u8]>,
    /// Parent, suppression, flapping and decisions, as [`pack_course`] has them; `None` when nothing was decided.
    pub(super) course: Option<Box<[u8]>>,
    pub(super) occurrence: u64,
    pub(super) revision: u64,
    /// Its revision when it was last reported; a later one only sent it again, or decided about it.
    pub(super) reported: u64,
    pub(super) count: u64,
    pub(super) first_seen: Timestamp,
    pub(super) last_seen: Timestamp,
    /// When it was last reported, by the gateway's clock of that moment.
    pub(super) heard: Timestamp,
    /// What the sender's clock said with the newest report.
    pub(super) clock: Option<Clock>,
    /// Under which time the timers know it.
    pub(super) timer: Option<Timestamp>,
    /// The remembered notification that wrote its texts and evidence.
    pub(super) writer: Option<Writer>,
    /// Seconds without a report after which it ends by itself.
    pub(super) clear_after_s: Option<u32>,
    pub(super) rule_version: u32,
    pub(super) severity: Severity,
    pub(super) change: Change,
}

/// What happened to an open alert since it was last drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    /// It was reported again: count, time, texts and evidence are newer, its severity is the same.
    Counted,
    /// It was raised, or its severity or course changed, or all are to be sent again.
    Urgent,
}

/// A key whose texts lie elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct KeyRef<'a> {
    pub(crate) resource: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) qualifier: &'a str,
}

impl KeyRef<'_> {
    /// Returns the key as one that stands for itself.
    pub(crate) fn to_key(self) -> AlertKey {
        AlertKey { resource: self.resource.to_owned(), kind: self.kind.to_owned(), qualifier: self.qualifier.to_owned() }
    }
}

impl PartialEq<AlertKey> for KeyRef<'_> {
    fn eq(&self, other: &AlertKey) -> bool {
        (self.resource, self.kind, self.qualifier) == (other.resource.as_str(), other.kind.as_str(), other.qualifier.as_str())
    }
}

/// What can be seen of an open alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View<'a> {
    pub(crate) key: KeyRef<'a>,
    /// The rule that raised it last.
    pub(crate) rule: &'a str,
    pub(crate) severity: Severity,
    pub(crate) occurrence: u64,
    pub(crate) count: u64,
    pub(crate) first_seen: Timestamp,
    pub(crate) last_seen: Timestamp,
    /// The alert under which it is folded.
    pub(crate) parent: Option<KeyRef<'a>>,
    /// The window that keeps it quiet, and until when.
    pub(crate) suppressed: Option<(&'a str, Timestamp)>,
    pub(crate) flapping: bool,
}

/// The texts of an alert, to be packed.
pub(super) struct Written<'a> {
    pub(super) key: &'a AlertKey,
    pub(super) rule: &'a RuleId,
    pub(super) summary: &'a str,
    pub(super) evidence: &'a Evidence,
    pub(super) labels: &'a BTreeMap<String, String>,
}

impl<'a> Written<'a> {
    pub(super) const fn of(alert: &'a Alert) -> Self {
        let Alert { key, rule, summary, evidence, labels, .. } = alert;
        Self { key, rule, summary: summary.as_str(), evidence, labels }
    }

    pub(super) const fn of_report(report: &'a Report) -> Self {
        let Report { key, rule, summary, evidence, labels, .. } = report;
        Self { key, rule, summary: summary.as_str(), evidence, labels }
    }

    /// Writes the texts to `packed`, in place of what was there. The key comes first.
    pub(super) fn pack(&self, packed: &mut Vec<u8>) {
        packed.clear();
        let AlertKey { resource, kind, qualifier } = self.key;
        let Evidence { peer, trap_address, engine_id, hostname, tls_name, transport, authenticity, relay, chosen_by, conflict } =
            self.evidence;
        for text in [resource, kind, qualifier, self.rule.as_str(), self.summary] {
            put(packed, text);
        }
        put_number(packed, u64::from(authenticity_number(*authenticity)) << 1 | u64::from(*conflict));
        for text in [peer, trap_address, engine_id, hostname, tls_name, transport, relay, chosen_by] {
            put(packed, text);
        }
        for (name, text) in self.labels {
            put(packed, name);
            put(packed, text);
        }
    }
}

impl Slot {
    /// Packs an open alert of which no more is known than its record says.
    pub(super) fn new(alert: &Alert) -> Self {
        let mut packed = Vec::with_capacity(512);
        Written::of(alert).pack(&mut packed);
        Self {
            text: packed.into_boxed_slice(),
            course: pack_course(&alert.course),
            occurrence: alert.occurrence,
            revision: alert.revision,
            reported: alert.revision,
            count: alert.count,
            first_seen: alert.first_seen,
            last_seen: alert.last_seen,
            heard: alert.last_seen,
            clock: None,
            timer: None,
            writer: None,
            clear_after_s: None,
            rule_version: alert.rule_version,
            severity: alert.severity,
            change: Change::None,
        }
    }

    /// Replaces the texts; those that are the same stay where they are.
    pub(super) fn rewrite(&mut self, packed: &[u8]) {
        if self.text.len() == packed.len() {
            self.text.copy_from_slice(packed);
        } else {
            self.text = packed.into();
        }
    }

    /// Returns the bytes of the key's parts.
    pub(super) fn key_bytes(&self) -> [&[u8]; 3] {
        let mut left = Texts(&self.text);
        [left.bytes(), left.bytes(), left.bytes()]
    }

    /// Returns what can be seen of it.
    pub(super) fn view(&self) -> View<'_> {
        let mut left = Texts(&self.text);
        let (key, rule) = (read_key(&mut left), left.text());
        let Head { parent, suppressed, flapping, rest: _ } = Head::read(self.course.as_deref());
        View {
            key,
            rule,
            severity: self.severity,
            occurrence: self.occurrence,
            count: self.count,
            first_seen: self.first_seen,
            last_seen: self.last_seen,
            parent,
            suppressed,
            flapping,
        }
    }

    /// Returns the whole record.
    pub(super) fn alert(&self) -> Alert {
        let mut left = Texts(&self.text);
        let key = read_key(&mut left).to_key();
        // A rule's id was one when it was packed.
        let rule = RuleId::new(left.string()).unwrap_or_else(|_| RuleId::own());
        let summary = left.string();
        let mark = left.number();
        let evidence = Evidence {
            peer: left.string(),
            trap_address: left.string(),
            engine_id: left.string(),
            hostname: left.string(),
            tls_name: left.string(),
            transport: left.string(),
            relay: left.string(),
            chosen_by: left.string(),
            authenticity: Authenticity::ALL.into_iter().find(|one| u64::from(authenticity_number(*one)) == mark >> 1).unwrap_or_default(),
            conflict: mark & 1 == 1,
        };
        let mut labels = BTreeMap::new();
        while !left.is_empty() {
            labels.insert(left.string(), left.string());
        }
        Alert {
            key,
            occurrence: self.occurrence,
            revision: self.revision,
            state: AlertState::Open,
            severity: self.severity,
            summary,
            count: self.count,
            first_seen: self.first_seen,
            last_seen: self.last_seen,
            cleared_at: None,
            labels,
            rule,
            rule_version: self.rule_version,
            evidence,
            course: self.course(),
        }
    }

    /// Returns whether nothing folds it or keeps it quiet.
    pub(super) fn is_shown(&self) -> bool {
        let Head { parent, suppressed, .. } = Head::read(self.course.as_deref());
        parent.is_none() && suppressed.is_none()
    }

    /// Returns its course.
    pub(super) fn course(&self) -> Course {
        let Head { parent, suppressed, flapping, mut rest } = Head::read(self.course.as_deref());
        let mut decisions = Vec::new();
        while !rest.is_empty() {
            let at = Timestamp::from_nanos(rest.number().cast_signed());
            let what = u8::try_from(rest.number()).ok().and_then(DecisionKind::from_number);
            let (by, text) = (rest.string(), rest.string());
            decisions.extend(what.map(|what| Decision { at, what, by, text }));
        }
        let suppressed = suppressed.map(|(by, until)| Suppression { by: by.to_owned(), until });
        Course { parent: parent.map(KeyRef::to_key), suppressed, flapping, decisions }
    }

    /// Replaces its course.
    pub(super) fn set_course(&mut self, course: &Course) {
        self.course = pack_course(course);
    }

    /// Returns when it ends by itself unless it is reported before.
    pub(super) fn due(&self) -> Option<Timestamp> {
        let after = std::time::Duration::from_secs(u64::from(self.clear_after_s?));
        Some(self.heard.saturating_add(after))
    }
}

/// The parts of a packed course that every look at an alert wants, and the decisions that follow.
struct Head<'a> {
    parent: Option<KeyRef<'a>>,
    suppressed: Option<(&'a str, Timestamp)>,
    flapping: bool,
    rest: Texts<'a>,
}

const PARENT: u64 = 1;
const SUPPRESSED: u64 = 2;
const FLAPPING: u64 = 4;

impl<'a> Head<'a> {
    fn read(packed: Option<&'a [u8]>) -> Self {
        let mut rest = Texts(packed.unwrap_or_default());
        let mark = rest.number();
        Self {
            parent: (mark & PARENT != 0).then(|| read_key(&mut rest)),
            suppressed: (mark & SUPPRESSED != 0).then(|| (rest.text(), Timestamp::from_nanos(rest.number().cast_signed()))),
            flapping: mark & FLAPPING != 0,
            rest,
        }
    }
}

fn read_key<'a>(left: &mut Texts<'a>) -> KeyRef<'a> {
    KeyRef { resource: left.text(), kind: left.text(), qualifier: left.text() }
}

fn pack_course(course: &Course) -> Option<Box<[u8]>> {
    if course.is_plain() {
        return None;
    }
    let Course { parent, suppressed, flapping, decisions } = course;
    let mut packed = Vec::new();
    let mark = |is: bool, mark: u64| if is { mark } else { 0 };
    put_number(&mut packed, mark(parent.is_some(), PARENT) | mark(suppressed.is_some(), SUPPRESSED) | mark(*flapping, FLAPPING));
    if let Some(AlertKey { resource, kind, qualifier }) = parent {
        [resource, kind, qualifier].into_iter().for_each(|text| put(&mut packed, text));
    }
    if let Some(Suppression { by, until }) = suppressed {
        put(&mut packed, by);
        put_number(&mut packed, until.as_nanos().cast_unsigned());
    }
    for Decision { at, what, by, text } in decisions {
        put_number(&mut packed, at.as_nanos().cast_unsigned());
        put_number(&mut packed, u64::from(what.number()));
        put(&mut packed, by);
        put(&mut packed, text);
    }
    Some(packed.into_boxed_slice())
}

const fn authenticity_number(authenticity: Authenticity) -> u8 {
    match authenticity {
        Authenticity::None => 0,
        Authenticity::Community => 1,
        Authenticity::UsmAuth => 2,
        Authenticity::UsmPriv => 3,
        Authenticity::Tls => 4,
    }
}
