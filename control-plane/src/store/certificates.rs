//! Client certificates of gateways and what each gateway confirmed to trust (system database).
//!
//! A renewed certificate is written down before it leaves; the gateway's key of record changes when it is first used. What came before
//! stays good until its own end: a disk that was set back holds it, and `clones` tells such a disk from a copy. A certificate that is not
//! written down but was issued after everything that is, is good too: then this database was set back, for nobody else issues any.

use postern_protocol::id::{GatewayId, TenantId};
use postern_protocol::timestamp::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use serde::Serialize;

use super::audit::{self, Deed};
use super::{StoreError, Stores, SystemStore};

/// A client certificate, as it is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub spki_sha256: [u8; 32],
    /// Serial number, hexadecimal.
    pub serial: String,
    /// SHA-256 of the authority's SubjectPublicKeyInfo.
    pub issuer: [u8; 32],
    /// When it begins to be valid.
    pub not_before: Timestamp,
    /// When it ends.
    pub not_after: Timestamp,
}

/// A client certificate as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CertificateView {
    /// Serial number, hexadecimal.
    pub serial: String,
    /// When it was issued.
    #[serde(serialize_with = "crate::rfc3339::serialize")]
    pub issued_at: Timestamp,
    /// When it was first used; `None` while the gateway has not shown it.
    #[serde(serialize_with = "crate::rfc3339::serialize_option")]
    pub first_used_at: Option<Timestamp>,
    /// When it ends.
    #[serde(serialize_with = "crate::rfc3339::serialize")]
    pub not_after: Timestamp,
    /// SHA-256 of the authority's SubjectPublicKeyInfo, hexadecimal.
    pub issuer: String,
}

/// How a presented certificate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presented {
    /// It is the gateway's.
    Current,
    /// It is newer than the one of record: a renewal's, or from after the moment to which this database was set back.
    Newer,
    /// A newer one was used since.
    Older,
    /// It is none of the gateway's.
    Unknown,
}

/// What a gateway trusts and shows, for the steps of `trust::rotation`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayTrust {
    /// Which gateway.
    pub gateway: GatewayId,
    /// Its name.
    pub name: String,
    /// Whether it was revoked.
    pub is_revoked: bool,
    /// Whether it has a session.
    pub is_connected: bool,
    /// Serial of the bundle that it confirmed.
    pub confirmed: u64,
    /// Why it refused a later one.
    pub refused: Option<String>,
    /// SHA-256 of the SubjectPublicKeyInfo of the authority that issued its certificate in use, where that is written down.
    pub issuer: Option<[u8; 32]>,
}

/// What a gateway confirmed of trust.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ConfirmedTrust {
    /// Serial of the bundle that it keeps; 0 for what enrolment gave.
    pub confirmed: u64,
    /// Why it refused a later one.
    pub refused: Option<String>,
}

