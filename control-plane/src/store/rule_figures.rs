//! The counters of gateways' rules, as they last said.

use postern_protocol::id::{GatewayId, RevisionNumber};
use postern_protocol::replay::{RuleFigures, RuleReport};
use postern_protocol::timestamp::Timestamp;
use rusqlite::{OptionalExtension as _, params};
use serde::Serialize;

use super::{StoreError, TenantStore};
use crate::rfc3339;

/// The counters of a gateway's rules.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RuleCounters {
    /// The revision that the rules are of; 0 for the built-in one.
    pub revision: RevisionNumber,
    /// Since when they count.
    #[serde(serialize_with = "rfc3339::serialize")]
    pub since: Timestamp,
    /// When the gateway said so last.
    #[serde(serialize_with = "rfc3339::serialize")]
    pub at: Timestamp,
    /// By rule, those that ever examined an event, by name.
    pub rules: Vec<RuleFigures>,
}

impl TenantStore {
    /// Takes a report in: it replaces what is known of the rules that it names; of another revision or start, of all.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn put_rule_report(&self, gateway: &GatewayId, report: RuleReport, now: Timestamp) -> Result<(), StoreError> {
        let gateway = gateway.clone();
        self.write_lazily(move |tx| {
            let revision = i64::try_from(report.revision).unwrap_or(i64::MAX);
            let about = (revision, report.since.as_nanos());
            let known: Option<(i64, i64)> = tx
                .prepare_cached("SELECT revision, since FROM rule_report WHERE gateway = ?1")?
                .query_row([gateway.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            if known != Some(about) {
                tx.prepare_cached("DELETE FROM rule_figures WHERE gateway = ?1")?.execute([gateway.as_str()])?;
            }
            tx.prepare_cached("INSERT OR REPLACE INTO rule_report (gateway, revision, since, at) VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![gateway.as_str(), about.0, about.1, now.as_nanos()])?;
            for figures in &report.rules {
                let text = serde_json::to_string(figures).map_err(|_| StoreError::Corrupt("rule figures"))?;
                tx.prepare_cached("INSERT OR REPLACE INTO rule_figures (gateway, rule, figures) VALUES (?1, ?2, ?3)")?.execute(params![
                    gateway.as_str(),
                    figures.id,
                    text
                ])?;
            }
            Ok(())
        })
        .await
    }

    /// Returns the counters of `gateway`'s rules; `None` before its first report.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn rule_counters(&self, gateway: &GatewayId) -> Result<Option<RuleCounters>, StoreError> {
        let gateway = gateway.clone();
        self.read(move |db| {
            let about: Option<(i64, i64, i64)> = db
                .prepare_cached("SELECT revision, since, at FROM rule_report WHERE gateway = ?1")?
                .query_row([gateway.as_str()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
                .optional()?;
            let Some((revision, since, at)) = about else { return Ok(None) };
            let mut query = db.prepare_cached("SELECT figures FROM rule_figures WHERE gateway = ?1 ORDER BY rule")?;
            let mut rows = query.query([gateway.as_str()])?;
            let mut rules = Vec::new();
            while let Some(row) = rows.next()? {
                rules.push(serde_json::from_str(&row.get::<_, String>(0)?).map_err(|_| StoreError::Corrupt("rule figures"))?);
            }
            let revision = RevisionNumber(u64::try_from(revision).map_err(|_| StoreError::Corrupt("revision"))?);
            Ok(Some(RuleCounters { revision, since: Timestamp::from_nanos(since), at: Timestamp::from_nanos(at), rules }))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_report_adds_to_what_is_known_of_the_same_revision_and_replaces_another() {
        let folder = tempfile::tempdir().unwrap();
        let store = TenantStore::open(&folder.path().join("t.db")).unwrap();
        let gateway = GatewayId::new("gw").unwrap();
        let figures = |id: &str, matched| RuleFigures { id: id.into(), version: 1, matched, ..RuleFigures::default() };
        let put = async |revision, rules| {
            let report = RuleReport { revision, since: Timestamp::from_secs(5), rules };
            store.put_rule_report(&gateway, report, Timestamp::from_secs(9)).await.unwrap();
            let counters = store.rule_counters(&gateway).await.unwrap().unwrap();
            counters.rules.iter().map(|rule| format!("{}={}", rule.id, rule.matched)).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(store.rule_counters(&gateway).await.unwrap(), None);
        assert_eq!(put(3, vec![figures("b", 1), figures("a", 2)]).await, "a=2 b=1");
        assert_eq!(put(3, vec![figures("b", 7)]).await, "a=2 b=7");
        assert_eq!(put(4, vec![figures("c", 1)]).await, "c=1");
    }
}
