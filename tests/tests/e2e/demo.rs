//! `make run`'s launcher, as people and other tests use it.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getpgid};
use postern_tests::launcher::announce::Demo;
use postern_tests::launcher::gateway;
use postern_tests::launcher::layout::Layout;

use crate::harness::rig::binaries;
use postern_tests::deadline::wait_for;
use postern_tests::tools::{printed, run};

const START: Duration = Duration::from_secs(60);

enum Whom {
    Group,
    Launcher,
}

struct Launched {
    child: Option<Child>,
    layout: Layout,
    dir: tempfile::TempDir,
}

impl Launched {
    fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("postern-demo-").tempdir().unwrap();
        let mut launched = Self { child: None, layout: Layout::new(dir.path()), dir };
        launched.launch();
        launched
    }

    /// In a process group of its own, as a shell starts it, so that a test can press Ctrl-C.
    fn launch(&mut self) {
        let mut command = command(self.dir.path().into(), &[]);
        let said = std::fs::File::options().create(true).append(true).open(self.said()).unwrap();
        self.child = Some(command.process_group(0).stdout(Stdio::piped()).stderr(said).spawn().unwrap());
    }

    /// Where the launcher's complaints go.
    fn said(&self) -> PathBuf {
        self.dir.path().join("launcher.log")
    }

    fn demo(&self) -> Demo {
        wait_for("demo.json", START, || {
            let text = std::fs::read(self.layout.demo()).map_err(|error| error.to_string())?;
            Ok(serde_json::from_slice(&text).unwrap())
        })
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.as_ref().unwrap().id()).unwrap())
    }

    /// Ids of the running programs, found by the file that they run and their parent.
    fn programs(&self, name: &str) -> Vec<Pid> {
        let ours = |entry: std::fs::DirEntry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let command_line = std::fs::read(entry.path().join("cmdline")).ok()?;
            let words: Vec<String> = command_line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
            let right = words.first()?.ends_with(name) && words.iter().any(|word| word.starts_with(self.dir.path().to_str().unwrap()));
            right.then(|| Pid::from_raw(pid))
        };
        std::fs::read_dir("/proc").unwrap().filter_map(|entry| ours(entry.unwrap())).collect()
    }

    /// Sends the signal to the launcher, or to its whole group, and waits until it has ended.
    fn stop(&mut self, signal: Signal, whom: Whom) -> Duration {
        let start = Instant::now();
        match whom {
            Whom::Group => killpg(self.pid(), signal).unwrap(),
            Whom::Launcher => kill(self.pid(), signal).unwrap(),
        }
        let mut child = self.child.take().unwrap();
        let status = wait_for("the launcher to stop", Duration::from_secs(15), || match child.try_wait().unwrap() {
            Some(status) => Ok(status),
            None => Err("it still runs".into()),
        });
        assert!(status.success(), "{status}");
        start.elapsed()
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
            child.wait().unwrap();
        }
        if std::thread::panicking() {
            for name in ["gateway", "control-plane"] {
                eprintln!("{name}: {}", std::fs::read_to_string(self.layout.log(name)).unwrap_or_default());
            }
        }
    }
}

