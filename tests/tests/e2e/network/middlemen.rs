//! Those who stand between: squid, a proxy that speaks only NTLM, one that opens TLS, a captive portal, a wire that swallows.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use postern_protocol::status::TunnelState;
use postern_protocol::status::doctor::Report;
use postern_tests::deadline::{SOON, wait_for};
use postern_tests::snmp::{LINK_DOWN, TRAP_V2, link};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::namespace::{CLOUD, Quality};
use super::{PATIENCE, Sites};
use crate::interop_snmp::is_link;

/// squid on the control plane's side of the wire; ended when dropped.
struct Squid(Child);

impl Drop for Squid {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Where the helpers of squid's authentication are.
const HELPERS: &str = "/usr/lib/squid";

fn squid(dir: &Path, port: u16, authentication: &str) -> Squid {
    let config = dir.join("squid.conf");
    let access = if authentication.is_empty() {
        "http_access allow all\n"
    } else {
        "acl known proxy_auth REQUIRED\nhttp_access allow known\nhttp_access deny all\n"
    };
    let text = format!(
        "{authentication}http_port 0.0.0.0:{port}\ncache deny all\naccess_log none\ncache_log {}\ncache_store_log none\npid_filename none\n\
         {access}coredump_dir /\nshutdown_lifetime 1 seconds\nnetdb_filename none\nvisible_hostname proxy.test\n",
        dir.join("squid.log").display()
    );
    // Started by root it becomes a user who can read next to nothing.
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o777)).unwrap();
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new("/usr/sbin/squid");
    command.arg("-N").arg("-n").arg(format!("postern{port}")).arg("-f").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().unwrap();
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    wait_for("squid", SOON, || TcpStream::connect(at).map(drop).map_err(|error| format!("{error}\n{}", log(dir))));
    Squid(child)
}

fn log(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("squid.log")).unwrap_or_default()
}

/// A gateway whose only way out is the proxy: everything but that proxy's port is out of reach.
fn behind(proxy: &str) -> Sites {
    let sites = Sites::new(1500, "");
    sites.rig.configure("server", &format!("proxy = \"http://{proxy}{CLOUD}:3128\""));
    sites
}

fn delivers(sites: &mut Sites) {
    sites.start_gateway();
    let status = sites.wait_for_tunnel(TunnelState::Up);
    assert_eq!(status.tunnel.proxy.as_deref(), Some(format!("http://{CLOUD}:3128").as_str()), "the way leads through the proxy");
    let Sites { rig, wire } = sites;
    wire.cloud.run(|| {
        postern_tests::snmp::Sender::new(rig.prepared.sockets.snmp_trap()).send(&link(TRAP_V2, 1, LINK_DOWN, 7));
        rig.api.wait_for_alert("a trap through the proxy", |alert| is_link(alert, 7));
    });
}

#[test]
fn squid_is_a_way_out() {
    let (dir, mut sites) = (tempfile::tempdir().unwrap(), behind(""));
    let _squid = sites.wire.cloud.run(|| squid(dir.path(), 3128, ""));
    delivers(&mut sites);
}

#[test]
fn squid_with_basic_authentication_is_a_way_out_with_the_right_password() {
    let dir = tempfile::tempdir().unwrap();
    let passwords = users(dir.path(), "-apr1");
    let basic = format!("auth_param basic program {HELPERS}/basic_ncsa_auth {}\nauth_param basic realm site\n", passwords.display());
    let mut sites = behind("gateway:correct-horse@");
    let _squid = sites.wire.cloud.run(|| squid(dir.path(), 3128, &basic));
    delivers(&mut sites);
    // A wrong password is told apart from a proxy that is away.
    sites.rig.kill_gateway();
    let config = sites.rig.layout().gateway_config();
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("correct-horse", "wrong-horse")).unwrap();
    let finding = diagnosis(&sites, "proxy-auth");
    assert!(finding.contains("Basic"), "{finding}");
}

#[test]
fn squid_with_digest_authentication_is_a_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let digests = dir.path().join("digests");
    std::fs::write(&digests, "gateway:correct-horse\n").unwrap();
    std::fs::set_permissions(&digests, std::fs::Permissions::from_mode(0o644)).unwrap();
    let digest = format!("auth_param digest program {HELPERS}/digest_file_auth {}\nauth_param digest realm site\n", digests.display());
    let mut sites = behind("gateway:correct-horse@");
    let _squid = sites.wire.cloud.run(|| squid(dir.path(), 3128, &digest));
    delivers(&mut sites);
}

/// Makes a file of users for squid's helper.
fn users(dir: &Path, hash: &str) -> PathBuf {
    let output = Command::new("openssl").args(["passwd", hash, "correct-horse"]).output().unwrap();
    let path = dir.join("users");
    std::fs::write(&path, format!("gateway:{}", String::from_utf8(output.stdout).unwrap())).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    path
}

