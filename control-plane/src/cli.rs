//! The command line of `postern-control`. Commands work on the same files as a running server, which notices what they change.

mod accounts;
mod audit;
mod enrolment;
mod init;
mod life;
mod mib;
mod print;
mod revision;
mod secret;
mod trust;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::auth::clients::ClientError;
use crate::auth::users::CreateUserError;
use crate::ca::CaError;
use crate::config::{Config, ConfigError};
use crate::key_file::KeyFileError;
use crate::mib::worker::WorkError;
use crate::serve::ServeError;
use crate::signer::{Signer, SignerError};
use crate::store::{StoreError, Stores};
use crate::tls::TlsError;
use crate::trust::Trust;
use crate::trust::rotation::RotationError;

/// The control plane: console, API and the tunnels of gateways.
#[derive(Parser)]
#[command(name = "postern-control", version, about)]
struct Arguments {
    /// Configuration file that `init` wrote.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Further addresses at which gateways find this control plane.
    #[command(subcommand)]
    Address(trust::AddressCommand),
    /// What was done to this control plane.
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// The certificate authority of gateways and browsers.
    #[command(subcommand)]
    Ca(trust::CaCommand),
    /// Check the configuration and everything that it names, and exit.
    Check,
    /// Programs that use the API.
    #[command(subcommand)]
    Client(accounts::ClientCommand),
    /// Enrolled gateways.
    #[command(subcommand)]
    Gateway(enrolment::GatewayCommand),
    /// Make the data of a new control plane: keys, databases, first tenant and first user.
    Init(init::Init),
    /// Configurations of gateways: files for a version control, history, and the way back.
    #[command(subcommand)]
    Revision(revision::RevisionCommand),
    /// Secrets of the site's devices, sealed so that only one gateway can open them.
    #[command(subcommand)]
    Secret(secret::SecretCommand),
    /// MIB modules.
    #[command(subcommand)]
    Mib(mib::MibCommand),
    /// The inside of a compilation; started by `serve`.
    #[command(hide = true)]
    MibCompile(mib::Child),
    /// The tunnel's key, which gateways pin.
    #[command(subcommand)]
    Pin(trust::PinCommand),
    /// Run the control plane.
    Serve,
    /// Customers, each with a database of its own.
    #[command(subcommand)]
    Tenant(accounts::TenantCommand),
    /// Enrolment tokens.
    #[command(subcommand)]
    Token(enrolment::TokenCommand),
    /// People who sign in to the console.
    #[command(subcommand)]
    User(accounts::UserCommand),
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The certificate authority cannot be made or loaded.
    #[error(transparent)]
    Authority(#[from] CaError),
    /// An API client cannot be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The configuration is not good.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file cannot be written.
    #[error("cannot write {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A key file cannot be made or read.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// Modules cannot be compiled.
    #[error(transparent)]
    Mib(#[from] WorkError),
    /// The answer cannot be printed.
    #[error("cannot print the answer")]
    Print(#[source] std::io::Error),
    /// The runtime or its signals cannot be set up.
    #[error("cannot start the runtime")]
    Runtime(#[source] std::io::Error),
    /// A key cannot be replaced.
    #[error(transparent)]
    Rotation(#[from] RotationError),
    /// The server failed.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The revision key cannot be made.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// A database refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// TLS keys cannot be made.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// What was asked for cannot be done.
    #[error("{0}")]
    Usage(String),
    /// A user cannot be made.
    #[error(transparent)]
    User(#[from] CreateUserError),
}

/// Parses the command line, runs the command and waits for it.
///
/// # Errors
/// [`CliError`] says why the command failed; wrong usage is printed and ends the process here.
pub fn run() -> Result<(), CliError> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(CliError::Runtime)?;
    let result = runtime.block_on(dispatch(arguments));
    // A password hash or query that nobody waits for any more must not hold the process.
    runtime.shutdown_timeout(Duration::from_millis(500));
    result
}

async fn dispatch(arguments: Arguments) -> Result<(), CliError> {
    let config = arguments.config;
    match arguments.command {
        Command::Ca(command) => {
            let (config, stores) = stores(config.as_deref())?;
            trust::ca(command, &config.keys(), &stores).await
        }
        Command::Address(command) => {
            let (config, stores) = stores(config.as_deref())?;
            trust::address(command, &config.keys(), &stores).await
        }
        Command::Pin(command) => {
            let (config, stores) = stores(config.as_deref())?;
            trust::pin(command, &config.keys(), &stores).await
        }
        Command::Audit(command) => audit::run(command, &stores(config.as_deref())?.1).await,
        Command::Check => life::check(named(config.as_deref())?).await,
        Command::Client(command) => accounts::client(command, &stores(config.as_deref())?.1).await,
        Command::Gateway(command) => enrolment::gateway(command, &stores(config.as_deref())?.1).await,
        Command::Init(command) => init::run(command).await,
        Command::Revision(command) => {
            let (config, stores) = stores(config.as_deref())?;
            let signer = Signer::load(&config.keys().join("revision.key"))?;
            revision::run(command, &stores, &signer).await
        }
        Command::Secret(secret::SecretCommand::Seal(seal)) if seal.stands_alone() => secret::seal_alone(seal),
        Command::Secret(command) => secret::run(command, &stores(config.as_deref())?.1).await,
        Command::Mib(command) => mib::mib(command),
        Command::MibCompile(child) => mib::child(&child),
        Command::Serve => life::serve(named(config.as_deref())?).await,
        Command::Tenant(command) => accounts::tenant(command, &stores(config.as_deref())?.1).await,
        Command::Token(command) => {
            let (config, stores) = stores(config.as_deref())?;
            let trust = Trust::load(&config.keys())?;
            enrolment::token(command, &stores, trust.presented()).await
        }
        Command::User(command) => accounts::user(command, &stores(config.as_deref())?.1).await,
    }
}

fn named(config: Option<&Path>) -> Result<&Path, CliError> {
    config.ok_or_else(|| CliError::Usage("name the configuration with --config FILE; `init` wrote it to DIR/control.toml".to_owned()))
}

fn stores(config: Option<&Path>) -> Result<(Config, Stores), CliError> {
    let config = Config::load(named(config)?)?;
    let stores = Stores::open(&config.data_dir)?;
    Ok((config, stores))
}
