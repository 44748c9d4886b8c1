//! Tries each path once a minute, unless something real came by it, and judges. One task; it ends with its token.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use postern_engine::alert::OwnReport;
use postern_protocol::alert::Severity;
use postern_protocol::status::intake::{CanaryPath, CanaryState};
use postern_protocol::timestamp::Timestamp;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use super::{Canary, Connection, Path, Stage, message};
use crate::pipeline::Order;

/// How often a silent path is tried.
const EVERY: Duration = Duration::from_secs(60);

/// Time for one try, and in it for a connection: a listener waits for that when one of our own addresses connects meanwhile.
const WAIT: Duration = Duration::from_secs(10);
const CONNECT_WAIT: Duration = Duration::from_secs(1);

/// Most bytes of the proxy's answer that are looked at.
const ANSWER_BYTES: usize = 64;

const KIND: &str = "canary-missed";

/// One listener.
pub(crate) struct Target {
    /// Which path it is.
    pub(crate) path: Path,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// How its TLS is spoken; `None` for a path without.
    pub(crate) tls: Option<watch::Receiver<TlsConnector>>,
}

/// The task.
pub(crate) struct Probe {
    canary: Canary,
    targets: Vec<(Target, CanaryPath)>,
    orders: mpsc::Sender<Order>,
    report: watch::Sender<Vec<CanaryPath>>,
    number: u64,
    prober: Prober,
    questions: mpsc::Receiver<Question>,
}

/// Time for a try that somebody waits for, and how often it is made before it counts: a burst may push one datagram out.
const ASKED_WAIT: Duration = Duration::from_secs(3);
const ASKED_TRIES: u32 = 2;

/// Questions that wait; full: whoever asks waits.
const QUESTIONS: usize = 4;

/// Asks the task to try every path now.
#[derive(Clone)]
pub(crate) struct Prober(mpsc::Sender<Question>);

/// One question.
type Question = oneshot::Sender<Option<Missed>>;

/// A path that does not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Missed {
    /// Which.
    pub(crate) path: Path,
    /// The step that was not done.
    pub(crate) broken: String,
}

impl Prober {
    /// Returns the first path that had worked before, and neither lets a message of our own through now nor brings anything real.
    pub(crate) async fn missed(&self) -> Option<Missed> {
        let (question, answer) = oneshot::channel();
        // A task that has ended stops the daemon.
        self.0.send(question).await.ok()?;
        answer.await.ok().flatten()
    }
}

/// Why a try did not come through: the step, in a sentence.
type Broken = String;

impl Probe {
    /// Puts the task together; the other end is for reports.
    pub(crate) fn new(canary: Canary, targets: Vec<Target>, orders: mpsc::Sender<Order>) -> (Self, watch::Receiver<Vec<CanaryPath>>) {
        let waiting = |target: Target| {
            let path = target.path.name().to_owned();
            (target, CanaryPath { path, state: CanaryState::Waiting, last_ok: None, broken: String::new() })
        };
        let targets: Vec<_> = targets.into_iter().map(waiting).collect();
        let (report, view) = watch::channel(targets.iter().map(|(_, report)| report.clone()).collect());
        let (prober, questions) = mpsc::channel(QUESTIONS);
        (Self { canary, targets, orders, report, number: 0, prober: Prober(prober), questions }, view)
    }

    /// Returns what asks this task.
    pub(crate) fn prober(&self) -> Prober {
        self.prober.clone()
    }