impl SystemStore {
    /// Says how a certificate of `gateway` stands.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn present(&self, gateway: &GatewayId, certificate: &Certificate) -> Result<Presented, StoreError> {
        let (gateway, certificate) = (gateway.clone(), certificate.clone());
        self.read(move |db| presented(db, &gateway, &certificate)).await
    }

    /// Writes down a certificate that is about to leave.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn certificate_issued(
        &self,
        gateway: &GatewayId,
        certificate: Certificate,
        (now, deed): (Timestamp, Deed),
    ) -> Result<(), StoreError> {
        let gateway = gateway.clone();
        self.write(move |tx| {
            insert(tx, &gateway, &certificate, now)?;
            // What has ended long ago says nothing any more; what is in use stays.
            tx.execute(
                "DELETE FROM gateway_certificate WHERE gateway = ?1 AND not_after < ?2
                     AND spki <> (SELECT client_spki FROM gateway WHERE id = ?1)",
                params![gateway.as_str(), now.as_nanos().saturating_sub(400 * 86_400 * 1_000_000_000)],
            )?;
            audit::note(tx, deed)
        })
        .await
    }

    /// Makes a certificate that a gateway shows its certificate of record, if it is a newer one; says whether it was.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn certificate_used(&self, gateway: &GatewayId, certificate: &Certificate, now: Timestamp) -> Result<bool, StoreError> {
        if self.present(gateway, certificate).await? != Presented::Newer {
            return Ok(false);
        }
        let (gateway, certificate) = (gateway.clone(), certificate.clone());
        self.write(move |tx| {
            if presented(tx, &gateway, &certificate)? != Presented::Newer {
                return Ok(false);
            }
            insert(tx, &gateway, &certificate, certificate.not_before)?;
            tx.execute(
                "UPDATE gateway_certificate SET first_used_at = coalesce(first_used_at, ?3) WHERE gateway = ?1 AND spki = ?2",
                params![gateway.as_str(), certificate.spki_sha256, now.as_nanos()],
            )?;
            tx.execute(
                "UPDATE gateway SET client_spki = ?2, renew_until = NULL WHERE id = ?1",
                params![gateway.as_str(), certificate.spki_sha256],
            )?;
            Ok(true)
        })
        .await
    }

    /// Returns the newest certificates of a gateway, newest first.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn list_certificates(&self, gateway: &GatewayId) -> Result<Vec<CertificateView>, StoreError> {
        let gateway = gateway.clone();
        self.read(move |db| {
            let mut statement = db.prepare_cached(
                "SELECT serial, issued_at, first_used_at, not_after, issuer FROM gateway_certificate WHERE gateway = ?1
                 ORDER BY issued_at DESC, serial LIMIT 20",
            )?;
            let rows = statement.query_map([gateway.as_str()], |row| {
                Ok(CertificateView {
                    serial: row.get(0)?,
                    issued_at: Timestamp::from_nanos(row.get(1)?),
                    first_used_at: row.get::<_, Option<i64>>(2)?.map(Timestamp::from_nanos),
                    not_after: Timestamp::from_nanos(row.get(3)?),
                    issuer: data_encoding::HEXLOWER.encode(&row.get::<_, Vec<u8>>(4)?),
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Lets a gateway renew until then a certificate that ended too long ago; `None` ends that.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the tenant has no such gateway, [`StoreError::Conflict`] when it was revoked.
    pub async fn allow_renewal(
        &self,
        tenant: &TenantId,
        gateway: &GatewayId,
        until: Option<Timestamp>,
        deed: Deed,
    ) -> Result<(), StoreError> {
        let (tenant, gateway) = (tenant.clone(), gateway.clone());
        self.write(move |tx| {
            let revoked: Option<Option<i64>> = tx
                .query_row(
                    "SELECT revoked_at FROM gateway WHERE id = ?1 AND tenant = ?2",
                    params![gateway.as_str(), tenant.as_str()],
                    |row| row.get(0),
                )
                .optional()?;
            if revoked.ok_or(StoreError::NotFound)?.is_some() {
                return Err(StoreError::Conflict(format!("the gateway {gateway} was revoked: enrol it anew with a token")));
            }
            tx.execute("UPDATE gateway SET renew_until = ?2 WHERE id = ?1", params![gateway.as_str(), until.map(Timestamp::as_nanos)])?;
            audit::note(tx, deed)
        })
        .await
    }

    /// Returns until when a gateway may renew a certificate that ended too long ago.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn renewal_allowed(&self, gateway: &GatewayId) -> Result<Option<Timestamp>, StoreError> {
        let gateway = gateway.clone();
        self.read(move |db| {
            let until: Option<Option<i64>> =
                db.query_row("SELECT renew_until FROM gateway WHERE id = ?1", [gateway.as_str()], |row| row.get(0)).optional()?;
            Ok(until.flatten().map(Timestamp::from_nanos))
        })
        .await
    }

    /// Records that a gateway keeps the bundle with this serial, or why it refused it.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn trust_confirmed(
        &self,
        gateway: &GatewayId,
        serial: u64,
        refused: Option<String>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let gateway = gateway.clone();
        let serial = i64::try_from(serial).map_err(|_| StoreError::Corrupt("trust serial"))?;
        self.write(move |tx| confirm(tx, &gateway, serial, refused.as_deref(), now)).await
    }

    /// Returns what a gateway confirmed.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn confirmed_trust(&self, gateway: &GatewayId) -> Result<ConfirmedTrust, StoreError> {
        let gateway = gateway.clone();
        self.read(move |db| {
            let row = db
                .prepare_cached("SELECT confirmed, refused FROM gateway_trust WHERE gateway = ?1")?
                .query_row([gateway.as_str()], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)))
                .optional()?;
            let Some((confirmed, refused)) = row else { return Ok(ConfirmedTrust::default()) };
            Ok(ConfirmedTrust { confirmed: u64::try_from(confirmed).unwrap_or_default(), refused })
        })
        .await
    }
}

