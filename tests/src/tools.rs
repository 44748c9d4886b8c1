//! The real tools that the tests use, each as a function.

// A tool that fails ends the test.
#![allow(clippy::indexing_slicing, clippy::missing_panics_doc, clippy::panic, clippy::unwrap_used)]

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};

use crate::launcher::Prepared;

/// IF-MIB's linkDown (RFC 2863).
pub const LINK_DOWN: &str = "1.3.6.1.6.3.1.1.5.3";
/// IF-MIB's linkUp.
pub const LINK_UP: &str = "1.3.6.1.6.3.1.1.5.4";
/// ifIndex, without the instance.
pub const IF_INDEX: &str = "1.3.6.1.2.1.2.2.1.1";

/// Runs a program to its end.
pub fn run(program: &str, args: &[&str]) -> Output {
    run_with_input(program, args, b"")
}

/// Runs a program to its end with `input` on its standard input.
pub fn run_with_input(program: &str, args: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(program);
    // No MIB files and no configuration of this machine: the tests name OIDs by number.
    command.args(args).env("MIBS", "").env("SNMPCONFPATH", "/nonexistent").env_remove("https_proxy").env_remove("http_proxy");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}; `make test` installs it"));
    // A program may end without reading its input.
    drop(child.stdin.take().unwrap().write_all(input));
    child.wait_with_output().unwrap()
}

/// Panics unless the tool succeeded.
pub fn succeeded(output: &Output) {
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
}

/// What the tool printed, both streams.
pub fn printed(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// `snmptrap -v 2c` of linkDown or linkUp for one interface.
pub fn link_trap(to: SocketAddr, oid: &str, if_index: u32) {
    let (to, name, value) = (to.to_string(), format!("{IF_INDEX}.{if_index}"), if_index.to_string());
    succeeded(&run("snmptrap", &["-v", "2c", "-c", "public", &to, "", oid, &name, "i", &value]));
}

/// `snmptrap -v 2c` with varbinds as net-snmp takes them: name, type, value.
pub fn trap(to: SocketAddr, oid: &str, varbinds: &[&str]) {
    let to = to.to_string();
    succeeded(&run("snmptrap", &[&["-v", "2c", "-c", "public", &to, "", oid], varbinds].concat()));
}

/// `snmpinform -v 2c` of linkDown or linkUp; returns whether it was acknowledged.
pub fn link_inform(to: SocketAddr, oid: &str, if_index: u32, more: &[&str]) -> Output {
    let (to, name, value) = (to.to_string(), format!("{IF_INDEX}.{if_index}"), if_index.to_string());
    let arguments: &[&str] = &["-v", "2c", "-c", "public", &to, "", oid, &name, "i", &value];
    run("snmpinform", &[more, arguments].concat())
}

/// `logger` to the gateway's syslog port.
pub fn logger(to: SocketAddr, args: &[&str]) {
    let (host, port) = (to.ip().to_string(), to.port().to_string());
    succeeded(&run("logger", &[&["--server", &host, "--port", &port], args].concat()));
}

/// `POST /v1/push` over plain HTTP, signed with openssl as the documentation says; returns status and body.
pub fn push(prepared: &Prepared, body: &str, more: &[&str]) -> (u16, String) {
    let first = prepared.describe().unwrap();
    let seconds = unix_seconds().to_string();
    let mac = hmac(&first.push.key, &format!("{seconds}\n{body}"));
    let header = format!("Postern-Signature: id={}, ts={seconds}, mac={mac}", first.push.id);
    let url = format!("http://{}/v1/push", prepared.sockets.proxy());
    let args: &[&str] = &["-sS", "-w", "\n%{http_code}", "-H", &header, "--data-binary", "@-", &url];
    let output = run_with_input("curl", &[more, args].concat(), body.as_bytes());
    succeeded(&output);
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), body.to_owned())
}

/// HMAC-SHA256 by openssl, hexadecimal.
pub fn hmac(key: &str, text: &str) -> String {
    let output = run_with_input("openssl", &["dgst", "-sha256", "-hmac", key, "-r"], text.as_bytes());
    succeeded(&output);
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().next().unwrap().to_owned()
}

/// The time, as pushes carry it.
pub fn unix_seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}
