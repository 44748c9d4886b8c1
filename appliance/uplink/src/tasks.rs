//! The daemon's named tasks: one set, one cancellation token; the first death stops them all.
//!
//! Every long-lived task of a program is spawned here, so that none can fail unseen. A task ends only because it was asked to
//! (its doc says how it is asked); one that ends earlier, with or without an error, takes the daemon down, and systemd starts it again.

use std::collections::HashMap;
use std::error::Error;
use std::future::Future;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

type Boxed = Box<dyn Error + Send + Sync>;

/// Why the daemon stopped, other than because it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// A task returned although nobody had asked it to.
    #[error("task {name} ended before it was asked to")]
    EndedEarly {
        /// Its name.
        name: &'static str,
    },
    /// A task failed.
    #[error("task {name} failed")]
    Failed {
        /// Its name.
        name: &'static str,
        /// What it said.
        #[source]
        cause: Boxed,
    },
    /// A task panicked: a fault in the program.
    #[error("task {name} panicked")]
    Panicked {
        /// Its name.
        name: &'static str,
    },
    /// Tasks did not end within the time allowed for it; they were aborted.
    #[error("tasks did not end in time and were aborted: {}", names.join(", "))]
    Stuck {
        /// Their names.
        names: Vec<&'static str>,
    },
}

/// A set of named tasks that live and die together.
pub struct Tasks {
    names: HashMap<Id, &'static str>,
    set: JoinSet<Result<(), Boxed>>,
    stop: CancellationToken,
}

impl Tasks {
    /// Makes an empty set; `stop` asks every task in it to end, and is cancelled when one of them dies.
    pub fn new(stop: CancellationToken) -> Self {
        Self { names: HashMap::new(), set: JoinSet::new(), stop }
    }

    /// Starts `future` under `name`.
    pub fn spawn<E: Into<Boxed>>(&mut self, name: &'static str, future: impl Future<Output = Result<(), E>> + Send + 'static) {
        let handle = self.set.spawn(async move { future.await.map_err(Into::into) });
        self.names.insert(handle.id(), name);
    }

    /// Waits until the token is cancelled or the first task ends, then asks all to end and gives them `drain` for it.
    ///
    /// # Errors
    /// The first death, or [`TaskError::Stuck`] when all was well but some tasks would not end.
    pub async fn run_until_stopped(mut self, drain: Duration) -> Result<(), TaskError> {
        let mut first = Ok(());
        let stop = self.stop.clone();
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            Some(ended) = self.set.join_next_with_id() => {
                let (name, outcome) = self.outcome(ended);
                first = outcome.and(Err(TaskError::EndedEarly { name }));
            }
        }
        self.stop.cancel();
        let draining = async {
            while let Some(ended) = self.set.join_next_with_id().await {
                let (_, outcome) = self.outcome(ended);
                first = std::mem::replace(&mut first, Ok(())).and(outcome);
            }
        };
        let in_time = tokio::time::timeout(drain, draining).await.is_ok();
        if in_time {
            return first;
        }
        self.set.shutdown().await;
        let mut names: Vec<_> = self.names.into_values().collect();
        names.sort_unstable();
        tracing::warn!(tasks = ?names, "tasks did not end in time");
        first.and(Err(TaskError::Stuck { names }))
    }

    fn outcome(&mut self, ended: Result<(Id, Result<(), Boxed>), JoinError>) -> (&'static str, Result<(), TaskError>) {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let name = self.names.remove(&id).unwrap_or("unnamed");
        let outcome = match ended {
            Ok((_, result)) => result.map_err(|cause| TaskError::Failed { name, cause }),
            Err(_) => Err(TaskError::Panicked { name }),
        };
        (name, outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    async fn until(token: CancellationToken) -> Result<(), std::io::Error> {
        token.cancelled().await;
        Ok(())
    }

    #[tokio::test]
    async fn the_first_failure_stops_all_and_is_told() {
        let stop = CancellationToken::new();
        let mut tasks = Tasks::new(stop.clone());
        tasks.spawn("waits", until(stop.clone()));
        tasks.spawn("fails", async { Err(std::io::Error::other("disk on fire")) });
        let error = tasks.run_until_stopped(LONG).await.unwrap_err();
        assert!(matches!(error, TaskError::Failed { name: "fails", .. }), "{error:?}");
        assert!(stop.is_cancelled());
    }

    #[tokio::test]
    async fn a_task_that_ends_unasked_is_a_fault() {
        let mut tasks = Tasks::new(CancellationToken::new());
        tasks.spawn("ends", async { Ok::<(), std::io::Error>(()) });
        assert!(matches!(tasks.run_until_stopped(LONG).await, Err(TaskError::EndedEarly { name: "ends" })));
    }

    #[tokio::test]
    async fn a_panic_is_told_by_name() {
        let mut tasks = Tasks::new(CancellationToken::new());
        tasks.spawn("panics", async { if true { panic!("on purpose") } else { Ok::<(), std::io::Error>(()) } });
        assert!(matches!(tasks.run_until_stopped(LONG).await, Err(TaskError::Panicked { name: "panics" })));
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_will_not_end_is_aborted_and_named() {
        let stop = CancellationToken::new();
        let mut tasks = Tasks::new(stop.clone());
        tasks.spawn("good", until(stop.clone()));
        tasks.spawn("stuck", std::future::pending::<Result<(), std::io::Error>>());
        stop.cancel();
        let error = tasks.run_until_stopped(LONG).await.unwrap_err();
        assert!(matches!(error, TaskError::Stuck { names } if names == ["stuck"]));
    }

    #[tokio::test]
    async fn a_stop_on_request_is_no_error() {
        let stop = CancellationToken::new();
        let mut tasks = Tasks::new(stop.clone());
        tasks.spawn("waits", until(stop.clone()));
        stop.cancel();
        assert!(tasks.run_until_stopped(LONG).await.is_ok());
    }
}
