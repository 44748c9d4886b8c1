//! Why nothing names an OID, as far as it is known here: which uploaded module does, or whose MIB is wanted.

use std::sync::Arc;

use bytes::Bytes;
use postern_protocol::dictionary::Dictionary;
use postern_protocol::dictionary::entry::Kind;
use postern_protocol::dictionary::table::Table;
use serde::Serialize;

use crate::store::{StoreError, TenantStore};

/// Number of the place `enterprises` (RFC 1155 §3.1.4), under which every vendor has a number of its own.
const ENTERPRISES: [u32; 6] = [1, 3, 6, 1, 4, 1];

/// Most numbers of an OID (RFC 3416 §3).
const MAX_NUMBERS: usize = 128;

/// What is known of an OID without a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The notification's name, when an uploaded module defines it: the gateway did not have the table yet.
    pub name: Option<String>,
    /// The module that defines it, or that names the place above it.
    pub module: Option<String>,
    /// The name of the nearest place above it that has one.
    pub above: Option<String>,
    /// What to do, in a sentence.
    pub advice: String,
}

/// The tenant's names and the built-in ones.
pub struct Names {
    uploaded: Option<Dictionary>,
    built_in: Dictionary,
}

impl Names {
    /// Loads the names of a tenant.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn load(store: &TenantStore) -> Result<Self, StoreError> {
        let table = store.dictionary_table().await?;
        // Checking a table of megabytes takes milliseconds.
        let work = move || Self::new(table.map(|(_, table)| table));
        tokio::task::spawn_blocking(work).await.map_err(|_| StoreError::Stopped)
    }

    fn new(table: Option<Bytes>) -> Self {
        let uploaded = table.and_then(|table| Table::parse(table).ok()).map(|table| Dictionary::new(vec![Arc::new(table)]));
        Self { uploaded, built_in: built_in() }
    }

    /// Says what is known of `oid`.
    pub fn explain(&self, oid: &str) -> Explanation {
        let Some(numbers) = numbers(oid) else { return Explanation { advice: "This is no OID.".to_owned(), ..Explanation::default() } };
        if let Some(entry) = self.uploaded.as_ref().and_then(|names| names.notification(&numbers)) {
            let advice = format!("{} defines it: gateways name it as soon as they have the present dictionary.", entry.module);
            return Explanation { name: Some(entry.name), module: Some(entry.module.to_owned()), above: None, advice };
        }
        let above =
            self.uploaded.as_ref().and_then(|names| names.longest_prefix(&numbers)).filter(|entry| entry.oid_len > ENTERPRISES.len() + 1);
        if let Some(entry) = above {
            let what = if entry.kind == Kind::Notification { "a notification" } else { "a place above it" };
            let advice = format!(
                "{} names {what}, {}, but not this one: a newer release of it, or a module beside it, may.",
                entry.module, entry.name
            );
            return Explanation { name: None, module: Some(entry.module.to_owned()), above: Some(entry.name), advice };
        }
        self.vendor(&numbers)
    }

    fn vendor(&self, numbers: &[u32]) -> Explanation {
        let Some(number) = numbers.strip_prefix(&ENTERPRISES).and_then(|rest| rest.first()) else {
            let advice = "It is no vendor's: upload the standard's MIB module that defines it.".to_owned();
            return Explanation { advice, ..Explanation::default() };
        };
        let place: Vec<u32> = ENTERPRISES.iter().chain([number]).copied().collect();
        match self.built_in.longest_prefix(&place).filter(|entry| entry.oid_len == place.len()) {
            Some(entry) => {
                let advice = format!("Enterprise {number} is {}: upload the vendor's MIB modules.", entry.name);
                Explanation { above: Some(entry.name), advice, ..Explanation::default() }
            }
            None => {
                let advice =
                    format!("Find enterprise {number} in IANA's list of private enterprise numbers and upload that vendor's MIB modules.");
                Explanation { advice, ..Explanation::default() }
            }
        }
    }
}

fn built_in() -> Dictionary {
    Dictionary::new(vec![Arc::new(postern_protocol::dictionary::built_in::table())])
}

fn numbers(oid: &str) -> Option<Vec<u32>> {
    let numbers: Vec<u32> = oid.split('.').take(MAX_NUMBERS + 1).map(|number| number.parse().ok()).collect::<Option<_>>()?;
    (numbers.len() <= MAX_NUMBERS).then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_protocol::dictionary::builder::Builder;

    #[test]
    fn an_oid_of_an_unknown_vendor_names_its_number() {
        let names = Names::new(Some(Bytes::from(Builder::default().encode().unwrap())));
        let text = |oid: &str| names.explain(oid).advice;
        assert!(text("1.3.6.1.4.1.4294967295.1").starts_with("Find enterprise 4294967295"));
        assert!(text("1.3.6.1.2.1.99.0.1").contains("no vendor's"));
        assert!(text("1.3.6.1.4.1.9.9.43.2.0.1").starts_with("Enterprise 9 is cisco"));
        assert_eq!(text("1.<script>"), "This is no OID.");
        assert_eq!(text(&["1"; 200].join(".")), "This is no OID.");
    }
}
