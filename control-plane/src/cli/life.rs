//! `serve` and `check`: the same start, with and without sockets.

use std::path::Path;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::CliError;
use crate::clock;
use crate::config::Config;
use crate::descriptors;
use crate::key_file;
use crate::serve::{self, Server};

/// Checks configuration, keys and databases.
pub(super) async fn check(config: &Path) -> Result<(), CliError> {
    let (app, _configs) = serve::load(Config::load(config)?, clock::now, CancellationToken::new())?;
    for tenant in app.stores.system().list_tenants().await? {
        app.stores.tenant(&tenant.id)?;
    }
    Ok(())
}

/// Serves until SIGTERM or SIGINT. The bound addresses are in `addresses.json` in the data folder while it runs.
pub(super) async fn serve(config: &Path) -> Result<(), CliError> {
    descriptors::raise().map_err(CliError::Runtime)?;
    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate()).map_err(CliError::Runtime)?, signal(SignalKind::interrupt()).map_err(CliError::Runtime)?);
    let config = Config::load(config)?;
    let addresses = config.data_dir.join("addresses.json");
    // One of an earlier run that was killed.
    let _absent = std::fs::remove_file(&addresses);
    let server = Server::bind(config, clock::now, stop.clone()).await?;
    let text = serde_json::to_string(&server.addresses()).map_err(|error| CliError::Print(error.into()))?;
    key_file::replace_public(&addresses, text.as_bytes())?;
    let signalled = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        stop.cancel();
        std::future::pending::<()>().await;
    };
    let served = tokio::select! {
        served = server.run() => served,
        () = signalled => Ok(()),
    };
    let _absent = std::fs::remove_file(&addresses);
    Ok(served?)
}