impl Stores {
    /// Returns what every gateway trusts and shows.
    ///
    /// # Errors
    /// [`StoreError`] from a database.
    pub async fn list_trust(&self) -> Result<Vec<GatewayTrust>, StoreError> {
        let mut all = Vec::new();
        for tenant in self.system().list_tenants().await? {
            for view in self.list_gateways(&tenant.id).await? {
                let ConfirmedTrust { confirmed, refused } = self.system().confirmed_trust(&view.id).await?;
                all.push(GatewayTrust {
                    issuer: self.system().issuer_in_use(&view.id).await?,
                    gateway: view.id,
                    name: view.name,
                    is_revoked: view.revoked_at.is_some(),
                    is_connected: view.connected,
                    confirmed,
                    refused,
                });
            }
        }
        Ok(all)
    }
}

impl SystemStore {
    async fn issuer_in_use(&self, gateway: &GatewayId) -> Result<Option<[u8; 32]>, StoreError> {
        let gateway = gateway.clone();
        self.read(move |db| {
            let sql = "SELECT c.issuer FROM gateway_certificate c JOIN gateway g ON g.id = c.gateway AND g.client_spki = c.spki
                       WHERE g.id = ?1";
            Ok(db.prepare_cached(sql)?.query_row([gateway.as_str()], |row| row.get(0)).optional()?)
        })
        .await
    }
}

/// Writes down what an enrolment gave, in its transaction.
///
/// # Errors
/// [`StoreError`] from the database.
pub(super) fn enrolled(tx: &Transaction<'_>, gateway: &GatewayId, given: &Given, now: Timestamp) -> Result<(), StoreError> {
    insert(tx, gateway, &given.certificate, now)?;
    tx.execute(
        "UPDATE gateway_certificate SET first_used_at = ?3 WHERE gateway = ?1 AND spki = ?2",
        params![gateway.as_str(), given.certificate.spki_sha256, now.as_nanos()],
    )?;
    let serial = i64::try_from(given.trust_serial).map_err(|_| StoreError::Corrupt("trust serial"))?;
    confirm(tx, gateway, serial, None, now)
}

/// What an enrolment gives a gateway.
#[derive(Clone, Debug)]
pub struct Given {
    /// Its certificate.
    pub certificate: Certificate,
    /// Serial of the trust that came with it.
    pub trust_serial: u64,
}

fn confirm(tx: &Transaction<'_>, gateway: &GatewayId, serial: i64, refused: Option<&str>, now: Timestamp) -> Result<(), StoreError> {
    let sql = match refused {
        None => {
            "INSERT INTO gateway_trust (gateway, confirmed, at) VALUES (?1, ?2, ?3)
             ON CONFLICT (gateway) DO UPDATE SET confirmed = ?2, at = ?3, refused_serial = NULL, refused = NULL"
        }
        Some(_) => {
            "INSERT INTO gateway_trust (gateway, confirmed, at, refused_serial, refused) VALUES (?1, 0, ?3, ?2, ?4)
             ON CONFLICT (gateway) DO UPDATE SET at = ?3, refused_serial = ?2, refused = ?4"
        }
    };
    match refused {
        None => tx.execute(sql, params![gateway.as_str(), serial, now.as_nanos()])?,
        Some(why) => tx.execute(sql, params![gateway.as_str(), serial, now.as_nanos(), why])?,
    };
    Ok(())
}

