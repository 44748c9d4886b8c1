//! `console`: reads the command line and calls the library.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use postern_appliance::console::machine::Places;
use postern_appliance::console::menu::Session;
use postern_appliance::console::session::{Options, run};
use postern_appliance::verb;

/// The appliance's menu. It is also the shell of the account postern-admin: there is no other one.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// What sshd runs for a command or a file transfer; always refused.
    #[arg(short = 'c', value_name = "COMMAND", allow_hyphen_values = true)]
    command: Option<String>,
    /// The broker's socket.
    #[arg(long, value_name = "PATH", default_value = verb::SOCKET)]
    broker: PathBuf,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.command.is_some() {
        eprintln!("this account has a menu and runs no commands: log in without one");
        return ExitCode::FAILURE;
    }
    let session = if std::env::var_os("SSH_CONNECTION").is_some() { Session::Remote } else { Session::Local };
    match run(&Options { broker: cli.broker, session, places: Places::default() }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("console: {error}");
            ExitCode::FAILURE
        }
    }
}
