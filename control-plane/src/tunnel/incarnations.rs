//! Which start of which disk greets: tells a succession from a disk that was set back and from a clone.

use postern_protocol::message::Hello;

use super::context::{Context, HandlerError};

/// Judges a greeting, before it is answered.
pub(super) async fn arrive(_context: &Context, _hello: &Hello) -> Result<(), HandlerError> {
    Ok(())
}
