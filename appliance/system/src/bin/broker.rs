//! `broker`: reads the command line and calls the library. Nothing is decided here.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use postern_appliance::broker::{self, Paths};
use postern_appliance::client::Broker;
use postern_appliance::verb::{EnrolOutcome, Reply, SOCKET, Verb};
use postern_appliance::{audit, broker::Check};

/// The appliance's privileged program.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Use everything below this directory; for tests.
    #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
    root: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check the chain of audit files, oldest first.
    AuditVerify {
        /// The files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Shut the firewall and write all that follows from the settings; once at every start, before the network.
    Boot,
    /// Ask the running broker, and print its answer.
    Call {
        /// A request as one JSON object.
        json: String,
    },
    /// Tell the broker how enrolment ended; for ExecStopPost= of the enrolment's unit.
    EnrolFinished,
    /// Tell whether this system is good.
    Health {
        /// Seconds to wait until it is.
        #[arg(long, default_value_t = 90)]
        wait: u64,
    },
    /// Give the running system's kernel its boot counter again.
    Rearm,
    /// Serve.
    Serve,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // The journal has times of its own.
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).without_time().with_max_level(tracing::Level::INFO).init();
    match execute(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("broker: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(cli: Cli) -> anyhow::Result<ExitCode> {
    let paths = Paths::below(&cli.root);
    match cli.command {
        Command::AuditVerify { files } => verify_audit(&files),
        Command::Boot => {
            broker::boot(&paths)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Call { json } => {
            let verb = serde_json::from_str(&json).context("this is not a request")?;
            let reply = Broker::connect(&cli.root.join(SOCKET.trim_start_matches('/')))?.call(&verb)?;
            println!("{}", serde_json::to_string(&reply)?);
            Ok(if matches!(reply, Reply::Ok { .. }) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::EnrolFinished => {
            let Some(outcome) = enrol_outcome(std::env::var("EXIT_STATUS").ok().as_deref()) else { return Ok(ExitCode::SUCCESS) };
            let socket = cli.root.join(SOCKET.trim_start_matches('/'));
            match Broker::connect(&socket)?.call(&Verb::EnrolFinished { outcome })? {
                Reply::Ok { .. } => Ok(ExitCode::SUCCESS),
                Reply::Failed { reason } | Reply::Refused { reason } => anyhow::bail!(reason),
            }
        }
        Command::Health { wait } => {
            let checks = broker::health(&paths, Duration::from_secs(wait));
            for Check { name, fault } in &checks {
                println!("{name}: {}", fault.as_deref().unwrap_or("good"));
            }
            Ok(if checks.iter().all(|check| check.fault.is_none()) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Rearm => {
            println!("armed {}", broker::rearm(&paths)?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Serve => {
            broker::serve(&paths)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// What the exit code of `postern-gateway enrol` means; `None` when it is tried again.
fn enrol_outcome(exit_status: Option<&str>) -> Option<EnrolOutcome> {
    match exit_status {
        Some("0") => Some(EnrolOutcome::Enrolled {}),
        Some("76") => Some(EnrolOutcome::Refused {
            reason: "the control plane refuses this token: it was used, has ended or was withdrawn; the journal says which".to_owned(),
        }),
        _ => None,
    }
}

fn verify_audit(files: &[PathBuf]) -> anyhow::Result<ExitCode> {
    let mut text = String::new();
    for file in files {
        text.push_str(&std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?);
    }
    let verified = audit::verify(&text);
    println!("{} lines, beginning after {} and ending with {}", verified.lines, verified.begins_after, verified.ends_with);
    for (line, fault) in &verified.faults {
        println!("line {line}: {fault}");
    }
    Ok(if verified.faults.is_empty() && verified.lines > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
