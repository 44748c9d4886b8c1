//! A site of a test: a directory that looks like an appliance's root, and a broker in it.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use postern_appliance::client::Broker;
use postern_appliance::verb::{Answer, Reply, Status, Verb};

/// Within this a thing that shall happen must have happened.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) const GATEWAY: u32 = 970;
pub(crate) const FIRSTBOOT: u32 = 971;
pub(crate) const CONSOLE: u32 = 972;
pub(crate) const STRANGER: u32 = 998;

const PASSWD: &str = "root:x:0:0:root:/root:/usr/sbin/nologin\n\
    postern:x:970:970::/:/usr/sbin/nologin\n\
    postern-firstboot:x:971:971::/:/usr/sbin/nologin\n\
    postern-console:x:972:972::/:/usr/sbin/nologin\n\
    postern-admin:x:973:973::/:/usr/lib/postern/console\n\
    systemd-timesync:x:997:997::/:/usr/sbin/nologin\n";

/// Notes its arguments; says what is active by the files in `active/`; fails for what stands in `broken`.
const SYSTEMCTL: &str = r#"#!/bin/sh
root=${0%/usr/bin/systemctl}
echo "$*" >> "$root/asked"
verb=$1
for last do :; done
if grep -qx "$verb $last" "$root/broken" 2>/dev/null; then echo "Job for $last failed." >&2; exit 1; fi
case $verb in
show)
  while [ "$1" != -- ]; do shift; done; shift
  for unit do
    state=inactive; [ -e "$root/active/$unit" ] && state=active
    printf 'Id=%s\nActiveState=%s\n\n' "$unit" "$state"
  done;;
start) : > "$root/active/$last";;
stop) rm -f "$root/active/$last";;
esac
"#;

/// Keeps what it is given; knows the table once it was loaded.
const NFT: &str = r#"#!/bin/sh
root=${0%/usr/sbin/nft}
case $1 in
-f) [ -e "$root/nft-broken" ] && { echo "Error: syntax error" >&2; exit 1; }; cat > "$root/loaded.nft"; echo x >> "$root/loads";;
-j) [ -e "$root/loaded.nft" ] || { echo "Error: No such file or directory" >&2; exit 1; }
    echo '{"nftables": [{"counter": {"name": "dropped_in", "packets": 3}}, {"counter": {"name": "dropped_out", "packets": 4}}]}';;
esac
"#;

/// Which `nft` a site has.
pub(crate) enum Nft {
    /// A script that keeps the text.
    Noted,
    /// The real one; the broker must run in a namespace of its own.
    Real,
}

/// The directory and what runs in it.
pub(crate) struct Site {
    dir: tempfile::TempDir,
    broker: Option<Child>,
    /// Runs the broker in the network namespace of this process.
    pub(crate) namespace_of: Option<u32>,
}

impl Site {
    /// Makes a site; `None`, said aloud, unless the test runs as root.
    pub(crate) fn new() -> Option<Self> {
        Self::with(Nft::Noted)
    }

