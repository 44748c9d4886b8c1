//! `make run`: a control plane and one enrolled gateway on loopback.

use std::process::ExitCode;

fn main() -> ExitCode {
    match postern_tests::launcher::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("postern-demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}
