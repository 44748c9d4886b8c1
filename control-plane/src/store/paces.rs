//! How fast a gateway may send what is not an alert, when an administrator bounds it.

use postern_protocol::id::GatewayId;
use postern_protocol::timestamp::Timestamp;
use rusqlite::{OptionalExtension as _, params};

use super::audit::{self, By, Deed, Outcome, What};
use super::gateway_events::{self, GatewayEvent, Happening};
use super::{StoreError, TenantStore};

/// Least and greatest limit in bytes a second: below, nothing would ever get through; above, there is no line that fast.
pub const LEAST_PACE: u64 = 1024;
/// See [`LEAST_PACE`].
pub const GREATEST_PACE: u64 = 10 * 1024 * 1024 * 1024;

impl TenantStore {
    /// Returns the limit of `gateway` in bytes a second; 0 for none.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn pace(&self, gateway: &GatewayId) -> Result<u64, StoreError> {
        let gateway = gateway.clone();
        self.read(move |db| {
            let pace: Option<i64> = db
                .prepare_cached("SELECT bytes_per_second FROM gateway_pace WHERE gateway = ?1")?
                .query_row([gateway.as_str()], |row| row.get(0))
                .optional()?;
            u64::try_from(pace.unwrap_or(0)).map_err(|_| StoreError::Corrupt("pace"))
        })
        .await
    }

    /// Bounds `gateway`, or lets it go with 0, and writes that down.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] for a limit that is too small or too great; else from the database.
    pub async fn set_pace(&self, gateway: &GatewayId, bytes_per_second: u64, by: By, now: Timestamp) -> Result<(), StoreError> {
        if bytes_per_second != 0 && !(LEAST_PACE..=GREATEST_PACE).contains(&bytes_per_second) {
            let text = format!("a limit is {LEAST_PACE} to {GREATEST_PACE} bytes a second, or 0 for none, not {bytes_per_second}");
            return Err(StoreError::Conflict(text));
        }
        let gateway = gateway.clone();
        self.write(move |tx| {
            tx.execute(
                "INSERT OR REPLACE INTO gateway_pace (gateway, bytes_per_second) VALUES (?1, ?2)",
                params![gateway.as_str(), i64::try_from(bytes_per_second).unwrap_or(i64::MAX)],
            )?;
            let text = match bytes_per_second {
                0 => "what is not an alert may be sent without a limit".to_owned(),
                limit if limit.is_multiple_of(1024) => format!("what is not an alert may be sent with {} KiB a second", limit / 1024),
                limit => format!("what is not an alert may be sent with {limit} bytes a second"),
            };
            gateway_events::note(tx, &gateway, &GatewayEvent { at: now, what: Happening::Pace, text: text.clone() })?;
            let about = format!("gateway {gateway}");
            audit::note(tx, Deed { at: now, by, what: What::PaceSet, about, detail: text, outcome: Outcome::Done })
        })
        .await
    }
}
