//! `mib`: compiles modules for an admin; `mib-compile`: the child process of an upload.

use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::CliError;
use crate::mib::worker::{self, Worked};

#[derive(Subcommand)]
pub(super) enum MibCommand {
    /// Compile modules and say what is wrong with them.
    Compile(Compile),
}

#[derive(Args)]
pub(super) struct Compile {
    /// Folders, modules, or archives (zip, tar, tar.gz, tar.xz) of them.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Write the table, as gateways have it, to this file.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write the whole report as JSON to this file.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// Limits that the parent sets.
#[derive(Args)]
pub(super) struct Child {
    #[arg(long)]
    memory_bytes: u64,
    #[arg(long)]
    seconds: u64,
}

pub(super) fn mib(command: MibCommand) -> Result<(), CliError> {
    let MibCommand::Compile(Compile { paths, out, report }) = command;
    let Worked { table, report: found } = worker::compile_paths(&paths)?;
    let write = |path: Option<PathBuf>, bytes: &[u8]| match path {
        Some(path) => std::fs::write(&path, bytes).map_err(|source| CliError::File { path, source }),
        None => Ok(()),
    };
    write(out, &table)?;
    write(report, &serde_json::to_vec_pretty(&found).map_err(|error| CliError::Print(error.into()))?)?;
    let mut text = String::new();
    for one in &found.unresolved {
        text.push_str(&format!("{}:{}: {} of {} is not whole: {}\n", one.file, one.line, one.name, one.module, one.detail));
    }
    let totals = &found.totals;
    text.push_str(&format!(
        "{} modules in {} files, {} OIDs, {} bytes\n{} of {} notifications have an OID and all their objects\n{} faults, {} mended, {} files left out\n{} ms, {} MiB at most\n",
        totals.modules,
        totals.files,
        totals.entries,
        totals.table_bytes,
        totals.resolved,
        totals.notifications,
        found.problems.len(),
        found.mended.len(),
        found.skipped.len(),
        totals.milliseconds,
        totals.peak_bytes / 1024 / 1024,
    ));
    io::stdout().write_all(text.as_bytes()).map_err(CliError::Print)
}

pub(super) fn child(child: &Child) -> Result<(), CliError> {
    worker::limit(child.memory_bytes, child.seconds)?;
    Ok(worker::serve(&mut io::stdin().lock(), &mut io::stdout().lock())?)
}
