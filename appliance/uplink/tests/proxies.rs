//! Through real proxies: squid without authentication, with Basic, with Digest and with NTLM, and tinyproxy.

// A test file may stop at the first surprise.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use postern_uplink::dial::error::{Demand, DialError};
use postern_uplink::dial::{Dialled, Way, dial};
use postern_uplink::url::{Credentials, HostPort, ProxyUrl};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use zeroize::Zeroizing;

const HELPERS: &str = "/usr/lib/squid";

/// A program that ends with the test.
struct Running {
    child: Child,
    address: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Running {
    /// Starts `command` and waits until it takes connections at `address`.
    async fn start(mut command: Command, address: SocketAddr, dir: tempfile::TempDir) -> Self {
        let log = fs::File::create(dir.path().join("output")).unwrap();
        let child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().expect("the proxy is installed");
        let mut running = Self { child, address, _dir: dir };
        let begun = std::time::Instant::now();
        while TcpStream::connect(address).await.is_err() {
            let ended = running.child.try_wait().unwrap();
            let text = fs::read_to_string(running._dir.path().join("output")).unwrap();
            assert!(ended.is_none() && begun.elapsed() < Duration::from_secs(20), "the proxy does not listen: {ended:?} {text}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        running
    }

    /// Starts squid with what `authentication` adds to its configuration; `{dir}` and `{helpers}` stand for directories.
    async fn squid(authentication: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Squid gives up root, and so needs to be let in.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let address = free_address().await;
        // The user "site" with the password "secret": for Basic as crypt(3) has it, for Digest as it stands.
        fs::write(dir.path().join("basic"), "site:$1$abcdefgh$cHJi5PXp/ki/ktXzqlk6I1\n").unwrap();
        fs::write(dir.path().join("digest"), "site:secret\n").unwrap();
        let known = "acl known proxy_auth REQUIRED\nhttp_access allow known\nhttp_access deny all";
        let access = if authentication.is_empty() { "http_access allow all" } else { known };
        let path = dir.path().display();
        let authentication = authentication.replace("{dir}", &path.to_string()).replace("{helpers}", HELPERS);
        let text = format!(
            "http_port {address}\npid_filename {path}/pid\naccess_log none\ncache_log {path}/log\ncache deny all\ncoredump_dir {path}\n\
             shutdown_lifetime 0 seconds\nworkers 1\npinger_enable off\nnetdb_filename none\nvisible_hostname squid.test\n{authentication}\n{access}\n"
        );
        fs::write(dir.path().join("squid.conf"), text).unwrap();
        let mut command = Command::new("/usr/sbin/squid");
        command.arg("-N").arg("-f").arg(dir.path().join("squid.conf"));
        Self::start(command, address, dir).await
    }

    fn proxy(&self, password: Option<&str>) -> ProxyUrl {
        let password = password.map(|text| Zeroizing::new(text.to_owned()));
        let credentials = password.map(|password| Credentials::new("site".to_owned(), password).unwrap());
        ProxyUrl::new(HostPort::parse(&self.address.to_string()).unwrap(), credentials)
    }
}

async fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

const BASIC: &str = "auth_param basic program {helpers}/basic_ncsa_auth {dir}/basic\nauth_param basic realm the site, and more";
const DIGEST: &str = "auth_param digest program {helpers}/digest_file_auth {dir}/digest\nauth_param digest realm the site\n\
                      auth_param digest check_nonce_count on";
const NTLM: &str = "auth_param ntlm program {helpers}/ntlm_fake_auth";

/// Dials an echoing server through `proxy` and sends a word back and forth.
async fn through(proxy: ProxyUrl) -> Result<(), DialError> {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = HostPort::parse(&server.local_addr().unwrap().to_string()).unwrap();
    let echo = async {
        let (mut stream, _) = server.accept().await.unwrap();
        let mut word = [0; 4];
        stream.read_exact(&mut word).await.unwrap();
        stream.write_all(&word).await.unwrap();
        std::future::pending::<()>().await;
    };
    let dialling = async {
        let Dialled { mut stream, address, peer } = dial(&Way::to(to.clone(), Some(proxy.clone()))).await?;
        assert_eq!((address, peer.port()), (to, proxy.address().port()));
        let mut word = [0; 4];
        stream.write_all(b"word").await.unwrap();
        stream.read_exact(&mut word).await.unwrap();
        assert_eq!(&word, b"word");
        Ok(())
    };
    tokio::select! {
        () = echo => panic!("it waits for ever"),
        dialled = dialling => dialled,
    }
}

fn demanded(dialled: Result<(), DialError>) -> (Demand, Vec<String>) {
    match dialled {
        Err(DialError::ProxyAuthentication { schemes, demand, .. }) => (demand, schemes),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn squid_without_authentication_is_gone_through_and_its_refusal_is_told() {
    let squid = Running::squid("").await;
    through(squid.proxy(None)).await.unwrap();
    let closed = HostPort::parse(&free_address().await.to_string()).unwrap();
    let refused = dial(&Way::to(closed, Some(squid.proxy(None)))).await;
    assert!(matches!(&refused, Err(DialError::ProxyRefused { status: 503, page, .. }) if page.is_html), "{refused:?}");
}

#[tokio::test]
async fn squid_with_basic_authentication_is_gone_through() {
    let squid = Running::squid(BASIC).await;
    through(squid.proxy(Some("secret"))).await.unwrap();
    assert_eq!(demanded(through(squid.proxy(Some("wrong"))).await), (Demand::Refused, vec!["Basic".to_owned()]));
    assert_eq!(demanded(through(squid.proxy(None)).await).0, Demand::Missing);
}

#[tokio::test]
async fn squid_with_digest_authentication_is_gone_through_again_and_again() {
    let squid = Running::squid(DIGEST).await;
    for _ in 0..5 {
        through(squid.proxy(Some("secret"))).await.unwrap();
    }
    assert_eq!(demanded(through(squid.proxy(Some("wrong"))).await), (Demand::Refused, vec!["Digest".to_owned()]));
    assert_eq!(demanded(through(squid.proxy(None)).await).0, Demand::Missing);
}

#[tokio::test]
async fn squid_with_ntlm_alone_is_told_apart_by_the_schemes_that_it_offers() {
    let squid = Running::squid(NTLM).await;
    assert_eq!(demanded(through(squid.proxy(Some("secret"))).await), (Demand::Foreign, vec!["NTLM".to_owned()]));
    let both = Running::squid(&format!("{NTLM}\n{BASIC}")).await;
    through(both.proxy(Some("secret"))).await.unwrap();
}

/// Writes tinyproxy's configuration.
fn tinyproxy(dir: &Path, address: SocketAddr, more: &str) -> Command {
    let text = format!("Port {}\nListen {}\nTimeout 60\nAllow 127.0.0.1\nLogLevel Warning\n{more}\n", address.port(), address.ip());
    fs::write(dir.join("tinyproxy.conf"), text).unwrap();
    let mut command = Command::new("/usr/bin/tinyproxy");
    command.arg("-d").arg("-c").arg(dir.join("tinyproxy.conf"));
    command
}

#[tokio::test]
async fn tinyproxy_is_gone_through_with_and_without_a_password() {
    for (more, password) in [("", None), ("BasicAuth site secret", Some("secret"))] {
        let (dir, address) = (tempfile::tempdir().unwrap(), free_address().await);
        let command = tinyproxy(dir.path(), address, more);
        let proxy = Running::start(command, address, dir).await;
        through(proxy.proxy(password)).await.unwrap();
    }
}
