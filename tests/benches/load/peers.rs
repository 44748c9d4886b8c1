//! The field's programs, set up to do the same work: take in, parse, write down what came.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::datagrams::{self, AUTH_PASSPHRASE, ENGINES, PRIV_PASSPHRASE, USER};
use crate::process::{Process, find, free_tcp_port, free_udp_port, wait_until};

/// Receive buffer that each receiver gets.
pub(crate) const RECEIVE_BUFFER_BYTES: u32 = 33_554_432;

/// A running peer.
pub(crate) struct Peer {
    pub(crate) process: Process,
    pub(crate) udp: SocketAddr,
    pub(crate) tcp: SocketAddr,
    pub(crate) tls: SocketAddr,
    /// The file that gets some lines for each event.
    pub(crate) output: PathBuf,
    /// How many that are.
    pub(crate) lines_per_event: u64,
    /// The authority of its certificate.
    pub(crate) ca: PathBuf,
}

impl Peer {
    /// Events that it wrote down.
    pub(crate) fn events(&self) -> u64 {
        let bytes = std::fs::read(&self.output).unwrap_or_default();
        bytes.iter().filter(|byte| **byte == b'\n').count() as u64 / self.lines_per_event
    }

    /// Has it write what it still holds, if it knows the signal for that.
    pub(crate) fn flush(&self) {
        if self.lines_per_event == 1 {
            kill(Pid::from_raw(i32::try_from(self.process.pid()).unwrap()), Signal::SIGHUP).unwrap();
            self.process.settle();
        }
    }

    /// Empties its output, so that a disk never fills up.
    pub(crate) fn forget(&self) {
        std::fs::OpenOptions::new().write(true).open(&self.output).unwrap().set_len(0).unwrap();
    }
}

/// net-snmp's receiver: no MIB files, no name look-ups, its own format in a file.
pub(crate) fn snmptrapd(dir: &Path) -> Option<Peer> {
    let program = find("snmptrapd")?;
    let (port, config, output) = (free_udp_port(), dir.join("snmptrapd.conf"), dir.join("traps.log"));
    let mut text = format!("disableAuthorization yes\nserverRecvBuf {RECEIVE_BUFFER_BYTES}\n");
    for n in 0..ENGINES {
        let id: String = datagrams::engine_id(n).iter().map(|byte| format!("{byte:02x}")).collect();
        text.push_str(&format!("createUser -e 0x{id} {USER} SHA-256 {AUTH_PASSPHRASE} AES {PRIV_PASSPHRASE}\n"));
    }
    text.push_str(&format!("authUser log {USER} priv\n"));
    std::fs::write(&config, text).unwrap();
    let udp: SocketAddr = ([127, 0, 0, 1], port).into();
    let mut command = Command::new(program);
    command.env("MIBS", "").env("SNMP_PERSISTENT_DIR", dir).args(["-f", "-n", "-On", "-C", "-c"]).arg(&config);
    command.arg("-Lf").arg(&output).arg(format!("udp:127.0.0.1:{port}"));
    let process = Process::start(&mut command, &dir.join("snmptrapd.out"));
    wait_until("snmptrapd", || output.exists() && udp_is_taken(udp));
    Some(Peer { process, udp, tcp: udp, tls: udp, output, lines_per_event: 2, ca: PathBuf::new() })
}

