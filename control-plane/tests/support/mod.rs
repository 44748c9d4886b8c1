//! What the tests of the API and of the console share: a control plane over databases in a temporary folder.

use std::sync::Arc;
use std::time::Duration;

use postern_control::app::App;
use postern_control::ca::CertificateAuthority;
use postern_control::clock;
use postern_control::config::Config;
use postern_control::metrics::Metrics;
use postern_control::mibs::Mibs;
use postern_control::signer::Signer;
use postern_control::store::Stores;
use postern_control::tls;
use postern_control::trust::Authorities;
use postern_protocol::alert::{Alert, AlertKey, AlertState, Evidence, Severity};
use postern_protocol::id::{AlertId, GatewayId, RuleId, TenantId};
use postern_protocol::timestamp::Timestamp;

/// Makes a control plane with the tenants `a` and `b`, each with one gateway (`gateway-a`, `gateway-b`).
pub(crate) async fn control_plane() -> (Arc<App>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let keys = path.join("keys");
    std::fs::create_dir(&keys).unwrap();
    let config = Config {
        listen: ([127, 0, 0, 1], 8443).into(),
        admin_listen: ([127, 0, 0, 1], 0).into(),
        data_dir: path.to_owned(),
        names: vec!["localhost".parse().unwrap()],
        client_certificate_life: Duration::from_secs(30 * 86_400),
        renew_expired_within: Duration::from_secs(30 * 86_400),
        unreachable_after: Duration::from_secs(60),
        bulk_slow_after: Duration::from_millis(250),
    };
    CertificateAuthority::create(&keys, "ca", clock::now()).unwrap();
    tls::create_keys(&keys).unwrap();
    let app = App {
        checks: Default::default(),
        clock: clock::now,
        config,
        doubts: Default::default(),
        feed: Default::default(),
        gateways: Default::default(),
        metrics: Metrics::default(),
        mibs: Mibs::new(env!("CARGO_BIN_EXE_postern-control").into()),
        passwords: Default::default(),
        rollouts: Default::default(),
        signer: Signer::create(&keys.join("revision.key")).unwrap(),
        stop: Default::default(),
        stores: Stores::open(path).unwrap(),
        trust: Authorities::load(&keys).unwrap(),
    };
    for name in ["a", "b"] {
        app.stores.create_tenant(&tenant(name), name, clock::now()).await.unwrap();
        let id = gateway(name);
        let insert = format!(
            "INSERT INTO gateway (id, tenant, name, enrolled_at, client_spki) VALUES ('{id}', '{name}', 'Site {name}', 0, x'{}')",
            "00".repeat(32)
        );
        app.stores.system().write(move |tx| Ok(tx.execute_batch(&insert)?)).await.unwrap();
    }
    (Arc::new(app), folder)
}

pub(crate) fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

pub(crate) fn gateway(tenant: &str) -> GatewayId {
    GatewayId::new(format!("gateway-{tenant}")).unwrap()
}

/// Returns an open alert on `resource` with that revision, first seen at `at`.
pub(crate) fn alert_at(resource: &str, revision: u64, at: Timestamp) -> Alert {
    Alert {
        key: key(resource),
        occurrence: revision,
        revision,
        state: AlertState::Open,
        severity: Severity::Major,
        summary: format!("{resource} is down"),
        count: 1,
        first_seen: at,
        last_seen: at,
        cleared_at: None,
        labels: [("interface".to_owned(), "eth0".to_owned())].into(),
        rule: RuleId::new("link-down").unwrap(),
        rule_version: 4,
        course: postern_protocol::alert::Course::default(),
        evidence: Evidence { peer: "10.0.0.1".into(), transport: "udp".into(), chosen_by: "peer".into(), ..Evidence::default() },
    }
}

/// Returns the id of [`alert_at`]'s alert on the tenant's gateway.
pub(crate) fn id(tenant: &str, resource: &str) -> String {
    AlertId::derive(&gateway(tenant), &key(resource)).to_string()
}

fn key(resource: &str) -> AlertKey {
    AlertKey { resource: resource.into(), kind: "link-down".into(), qualifier: String::new() }
}
