//! File descriptors: as many as the system gives, and connections only as far as the daemon's own files keep room.
//!
//! Without this, idle connections of anyone in the site could take the last descriptor, and the spool, which then cannot begin
//! a segment, stops the daemon. `main` calls [`raise`], the daemon [`fit`].

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::config::Config;
use crate::proxy::REFUSABLE;
use crate::proxy::splice::MAX_PIPES;

/// Descriptors that no connection may have: sockets, spool, tunnel, look-ups of names, and what is opened for a moment.
const RESERVED: u64 = 128;

/// Of the pipes through which bulky tunnels go, which are few and shared.
const FOR_PIPES: u64 = 2 * MAX_PIPES as u64;

/// A connection to the proxy may hold another one, to its destination.
const FOR_A_TUNNEL: u64 = 2;

/// Raises the number of descriptors to the most that the process may have: the default of 1,024 is from the time of `select`.
///
/// # Errors
/// What the system says.
pub fn raise() -> std::io::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, most, most)?)
}

/// Returns how many descriptors the process may have.
///
/// # Errors
/// What the system says.
pub(crate) fn limit() -> std::io::Result<u64> {
    Ok(getrlimit(Resource::RLIMIT_NOFILE)?.0)
}

/// Lowers the connections that `config` allows, each listener's in proportion, until they fit into `limit` descriptors.
pub(crate) fn fit(config: &mut Config, limit: u64) {
    let shared = if config.proxy.is_some() { FOR_PIPES.saturating_add(REFUSABLE as u64) } else { 0 };
    let room = limit.saturating_sub(RESERVED).saturating_sub(shared);
    let syslog = [&config.syslog, &config.syslog_tls].into_iter().flatten().map(|receiver| receiver.max_connections as u64);
    let tunnels = config.proxy.iter().map(|proxy| (proxy.max_connections as u64).saturating_mul(FOR_A_TUNNEL));
    let wanted = syslog.chain(tunnels).fold(0, u64::saturating_add);
    if wanted <= room {
        return;
    }
    tracing::warn!(limit, wanted, "fewer connections are taken than configured: raise the limit of open files (LimitNOFILE)");
    let lowered = |connections: usize| {
        let share = connections as u128 * u128::from(room) / u128::from(wanted.max(1));
        usize::try_from(share).unwrap_or(connections).max(1)
    };
    for receiver in [&mut config.syslog, &mut config.syslog_tls].into_iter().flatten() {
        receiver.max_connections = lowered(receiver.max_connections);
    }
    if let Some(proxy) = &mut config.proxy {
        proxy.max_connections = lowered(proxy.max_connections);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn config() -> Config {
        let text = "data_dir = \"d\"\n[server]\nurl = \"https://127.0.0.1:8443\"\n[receivers.syslog]\nlisten = \"127.0.0.1:0\"\n\
                    [receivers.syslog_tls]\nlisten = \"127.0.0.1:0\"\n[proxy]\nlisten = \"127.0.0.1:0\"\n";
        Config::parse(text, Path::new("/etc/postern")).ok().unwrap()
    }

    fn connections(config: &Config) -> [u64; 3] {
        let syslog = [&config.syslog, &config.syslog_tls].map(|receiver| receiver.as_ref().unwrap().max_connections as u64);
        [syslog[0], syslog[1], config.proxy.as_ref().unwrap().max_connections as u64]
    }

    #[test]
    fn idle_connections_cannot_take_the_spools_descriptors() {
        for limit in [300, 1024, 4096] {
            let mut config = config();
            fit(&mut config, limit);
            let [tcp, tls, proxy] = connections(&config);
            assert!(tcp + tls + FOR_A_TUNNEL * proxy + REFUSABLE as u64 + FOR_PIPES + RESERVED <= limit, "{limit}: {tcp} {tls} {proxy}");
            assert!(tcp > 0 && tls > 0 && proxy > 0);
        }
    }

    #[test]
    fn with_descriptors_for_all_the_configuration_stands() {
        let mut config = config();
        let before = connections(&config);
        fit(&mut config, 1 << 16);
        assert_eq!(connections(&config), before);
    }
}
