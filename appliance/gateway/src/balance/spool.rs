//! What the spool has to say about itself, as alerts: how long it lasts, what it gave up, what it cannot read.
//!
//! Pure: facts in, reports out. The task of [`super`] asks every ten seconds.

use std::collections::BTreeMap;

use postern_engine::alert::OwnReport;
use postern_protocol::alert::Severity;
use postern_protocol::status;

use crate::pipeline::Order;

const TIME_LEFT: &str = "spool-time-left";
const EVICTED: &str = "spool-evicted";
const DAMAGED: &str = "spool-damaged";
const FULL: &str = "spool-full";
const QUALIFIER: &str = "spool";

/// Looks after which a spool that gives up nothing more is quiet: five minutes.
const QUIET_LOOKS: u32 = 30;

/// Looks between two reports of a spool that goes on giving up.
const REPEAT_LOOKS: u32 = 6;

/// What was told last.
#[derive(Default)]
pub(super) struct SpoolWatch {
    is_short: Option<bool>,
    is_full: Option<bool>,
    damaged: Option<u64>,
    evicted: Option<Evicted>,
    losses: u64,
    resend_due: bool,
}

struct Evicted {
    told: u64,
    known: u64,
    quiet_looks: u32,
    is_open: bool,
}

/// What a look finds.
#[derive(Clone, Debug)]
pub(super) struct SpoolFacts {
    /// How full it is.
    pub(super) fill: status::Spool,
    /// Whether commits wait for room on the disk.
    pub(super) is_full: bool,
    /// How often the only word on an alert was lost.
    pub(super) losses: u64,
    /// Hours below which time is short.
    pub(super) warn_below_hours: u32,
}

impl SpoolWatch {
    /// Takes in a look; returns what the pipeline is to do.
    pub(super) fn look(&mut self, facts: &SpoolFacts) -> Vec<Order> {
        let mut orders = Vec::new();
        orders.extend(self.time_left(facts));
        orders.extend(self.full(facts));
        orders.extend(self.damaged(&facts.fill));
        orders.extend(self.evicted(&facts.fill));
        // Once nothing is written against a full disk, what lost its last word is said again.
        self.resend_due |= facts.losses > self.losses;
        self.losses = facts.losses;
        if self.resend_due && !facts.is_full {
            self.resend_due = false;
            orders.push(Order::Resend { nonce: 0 });
        }
        orders
    }

    fn time_left(&mut self, facts: &SpoolFacts) -> Option<Order> {
        let limit = u64::from(facts.warn_below_hours).saturating_mul(3600);
        let waits = facts.fill.lanes.values().any(|lane| lane.records > 0);
        let left = facts.fill.seconds_left.filter(|left| waits && *left < limit);
        // It ends with a margin, so that it does not come and go.
        let is_over = facts.fill.seconds_left.is_none_or(|left| !waits || left > limit.saturating_add(limit / 4));
        match (left, self.is_short) {
            (Some(left), before) if before != Some(true) => {
                self.is_short = Some(true);
                let text = duration(left);
                let summary = format!(
                    "the spool is full in {text} at this rate (less than {} h): bring the tunnel back, raise spool.max_bytes, or collect less",
                    facts.warn_below_hours
                );
                Some(own(TIME_LEFT, Severity::Major, summary, [("time_left", text), ("used_bytes", facts.fill.bytes_on_disk.to_string())]))
            }
            (None, Some(true) | None) if is_over => {
                self.is_short = Some(false);
                Some(clear(TIME_LEFT))
            }
            _ => None,
        }
    }

    fn full(&mut self, facts: &SpoolFacts) -> Option<Order> {
        if self.is_full == Some(facts.is_full) {
            return None;
        }
        self.is_full = Some(facts.is_full);
        if !facts.is_full {
            return Some(clear(FULL));
        }
        let summary = "the disk of the spool is full and nothing is left to give up: free some room; informs stay unanswered until then";
        Some(own(FULL, Severity::Critical, summary.to_owned(), [("used_bytes", facts.fill.bytes_on_disk.to_string())]))
    }

    fn damaged(&mut self, fill: &status::Spool) -> Option<Order> {
        let unreadable = fill.damaged_records.saturating_add(fill.locked_records);
        if self.damaged == Some(unreadable) {
            return None;
        }
        self.damaged = Some(unreadable);
        if unreadable == 0 {
            return Some(clear(DAMAGED));
        }
        let (damaged, locked) = (fill.damaged_records, fill.locked_records);
        let summary = if locked > 0 {
            format!(
                "{locked} records of the spool are sealed under another machine key and {damaged} are damaged: start with the key that \
                 they were written under to send them, and check the disk"
            )
        } else {
            format!("{damaged} records of the spool are damaged: check the disk; copies of the files are kept for inspection")
        };
        let labels = [("damaged", damaged.to_string()), ("other_key", locked.to_string()), ("files", fill.damaged_files.join(", "))];
        Some(own(DAMAGED, Severity::Major, summary, labels))
    }

