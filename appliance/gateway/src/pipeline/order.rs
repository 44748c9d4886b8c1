//! What the rest of the daemon may want of the pipeline.

use std::sync::Arc;

use postern_engine::alert::OwnReport;
use postern_engine::rule::RuleIndex;
use postern_protocol::alert::{Alert, AlertKey};
use postern_protocol::dictionary::Dictionary;
use postern_protocol::inventory::Inventory;
use tokio::sync::oneshot;

/// Something that is wanted of the task.
pub(crate) enum Order {
    /// Alerts that this gateway had reported before its disk was set back.
    Adopt {
        /// What it reported.
        alerts: Vec<Alert>,
        /// Whether these were the last ones: every open alert is then to be sent again.
        complete: bool,
        /// What that fulfils: `Welcome::resend_nonce`.
        nonce: u64,
    },
    /// A person closed an alert.
    Close {
        /// Which.
        key: AlertKey,
        /// Which occurrence of it.
        occurrence: u64,
        /// The count that the person saw.
        count_seen: u64,
    },
    /// What the gateway is made of, to be sent.
    Inventory(Box<Inventory>),
    /// Something is wrong with the gateway itself.
    Own(OwnReport),
    /// What was wrong with the gateway itself is over.
    OwnClear {
        /// Its kind.
        kind: &'static str,
        /// Its qualifier.
        qualifier: String,
    },
    /// Alerts are written with other names from now on.
    ReplaceDictionary(Arc<Dictionary>),
    /// Other rules are in force from now on; answered when they are.
    ReplaceRules(Box<RuleIndex>, oneshot::Sender<()>),
    /// Every open alert is to be sent again.
    Resend {
        /// What that fulfils: `Welcome::resend_nonce`; 0 when the control plane did not ask.
        nonce: u64,
    },
    /// The control plane knows that every open alert was sent again.
    ResentHeard {
        /// The first revision that they got.
        since_revision: u64,
    },
}
