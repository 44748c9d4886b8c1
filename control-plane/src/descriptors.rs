//! File descriptors: as many as the system gives, and connections only as far as the databases keep room for theirs.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Descriptors that no connection may have: databases, keys, sockets, the runtime's own.
const RESERVED: u64 = 256;

/// Raises the number of descriptors to the most that the process may have: the default of 1,024 is from the time of `select`.
///
/// # Errors
/// What the system says.
pub(crate) fn raise() -> std::io::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, most, most)?)
}

/// Returns how many descriptors connections may have.
pub(crate) fn for_connections() -> usize {
    // Fails only for a resource that does not exist.
    let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or_default();
    usize::try_from(limit.saturating_sub(RESERVED)).unwrap_or(usize::MAX)
}

/// Returns what of `room` falls to a part that wants `most` where all parts want `all`: `most` when there is room for all.
pub(crate) fn share(most: usize, all: usize, room: usize) -> usize {
    let share = most as u128 * room as u128 / (all as u128).max(1);
    usize::try_from(share).unwrap_or(usize::MAX).clamp(1, most.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_leaves_the_gateways_their_descriptors() {
        let (public, tunnels) = (share(4096, 8704, 768), share(4096, 8704, 768));
        assert!(public > 300 && tunnels > 300 && public + tunnels <= 768);
        assert_eq!(share(4096, 8704, 1 << 20), 4096);
        assert_eq!(share(4096, 8704, 0), 1);
    }
}
