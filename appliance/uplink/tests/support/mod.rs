//! A certificate authority, an identity, and a control plane that speaks the real protocol over real TLS and HTTP/2.

#![allow(dead_code)] // Each test binary uses its part.

pub(crate) mod gateway;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use data_encoding::BASE64;
use http_body_util::BodyExt as _;
use http_body_util::channel::{Channel, Sender};
use hyper::body::Incoming as Body;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use postern_protocol::frame::{self, Decoder};
use postern_protocol::id::Lane;
use postern_protocol::message::{
    Ack, Batch, Down, Goodbye, HeartbeatReply, Hello, LanePosition, PROTOCOL_VERSION, Records, RevisionStatus, Up, Welcome, down, up,
};
use postern_uplink::identity::Identity;
use postern_uplink::tls;
use postern_uplink::url::ServerUrl;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A certificate authority and a server that it vouches for.
pub(crate) struct Pki {
    pub(crate) ca: CertifiedIssuer<'static, KeyPair>,
    pub(crate) server_key: KeyPair,
    pub(crate) server: rcgen::Certificate,
}

impl Pki {
    pub(crate) fn new() -> Self {
        Self::for_names(&["127.0.0.1", "localhost"])
    }

    pub(crate) fn for_names(names: &[&str]) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, "test authority");
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let server_key = KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let server = params.signed_by(&server_key, &ca).unwrap();
        Self { ca, server_key, server }
    }

    pub(crate) fn ca_spki(&self) -> [u8; 32] {
        tls::spki_sha256(self.ca.as_ref().der()).unwrap()
    }

    pub(crate) fn server_pin(&self) -> [u8; 32] {
        tls::spki_sha256(self.server.der()).unwrap()
    }

    /// Writes an identity as enrolment would, and loads it.
    pub(crate) fn identity(&self, dir: &Path, pins: &[[u8; 32]]) -> Arc<Identity> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "gw-1");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let client = params.signed_by(&key, &self.ca).unwrap().pem();
        for name in ["client.pem", "listener.pem"] {
            fs::write(dir.join(name), &client).unwrap();
        }
        for name in ["client.key", "listener.key"] {
            fs::write(dir.join(name), key.serialize_pem()).unwrap();
        }
        fs::write(dir.join("ca.pem"), self.ca.pem()).unwrap();
        let pins: Vec<_> = pins.iter().map(|pin| BASE64.encode(pin)).collect();
        let json = serde_json::json!({
            "gateway": "gw-1", "tenant": "acme", "server_url": "https://127.0.0.1:1", "server_pins": pins, "revision_keys": [],
        });
        fs::write(dir.join("gateway.json"), json.to_string()).unwrap();
        Arc::new(Identity::load(dir).unwrap())
    }

    pub(crate) fn server_chain(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = PrivatePkcs8KeyDer::from(self.server_key.serialize_der());
        (vec![self.server.der().clone(), self.ca.as_ref().der().clone()], key.into())
    }

    fn tunnel_server(&self) -> ServerConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.as_ref().der().clone()).unwrap();
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), tls::provider()).build().unwrap();
        let (chain, key) = self.server_chain();
        let config = ServerConfig::builder_with_provider(tls::provider()).with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_client_cert_verifier(clients).with_single_cert(chain, key).unwrap();
        config.alpn_protocols = vec![tls::TUNNEL_ALPN.to_vec()];
        config
    }
}

/// How the control plane misbehaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mood {
    /// It commits a batch, and cuts the connection instead of acknowledging it.
    CommitsThenCuts,
    /// It cuts the connection when a batch comes.
    Cuts,
    /// It says goodbye instead of welcome.
    Goodbye,
    /// It answers everything.
    #[default]
    Good,
    /// It commits and never acknowledges, and answers no heartbeat.
    Silent,
}

/// What the control plane saw and has.
#[derive(Default)]
pub(crate) struct Store {
    pub(crate) hellos: Vec<Hello>,
    pub(crate) cursors: BTreeMap<(u32, u64), u64>,
    pub(crate) records: Vec<(String, u64, u64, Bytes)>,
    pub(crate) gaps: usize,
    /// Batches that came ahead of their order, with how many records had come in it before.
    pub(crate) ahead: Vec<(usize, Vec<Bytes>)>,
    pub(crate) statuses: Vec<Vec<u8>>,
    pub(crate) revision_statuses: Vec<RevisionStatus>,
    pub(crate) requests: usize,
    /// Mood of the next batches: a list that is used up, then good.
    pub(crate) moods: Vec<Mood>,
    pub(crate) mood: Mood,
    /// A lane that it does not take.
    pub(crate) refused: Option<Lane>,
    /// A lane whose batches it does not even read.
    pub(crate) stalled: Option<Lane>,
    /// The version that it speaks; the newest when 0.
    pub(crate) protocol: u32,
    /// What came that its version does not know.
    pub(crate) foreign: usize,
    /// Said right after the welcome.
    pub(crate) news: Vec<Down>,
    /// Said after that, as it stands.
    pub(crate) raw_news: Vec<Bytes>,
    /// Present control stream.
    pub(crate) control: Option<Sender<Bytes>>,
}

