//! `firstboot`: reads the command line and calls the library.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use postern_appliance::firstboot::transport::Places;
use postern_appliance::firstboot::{Options, exit_status, run};
use postern_appliance::verb;

/// The broker does not answer.
const NO_BROKER: u8 = 69;

/// Reads the settings that the hypervisor offers, and has the broker apply them.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Look at this drive or disc image instead of the machine's CD-ROM drives; may be repeated.
    #[arg(long, value_name = "PATH")]
    device: Vec<PathBuf>,
    /// For how long to look.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(..=600))]
    wait: u64,
    /// The broker's socket.
    #[arg(long, value_name = "PATH", default_value = verb::SOCKET)]
    broker: PathBuf,
    /// For how long to wait for that socket.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(..=600))]
    broker_wait: u64,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let devices = (!cli.device.is_empty()).then_some(cli.device);
    let options = Options {
        places: Places { devices, ..Places::default() },
        wait: Duration::from_secs(cli.wait),
        broker: cli.broker,
        broker_wait: Duration::from_secs(cli.broker_wait),
    };
    let (report, told) = run(&options);
    print!("{report}");
    match told {
        Ok(()) => ExitCode::from(exit_status(report.outcome)),
        Err(error) => {
            eprintln!("firstboot: {:#}", anyhow::Error::from(error));
            ExitCode::from(NO_BROKER)
        }
    }
}
