//! `token` and `gateway`: how gateways come and go.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use postern_protocol::id::{GatewayId, TenantId};
use postern_protocol::timestamp::Timestamp;
use serde::Serialize;

use super::CliError;
use super::accounts::missing;
use super::print::Form;
use crate::ca::CertificateAuthority;
use crate::clones::{self, Keep};
use crate::enrolment::TokenIssue;
use crate::identities::{self, IdentityView};
use crate::store::audit::By;
use crate::store::gateways::GatewayRecord;
use crate::store::{StoreError, Stores};
use crate::{clock, key_file, rfc3339};

#[derive(Subcommand)]
pub(super) enum TokenCommand {
    /// Make a one-time token with which a gateway enrols.
    Create {
        /// The gateway's tenant.
        #[arg(long)]
        tenant: TenantId,
        /// Name of the gateway for people.
        #[arg(long)]
        gateway_name: String,
        /// How long the token is good: a number and s, m, h or d.
        #[arg(long, default_value = "24h", value_parser = life)]
        expires: Duration,
        /// Write the token to this new file (mode 600) instead of printing it.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        form: Form,
    },
    /// List the tokens, without their texts.
    List {
        /// Only this tenant's.
        #[arg(long)]
        tenant: Option<TenantId>,
        #[command(flatten)]
        form: Form,
    },
    /// Revoke a token that was not used.
    Revoke {
        /// Its identifier in the list.
        id: String,
    },
}

#[derive(Subcommand)]
pub(super) enum GatewayCommand {
    /// Let a gateway renew its certificate although that ended too long ago.
    AllowRenewal {
        /// The gateway.
        id: GatewayId,
        /// For how long: a number and s, m, h or d.
        #[arg(long = "for", default_value = "7d", value_parser = life)]
        open: Duration,
    },
    /// Show a gateway's certificates, starts and quarantine.
    Identity {
        /// The gateway.
        id: GatewayId,
        #[command(flatten)]
        form: Form,
    },
    /// Decide which of two machines with one identity stays; the other is refused for good.
    #[command(group(clap::ArgGroup::new("which").required(true)))]
    Keep {
        /// The gateway.
        id: GatewayId,
        /// The one that has the gateway's place.
        #[arg(long, group = "which")]
        current: bool,
        /// The one that is kept out.
        #[arg(long, group = "which")]
        other: bool,
    },
    /// List the gateways.
    List {
        /// Only this tenant's.
        #[arg(long)]
        tenant: Option<TenantId>,
        #[command(flatten)]
        form: Form,
    },
    /// Revoke a gateway: its session ends and no other begins.
    Revoke {
        /// The gateway.
        id: GatewayId,
    },
}

/// A token that was made; without its text when that went into a file.
#[derive(Serialize)]
struct NewToken {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(serialize_with = "rfc3339::serialize")]
    expires_at: Timestamp,
}

pub(super) async fn token(command: TokenCommand, stores: &Stores, authority: &CertificateAuthority) -> Result<(), CliError> {
    let now = clock::now();
    match command {
        TokenCommand::Create { tenant, gateway_name, expires, out, form } => {
            let issue = TokenIssue { ca_spki_sha256: authority.spki_sha256(), by: By::command_line(), now };
            let made = issue.create(stores, &tenant, &gateway_name, expires).await;
            let (id, token) = made.map_err(|error| missing(error, "tenant", tenant.as_str()))?;
            let text = token.to_string();
            if let Some(out) = &out
                && let Err(error) = key_file::create(out, format!("{text}\n").as_bytes())
            {
                // Nobody has its text, so nobody shall wonder about it in the list.
                stores.system().revoke_token(&tenant, &id, (By::command_line(), now)).await?;
                stores.deliver_notes(&tenant).await?;
                return Err(error.into());
            }
            let new = NewToken { id, token: out.is_none().then_some(text), expires_at: token.expires };
            form.print(&new, |new| match &new.token {
                Some(text) => vec![text.clone()],
                None => vec![format!("Token {} is good until {}.", new.id, rfc3339::format(new.expires_at))],
            })
        }
        TokenCommand::List { tenant, form } => {
            let mut tokens = Vec::new();
            for tenant in tenants(stores, tenant).await? {
                tokens.extend(stores.system().list_tokens(&tenant, now).await?);
            }
            form.print(&tokens, |tokens| {
                tokens.iter().map(|token| format!("{}\t{}\t{}", token.id, token.state.name(), token.gateway_name)).collect()
            })
        }
        TokenCommand::Revoke { id } => {
            for tenant in tenants(stores, None).await? {
                match stores.system().revoke_token(&tenant, &id, (By::command_line(), now)).await {
                    Err(StoreError::NotFound) => {}
                    Err(error) => return Err(error.into()),
                    Ok(()) => return Ok(stores.deliver_notes(&tenant).await?),
                }
            }
            Err(CliError::Usage(format!("there is no token {id}")))
        }
    }
}

