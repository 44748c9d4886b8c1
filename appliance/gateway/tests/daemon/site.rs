//! One gateway in a temporary directory: its identity, its configuration, a run of its daemon, and words to speak to it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use postern_engine::ber::{self, Writer};
use postern_gateway::config::Config;
use postern_gateway::revision::Mode;
use postern_gateway::service::PassedSockets;
use postern_gateway::{Opened, RunOptions, run, sandbox, status};
use postern_protocol::oid::Oid;
use postern_protocol::status::Status;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio_util::sync::CancellationToken;

/// The key that may push, under the id `demo`.
pub(crate) const PUSH_KEY: &str = "0123456789abcdef0123456789abcdef";

/// A gateway's files.
pub(crate) struct Site {
    dir: tempfile::TempDir,
    /// The CA of the listener's certificate, PEM.
    pub(crate) ca: String,
    /// Signs revisions.
    pub(crate) signer: Ed25519KeyPair,
}

/// A gateway that runs.
pub(crate) struct Running {
    socket: PathBuf,
}

impl Site {
    /// Makes the files; `proxy` is more text for the `[proxy]` section.
    pub(crate) fn new(proxy: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let signer = Ed25519KeyPair::generate().unwrap();
        let ca = write_identity(&dir.path().join("data/identity"), &signer);
        let key = dir.path().join("push.key");
        write_secret(&key, PUSH_KEY.as_bytes());
        let text = format!(
            "data_dir = \"data\"\n[server]\nurl = \"https://127.0.0.1:9\"\n\
             [receivers.snmp_trap]\nlisten = \"127.0.0.1:0\"\nreceive_buffer_bytes = 4194304\n\
             [receivers.syslog]\nlisten = \"127.0.0.1:0\"\n[receivers.syslog_tls]\nlisten = \"127.0.0.1:0\"\n\
             [proxy]\nlisten = \"127.0.0.1:0\"\nallow_plain_push = true\n{proxy}\n[[push.keys]]\nid = \"demo\"\nkey_file = {key:?}\n"
        );
        std::fs::write(dir.path().join("gateway.toml"), text).unwrap();
        Self { dir, ca, signer }
    }

    /// Where the configuration lies.
    pub(crate) fn config_file(&self) -> PathBuf {
        self.dir.path().join("gateway.toml")
    }

    /// Returns a path in the site's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Says what the daemon will be asked on.
    pub(crate) fn running(&self) -> Running {
        Running { socket: self.dir.path().join("data/gateway.sock") }
    }

    /// Runs the daemon around `body`, and stops it cleanly.
    pub(crate) async fn run<T>(&self, body: impl AsyncFnOnce(&Running) -> T) -> T {
        self.run_in(Mode::Normal, body).await
    }

    /// Runs the daemon in a mode around `body`, and stops it cleanly.
    pub(crate) async fn run_in<T>(&self, mode: Mode, body: impl AsyncFnOnce(&Running) -> T) -> T {
        let config = Config::load(&self.config_file()).unwrap();
        let stop = CancellationToken::new();
        let opened = Opened::new(&config, PassedSockets::default()).unwrap();
        let options = RunOptions { mode, opened, sandbox: sandbox::none() };
        let mut daemon = std::pin::pin!(run(config, options, stop.clone()));
        let running = self.running();
        let test = async {
            running.ready().await;
            body(&running).await
        };
        let outcome = tokio::select! {
            ended = &mut daemon => panic!("the daemon ended: {ended:?}"),
            outcome = test => outcome,
        };
        stop.cancel();
        daemon.await.unwrap();
        outcome
    }
}

impl Running {
    /// Waits until the daemon answers.
    pub(crate) async fn ready(&self) {
        while status::ask(&self.socket).await.is_err() {
            tokio::task::yield_now().await;
        }
    }

    /// Asks the daemon; every report must balance.
    pub(crate) async fn status(&self) -> Status {
        let (report, _) = status::ask(&self.socket).await.unwrap();
        let mut accounts = vec![&report.ledger.totals];
        accounts.extend(report.ledger.by_protocol.values());
        for account in accounts {
            assert_eq!(account.received, account.accepted + account.in_flight + account.dropped.values().sum::<u64>(), "{report:?}");
        }
        report
    }

