//! Tells where the demo is: `demo.json` for tests and tools, a few lines for a person.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::layout::{Layout, write_private};

/// The content of `demo.json`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Demo {
    /// Address of console, API and tunnel.
    pub console: String,
    /// PEM file of the certificate authority that vouches for it.
    pub ca: PathBuf,
    /// The first sign-in.
    pub admin: Admin,
    /// An API client that may do everything in its tenant.
    pub api: Api,
    /// The tenant.
    pub tenant: String,
    /// The gateway.
    pub gateway: GatewayFacts,
    /// The key that signs pushes.
    pub push: Push,
    /// Where the gateway listens on 127.0.0.1.
    pub ports: DemoPorts,
}

/// The first sign-in.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// Name.
    pub user: String,
    /// First password.
    pub password: String,
}

/// An API client.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Api {
    /// OAuth2 client id.
    pub client_id: String,
    /// OAuth2 client secret.
    pub client_secret: String,
}

/// The gateway.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GatewayFacts {
    /// Its id.
    pub id: String,
    /// Its configuration file.
    pub config: PathBuf,
}

/// The push key.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Push {
    /// Its id.
    pub id: String,
    /// The key itself.
    pub key: String,
}

/// Ports of the gateway.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DemoPorts {
    /// SNMP traps and informs, UDP.
    pub snmp_trap: u16,
    /// Syslog, UDP and TCP.
    pub syslog: u16,
    /// Syslog over TLS.
    pub syslog_tls: u16,
    /// Proxy and pushes, plain and TLS.
    pub proxy: u16,
}

/// Writes `demo.json` and prints what a person needs.
pub(crate) fn announce(demo: &Demo, layout: &Layout) -> anyhow::Result<()> {
    write_private(&layout.demo(), &serde_json::to_vec_pretty(demo)?)?;
    println!("{}", text(demo, layout));
    Ok(())
}

fn text(demo: &Demo, layout: &Layout) -> String {
    let Demo { console, ca, admin, ports, push, .. } = demo;
    let (trap, syslog, proxy) = (ports.snmp_trap, ports.syslog, ports.proxy);
    let (ca, key, logs) = (ca.display(), layout.push_key(), layout.root().display());
    let key = key.display();
    format!(
        r#"
Postern is running.

  Console         {console}  (certificate authority: {ca})
  First sign-in   {user} / {password}  (to be changed at the first sign-in)
  Data and logs   {logs}

Try, and watch the console:

  snmptrap -v 2c -c public 127.0.0.1:{trap} '' 1.3.6.1.6.3.1.1.5.3 1.3.6.1.2.1.2.2.1.1.3 i 3
      # interface 3 is down; the same with 1.3.6.1.6.3.1.1.5.4 clears it

  logger -n 127.0.0.1 -P {syslog} -d -p daemon.err -t backup 'volume 2 cannot be read'

  body='{{"events":[{{"resource":"printer-7","kind":"out-of-paper","severity":"warning","summary":"tray 2 is empty"}}]}}'; ts=$(date +%s)
  mac=$(printf '%s\n%s' "$ts" "$body" | openssl dgst -sha256 -hmac "$(cat {key})" -r | cut -d' ' -f1)
  curl -H "Postern-Signature: id={id}, ts=$ts, mac=$mac" -d "$body" http://127.0.0.1:{proxy}/v1/push

Ctrl-C stops both."#,
        user = admin.user,
        password = admin.password,
        id = push.id,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_console_sign_in_and_three_commands() {
        let demo = Demo {
            console: "https://127.0.0.1:8443".into(),
            ca: "/x/ca.pem".into(),
            admin: Admin { user: "admin".into(), password: "first".into() },
            api: Api { client_id: "c".into(), client_secret: "s".into() },
            tenant: "default".into(),
            gateway: GatewayFacts { id: "g".into(), config: "/x/gateway.toml".into() },
            push: Push { id: "demo".into(), key: "k".into() },
            ports: DemoPorts { snmp_trap: 10162, syslog: 10514, syslog_tls: 10601, proxy: 3128 },
        };
        let text = text(&demo, &Layout::new("/x".as_ref()));
        for part in ["https://127.0.0.1:8443", "admin / first", "snmptrap ", "logger ", "curl ", "10162", "10514", "3128", "/x/push.key"] {
            assert!(text.contains(part), "{part} is missing");
        }
        assert!(!text.contains("\"k\""), "a secret need not be shown");
    }
}