    /// Tries every minute until `stop` is cancelled.
    ///
    /// # Errors
    /// None: a try that fails is what the task is for.
    pub(crate) async fn run(mut self, stop: CancellationToken) -> io::Result<()> {
        let mut minute = tokio::time::interval_at(tokio::time::Instant::now() + EVERY, EVERY);
        minute.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let question = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                Some(question) = self.questions.recv() => Some(question),
                _ = minute.tick() => None,
            };
            // A try that is given up was for nothing, and the next start forgets its mark.
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = self.answer(question) => {}
            }
        }
    }

    async fn answer(&mut self, question: Option<Question>) {
        match question {
            None => self.round().await,
            Some(question) => {
                let missed = self.missed().await;
                // Whoever asked may be gone.
                let _ = question.send(missed);
            }
        }
    }

    async fn missed(&mut self) -> Option<Missed> {
        for (target, _) in self.targets.iter().filter(|(_, report)| report.state != CanaryState::Missed) {
            let track = self.canary.track(target.path);
            // Of before: the next round tries a path once more that was busy.
            track.heard.store(false, Ordering::Relaxed);
            let mut missed = None;
            for _ in 0..ASKED_TRIES {
                self.number = self.number.wrapping_add(1);
                missed = try_once(&self.canary, target, Try { number: self.number, within: ASKED_WAIT }).await.err();
                // Something real came by meanwhile: the path works, however full it is.
                if missed.is_none() || track.heard.load(Ordering::Relaxed) {
                    missed = None;
                    break;
                }
            }
            if let Some(broken) = missed {
                return Some(Missed { path: target.path, broken });
            }
        }
        None
    }

    /// Tries every path that was silent since the last round.
    pub(crate) async fn round(&mut self) {
        for (target, report) in &mut self.targets {
            let before = report.state;
            let track = self.canary.track(target.path);
            if track.heard.swap(false, Ordering::Relaxed) {
                (report.state, report.broken) = (CanaryState::Busy, String::new());
            } else {
                self.number = self.number.wrapping_add(1);
                match try_once(&self.canary, target, Try { number: self.number, within: WAIT }).await {
                    Ok(()) => {
                        report.last_ok = Some(Timestamp::from(SystemTime::now()).as_nanos());
                        (report.state, report.broken) = (CanaryState::Ok, String::new());
                    }
                    Err(broken) => (report.state, report.broken) = (CanaryState::Missed, broken),
                }
            }
            if let Some(order) = order(target, before, report) {
                // A pipeline that has ended stops the daemon.
                let _ = self.orders.send(order).await;
            }
        }
        self.report.send_replace(self.targets.iter().map(|(_, report)| report.clone()).collect());
    }
}

/// Returns what is to be told: a miss each time, its end once, and at first that an earlier run's miss is over.
fn order(target: &Target, before: CanaryState, now: &CanaryPath) -> Option<Order> {
    let is_missed = now.state == CanaryState::Missed;
    let was_bad = matches!(before, CanaryState::Missed | CanaryState::Waiting);
    if is_missed {
        let labels = [("listener", now.path.clone()), ("address", target.address.to_string()), ("step", now.broken.clone())];
        let labels: BTreeMap<String, String> = labels.into_iter().map(|(name, text)| (name.to_owned(), text)).collect();
        let summary = format!("{}: a message of the gateway's own did not come through {}: {}", now.path, target.address, now.broken);
        return Some(Order::Own(OwnReport {
            kind: KIND.to_owned(),
            qualifier: now.path.clone(),
            severity: Severity::Major,
            summary,
            labels,
        }));
    }
    was_bad.then(|| Order::OwnClear { kind: KIND, qualifier: now.path.clone() })
}

/// Says where a message is stuck that got as far as `stage`.
fn stuck(path: Path, stage: Stage) -> Broken {
    let step = match (path, stage) {
        (Path::Proxy, _) => "the proxy did not answer",
        (_, Stage::Sent) => "the receiver did not read it",
        (_, Stage::Received) => "it was not decoded",
        (_, Stage::Decoded) => "it did not get into the queue",
        (_, Stage::Queued) => "the pipeline did not handle it",
        (_, Stage::Handled) => "it came too late",
    };
    step.to_owned()
}

/// One try of a path.
#[derive(Clone, Copy)]
struct Try {
    number: u64,
    within: Duration,
}

/// Says how a try ended, in time or not.
async fn try_once(canary: &Canary, target: &Target, Try { number, within }: Try) -> Result<(), Broken> {
    let track = canary.track(target.path);
    track.reached.send_replace((number, Stage::Sent));
    let tried = tokio::time::timeout(within, try_path(canary, target, number)).await;
    track.connection.send_replace(Connection::None);
    let stage = track.reached.borrow().1;
    tried.unwrap_or_else(|_| Err(stuck(target.path, stage)))
}

