//! A gateway's history: what happened to it, in words, as the console shows it. Written in the transaction of what happened.

use postern_protocol::id::GatewayId;
use postern_protocol::status::doctor::Report;
use postern_protocol::timestamp::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use serde::Serialize;

use super::alerts::Page;
use super::{StoreError, TenantStore};

/// Entries of a gateway that are kept.
const KEPT: i64 = 1_000;

/// Longest text that is kept, in characters.
const MAX_TEXT: usize = 1_000;

/// What can happen to a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Happening {
    /// Alerts were cleared because the gateway does not have them open any more.
    AlertsHealed,
    /// Its audit log does not fit what was stored.
    AuditBroken,
    /// Its identity is in use twice.
    Cloned,
    /// A revision came into force, was refused or was taken back.
    Configuration,
    /// This database lacked what the gateway had sent: it was restored from an older state.
    DatabaseRestored,
    /// Its disk was set back to an older state.
    DiskSetBack,
    /// Its doctor found something else than before.
    Doctor,
    /// How fast it may send was changed.
    Pace,
    /// Records of a lane never came.
    RecordsMissing,
    /// Its certificate was renewed.
    Renewed,
    /// It was revoked.
    Revoked,
    /// It runs another version of the program.
    Version,
}

impl Happening {
    const ALL: [Self; 12] = [
        Self::AlertsHealed,
        Self::AuditBroken,
        Self::Cloned,
        Self::Configuration,
        Self::DatabaseRestored,
        Self::DiskSetBack,
        Self::Doctor,
        Self::Pace,
        Self::RecordsMissing,
        Self::Renewed,
        Self::Revoked,
        Self::Version,
    ];

    /// Returns the name in stores and pages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AlertsHealed => "alerts healed",
            Self::AuditBroken => "audit broken",
            Self::Cloned => "cloned",
            Self::Configuration => "configuration",
            Self::DatabaseRestored => "database restored",
            Self::DiskSetBack => "disk set back",
            Self::Doctor => "doctor",
            Self::Pace => "pace",
            Self::RecordsMissing => "records missing",
            Self::Renewed => "renewed",
            Self::Revoked => "revoked",
            Self::Version => "version",
        }
    }
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GatewayEvent {
    /// When.
    #[serde(serialize_with = "crate::rfc3339::serialize")]
    pub at: Timestamp,
    /// What.
    pub what: Happening,
    /// In words.
    pub text: String,
}

impl TenantStore {
    /// Adds an entry to the history of `gateway`.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn note_gateway_event(&self, gateway: &GatewayId, event: GatewayEvent) -> Result<(), StoreError> {
        let gateway = gateway.clone();
        self.write(move |tx| note(tx, &gateway, &event)).await
    }

    /// Returns the newest entries of the history of `gateway`, newest first.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn gateway_events(&self, gateway: &GatewayId, most: usize) -> Result<Vec<GatewayEvent>, StoreError> {
        Ok(self.gateway_history(gateway, most, None).await?.items)
    }

    /// Lists the history of `gateway`, newest first, at most `limit` entries, from behind the one that the cursor `after` numbers.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn gateway_history(&self, gateway: &GatewayId, limit: usize, after: Option<u64>) -> Result<Page<GatewayEvent>, StoreError> {
        let gateway = gateway.clone();
        self.read(move |db| page(db, &gateway, limit, after)).await
    }
}

impl TenantStore {
    /// Returns the last examination that `gateway` reported.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn last_examination(&self, gateway: &GatewayId) -> Result<Option<Report>, StoreError> {
        let gateway = gateway.clone();
        self.read(move |db| {
            let text: Option<Option<String>> = db
                .prepare_cached("SELECT status ->> '$.doctor' FROM gateway_state WHERE gateway = ?1")?
                .query_row([gateway.as_str()], |row| row.get(0))
                .optional()?;
            // What another version of the program stored may be of another shape.
            Ok(text.flatten().and_then(|text| serde_json::from_str(&text).ok()))
        })
        .await
    }
}

