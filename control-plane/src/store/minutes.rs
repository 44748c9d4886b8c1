//! The ledger's minutes of a tenant's gateways, and the busiest sources in them. A repetition replaces; old ones are pruned.

use std::collections::BTreeMap;

use postern_protocol::id::GatewayId;
use postern_protocol::status::{Account, SourceAccount};
use postern_protocol::timestamp::Timestamp;
use rusqlite::{Connection, Row, Transaction, params};

use super::{StoreError, TenantStore};

/// Minutes that are kept: 30 days.
pub const KEPT_MINUTES: u64 = 30 * 24 * 60;

/// Minutes of which the sources are kept: 7 days.
pub const KEPT_SOURCE_MINUTES: u64 = 7 * 24 * 60;

/// What became of what one protocol received in one minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Minute {
    /// Minutes since the Unix epoch.
    pub minute: u64,
    /// `snmp_trap`, `syslog` or `push`.
    pub protocol: String,
    /// Its account; `in_flight` at the end of the minute.
    pub account: Account,
    /// The busiest sources; none when the gateway has forgotten them, which leaves those that it named before.
    pub sources: Vec<SourceAccount>,
}

/// Minutes from one (included) to another (not included), since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first minute.
    pub from: u64,
    /// The first minute that is not in it.
    pub to: u64,
}

impl Span {
    /// Returns how many minutes it has.
    pub fn minutes(self) -> u64 {
        self.to.saturating_sub(self.from)
    }
}

/// The minutes of a span, with what the balance needs to know besides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Minutes {
    /// By ascending minute and protocol, without sources.
    pub minutes: Vec<Minute>,
    /// What was in flight before the span, by protocol; a protocol without an earlier minute is not there.
    pub before: BTreeMap<String, u64>,
    /// The first minute that is kept of the gateway.
    pub first: Option<u64>,
    /// The last one.
    pub last: Option<u64>,
}

impl TenantStore {
    /// Stores minutes of `gateway` in one transaction and forgets those that are too old.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn put_minutes(&self, gateway: &GatewayId, minutes: Vec<Minute>, now: Timestamp) -> Result<(), StoreError> {
        let gateway = gateway.clone();
        self.write_lazily(move |tx| {
            for minute in &minutes {
                put(tx, gateway.as_str(), minute)?;
            }
            forget(tx, &gateway, now)
        })
        .await
    }

    /// Forgets minutes of `gateway` that are too old: for one that sends none any more.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn forget_minutes(&self, gateway: &GatewayId, now: Timestamp) -> Result<(), StoreError> {
        let gateway = gateway.clone();
        self.write_in_turn(move |tx| forget(tx, &gateway, now)).await
    }

    /// Returns the minutes of `gateway` in `span`.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn minutes(&self, gateway: &GatewayId, span: Span) -> Result<Minutes, StoreError> {
        let gateway = gateway.clone();
        self.read(move |db| {
            let (first, last) = db
                .prepare_cached("SELECT min(minute), max(minute) FROM ledger_minute WHERE gateway = ?1")?
                .query_row([gateway.as_str()], |row| Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?)))?;
            let mut statement = db.prepare_cached(
                "SELECT protocol, received, accepted, in_flight, dropped, minute FROM ledger_minute
                 WHERE gateway = ?1 AND minute >= ?2 AND minute < ?3 ORDER BY minute, protocol",
            )?;
            let mut rows = statement.query(params![gateway.as_str(), number(span.from), number(span.to)])?;
            let mut minutes = Vec::new();
            while let Some(row) = rows.next()? {
                let account = Account { in_flight: count(row, 3)?, ..account(row, 1, 4)? };
                minutes.push(Minute { minute: count(row, 5)?, protocol: row.get(0)?, account, sources: Vec::new() });
            }
            let before = before(db, gateway.as_str(), span.from)?;
            let known = |minute: Option<i64>| minute.and_then(|minute| u64::try_from(minute).ok());
            Ok(Minutes { minutes, before, first: known(first), last: known(last) })
        })
        .await
    }

    /// Sums up the busiest sources of `gateway` in `span`: the `most` that sent most.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn minute_sources(&self, gateway: &GatewayId, span: Span, most: usize) -> Result<Vec<SourceAccount>, StoreError> {
        let gateway = gateway.clone();
        self.read(move |db| {
            let mut statement = db.prepare_cached(
                "SELECT protocol, received, accepted, dropped, source FROM ledger_source
                 WHERE gateway = ?1 AND minute >= ?2 AND minute < ?3",
            )?;
            let mut rows = statement.query(params![gateway.as_str(), number(span.from), number(span.to)])?;
            let mut sums: BTreeMap<(String, String), Account> = BTreeMap::new();
            while let Some(row) = rows.next()? {
                add(sums.entry((row.get(4)?, row.get(0)?)).or_default(), &account(row, 1, 3)?);
            }
            let mut sources: Vec<_> =
                sums.into_iter().map(|((source, protocol), account)| SourceAccount { source, protocol, account }).collect();
            sources.sort_by_key(|one| std::cmp::Reverse(one.account.received));
            sources.truncate(most);
            Ok(sources)
        })
        .await
    }
}

