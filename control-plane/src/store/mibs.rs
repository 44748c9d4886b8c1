//! Archives of MIB modules that a tenant uploaded, and the dictionary that all of them compile to.

use bytes::Bytes;
use postern_protocol::timestamp::Timestamp;
use rusqlite::{OptionalExtension as _, Transaction, params};
use serde::Serialize;

use super::{StoreError, TenantStore};
use crate::mib::report::Report;

/// An archive without its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UploadView {
    /// Its number, counted up.
    pub number: i64,
    /// The file's name, as it was uploaded.
    pub name: String,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
    /// Its length.
    pub bytes: u64,
    /// When it was uploaded.
    #[serde(serialize_with = "crate::rfc3339::serialize")]
    pub uploaded_at: Timestamp,
    /// Who uploaded it.
    pub uploaded_by: String,
}

/// An archive to be kept.
#[derive(Clone, Debug)]
pub struct NewUpload {
    /// The file's name.
    pub name: String,
    /// SHA-256 of the content.
    pub sha256: [u8; 32],
    /// The content.
    pub archive: Bytes,
}

/// How the list of archives changes.
#[derive(Clone, Debug)]
pub enum UploadChange {
    /// One more.
    Add(NewUpload),
    /// The one of this number goes.
    Remove(i64),
}

/// What all archives compile to.
#[derive(Clone, Debug)]
pub struct NewDictionary {
    /// SHA-256 of the table.
    pub digest: [u8; 32],
    /// The table.
    pub table: Vec<u8>,
    /// What became of each module.
    pub report: Report,
    /// Who brought it about.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// A tenant's dictionary without its table.
#[derive(Clone, Debug, PartialEq)]
pub struct DictionaryView {
    /// SHA-256 of the table.
    pub digest: [u8; 32],
    /// What became of each module.
    pub report: Report,
    /// When it was made.
    pub made_at: Timestamp,
    /// Who brought it about.
    pub made_by: String,
}

impl TenantStore {
    /// Lists the archives, oldest first.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn mib_uploads(&self) -> Result<Vec<UploadView>, StoreError> {
        self.read(|db| {
            let mut statement =
                db.prepare_cached("SELECT number, name, sha256, bytes, uploaded_at, uploaded_by FROM mib_upload ORDER BY number")?;
            let mut rows = statement.query([])?;
            let mut views = Vec::new();
            while let Some(row) = rows.next()? {
                views.push(UploadView {
                    number: row.get(0)?,
                    name: row.get(1)?,
                    sha256: data_encoding::HEXLOWER.encode(&row.get::<_, Vec<u8>>(2)?),
                    bytes: u64::try_from(row.get::<_, i64>(3)?).map_err(|_| StoreError::Corrupt("length"))?,
                    uploaded_at: Timestamp::from_nanos(row.get(4)?),
                    uploaded_by: row.get(5)?,
                });
            }
            Ok(views)
        })
        .await
    }

    /// Returns the archives' contents, oldest first, without that of the number `except`.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn mib_archives(&self, except: Option<i64>) -> Result<Vec<Bytes>, StoreError> {
        self.read(move |db| {
            let mut statement = db.prepare_cached("SELECT archive FROM mib_upload WHERE number IS NOT ?1 ORDER BY number")?;
            let rows = statement.query_map([except], |row| row.get::<_, Vec<u8>>(0).map(Bytes::from))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }

    /// Changes the list of archives and stores what they compile to, both or neither.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when the same archive is there already, [`StoreError::NotFound`] when there is none to remove.
    pub async fn change_mibs(&self, change: UploadChange, new: NewDictionary) -> Result<(), StoreError> {
        self.write(move |tx| {
            change_uploads(tx, &change, &new)?;
            let report = serde_json::to_string(&new.report).map_err(|_| StoreError::Corrupt("report"))?;
            tx.execute(
                "INSERT INTO dictionary (only_row, digest, oid_table, report, made_at, made_by) VALUES (1, ?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (only_row) DO UPDATE SET digest = ?1, oid_table = ?2, report = ?3, made_at = ?4, made_by = ?5",
                params![new.digest, new.table, report, new.at.as_nanos(), new.by],
            )?;
            Ok(())
        })
        .await
    }

    /// Returns the dictionary without its table; `None` before the first upload.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn dictionary(&self) -> Result<Option<DictionaryView>, StoreError> {
        self.read(|db| {
            let row = db
                .prepare_cached("SELECT digest, report, made_at, made_by FROM dictionary")?
                .query_row([], |row| Ok((row.get::<_, [u8; 32]>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?, row.get(3)?)))
                .optional()?;
            let Some((digest, report, at, made_by)) = row else { return Ok(None) };
            let report = serde_json::from_str(&report).map_err(|_| StoreError::Corrupt("report"))?;
            Ok(Some(DictionaryView { digest, report, made_at: Timestamp::from_nanos(at), made_by }))
        })
        .await
    }

