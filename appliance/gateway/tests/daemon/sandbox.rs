//! The sandbox from inside: this test binary starts itself again, enters the sandbox as `main` does, and tries what must fail
//! and what must not, on every kind of thread that the daemon has.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::libc;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::statvfs::statvfs;
use nix::unistd::{getppid, pipe2};
use postern_gateway::config::Config;
use postern_gateway::sandbox;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use socket2::{Domain, Protocol, Socket, Type};

/// What the child does and where, as `thread attempt directory`; the attempt's words are joined by `-`.
const ORDER: &str = "POSTERN_SANDBOX_CHILD";

/// Marks the child's lines among the test harness's.
const MARK: &str = "sandbox: ";

const THREADS: [&str; 3] = ["entering", "worker", "blocking"];

/// Since which version Landlock knows files and TCP ports; seccomp needs none.
const FILES: u32 = 1;
const PORTS: u32 = 4;
const SECCOMP: u32 = 0;

/// A directory with a configuration, and two listeners: the control plane's, and one that nobody configured.
struct Place {
    dir: tempfile::TempDir,
    _control: TcpListener,
    _other: TcpListener,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let control = TcpListener::bind("127.0.0.1:0").unwrap();
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let identity = dir.path().join("data/identity");
        std::fs::create_dir_all(&identity).unwrap();
        std::fs::write(identity.join("gateway.json"), "mine").unwrap();
        std::fs::write(dir.path().join("secret"), "not mine").unwrap();
        std::fs::write(dir.path().join("other"), other.local_addr().unwrap().to_string()).unwrap();
        let text = format!("data_dir = \"data\"\n[server]\nurl = \"https://{}\"\n", control.local_addr().unwrap());
        std::fs::write(dir.path().join("gateway.toml"), text).unwrap();
        Self { dir, _control: control, _other: other }
    }

    /// Has a child in the sandbox do something.
    fn child(&self, thread: &str, attempt: &str) -> Output {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "sandbox::in_the_sandbox", "--ignored", "--nocapture"]);
        command.env(ORDER, format!("{thread} {} {}", attempt.replace(' ', "-"), self.dir.path().display()));
        command.output().unwrap()
    }

    /// Returns what the child said of its attempts, and the version of Landlock that this kernel has.
    fn answers(&self, thread: &str) -> (BTreeMap<String, String>, u32) {
        let output = self.child(thread, "everything");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{thread}: {}\n{text}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
        let lines = text.lines().filter_map(|line| line.split_once(MARK)?.1.split_once(" = "));
        let answers: BTreeMap<String, String> = lines.map(|(attempt, answer)| (attempt.to_owned(), answer.to_owned())).collect();
        assert_eq!(answers["seccomp"], "fully enforced");
        let abi = match answers["landlock"].rsplit_once("up to ABI ") {
            Some((_, abi)) => abi.parse().unwrap(),
            None if answers["landlock"] == "fully enforced" => u32::MAX,
            None => 0,
        };
        (answers, abi)
    }
}

#[test]
fn what_the_daemon_does_not_need_is_refused_on_every_thread() {
    let place = Place::new();
    for thread in THREADS {
        let (answers, abi) = place.answers(thread);
        for (attempt, errno, since) in [
            ("read a file", libc::EACCES, FILES),
            ("read about another process", libc::EACCES, FILES),
            ("write a file", libc::EACCES, FILES),
            ("write the identity", libc::EACCES, FILES),
            ("write beside the spool", libc::EACCES, FILES),
            ("connect to another port", libc::EACCES, PORTS),
            ("bind a port", libc::EACCES, PORTS),
            ("start a program", libc::EPERM, SECCOMP),
            ("lower a limit", libc::EPERM, SECCOMP),
            ("signal its parent", libc::EPERM, SECCOMP),
            ("open a packet socket", libc::EPERM, SECCOMP),
            ("open a raw socket", libc::EPERM, SECCOMP),
        ] {
            if abi < since {
                println!("skipped: {attempt}, which Landlock knows since ABI {since}; this kernel has {abi}");
                continue;
            }
            assert_eq!(answers[attempt], errno.to_string(), "{attempt} on a thread that is {thread}: {answers:?}");
        }
    }
}

#[test]
fn what_the_daemon_needs_is_left_on_every_thread() {
    let place = Place::new();
    for thread in THREADS {
        let (answers, _) = place.answers(thread);
        for attempt in [
            "read the identity",
            "write the spool",
            "replace a revision",
            "keep the doctor's report",
            "keep what was received",
            "keep what left",
            "ask how much room a disk has",
            "connect to the control plane",
            "send a datagram",
            "look a name up",
            "move bulk through a pipe",
            "start a thread",
        ] {
            assert_eq!(answers[attempt], "done", "{attempt} on a thread that is {thread}: {answers:?}");
        }
    }
}

#[test]
fn exec_and_ptrace_kill_from_every_thread() {
    let place = Place::new();
    for thread in THREADS {
        for attempt in ["exec", "ptrace"] {
            let output = place.child(thread, attempt);
            assert_eq!(output.status.signal(), Some(libc::SIGSYS), "{attempt} on a thread that is {thread}: {output:?}");
        }
    }
}

#[test]
fn what_the_kernel_does_not_enforce_is_told_and_refused_where_it_is_required() {
    for (attempt, by) in [("without landlock", "landlock"), ("without seccomp", "seccomp")] {
        let place = Place::new();
        let said = String::from_utf8(place.child("entering", attempt).stdout).unwrap();
        assert!(said.contains(&format!("{MARK}{by} = not enforced: ")), "{said}");
        let mut config = OpenOptions::new().append(true).open(place.dir.path().join("gateway.toml")).unwrap();
        config.write_all(b"[sandbox]\nrequire = true\n").unwrap();
        let said = String::from_utf8(place.child("entering", attempt).stdout).unwrap();
        assert!(said.contains(&format!("{MARK}refused: sandbox.require is set, but ")), "{said}");
    }
}

