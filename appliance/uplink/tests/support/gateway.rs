//! The gateway's end of a tunnel, and a site for it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use postern_protocol::id::{Epoch, Lane};
use postern_protocol::status;
use postern_protocol::timestamp::Timestamp;
use postern_uplink::dial::link::LinkSettings;
use postern_uplink::identity::Identity;
use postern_uplink::spool::{Commit, Record, Spool, SpoolOptions, SpoolWriter, Worth};
use postern_uplink::tunnel::tap::Tap;
use postern_uplink::tunnel::{self, BackOff, Control, GreetingFacts, Incoming, Outgoing, TunnelError, TunnelOptions};
use postern_uplink::url::ServerUrl;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::{Pki, Store};

/// A gateway's end: spool, tunnel, and the daemon's side of its channels.
pub(crate) struct Gateway {
    pub(crate) spool: Spool,
    pub(crate) writer: SpoolWriter,
    pub(crate) outgoing: mpsc::Sender<Outgoing>,
    pub(crate) incoming: mpsc::Receiver<Incoming>,
    pub(crate) state: watch::Receiver<status::Tunnel>,
    pub(crate) stop: CancellationToken,
    pub(crate) tunnel: JoinSet<Result<(), TunnelError>>,
}

pub(crate) fn options(server: ServerUrl, identity: Arc<Identity>) -> TunnelOptions {
    TunnelOptions {
        link: watch::channel(LinkSettings::new(server, None)).1,
        identity: watch::channel(identity).1,
        tap: Tap::new(1).0,
        program_version: "test".to_owned(),
        heartbeat: Duration::from_secs(10),
        back_off: BackOff { first: Duration::from_millis(1), longest: Duration::from_millis(50) },
    }
}

impl Gateway {
    pub(crate) fn start(dir: &Path, options: TunnelOptions) -> Self {
        Self::start_in(dir, 7, options)
    }

    pub(crate) fn start_in(dir: &Path, epoch: u64, options: TunnelOptions) -> Self {
        let spool_options =
            SpoolOptions { dir: dir.join("spool"), segment_bytes: 64 * 1024, max_bytes: 64 << 20, machine_key: Zeroizing::new([7; 32]) };
        let (spool, _, writer) = Spool::open(spool_options, Epoch(epoch), Timestamp::default()).unwrap();
        let (outgoing, outgoing_rx) = mpsc::channel(4);
        let (incoming_tx, incoming) = mpsc::channel(1);
        let (state_tx, state) = watch::channel(tunnel::initial_state(Timestamp::default()));
        let (_, facts) = watch::channel(GreetingFacts { effective: 3, newest: 4, ..GreetingFacts::default() });
        let control = Control { outgoing: outgoing_rx, incoming: incoming_tx, state: state_tx, facts };
        let stop = CancellationToken::new();
        let mut tunnel = JoinSet::new();
        tunnel.spawn(tunnel::run(options, spool.clone(), control, stop.clone()));
        Self { spool, writer, outgoing, incoming, state, stop, tunnel }
    }

    pub(crate) async fn commit(&self, lane: Lane, text: &str) {
        let record = Bytes::copy_from_slice(text.as_bytes());
        self.spool.commit(Commit { records: vec![Record::plain(lane, record)], ..Commit::default() }).await.unwrap();
    }

    /// Commits a state of the alert `key`.
    pub(crate) async fn commit_state(&self, key: u64, (text, worth): (&str, Worth)) {
        let record = Record { lane: Lane::Alerts, bytes: Bytes::copy_from_slice(text.as_bytes()), key, worth };
        self.spool.commit(Commit { records: vec![record], ..Commit::default() }).await.unwrap();
    }

    pub(crate) async fn until(&mut self, wanted: impl Fn(&status::Tunnel) -> bool) -> status::Tunnel {
        let seen = self.state.wait_for(|state| wanted(state));
        tokio::time::timeout(Duration::from_secs(20), seen).await.expect("in time").unwrap().clone()
    }

    /// Returns the next message that is no welcome.
    pub(crate) async fn incoming(&mut self) -> Incoming {
        loop {
            let message = tokio::time::timeout(Duration::from_secs(20), self.incoming.recv()).await.expect("in time").unwrap();
            if !matches!(message, Incoming::Welcomed(_)) {
                return message;
            }
        }
    }

    /// Waits until everything is acknowledged.
    pub(crate) async fn until_empty(&self) {
        let waited = async {
            while self.spool.fill().lanes.values().any(|fill| fill.records > 0) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waited).await.expect("in time");
    }

    /// Stops the tunnel, then leaves the spool as a kill does.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(Duration::from_secs(5), self.tunnel.join_next()).await.expect("the tunnel stops");
        ended.unwrap().unwrap().unwrap();
        drop(self.spool);
        self.writer.finished().await.unwrap();
    }
}

pub(crate) fn texts(store: &Store, lane: &str) -> Vec<String> {
    let records = store.records.iter().filter(|(of, ..)| of == lane);
    records.map(|(_, _, _, bytes)| String::from_utf8(bytes.to_vec()).unwrap()).collect()
}

pub(crate) fn numbers(from: u32, to: u32) -> Vec<String> {
    (from..to).map(|n| n.to_string()).collect()
}

/// What a test of one gateway needs.
pub(crate) struct Site {
    pub(crate) pki: Pki,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) identity: Arc<Identity>,
}

/// An enrolled gateway and its authority.
pub(crate) fn site() -> Site {
    let pki = Pki::new();
    let dir = tempfile::tempdir().unwrap();
    let identity = pki.identity(dir.path(), &[[0; 32], pki.server_pin()]);
    Site { pki, dir, identity }
}