/// Returns the minute that `at` lies in.
pub fn minute_of(at: Timestamp) -> u64 {
    u64::try_from(at.as_secs().div_euclid(60)).unwrap_or(0)
}

/// Adds one account to another.
pub fn add(sum: &mut Account, one: &Account) {
    sum.received = sum.received.saturating_add(one.received);
    sum.accepted = sum.accepted.saturating_add(one.accepted);
    for (reason, count) in &one.dropped {
        let dropped = sum.dropped.entry(reason.clone()).or_default();
        *dropped = dropped.saturating_add(*count);
    }
}

fn forget(tx: &Transaction<'_>, gateway: &GatewayId, now: Timestamp) -> Result<(), StoreError> {
    let present = minute_of(now);
    for (table, kept) in [("ledger_minute", KEPT_MINUTES), ("ledger_source", KEPT_SOURCE_MINUTES)] {
        let sql = format!("DELETE FROM {table} WHERE gateway = ?1 AND minute < ?2");
        tx.prepare_cached(&sql)?.execute(params![gateway.as_str(), number(present.saturating_sub(kept))])?;
    }
    Ok(())
}

fn put(tx: &Transaction<'_>, gateway: &str, one: &Minute) -> Result<(), StoreError> {
    let account = &one.account;
    // A repetition that says nothing new writes nothing: a session begins with everything that the gateway still knows.
    tx.prepare_cached(
        "INSERT INTO ledger_minute (gateway, minute, protocol, received, accepted, in_flight, dropped) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (gateway, minute, protocol) DO UPDATE SET received = ?4, accepted = ?5, in_flight = ?6, dropped = ?7
         WHERE received <> ?4 OR accepted <> ?5 OR in_flight <> ?6 OR dropped <> ?7",
    )?
    .execute(params![
        gateway,
        number(one.minute),
        one.protocol,
        number(account.received),
        number(account.accepted),
        number(account.in_flight),
        reasons(account)?
    ])?;
    for source in &one.sources {
        tx.prepare_cached(
            "INSERT INTO ledger_source (gateway, minute, protocol, source, received, accepted, dropped) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (gateway, minute, protocol, source) DO UPDATE SET received = ?5, accepted = ?6, dropped = ?7
             WHERE received <> ?5 OR accepted <> ?6 OR dropped <> ?7",
        )?
        .execute(params![
            gateway,
            number(one.minute),
            one.protocol,
            source.source,
            number(source.account.received),
            number(source.account.accepted),
            reasons(&source.account)?
        ])?;
    }
    Ok(())
}

