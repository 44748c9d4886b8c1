//! Landlock: which files, TCP ports, signals and abstract unix sockets are left.
//!
//! Everything that the kernel's version knows is handled, so what has no rule here is refused. Nothing may be executed and no
//! TCP port bound: the listeners are open before. Rules hold for what a path is at the start; where something is replaced
//! while the daemon runs, the rule is for the directory around it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, PathBeneath, PathFd, PathFdError, RestrictionStatus, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
};
use postern_protocol::status::Enforcement;
use postern_uplink::url::HostPort;

use crate::config::Config;
use crate::vault::credentials_directory;

/// The interface that the rules are written for (Linux 6.12); an older kernel enforces what it knows of it.
const WANTED: ABI = ABI::V6;

/// What the C library reads to find out where a name lies, and where it finds its modules for that.
const NAMES: [&str; 7] =
    ["/etc/gai.conf", "/etc/host.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/ld.so.cache", "/usr/lib", "/usr/lib64"];

/// Where the resolvers stand.
const RESOLVERS: &str = "/etc/resolv.conf";

/// DNS answers that are too long for UDP come over TCP (RFC 7766).
const DNS_PORT: u16 = 53;

/// The usual ports of HTTPS and of HTTP proxies.
const WAYS_OUT: [u16; 5] = [443, 3128, 8000, 8080, 8443];

/// Why nothing is enforced.
#[derive(Debug, thiserror::Error)]
pub(super) enum FilesError {
    /// A directory of the daemon's own.
    #[error("{} cannot be confined to", path.display())]
    Own {
        path: PathBuf,
        #[source]
        cause: PathFdError,
    },
    /// The kernel refuses.
    #[error("the kernel refuses the rules")]
    Rules(#[from] RulesetError),
}

/// Confines the calling thread, and all that it starts.
pub(super) fn confine(config: &Config, own_ports: &[u16]) -> Result<Enforcement, FilesError> {
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(WANTED))?
        .handle_access(AccessNet::from_all(WANTED))?
        .scope(Scope::from_all(WANTED))?
        .create()?;
    // In the identity's directory nothing can be written: a daemon that was taken over cannot make itself other pins or keys. What is
    // renewed lies elsewhere, and pins in there count only under a signature.
    let own = AccessFs::ReadFile | AccessFs::ReadDir | AccessFs::MakeSock | AccessFs::RemoveFile;
    let keep = own | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::MakeReg;
    let written = config.written_dirs().map(|path| (path, keep));
    for (path, access) in std::iter::once((config.data_dir.clone(), own)).chain(written) {
        let opened = PathFd::new(&path).map_err(|cause| FilesError::Own { path, cause })?;
        rules = rules.add_rule(PathBeneath::new(opened, access))?;
    }
    for path in NAMES.iter().map(PathBuf::from).chain(resolvers(Path::new(RESOLVERS))).chain(credentials_directory()) {
        let Ok(opened) = PathFd::new(&path) else {
            tracing::debug!(path = %path.display(), "not there, so not readable until the next start");
            continue;
        };
        rules = rules.add_rule(PathBeneath::new(opened, reading(&path)))?;
    }
    // The canary tries the daemon's own listeners.
    for port in ports(config).into_iter().chain(own_ports.iter().copied()) {
        rules = rules.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?;
    }
    Ok(enforcement(&rules.restrict_self()?))
}

fn reading(path: &Path) -> BitFlags<AccessFs> {
    if path.is_dir() { AccessFs::ReadFile | AccessFs::ReadDir } else { AccessFs::ReadFile.into() }
}

/// Where the resolvers' file is sought again and again: whoever changes it puts another one in its place, so its directory.
fn resolvers(file: &Path) -> Vec<PathBuf> {
    let target = std::fs::canonicalize(file).ok().or_else(|| Some(file.parent()?.join(std::fs::read_link(file).ok()?)));
    let dirs = [file.parent(), target.as_deref().and_then(Path::parent)];
    match dirs {
        // A link elsewhere, as of systemd-resolved: the link itself takes no right to follow.
        [own, Some(dir)] if own != Some(dir) => vec![dir.to_owned()],
        [own, _] => own.map(Path::to_owned).into_iter().collect(),
    }
}

