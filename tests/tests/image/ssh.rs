//! SSH: closed until the console opens it, and then a menu for one key, in one group, at a bounded pace.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use postern_tests::deadline::wait_for;
use postern_tests::tools::{printed, run, run_with_input, succeeded};

use crate::harness::artefacts::{Artefacts, tools_disk};
use crate::harness::checks::Checks;
use crate::harness::inside::Inside;
use crate::harness::machine::{Chassis, Plugged};
use crate::harness::settings::{cdrom, environment};
use crate::harness::site::{NEIGHBOUR, leased_address};
use crate::harness::steps::step;
use crate::harness::{BOOT, REACTION};

const ACCOUNT: &str = "postern-admin";

/// More connections than one source may make in a minute.
const TOO_MANY: usize = 30;

#[test]
#[ignore = "needs an image: make ci-image"]
fn ssh_is_a_menu_for_one_key_while_it_is_on() {
    let image = Artefacts::test_variant();
    let chassis = Chassis::new(&image.file("-test.raw"), &image.firmware_variables());
    let (key, other) = (new_key(chassis.dir(), "key"), new_key(chassis.dir(), "other"));
    let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
    let disc = cdrom(chassis.dir(), "settings", environment(&[("hostname", "ssh"), ("ssh_key", public.trim())]).as_bytes());
    let machine = chassis.boot(&Plugged { cdrom: Some(&disc), tools: Some(&tools_disk()), ..Plugged::default() });
    let mut inside = Inside::of(&machine);
    machine.console.wait_for("settings applied", BOOT);
    let address = wait_for("an address", REACTION, leased_address);
    let client = Client { address, key };

    assert!(!open(address), "port 22 is closed before anybody asks");
    step("switched on", || {
        machine.console.choose("SSH on or off", &[("Minutes", "10")], REACTION);
        wait_for("port 22", REACTION, || {
            open(address).then_some(()).ok_or_else(|| inside.run("systemctl status postern-ssh.service").output)
        });
    });
    let mut checks = Checks::default();
    checks.run("the key leads to the menu, and never to a shell", || menu(&client));
    checks.run("nothing is forwarded and nothing copied", || forwarding(&client));
    checks.run("a password is not even asked for", || {
        let tried =
            client.ssh(ACCOUNT, &["-o", "PubkeyAuthentication=no", "-o", "PreferredAuthentications=password,keyboard-interactive"], "");
        assert!(printed(&tried).contains("Permission denied (publickey)"), "{}", printed(&tried));
    });
    checks.run("another key, another account and root are refused", || {
        let stranger = Client { address, key: other };
        for (client, account) in [(&stranger, ACCOUNT), (&client, "root"), (&client, "postern"), (&client, "nobody")] {
            let tried = client.ssh(account, &[], "");
            assert!(!tried.status.success() && printed(&tried).contains("Permission denied"), "{account}: {}", printed(&tried));
        }
    });
    checks.run("old algorithms are not offered", || algorithms(&client));
    checks.run("a source that connects again and again is made to wait", || throttled(address));
    checks.run("switched off, the port is closed and the session over", || {
        machine.console.choose("SSH on or off", &[("Minutes", "off")], REACTION);
        wait_for("port 22 to close", REACTION, || if open(address) { Err("it is open".to_owned()) } else { Ok(()) });
        let left = inside.run("ps ax").output;
        assert!(!left.contains("sshd"), "{left}");
    });
    checks.finish();
}

fn new_key(dir: &Path, name: &str) -> PathBuf {
    let path = dir.join(name);
    succeeded(&run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", path.to_str().unwrap()]));
    path
}

fn open(address: IpAddr) -> bool {
    TcpStream::connect_timeout(&SocketAddr::new(address, 22), Duration::from_secs(3)).is_ok()
}

struct Client {
    address: IpAddr,
    key: PathBuf,
}

impl Client {
    /// Options in `more` win: the first one given counts.
    fn ssh(&self, account: &str, more: &[&str], input: &str) -> Output {
        let options = [
            "-F",
            "/dev/null",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "LogLevel=ERROR",
            "-o",
            "ConnectTimeout=60",
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "IdentityAgent=none",
            "-o",
            "NumberOfPasswordPrompts=0",
        ];
        let (key, to) = (self.key.to_str().unwrap(), format!("{account}@{}", self.address));
        let arguments: Vec<&str> = [&["120", "ssh"], more, &options[..], &["-i", key], &[&to]].concat();
        run_with_input("timeout", &arguments, input.as_bytes())
    }

    fn command(&self, command: &str) -> Output {
        let to = format!("{ACCOUNT}@{}", self.address);
        let key = self.key.to_str().unwrap();
        let quiet = ["-F", "/dev/null", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"];
        run("timeout", &[&["60", "ssh"], &quiet[..], &["-o", "IdentitiesOnly=yes", "-i", key, &to, command]].concat())
    }
}

fn menu(client: &Client) {
    // Ctrl-D ends the session where nothing else does.
    let session = client.ssh(ACCOUNT, &["-tt"], "\n\u{4}");
    let text = printed(&session);
    assert!(text.contains("Postern") || text.contains("postern"), "{text}");
    for command in ["id", "/bin/bash -c id", "cat /etc/passwd"] {
        let text = printed(&client.command(command));
        assert!(!text.contains("uid=") && !text.contains("root:"), "{command}: {text}");
    }
}

fn forwarding(client: &Client) {
    let tunnel = client.ssh(ACCOUNT, &["-W", &format!("{NEIGHBOUR}:443")], "");
    assert!(!tunnel.status.success(), "{}", printed(&tunnel));
    let local = client.ssh(ACCOUNT, &["-W", "127.0.0.1:3128"], "");
    assert!(!local.status.success(), "{}", printed(&local));
    let subsystem = client.ssh(ACCOUNT, &["-s"], "");
    assert!(!subsystem.status.success() || !printed(&subsystem).contains("sftp"), "{}", printed(&subsystem));
    let to = format!("{ACCOUNT}@{}:/etc/passwd", client.address);
    let quiet =
        ["-q", "-F", "/dev/null", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "IdentitiesOnly=yes"];
    let key = client.key.to_str().unwrap();
    let copied = run("timeout", &[&["60", "scp"], &quiet[..], &["-i", key, &to, "/dev/null"]].concat());
    assert!(!copied.status.success(), "{}", printed(&copied));
}

/// What the server proposes, as one client is told: RFC 4253 §7.1.
fn algorithms(client: &Client) {
    let proposal = wait_for("the server's proposal", BOOT, || {
        let text = printed(&client.ssh(ACCOUNT, &["-o", "LogLevel=DEBUG2"], ""));
        let (_, proposal) = text.split_once("peer server KEXINIT proposal").ok_or_else(|| text.clone())?;
        proposal.split_once("first_kex_follows").map(|(proposal, _)| proposal.to_owned()).ok_or(text)
    });
    assert!(proposal.contains("ciphers stoc: "), "{proposal}");
    for weak in
        ["-cbc", "3des", "arcfour", "hmac-sha1", "hmac-md5", "group1-sha1", "group14-sha1", "group-exchange-sha1", "ssh-rsa", "ssh-dss"]
    {
        assert!(!proposal.contains(weak), "{weak}: {proposal}");
    }
}

fn throttled(address: IpAddr) {
    let connected = (0..TOO_MANY).filter(|_| TcpStream::connect_timeout(&SocketAddr::new(address, 22), Duration::from_millis(500)).is_ok());
    let connected = connected.count();
    assert!(connected < TOO_MANY / 2, "{connected} of {TOO_MANY} connections at once were taken");
}