    /// What no newer record supersedes counts; alerts' superseded revisions lose nothing.
    fn evicted(&mut self, fill: &status::Spool) -> Option<Order> {
        let lost = fill.evicted_by_reason.iter().filter(|(reason, _)| *reason != "superseded");
        let lost = lost.fold(0_u64, |sum, (_, records)| sum.saturating_add(*records));
        let Some(evicted) = &mut self.evicted else {
            self.evicted = Some(Evicted { told: lost, known: lost, quiet_looks: 0, is_open: true });
            return None;
        };
        evicted.quiet_looks = if lost > evicted.known { 0 } else { evicted.quiet_looks.saturating_add(1) };
        evicted.known = lost;
        let more = lost.saturating_sub(evicted.told);
        let is_due = more > 0 && (!evicted.is_open || evicted.quiet_looks.is_multiple_of(REPEAT_LOOKS));
        if is_due {
            (evicted.told, evicted.is_open) = (lost, true);
            let by_lane: Vec<_> =
                fill.lanes.iter().filter(|(_, lane)| lane.evicted > 0).map(|(name, lane)| format!("{name} {}", lane.evicted)).collect();
            let summary = format!(
                "the spool gave up {more} records for want of room (since it was made: {}): bring the tunnel back, raise \
                 spool.max_bytes, or free the disk",
                by_lane.join(", ")
            );
            return Some(own(EVICTED, Severity::Major, summary, [("records", more.to_string()), ("by_lane", by_lane.join(", "))]));
        }
        if evicted.is_open && evicted.quiet_looks >= QUIET_LOOKS {
            evicted.is_open = false;
            return Some(clear(EVICTED));
        }
        None
    }
}

fn own<const N: usize>(kind: &str, severity: Severity, summary: String, labels: [(&str, String); N]) -> Order {
    let labels: BTreeMap<_, _> = labels.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Order::Own(OwnReport { kind: kind.to_owned(), qualifier: QUALIFIER.to_owned(), severity, summary, labels })
}

fn clear(kind: &'static str) -> Order {
    Order::OwnClear { kind, qualifier: QUALIFIER.to_owned() }
}

/// Writes a time as people say it: `9 d 4 h`, `3 h 20 min`, `5 min`.
fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes} min"),
        (0, hours) => format!("{hours} h {minutes} min"),
        (days, hours) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use postern_protocol::status::LaneFill;

    use super::*;

    fn facts() -> SpoolFacts {
        let fill = status::Spool {
            lanes: [("samples".to_owned(), LaneFill { records: 5, bytes: 900, evicted: 0 })].into(),
            bytes_on_disk: 1000,
            seconds_left: Some(9 * 86_400 + 4 * 3600),
            quota_bytes: 4 << 30,
            damaged_records: 0,
            damaged_files: Vec::new(),
            evicted_by_reason: BTreeMap::new(),
            locked_records: 0,
        };
        SpoolFacts { fill, is_full: false, losses: 0, warn_below_hours: 24 }
    }

    fn told(orders: &[Order]) -> Vec<String> {
        orders
            .iter()
            .map(|order| match order {
                Order::Own(report) => format!("{}: {}", report.kind, report.summary),
                Order::OwnClear { kind, .. } => format!("{kind} over"),
                Order::Resend { .. } => "resend".to_owned(),
                _ => "?".to_owned(),
            })
            .collect()
    }

    fn settled() -> SpoolWatch {
        let mut watch = SpoolWatch::default();
        watch.look(&facts());
        watch
    }

    #[test]
    fn a_first_look_ends_what_an_earlier_run_left_open() {
        let orders = SpoolWatch::default().look(&facts());
        assert_eq!(told(&orders), ["spool-time-left over", "spool-full over", "spool-damaged over"]);
        assert!(settled().look(&facts()).is_empty(), "and says nothing twice");
    }

    #[test]
    fn time_that_gets_short_is_told_once_and_is_over_with_a_margin() {
        let mut watch = settled();
        let mut short = facts();
        short.fill.seconds_left = Some(3 * 3600 + 1200);
        let orders = told(&watch.look(&short));
        assert!(orders[0].starts_with("spool-time-left: the spool is full in 3 h 20 min at this rate (less than 24 h)"), "{orders:?}");
        assert!(watch.look(&short).is_empty());
        short.fill.seconds_left = Some(25 * 3600);
        assert!(watch.look(&short).is_empty());
        short.fill.seconds_left = Some(31 * 3600);
        assert_eq!(told(&watch.look(&short)), ["spool-time-left over"]);
    }

    #[test]
    fn a_spool_that_is_drained_at_once_is_not_short_of_time() {
        let mut watch = settled();
        let mut busy = facts();
        busy.fill.seconds_left = Some(60);
        busy.fill.lanes.clear();
        assert!(watch.look(&busy).is_empty());
    }

    #[test]
    fn what_is_given_up_is_told_by_lane_and_is_over_after_five_quiet_minutes() {
        let mut watch = settled();
        let mut less = facts();
        for _ in 0..QUIET_LOOKS {
            watch.look(&less);
        }
        less.fill.evicted_by_reason = [("quota".to_owned(), 7), ("superseded".to_owned(), 100)].into();
        less.fill.lanes.insert("samples".to_owned(), LaneFill { records: 5, bytes: 900, evicted: 7 });
        let orders = told(&watch.look(&less));
        assert!(orders[0].contains("gave up 7 records") && orders[0].contains("samples 7"), "{orders:?}");
        let later: Vec<_> = (0..QUIET_LOOKS).flat_map(|_| told(&watch.look(&less))).collect();
        assert_eq!(later, ["spool-evicted over"]);
    }

    #[test]
    fn damage_a_full_disk_and_a_lost_last_word_are_told_and_healed() {
        let mut watch = settled();
        let mut bad = facts();
        (bad.fill.damaged_records, bad.is_full, bad.losses) = (3, true, 1);
        let orders = told(&watch.look(&bad));
        assert!(orders[0].starts_with("spool-full") && orders[1].starts_with("spool-damaged: 3 records"), "{orders:?}");
        assert_eq!(orders.len(), 2, "nothing is sent again while the disk is full");
        bad.is_full = false;
        assert_eq!(told(&watch.look(&bad)), ["spool-full over", "resend"]);
        bad.fill.locked_records = 9;
        assert!(told(&watch.look(&bad))[0].contains("9 records of the spool are sealed under another machine key"));
    }
}
