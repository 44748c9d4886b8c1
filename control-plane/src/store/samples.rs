//! Measurements: committed with their lane's cursor, listed page by page, forgotten after [`KEPT`].
//!
//! Idempotent twice: a record at or below the cursor is skipped, and of one series and moment the first value stays.

use std::time::Duration;

use postern_protocol::id::{Epoch, GatewayId, Lane, Sequence};
use postern_protocol::sample::Sample;
use postern_protocol::timestamp::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params, params_from_iter};
use serde::Serialize;

use super::alerts::Page;
use super::cursors::{self, Place};
use super::{StoreError, TenantStore};

/// How long measurements are kept.
pub const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// Measurements that one transaction forgets at most, so that others get their turn at the writer.
const FORGET_AT_ONCE: i64 = 5_000;

/// Series of a gateway that are listed.
const MAX_SERIES: i64 = 1_000;

/// Records of the samples lane, in order and without a gap among themselves.
#[derive(Clone, Debug, PartialEq)]
pub struct SampleBatch {
    /// Epoch of the sequences.
    pub epoch: Epoch,
    /// Sequence of the first record, at least 1.
    pub first_sequence: Sequence,
    /// The records.
    pub samples: Vec<Sample>,
}

/// Which measurements are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SampleFilter {
    /// Of this gateway.
    pub gateway: Option<String>,
    /// Of this resource.
    pub resource: Option<String>,
    /// Of this metric.
    pub metric: Option<String>,
    /// At this moment or later.
    pub from: Option<Timestamp>,
    /// Before this moment.
    pub to: Option<Timestamp>,
}

/// A measurement as the API shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SampleView {
    /// The gateway that sent it.
    pub gateway: String,
    /// The thing that was measured.
    pub resource: String,
    /// What was measured.
    pub metric: String,
    /// The number.
    pub value: f64,
    /// Its unit; empty for a bare number.
    pub unit: String,
    /// When.
    #[serde(serialize_with = "crate::rfc3339::serialize")]
    pub at: Timestamp,
    /// Further facts by name.
    pub labels: serde_json::Value,
    #[serde(skip)]
    series: i64,
}

/// Where a page of measurements goes on: behind the moment and series of the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleCursor {
    at: Timestamp,
    series: i64,
}

impl SampleCursor {
    /// Reads the text of a cursor; `None` if it was altered.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = data_encoding::BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
        let (at, series) = bytes.split_first_chunk::<8>()?;
        Some(Self { at: Timestamp::from_nanos(i64::from_be_bytes(*at)), series: i64::from_be_bytes(series.try_into().ok()?) })
    }

    fn text(self) -> String {
        data_encoding::BASE64URL_NOPAD.encode(&[self.at.as_nanos().to_be_bytes(), self.series.to_be_bytes()].concat())
    }
}

/// A series and its newest measurement.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its number.
    pub number: i64,
    /// The thing that is measured.
    pub resource: String,
    /// What is measured.
    pub metric: String,
    /// Its unit; empty for a bare number.
    pub unit: String,
    /// When it was measured last.
    pub last_at: Timestamp,
    /// The last value.
    pub last: f64,
}

impl TenantStore {
    /// Commits records of `gateway`'s samples lane; others get their turn first.
    ///
    /// # Errors
    /// [`StoreError`] from the database; nothing is committed then.
    pub async fn apply_samples(&self, gateway: &GatewayId, batch: SampleBatch, now: Timestamp) -> Result<cursors::Advanced, StoreError> {
        let gateway = gateway.clone();
        self.write_in_turn(move |tx| apply(tx, &gateway, &batch, now)).await
    }

