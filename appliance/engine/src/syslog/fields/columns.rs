//! Formats whose fields have no names on the wire but a place: Palo Alto's CSV, Snare's columns, pf's filterlog; and lines of pairs
//! that one word or a list of columns introduces.

use super::{MAX_FIELDS, key_value};
use crate::event::Fields;

/// Palo Alto's columns by type of log, as its documentation names them; `-` where it reserves one.
const TRAFFIC: &str = "- receive_time serial type subtype - time_generated src dst natsrc natdst rule srcuser dstuser app vsys from to inbound_if \
     outbound_if logset - sessionid repeatcnt sport dport natsport natdport flags proto action bytes bytes_sent bytes_received packets start elapsed \
     category - seqno actionflags srcloc dstloc - pkts_sent pkts_received session_end_reason dg_hier_level_1 dg_hier_level_2 dg_hier_level_3 \
     dg_hier_level_4 vsys_name device_name action_source";
const THREAT: &str = "- receive_time serial type subtype - time_generated src dst natsrc natdst rule srcuser dstuser app vsys from to inbound_if \
     outbound_if logset - sessionid repeatcnt sport dport natsport natdport flags proto action misc threatid category severity direction seqno \
     actionflags srcloc dstloc - contenttype pcap_id filedigest cloud url_idx user_agent filetype xff referer sender subject recipient reportid \
     dg_hier_level_1 dg_hier_level_2 dg_hier_level_3 dg_hier_level_4 vsys_name device_name";
const SYSTEM: &str = "- receive_time serial type subtype - time_generated vsys eventid object - - module severity opaque seqno actionflags \
     dg_hier_level_1 dg_hier_level_2 dg_hier_level_3 dg_hier_level_4 vsys_name device_name";
const CONFIG: &str = "- receive_time serial type subtype - time_generated host vsys cmd admin client result path seqno actionflags dg_hier_level_1 \
     dg_hier_level_2 dg_hier_level_3 dg_hier_level_4 vsys_name device_name";
/// Of any other type, what they all begin with.
const OTHER: &str = "- receive_time serial type subtype - time_generated";

/// Snare's columns behind `MSWinEventLog`.
const SNARE: &str = "criticality event_log counter date_time event_id source user sid_type event_type computer category data message";

/// What filterlog's columns begin with, and go on with for IPv4 and IPv6.
const FILTER: &str = "rule subrule anchor tracker interface reason action direction ip_version";
const FILTER_4: &str = "tos ecn ttl id offset flags protocol_id protocol length src dst";
const FILTER_6: &str = "class flow_label hop_limit protocol protocol_id length src dst";

/// Reads `1,2026/11/21 22:09:39,serial,TRAFFIC,…`.
pub(super) fn palo_alto(text: &str, fields: &mut Fields) {
    let (Some(b','), Some(b'/')) = (text.as_bytes().get(1), text.as_bytes().get(6)) else { return };
    let names = match text.split(',').nth(3) {
        Some("TRAFFIC") => TRAFFIC,
        Some("THREAT") => THREAT,
        Some("SYSTEM") => SYSTEM,
        Some("CONFIG") => CONFIG,
        Some(_) => OTHER,
        None => return,
    };
    fields.reserve(text.len().saturating_add(names.len()));
    named(names, Quoted { rest: Some(text) }, fields);
}

/// Reads Snare's columns, which tabs divide.
pub(super) fn snare(text: &str, fields: &mut Fields) {
    if text.contains('\t') {
        fields.reserve(text.len().saturating_add(SNARE.len()));
        named(SNARE, text.split('\t'), fields);
    }
}