async fn try_path(canary: &Canary, target: &Target, number: u64) -> Result<(), Broken> {
    let sent = message::of(target.path, &canary.text(number));
    let to = reachable(target.address);
    match target.path {
        Path::SnmpTrap | Path::SyslogUdp => {
            let socket = UdpSocket::bind((to.ip(), 0)).and_then(|socket| socket.send_to(&sent, to));
            socket.map_err(|error| format!("it could not be sent: {error}"))?;
            handled(canary, target.path, number).await
        }
        Path::SyslogTcp | Path::SyslogTls => {
            let stream = connect(canary, target.path, to).await?;
            let framed = [format!("{} ", sent.len()).as_bytes(), &sent].concat();
            match &target.tls {
                None => say(stream, &framed, handled(canary, target.path, number)).await,
                Some(connector) => {
                    let connector = connector.borrow().clone();
                    let shaken = connector.connect(ServerName::from(to.ip()), stream).await;
                    let stream = shaken.map_err(|error| format!("the TLS handshake failed: {error}"))?;
                    say(stream, &framed, handled(canary, target.path, number)).await
                }
            }
        }
        Path::Proxy => ask(connect(canary, target.path, to).await?, &sent).await,
    }
}

/// Opens the connection that the listener is to know as ours.
async fn connect(canary: &Canary, path: Path, to: SocketAddr) -> Result<TcpStream, Broken> {
    let connection = &canary.track(path).connection;
    connection.send_replace(Connection::Opening);
    let opened = tokio::time::timeout(CONNECT_WAIT, TcpStream::connect(to)).await;
    let known = opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).and_then(|stream| Ok((stream.local_addr()?, stream)));
    connection.send_replace(known.as_ref().map_or(Connection::None, |(own, _)| Connection::Open(*own)));
    known.map(|(_, stream)| stream).map_err(|error| format!("the listener cannot be connected to: {error}"))
}

async fn say<S>(mut stream: S, line: &[u8], handled: impl Future<Output = Result<(), Broken>>) -> Result<(), Broken>
where
    S: AsyncWrite + Unpin,
{
    let lost = |error| format!("the connection was lost: {error}");
    stream.write_all(line).await.map_err(lost)?;
    stream.flush().await.map_err(lost)?;
    handled.await?;
    // The message is through; how the connection ends does not matter.
    let _ = stream.shutdown().await;
    Ok(())
}

async fn ask<S>(mut stream: S, request: &[u8]) -> Result<(), Broken>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let lost = |error| format!("the connection was lost: {error}");
    stream.write_all(request).await.map_err(lost)?;
    let mut answer = Vec::new();
    while !answer.contains(&b'\n') && answer.len() < ANSWER_BYTES {
        let room = ANSWER_BYTES.saturating_sub(answer.len()) as u64;
        if (&mut stream).take(room).read_buf(&mut answer).await.map_err(lost)? == 0 {
            break;
        }
    }
    let line = String::from_utf8_lossy(answer.split(|byte| *byte == b'\r').next().unwrap_or_default()).into_owned();
    if line.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(format!("CONNECT was refused: {line}")) }
}

/// Waits until the pipeline had the message; whoever calls bounds the time.
async fn handled(canary: &Canary, path: Path, number: u64) -> Result<(), Broken> {
    let mut reached = canary.track(path).reached.subscribe();
    let through = reached.wait_for(|known| *known == (number, Stage::Handled)).await;
    through.map(|_| ()).map_err(|_| stuck(path, Stage::Queued))
}

