//! What the service manager gives and wants: passed sockets (`LISTEN_FDS`), readiness, a line of status, the watchdog, the stop.
//!
//! Without a service manager all of it does nothing.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use postern_protocol::status::{Tunnel, TunnelState};
use sd_notify::NotifyState;
use socket2::SockRef;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::pipeline::PipelineFacts;
use crate::receivers;

/// How long a service manager may keep a word waiting.
const SEND_TIMEOUT: Duration = Duration::from_secs(2);

/// Sockets that the service manager passed, by the name that its unit gives them.
#[derive(Default)]
pub struct PassedSockets(pub(crate) receivers::Passed);

/// Why passed sockets cannot be used. None of them may be left aside: what comes in there would wait for ever.
#[derive(Debug, thiserror::Error)]
pub enum PassedError {
    /// It is another kind of socket, or none.
    #[error("the passed descriptor {name} is not a socket of its kind")]
    Kind {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// There are more or fewer names than descriptors.
    #[error("{sockets} sockets are passed with {names} names: every socket unit needs its FileDescriptorName=")]
    Names {
        /// How many sockets.
        sockets: usize,
        /// How many names.
        names: usize,
    },
    /// A connection's socket where a listening one is wanted (`Accept=yes` in the unit).
    #[error("the passed socket {name} does not listen: set Accept=no in its unit")]
    NotListening {
        /// Its name.
        name: String,
    },
    /// Two of one name.
    #[error("two passed sockets are named {name}: have one socket for both families, [::] with BindIPv6Only=both")]
    Twice {
        /// The name.
        name: String,
    },
    /// The name is not ours.
    #[error("a passed socket is named {name:?}, which is none of {}", receivers::PASSED_NAMES.join(", "))]
    Unknown {
        /// The name.
        name: String,
    },
}

impl PassedSockets {
    /// Takes the sockets named in `LISTEN_FDNAMES`. To be called once, before anything else opens files.
    ///
    /// # Errors
    /// [`PassedError`] for the first that is not what its name says.
    pub fn from_environment() -> Result<Self, PassedError> {
        let mut descriptors = listenfd::ListenFd::from_env();
        let mut passed = receivers::Passed::default();
        if descriptors.len() == 0 {
            return Ok(Self(passed));
        }
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let names: Vec<&str> = names.split(':').collect();
        if names.len() != descriptors.len() {
            return Err(PassedError::Names { sockets: descriptors.len(), names: names.len() });
        }
        let mut seen = BTreeSet::new();
        for (at, name) in names.into_iter().enumerate() {
            let owned = || name.to_owned();
            if !seen.insert(name) {
                return Err(PassedError::Twice { name: owned() });
            }
            let wrong = |cause| PassedError::Kind { name: owned(), cause };
            match name {
                "snmp_trap" | "syslog_udp" => {
                    let socket = descriptors.take_udp_socket(at).map_err(wrong)?;
                    passed.udp.extend(socket.map(|socket| (owned(), socket)));
                }
                "proxy" | "syslog_tcp" | "syslog_tls" => {
                    let listener = descriptors.take_tcp_listener(at).map_err(wrong)?;
                    if listener.as_ref().is_some_and(|listener| !listens(listener)) {
                        return Err(PassedError::NotListening { name: owned() });
                    }
                    passed.tcp.extend(listener.map(|listener| (owned(), listener)));
                }
                _ => return Err(PassedError::Unknown { name: owned() }),
            }
        }
        Ok(Self(passed))
    }
}

fn listens(socket: &impl AsFd) -> bool {
    SockRef::from(socket).is_listener().unwrap_or(false)
}

/// Tells the service manager how it goes.
pub(crate) struct Notifier<S> {
    /// Who this gateway is, for the line of status.
    pub(crate) name: String,
    /// The pipeline's beat.
    pub(crate) pipeline: watch::Receiver<PipelineFacts>,
    /// The link to the control plane.
    pub(crate) tunnel: watch::Receiver<Tunnel>,
    /// How long the watchdog waits; `None` for no watchdog.
    pub(crate) watchdog: Option<Duration>,
    /// Sends.
    pub(crate) send: S,
}

/// Returns how long the service manager's watchdog waits for a word, if there is one.
pub(crate) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|period| !period.is_zero())
}

