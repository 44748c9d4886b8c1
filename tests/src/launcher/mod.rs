//! Sets up and runs the demo: a control plane and one gateway that is enrolled with it, on loopback.
//!
//! `layout` names the files, `ports` owns the sockets, `control_plane` and `gateway` know how each program is set up and
//! started, `supervise` keeps both running, `announce` tells people and tests where everything is.

pub mod announce;
pub mod control_plane;
pub mod gateway;
pub mod layout;
pub mod ports;
pub mod program;
mod supervise;

use std::time::Duration;

use anyhow::Context as _;
use nix::fcntl::{Flock, FlockArg};

use announce::{Admin, Api, Demo, DemoPorts, GatewayFacts, Push};
use layout::{FirstStart, Layout};
use ports::{PortChoice, Sockets};
use program::Binaries;

/// A demo that is set up, with its sockets open and nothing running yet.
pub struct Prepared {
    /// Where its files are.
    pub layout: Layout,
    /// The programs that it runs.
    pub binaries: Binaries,
    /// The gateway's sockets, and the reservation of the console's port.
    pub sockets: Sockets,
    /// What was made once, at the first start.
    pub first: FirstStart,
}

/// Runs the demo until SIGINT or SIGTERM.
///
/// # Errors
/// When it cannot be set up: a port is taken, the data is in use or half made, a program is missing or refuses.
pub fn run() -> anyhow::Result<()> {
    let layout = Layout::new(&layout::data_dir()?);
    layout.create()?;
    let _lock = lock(&layout)?;
    layout.remove_stale_demo()?;
    let sockets = Sockets::open(&PortChoice::from_env()?)?;
    let binaries = Binaries::beside_this_program()?;
    // One thread: the programs ask to be told when the thread that started them is gone (see `program`).
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    runtime.block_on(supervise::run(layout, binaries, sockets))
}

/// Makes control plane, tenant, API client and push key at the first start, or takes over what an earlier one made.
///
/// # Errors
/// When a program refuses, or an earlier set-up was interrupted.
pub fn prepare(layout: Layout, binaries: Binaries, sockets: Sockets) -> anyhow::Result<Prepared> {
    layout.create()?;
    let first = match FirstStart::load(&layout)? {
        Some(first) => {
            control_plane::set_value(&layout, "listen", &format!("\"{}\"", sockets.https()))?;
            first
        }
        None => {
            let first = control_plane::init(&binaries, &layout, sockets.https(), &["localhost", "127.0.0.1"])?;
            first.save(&layout)?;
            first
        }
    };
    Ok(Prepared { layout, binaries, sockets, first })
}

impl Prepared {
    /// Describes the running demo as `demo.json` does.
    ///
    /// # Errors
    /// When the gateway is not enrolled.
    pub fn describe(&self) -> anyhow::Result<Demo> {
        Ok(Demo {
            console: format!("https://{}", self.sockets.https()),
            ca: self.layout.ca(),
            admin: Admin { user: self.first.admin_user.clone(), password: self.first.admin_password.clone() },
            api: Api { client_id: self.first.client_id.clone(), client_secret: self.first.client_secret.clone() },
            tenant: self.first.tenant.clone(),
            gateway: GatewayFacts { id: gateway::identity(&self.layout)?, config: self.layout.gateway_config() },
            push: Push { id: gateway::PUSH_KEY_ID.to_owned(), key: self.first.push_key.clone() },
            ports: DemoPorts {
                snmp_trap: self.sockets.snmp_trap().port(),
                syslog: self.sockets.syslog().port(),
                syslog_tls: self.sockets.syslog_tls().port(),
                proxy: self.sockets.proxy().port(),
            },
        })
    }
}

/// Time between two looks at something that is not ready yet.
pub const POLL: Duration = Duration::from_millis(50);

fn lock(layout: &Layout) -> anyhow::Result<Flock<std::fs::File>> {
    let path = layout.lock();
    let file = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|(_, error)| error)
        .with_context(|| format!("another demo runs on {} (or set POSTERN_DATA to another directory)", layout.root().display()))
}
