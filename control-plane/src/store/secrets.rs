//! Sealed secrets of a tenant's gateways, and the keys that they are sealed to. Holds nothing that opens them.
//!
//! Tells nobody: `crate::secrets` publishes a change and wakes the gateway's session.

use postern_protocol::id::GatewayId;
use postern_protocol::message::SealedSecret;
use postern_protocol::secret::MAX_SECRETS;
use postern_protocol::timestamp::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use serde::Serialize;

use super::audit::{self, By, Deed, What};
use super::idempotency::{self, Answer, Known, OnceKey};
use super::{StoreError, TenantStore};

/// Keys of one gateway that are kept, the present one among them.
const KEPT_KEYS: u32 = 8;

/// Deleted secrets of one gateway whose last version is remembered.
const KEPT_DELETED: u32 = 4096;

/// Length of a SHA-256.
pub const SHA256_BYTES: usize = 32;

/// The key to which secrets for a gateway are sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealingKey {
    /// SubjectPublicKeyInfo, DER.
    pub spki: Vec<u8>,
    /// Its SHA-256: what people compare.
    pub sha256: [u8; SHA256_BYTES],
    /// When it was first seen.
    pub seen_at: Timestamp,
    /// SHA-256 of the key before, when there was another one.
    pub previous: Option<[u8; SHA256_BYTES]>,
}

/// Whether a greeting's key is the one that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyNoted {
    /// It replaces another one: what was sealed to that one cannot be opened any more.
    Changed,
    /// It is the first.
    First,
    /// It is known.
    Same,
}

/// A secret without its sealed content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SecretRecord {
    /// The name that configurations use.
    pub name: String,
    /// Counted up with every new content.
    pub version: u32,
    /// When it was sealed here.
    #[serde(serialize_with = "crate::rfc3339::serialize")]
    pub created_at: Timestamp,
    /// Who did.
    pub created_by: String,
    /// SHA-256 of the key that it is sealed to.
    #[serde(serialize_with = "hexadecimal")]
    pub sealed_to: [u8; SHA256_BYTES],
}

/// A secret to be stored.
#[derive(Clone)]
pub struct NewSecret {
    /// Whose it is.
    pub gateway: GatewayId,
    /// Its name.
    pub name: String,
    /// Its version; must be the last one plus 1.
    pub version: u32,
    /// The sealed content.
    pub sealed: Vec<u8>,
    /// SHA-256 of the key that it is sealed to; must be the gateway's present one.
    pub sealed_to: [u8; SHA256_BYTES],
    /// Who stores it.
    pub by: By,
    /// The present time.
    pub at: Timestamp,
    /// Under which key the answer is kept, to be given again.
    pub once: Option<OnceKey>,
}

/// What became of a [`NewSecret`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretPut {
    /// It is stored; or it was before, with the same content.
    Done(SecretRecord),
    /// It is sealed to another key than the gateway has now.
    KeyChanged,
    /// The idempotency key came with another request before.
    KeyMisused,
    /// The answer that was given before.
    Repeated(Answer),
    /// The gateway has as many as it can have.
    TooMany,
    /// The version is not the next one.
    Version {
        /// The next one.
        next: u32,
    },
}

