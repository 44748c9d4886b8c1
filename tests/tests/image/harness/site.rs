//! The site around the appliance: the control plane on 10.99.0.1 with a time server, and a watch on what goes over the wire. DHCP and
//! DNS are started by tests/image/namespace.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use postern_tests::api::Api;
use postern_tests::deadline::{SOON, wait_for};
use postern_tests::launcher::control_plane;
use postern_tests::launcher::layout::Layout;
use postern_tests::launcher::program::Binaries;
use postern_tests::tools::{run, succeeded};

use super::clock::Clock;

/// This side of the bridge.
pub(crate) const HOST: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);

/// Another host on the bridge, which the appliance has no business with.
pub(crate) const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 9);

/// The control plane as the appliance knows it.
pub(crate) const CONTROL_PLANE: &str = "https://control.test";

const HTTPS: SocketAddr = SocketAddr::new(IpAddr::V4(HOST), 443);

/// A control plane with one tenant, and the API client that looks into it.
pub(crate) struct Site {
    pub(crate) api: Api,
    binaries: Binaries,
    layout: Layout,
    control: Child,
    _clock: Clock,
    _dir: tempfile::TempDir,
}

impl Site {
    pub(crate) fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("postern-site-").tempdir().unwrap();
        let layout = Layout::new(dir.path());
        layout.create().unwrap();
        let demo = Path::new(env!("CARGO_BIN_EXE_postern-demo"));
        let binaries = Binaries::in_dir(demo.parent().unwrap()).unwrap();
        let names = ["control.test", "10.99.0.1"];
        let first = control_plane::init(&binaries, &layout, HTTPS, &names).unwrap();
        let api = Api::at("https://10.99.0.1", &layout.ca(), &first.client_id, &first.client_secret);
        let control = control_plane::serve(&binaries, &layout).unwrap().spawn().unwrap();
        let clock = Clock::start(SocketAddr::new(HOST.into(), 123));
        let mut site = Self { api, binaries, layout, control, _clock: clock, _dir: dir };
        wait_for("the control plane", SOON, || {
            assert!(site.control.try_wait().unwrap().is_none(), "{}", site.log());
            control_plane::answers(HTTPS).then_some(()).ok_or_else(|| site.log())
        });
        site
    }

    pub(crate) fn dir(&self) -> &Path {
        self.layout.root()
    }

    /// Makes an enrolment token for a gateway of this name.
    pub(crate) fn token(&self, gateway: &str) -> String {
        let file = self.dir().join(format!("{gateway}.token"));
        control_plane::create_token(&self.binaries, &self.layout, "default", gateway, &file).unwrap();
        let token = std::fs::read_to_string(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        token.trim().to_owned()
    }

    /// The states of all enrolment tokens, as the API names them.
    pub(crate) fn token_states(&self) -> Vec<String> {
        let tokens = self.api.get("/api/v1/enrolment-tokens").ok().json();
        let items = tokens["items"].as_array().unwrap().iter();
        items.map(|item| item["state"].as_str().unwrap().to_owned()).collect()
    }

    /// The enrolled gateways' names.
    pub(crate) fn gateways(&self) -> Vec<String> {
        let gateways = self.api.get("/api/v1/gateways").ok().json();
        let items = gateways["items"].as_array().unwrap().iter();
        items.map(|item| item["name"].as_str().unwrap().to_owned()).collect()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.layout.log("control-plane")).unwrap_or_default()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        drop(self.control.kill());
        drop(self.control.wait());
        if std::thread::panicking() {
            eprintln!("the control plane's log:\n{}", self.log());
        }
    }
}

/// The address that DHCP gave to the machine, once it has one.
pub(crate) fn leased_address() -> Result<IpAddr, String> {
    let path = std::env::var_os("POSTERN_LEASES").expect("POSTERN_LEASES is set by tests/image/run");
    let leases = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let lease = leases.lines().find(|line| line.contains("52:54:00:99:00:50"));
    let address = lease.and_then(|line| line.split_whitespace().nth(2)).and_then(|word| word.parse().ok());
    address.ok_or(leases)
}

/// Records what crosses the machine's cable, from now until it is dropped.
pub(crate) struct Wire {
    tcpdump: Child,
    file: PathBuf,
}

impl Wire {
    pub(crate) fn watch(file: &Path) -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "tcpdump", "-i", "vm0", "-n", "-U", "-s", "128", "-Z", "root", "-w"]).arg(file);
        let tcpdump = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // The file's header is written when the capture has begun.
        wait_for("tcpdump", SOON, || match std::fs::metadata(file) {
            Ok(metadata) if metadata.len() > 0 => Ok(()),
            seen => Err(format!("{seen:?}")),
        });
        Self { tcpdump, file: file.to_owned() }
    }

    /// The packets so far that a filter of pcap-filter(7) selects, one line each.
    pub(crate) fn packets(&self, filter: &str) -> Vec<String> {
        let output = run("tcpdump", &["-r", self.file.to_str().unwrap(), "-n", "-t", filter]);
        succeeded(&output);
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        drop(self.tcpdump.kill());
        drop(self.tcpdump.wait());
    }
}
