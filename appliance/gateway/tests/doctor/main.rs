//! The doctor against real things on loopback: each cause is made, and must be told apart from all others.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod command;
mod peers;
mod pki;
mod proxies;
mod tls;

use std::path::Path;
use std::sync::Arc;

use postern_gateway::doctor::{Credentials, Patient, Ports, examine};
use postern_protocol::status::doctor::{Finding, Grade, Report};
use postern_uplink::dial::link::LinkSettings;
use postern_uplink::identity::Identity;
use postern_uplink::url::{ProxyUrl, ServerUrl};

/// Examines a gateway that has the identity in `dir`, without a daemon.
pub(crate) async fn examined(dir: &Path, server: &str, proxy: Option<&str>) -> Report {
    let link = LinkSettings::new(ServerUrl::parse(server).unwrap(), proxy.map(|proxy| ProxyUrl::parse(proxy).unwrap()));
    let identity = Identity::load(dir).map(Arc::new);
    let (status, disks) = (Err("not asked".to_owned()), vec![(dir.to_owned(), 0)]);
    let (credentials, buffers, ports) = (Credentials::Known, Vec::new(), Ports::Own);
    examine(Patient { identity, link, status, credentials, disks, buffers, ports, warn_below_hours: 24 }).await
}

/// Returns the one fault of a report.
pub(crate) fn fault(report: &Report) -> &Finding {
    let faults: Vec<&Finding> = report.findings.iter().filter(|finding| finding.grade == Grade::Fault).collect();
    assert_eq!(faults.len(), 1, "{report:#?}");
    faults[0]
}
