//! The meaning of the `tables` section.

use std::collections::BTreeMap;

use super::Problems;
use crate::revision::document::Table;
use crate::revision::field::is_table_name;
use crate::revision::locate::Place;

/// Most tables of a document.
const MAX_TABLES: usize = 64;

/// Most rows of a table.
const MAX_ROWS: usize = 10_000;

/// Most bytes of a row's text on either side.
const MAX_TEXT_BYTES: usize = 256;

/// Checks the `tables` section.
pub(super) fn tables(tables: &BTreeMap<String, Table>, place: &Place<'_>, problems: &mut Problems<'_>) {
    if tables.len() > MAX_TABLES {
        problems.add(place, format!("{} tables are more than {MAX_TABLES}", tables.len()));
    }
    for (name, table) in tables.iter().take(MAX_TABLES) {
        let place = place.key(name);
        if !is_table_name(name) {
            problems.add_key(&place, "a table's name has 1 to 64 of the characters a-z, 0-9, '.', '_' and '-'");
        }
        let rows = place.key("rows");
        if table.rows.len() > MAX_ROWS {
            problems.add(&rows, format!("{} rows are more than {MAX_ROWS}", table.rows.len()));
        }
        let long = |text: &str| text.len() > MAX_TEXT_BYTES;
        for (text, entry) in table.rows.iter().take(MAX_ROWS).filter(|(text, entry)| long(text) || long(entry)) {
            let which = if long(text) { "what is looked up" } else { "its text" };
            problems.add(&rows.key(text), format!("{which} has at most {MAX_TEXT_BYTES} bytes, not {}", text.len().max(entry.len())));
        }
        if table.default.as_deref().is_some_and(long) {
            problems.add(&place.key("default"), format!("a text has at most {MAX_TEXT_BYTES} bytes"));
        }
    }
}