fn insert(tx: &Transaction<'_>, gateway: &GatewayId, certificate: &Certificate, issued_at: Timestamp) -> Result<(), StoreError> {
    tx.prepare_cached(
        "INSERT INTO gateway_certificate (gateway, spki, serial, issuer, not_before, not_after, issued_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (gateway, spki) DO NOTHING",
    )?
    .execute(params![
        gateway.as_str(),
        certificate.spki_sha256,
        certificate.serial,
        certificate.issuer,
        certificate.not_before.as_nanos(),
        certificate.not_after.as_nanos(),
        issued_at.as_nanos()
    ])?;
    Ok(())
}

fn presented(db: &Connection, gateway: &GatewayId, certificate: &Certificate) -> Result<Presented, StoreError> {
    let of_record: Option<Vec<u8>> =
        db.prepare_cached("SELECT client_spki FROM gateway WHERE id = ?1")?.query_row([gateway.as_str()], |row| row.get(0)).optional()?;
    let Some(of_record) = of_record else { return Ok(Presented::Unknown) };
    if of_record == certificate.spki_sha256 {
        return Ok(Presented::Current);
    }
    let not_before = |sql: &str, spki: &[u8]| -> Result<Option<Option<i64>>, StoreError> {
        Ok(db.prepare_cached(sql)?.query_row(params![gateway.as_str(), spki], |row| row.get(0)).optional()?)
    };
    let by_spki = "SELECT not_before FROM gateway_certificate WHERE gateway = ?1 AND spki = ?2";
    let newest = "SELECT max(not_before) FROM gateway_certificate WHERE gateway = ?1 AND ?2 IS NOT NULL";
    let begins_of_record = not_before(by_spki, &of_record)?.flatten().unwrap_or(i64::MIN);
    if let Some(begins) = not_before(by_spki, &certificate.spki_sha256)?.flatten() {
        let used: Option<i64> = db
            .prepare_cached("SELECT first_used_at FROM gateway_certificate WHERE gateway = ?1 AND spki = ?2")?
            .query_row(params![gateway.as_str(), certificate.spki_sha256], |row| row.get(0))?;
        return Ok(if used.is_none() && begins >= begins_of_record { Presented::Newer } else { Presented::Older });
    }
    let newest = not_before(newest, &of_record)?.flatten();
    Ok(if newest.is_some_and(|newest| certificate.not_before.as_nanos() > newest) { Presented::Newer } else { Presented::Unknown })
}

