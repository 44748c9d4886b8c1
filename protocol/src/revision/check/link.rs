//! The meaning of `uplink`, `spool` and `confirm_within_s`.

use std::ops::RangeInclusive;

use super::Problems;
use crate::revision::link::{SpoolSettings, Uplink, UplinkProxy};
use crate::revision::locate::Place;

/// Most addresses of the control plane.
const MAX_ADDRESSES: usize = 8;

/// Longest host name (RFC 1035 §2.3.4).
const MAX_HOST_BYTES: usize = 253;

/// Longest name or secret's name for the proxy.
const MAX_NAME_BYTES: usize = 128;

const CONFIRM_S: RangeInclusive<u32> = 10..=3_600;
const WARN_HOURS: RangeInclusive<u32> = 1..=720;

/// Checks the `uplink` section.
pub(super) fn uplink(uplink: &Uplink, place: &Place<'_>, problems: &mut Problems<'_>) {
    let list = place.key("addresses");
    if uplink.addresses.len() > MAX_ADDRESSES {
        problems.add(&list, format!("{} addresses are more than {MAX_ADDRESSES}", uplink.addresses.len()));
    }
    for (index, address) in uplink.addresses.iter().enumerate() {
        host_and_port(address, &list.index(index), problems);
    }
    if let Some(UplinkProxy::Http { address, user, secret }) = &uplink.proxy {
        let section = place.key("proxy");
        let place = section.key("http");
        host_and_port(address, &place.key("address"), problems);
        if user.is_some() != secret.is_some() {
            problems.add(&place, "user and secret belong together: give both or none");
        }
        for (key, value) in [("user", user), ("secret", secret)] {
            let bad =
                |value: &String| value.is_empty() || value.len() > MAX_NAME_BYTES || value.contains(|c: char| c.is_control() || c == ':');
            if value.as_ref().is_some_and(bad) {
                problems.add(&place.key(key), format!("must have 1 to {MAX_NAME_BYTES} bytes, no colon and no control character"));
            }
        }
    }
}

/// Checks the `spool` section.
pub(super) fn spool(spool: &SpoolSettings, place: &Place<'_>, problems: &mut Problems<'_>) {
    if !WARN_HOURS.contains(&spool.warn_below_hours) {
        problems.add(&place.key("warn_below_hours"), format!("must be {} to {}", WARN_HOURS.start(), WARN_HOURS.end()));
    }
}

/// Checks `confirm_within_s`.
pub(super) fn confirm(seconds: u32, place: &Place<'_>, problems: &mut Problems<'_>) {
    if !CONFIRM_S.contains(&seconds) {
        problems.add(place, format!("must be {} to {} seconds", CONFIRM_S.start(), CONFIRM_S.end()));
    }
}

fn host_and_port(address: &str, place: &Place<'_>, problems: &mut Problems<'_>) {
    let split = address.rsplit_once(':').filter(|(host, _)| !host.contains(':') || (host.starts_with('[') && host.ends_with(']')));
    let good = split.is_some_and(|(host, port)| {
        let name = |c: char| c.is_ascii_alphanumeric() || "-._[]:".contains(c);
        !host.is_empty() && host.len() <= MAX_HOST_BYTES && host.chars().all(name) && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if !good {
        problems.add(place, "must be host:port, for example control.example.com:443 or [2001:db8::1]:443");
    }
}
