//! Sets up and starts the gateway of the demo.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use postern_protocol::status::{Status, TunnelState};

use super::layout::{Layout, write_private};
use super::program::{Binaries, output, to_stay};
use super::{Prepared, control_plane};

/// Id of the key that signs pushes.
pub const PUSH_KEY_ID: &str = "demo";

/// Writes the gateway's configuration: reach the control plane at `server`, listen where the demo's sockets are.
///
/// `more` is appended as it is; it begins inside `[proxy]`.
///
/// # Errors
/// When the file cannot be written.
pub fn write_config(prepared: &Prepared, server: SocketAddr, more: &str) -> anyhow::Result<()> {
    let Prepared { layout, sockets, .. } = prepared;
    let text = format!(
        r#"# Written anew at each start of the demo.
data_dir = {data:?}

[server]
url = "https://{server}"

[receivers.snmp_trap]
listen = "{trap}"

[receivers.syslog]
listen = "{syslog}"

[receivers.syslog_tls]
listen = "{syslog_tls}"

[[push.keys]]
id = "{PUSH_KEY_ID}"
key_file = {key:?}

[proxy]
listen = "{proxy}"
allow_plain_push = true
{more}"#,
        data = layout.gateway_dir(),
        trap = sockets.snmp_trap(),
        syslog = sockets.syslog(),
        syslog_tls = sockets.syslog_tls(),
        proxy = sockets.proxy(),
        key = layout.push_key(),
    );
    write_private(&layout.gateway_config(), text.as_bytes())
}

/// Enrols the gateway with a fresh token, unless it has an identity already. The control plane must be running.
///
/// # Errors
/// When the control plane gives no token or the gateway is refused.
pub fn enrol(prepared: &Prepared) -> anyhow::Result<()> {
    let Prepared { layout, binaries, sockets, first } = prepared;
    if identity(layout).is_ok() {
        return Ok(());
    }
    let token_file = layout.root().join("enrolment.token");
    control_plane::create_token(binaries, layout, &first.tenant, "demo", &token_file)?;
    let config = layout.gateway_config();
    let server = format!("https://{}", sockets.https());
    let args =
        [Path::new("enrol"), "--config".as_ref(), &config, "--server".as_ref(), server.as_ref(), "--token-file".as_ref(), &token_file];
    let enrolled = output(&binaries.gateway, args);
    std::fs::remove_file(&token_file).context("cannot remove the used token")?;
    enrolled.map(drop).context("cannot enrol the gateway")
}

/// Returns the id that the gateway got when it was enrolled.
///
/// # Errors
/// When it is not enrolled.
pub fn identity(layout: &Layout) -> anyhow::Result<String> {
    let path = layout.gateway_dir().join("identity/gateway.json");
    let text = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let facts: serde_json::Value = serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))?;
    let id = facts.get("gateway").and_then(serde_json::Value::as_str);
    id.map(str::to_owned).with_context(|| format!("{} names no gateway", path.display()))
}

/// Makes the command that starts the gateway with the demo's sockets.
///
/// # Errors
/// When a socket cannot be passed or the log cannot be opened.
pub fn run(prepared: &Prepared) -> anyhow::Result<Command> {
    let Prepared { layout, binaries, sockets, .. } = prepared;
    let mut command = to_stay(&binaries.gateway, &layout.log("gateway"))?;
    command.arg("run").arg("--config").arg(layout.gateway_config());
    sockets.pass(&mut command)?;
    Ok(command)
}

/// Asks the running gateway how it is.
///
/// # Errors
/// When it does not answer or answers something else.
pub fn status(binaries: &Binaries, layout: &Layout) -> anyhow::Result<Status> {
    let config = layout.gateway_config();
    let answer = output(&binaries.gateway, [Path::new("status"), "--json".as_ref(), "--config".as_ref(), &config])?;
    serde_json::from_slice(&answer).context("the gateway's status is not what it should be")
}

/// Says why `status` is not that of a demo that is ready; `None` when it is.
pub(crate) fn not_ready(status: &Status) -> Option<String> {
    let missing = |name: &&str| !status.listeners.iter().any(|listener| listener.name.starts_with(*name));
    if let Some(name) = ["snmp_trap", "syslog", "syslog_tls", "proxy"].iter().find(|name| missing(name)) {
        return Some(format!("the gateway does not listen for {name}"));
    }
    let reason = status.tunnel.last_error.as_deref().unwrap_or("still connecting");
    (status.tunnel.state != TunnelState::Up).then(|| format!("the tunnel is not up: {reason}"))
}