/// A control plane that runs until it is dropped.
pub(crate) struct Cloud {
    pub(crate) store: Arc<Mutex<Store>>,
    pub(crate) address: SocketAddr,
    changed: watch::Receiver<u64>,
    tasks: TaskTracker,
    end: CancellationToken,
}

#[derive(Clone)]
struct Serving {
    store: Arc<Mutex<Store>>,
    changed: watch::Sender<u64>,
    tasks: TaskTracker,
    cut: CancellationToken,
}

impl Cloud {
    pub(crate) async fn start(pki: &Pki, store: Store) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::start_on(pki, Arc::new(Mutex::new(store)), listener)
    }

    pub(crate) fn start_on(pki: &Pki, store: Arc<Mutex<Store>>, listener: TcpListener) -> Self {
        let address = listener.local_addr().unwrap();
        let (changed_tx, changed) = watch::channel(0);
        let (tasks, end) = (TaskTracker::new(), CancellationToken::new());
        let serving = Serving { store: Arc::clone(&store), changed: changed_tx, tasks: tasks.clone(), cut: CancellationToken::new() };
        let acceptor = TlsAcceptor::from(Arc::new(pki.tunnel_server()));
        tasks.spawn(end.clone().run_until_cancelled_owned(accept(listener, acceptor, serving, end.clone())));
        Self { store, address, changed, tasks, end }
    }

    pub(crate) fn url(&self) -> ServerUrl {
        ServerUrl::parse(&format!("https://{}", self.address)).unwrap()
    }

    /// Waits until the store looks as wanted.
    pub(crate) async fn until(&self, wanted: impl Fn(&Store) -> bool) {
        let mut changed = self.changed.clone();
        let seen = changed.wait_for(|_| wanted(&self.store.lock().unwrap()));
        tokio::time::timeout(std::time::Duration::from_secs(20), seen).await.expect("in time").unwrap();
    }

    /// Says something on the present control stream.
    pub(crate) async fn say(&self, kind: down::Kind) {
        let mut control = self.store.lock().unwrap().control.take().expect("a session");
        control.send_data(frame::encode(&Down { kind: Some(kind) })).await.unwrap();
        self.store.lock().unwrap().control = Some(control);
    }

    /// Ends as a crash does; the address is free again on return.
    pub(crate) async fn crash(self) -> Arc<Mutex<Store>> {
        self.end.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.store.lock().unwrap().control = None;
        Arc::clone(&self.store)
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, serving: Serving, end: CancellationToken) {
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        let cut = end.child_token();
        let (acceptor, serving) = (acceptor.clone(), Serving { cut: cut.clone(), ..serving.clone() });
        serving.tasks.clone().spawn(cut.clone().run_until_cancelled_owned(async move {
            let Ok(tls) = acceptor.accept(tcp).await else { return };
            let service = service_fn(move |request| answer(request, serving.clone()));
            let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _broken = server.timer(TokioTimer::new()).serve_connection(TokioIo::new(tls), service).await;
        }));
    }
}

async fn answer(request: Request<Body>, serving: Serving) -> Result<Response<Channel<Bytes>>, Infallible> {
    serving.store.lock().unwrap().requests += 1;
    let path = request.uri().path().to_owned();
    let (sender, body) = Channel::new(64);
    let reader = Reader { body: request.into_body(), decoder: Decoder::default() };
    let lane = path.strip_prefix("/tunnel/v1/lane/").and_then(|name| Lane::ALL.into_iter().find(|lane| lane.name() == name));
    let cut = serving.cut.clone();
    if lane.is_some() && lane == serving.store.lock().unwrap().refused {
        return Ok(Response::builder().status(StatusCode::NOT_IMPLEMENTED).body(body).unwrap());
    }
    match lane {
        Some(lane) => drop(serving.tasks.clone().spawn(cut.run_until_cancelled_owned(serve_lane(lane, reader, sender, serving)))),
        None if path == "/tunnel/v1/control" => {
            drop(serving.tasks.clone().spawn(cut.run_until_cancelled_owned(serve_control(reader, sender, serving))));
        }
        None => return Ok(Response::builder().status(StatusCode::NOT_FOUND).body(body).unwrap()),
    }
    Ok(Response::new(body))
}

struct Reader {
    body: Body,
    decoder: Decoder,
}

impl Reader {
    async fn next<M: prost::Message + Default>(&mut self) -> Option<M> {
        loop {
            if let Some(message) = self.decoder.next().unwrap() {
                return Some(message);
            }
            self.decoder.push(&self.body.frame().await?.ok()?.into_data().ok()?);
        }
    }
}