fn command(data: PathBuf, ports: &[(&str, String)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postern-demo"));
    command.env("POSTERN_DATA", data).stdin(Stdio::null());
    for name in ["HTTPS", "TRAP", "SYSLOG", "SYSLOG_TLS", "PROXY"] {
        command.env(format!("POSTERN_{name}_PORT"), "0");
    }
    command.envs(ports.iter().map(|(name, value)| (*name, value.as_str())));
    command
}

#[test]
fn demo_json_has_its_shape_and_everything_in_it_works() {
    let mut launched = Launched::start();
    let demo = launched.demo();
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(launched.layout.demo()).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert!(demo.ca.is_absolute() && demo.gateway.config.is_absolute());

    let ca = demo.ca.to_str().unwrap();
    let token = format!("{}/oauth2/token", demo.console);
    let user = format!("{}:{}", demo.api.client_id, demo.api.client_secret);
    let answer = run("curl", &["-sS", "--cacert", ca, "-u", &user, "-d", "grant_type=client_credentials", &token]);
    let answer: serde_json::Value = serde_json::from_slice(&answer.stdout).unwrap();
    let bearer = format!("Authorization: Bearer {}", answer["access_token"].as_str().unwrap());

    // The three commands of the announcement, as printed, by the shell.
    let mut said = BufReader::new(launched.child.as_mut().unwrap().stdout.take().unwrap()).lines().map_while(Result::ok);
    let text: Vec<String> = said.by_ref().take_while(|line| !line.starts_with("Ctrl-C")).collect();
    let text = text.join("\n");
    assert!(text.contains(&demo.console) && text.contains(&demo.admin.password), "{text}");
    let begins = |line: &&str| ["snmptrap", "logger", "body=", "mac=", "curl"].iter().any(|word| line.trim_start().starts_with(word));
    let script: Vec<&str> = text.lines().filter(begins).collect();
    assert_eq!(script.len(), 5, "{text}");
    let tried = run("bash", &["-e", "-c", &script.join("\n")]);
    assert!(tried.status.success() && printed(&tried).contains("\"accepted\":1"), "{}", printed(&tried));
    let url = format!("{}/api/v1/alerts", demo.console);
    wait_for("three alerts", START, || {
        let answer = run("curl", &["-sS", "--cacert", ca, "-H", &bearer, &url]);
        let page: serde_json::Value = serde_json::from_slice(&answer.stdout).map_err(|error| error.to_string())?;
        if page["items"].as_array().is_some_and(|items| items.len() == 3) { Ok(()) } else { Err(page.to_string()) }
    });

    for name in ["postern-control", "postern-gateway"] {
        let [program] = launched.programs(name)[..] else { panic!("one {name}") };
        assert_eq!(getpgid(Some(program)).unwrap(), getpgid(Some(launched.pid())).unwrap(), "{name} is in the launcher's group");
    }
    println!("SIGTERM took {:?}", launched.stop(Signal::SIGTERM, Whom::Launcher));
    assert!(launched.programs("postern-control").is_empty() && launched.programs("postern-gateway").is_empty());
}

#[test]
fn either_program_is_started_again_at_once_however_often_it_dies() {
    let mut launched = Launched::start();
    let demo = launched.demo();
    for round in 0..4 {
        for name in ["postern-control", "postern-gateway"] {
            let [before] = launched.programs(name)[..] else { panic!("one {name} in round {round}") };
            kill(before, Signal::SIGKILL).unwrap();
            let start = Instant::now();
            wait_for(name, Duration::from_millis(500), || match launched.programs(name)[..] {
                [now] if now != before => Ok(()),
                _ => Err("it is gone".into()),
            });
            println!("{name} was back after {:?}", start.elapsed());
        }
    }
    wait_for("the tunnel", START, || {
        let status = gateway::status(&binaries(), &launched.layout).map_err(|error| format!("{error:#}"))?;
        match status.tunnel.state {
            postern_protocol::status::TunnelState::Up => Ok(()),
            _ => Err(format!("{status:?}")),
        }
    });
    // It keeps what it knows over its own restart too, and the first password stays in demo.json.
    // Ctrl-C reaches all three at once; nothing is started again meanwhile.
    println!("Ctrl-C took {:?}", launched.stop(Signal::SIGINT, Whom::Group));
    let said = std::fs::read_to_string(launched.said()).unwrap();
    assert_eq!(said.matches("starting it again").count(), 8, "{said}");
    launched.launch();
    wait_for("a new demo.json", START, || {
        let again = std::fs::read(launched.layout.demo()).map_err(|error| error.to_string())?;
        let again: Demo = serde_json::from_slice(&again).unwrap();
        // The free ports are others now.
        if again.ports.proxy == demo.ports.proxy {
            return Err("the old one".into());
        }
        assert_eq!((&again.admin.password, &again.gateway.id), (&demo.admin.password, &demo.gateway.id));
        Ok(())
    });
}

#[test]
fn a_launcher_that_is_killed_leaves_nothing_running() {
    let mut launched = Launched::start();
    launched.demo();
    let mut child = launched.child.take().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    wait_for("both programs to end", Duration::from_secs(15), || {
        let left = [launched.programs("postern-control"), launched.programs("postern-gateway")].concat();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}

#[test]
fn a_taken_port_and_data_in_use_are_said_clearly() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port().to_string();
    let dir = tempfile::tempdir().unwrap();
    let output = command(dir.path().into(), &[("POSTERN_PROXY_PORT", port.clone())]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains(&port) && said.contains("POSTERN_PROXY_PORT"), "{said}");
    let output = command(dir.path().into(), &[("POSTERN_TRAP_PORT", "many".into())]).output().unwrap();
    assert!(String::from_utf8(output.stderr).unwrap().contains("POSTERN_TRAP_PORT"));

    let launched = Launched::start();
    launched.demo();
    let output = command(launched.dir.path().into(), &[]).output().unwrap();
    assert!(String::from_utf8(output.stderr).unwrap().contains("another demo runs"));
}
