//! The gateway's audit log as it comes up: entries are stored, checked and countersigned. A log that does not fit what came before
//! raises an alert of the control plane's own.

use postern_protocol::alert::{AlertKey, Severity};
use postern_protocol::audit::receipt_input;
use postern_protocol::id::RuleId;
use postern_protocol::message::{AuditEntries, AuditReceipt, down};

use super::context::{Context, HandlerError};
use super::downward::Downward;
use crate::store::StoreError;
use crate::store::gateway_audit::{BOUNDS, Break};
use crate::store::own_alerts::{AUDIT_FORKED, OwnAlert};

/// What stands where an alert names its rule.
const RULE: &str = "control-plane.audit-forked";

/// Returns the number of the last entry that is stored: the gateway goes on behind it.
pub(super) async fn last_number(context: &Context) -> Result<u64, HandlerError> {
    Ok(context.store.last_audit_number(&context.peer.gateway).await?)
}

/// Stores entries and answers with a receipt.
pub(super) async fn take(context: &Context, entries: AuditEntries, down: &mut Downward) -> Result<(), HandlerError> {
    let Context { app, peer, store, .. } = context;
    let entries = entries.entries;
    let (count, bytes) = BOUNDS;
    if entries.len() > count || entries.iter().any(|entry| entry.text.len() > bytes || i64::try_from(entry.number).is_err()) {
        return Err(HandlerError::Invalid("more of an audit log than one message may hold"));
    }
    let now = app.now();
    let taken = store.take_audit(&peer.gateway, entries, now).await?;
    for found in &taken.breaks {
        tracing::warn!(gateway = %peer.gateway, number = found.number, kind = ?found.kind, "a gateway's audit log does not fit");
        raise(context, found).await?;
    }
    if taken.stored > 0 {
        context.publish();
    }
    let mut receipt =
        AuditReceipt { number: taken.last.number, digest: taken.last.digest.to_vec(), at: now.as_nanos(), signature: Vec::new() };
    receipt.signature = app.signer.sign_input(&receipt_input(&peer.gateway, &receipt));
    Ok(down.send(down::Kind::AuditReceipt(receipt)).await?)
}

async fn raise(context: &Context, found: &Break) -> Result<(), HandlerError> {
    let Context { app, peer, store, .. } = context;
    let alert = OwnAlert {
        key: AlertKey { resource: peer.gateway.as_str().to_owned(), kind: AUDIT_FORKED.to_owned(), qualifier: String::new() },
        severity: Severity::Critical,
        summary: format!("The audit log of gateway {} does not fit what came before: {}", peer.gateway, found.text),
        rule: RuleId::new(RULE).map_err(|_| StoreError::Corrupt("rule"))?,
    };
    if let Some(change) = store.raise_own(&peer.gateway, alert, found.at).await? {
        app.feed.publish(&peer.tenant, change);
    }
    Ok(())
}
