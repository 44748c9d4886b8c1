//! The published JSON Schema is the one that the types say. `UPDATE_GOLDEN=1 cargo test -p postern-protocol --features schema` writes it.
#![cfg(feature = "schema")]

use std::path::Path;

use postern_protocol::revision::document::Document;

#[test]
fn the_published_schema_of_a_revision_is_that_of_the_types() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/revision.schema.json");
    let mut schema = schemars::schema_for!(Document);
    schema.insert("$id".to_owned(), "https://postern.internal/schemas/revision.json".into());
    schema.insert("title".to_owned(), "Postern revision".into());
    let text = format!("{}\n", serde_json::to_string_pretty(&schema).unwrap());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let published = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(published == text, "{} is out of date: run this test with UPDATE_GOLDEN=1", path.display());
}