/// Returns the address under which this machine reaches a listener of its own.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::Accounts;
    use crate::config::Networks;
    use crate::intake::{self, Batch, Digests, Intake, Outlet};
    use crate::receivers::kernel_drops::KernelDrops;
    use crate::receivers::stream::Listener;
    use crate::receivers::syslog::{self, Streams};
    use crate::receivers::udp::{self, UdpReceiver};
    use crate::site::Site;
    use postern_engine::event::Protocol;
    use postern_engine::ledger::Ledger;
    use std::sync::Arc;

    const LOCAL: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

    struct Rig {
        canary: Canary,
        intake: Intake,
        outlet: Outlet,
        site: watch::Receiver<Arc<Site>>,
        stop: CancellationToken,
        orders: mpsc::Receiver<Order>,
        sender: mpsc::Sender<Order>,
    }

    impl Rig {
        fn new() -> Self {
            let (intake, outlet) = intake::queue(Accounts::new(Ledger::new()), Digests::new(&[0; 32]), crate::ring::Tap::default());
            let (sender, orders) = mpsc::channel(8);
            let site = watch::channel(Arc::new(Site::default())).1;
            Self { canary: Canary::new().unwrap(), intake, outlet, site, stop: CancellationToken::new(), orders, sender }
        }

        /// Nobody but a network of documentation may send.
        fn strangers() -> Networks {
            let text = "data_dir = \"d\"\n[server]\nurl = \"https://h\"\n[receivers.syslog]\nlisten = \"127.0.0.1:0\"\nallow = [\"192.0.2.0/24\"]\n";
            crate::config::Config::parse(text, std::path::Path::new("/")).ok().unwrap().syslog.unwrap().allow
        }

        fn udp(&self) -> (UdpReceiver, SocketAddr) {
            let socket = UdpSocket::bind(LOCAL).unwrap();
            let address = socket.local_addr().unwrap();
            udp::prepare(&socket, 1 << 20).unwrap();
            let receiver = UdpReceiver {
                name: "test",
                protocol: Protocol::Syslog,
                socket: Arc::new(socket),
                allow: Self::strangers(),
                rate_limit_per_source: 0,
                intake: self.intake.clone(),
                canary: (self.canary.clone(), Path::SyslogUdp),
                kernel_drops: KernelDrops::open(),
            };
            (receiver, address)
        }

        fn tcp(&self) -> (Listener, SocketAddr) {
            let socket = std::net::TcpListener::bind(LOCAL).unwrap();
            let address = socket.local_addr().unwrap();
            let listener = Listener {
                name: "test",
                protocol: Protocol::Syslog,
                socket,
                allow: Self::strangers(),
                proxy_protocol_from: Networks::default(),
                max_connections: 8,
                max_per_source: 8,
                canary: (self.canary.clone(), Path::SyslogTcp),
                connections: Arc::default(),
                accounts: self.intake.accounts().clone(),
            };
            (listener, address)
        }

        fn probe(&self, path: Path, address: SocketAddr) -> (Probe, watch::Receiver<Vec<CanaryPath>>) {
            Probe::new(self.canary.clone(), vec![Target { path, address, tls: None }], self.sender.clone())
        }
    }

    async fn handle(outlet: &mut Outlet) {
        let Some(Batch::Canary(ticket)) = outlet.next().await else { panic!("only canaries come") };
        ticket.reached(Stage::Handled);
    }

    #[tokio::test]
    async fn a_datagram_passes_an_allow_list_that_leaves_us_out_and_is_counted_nowhere() {
        let mut rig = Rig::new();
        let (receiver, address) = rig.udp();
        let accounts = rig.intake.accounts().clone();
        let (mut probe, view) = rig.probe(Path::SyslogUdp, address);
        let receive = receiver.run(syslog::datagrams(rig.site.clone()), rig.stop.clone());
        let (outlet, stop) = (&mut rig.outlet, rig.stop.clone());
        let round = async {
            tokio::join!(probe.round(), handle(outlet));
            assert_eq!(view.borrow()[0].state, CanaryState::Ok);
            // The same from anyone else is refused, and says that the path is alive.
            UdpSocket::bind(LOCAL).unwrap().send_to(b"<13>x", address).unwrap();
            stop.cancel();
        };
        tokio::join!(receive, round).0.unwrap();
        let totals = accounts.snapshot().totals;
        assert_eq!((totals.received, totals.dropped["source_denied"]), (1, 1));
        probe.round().await;
        assert_eq!(view.borrow()[0].state, CanaryState::Busy);
        assert!(matches!(rig.orders.try_recv(), Ok(Order::OwnClear { .. })), "what an earlier run said is over");
        assert!(rig.orders.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_connection_passes_an_allow_list_that_leaves_us_out_and_another_of_ours_does_not() {
        let mut rig = Rig::new();
        let (listener, address) = rig.tcp();
        let accounts = rig.intake.accounts().clone();
        let (mut probe, view) = rig.probe(Path::SyslogTcp, address);
        let idle_timeout = Duration::from_secs(60);
        let (intake, canary, site, stop) = (rig.intake.clone(), rig.canary.clone(), rig.site.clone(), rig.stop.clone());
        let streams = Streams { intake, canary, site, idle_timeout, stop };
        let serve = listener.serve(rig.stop.clone(), move |accepted| syslog::tcp(accepted, streams.clone()));
        let (outlet, stop) = (&mut rig.outlet, rig.stop.clone());
        let round = async {
            tokio::join!(probe.round(), handle(outlet));
            assert_eq!(view.borrow()[0].state, CanaryState::Ok, "{:?}", view.borrow()[0]);
            let mut stranger = TcpStream::connect(address).await.unwrap();
            assert_eq!(stranger.read(&mut [0; 1]).await.unwrap_or(0), 0);
            stop.cancel();
        };
        tokio::join!(serve, round).0.unwrap();
        let totals = accounts.snapshot().totals;
        assert_eq!((totals.received, totals.dropped["source_denied"]), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_socket_that_nobody_reads_is_named() {
        let mut rig = Rig::new();
        let socket = UdpSocket::bind(LOCAL).unwrap();
        let (mut probe, view) = rig.probe(Path::SnmpTrap, socket.local_addr().unwrap());
        probe.round().await;
        assert_eq!((view.borrow()[0].state, view.borrow()[0].broken.as_str()), (CanaryState::Missed, "the receiver did not read it"));
        let Ok(Order::Own(report)) = rig.orders.try_recv() else { panic!("an alert is raised") };
        assert_eq!((report.kind.as_str(), report.qualifier.as_str()), (KIND, "snmp_trap"));
        rig.canary.heard(Path::SnmpTrap);
        probe.round().await;
        assert!(matches!(rig.orders.try_recv(), Ok(Order::OwnClear { .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_hears_of_a_path_that_stopped_working_and_of_no_other() {
        let rig = Rig::new();
        let socket = UdpSocket::bind(LOCAL).unwrap();
        let (probe, _view) = rig.probe(Path::SnmpTrap, socket.local_addr().unwrap());
        let prober = probe.prober();
        let missed = Missed { path: Path::SnmpTrap, broken: "the receiver did not read it".to_owned() };
        let stop = CancellationToken::new();
        let ask = async {
            assert_eq!(prober.missed().await, Some(missed));
            let heard_meanwhile = async {
                tokio::time::sleep(ASKED_WAIT / 2).await;
                rig.canary.heard(Path::SnmpTrap);
            };
            assert_eq!(tokio::join!(prober.missed(), heard_meanwhile).0, None, "what is busy works");
            stop.cancel();
        };
        tokio::select! {
            ended = probe.run(stop.clone()) => ended.unwrap(),
            () = ask => {}
        }
        let (mut probe, _view) = rig.probe(Path::SnmpTrap, socket.local_addr().unwrap());
        rig.canary.track(Path::SnmpTrap).heard.store(false, Ordering::Relaxed);
        probe.round().await;
        assert_eq!(probe.missed().await, None, "it was broken before: that is no one's doing now");
    }

    #[tokio::test]
    async fn a_proxy_that_refuses_is_named() {
        let rig = Rig::new();
        let listener = tokio::net::TcpListener::bind(LOCAL).await.unwrap();
        let (mut probe, view) = rig.probe(Path::Proxy, listener.local_addr().unwrap());
        let refuse = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _read = stream.read(&mut [0; 512]).await.unwrap();
            stream.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n").await.unwrap();
        };
        tokio::join!(probe.round(), refuse);
        assert_eq!(view.borrow()[0].broken, "CONNECT was refused: HTTP/1.1 403 Forbidden");
    }
}
