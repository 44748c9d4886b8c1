//! The texts that follow from the settings: pure functions from typed values to whole files.
//!
//! Only types whose text is known to be harmless come in, so nothing needs escaping: host names, addresses, ports, URLs of those, the
//! proxy's password without quotes and spaces, names of fields. `apply` writes the files.

mod gateway;
mod network;

use crate::files::Access;
use crate::settings::Settings;
use crate::veto::{Listener, Veto};

/// Says in each file who made it.
const MADE: &str = "# Made by the appliance's broker from its settings, at every start and change.\n";

/// One file, and what it shall be.
#[derive(Debug)]
pub(crate) struct Rendered {
    /// Absolute path of its directory.
    pub(crate) dir: &'static str,
    /// Its name there.
    pub(crate) name: &'static str,
    /// Its text; `None` when there shall be no such file.
    pub(crate) text: Option<String>,
    /// Who reads it.
    pub(crate) access: Access,
}

/// Returns every file that follows from `settings`. Without a usable veto there is no file for the gateway: it must not run.
pub(crate) fn files(settings: &Settings, veto: Option<&Veto>, gateway_group: u32) -> Vec<Rendered> {
    let public = |dir, name, text| Rendered { dir, name, text: Some(text), access: Access::PUBLIC };
    let for_gateway = Access { mode: 0o640, owner: Some((0, gateway_group)) };
    let gateway = veto.and_then(|veto| gateway::bootstrap_file(settings, veto));
    let enrolment = gateway::enrolment_environment(settings);
    let mut files = vec![
        public("/run/systemd/network", "10-postern.network", network::network_file(settings)),
        public("/run/systemd/resolved.conf.d", "postern.conf", network::resolved_file(settings)),
        public("/run/systemd/timesyncd.conf.d", "postern.conf", network::timesyncd_file(settings)),
        Rendered { dir: "/run/postern", name: "enrol.env", text: enrolment, access: Access::PUBLIC },
        Rendered { dir: "/run/postern", name: "gateway.toml", text: gateway, access: for_gateway },
    ];
    for listener in Listener::ALL {
        let off = veto.is_none_or(|veto| veto.listeners_off.contains(&listener));
        // The socket units start only without it.
        files.push(Rendered { dir: "/run/postern/off", name: listener.name(), text: off.then(String::new), access: Access::PUBLIC });
    }
    files
}