/// Returns what a test's enrolment gives.
#[cfg(test)]
pub(super) fn given(spki_sha256: [u8; 32]) -> Given {
    let (not_before, not_after) = (Timestamp::from_secs(0), Timestamp::from_secs(1 << 33));
    Given { certificate: Certificate { spki_sha256, serial: "01".to_owned(), issuer: [9; 32], not_before, not_after }, trust_serial: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::audit::{By, Outcome, What};

    fn certificate(key: u8, begins: i64) -> Certificate {
        Certificate {
            spki_sha256: [key; 32],
            serial: format!("{key:02x}"),
            issuer: [9; 32],
            not_before: Timestamp::from_secs(begins),
            not_after: Timestamp::from_secs(begins + 100),
        }
    }

    fn deed() -> Deed {
        let (about, detail) = ("gateway gw".to_owned(), String::new());
        Deed { at: Timestamp::from_secs(1), by: By::control_plane(), what: What::GatewayRenewed, about, detail, outcome: Outcome::Done }
    }

    async fn enrolled_gateway() -> (tempfile::TempDir, SystemStore, GatewayId) {
        let folder = tempfile::tempdir().unwrap();
        let stores = Stores::open(folder.path()).unwrap();
        let tenant = TenantId::new("t").unwrap();
        stores.create_tenant(&tenant, "T", Timestamp::from_secs(1)).await.unwrap();
        let store = stores.system().clone();
        let row = format!(
            "INSERT INTO gateway (id, tenant, name, enrolled_at, client_spki) VALUES ('gw', 't', 'Site', 0, x'{}')",
            "01".repeat(32)
        );
        store.write(move |tx| Ok(tx.execute_batch(&row)?)).await.unwrap();
        let gateway = GatewayId::new("gw").unwrap();
        let (of, given) = (gateway.clone(), Given { certificate: certificate(1, 1_000), trust_serial: 0 });
        store.write(move |tx| enrolled(tx, &of, &given, Timestamp::from_secs(1_000))).await.unwrap();
        (folder, store, gateway)
    }

    #[tokio::test]
    async fn the_key_of_record_changes_when_the_renewed_certificate_is_first_used_and_the_old_one_stays_good() {
        let (_folder, store, gateway) = enrolled_gateway().await;
        let now = Timestamp::from_secs(1_060);
        store.certificate_issued(&gateway, certificate(2, 1_050), (now, deed())).await.unwrap();
        let stands = async |key, begins| store.present(&gateway, &certificate(key, begins)).await.unwrap();
        assert_eq!((stands(1, 1_000).await, stands(2, 1_050).await), (Presented::Current, Presented::Newer));
        assert!(!store.certificate_used(&gateway, &certificate(1, 1_000), now).await.unwrap());
        assert!(store.certificate_used(&gateway, &certificate(2, 1_050), now).await.unwrap());
        assert_eq!((stands(1, 1_000).await, stands(2, 1_050).await), (Presented::Older, Presented::Current));
        // A disk that was set back shows the old one: it opens a session, and is not made the one of record again.
        assert!(!store.certificate_used(&gateway, &certificate(1, 1_000), now).await.unwrap());
        assert_eq!(stands(2, 1_050).await, Presented::Current);
    }

    #[tokio::test]
    async fn a_certificate_that_this_database_forgot_is_good_only_if_it_is_newer_than_all_that_it_knows() {
        let (_folder, store, gateway) = enrolled_gateway().await;
        let stands = async |key, begins| store.present(&gateway, &certificate(key, begins)).await.unwrap();
        assert_eq!((stands(7, 1_000).await, stands(7, 999).await), (Presented::Unknown, Presented::Unknown));
        assert_eq!(stands(7, 1_001).await, Presented::Newer);
        assert!(store.certificate_used(&gateway, &certificate(7, 1_001), Timestamp::from_secs(2_000)).await.unwrap());
        assert_eq!((stands(7, 1_001).await, stands(1, 1_000).await), (Presented::Current, Presented::Older));
        let other = GatewayId::new("other").unwrap();
        assert_eq!(store.present(&other, &certificate(7, 9_999)).await.unwrap(), Presented::Unknown);
    }

    #[tokio::test]
    async fn a_refused_bundle_leaves_what_was_confirmed_and_says_why() {
        let (_folder, store, gateway) = enrolled_gateway().await;
        let now = Timestamp::from_secs(2);
        store.trust_confirmed(&gateway, 3, None, now).await.unwrap();
        store.trust_confirmed(&gateway, 4, Some("no common pin".to_owned()), now).await.unwrap();
        let expected = ConfirmedTrust { confirmed: 3, refused: Some("no common pin".to_owned()) };
        assert_eq!(store.confirmed_trust(&gateway).await.unwrap(), expected);
        store.trust_confirmed(&gateway, 5, None, now).await.unwrap();
        assert_eq!(store.confirmed_trust(&gateway).await.unwrap(), ConfirmedTrust { confirmed: 5, refused: None });
    }
}
