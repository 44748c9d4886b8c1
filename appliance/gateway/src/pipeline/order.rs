//! What the rest of the daemon may want of the pipeline.

use std::sync::Arc;

use postern_engine::alert::OwnReport;
use postern_engine::event::Event;
use postern_engine::rule::RuleIndex;
use postern_protocol::alert::{Alert, AlertKey};
use postern_protocol::dictionary::Dictionary;
use postern_protocol::inventory::Inventory;
use tokio::sync::oneshot;

use crate::replay::live::InForce;

/// What a self-test asks: the pipeline answers each part as soon as it is done.
pub(crate) struct Rehearsal {
    /// What the rules are held against. Nothing comes of it, and no ledger counts it.
    pub(crate) events: Vec<Event>,
    /// Told when they have decided.
    pub(crate) decided: oneshot::Sender<()>,
    /// Told when a commit is durable that came after.
    pub(crate) durable: oneshot::Sender<()>,
}

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
    /// Rules and spool are to prove that they work.
    Rehearse(Rehearsal),
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
    /// Somebody wants to know the rules in force, and the names that alerts are written with.
    TellRules(oneshot::Sender<InForce>),
}
