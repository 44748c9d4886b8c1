//! The messages between the daemon and the control plane that are not records: they wait here while there is no session, or
//! while the other side is busy.
//!
//! Owned by [`super::run`], over all sessions.

use std::collections::VecDeque;
use std::future::Future;

use super::connection::Loss;
use super::outbox::Outbox;
use super::{Control, Incoming};

/// Messages of the control plane that may wait for the daemon; beyond that the session ends, and it sends them again.
const MAX_WAITING: usize = 1024;

/// What waits in either direction.
#[derive(Debug, Default)]
pub(crate) struct Mail {
    /// For the control plane.
    pub(crate) outbox: Outbox,
    inbox: VecDeque<Incoming>,
}

impl Mail {
    /// Takes in a message for the daemon.
    ///
    /// # Errors
    /// [`Loss::Overrun`] when the daemon is far behind.
    pub(crate) fn deliver(&mut self, message: Incoming) -> Result<(), Loss> {
        if matches!(message, Incoming::ResendOpenAlerts { .. }) && self.inbox.contains(&message) {
            return Ok(());
        }
        if matches!(message, Incoming::Certificate(_)) {
            self.outbox.certified();
        }
        if self.inbox.len() >= MAX_WAITING {
            return Err(Loss::Overrun);
        }
        self.inbox.push_back(message);
        Ok(())
    }

    /// Moves one message in either direction. Cancel-safe: a reservation that is given up moves nothing.
    pub(crate) async fn turn(&mut self, control: &mut Control) {
        tokio::select! {
            biased;
            permit = control.incoming.reserve(), if !self.inbox.is_empty() => match permit {
                Ok(permit) => {
                    if let Some(message) = self.inbox.pop_front() {
                        permit.send(message);
                    }
                }
                // The daemon is going down.
                Err(_) => self.inbox.clear(),
            },
            Some(message) = control.outgoing.recv() => self.outbox.put(message),
            else => std::future::pending().await,
        }
    }

    /// Moves messages while `work` goes on.
    pub(crate) async fn attend<T>(&mut self, control: &mut Control, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = self.turn(control) => {}
            }
        }
    }
}