/// Ports that connections may go to: the control plane's and those of the proxy's destinations, or the site's own proxy alone; and
/// those that a pushed revision may name for another way out, because nothing can be added to these rules while the daemon runs.
fn ports(config: &Config) -> BTreeSet<u16> {
    let mut ports = BTreeSet::from([DNS_PORT]);
    ports.extend(WAYS_OUT);
    ports.extend(config.server_addresses.iter().map(HostPort::port));
    if let Some(proxy) = &config.server_proxy {
        ports.insert(proxy.address().port());
    } else {
        ports.insert(config.server.port());
        ports.extend(config.proxy.iter().flat_map(|proxy| &proxy.connect_allow).map(|destination| destination.port));
    }
    ports
}

/// The same for the control plane alone. Through a proxy its own port counts: the proxy connects there.
pub(super) fn ways_out(config: &Config) -> BTreeSet<u16> {
    let mut ports = ports(config);
    ports.remove(&DNS_PORT);
    ports.insert(config.server.port());
    ports
}

fn enforcement(status: &RestrictionStatus) -> Enforcement {
    let abi = match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => effective_abi as u32,
        LandlockStatus::NotEnabled | LandlockStatus::NotImplemented => 0,
    };
    let not = |why: &str| Enforcement::NotEnforced { why: why.to_owned() };
    match (&status.ruleset, &status.landlock) {
        (RulesetStatus::FullyEnforced, _) => Enforcement::FullyEnforced,
        (RulesetStatus::PartiallyEnforced, _) => Enforcement::PartiallyEnforced { abi },
        (RulesetStatus::NotEnforced, LandlockStatus::NotEnabled) => not("Landlock is switched off in this kernel (boot parameter lsm=)"),
        (RulesetStatus::NotEnforced, LandlockStatus::NotImplemented) => {
            not("this kernel has no Landlock, or a system call filter hides it")
        }
        (RulesetStatus::NotEnforced, LandlockStatus::Available { .. }) => not("the kernel took none of the rules"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports_of(text: &str) -> Vec<u16> {
        let text = format!("data_dir = \"d\"\n[server]\nurl = \"https://127.0.0.1:8444\"\n{text}");
        let ports = ports(&Config::parse(&text, Path::new("/etc/postern")).ok().unwrap());
        assert!(WAYS_OUT.iter().all(|port| ports.contains(port)), "a revision may name them");
        ports.into_iter().filter(|port| !WAYS_OUT.contains(port)).collect()
    }

    #[test]
    fn connections_go_to_configured_ports_and_dns() {
        assert_eq!(ports_of(""), [53, 8444]);
        assert_eq!(ports_of("addresses = [\"192.0.2.1:8445\"]\n"), [53, 8444, 8445]);
        assert_eq!(ports_of("[proxy]\nlisten = \"127.0.0.1:0\"\nconnect_allow = [\"mirror.example.com:444\"]\n"), [53, 444, 8444]);
    }

    #[test]
    fn behind_a_proxy_connections_go_to_that_alone() {
        let text = "proxy = \"http://10.0.0.1:3129\"\n[proxy]\nlisten = \"127.0.0.1:0\"\nconnect_allow = [\"mirror.example.com:444\"]\n";
        assert_eq!(ports_of(text), [53, 3129]);
    }

    #[test]
    fn resolvers_that_are_replaced_are_found_in_their_directory() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let (etc, run) = (root.join("etc"), root.join("run/resolve"));
        std::fs::create_dir_all(&etc).unwrap();
        std::fs::create_dir_all(&run).unwrap();
        std::fs::write(etc.join("plain"), "").unwrap();
        assert_eq!(resolvers(&etc.join("plain")), std::slice::from_ref(&etc));
        std::os::unix::fs::symlink("../run/resolve/resolv.conf", etc.join("link")).unwrap();
        assert_eq!(resolvers(&etc.join("link")), [etc.join("../run/resolve")], "before it is there");
        std::fs::write(run.join("resolv.conf"), "").unwrap();
        assert_eq!(resolvers(&etc.join("link")), [run]);
    }
}