/// Reads `5,,,1000000103,igb0,match,block,in,4,…`.
pub(super) fn filterlog(text: &str, fields: &mut Fields) {
    fields.reserve(text.len().saturating_mul(2));
    named(FILTER, text.split(','), fields);
    let behind = text.split(',').skip(FILTER.split(' ').count());
    let names = match fields.get("ip_version") {
        Some("4") => FILTER_4,
        Some("6") => FILTER_6,
        Some(_) | None => return,
    };
    named(names, behind, fields);
    let ports = text.split(',').skip(FILTER.split(' ').chain(names.split(' ')).count());
    if fields.get("protocol").is_some_and(|protocol| ["tcp", "udp"].iter().any(|with_ports| protocol.eq_ignore_ascii_case(with_ports))) {
        named("sport dport", ports, fields);
    }
}

/// Reads Cisco ISE's pairs behind the columns that introduce them.
pub(super) fn identity_services(text: &str, fields: &mut Fields) {
    if let Some((_, pairs)) = text.split_once(", ") {
        key_value::equals(pairs, fields);
    }
}

/// Reads pairs behind one word: `SPLV5.1 c-ip=…`, NetScreen's `NetScreen device_id=…`. `word` is how long it is.
pub(super) fn introduced(text: &str, word: usize, fields: &mut Fields) {
    let pairs = text.get(word.saturating_add(1)..).unwrap_or_default();
    let head = pairs.as_bytes().get(..pairs.len().min(super::MAX_FIRST_KEY)).unwrap_or_default();
    if let Some(end @ 1..) = head.iter().position(|byte| !super::is_key(*byte))
        && head.get(end) == Some(&b'=')
    {
        key_value::equals(pairs, fields);
    }
}

/// Gives each value the name at its place; empty ones are left out.
fn named<'a>(names: &str, values: impl Iterator<Item = &'a str>, fields: &mut Fields) {
    for (name, value) in names.split_ascii_whitespace().zip(values).take(MAX_FIELDS) {
        if name != "-" && !value.is_empty() {
            fields.push(name, value);
        }
    }
}

/// The columns of a CSV line; a quoted one may have commas.
struct Quoted<'a> {
    rest: Option<&'a str>,
}

impl<'a> Iterator for Quoted<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.rest?;
        if let Some((value, behind)) = rest.strip_prefix('"').and_then(|inner| inner.split_once('"'))
            && (behind.is_empty() || behind.starts_with(','))
        {
            self.rest = behind.strip_prefix(',');
            return Some(value);
        }
        let (value, behind) = rest.split_once(',').map_or((rest, None), |(value, behind)| (value, Some(behind)));
        self.rest = behind;
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(reader: fn(&str, &mut Fields), text: &str) -> Fields {
        let mut fields = Fields::default();
        reader(text, &mut fields);
        fields
    }

    #[test]
    fn palo_alto_s_columns_have_their_names() {
        let system = "1,2026/11/21 22:09:39,001801000001,SYSTEM,general,0,2026/11/21 22:09:38,vsys1,auth-fail,,0,0,general,medium,\"failed, for admin\",7,0x0";
        let fields = read(palo_alto, system);
        assert_eq!(
            (fields.get("eventid"), fields.get("severity"), fields.get("opaque")),
            (Some("auth-fail"), Some("medium"), Some("failed, for admin"))
        );
        assert!(read(palo_alto, "10.0.0.1 said x").is_empty());
    }

    #[test]
    fn filterlog_knows_both_versions_of_ip() {
        let v4 = "5,,,1000000103,igb0,match,block,in,4,0x0,,64,0,0,none,6,tcp,60,192.0.2.7,198.51.100.1,51234,22,0,S,1,,64240,,mss";
        let v6 = "5,,,1000000105,igb0,match,pass,out,6,0x00,0x00000,255,UDP,17,40,2001:db8::1,2001:db8::2,53,53,20";
        let fields = read(filterlog, v4);
        assert_eq!((fields.get("src"), fields.get("dport"), fields.get("action")), (Some("192.0.2.7"), Some("22"), Some("block")));
        assert_eq!(read(filterlog, v6).get("dst"), Some("2001:db8::2"));
    }
}