    /// Lists measurements, newest first, at most `limit`, from `cursor` on.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn list_samples(
        &self,
        filter: SampleFilter,
        limit: usize,
        cursor: Option<SampleCursor>,
    ) -> Result<Page<SampleView>, StoreError> {
        self.read(move |db| list(db, filter, limit, cursor)).await
    }

    /// Returns the series of `gateway`, by resource and metric.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn sample_series(&self, gateway: &GatewayId) -> Result<Vec<Series>, StoreError> {
        let gateway = gateway.clone();
        self.read(move |db| {
            let mut statement = db.prepare_cached(
                "SELECT number, resource, metric, unit, at, value FROM sample_series
                 JOIN sample ON series = number AND at = (SELECT max(at) FROM sample WHERE series = number)
                 WHERE gateway = ?1 ORDER BY resource, metric, number LIMIT ?2",
            )?;
            let rows = statement.query_map(params![gateway.as_str(), MAX_SERIES], |row| {
                Ok(Series {
                    number: row.get(0)?,
                    resource: row.get(1)?,
                    metric: row.get(2)?,
                    unit: row.get(3)?,
                    last_at: Timestamp::from_nanos(row.get(4)?),
                    last: row.get(5)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Returns moments and values of a series of `gateway` since `from`, oldest first, at most the newest `most`.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn sample_course(
        &self,
        gateway: &GatewayId,
        series: i64,
        from: Timestamp,
        most: u32,
    ) -> Result<Vec<(Timestamp, f64)>, StoreError> {
        let gateway = gateway.clone();
        self.read(move |db| {
            let mut statement = db.prepare_cached(
                "SELECT at, value FROM sample JOIN sample_series ON number = series
                 WHERE series = ?1 AND gateway = ?2 AND at >= ?3 ORDER BY at DESC LIMIT ?4",
            )?;
            let rows = statement.query_map(params![series, gateway.as_str(), from.as_nanos(), most], |row| {
                Ok((Timestamp::from_nanos(row.get(0)?), row.get(1)?))
            })?;
            let mut course: Vec<_> = rows.collect::<Result<_, _>>()?;
            course.reverse();
            Ok(course)
        })
        .await
    }

    /// Forgets measurements that are older than [`KEPT`], some thousands in one transaction, and series that have none left.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn forget_samples(&self, now: Timestamp) -> Result<u64, StoreError> {
        let before = now.as_nanos().saturating_sub(i64::try_from(KEPT.as_nanos()).unwrap_or(i64::MAX));
        let mut forgotten = 0_u64;
        loop {
            let gone = self.write_in_turn(move |tx| forget(tx, before)).await?;
            forgotten = forgotten.saturating_add(gone);
            if gone == 0 {
                return Ok(forgotten);
            }
        }
    }
}

/// Applies records in one transaction with their lane's cursor: what [`TenantStore::apply_samples`] does.
///
/// # Errors
/// [`StoreError`] from the database.
pub fn apply(tx: &Transaction<'_>, gateway: &GatewayId, batch: &SampleBatch, now: Timestamp) -> Result<cursors::Advanced, StoreError> {
    let place = Place { lane: Lane::Samples, epoch: batch.epoch, first: batch.first_sequence, records: batch.samples.len() };
    let advanced = cursors::take(tx, gateway, place, now)?;
    let mut known: Option<(&Sample, i64)> = None;
    for sample in batch.samples.iter().skip(advanced.repeated) {
        // One series often comes several times in a row.
        let number = match known.filter(|(other, _)| is_same_series(other, sample)) {
            Some((_, number)) => number,
            None => series(tx, gateway, sample)?,
        };
        known = Some((sample, number));
        tx.prepare_cached("INSERT OR IGNORE INTO sample (series, at, value) VALUES (?1, ?2, ?3)")?.execute(params![
            number,
            sample.at.as_nanos(),
            sample.value
        ])?;
    }
    Ok(advanced)
}

fn is_same_series(one: &Sample, other: &Sample) -> bool {
    one.resource == other.resource && one.metric == other.metric && one.unit == other.unit && one.labels == other.labels
}

/// Returns the number of the series, which is made if it is new.
fn series(tx: &Transaction<'_>, gateway: &GatewayId, sample: &Sample) -> Result<i64, StoreError> {
    let labels = serde_json::to_string(&sample.labels).map_err(|_| StoreError::Corrupt("label"))?;
    let key = params![gateway.as_str(), sample.resource, sample.metric, sample.unit, labels];
    let found = tx
        .prepare_cached(
            "SELECT number FROM sample_series WHERE gateway = ?1 AND resource = ?2 AND metric = ?3 AND unit = ?4 AND labels = ?5",
        )?
        .query_row(key, |row| row.get(0))
        .optional()?;
    if let Some(number) = found {
        return Ok(number);
    }
    tx.prepare_cached("INSERT INTO sample_series (gateway, resource, metric, unit, labels) VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(key)?;
    Ok(tx.last_insert_rowid())
}

fn list(db: &Connection, filter: SampleFilter, limit: usize, cursor: Option<SampleCursor>) -> Result<Page<SampleView>, StoreError> {
    use rusqlite::types::Value;
    let mut terms = vec!["1 = 1"];
    let mut values = Vec::new();
    for (term, wanted) in [("gateway = ?", filter.gateway), ("resource = ?", filter.resource), ("metric = ?", filter.metric)] {
        if let Some(wanted) = wanted {
            terms.push(term);
            values.push(Value::Text(wanted));
        }
    }
    for (term, moment) in [("at >= ?", filter.from), ("at < ?", filter.to)] {
        if let Some(moment) = moment {
            terms.push(term);
            values.push(Value::Integer(moment.as_nanos()));
        }
    }
    if let Some(SampleCursor { at, series }) = cursor {
        terms.push("at <= ? AND (at < ? OR series > ?)");
        values.extend([Value::Integer(at.as_nanos()), Value::Integer(at.as_nanos()), Value::Integer(series)]);
    }
    values.push(Value::Integer(i64::try_from(limit).unwrap_or(0).saturating_add(1)));
    // The series first: they are few, and the measurements of each lie together by time.
    let sql = format!(
        "SELECT gateway, resource, metric, value, unit, at, labels, series FROM sample_series CROSS JOIN sample ON series = number
         WHERE {} ORDER BY at DESC, series LIMIT ?",
        terms.join(" AND ")
    );
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut items = Vec::new();
    while let Some(row) = rows.next()? {
        let labels: String = row.get(6)?;
        items.push(SampleView {
            gateway: row.get(0)?,
            resource: row.get(1)?,
            metric: row.get(2)?,
            value: row.get(3)?,
            unit: row.get(4)?,
            at: Timestamp::from_nanos(row.get(5)?),
            labels: serde_json::from_str(&labels).map_err(|_| StoreError::Corrupt("label"))?,
            series: row.get(7)?,
        });
    }
    let more = items.len() > limit;
    items.truncate(limit);
    let next_cursor = items.last().filter(|_| more).map(|last| SampleCursor { at: last.at, series: last.series }.text());
    Ok(Page { items, next_cursor })
}

fn forget(tx: &Transaction<'_>, before: i64) -> Result<u64, StoreError> {
    let gone = tx
        .prepare_cached(
            "DELETE FROM sample WHERE (series, at) IN
             (SELECT series, at FROM sample_series CROSS JOIN sample ON series = number WHERE at < ?1 LIMIT ?2)",
        )?
        .execute(params![before, FORGET_AT_ONCE])?;
    if gone == 0 {
        tx.prepare_cached("DELETE FROM sample_series WHERE NOT EXISTS (SELECT 1 FROM sample WHERE series = number)")?.execute([])?;
    }
    Ok(gone as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(100 * 24 * 3600);

    struct Site {
        _folder: tempfile::TempDir,
        store: TenantStore,
        gateway: GatewayId,
    }

    impl Site {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let store = TenantStore::open(&folder.path().join("t.db")).unwrap();
            Self { _folder: folder, store, gateway: GatewayId::new("gw").unwrap() }
        }

        async fn apply(&self, first: u64, samples: Vec<Sample>) -> cursors::Advanced {
            let batch = SampleBatch { epoch: Epoch(7), first_sequence: Sequence(first), samples };
            self.store.apply_samples(&self.gateway, batch, NOW).await.unwrap()
        }

        async fn values(&self) -> Vec<f64> {
            let page = self.store.list_samples(SampleFilter::default(), 1000, None).await.unwrap();
            page.items.into_iter().map(|item| item.value).collect()
        }
    }

    fn sample(resource: &str, secs: i64, value: f64) -> Sample {
        let at = Timestamp::from_secs(secs);
        Sample {
            resource: resource.into(),
            metric: "cpu.load".into(),
            value,
            unit: "%".into(),
            at,
            labels: [("core".into(), "1".into())].into(),
        }
    }

    #[tokio::test]
    async fn a_repetition_changes_nothing_whether_the_cursor_knows_it_or_not() {
        let site = Site::new();
        let samples = vec![sample("a", 10, 1.0), sample("a", 20, 2.0), sample("b", 10, 3.0)];
        assert_eq!(site.apply(1, samples.clone()).await.committed, Sequence(3));
        assert_eq!(site.apply(1, samples.clone()).await, cursors::Advanced { committed: Sequence(3), repeated: 3, skipped: 0 });
        // Under other sequences, as from a restored disk, and with another value: the first stays.
        assert_eq!(site.apply(4, vec![sample("a", 10, 9.0)]).await.committed, Sequence(4));
        assert_eq!(site.values().await, [2.0, 1.0, 3.0]);
    }

    #[tokio::test]
    async fn what_overlaps_is_taken_from_the_first_new_record_on_and_a_gap_is_counted() {
        let site = Site::new();
        site.apply(1, vec![sample("a", 1, 1.0), sample("a", 2, 2.0)]).await;
        assert_eq!(site.apply(2, vec![sample("a", 2, 0.0), sample("a", 3, 3.0)]).await.committed, Sequence(3));
        assert_eq!(site.apply(10, vec![sample("a", 4, 4.0)]).await.skipped, 6);
        assert_eq!(site.values().await, [4.0, 3.0, 2.0, 1.0]);
        assert!(!site.store.has_open_gap(&site.gateway).await.unwrap(), "nobody can send them again");
    }

    #[tokio::test]
    async fn pages_neither_repeat_nor_miss_what_was_measured_at_one_moment() {
        let site = Site::new();
        let samples = (0..25).map(|n| sample(&format!("r{n}"), i64::from(n / 10), f64::from(n))).collect();
        site.apply(1, samples).await;
        let (mut cursor, mut seen) = (None, Vec::new());
        loop {
            let page = site.store.list_samples(SampleFilter::default(), 7, cursor).await.unwrap();
            seen.extend(page.items.into_iter().map(|item| item.resource));
            let Some(next) = page.next_cursor else { break };
            cursor = Some(SampleCursor::parse(&next).unwrap());
        }
        assert_eq!(seen.len(), 25);
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 25);
        assert_eq!(SampleCursor::parse("AAAA"), None);
    }

    #[tokio::test]
    async fn filters_narrow_the_list() {
        let site = Site::new();
        site.apply(1, vec![sample("a", 10, 1.0), sample("a", 20, 2.0), sample("b", 20, 3.0)]).await;
        let filter = |resource: Option<&str>, from, to| SampleFilter {
            gateway: Some("gw".to_owned()),
            resource: resource.map(str::to_owned),
            metric: Some("cpu.load".to_owned()),
            from: Some(Timestamp::from_secs(from)),
            to: Some(Timestamp::from_secs(to)),
        };
        for (filter, expected) in [(filter(Some("a"), 0, 20), 1), (filter(None, 20, 21), 2), (filter(Some("c"), 0, 99), 0)] {
            assert_eq!(site.store.list_samples(filter.clone(), 10, None).await.unwrap().items.len(), expected, "{filter:?}");
        }
        let other = SampleFilter { gateway: Some("other".to_owned()), ..SampleFilter::default() };
        assert!(site.store.list_samples(other, 10, None).await.unwrap().items.is_empty());
    }

    #[tokio::test]
    async fn what_is_older_than_thirty_days_is_forgotten_with_its_series() {
        let site = Site::new();
        let old = NOW.as_secs() - 30 * 24 * 3600 - 1;
        let samples = (0..12_000).map(|n| sample("old", old - n, 1.0)).chain([sample("new", old + 2, 2.0)]).collect();
        site.apply(1, samples).await;
        assert_eq!(site.store.forget_samples(NOW).await.unwrap(), 12_000);
        assert_eq!(site.values().await, [2.0]);
        assert_eq!(site.store.sample_series(&site.gateway).await.unwrap().len(), 1);
    }
}