/// Sends to the service manager, where there is one. Not by `sd_notify::notify`, which waits for ever for one that hangs.
pub(crate) fn send(states: &[NotifyState<'_>]) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let message: String = states.iter().map(|state| format!("{state}\n")).collect();
    let sent = UnixDatagram::unbound().and_then(|socket| {
        socket.set_write_timeout(Some(SEND_TIMEOUT))?;
        socket.send_to(message.as_bytes(), path)
    });
    if let Err(error) = sent {
        tracing::warn!(error = %error, "the service manager cannot be notified");
    }
}

impl<S: FnMut(&[NotifyState<'_>]) + Send> Notifier<S> {
    /// Says that the daemon is ready, then how its tunnel stands, and feeds the watchdog at half its time as long as the pipeline's
    /// beat goes on: a pipeline that hangs is restarted. Ends when `stop` is cancelled.
    ///
    /// # Errors
    /// None: a service manager that does not listen is no reason to stop.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> io::Result<()> {
        let mut beat = self.pipeline.borrow().beat;
        let mut fed = Instant::now();
        let mut line = self.line();
        (self.send)(&[NotifyState::Ready, NotifyState::Status(&line)]);
        loop {
            // Cancel-safe: `changed` loses nothing.
            tokio::select! {
                () = stop.cancelled() => break,
                changed = self.pipeline.changed() => if changed.is_err() {
                    stop.cancelled().await;
                    break;
                },
                Ok(()) = self.tunnel.changed() => {
                    let now = self.line();
                    if now != line {
                        line = now;
                        (self.send)(&[NotifyState::Status(&line)]);
                    }
                }
            }
            let now = self.pipeline.borrow_and_update().beat;
            let beats = std::mem::replace(&mut beat, now) != now;
            if beats && self.watchdog.is_some_and(|period| fed.elapsed() >= period / 2) {
                fed = Instant::now();
                (self.send)(&[NotifyState::Watchdog]);
            }
        }
        (self.send)(&[NotifyState::Stopping]);
        Ok(())
    }

    fn line(&mut self) -> String {
        let tunnel = self.tunnel.borrow_and_update();
        let state = match (tunnel.state, &tunnel.last_error) {
            (TunnelState::Connecting, _) => "tunnel connecting".to_owned(),
            (TunnelState::Up, _) => "tunnel up".to_owned(),
            (TunnelState::Waiting, None) => "tunnel waiting".to_owned(),
            // A newline would begin another notification.
            (TunnelState::Waiting, Some(error)) => format!("tunnel waiting: {}", error.replace(char::is_control, " ")),
        };
        format!("enrolled as {}; {state}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const WATCHDOG: Duration = Duration::from_secs(30);

    struct Manager {
        pipeline: watch::Sender<PipelineFacts>,
        tunnel: watch::Sender<Tunnel>,
        stop: CancellationToken,
        heard: mpsc::Receiver<String>,
    }

    impl Manager {
        fn new() -> (Self, impl Future<Output = io::Result<()>>) {
            let (pipeline, facts) = watch::channel(PipelineFacts::default());
            let waiting = Tunnel {
                state: TunnelState::Waiting,
                since: 0,
                rtt_ms: None,
                clock_offset_ms: None,
                last_error: Some("no\nroute".into()),
                address: None,
                proxy: None,
            };
            let (tunnel, tunnel_view) = watch::channel(waiting);
            let (said, heard) = mpsc::channel();
            let send = move |states: &[NotifyState<'_>]| states.iter().for_each(|state| said.send(state.to_string()).unwrap());
            let notifier = Notifier { name: "gw".into(), pipeline: facts, tunnel: tunnel_view, watchdog: Some(WATCHDOG), send };
            let stop = CancellationToken::new();
            (Self { pipeline, tunnel, stop: stop.clone(), heard }, notifier.run(stop))
        }

        /// The pipeline beats once a second for this long.
        async fn beats(&self, seconds: u64) {
            for _ in 0..seconds {
                tokio::time::sleep(Duration::from_secs(1)).await;
                self.pipeline.send_modify(|facts| facts.beat += 1);
                // For the notifier to hear it.
                tokio::task::yield_now().await;
            }
        }

        fn heard(&self) -> Vec<String> {
            self.heard.try_iter().collect()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_daemon_feeds_the_watchdog_at_half_its_time() {
        let (manager, run) = Manager::new();
        let test = async {
            manager.beats(120).await;
            let fed = manager.heard().iter().filter(|said| *said == "WATCHDOG=1").count();
            assert!((7..=8).contains(&fed), "{fed} times in four periods");
            manager.stop.cancel();
        };
        let (ended, ()) = tokio::join!(run, test);
        ended.unwrap();
        assert_eq!(manager.heard(), ["STOPPING=1"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pipeline_that_hangs_is_left_to_the_watchdog() {
        let (manager, run) = Manager::new();
        let test = async {
            manager.beats(60).await;
            manager.heard();
            // Alerts that are counted are no beat: only the pipeline's own clock is.
            for open_alerts in 1..100 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                manager.pipeline.send_modify(|facts| facts.open_alerts = open_alerts);
            }
            assert_eq!(manager.heard().iter().filter(|said| *said == "WATCHDOG=1").count(), 0);
            manager.stop.cancel();
        };
        tokio::join!(run, test).0.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn the_status_line_follows_the_tunnel() {
        let (manager, run) = Manager::new();
        let test = async {
            manager.beats(1).await;
            assert_eq!(manager.heard(), ["READY=1", "STATUS=enrolled as gw; tunnel waiting: no route"]);
            manager.tunnel.send_modify(|tunnel| tunnel.state = TunnelState::Up);
            manager.beats(1).await;
            manager.tunnel.send_modify(|tunnel| tunnel.rtt_ms = Some(1.5));
            manager.beats(1).await;
            assert_eq!(manager.heard(), ["STATUS=enrolled as gw; tunnel up"]);
            manager.stop.cancel();
        };
        tokio::join!(run, test).0.unwrap();
    }
}
