//! Notifications that neither the dictionary nor a rule names: which, how many, when, from whom. Bounded: a flood of made-up OIDs pushes
//! out what came least often, never what comes all the time.

use std::net::IpAddr;

use postern_protocol::oid::Oid;
use postern_protocol::status::intake::UnknownOid;
use postern_protocol::timestamp::Timestamp;

/// Most OIDs that are kept.
const MAX_OIDS: usize = 256;

/// The counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnknownOids {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    oid: Oid,
    count: u64,
    first: Timestamp,
    last: Timestamp,
    source: IpAddr,
}

impl UnknownOids {
    /// Counts `oid` when it is kept already; says whether it is.
    pub(crate) fn count_again(&mut self, oid: &Oid, source: IpAddr, now: Timestamp) -> bool {
        let Some(entry) = self.entries.iter_mut().find(|entry| entry.oid == *oid) else { return false };
        entry.count = entry.count.saturating_add(1);
        (entry.last, entry.source) = (now, source);
        true
    }

    /// Counts `oid` for the first time; the one that came least often, and of those longest ago, makes room.
    pub(crate) fn count_first(&mut self, oid: &Oid, source: IpAddr, now: Timestamp) {
        let entry = Entry { oid: oid.clone(), count: 1, first: now, last: now, source };
        if self.entries.len() < MAX_OIDS {
            self.entries.push(entry);
        } else if let Some(least) = self.entries.iter_mut().min_by_key(|entry| (entry.count, entry.last)) {
            *least = entry;
        }
    }

    /// Forgets what has a name now.
    pub(crate) fn retain(&mut self, mut unknown: impl FnMut(&Oid) -> bool) {
        self.entries.retain(|entry| unknown(&entry.oid));
    }

    /// Returns all, most frequent first.
    pub(crate) fn report(&self) -> Vec<UnknownOid> {
        let mut entries: Vec<&Entry> = self.entries.iter().collect();
        entries.sort_by(|a, b| (b.count, b.last, &a.oid).cmp(&(a.count, a.last, &b.oid)));
        let reported = entries.into_iter().map(|entry| UnknownOid {
            oid: entry.oid.to_string(),
            count: entry.count,
            first_seen: entry.first.as_nanos(),
            last_seen: entry.last.as_nanos(),
            source: entry.source.to_string(),
        });
        reported.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_often_stays_through_a_flood_of_others() {
        let mut unknown = UnknownOids::default();
        let source = IpAddr::from([10, 0, 0, 1]);
        let often: Oid = "1.3.6.1.4.1.1".parse().unwrap();
        for second in 0..1000 {
            let now = Timestamp::from_secs(second);
            for oid in [often.clone(), format!("1.3.6.1.4.1.2.{second}").parse().unwrap()] {
                if !unknown.count_again(&oid, source, now) {
                    unknown.count_first(&oid, source, now);
                }
            }
        }
        let report = unknown.report();
        assert_eq!((report.len(), report[0].oid.as_str(), report[0].count), (MAX_OIDS, "1.3.6.1.4.1.1", 1000));
        assert_eq!((report[0].first_seen, report[0].last_seen), (0, Timestamp::from_secs(999).as_nanos()));
        assert_eq!(report[1].oid, "1.3.6.1.4.1.2.999");
    }
}