/// rsyslog: imudp, imtcp with and without TLS, every property parsed and a line an event in a file.
pub(crate) fn rsyslogd(dir: &Path) -> Option<Peer> {
    let program = find("rsyslogd")?;
    let (udp, tcp, tls) = (free_udp_port(), free_tcp_port(), free_tcp_port());
    let (config, output, ca, key) = (dir.join("rsyslog.conf"), dir.join("lines.log"), dir.join("cert.pem"), dir.join("key.pem"));
    let has_tls = [Path::new("/usr/lib/x86_64-linux-gnu/rsyslog"), Path::new("/usr/lib/aarch64-linux-gnu/rsyslog")]
        .iter()
        .any(|place| place.join("lmnsd_ossl.so").exists());
    certificate(&ca, &key);
    let driver = if has_tls {
        format!(
            "global(defaultNetstreamDriver=\"ossl\" defaultNetstreamDriverCAFile={ca:?} defaultNetstreamDriverCertFile={ca:?} \
             defaultNetstreamDriverKeyFile={key:?})\n"
        )
    } else {
        String::new()
    };
    let tls_input = if has_tls {
        format!(
            "input(type=\"imtcp\" port=\"{tls}\" address=\"127.0.0.1\" StreamDriver.Name=\"ossl\" StreamDriver.Mode=\"1\" \
             StreamDriver.AuthMode=\"anon\")\n"
        )
    } else {
        String::new()
    };
    let text = format!(
        "global(workDirectory={dir:?} maxMessageSize=\"8k\")\n{driver}\
         module(load=\"imudp\" batchSize=\"128\")\nmodule(load=\"imtcp\")\n\
         main_queue(queue.size=\"2000000\" queue.dequeueBatchSize=\"1024\")\n\
         template(name=\"fields\" type=\"string\" string=\"%timereported:::date-rfc3339% %hostname% %app-name% %procid% %msgid% \
         %syslogfacility% %syslogseverity% %structured-data% %msg%\\n\")\n\
         input(type=\"imudp\" port=\"{udp}\" address=\"127.0.0.1\" rcvbufSize=\"{RECEIVE_BUFFER_BYTES}\")\n\
         input(type=\"imtcp\" port=\"{tcp}\" address=\"127.0.0.1\" StreamDriver.Name=\"ptcp\" StreamDriver.Mode=\"0\")\n{tls_input}\
         action(type=\"omfile\" file={output:?} template=\"fields\" asyncWriting=\"off\" ioBufferSize=\"64k\" flushOnTXEnd=\"off\")\n"
    );
    std::fs::write(&config, text).unwrap();
    std::fs::write(&output, "").unwrap();
    let mut command = Command::new(program);
    command.arg("-n").arg("-f").arg(&config).arg("-i").arg(dir.join("rsyslogd.pid"));
    let process = Process::start(&mut command, &dir.join("rsyslogd.out"));
    let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
    wait_until("rsyslogd", || std::net::TcpStream::connect(loopback(tcp)).is_ok());
    Some(Peer {
        process,
        udp: loopback(udp),
        tcp: loopback(tcp),
        tls: loopback(if has_tls { tls } else { 0 }),
        output,
        lines_per_event: 1,
        ca,
    })
}

/// tinyproxy as it comes, without its log.
pub(crate) fn tinyproxy(dir: &Path) -> Option<(Process, SocketAddr)> {
    let program = find("tinyproxy")?;
    let (port, config) = (free_tcp_port(), dir.join("tinyproxy.conf"));
    let text = format!("Port {port}\nListen 127.0.0.1\nTimeout 600\nMaxClients 1000\nLogLevel Critical\nLogFile \"/dev/null\"\n");
    std::fs::write(&config, text).unwrap();
    let process = Process::start(Command::new(program).arg("-d").arg("-c").arg(&config), &dir.join("tinyproxy.out"));
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    wait_until("tinyproxy", || std::net::TcpStream::connect(at).is_ok());
    Some((process, at))
}

/// squid without a cache or an access log.
pub(crate) fn squid(dir: &Path) -> Option<(Process, SocketAddr)> {
    let program = find("squid")?;
    let (port, config) = (free_tcp_port(), dir.join("squid.conf"));
    // Started by root it becomes a user who can read next to nothing.
    let text = format!(
        "http_port 127.0.0.1:{port}\ncache deny all\naccess_log none\ncache_log /dev/null\ncache_store_log none\npid_filename none\n\
         http_access allow all\ncoredump_dir /\nshutdown_lifetime 1 seconds\nnetdb_filename none\nvisible_hostname bench\n"
    );
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir, open).unwrap();
    std::fs::write(&config, text).unwrap();
    let process = Process::start(
        Command::new(program).arg("-N").arg("-n").arg(format!("bench{port}")).arg("-f").arg(&config),
        &dir.join("squid.out"),
    );
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    wait_until("squid", || std::net::TcpStream::connect(at).is_ok());
    Some((process, at))
}

/// Makes a certificate for `localhost` that whoever trusts it takes: it signed itself, and is no authority.
fn certificate(certificate: &Path, key: &Path) {
    let config = certificate.with_extension("cnf");
    let extensions = "basicConstraints=critical,CA:FALSE\nsubjectAltName=DNS:localhost\n";
    std::fs::write(&config, format!("[req]\ndistinguished_name=name\nx509_extensions=more\n[name]\n[more]\n{extensions}")).unwrap();
    let arguments =
        ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost"];
    let mut command = Command::new("openssl");
    let made = command.args(arguments).arg("-config").arg(&config).arg("-keyout").arg(key).arg("-out").arg(certificate).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

fn udp_is_taken(at: SocketAddr) -> bool {
    std::net::UdpSocket::bind(at).is_err()
}

/// What the kernel dropped on the UDP socket at `at`.
pub(crate) fn kernel_drops(at: SocketAddr) -> u64 {
    let port = format!(":{:04X} ", at.port());
    let table = std::fs::read_to_string("/proc/net/udp").unwrap();
    let line = table.lines().skip(1).find(|line| line.split_whitespace().nth(1).is_some_and(|local| format!("{local} ").ends_with(&port)));
    line.and_then(|line| line.split_whitespace().last()?.parse().ok()).unwrap_or(0)
}

/// Says that a peer is not there.
pub(crate) fn absent(what: &str, package: &str) {
    println!("{what}: not installed, so not compared; the Debian package is {package}");
}
