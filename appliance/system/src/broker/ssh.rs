//! SSH, off unless someone switches it on for a time.
//!
//! The deadline counts time since the machine started, so that setting the clock does not move it, and is kept in `/run`, so that a
//! restart of the broker does not forget it.

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::command::{CommandError, Program, run};
use super::paths::Paths;
use super::systemd::{self, Unit};
use crate::files::{Access, Dir, FileError};
use crate::settings::ssh_key::SshKey;
use crate::verb::SshStatus;

const KEY: &str = "ssh_host_ed25519_key";
const NEW_KEY: &str = ".new_host_key";
const AUTHORIZED: &str = "authorized_keys";
const DEADLINE: &str = "ssh.json";
const MAX_BYTES: u64 = 16 * 1024;

/// Why SSH could not be switched.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// The machine's clock.
    #[error("the clock cannot be read")]
    Clock(#[source] nix::Error),
    /// `ssh-keygen` or `systemctl`.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// Keys or deadline.
    #[error(transparent)]
    File(#[from] FileError),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Deadline {
    /// Seconds since the machine started.
    until_s: i64,
}

/// Switches SSH on for `key`, or prolongs it. The host's keys are made when there are none.
///
/// # Errors
/// [`SshError`].
pub(crate) fn switch_on(paths: &Paths, key: &SshKey, minutes: u32) -> Result<(), SshError> {
    let dir = Dir::open_or_create(&paths.ssh())?;
    make_host_key(paths, &dir)?;
    dir.write(AUTHORIZED, format!("{key}\n").as_bytes(), Access::PUBLIC)?;
    let deadline = Deadline { until_s: uptime_s()?.saturating_add(i64::from(minutes).saturating_mul(60)) };
    let text = serde_json::to_vec(&deadline).unwrap_or_default();
    let run = Dir::open(&paths.run())?;
    // First, so that SSH is never on without one.
    run.write(DEADLINE, &text, Access::PUBLIC)?;
    if let Err(error) = systemd::start(paths, Unit::Ssh) {
        run.remove(DEADLINE)?;
        return Err(error.into());
    }
    Ok(())
}

/// Switches SSH off; sessions end with the service.
///
/// # Errors
/// [`SshError`].
pub(crate) fn switch_off(paths: &Paths) -> Result<(), SshError> {
    systemd::stop(paths, Unit::Ssh)?;
    Ok(Dir::open(&paths.run())?.remove(DEADLINE)?)
}

/// Replaces who may log in, when SSH is on.
///
/// # Errors
/// [`SshError`].
pub(crate) fn change_key(paths: &Paths, key: Option<&SshKey>) -> Result<(), SshError> {
    match (key, seconds_left(paths)?) {
        (_, None) => Ok(()),
        (None, Some(_)) => switch_off(paths),
        (Some(key), Some(_)) => Ok(Dir::open(&paths.ssh())?.write(AUTHORIZED, format!("{key}\n").as_bytes(), Access::PUBLIC)?),
    }
}

/// Returns the seconds until SSH shall go off, 0 or less when it is time; `None` when it is off.
///
/// # Errors
/// [`SshError`].
pub(crate) fn seconds_left(paths: &Paths) -> Result<Option<i64>, SshError> {
    let Some(text) = Dir::open(&paths.run())?.read(DEADLINE, MAX_BYTES)? else { return Ok(None) };
    // A deadline that cannot be read has passed.
    let until_s = serde_json::from_slice(&text).map_or(0, |deadline: Deadline| deadline.until_s);
    Ok(Some(until_s.saturating_sub(uptime_s()?)))
}

/// Tells how it is.
pub(crate) fn status(paths: &Paths) -> SshStatus {
    match seconds_left(paths) {
        Ok(Some(seconds)) => {
            let minutes_left = u32::try_from(seconds.max(0).saturating_add(59) / 60).unwrap_or(u32::MAX);
            SshStatus::On { minutes_left, fingerprints: fingerprint(paths).into_iter().collect() }
        }
        Ok(None) | Err(_) => SshStatus::Off {},
    }
}

fn fingerprint(paths: &Paths) -> Option<String> {
    let text = Dir::open(&paths.ssh()).ok()?.read_text(&format!("{KEY}.pub"), MAX_BYTES).ok()??;
    Some(text.parse::<SshKey>().ok()?.fingerprint())
}

/// Makes the host's key under another name first, so that what has the real name is whole.
fn make_host_key(paths: &Paths, dir: &Dir) -> Result<(), SshError> {
    if dir.has(KEY) {
        return Ok(());
    }
    let new_public = format!("{NEW_KEY}.pub");
    for name in [NEW_KEY, &new_public, &format!("{KEY}.pub")] {
        dir.remove(name)?;
    }
    let file = paths.ssh().join(NEW_KEY);
    run(paths, Program::SshKeygen, &["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", &file.to_string_lossy()], String::new())?;
    dir.rename(&new_public, &format!("{KEY}.pub"))?;
    Ok(dir.rename(NEW_KEY, KEY)?)
}

fn uptime_s() -> Result<i64, SshError> {
    Ok(clock_gettime(ClockId::CLOCK_BOOTTIME).map_err(SshError::Clock)?.tv_sec())
}
