//! Tags of gateways: words by which people group them and roll-outs choose them.

use std::collections::{BTreeMap, BTreeSet};

use postern_protocol::id::GatewayId;
use postern_protocol::timestamp::Timestamp;
use rusqlite::params;

use super::audit::{self, By, Deed, Outcome, What};
use super::{StoreError, TenantStore};

/// Most tags of one gateway.
pub const MAX_TAGS: usize = 20;

/// Longest tag.
const MAX_TAG_BYTES: usize = 40;

/// Whether a word may be a tag: 1 to 40 characters of a-z, 0-9, `.`, `_`, `-` and `:`.
pub fn is_tag(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-:".contains(c);
    (1..=MAX_TAG_BYTES).contains(&text.len()) && text.chars().all(plain)
}

impl TenantStore {
    /// Makes `tags` the tags of `gateway`.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when one is no tag or there are too many.
    pub async fn set_tags(&self, gateway: &GatewayId, tags: BTreeSet<String>, who: (By, Timestamp)) -> Result<(), StoreError> {
        if let Some(wrong) = tags.iter().find(|tag| !is_tag(tag)) {
            return Err(StoreError::Conflict(format!(
                "{wrong:?} is no tag: 1 to {MAX_TAG_BYTES} characters of a-z, 0-9, '.', '_', '-', ':'"
            )));
        }
        if tags.len() > MAX_TAGS {
            return Err(StoreError::Conflict(format!("a gateway has at most {MAX_TAGS} tags")));
        }
        let (gateway, (by, at)) = (gateway.clone(), who);
        self.write(move |tx| {
            tx.execute("DELETE FROM gateway_tag WHERE gateway = ?1", [gateway.as_str()])?;
            for tag in &tags {
                tx.execute("INSERT INTO gateway_tag VALUES (?1, ?2)", params![gateway.as_str(), tag])?;
            }
            let detail = tags.into_iter().collect::<Vec<_>>().join(" ");
            audit::note(tx, Deed { at, by, what: What::TagsChanged, about: format!("gateway {gateway}"), detail, outcome: Outcome::Done })
        })
        .await
    }

    /// Returns the tags of every gateway that has some.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn tags(&self) -> Result<BTreeMap<String, Vec<String>>, StoreError> {
        self.read(|db| {
            let mut statement = db.prepare_cached("SELECT gateway, tag FROM gateway_tag ORDER BY gateway, tag")?;
            let mut rows = statement.query([])?;
            let mut tags = BTreeMap::<String, Vec<String>>::new();
            while let Some(row) = rows.next()? {
                tags.entry(row.get(0)?).or_default().push(row.get(1)?);
            }
            Ok(tags)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tags_are_replaced_as_a_whole_and_nothing_odd_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let store = TenantStore::open(&folder.path().join("t.db")).unwrap();
        let gateway = GatewayId::new("gw").unwrap();
        let set = |tags: &[&str]| {
            let who = (By::command_line(), Timestamp::from_secs(1));
            store.set_tags(&gateway, tags.iter().map(|tag| (*tag).to_owned()).collect(), who)
        };
        set(&["site:graz", "canary"]).await.unwrap();
        set(&["branch", "canary"]).await.unwrap();
        assert_eq!(store.tags().await.unwrap()["gw"], ["branch", "canary"]);
        for odd in ["", "Graz", "a b", &"x".repeat(41)] {
            assert!(matches!(set(&[odd]).await, Err(StoreError::Conflict(_))), "{odd:?}");
        }
        assert_eq!(store.tags().await.unwrap()["gw"].len(), 2);
    }
}