/// The child.
#[test]
#[ignore = "started by the other tests of this module"]
fn in_the_sandbox() {
    let Ok(order) = std::env::var(ORDER) else { return };
    let mut words = order.splitn(3, ' ');
    let [thread, attempt, dir] = [(); 3].map(|()| words.next().unwrap());
    let (attempt, dir) = (attempt.replace('-', " "), PathBuf::from(dir));
    let config = Config::load(&dir.join("gateway.toml")).unwrap();
    let other = std::fs::read_to_string(dir.join("other")).unwrap().parse().unwrap();
    let outside = Outside { dir, other, control: (config.server.host().to_owned(), config.server.port()) };
    match attempt.as_str() {
        "without landlock" => take_away(libc::SYS_landlock_create_ruleset),
        "without seccomp" => take_away(libc::SYS_seccomp),
        _ => {}
    }
    let closed = match sandbox::enter(&config, &[]) {
        Ok(closed) => closed,
        Err(error) => return println!("{MARK}refused: {error}"),
    };
    println!("{MARK}landlock = {}", closed.landlock);
    println!("{MARK}seccomp = {}", closed.seccomp);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    match thread {
        "entering" => outside.attempt(&attempt),
        "worker" => runtime.block_on(runtime.spawn(async move { outside.attempt(&attempt) })).unwrap(),
        "blocking" => runtime.block_on(runtime.spawn_blocking(move || outside.attempt(&attempt))).unwrap(),
        other => panic!("{other}"),
    }
}

/// What the child knows of the world.
struct Outside {
    dir: PathBuf,
    other: SocketAddr,
    control: (String, u16),
}

impl Outside {
    fn attempt(&self, which: &str) {
        match which {
            "exec" => panic!("{}", Command::new("/bin/true").exec()),
            "ptrace" => panic!("{:?}", nix::sys::ptrace::attach(getppid())),
            "everything" => self.everything(),
            _ => {}
        }
    }

    fn everything(&self) {
        let data = self.dir.join("data");
        tell("read a file", std::fs::read(self.dir.join("secret")));
        tell("read about another process", std::fs::read("/proc/1/status"));
        tell("write a file", File::create(self.dir.join("new")));
        tell("write the identity", OpenOptions::new().write(true).open(data.join("identity/gateway.json")));
        tell("write beside the spool", File::create(data.join("new")));
        tell("connect to another port", TcpStream::connect(self.other));
        tell("bind a port", TcpListener::bind("127.0.0.1:0"));
        tell("start a program", Command::new("/bin/true").spawn());
        tell("lower a limit", setrlimit(Resource::RLIMIT_NOFILE, 64, 64).map_err(io::Error::from));
        tell("signal its parent", kill(getppid(), None::<Signal>).map_err(io::Error::from));
        tell("open a packet socket", Socket::new(Domain::PACKET, Type::DGRAM, None));
        tell("open a raw socket", Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)));

        tell("read the identity", std::fs::read(data.join("identity/gateway.json")));
        tell("write the spool", std::fs::write(data.join("spool/new"), "1"));
        tell("replace a revision", replace(&data.join("revisions")));
        tell("keep the doctor's report", replace(&data.join("doctor")));
        tell("keep what was received", std::fs::write(data.join("ring/1.ring"), "1"));
        tell("keep what left", std::fs::write(data.join("outbound/1.jsonl"), "{}\n"));
        tell("ask how much room a disk has", statvfs(&data.join("spool")).map_err(io::Error::from));
        tell("connect to the control plane", TcpStream::connect(&self.control));
        tell("send a datagram", UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(b"x", socket.local_addr()?)));
        tell("look a name up", ("localhost", 443).to_socket_addrs());
        tell("move bulk through a pipe", through_a_pipe());
        tell("start a thread", std::thread::Builder::new().name("another".to_owned()).spawn(|| ()));
    }
}

/// Makes the kernel one that does not know a system call.
fn take_away(call: libc::c_long) {
    let (otherwise, listed) = (SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS.unsigned_abs()));
    let filter = SeccompFilter::new([(call, Vec::new())].into(), otherwise, listed, std::env::consts::ARCH.try_into().unwrap()).unwrap();
    seccompiler::apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
}

fn replace(dir: &Path) -> io::Result<()> {
    std::fs::write(dir.join("staged"), "1")?;
    std::fs::rename(dir.join("staged"), dir.join("effective.json"))?;
    File::open(dir)?.sync_all()
}

/// As the proxy does with bulky tunnels.
fn through_a_pipe() -> io::Result<usize> {
    let (mut from, socket) = std::os::unix::net::UnixStream::pair()?;
    from.write_all(b"bulk")?;
    let (_read, write) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    fcntl(&write, FcntlArg::F_SETPIPE_SZ(1024 * 1024))?;
    Ok(splice(&socket, None, &write, None, 1024, SpliceFFlags::SPLICE_F_NONBLOCK)?)
}

fn tell<T>(attempt: &str, result: io::Result<T>) {
    match result.map_err(|error| error.raw_os_error()) {
        Ok(_) => println!("{MARK}{attempt} = done"),
        Err(errno) => println!("{MARK}{attempt} = {}", errno.unwrap_or_default()),
    }
}
