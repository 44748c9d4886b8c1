//! What the service manager gives and wants: passed sockets (`LISTEN_FDS`), readiness, the watchdog, the stop.
//!
//! Without a service manager all of it does nothing.

use std::io;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::pipeline::PipelineFacts;
use crate::receivers;

/// Sockets that the service manager passed, by the name that its unit gives them.
#[derive(Default)]
pub struct PassedSockets(pub(crate) receivers::Passed);

impl PassedSockets {
    /// Takes the sockets named in `LISTEN_FDNAMES`. To be called once, before anything else opens files.
    ///
    /// # Errors
    /// When a passed descriptor is not the kind of socket that its name says.
    pub fn from_environment() -> io::Result<Self> {
        let mut descriptors = listenfd::ListenFd::from_env();
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut passed = receivers::Passed::default();
        for (at, name) in names.split(':').enumerate().take(descriptors.len()) {
            match name {
                "snmp_trap" | "syslog_udp" => {
                    if let Some(socket) = descriptors.take_udp_socket(at)? {
                        passed.udp.insert(name.to_owned(), socket);
                    }
                }
                "proxy" | "syslog_tcp" | "syslog_tls" => {
                    if let Some(listener) = descriptors.take_tcp_listener(at)? {
                        passed.tcp.insert(name.to_owned(), listener);
                    }
                }
                other => {
                    tracing::warn!(socket = other, known = ?receivers::PASSED_NAMES, "the service manager passed a socket of unknown name")
                }
            }
        }
        Ok(Self(passed))
    }
}

/// Tells the service manager that the daemon is ready, feeds its watchdog as long as the pipeline works, and tells it of the stop.
/// Ends when `stop` is cancelled.
///
/// # Errors
/// None: a service manager that does not listen is no reason to stop.
pub(crate) async fn notify(mut pipeline: watch::Receiver<PipelineFacts>, stop: CancellationToken) -> io::Result<()> {
    send(NotifyState::Ready);
    let watched = sd_notify::watchdog_enabled().is_some_and(|period| period > Duration::ZERO);
    loop {
        // Cancel-safe: `changed` loses nothing.
        tokio::select! {
            () = stop.cancelled() => break,
            changed = pipeline.changed() => if changed.is_err() {
                stop.cancelled().await;
                break;
            },
        }
        if watched {
            send(NotifyState::Watchdog);
        }
    }
    send(NotifyState::Stopping);
    Ok(())
}

fn send(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(error = %error, "the service manager cannot be notified");
    }
}
