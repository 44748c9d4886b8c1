//! Rates: a rule raises only when a number changes too fast or too slowly from one report of an alert to the next.

use postern_protocol::revision::noise::Rate;
use postern_protocol::timestamp::Timestamp;

use super::Reported;
use super::recent::{Digest, Recent};

/// Most alerts whose last number is remembered.
const MAX_KEYS: usize = 32_768;

/// The last number of each alert, and when it came.
#[derive(Debug)]
pub(super) struct Rates(Recent<Last>);

/// A number and its time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Last {
    pub(super) number: f64,
    pub(super) at: Timestamp,
}

impl Default for Rates {
    fn default() -> Self {
        Self(Recent::of_at_most(MAX_KEYS))
    }
}

impl Rates {
    /// Takes a report's number; returns the change in `per_s` seconds when it is beyond a limit. The first report of an alert, one
    /// without a number, and one at the time of the one before tell nothing.
    pub(super) fn report(&mut self, report: Reported<'_>, rate: &Rate, (number, at): (Option<f64>, Timestamp)) -> Option<f64> {
        let number = number.filter(|number| number.is_finite())?;
        let Reported { rule, key, source: _ } = report;
        let digest = Digest::of(&[rule, &key.resource, &key.kind, &key.qualifier]);
        let Some(last) = self.0.touch(digest) else {
            self.0.insert(digest, Last { number, at });
            return None;
        };
        if at < last.at {
            // The clock was set back: begin anew.
            *last = Last { number, at };
            return None;
        }
        let elapsed = at.saturating_since(last.at);
        if elapsed.is_zero() {
            return None;
        }
        let change = (number - last.number) / elapsed.as_secs_f64() * f64::from(rate.per_s);
        *last = Last { number, at };
        let beyond = rate.above.is_some_and(|above| change > above) || rate.below.is_some_and(|below| change < below);
        beyond.then_some(change)
    }

    /// Returns what is remembered.
    pub(super) const fn table(&self) -> &Recent<Last> {
        &self.0
    }

    /// Returns what is remembered, to put back what a checkpoint holds.
    pub(super) const fn table_mut(&mut self) -> &mut Recent<Last> {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use postern_protocol::alert::AlertKey;

    use super::*;

    /// What each report, of a number at a time, gave.
    fn changes(above: Option<f64>, below: Option<f64>, reports: &[(Option<f64>, i64)]) -> Vec<Option<f64>> {
        let mut rates = Rates::default();
        let rate = Rate { of: "n".to_owned(), per_s: 60, above, below };
        let key = AlertKey { resource: "a".to_owned(), kind: "k".to_owned(), qualifier: String::new() };
        let report = |(number, at): &(Option<f64>, i64)| {
            rates.report(Reported { rule: "r", key: &key, source: "s" }, &rate, (*number, Timestamp::from_secs(*at)))
        };
        reports.iter().map(report).collect()
    }

    #[test]
    fn growth_beyond_the_limit_is_told_and_the_limit_itself_is_none() {
        let reports = [(Some(0.0), 0), (Some(100.0), 60), (Some(201.0), 120), (Some(202.0), 121), (Some(203.0), 181)];
        assert_eq!(changes(Some(100.0), None, &reports), [None, None, Some(101.0), None, None]);
    }

    #[test]
    fn a_fall_is_told_by_a_negative_limit() {
        assert_eq!(changes(None, Some(-10.0), &[(Some(50.0), 0), (Some(45.0), 60), (Some(20.0), 120)]), [None, None, Some(-25.0)]);
    }

    #[test]
    fn what_tells_nothing_is_passed_over() {
        let reports = [(Some(0.0), 0), (None, 1), (Some(f64::NAN), 2), (Some(9e9), 0), (Some(60.0), 60)];
        assert_eq!(changes(Some(50.0), None, &reports), [None, None, None, None, Some(60.0)]);
        let set_back = [(Some(0.0), 100), (Some(500.0), 10), (Some(501.0), 70)];
        assert_eq!(changes(Some(50.0), None, &set_back), [None, None, None]);
    }
}