/// What was in flight at the last minute before `from`. All protocols of a minute come together, so one look back is enough.
fn before(db: &Connection, gateway: &str, from: u64) -> Result<BTreeMap<String, u64>, StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT protocol, in_flight, max(minute) FROM ledger_minute
         WHERE gateway = ?1 AND minute < ?2 AND minute >= ?2 - 1440 GROUP BY protocol",
    )?;
    let mut rows = statement.query(params![gateway, number(from)])?;
    let mut before = BTreeMap::new();
    while let Some(row) = rows.next()? {
        before.insert(row.get(0)?, count(row, 1)?);
    }
    Ok(before)
}

fn account(row: &Row<'_>, received: usize, dropped: usize) -> Result<Account, StoreError> {
    Ok(Account {
        received: count(row, received)?,
        accepted: count(row, received.saturating_add(1))?,
        in_flight: 0,
        dropped: serde_json::from_str(&row.get::<_, String>(dropped)?).map_err(|_| StoreError::Corrupt("drop reasons"))?,
    })
}

fn count(row: &Row<'_>, column: usize) -> Result<u64, StoreError> {
    u64::try_from(row.get::<_, i64>(column)?).map_err(|_| StoreError::Corrupt("count"))
}

fn reasons(account: &Account) -> Result<String, StoreError> {
    serde_json::to_string(&account.dropped).map_err(|_| StoreError::Corrupt("drop reasons"))
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(minute: u64, received: u64, in_flight: u64) -> Minute {
        let dropped = BTreeMap::from([("malformed".to_owned(), 1)]);
        let account = Account { received, accepted: received - 1 - in_flight, in_flight, dropped: dropped.clone() };
        let source = Account { in_flight: 0, ..account.clone() };
        let sources = vec![SourceAccount { source: "10.0.0.1".into(), protocol: "syslog".into(), account: source }];
        Minute { minute, protocol: "syslog".into(), account, sources }
    }

    fn store() -> (tempfile::TempDir, TenantStore, GatewayId) {
        let folder = tempfile::tempdir().unwrap();
        let store = TenantStore::open(&folder.path().join("t.db")).unwrap();
        (folder, store, GatewayId::new("gw").unwrap())
    }

    #[tokio::test]
    async fn a_repetition_replaces_and_keeps_the_sources_that_it_no_longer_names() {
        let (_folder, store, gateway) = store();
        let now = Timestamp::from_secs(1000 * 60);
        store.put_minutes(&gateway, vec![minute(998, 10, 2), minute(999, 20, 0)], now).await.unwrap();
        let again = Minute { sources: Vec::new(), ..minute(999, 30, 0) };
        store.put_minutes(&gateway, vec![again], now).await.unwrap();
        let found = store.minutes(&gateway, Span { from: 999, to: 1000 }).await.unwrap();
        assert_eq!((found.minutes.len(), found.minutes[0].account.received), (1, 30));
        assert_eq!((found.before, found.first, found.last), (BTreeMap::from([("syslog".to_owned(), 2)]), Some(998), Some(999)));
        let sources = store.minute_sources(&gateway, Span { from: 998, to: 1000 }, 8).await.unwrap();
        assert_eq!((sources.len(), sources[0].account.received, sources[0].account.dropped["malformed"]), (1, 30, 2));
    }

    #[tokio::test]
    async fn what_is_older_than_thirty_days_is_forgotten() {
        let (_folder, store, gateway) = store();
        let at = |minute: u64| Timestamp::from_secs(i64::try_from(minute * 60).unwrap());
        store.put_minutes(&gateway, vec![minute(100, 10, 0)], at(100)).await.unwrap();
        store.put_minutes(&gateway, vec![minute(101 + KEPT_MINUTES, 10, 0)], at(101 + KEPT_MINUTES)).await.unwrap();
        let kept = store.minutes(&gateway, Span { from: 0, to: u64::MAX }).await.unwrap();
        assert_eq!(kept.minutes.iter().map(|one| one.minute).collect::<Vec<_>>(), [101 + KEPT_MINUTES]);
    }
}