/// Adds an entry in the transaction of what happened, and forgets the oldest ones beyond what is kept.
///
/// # Errors
/// [`StoreError`] from the database.
pub fn note(tx: &Transaction<'_>, gateway: &GatewayId, event: &GatewayEvent) -> Result<(), StoreError> {
    let text: String = event.text.chars().take(MAX_TEXT).collect();
    tx.prepare_cached("INSERT INTO gateway_event (gateway, at, what, text) VALUES (?1, ?2, ?3, ?4)")?.execute(params![
        gateway.as_str(),
        event.at.as_nanos(),
        event.what.name(),
        text
    ])?;
    tx.prepare_cached(
        "DELETE FROM gateway_event WHERE gateway = ?1 AND number <=
         (SELECT number FROM gateway_event WHERE gateway = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)",
    )?
    .execute(params![gateway.as_str(), KEPT])?;
    Ok(())
}

fn page(db: &Connection, gateway: &GatewayId, limit: usize, after: Option<u64>) -> Result<Page<GatewayEvent>, StoreError> {
    let before = after.and_then(|number| i64::try_from(number).ok()).unwrap_or(i64::MAX);
    let most = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let mut statement = db.prepare_cached(
        "SELECT at, what, text, number FROM gateway_event WHERE gateway = ?1 AND number < ?2 ORDER BY number DESC LIMIT ?3",
    )?;
    let mut rows = statement.query(params![gateway.as_str(), before, most])?;
    let (mut items, mut last) = (Vec::new(), 0_i64);
    while let Some(row) = rows.next()? {
        if items.len() == limit {
            return Ok(Page { items, next_cursor: Some(last.to_string()) });
        }
        let name: String = row.get(1)?;
        let what = Happening::ALL.into_iter().find(|what| what.name() == name).ok_or(StoreError::Corrupt("gateway event"))?;
        items.push(GatewayEvent { at: Timestamp::from_nanos(row.get(0)?), what, text: row.get(2)? });
        last = row.get(3)?;
    }
    Ok(Page { items, next_cursor: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_newest_thousand_are_kept_of_each_gateway() {
        let folder = tempfile::tempdir().unwrap();
        let store = TenantStore::open(&folder.path().join("t.db")).unwrap();
        let (one, other) = (GatewayId::new("one").unwrap(), GatewayId::new("other").unwrap());
        let event = |n: i64| GatewayEvent { at: Timestamp::from_secs(n), what: Happening::Renewed, text: n.to_string() };
        store.note_gateway_event(&other, event(-1)).await.unwrap();
        let all = one.clone();
        store.write(move |tx| (0..KEPT + 5).try_for_each(|n| note(tx, &all, &event(n)))).await.unwrap();
        let kept = store.gateway_events(&one, 5_000).await.unwrap();
        assert_eq!((kept.len(), kept[0].text.as_str(), kept[999].text.as_str()), (1000, "1004", "5"));
        assert_eq!(store.gateway_events(&other, 10).await.unwrap(), [event(-1)]);
    }
    #[tokio::test]
    async fn pages_neither_repeat_nor_miss_an_entry() {
        let folder = tempfile::tempdir().unwrap();
        let store = TenantStore::open(&folder.path().join("t.db")).unwrap();
        let gateway = GatewayId::new("one").unwrap();
        for n in 0..7 {
            let event = GatewayEvent { at: Timestamp::from_secs(1), what: Happening::Version, text: n.to_string() };
            store.note_gateway_event(&gateway, event.clone()).await.unwrap();
            store.note_gateway_event(&GatewayId::new("other").unwrap(), event).await.unwrap();
        }
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let page = store.gateway_history(&gateway, 3, cursor).await.unwrap();
            seen.extend(page.items.into_iter().map(|event| event.text));
            let Some(next) = page.next_cursor else { break };
            cursor = Some(next.parse().unwrap());
        }
        assert_eq!(seen, ["6", "5", "4", "3", "2", "1", "0"]);
        assert_eq!(store.gateway_history(&gateway, 7, None).await.unwrap().next_cursor, None);
    }
}
