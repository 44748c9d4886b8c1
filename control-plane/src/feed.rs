//! The change feed: says *that* something of a tenant changed, after the commit; readers fetch *what* from the store.
//!
//! A reader that falls behind is told so (`Lagged`) and reads again from the store; nothing waits for a slow reader.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use postern_protocol::id::{GatewayId, TenantId};
use tokio::sync::broadcast;

/// Changes that a reader may fall behind before it has to read again.
const CAPACITY: usize = 1024;

/// Something of a tenant changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An alert's row.
    Alert {
        /// The alert.
        id: String,
        /// Its new revision.
        revision: i64,
    },
    /// A gateway's connection, status, revision or existence.
    Gateway {
        /// The gateway.
        id: GatewayId,
    },
}

/// One broadcast for each tenant. Cheap to clone.
#[derive(Clone, Default)]
pub struct Feed {
    // A mutex because requests and sessions of any tenant meet here; it is held for a map look-up.
    tenants: Arc<Mutex<HashMap<TenantId, broadcast::Sender<Change>>>>,
}

impl Feed {
    /// Subscribes to the changes of `tenant` from now on.
    pub fn subscribe(&self, tenant: &TenantId) -> broadcast::Receiver<Change> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        tenants.entry(tenant.clone()).or_insert_with(|| broadcast::Sender::new(CAPACITY)).subscribe()
    }

    /// Tells every subscriber of `tenant`. Call it after the commit.
    pub fn publish(&self, tenant: &TenantId, change: Change) {
        let tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = tenants.get(tenant) {
            // Fails only when no one listens.
            let _unheard = sender.send(change);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_reach_only_their_own_tenant() {
        let feed = Feed::default();
        let (a, b) = (TenantId::new("a").unwrap(), TenantId::new("b").unwrap());
        let (mut of_a, mut of_b) = (feed.subscribe(&a), feed.subscribe(&b));
        feed.publish(&a, Change::Alert { id: "x".to_owned(), revision: 1 });
        assert_eq!(of_a.try_recv(), Ok(Change::Alert { id: "x".to_owned(), revision: 1 }));
        assert!(of_b.try_recv().is_err());
    }
}