    /// Returns the digest of the dictionary; `None` before the first upload.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn dictionary_digest(&self) -> Result<Option<[u8; 32]>, StoreError> {
        self.read(|db| Ok(db.prepare_cached("SELECT digest FROM dictionary")?.query_row([], |row| row.get(0)).optional()?)).await
    }

    /// Returns the dictionary's digest and table; `None` before the first upload.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn dictionary_table(&self) -> Result<Option<([u8; 32], Bytes)>, StoreError> {
        self.read(|db| {
            let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, Bytes::from(row.get::<_, Vec<u8>>(1)?)));
            Ok(db.prepare_cached("SELECT digest, oid_table FROM dictionary")?.query_row([], row).optional()?)
        })
        .await
    }
}

fn change_uploads(tx: &Transaction<'_>, change: &UploadChange, new: &NewDictionary) -> Result<(), StoreError> {
    match change {
        UploadChange::Add(upload) => {
            let bytes = i64::try_from(upload.archive.len()).unwrap_or(i64::MAX);
            let added = tx.execute(
                "INSERT INTO mib_upload (name, sha256, bytes, archive, uploaded_at, uploaded_by) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (sha256) DO NOTHING",
                params![upload.name, upload.sha256, bytes, upload.archive.as_ref(), new.at.as_nanos(), new.by],
            )?;
            if added == 0 { Err(StoreError::Conflict("this very archive is there already".to_owned())) } else { Ok(()) }
        }
        UploadChange::Remove(number) => match tx.execute("DELETE FROM mib_upload WHERE number = ?1", [number])? {
            0 => Err(StoreError::NotFound),
            _ => Ok(()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dictionary(digest: u8) -> NewDictionary {
        let report = Report { modules: vec![Default::default()], ..Report::default() };
        NewDictionary { digest: [digest; 32], table: vec![digest; 3], report, by: "anna".into(), at: Timestamp::from_secs(1) }
    }

    fn upload(content: &'static [u8]) -> UploadChange {
        UploadChange::Add(NewUpload { name: "x.zip".into(), sha256: [content[0]; 32], archive: Bytes::from_static(content) })
    }

    #[tokio::test]
    async fn archives_and_dictionary_change_together_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let store = TenantStore::open(&folder.path().join("t.db")).unwrap();
        assert_eq!(store.dictionary_digest().await.unwrap(), None);
        store.change_mibs(upload(b"a"), dictionary(1)).await.unwrap();
        store.change_mibs(upload(b"b"), dictionary(2)).await.unwrap();
        assert!(matches!(store.change_mibs(upload(b"a"), dictionary(3)).await, Err(StoreError::Conflict(_))));
        assert!(matches!(store.change_mibs(UploadChange::Remove(9), dictionary(3)).await, Err(StoreError::NotFound)));
        assert_eq!(store.dictionary_table().await.unwrap(), Some(([2; 32], Bytes::from_static(&[2, 2, 2]))));
        assert_eq!(store.mib_archives(Some(1)).await.unwrap(), [Bytes::from_static(b"b")]);
        store.change_mibs(UploadChange::Remove(1), dictionary(4)).await.unwrap();
        assert_eq!(store.mib_uploads().await.unwrap().iter().map(|one| one.number).collect::<Vec<_>>(), [2]);
        assert_eq!(store.dictionary().await.unwrap().unwrap().report.modules.len(), 1);
    }
}
