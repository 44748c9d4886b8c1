//! `ca`, `pin` and `address`: how the certificate authority, the tunnel's key and the control plane's place are changed while gateways
//! go on.

use std::path::Path;

use clap::{ArgGroup, Args, Subcommand};
use postern_protocol::timestamp::Timestamp;
use serde::Serialize;

use super::CliError;
use super::print::Form;
use crate::ca::CertificateAuthority;
use crate::clock;
use crate::store::Stores;
use crate::store::audit::{self, By, Deed, Outcome, What};
use crate::store::certificates::GatewayTrust;
use crate::trust::Trust;
use crate::trust::ring::Stage;
use crate::trust::rotation::{self, Readiness, Step};

#[derive(Subcommand)]
pub(super) enum CaCommand {
    /// Replace the certificate authority, in three steps.
    Rotate(RotateCa),
    /// Show which authorities are trusted, and which gateways have confirmed that.
    Status(Form),
}

#[derive(Args)]
#[command(group(ArgGroup::new("step").required(true)))]
pub(super) struct RotateCa {
    /// Make the next authority and tell all gateways to trust it.
    #[arg(long, group = "step")]
    prepare: bool,
    /// Let the next authority issue; gateways renew their certificates with it at once.
    #[arg(long, group = "step")]
    switch: bool,
    /// End the old authority.
    #[arg(long, group = "step")]
    finish: bool,
    /// Take the step although it shuts gateways out, which then have to be enrolled anew.
    #[arg(long)]
    force: bool,
}

#[derive(Subcommand)]
pub(super) enum PinCommand {
    /// Replace the tunnel's key, which gateways pin.
    Rotate(RotatePin),
    /// Show the pins, and which gateways have confirmed them.
    Status(Form),
}

#[derive(Args)]
#[command(group(ArgGroup::new("step").required(true)))]
pub(super) struct RotatePin {
    /// Put a fresh key in the place of the next one: when that may have been seen by others.
    #[arg(long, group = "step")]
    prepare: bool,
    /// Show the next key from now on, and tell gateways of the one after it.
    #[arg(long, group = "step")]
    switch: bool,
    /// Take the step although it shuts gateways out, which then have to be enrolled anew.
    #[arg(long)]
    force: bool,
}

#[derive(Subcommand)]
pub(super) enum AddressCommand {
    /// Tell all gateways of these further addresses, in place of those that they were told before.
    Set(SetAddresses),
    /// Show them, and which gateways have confirmed them.
    Status(Form),
}

#[derive(Args)]
#[command(group(ArgGroup::new("which").required(true)))]
pub(super) struct SetAddresses {
    /// As in control.example.com:443 or [2001:db8::1]:443; tried in this order, after the address that a gateway enrolled at.
    #[arg(group = "which", value_name = "HOST:PORT")]
    addresses: Vec<String>,
    /// None any more.
    #[arg(long, group = "which")]
    none: bool,
}

/// How trust stands.
#[derive(Serialize)]
struct Standing {
    serial: u64,
    /// SHA-256 of the authorities' SubjectPublicKeyInfos, hexadecimal; the one that issues first.
    authorities: Vec<String>,
    /// SHA-256 of the SubjectPublicKeyInfos of the tunnel's present key and of the next.
    pins: Vec<String>,
    /// How far the change of the authority is.
    stage: Option<Stage>,
    /// Further addresses that gateways are told of.
    addresses: Vec<String>,
    gateways: Vec<GatewayStanding>,
}

#[derive(Serialize)]
struct GatewayStanding {
    gateway: String,
    name: String,
    connected: bool,
    revoked: bool,
    confirmed_serial: u64,
    refused: Option<String>,
    has_next_pin: bool,
    has_next_authority: bool,
    certificate_of_next_authority: bool,
}

pub(super) async fn ca(command: CaCommand, keys: &Path, stores: &Stores) -> Result<(), CliError> {
    match command {
        CaCommand::Rotate(RotateCa { prepare: true, .. }) => {
            rotation::prepare_authority(keys, clock::now())?;
            done(stores, "the next certificate authority is made; gateways are told to trust it").await
        }
        CaCommand::Rotate(RotateCa { switch: true, force, .. }) => {
            check(keys, stores, Step::SwitchAuthority, Insist::of(force)).await?;
            rotation::switch_authority(keys)?;
            done(stores, "the next certificate authority issues; gateways renew with it, browsers need its certificate").await
        }
        CaCommand::Rotate(RotateCa { force, .. }) => {
            check(keys, stores, Step::FinishAuthority, Insist::of(force)).await?;
            rotation::finish_authority(keys)?;
            done(stores, "the old certificate authority is ended and its key removed; enrolment tokens that name it are void").await
        }
        CaCommand::Status(form) => status(keys, stores, form).await,
    }
}