async fn serve_control(mut reader: Reader, sender: Sender<Bytes>, serving: Serving) {
    serving.store.lock().unwrap().control = Some(sender);
    while let Some(Up { kind: Some(kind) }) = reader.next().await {
        let mut answers = Vec::new();
        {
            let mut store = serving.store.lock().unwrap();
            store.foreign += usize::from(store.protocol == 1 && !is_version_1(&kind));
            match kind {
                up::Kind::Hello(hello) => {
                    store.hellos.push(hello);
                    answers = greet(&mut store);
                }
                up::Kind::Heartbeat(_) if store.mood == Mood::Silent => {}
                up::Kind::Heartbeat(beat) => {
                    let reply = HeartbeatReply { nonce: beat.nonce, time: 1_000_000_000 };
                    answers.push(down::Kind::HeartbeatReply(reply).into_message());
                }
                up::Kind::Audit(_)
                | up::Kind::CertificateRequest(_)
                | up::Kind::Minutes(_)
                | up::Kind::ReplayReply(_)
                | up::Kind::Resent(_)
                | up::Kind::Rules(_)
                | up::Kind::TrustStatus(_) => {}
                up::Kind::RevisionStatus(status) => store.revision_statuses.push(status),
                up::Kind::Status(status) => store.statuses.push(status),
            }
        }
        let Some(mut control) = serving.store.lock().unwrap().control.take() else { return };
        let raw = std::mem::take(&mut serving.store.lock().unwrap().raw_news);
        for frame in answers.iter().map(frame::encode).chain(raw) {
            if control.send_data(frame).await.is_err() {
                return;
            }
        }
        serving.store.lock().unwrap().control = Some(control);
        serving.changed.send_modify(|version| *version += 1);
    }
}

/// Says whether a program of version 1 knows it.
fn is_version_1(kind: &up::Kind) -> bool {
    match kind {
        up::Kind::RevisionStatus(status) => status.state <= 3,
        up::Kind::Heartbeat(_) | up::Kind::Hello(_) | up::Kind::Minutes(_) | up::Kind::Status(_) => true,
        _ => false,
    }
}

fn greet(store: &mut Store) -> Vec<Down> {
    if store.mood == Mood::Goodbye {
        store.mood = Mood::Good;
        return vec![down::Kind::Goodbye(Goodbye { reason: "moving house".to_owned(), retry: true }).into_message()];
    }
    let committed = store.cursors.iter().map(|((lane, epoch), sequence)| LanePosition { lane: *lane, epoch: *epoch, sequence: *sequence });
    let protocol = if store.protocol == 0 { PROTOCOL_VERSION } else { store.protocol };
    let welcome = Welcome { protocol, committed: committed.collect(), ..Welcome::default() };
    let mut answers = vec![down::Kind::Welcome(welcome).into_message()];
    answers.append(&mut store.news);
    answers
}

async fn serve_lane(lane: Lane, mut reader: Reader, mut sender: Sender<Bytes>, serving: Serving) {
    if serving.store.lock().unwrap().stalled == Some(lane) {
        return std::future::pending().await;
    }
    while let Some(batch) = reader.next::<Batch>().await {
        let mood = {
            let mut store = serving.store.lock().unwrap();
            if store.moods.is_empty() { store.mood } else { store.moods.remove(0) }
        };
        if mood == Mood::Cuts {
            serving.cut.cancel();
            return;
        }
        let ack = commit(&mut serving.store.lock().unwrap(), lane, &batch);
        serving.changed.send_modify(|version| *version += 1);
        match mood {
            Mood::CommitsThenCuts => return serving.cut.cancel(),
            Mood::Silent => {}
            Mood::Cuts | Mood::Goodbye | Mood::Good => {
                if sender.send_data(frame::encode(&ack)).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn commit(store: &mut Store, lane: Lane, batch: &Batch) -> Ack {
    let records = zstd::bulk::decompress(&batch.records_zstd, 8 << 20).unwrap();
    let records: Records = prost::Message::decode(records.as_slice()).unwrap();
    if batch.ahead {
        store.foreign += usize::from(store.protocol == 1 || lane != Lane::Alerts || batch.first_sequence != 0);
        store.ahead.push((store.records.len(), records.records));
        return Ack { epoch: batch.epoch, sequence: 0, ahead: true };
    }
    let mut last = 0;
    for (sequence, record) in (batch.first_sequence..).zip(records.records) {
        let cursor = store.cursors.entry((u32::from(lane.number()), batch.epoch)).or_default();
        if sequence > *cursor {
            store.gaps += usize::from(sequence != *cursor + 1);
            *cursor = sequence;
            store.records.push((lane.name().to_owned(), batch.epoch, sequence, record));
        }
        last = sequence;
    }
    Ack { epoch: batch.epoch, sequence: last, ..Ack::default() }
}

trait IntoMessage {
    fn into_message(self) -> Down;
}

impl IntoMessage for down::Kind {
    fn into_message(self) -> Down {
        Down { kind: Some(self) }
    }
}