    /// Waits until a report fits.
    pub(crate) async fn until(&self, fits: impl Fn(&Status) -> bool) -> Status {
        loop {
            let report = self.status().await;
            if fits(&report) {
                return report;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Returns where a listener listens.
    pub(crate) async fn address(&self, name: &str, proto: &str) -> SocketAddr {
        let report = self.status().await;
        let listener = report.listeners.iter().find(|listener| listener.name == name && listener.proto == proto).unwrap();
        listener.addr.parse().unwrap()
    }

    /// Sends bytes to the proxy and returns everything that comes back.
    pub(crate) async fn exchange(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address("proxy", "tcp").await).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Sends a datagram from a fresh socket and returns the answer.
    pub(crate) async fn ask_snmp(&self, socket: &UdpSocket, datagram: &[u8]) -> Vec<u8> {
        socket.send_to(datagram, self.address("snmp_trap", "udp").await).await.unwrap();
        let mut answer = vec![0; 2048];
        let length = socket.recv(&mut answer).await.unwrap();
        answer.truncate(length);
        answer
    }
}

/// Encodes a v2c inform of linkDown for an interface.
pub(crate) fn inform(request_id: i64, if_index: i64) -> Vec<u8> {
    let oid = |text: &str| text.parse::<Oid>().unwrap();
    let mut out = Writer::default();
    out.constructed(ber::SEQUENCE, |message| {
        message.integer(ber::INTEGER, 1);
        message.element(ber::OCTET_STRING, b"public");
        message.constructed(0xa6, |pdu| {
            for number in [request_id, 0, 0] {
                pdu.integer(ber::INTEGER, number);
            }
            pdu.constructed(ber::SEQUENCE, |varbinds| {
                varbinds.constructed(ber::SEQUENCE, |varbind| {
                    varbind.oid(&oid("1.3.6.1.2.1.1.3.0"));
                    varbind.element(0x43, &[1]);
                });
                varbinds.constructed(ber::SEQUENCE, |varbind| {
                    varbind.oid(&oid("1.3.6.1.6.3.1.1.4.1.0"));
                    varbind.oid(&oid("1.3.6.1.6.3.1.1.5.3"));
                });
                varbinds.constructed(ber::SEQUENCE, |varbind| {
                    varbind.oid(&oid(&format!("1.3.6.1.2.1.2.2.1.1.{if_index}")));
                    varbind.integer(ber::INTEGER, if_index);
                });
            });
        });
    });
    out.into_bytes()
}

/// Writes a signed push; `extra` are more header lines.
pub(crate) fn signed_push(body: &str, extra: &str) -> Vec<u8> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let ts = since.as_secs();
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, PUSH_KEY.as_bytes()), format!("{ts}\n{body}").as_bytes());
    let mac = data_encoding::HEXLOWER.encode(mac.as_ref());
    push(body, &format!("Postern-Signature: id=demo, ts={ts}, mac={mac}\r\n{extra}"))
}

/// Writes a push with these header lines.
pub(crate) fn push(body: &str, headers: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST /v1/push HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}").into_bytes()
}

/// A push's body with one event.
pub(crate) const ONE_EVENT: &str = r#"{"events":[{"resource":"press-4","kind":"temperature","severity":"major","summary":"hot"}]}"#;

pub(crate) fn write_secret(path: &Path, content: &[u8]) {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(path).unwrap();
    file.write_all(content).unwrap();
}

/// Writes what enrolment would have; returns the CA's certificate.
fn write_identity(dir: &Path, signer: &Ed25519KeyPair) -> String {
    std::fs::create_dir_all(dir).unwrap();
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca_params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca_params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = ca_params.self_signed(&ca_key).unwrap();
    let issuer = rcgen::Issuer::new(ca_params, ca_key);
    for name in ["client", "listener"] {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        write_secret(&dir.join(format!("{name}.pem")), certificate.pem().as_bytes());
        write_secret(&dir.join(format!("{name}.key")), key.serialize_pem().as_bytes());
    }
    write_secret(&dir.join("ca.pem"), ca.pem().as_bytes());
    let pin = data_encoding::BASE64.encode(&[7; 32]);
    let signing = data_encoding::BASE64.encode(signer.public_key().as_ref());
    let json = serde_json::json!({
        "gateway": "gw-test", "tenant": "default", "server_url": "https://127.0.0.1:9", "server_pins": [pin], "revision_keys": [signing]
    });
    write_secret(&dir.join("gateway.json"), json.to_string().as_bytes());
    ca.pem()
}
