//! A gateway's identity as API, console and command line show it: certificates, trust, starts, quarantine; and what an admin may do.

use postern_protocol::id::{GatewayId, TenantId};
use postern_protocol::timestamp::Timestamp;
use serde::Serialize;

use crate::app::App;
use crate::feed::Change;
use crate::rfc3339;
use crate::store::audit::{By, Deed, Outcome, What};
use crate::store::certificates::{CertificateView, ConfirmedTrust};
use crate::store::incarnations::{IncarnationView, Quarantine};
use crate::store::{StoreError, Stores};
use crate::tunnel::registry::EndReason;

/// A gateway's identity.
#[derive(Clone, Debug, Serialize)]
pub struct IdentityView {
    /// The newest certificates, newest first.
    pub certificates: Vec<CertificateView>,
    /// Until when it may renew one that ended too long ago.
    #[serde(serialize_with = "rfc3339::serialize_option")]
    pub renewal_allowed_until: Option<Timestamp>,
    /// What it confirmed to trust.
    pub trust: ConfirmedTrust,
    /// Its newest starts, newest first.
    pub incarnations: Vec<IncarnationView>,
    /// Set while two machines use the identity.
    pub quarantine: Option<Quarantine>,
}

impl IdentityView {
    /// Returns it as lines for a person.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for certificate in &self.certificates {
            let used =
                certificate.first_used_at.map_or_else(|| "not used yet".to_owned(), |at| format!("used since {}", rfc3339::format(at)));
            lines.push(format!("certificate {}\tends {}\t{used}", certificate.serial, rfc3339::format(certificate.not_after)));
        }
        if let Some(until) = self.renewal_allowed_until {
            lines.push(format!("late renewal allowed until {}", rfc3339::format(until)));
        }
        lines.push(format!("trust confirmed: serial {}", self.trust.confirmed));
        lines.extend(self.trust.refused.iter().map(|why| format!("trust refused: {why}")));
        for start in &self.incarnations {
            let (state, seen) = (start.state.name(), rfc3339::format(start.last_seen));
            lines
                .push(format!("start {}\t{state}\tlast greeted {seen}\tfrom {}\tversion {}", start.incarnation, start.peer, start.version));
        }
        if let Some(quarantine) = &self.quarantine {
            lines.push(format!("QUARANTINED since {}: {}", rfc3339::format(quarantine.since), quarantine.proof));
            lines.push("decide with `postern-control gateway keep ID --current` or `--other`".to_owned());
        }
        lines
    }
}

/// Reads a gateway's identity.
///
/// # Errors
/// [`StoreError`] from the database.
pub async fn view(stores: &Stores, gateway: &GatewayId) -> Result<IdentityView, StoreError> {
    let system = stores.system();
    Ok(IdentityView {
        certificates: system.list_certificates(gateway).await?,
        renewal_allowed_until: system.renewal_allowed(gateway).await?,
        trust: system.confirmed_trust(gateway).await?,
        incarnations: system.list_incarnations(gateway).await?,
        quarantine: system.quarantine(gateway).await?,
    })
}

/// Lets a gateway renew, until then, a certificate that ended too long ago.
///
/// # Errors
/// [`StoreError::NotFound`] without such a gateway, [`StoreError::Conflict`] when it was revoked.
pub async fn allow_renewal(
    stores: &Stores,
    (tenant, gateway): (&TenantId, &GatewayId),
    until: Timestamp,
    (by, now): (By, Timestamp),
) -> Result<(), StoreError> {
    let (about, detail) = (format!("gateway {gateway}"), format!("until {}", rfc3339::format(until)));
    let deed = Deed { at: now, by, what: What::RenewalAllowed, about, detail, outcome: Outcome::Done };
    stores.system().allow_renewal(tenant, gateway, Some(until), deed).await
}

/// Revokes a gateway for good: audited for the operator and for the tenant, and in the gateway's history. Revoking it twice changes
/// nothing. A session of it ends within seconds.
///
/// # Errors
/// [`StoreError::NotFound`] when the tenant has no such gateway.
pub async fn revoke(stores: &Stores, (tenant, gateway): (&TenantId, &GatewayId), (by, now): (By, Timestamp)) -> Result<(), StoreError> {
    if stores.system().revoke_gateway(tenant, gateway, (by.clone(), now)).await? {
        stores.tenant(tenant)?.gateway_revoked(gateway, (by, now)).await?;
    }
    Ok(())
}

/// As [`revoke`], from the program that has the sessions: one of the gateway is told at once.
///
/// # Errors
/// [`StoreError::NotFound`] when the tenant has no such gateway.
pub async fn revoke_live(app: &App, (tenant, gateway): (&TenantId, &GatewayId), by: By) -> Result<(), StoreError> {
    revoke(&app.stores, (tenant, gateway), (by, app.now())).await?;
    app.gateways.end(gateway, EndReason::Revoked);
    app.feed.publish(tenant, Change::Gateway { id: gateway.clone() });
    Ok(())
}
