//! What every handler of a session works with, and what it may end the session with.

use std::net::SocketAddr;
use std::sync::Arc;

use super::frames::StreamError;
use super::identity::Peer;
use crate::app::App;
use crate::feed::Change;
use crate::store::{StoreError, TenantStore};

/// What every handler works with. Cheap to clone.
#[derive(Clone)]
pub(super) struct Context {
    /// What the program shares.
    pub(super) app: Arc<App>,
    /// Whose session it is.
    pub(super) peer: Peer,
    /// Address from which the connection came.
    pub(super) from: SocketAddr,
    /// The tenant's database.
    pub(super) store: TenantStore,
}

impl Context {
    /// Tells readers, after a commit, that something of this gateway changed.
    pub(super) fn publish(&self) {
        self.app.feed.publish(&self.peer.tenant, Change::Gateway { id: self.peer.gateway.clone() });
    }
}

/// Why a handler ends the session.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandlerError {
    /// The gateway sent what the protocol does not allow.
    #[error("{0}")]
    Invalid(&'static str),
    /// The gateway may not have a session; the text says why and what to do, for a person at the gateway.
    #[error("{0}")]
    Refused(String),
    /// The gateway may not have a session now, and is to come again.
    #[error("{0}")]
    Later(String),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// The stream broke.
    #[error(transparent)]
    Stream(#[from] StreamError),
}