impl TenantStore {
    /// Notes the key that a gateway's greeting said.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn note_sealing_key(&self, gateway: &GatewayId, spki: Vec<u8>, now: Timestamp) -> Result<KeyNoted, StoreError> {
        let gateway = gateway.clone();
        self.write(move |tx| {
            let known = sealing_key(tx, &gateway)?;
            let noted = match known {
                Some(known) if known.spki == spki => return Ok(KeyNoted::Same),
                Some(_) => KeyNoted::Changed,
                None => KeyNoted::First,
            };
            let sha256 = crate::sealing::fingerprint(&spki);
            let sql = "INSERT INTO gateway_sealing_key (gateway, spki, sha256, seen_at) VALUES (?1, ?2, ?3, ?4)";
            tx.execute(sql, params![gateway.as_str(), spki, sha256, now.as_nanos()])?;
            let forget = "DELETE FROM gateway_sealing_key WHERE gateway = ?1 AND number NOT IN
                          (SELECT number FROM gateway_sealing_key WHERE gateway = ?1 ORDER BY number DESC LIMIT ?2)";
            tx.execute(forget, params![gateway.as_str(), KEPT_KEYS])?;
            Ok(noted)
        })
        .await
    }

    /// Returns the key to which secrets for `gateway` are sealed; `None` until it has said one.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn sealing_key(&self, gateway: &GatewayId) -> Result<Option<SealingKey>, StoreError> {
        let gateway = gateway.clone();
        self.read(move |db| sealing_key(db, &gateway)).await
    }

    /// Lists the secrets of `gateway` by name.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn secrets(&self, gateway: &GatewayId) -> Result<Vec<SecretRecord>, StoreError> {
        let gateway = gateway.clone();
        self.read(move |db| {
            let mut statement = db.prepare_cached(
                "SELECT name, version, created_at, created_by, sealed_to FROM secret
                 WHERE gateway = ?1 AND sealed IS NOT NULL ORDER BY name",
            )?;
            let records = statement.query_map([gateway.as_str()], |row| {
                Ok(SecretRecord {
                    name: row.get(0)?,
                    version: row.get(1)?,
                    created_at: Timestamp::from_nanos(row.get(2)?),
                    created_by: row.get(3)?,
                    sealed_to: row.get(4)?,
                })
            })?;
            Ok(records.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Returns the last version of every secret that `gateway` has or had, by name.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn secret_versions(&self, gateway: &GatewayId) -> Result<Vec<(String, u32)>, StoreError> {
        let gateway = gateway.clone();
        self.read(move |db| {
            let mut statement = db.prepare_cached("SELECT name, version FROM secret WHERE gateway = ?1 ORDER BY name")?;
            let versions = statement.query_map([gateway.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(versions.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Stores a sealed secret under the next version of its name, and writes that down.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn put_secret(&self, new: NewSecret) -> Result<SecretPut, StoreError> {
        self.write(move |tx| {
            if let Some(once) = &new.once {
                match idempotency::look_up(tx, once, new.at)? {
                    Known::Answered(answer) => return Ok(SecretPut::Repeated(answer)),
                    Known::Misused | Known::Unanswered => return Ok(SecretPut::KeyMisused),
                    Known::New => {}
                }
            }
            let last = serial(tx, &new.gateway)?;
            let put = put(tx, &new)?;
            // What was there already is no change.
            if serial(tx, &new.gateway)? != last {
                let about = format!("secret {} of gateway {}: version {}", new.name, new.gateway, new.version);
                audit::note(tx, Deed::done(new.by.clone(), What::SecretsChanged, about, new.at))?;
            }
            if let (Some(once), SecretPut::Done(record)) = (&new.once, &put) {
                let body = serde_json::to_vec(record).map_err(|_| StoreError::Corrupt("secret"))?;
                idempotency::keep(tx, once, &Answer { status: 200, body }, new.at)?;
            }
            Ok(put)
        })
        .await
    }

    /// Deletes a secret: its gateway forgets it. That is written down.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without such a secret.
    pub async fn delete_secret(&self, gateway: &GatewayId, name: &str, (by, now): (By, Timestamp)) -> Result<(), StoreError> {
        let (gateway, name) = (gateway.clone(), name.to_owned());
        self.write(move |tx| {
            let sql = "UPDATE secret SET sealed = NULL, created_at = ?3 WHERE gateway = ?1 AND name = ?2 AND sealed IS NOT NULL";
            if tx.execute(sql, params![gateway.as_str(), name, now.as_nanos()])? == 0 {
                return Err(StoreError::NotFound);
            }
            let forget = "DELETE FROM secret WHERE gateway = ?1 AND sealed IS NULL AND name NOT IN
                          (SELECT name FROM secret WHERE gateway = ?1 AND sealed IS NULL ORDER BY created_at DESC LIMIT ?2)";
            tx.execute(forget, params![gateway.as_str(), KEPT_DELETED])?;
            let about = format!("secret {name} of gateway {gateway}: deleted");
            audit::note(tx, Deed::done(by, What::SecretsChanged, about, now))?;
            raise_serial(tx, &gateway, fresh_serial(now))
        })
        .await
    }

    /// Returns the serial of `gateway`'s secrets; 0 before the first.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn secrets_serial(&self, gateway: &GatewayId) -> Result<u64, StoreError> {
        let gateway = gateway.clone();
        self.read(move |db| serial(db, &gateway)).await
    }

    /// Returns the complete set for `gateway`, by ascending name, with its serial.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn sealed_set(&self, gateway: &GatewayId) -> Result<(u64, Vec<SealedSecret>), StoreError> {
        let gateway = gateway.clone();
        self.read(move |db| {
            let tx = db.unchecked_transaction()?;
            let mut statement =
                tx.prepare_cached("SELECT name, version, sealed FROM secret WHERE gateway = ?1 AND sealed IS NOT NULL ORDER BY name")?;
            let secrets = statement
                .query_map([gateway.as_str()], |row| Ok(SealedSecret { name: row.get(0)?, version: row.get(1)?, sealed: row.get(2)? }))?;
            let secrets = secrets.collect::<Result<_, _>>()?;
            Ok((serial(&tx, &gateway)?, secrets))
        })
        .await
    }

    /// Makes the serial of `gateway`'s secrets greater than `seen`, which the gateway took in: this store was restored from an older
    /// state.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn pass_secrets_serial(&self, gateway: &GatewayId, seen: u64) -> Result<(), StoreError> {
        let gateway = gateway.clone();
        self.write(move |tx| raise_serial(tx, &gateway, seen.saturating_add(1))).await
    }
}

fn put(tx: &Transaction<'_>, new: &NewSecret) -> Result<SecretPut, StoreError> {
    if sealing_key(tx, &new.gateway)?.is_none_or(|key| key.sha256 != new.sealed_to) {
        return Ok(SecretPut::KeyChanged);
    }
    let gateway = new.gateway.as_str();
    let last: Option<(u32, Option<Vec<u8>>, i64, String)> = tx
        .prepare_cached("SELECT version, sealed, created_at, created_by FROM secret WHERE gateway = ?1 AND name = ?2")?
        .query_row(params![gateway, new.name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .optional()?;
    let record = |at, by: &str| SecretRecord {
        name: new.name.clone(),
        version: new.version,
        created_at: at,
        created_by: by.to_owned(),
        sealed_to: new.sealed_to,
    };
    if let Some((version, Some(sealed), at, by)) = &last
        && *version == new.version
        && *sealed == new.sealed
    {
        return Ok(SecretPut::Done(record(Timestamp::from_nanos(*at), by)));
    }
    let version = last.as_ref().map_or(0, |last| last.0);
    let next = version.checked_add(1).ok_or_else(|| StoreError::Conflict("there is no version left".to_owned()))?;
    if new.version != next {
        return Ok(SecretPut::Version { next });
    }
    let sql = "SELECT count(*) FROM secret WHERE gateway = ?1 AND sealed IS NOT NULL AND name <> ?2";
    let others: i64 = tx.prepare_cached(sql)?.query_row(params![gateway, new.name], |row| row.get(0))?;
    if usize::try_from(others).is_ok_and(|others| others >= MAX_SECRETS) {
        return Ok(SecretPut::TooMany);
    }
    tx.execute(
        "INSERT OR REPLACE INTO secret (gateway, name, version, sealed, sealed_to, created_at, created_by)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![gateway, new.name, new.version, new.sealed, new.sealed_to, new.at.as_nanos(), new.by.who],
    )?;
    raise_serial(tx, &new.gateway, fresh_serial(new.at))?;
    Ok(SecretPut::Done(record(new.at, &new.by.who)))
}

fn sealing_key(db: &Connection, gateway: &GatewayId) -> Result<Option<SealingKey>, StoreError> {
    let mut statement =
        db.prepare_cached("SELECT spki, sha256, seen_at FROM gateway_sealing_key WHERE gateway = ?1 ORDER BY number DESC LIMIT 2")?;
    let mut rows = statement.query([gateway.as_str()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let mut key = SealingKey { spki: row.get(0)?, sha256: row.get(1)?, seen_at: Timestamp::from_nanos(row.get(2)?), previous: None };
    key.previous = rows.next()?.map(|row| row.get(1)).transpose()?;
    Ok(Some(key))
}

/// Returns the serial of `gateway`'s secrets.
pub(super) fn serial(db: &Connection, gateway: &GatewayId) -> Result<u64, StoreError> {
    let found: Option<i64> = db
        .prepare_cached("SELECT serial FROM secret_serial WHERE gateway = ?1")?
        .query_row([gateway.as_str()], |row| row.get(0))
        .optional()?;
    u64::try_from(found.unwrap_or(0)).map_err(|_| StoreError::Corrupt("serial of secrets"))
}

/// What a serial is at least: the time, so that a store that was restored from an older state does not give out what it gave out
/// before.
fn fresh_serial(now: Timestamp) -> u64 {
    u64::try_from(now.as_micros()).unwrap_or(0)
}

fn raise_serial(tx: &Transaction<'_>, gateway: &GatewayId, at_least: u64) -> Result<(), StoreError> {
    let next = serial(tx, gateway)?.saturating_add(1).max(at_least);
    let next = i64::try_from(next).map_err(|_| StoreError::Conflict("there is no serial left".to_owned()))?;
    tx.prepare_cached("INSERT OR REPLACE INTO secret_serial (gateway, serial) VALUES (?1, ?2)")?
        .execute(params![gateway.as_str(), next])?;
    Ok(())
}

fn hexadecimal<S: serde::Serializer>(bytes: &[u8; SHA256_BYTES], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&data_encoding::HEXLOWER.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_000);

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

        async fn key(&self, spki: &[u8]) -> KeyNoted {
            self.store.note_sealing_key(&self.gateway, spki.to_vec(), NOW).await.unwrap()
        }

        async fn put(&self, name: &str, version: u32, sealed: &[u8]) -> SecretPut {
            self.put_once(name, version, sealed, None).await
        }

        async fn put_once(&self, name: &str, version: u32, sealed: &[u8], once: Option<OnceKey>) -> SecretPut {
            let new = NewSecret {
                gateway: self.gateway.clone(),
                name: name.to_owned(),
                version,
                sealed: sealed.to_vec(),
                sealed_to: crate::sealing::fingerprint(b"key"),
                by: By { who: "anna".to_owned(), from: None },
                at: NOW,
                once,
            };
            self.store.put_secret(new).await.unwrap()
        }

        async fn serial(&self) -> u64 {
            self.store.secrets_serial(&self.gateway).await.unwrap()
        }
    }

    #[tokio::test]
    async fn versions_count_up_even_over_a_deletion_and_every_change_has_a_new_serial() {
        let site = Site::new();
        assert_eq!(site.key(b"key").await, KeyNoted::First);
        assert_eq!(site.put("a", 2, b"x").await, SecretPut::Version { next: 1 });
        assert_eq!(site.serial().await, 0);
        assert!(matches!(site.put("a", 1, b"x").await, SecretPut::Done(_)));
        let first = site.serial().await;
        assert!(matches!(site.put("a", 1, b"x").await, SecretPut::Done(_)), "the same again is no change");
        assert_eq!(site.serial().await, first);
        assert_eq!(site.put("a", 1, b"y").await, SecretPut::Version { next: 2 });
        site.store.delete_secret(&site.gateway, "a", (By::command_line(), NOW)).await.unwrap();
        assert_eq!(site.store.sealed_set(&site.gateway).await.unwrap(), (first + 1, Vec::new()));
        assert!(matches!(site.store.delete_secret(&site.gateway, "a", (By::command_line(), NOW)).await, Err(StoreError::NotFound)));
        assert_eq!(site.put("a", 1, b"x").await, SecretPut::Version { next: 2 });
        assert!(matches!(site.put("a", 2, b"x").await, SecretPut::Done(_)));
        let (serial, set) = site.store.sealed_set(&site.gateway).await.unwrap();
        assert_eq!((serial, set.len(), set[0].version), (first + 2, 1, 2));
    }

    #[tokio::test]
    async fn what_is_sealed_to_an_old_key_is_not_taken_and_a_change_is_remembered() {
        let site = Site::new();
        assert_eq!(site.put("a", 1, b"x").await, SecretPut::KeyChanged, "no key yet");
        site.key(b"key").await;
        assert_eq!((site.key(b"key").await, site.key(b"other").await), (KeyNoted::Same, KeyNoted::Changed));
        assert_eq!(site.put("a", 1, b"x").await, SecretPut::KeyChanged);
        let key = site.store.sealing_key(&site.gateway).await.unwrap().unwrap();
        assert_eq!((key.spki.as_slice(), key.previous), (&b"other"[..], Some(crate::sealing::fingerprint(b"key"))));
    }

    #[tokio::test]
    async fn a_restored_store_passes_the_serial_that_the_gateway_has_seen() {
        let site = Site::new();
        site.store.pass_secrets_serial(&site.gateway, 7).await.unwrap();
        assert_eq!(site.serial().await, 8);
        assert!(site.store.pass_secrets_serial(&site.gateway, u64::MAX).await.is_err());
    }

    #[tokio::test]
    async fn a_key_of_the_client_brings_the_same_answer_again() {
        let site = Site::new();
        site.key(b"key").await;
        let once = |request: &[u8]| Some(OnceKey { principal: "p".to_owned(), key: "k".to_owned(), request: request.to_vec() });
        assert!(matches!(site.put_once("a", 1, b"x", once(b"1")).await, SecretPut::Done(_)));
        assert!(matches!(site.put_once("a", 1, b"x", once(b"1")).await, SecretPut::Repeated(_)));
        assert_eq!(site.put_once("a", 2, b"x", once(b"2")).await, SecretPut::KeyMisused);
    }
}