    /// As [`Site::new`], with the `nft` of choice.
    pub(crate) fn with(nft: Nft) -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: the broker is root's, and so is this test");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        // Other users come in, as far as the socket.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let site = Self { dir, broker: None, namespace_of: None };
        for path in [
            "active",
            "efi/EFI/Linux",
            "etc",
            "proc/self",
            "proc/sys/kernel",
            "run/postern",
            "run/systemd/netif",
            "run/systemd/network",
            "run/systemd/resolve",
            "run/systemd/resolved.conf.d",
            "run/systemd/timesyncd.conf.d",
            "sys/firmware/efi/efivars",
            "usr/bin",
            "usr/sbin",
            "var/lib/postern-system",
            "var/lib/postern",
            "var/log/postern",
        ] {
            fs::create_dir_all(site.at(path)).unwrap();
        }
        fs::set_permissions(site.at("var/log/postern"), fs::Permissions::from_mode(0o700)).unwrap();
        site.write("etc/passwd", PASSWD);
        site.write("proc/sys/kernel/hostname", "before\n");
        site.write("proc/cmdline", "quiet postern.slot=a\n");
        site.write("efi/EFI/Linux/postern-a_1.0.0+3.efi", "");
        site.program("usr/bin/systemctl", SYSTEMCTL);
        match nft {
            Nft::Noted => site.program("usr/sbin/nft", NFT),
            Nft::Real => symlink("/usr/sbin/nft", site.at("usr/sbin/nft")).unwrap(),
        }
        symlink("/usr/bin/ssh-keygen", site.at("usr/bin/ssh-keygen")).unwrap();
        Some(site)
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        fs::write(self.at(path), text).unwrap();
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.at(path).symlink_metadata().is_ok()
    }

    pub(crate) fn program(&self, path: &str, text: &str) {
        self.write(path, text);
        fs::set_permissions(self.at(path), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A command of the broker's program in this site.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let program = env!("CARGO_BIN_EXE_broker");
        let mut command = match self.namespace_of {
            Some(pid) => {
                let mut command = Command::new("nsenter");
                command.args(["--net", "--target", &pid.to_string(), "--", program]);
                command
            }
            None => Command::new(program),
        };
        command.arg("--root").arg(self.dir.path()).args(args);
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Starts the broker and waits until it answers.
    pub(crate) fn start(&mut self) {
        let log = fs::File::create(self.at("broker.log")).unwrap();
        let mut child = self.command(&["serve"]).stdin(Stdio::null()).stderr(log).spawn().unwrap();
        let start = Instant::now();
        let answers = || Broker::connect(&self.socket()).and_then(|broker| broker.call(&Verb::Slots {})).is_ok();
        while !answers() {
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none() && start.elapsed() < SOON, "the broker does not serve: {ended:?}\n{}", self.read("broker.log"));
            std::thread::sleep(Duration::from_millis(10));
        }
        // The socket's group is the image's matter; here every user is in it.
        fs::set_permissions(self.socket(), fs::Permissions::from_mode(0o666)).unwrap();
        self.broker = Some(child);
    }

    /// Ends the broker as the service manager does; panics if it takes long or fails.
    pub(crate) fn stop(&mut self) {
        let mut child = self.broker.take().unwrap();
        nix::sys::signal::kill(pid(&child), nix::sys::signal::Signal::SIGTERM).unwrap();
        let start = Instant::now();
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break status,
                None if start.elapsed() > SOON => panic!("the broker does not end"),
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        assert!(status.success(), "{status}\n{}", self.read("broker.log"));
    }

    /// Kills the broker as a power cut does.
    pub(crate) fn kill(&mut self) {
        let mut child = self.broker.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.at("run/postern/broker.sock")
    }

    /// Asks as root.
    pub(crate) fn ask(&self, request: &str) -> Reply {
        let verb: Verb = serde_json::from_str(request).unwrap();
        Broker::connect(&self.socket()).unwrap().call(&verb).unwrap()
    }

    /// Asks as the user `uid`, by a copy of the program that every user reaches.
    pub(crate) fn ask_as(&self, uid: u32, request: &str) -> Reply {
        let program = self.at("broker");
        if !program.exists() {
            fs::copy(env!("CARGO_BIN_EXE_broker"), &program).unwrap();
        }
        let mut command = Command::new(program);
        command.arg("--root").arg(self.dir.path()).args(["call", request]).uid(uid).gid(uid).current_dir("/");
        let output = command.output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    pub(crate) fn status(&self) -> Status {
        match self.ask(r#"{"verb":"status"}"#) {
            Reply::Ok { answer: Answer::Status { status } } => *status,
            other => panic!("{other:?}"),
        }
    }

    /// What systemctl was asked, other than to show.
    pub(crate) fn asked(&self) -> Vec<String> {
        let asked = fs::read_to_string(self.at("asked")).unwrap_or_default();
        asked.lines().filter(|line| !line.starts_with("show")).map(str::to_owned).collect()
    }

    pub(crate) fn audit(&self) -> Vec<serde_json::Value> {
        self.read("var/log/postern/audit.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits until `probe` says yes.
    pub(crate) fn wait_for(&self, what: &str, probe: impl Fn() -> bool) {
        let start = Instant::now();
        while !probe() {
            assert!(start.elapsed() < SOON, "waited for {what}\n{}", fs::read_to_string(self.at("broker.log")).unwrap_or_default());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(mut child) = self.broker.take() {
            // It may have ended by itself; the test has failed then.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn pid(child: &Child) -> nix::unistd::Pid {
    nix::unistd::Pid::from_raw(child.id().try_into().unwrap())
}

pub(crate) fn done() -> Reply {
    Reply::Ok { answer: Answer::Done {} }
}

/// Panics unless the request was refused for a reason that contains `words`.
pub(crate) fn refused(reply: &Reply, words: &str) {
    assert!(matches!(reply, Reply::Refused { reason } if reason.contains(words)), "{reply:?} does not say {words:?}");
}

/// A token that is well formed.
pub(crate) fn token() -> String {
    let expires = postern_protocol::timestamp::Timestamp::from_secs(1_900_000_000);
    postern_protocol::enrolment::Token { ca_spki_sha256: [7; 32], secret: [9; 32], expires }.to_string()
}

/// Mode and owner of a file.
pub(crate) fn access(path: &Path) -> (u32, u32, u32) {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = fs::metadata(path).unwrap();
    (metadata.mode() & 0o7777, metadata.uid(), metadata.gid())
}