/// Has the site's `doctor` look, and returns the evidence and advice of the finding `id`, which must be there.
fn diagnosis(sites: &Sites, id: &str) -> String {
    let rig = &sites.rig;
    let config = rig.layout().gateway_config();
    let output = sites.wire.site.run(|| {
        let mut doctor = Command::new(&rig.prepared.binaries.gateway);
        doctor.args(["doctor", "--json", "--config"]).arg(&config).output().unwrap()
    });
    let text = String::from_utf8(output.stdout).unwrap();
    let report: Report =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text} {}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(output.status.code(), Some(2), "a fault: {text}");
    let finding = report.findings.iter().find(|finding| finding.id == id);
    let finding = finding.unwrap_or_else(|| panic!("no {id} in {text}"));
    assert!(!finding.advice.is_empty(), "{finding:?}");
    format!("{} {} {}", finding.what, finding.evidence, finding.advice)
}

/// Listens on the control plane's side and answers each connection as `answer` says, for as long as the test lasts.
fn stranger(sites: &Sites, port: u16, answer: impl Fn(TcpStream) + Send + 'static) {
    let listener = sites.wire.cloud.run(|| TcpListener::bind(("0.0.0.0", port)).unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            answer(stream);
        }
    });
}

/// Reads a request's head and returns its first line.
fn request(stream: &mut TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    let mut line = String::new();
    while reader.read_line(&mut line).unwrap_or(0) > 2 {
        if first.is_empty() {
            first.clone_from(&line);
        }
        line.clear();
    }
    first
}

#[test]
fn a_proxy_that_speaks_only_ntlm_is_named_with_what_it_offered() {
    let mut sites = behind("gateway:secret@");
    stranger(&sites, 3128, |mut stream| {
        request(&mut stream);
        let answer = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM\r\n\
                      Content-Length: 0\r\nConnection: close\r\n\r\n";
        drop(stream.write_all(answer.as_bytes()));
    });
    sites.start_gateway();
    let status = sites.wait_for_tunnel(TunnelState::Waiting);
    let error = status.tunnel.last_error.unwrap();
    assert!(error.contains("NTLM") && error.contains("Negotiate"), "{error}");
    let finding = diagnosis(&sites, "proxy-auth");
    assert!(finding.contains("NTLM") && finding.contains("Negotiate"), "{finding}");
}

#[test]
fn a_proxy_that_opens_tls_is_told_by_its_issuer() {
    let mut sites = behind("");
    let config = interceptor("Example Corp TLS Inspection CA");
    stranger(&sites, 3128, move |mut stream| {
        request(&mut stream);
        drop(stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n"));
        let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
        // The client turns away; that is what it is to do.
        drop(StreamOwned::new(connection, stream).read(&mut [0; 1]));
    });
    sites.start_gateway();
    sites.wait_for_tunnel(TunnelState::Waiting);
    let finding = diagnosis(&sites, "tls-intercepted");
    assert!(finding.contains("Example Corp TLS Inspection CA"), "{finding}");
}

/// What a TLS-inspecting proxy shows: a certificate for our name, made by an authority of its own.
fn interceptor(issuer: &str) -> Arc<ServerConfig> {
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    authority.distinguished_name.push(rcgen::DnType::CommonName, issuer);
    let authority = rcgen::CertifiedIssuer::self_signed(authority, rcgen::KeyPair::generate().unwrap()).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &authority).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut config =
        ServerConfig::builder().with_no_client_auth().with_single_cert(vec![leaf.der().clone(), authority.der().clone()], key).unwrap();
    config.alpn_protocols = vec![b"postern/1".to_vec(), b"postern-enrol/1".to_vec(), b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

#[test]
fn a_captive_portal_is_told_from_a_control_plane() {
    let mut sites = Sites::new(1500, "");
    let port = sites.rig.prepared.sockets.https().port();
    sites.rig.kill_control();
    stranger(&sites, port, |mut stream| {
        drop(stream.read(&mut [0; 4096]));
        let answer = "HTTP/1.1 302 Found\r\nLocation: http://portal.example/login\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        drop(stream.write_all(answer.as_bytes()));
    });
    sites.start_gateway();
    sites.wait_for_tunnel(TunnelState::Waiting);
    let finding = diagnosis(&sites, "captive-portal");
    assert!(finding.contains("portal.example") || finding.contains("HTTP"), "{finding}");
}

#[test]
fn a_wire_that_swallows_long_packets_is_named() {
    let mut sites = Sites::new(1500, "");
    sites.wire.set(Quality { swallows_above: 900, ..Quality::default() });
    sites.start_gateway();
    sites.rig.wait_for_status_within("an attempt to fail", PATIENCE, |status| status.tunnel.last_error.is_some());
    let finding = diagnosis(&sites, "mtu-blackhole");
    assert!(finding.contains("MTU"), "{finding}");
    // And with the obstacle gone it goes on by itself.
    sites.wire.set(Quality::default());
    sites.wait_for_tunnel(TunnelState::Up);
}

#[test]
fn a_cut_wire_is_a_time_out_and_a_closed_port_a_refusal() {
    let mut sites = Sites::new(1500, "");
    sites.wire.set(Quality { is_cut: true, ..Quality::default() });
    diagnosis(&sites, "timed-out");
    sites.wire.set(Quality::default());
    sites.rig.kill_control();
    diagnosis(&sites, "refused");
    let Sites { wire, .. } = &sites;
    wire.site.run(|| assert!(Command::new("ip").args(["address", "flush", "dev", "wire0"]).status().unwrap().success()));
    diagnosis(&sites, "no-route");
}
