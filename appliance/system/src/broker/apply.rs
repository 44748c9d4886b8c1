//! Puts settings in force: writes the files that follow from them and starts anew what reads those.

use super::command::CommandError;
use super::paths::Paths;
use super::render;
use super::systemd::{self, Unit};
use crate::files::{Dir, FileError};
use crate::settings::Settings;
use crate::veto::Veto;

/// Of a machine whose site set no name.
const DEFAULT_HOST_NAME: &str = "postern";
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Why settings are not in force.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApplyError {
    /// A service.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The kernel does not take the host name.
    #[error("the host name cannot be set")]
    HostName(#[source] std::io::Error),
}

/// Writes every file that follows from `settings`, and sets the host name; returns the names of the files that changed.
///
/// # Errors
/// [`ApplyError`]; some files may be written.
pub(crate) fn write(
    paths: &Paths,
    settings: &Settings,
    veto: Option<&Veto>,
    gateway_group: u32,
) -> Result<Vec<(&'static str, &'static str)>, ApplyError> {
    let mut changed = Vec::new();
    for file in render::files(settings, veto, gateway_group) {
        let dir = Dir::open_or_create(&paths.at(file.dir))?;
        let before = dir.read_text(file.name, MAX_FILE_BYTES).unwrap_or_default();
        if before == file.text {
            continue;
        }
        match file.text {
            Some(text) => dir.write(file.name, text.as_bytes(), file.access)?,
            None => dir.remove(file.name)?,
        }
        changed.push((file.dir, file.name));
    }
    let name = settings.hostname.as_ref().map_or(DEFAULT_HOST_NAME, |name| name.as_str());
    if host_name(paths) != name {
        // One write is one name.
        std::fs::write(paths.at("/proc/sys/kernel/hostname"), name).map_err(ApplyError::HostName)?;
    }
    Ok(changed)
}

/// Writes as [`write`] does, and starts anew the services whose files changed.
///
/// # Errors
/// [`ApplyError`]; some may be in force.
pub(crate) fn put_in_force(paths: &Paths, settings: &Settings, veto: Option<&Veto>, gateway_group: u32) -> Result<(), ApplyError> {
    let changed = write(paths, settings, veto, gateway_group)?;
    let services = [
        ("/run/systemd/resolved.conf.d", Unit::Resolved),
        ("/run/systemd/timesyncd.conf.d", Unit::Timesyncd),
        ("/run/systemd/network", Unit::Networkd),
    ];
    let stale: Vec<Unit> = services.iter().filter(|(dir, _)| changed.iter().any(|(of, _)| of == dir)).map(|(_, unit)| *unit).collect();
    if !stale.is_empty() {
        systemd::restart(paths, &stale)?;
    }
    if changed.contains(&("/run/postern", "gateway.toml")) {
        systemd::restart_if_active(paths, Unit::Gateway)?;
    }
    Ok(())
}

/// Returns the host name in force.
pub(crate) fn host_name(paths: &Paths) -> String {
    std::fs::read_to_string(paths.at("/proc/sys/kernel/hostname")).map(|name| name.trim().to_owned()).unwrap_or_default()
}
