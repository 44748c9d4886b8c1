//! `audit verify`: checks every chain that this control plane keeps, without a running server.

use clap::Subcommand;

use super::{CliError, print};
use crate::store::audit::{self, ChainFault, Place};
use crate::store::{StoreError, Stores};

/// What to do with the audit.
#[derive(Subcommand)]
pub(super) enum AuditCommand {
    /// Check that no entry was changed or removed, in the system database and in every tenant's.
    Verify,
}

/// Runs the command.
pub(super) async fn run(command: AuditCommand, stores: &Stores) -> Result<(), CliError> {
    match command {
        AuditCommand::Verify => verify(stores).await,
    }
}

async fn verify(stores: &Stores) -> Result<(), CliError> {
    let mut faults = tell("system", stores.system().read(audit::verify).await)?;
    for tenant in stores.system().list_tenants().await? {
        faults = faults.saturating_add(tell(&format!("tenant {}", tenant.id), stores.tenant(&tenant.id)?.read(audit::verify).await)?);
    }
    if faults == 0 {
        return Ok(());
    }
    Err(CliError::Usage(format!(
        "the audit has {faults} faults: compare the databases with a backup, and find out who could write to them"
    )))
}

fn tell(name: &str, checked: Result<(Place, Vec<ChainFault>), StoreError>) -> Result<usize, CliError> {
    let (last, faults) = checked?;
    let digest = data_encoding::HEXLOWER.encode(&last.digest);
    print::text(&format!("{name}: {} entries, last digest {digest}{}", last.number, if faults.is_empty() { ", whole" } else { "" }))?;
    for fault in &faults {
        print::text(&format!("{name}: FAULT {fault}"))?;
    }
    Ok(faults.len())
}
