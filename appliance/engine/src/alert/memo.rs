//! Notifications that came before, word for word: a device that repeats itself is counted, and its alert is not written anew.
//!
//! Exact, never a guess: a notification is known again only when everything that a rule can see is the same. What has no part in
//! that is the time of arrival and `sysUpTime.0`.

use std::collections::HashMap;
use std::hash::BuildHasher as _;

use foldhash::fast::{FixedState, RandomState};

use super::slots::SlotId;
use crate::event::{Body, Event, Notification, Value};
use crate::rule::RuleNumber;

/// Most notifications that are remembered; then all are forgotten, and the busy ones are soon back.
const MAX_ENTRIES: usize = 4_096;

/// Most varbinds, and bytes of their values, of one that is worth remembering.
const MAX_VARBINDS: usize = 32;
const MAX_VALUE_BYTES: usize = 2_048;

/// Which remembered notification wrote an alert's texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Writer(u64);

/// Stands for what a notification says; two that say different things may share it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hash(u64);

/// A notification, and what became of it.
#[derive(Debug)]
pub(super) struct Entry {
    event: Event,
    pub(super) writer: Writer,
    pub(super) known: Known,
}

/// What became of a notification.
#[derive(Debug)]
pub(super) struct Known {
    /// The alert that it raised.
    pub(super) slot: SlotId,
    /// The rule that did.
    pub(super) rule: RuleNumber,
    /// Whether a rule names its kind, rather than catches all.
    pub(super) named: bool,
}

/// Places for marks of notifications that came once. To remember one takes a copy of it, which is lost labour for those that never
/// come again: a counter or a text in them differs each time.
const MARKS: usize = 4_096;

/// The notifications that are remembered.
#[derive(Debug, Default)]
pub(super) struct Memo {
    /// By a hash that is secret already.
    entries: HashMap<u64, Entry, FixedState>,
    /// A part of the hash of what came, by another part.
    marks: Vec<u32>,
    hashes: RandomState,
    last: u64,
}

impl Memo {
    /// Hashes a notification; nothing else is remembered.
    pub(super) fn hash(&self, event: &Event) -> Option<Hash> {
        let Body::Notification(notification) = &event.body else { return None };
        let Notification { trap_oid, uptime: _, trap_address: _, engine_id: _, varbinds } = notification;
        Some(Hash(self.hashes.hash_one((event.peer, trap_oid, varbinds))))
    }

    /// Finds what became of the same notification.
    pub(super) fn find(&self, Hash(hash): Hash, event: &Event) -> Option<&Entry> {
        self.entries.get(&hash).filter(|entry| says_the_same(&entry.event, event))
    }

    /// Remembers that `event` alone wrote the alert of `known`; `None` when it came for the first time, or is too large to be kept.
    pub(super) fn remember(&mut self, Hash(hash): Hash, event: &Event, known: Known) -> Option<&Entry> {
        let Body::Notification(notification) = &event.body else { return None };
        if !self.came_before(hash) {
            return None;
        }
        let bytes = notification.varbinds.iter().map(|varbind| varbind.value.bytes()).fold(0, usize::saturating_add);
        if notification.varbinds.len() > MAX_VARBINDS || bytes > MAX_VALUE_BYTES {
            return None;
        }
        if self.entries.len() >= MAX_ENTRIES {
            self.entries.clear();
        }
        self.last = self.last.saturating_add(1);
        let writer = Writer(self.last);
        let entry = Entry { event: event.clone(), writer, known };
        Some(self.entries.entry(hash).insert_entry(entry).into_mut())
    }

    /// Marks what has this hash; returns whether it was marked before, which is a guess that costs a copy at worst.
    fn came_before(&mut self, hash: u64) -> bool {
        self.marks.resize(MARKS, 0);
        let [high, low] = [(hash >> 32) as u32, hash as u32];
        let mark = self.marks.get_mut(low as usize % MARKS);
        mark.is_some_and(|mark| std::mem::replace(mark, high) == high)
    }

    /// Forgets all: other rules or names are in force.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }
}

fn says_the_same(one: &Event, other: &Event) -> bool {
    let Event { received: _, peer, transport, authenticity, relay, tls_name, body } = one;
    let same_sender = (*peer, *transport, *authenticity, *relay) == (other.peer, other.transport, other.authenticity, other.relay)
        && *tls_name == other.tls_name;
    let (Body::Notification(one), Body::Notification(other)) = (body, &other.body) else { return false };
    let Notification { trap_oid, uptime: _, trap_address, engine_id, varbinds } = one;
    same_sender
        && *trap_oid == other.trap_oid
        && *trap_address == other.trap_address
        && *engine_id == other.engine_id
        && *varbinds == other.varbinds
}

impl Value {
    /// Bytes besides the value itself.
    const fn bytes(&self) -> usize {
        match self {
            Self::OctetString(bytes) | Self::Opaque(bytes) => bytes.len(),
            Self::Integer(_)
            | Self::Null
            | Self::Oid(_)
            | Self::IpAddress(_)
            | Self::Counter32(_)
            | Self::Gauge32(_)
            | Self::TimeTicks(_)
            | Self::Counter64(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use postern_protocol::alert::Authenticity;
    use postern_protocol::timestamp::Timestamp;
    use proptest::prelude::*;

    use crate::alert::AlertEngine;
    use crate::event::{Body, Event, Notification, Transport, Value, Varbind};
    use crate::rule::RuleIndex;

    /// linkDown, linkUp or an unknown trap, of few devices and interfaces, some with a text that differs.
    fn event() -> impl Strategy<Value = Event> {
        let oid = prop::sample::select(&["1.3.6.1.6.3.1.1.5.3", "1.3.6.1.6.3.1.1.5.4", "1.3.6.1.4.1.55555.0.1"][..]);
        (oid, 0..2_u8, 1..3_i64, prop::option::of("[ab]"), 0..100_000_u32).prop_map(|(oid, peer, index, text, uptime)| {
            let varbind = |name: String, value| Varbind { name: name.parse().unwrap(), value };
            let mut varbinds = vec![varbind(format!("1.3.6.1.2.1.2.2.1.1.{index}"), Value::Integer(index))];
            varbinds.extend(text.map(|text| varbind(format!("1.3.6.1.2.1.2.2.1.2.{index}"), Value::OctetString(text.into_bytes()))));
            let trap_oid = oid.parse().unwrap();
            Event {
                received: Timestamp::from_secs(1),
                peer: [192, 0, 2, peer].into(),
                transport: Transport::Udp,
                authenticity: Authenticity::Community,
                relay: None,
                tls_name: None,
                body: Body::Notification(Notification { trap_oid, uptime, trap_address: None, engine_id: None, varbinds }),
            }
        })
    }

    proptest! {
        #[test]
        fn what_is_remembered_changes_nothing_that_can_be_seen(events in prop::collection::vec((event(), any::<bool>()), 0..60)) {
            let rules = RuleIndex::built_in().unwrap();
            let (mut with, mut without) = (AlertEngine::new(rules.clone()), AlertEngine::new(rules));
            for (at, (event, drain)) in events.iter().enumerate() {
                let now = Timestamp::from_secs(i64::try_from(at).unwrap() + 2);
                let event = Event { received: now, ..event.clone() };
                without.memo.clear();
                prop_assert_eq!(with.handle(&event, now), without.handle(&event, now));
                if *drain {
                    prop_assert_eq!(with.drain_changes(), without.drain_changes());
                }
            }
            prop_assert_eq!(with.checkpoint(), without.checkpoint());
            prop_assert_eq!(with.unknown_oids(), without.unknown_oids());
        }
    }
}