pub(super) async fn gateway(command: GatewayCommand, stores: &Stores) -> Result<(), CliError> {
    match command {
        GatewayCommand::AllowRenewal { id, open } => {
            let record = find(stores, &id).await?;
            let (now, until) = (clock::now(), clock::now().saturating_add(open));
            identities::allow_renewal(stores, (&record.tenant, &id), until, (By::command_line(), now)).await?;
            println!("Gateway {id} may renew its certificate until {}; it asks by itself.", rfc3339::format(until));
            Ok(())
        }
        GatewayCommand::Identity { id, form } => {
            find(stores, &id).await?;
            form.print(&identities::view(stores, &id).await?, IdentityView::lines)
        }
        GatewayCommand::Keep { id, other, .. } => {
            let record = find(stores, &id).await?;
            let keep = if other { Keep::Other } else { Keep::Current };
            clones::decide(stores, (&record.tenant, &id), keep, (By::command_line(), clock::now())).await?;
            println!("Decided; the other machine is refused for good. To use it, enrol it as a gateway of its own.");
            Ok(())
        }
        GatewayCommand::List { tenant, form } => {
            let mut gateways = Vec::new();
            for tenant in tenants(stores, tenant).await? {
                gateways.extend(stores.list_gateways(&tenant).await?);
            }
            form.print(&gateways, |gateways| {
                let state = |revoked, connected| match (revoked, connected) {
                    (true, _) => "revoked",
                    (false, true) => "connected",
                    (false, false) => "not connected",
                };
                gateways
                    .iter()
                    .map(|gateway| {
                        let state = state(gateway.revoked_at.is_some(), gateway.connected);
                        format!("{}\t{}\t{state}", gateway.id, gateway.name)
                    })
                    .collect()
            })
        }
        GatewayCommand::Revoke { id } => {
            let record = find(stores, &id).await?;
            Ok(identities::revoke(stores, (&record.tenant, &id), (By::command_line(), clock::now())).await?)
        }
    }
}

async fn find(stores: &Stores, id: &GatewayId) -> Result<GatewayRecord, CliError> {
    let record = stores.system().find_gateway(id).await?;
    record.ok_or_else(|| CliError::Usage(format!("there is no gateway {id}")))
}

async fn tenants(stores: &Stores, only: Option<TenantId>) -> Result<Vec<TenantId>, CliError> {
    match only {
        Some(tenant) => Ok(vec![tenant]),
        None => Ok(stores.system().list_tenants().await?.into_iter().map(|tenant| tenant.id).collect()),
    }
}

/// Reads a length of time like `90s`, `30m`, `24h` or `7d`, up to 30 days.
fn life(text: &str) -> Result<Duration, String> {
    let fault = || "give a number and s, m, h or d, at most 30d".to_owned();
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(fault)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(fault()),
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(seconds)).ok_or_else(fault)?;
    if (1..=30 * 86_400).contains(&seconds) { Ok(Duration::from_secs(seconds)) } else { Err(fault()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_carry_a_unit() {
        assert_eq!(life("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(life("24h"), Ok(Duration::from_secs(86_400)));
        for bad in ["", "h", "24", "0s", "31d", "-1h", "1ä"] {
            assert!(life(bad).is_err(), "{bad:?}");
        }
    }
}
