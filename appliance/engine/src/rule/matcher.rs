//! The conditions of a rule, held against an event. Every condition that is given must hold.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use postern_protocol::oid::Oid;
use postern_protocol::revision::document::PushState;
use postern_protocol::revision::pattern::MAX_TEXT_BYTES;

use super::expression::Expression;
use crate::event::{Body, Event, Notification, PushEvent, SyslogMessage, Varbind};
use crate::value;

/// Numbers in the OID of an enterprise, 1.3.6.1.4.1.N.
const ENTERPRISE_NUMBERS: usize = 7;

/// Conditions on one kind of event.
#[derive(Clone, Debug)]
pub(super) enum Matcher {
    Push(Push),
    Syslog(Syslog),
    Trap(Trap),
}

/// Conditions on a notification.
#[derive(Clone, Debug)]
pub(super) struct Trap {
    /// The OIDs of the notification; empty for any.
    pub(super) oids: Vec<Oid>,
    pub(super) prefix: Option<Oid>,
    pub(super) varbinds: Vec<VarbindTest>,
    pub(super) sources: Vec<IpNet>,
}

/// A condition on the first varbind at or below an OID.
#[derive(Clone, Debug)]
pub(super) struct VarbindTest {
    pub(super) oid: Oid,
    pub(super) equals: Option<String>,
    pub(super) regex: Option<Expression>,
}

/// Conditions on a syslog message; an empty set is no condition.
#[derive(Clone, Debug)]
pub(super) struct Syslog {
    pub(super) facilities: BTreeSet<u8>,
    pub(super) max_severity: Option<u8>,
    pub(super) programs: BTreeSet<String>,
    pub(super) hosts: BTreeSet<String>,
    pub(super) msgids: BTreeSet<String>,
    pub(super) fields: BTreeMap<String, String>,
    pub(super) regex: Option<Expression>,
    pub(super) sources: Vec<IpNet>,
}

/// Conditions on a pushed event; an empty set is no condition.
#[derive(Clone, Debug)]
pub(super) struct Push {
    pub(super) state: Option<PushState>,
    pub(super) kinds: BTreeSet<String>,
    pub(super) fields: BTreeMap<String, String>,
    pub(super) sources: Vec<IpNet>,
}

impl Matcher {
    /// Returns whether the matcher names the kind of event that it is for.
    pub(super) fn names_its_events(&self) -> bool {
        match self {
            Self::Push(_) | Self::Syslog(_) => true,
            Self::Trap(matcher) => matcher.names_its_events(),
        }
    }

    /// Returns the networks of which one must hold the sender; none for any.
    pub(super) fn sources(&self) -> &[IpNet] {
        match self {
            Self::Push(matcher) => &matcher.sources,
            Self::Syslog(matcher) => &matcher.sources,
            Self::Trap(matcher) => &matcher.sources,
        }
    }

    /// Returns whether every condition holds. Adds to `scanned` the bytes of text that regular expressions were held against.
    pub(super) fn matches(&self, event: &Event, scanned: &mut usize) -> bool {
        match (self, &event.body) {
            (Self::Push(matcher), Body::Push(push)) => within(&matcher.sources, event.peer) && matcher.matches(push),
            (Self::Syslog(matcher), Body::Syslog(message)) => within(&matcher.sources, event.peer) && matcher.matches(message, scanned),
            (Self::Trap(matcher), Body::Notification(trap)) => within(&matcher.sources, event.peer) && matcher.matches(trap, scanned),
            (Self::Push(_) | Self::Syslog(_) | Self::Trap(_), Body::Push(_) | Body::Syslog(_) | Body::Notification(_)) => false,
        }
    }
}

impl Trap {
    /// Whether it is for notifications that its author knew: a prefix that reaches beyond an enterprise names them, a shorter one
    /// catches them.
    fn names_its_events(&self) -> bool {
        !self.oids.is_empty() || self.prefix.as_ref().is_some_and(|prefix| prefix.numbers().len() > ENTERPRISE_NUMBERS)
    }

    fn matches(&self, trap: &Notification, scanned: &mut usize) -> bool {
        let oid = &trap.trap_oid;
        (self.oids.is_empty() || self.oids.contains(oid))
            && self.prefix.as_ref().is_none_or(|prefix| oid.strip_prefix(prefix).is_some())
            && self.varbinds.iter().all(|test| test.matches(trap, scanned))
    }
}

impl VarbindTest {
    fn matches(&self, trap: &Notification, scanned: &mut usize) -> bool {
        let Some(varbind) = first_below(trap, &self.oid) else { return false };
        if self.equals.is_none() && self.regex.is_none() {
            return true;
        }
        let text = value::text(&varbind.value);
        self.equals.as_ref().is_none_or(|wanted| *wanted == text) && contains(self.regex.as_ref(), &text, scanned)
    }
}

impl Syslog {
    fn matches(&self, message: &SyslogMessage, scanned: &mut usize) -> bool {
        (self.facilities.is_empty() || self.facilities.contains(&message.facility))
            && self.max_severity.is_none_or(|gravest| message.severity <= gravest)
            && one_of(&self.programs, message.program.as_deref())
            && one_of(&self.hosts, message.host.as_deref())
            && one_of(&self.msgids, message.msgid.as_deref())
            && self.fields.iter().all(|(name, text)| message.fields.get(name) == Some(text))
            && contains(self.regex.as_ref(), &message.message, scanned)
    }
}

impl Push {
    fn matches(&self, push: &PushEvent) -> bool {
        self.state.is_none_or(|state| state == push.state)
            && one_of(&self.kinds, Some(&push.kind))
            && self.fields.iter().all(|(name, text)| push.fields.get(name) == Some(text))
    }
}

/// Returns the first varbind whose name equals `oid` or lies below it.
pub(super) fn first_below<'e>(trap: &'e Notification, oid: &Oid) -> Option<&'e Varbind> {
    trap.varbinds.iter().find(|varbind| varbind.name.strip_prefix(oid).is_some())
}

/// Returns the beginning of `text` that regular expressions may look at, cut at a character's start.
pub(super) fn bounded(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_TEXT_BYTES)).unwrap_or(text)
}

fn contains(expression: Option<&Expression>, text: &str, scanned: &mut usize) -> bool {
    expression.is_none_or(|expression| {
        let text = bounded(text);
        *scanned = scanned.saturating_add(text.len());
        expression.regex().is_some_and(|regex| regex.is_match(text))
    })
}

fn one_of(set: &BTreeSet<String>, text: Option<&str>) -> bool {
    set.is_empty() || text.is_some_and(|text| set.contains(text))
}

fn within(networks: &[IpNet], peer: IpAddr) -> bool {
    networks.is_empty() || networks.iter().any(|network| network.contains(&peer))
}
