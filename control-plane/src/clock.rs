//! The one place that reads the wall clock.

use std::time::SystemTime;

use postern_protocol::timestamp::Timestamp;

/// Returns the present time.
pub fn now() -> Timestamp {
    SystemTime::now().into()
}