pub(super) async fn pin(command: PinCommand, keys: &Path, stores: &Stores) -> Result<(), CliError> {
    match command {
        PinCommand::Rotate(RotatePin { prepare: true, .. }) => {
            rotation::prepare_pin(keys)?;
            done(stores, "the tunnel's next key is made anew; gateways are told to pin it").await
        }
        PinCommand::Rotate(RotatePin { force, .. }) => {
            check(keys, stores, Step::SwitchPin, Insist::of(force)).await?;
            rotation::switch_pin(keys)?;
            done(stores, "the tunnel shows its next key; gateways are told of the one after it").await
        }
        PinCommand::Status(form) => status(keys, stores, form).await,
    }
}

pub(super) async fn address(command: AddressCommand, keys: &Path, stores: &Stores) -> Result<(), CliError> {
    match command {
        // Without any, `--none` stands there.
        AddressCommand::Set(SetAddresses { addresses, .. }) => {
            let detail = match addresses.as_slice() {
                [] => "gateways are told that there is no further address".to_owned(),
                addresses => format!("gateways are told of further addresses: {}", addresses.join(", ")),
            };
            rotation::set_addresses(keys, addresses)?;
            done(stores, detail).await
        }
        AddressCommand::Status(form) => status(keys, stores, form).await,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Insist {
    No,
    Yes,
}

impl Insist {
    const fn of(force: bool) -> Self {
        if force { Self::Yes } else { Self::No }
    }
}

async fn check(keys: &Path, stores: &Stores, step: Step, insist: Insist) -> Result<(), CliError> {
    let trust = Trust::load(keys)?;
    let readiness = Readiness { ring: trust.ring(), next_authority: trust.next().map(CertificateAuthority::spki_sha256) };
    let missing = readiness.missing(step, &stores.list_trust().await?);
    if missing.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = missing.iter().map(|gateway| format!("  {}: {}", gateway.gateway, gateway.reason)).collect();
    if insist == Insist::Yes {
        lines.iter().for_each(|line| eprintln!("{line}"));
        return Ok(());
    }
    let many = missing.len();
    let what = "Wait until they have, revoke those that are gone for good, or take the step all the same with --force.";
    Err(CliError::Usage(format!("{many} gateway(s) are not ready for this step:\n{}\n{what}", lines.join("\n"))))
}

async fn done(stores: &Stores, detail: impl Into<String>) -> Result<(), CliError> {
    let (at, detail): (Timestamp, String) = (clock::now(), detail.into());
    let deed = Deed {
        at,
        by: By::command_line(),
        what: What::TrustChanged,
        about: "trusted keys".to_owned(),
        detail: detail.clone(),
        outcome: Outcome::Done,
    };
    stores.system().write(move |tx| audit::note(tx, deed)).await?;
    println!("{detail}");
    Ok(())
}

async fn status(keys: &Path, stores: &Stores, form: Form) -> Result<(), CliError> {
    let trust = Trust::load(keys)?;
    let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
    let next = trust.next().map(CertificateAuthority::spki_sha256);
    let ring = trust.ring();
    let since_authority = ring.next_authority.as_ref().map(|next| next.since);
    let line = |gateway: GatewayTrust| GatewayStanding {
        has_next_pin: gateway.confirmed >= ring.next_tunnel.since,
        has_next_authority: since_authority.is_none_or(|since| gateway.confirmed >= since),
        certificate_of_next_authority: next.is_none() || gateway.issuer == next,
        gateway: gateway.gateway.to_string(),
        name: gateway.name,
        connected: gateway.is_connected,
        revoked: gateway.is_revoked,
        confirmed_serial: gateway.confirmed,
        refused: gateway.refused,
    };
    let standing = Standing {
        serial: ring.serial,
        authorities: trust.authorities().iter().map(|authority| hex(&authority.spki_sha256())).collect(),
        pins: trust.pins().iter().map(|pin| hex(pin)).collect(),
        stage: ring.next_authority.as_ref().map(|next| next.stage),
        addresses: ring.addresses.clone(),
        gateways: stores.list_trust().await?.into_iter().map(line).collect(),
    };
    form.print(&standing, |standing| {
        let mut lines = vec![format!("serial {}", standing.serial)];
        lines.extend(standing.authorities.iter().map(|spki| format!("authority {spki}")));
        lines.extend(standing.pins.iter().zip(["present", "next"]).map(|(pin, which)| format!("{which} pin {pin}")));
        lines.extend(standing.addresses.iter().map(|address| format!("further address {address}")));
        lines.extend(standing.gateways.iter().map(|gateway| {
            let yes = |is: bool| if is { "yes" } else { "no" };
            let state = match (gateway.revoked, gateway.connected) {
                (true, _) => "revoked",
                (false, true) => "connected",
                (false, false) => "not connected",
            };
            format!(
                "{}\t{state}\tconfirmed {}\tnext pin: {}\tnext authority: {}\tcertificate of it: {}{}",
                gateway.gateway,
                gateway.confirmed_serial,
                yes(gateway.has_next_pin),
                yes(gateway.has_next_authority),
                yes(gateway.certificate_of_next_authority),
                gateway.refused.as_ref().map(|why| format!("\trefused: {why}")).unwrap_or_default()
            )
        }));
        lines
    })
}
