//! How commands answer: one JSON document with `--json`, else lines for people.

use std::io::Write as _;

use clap::Args;
use serde::Serialize;

use super::CliError;

/// The form of the answer.
#[derive(Args, Clone, Copy)]
pub(super) struct Form {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Form {
    /// Prints `answer`: as JSON, or as the lines that `lines` makes of it.
    pub(super) fn print<T: Serialize>(self, answer: &T, lines: impl FnOnce(&T) -> Vec<String>) -> Result<(), CliError> {
        let text = if self.json {
            serde_json::to_string(answer).map_err(|error| CliError::Print(error.into()))?
        } else {
            lines(answer).join("\n")
        };
        if text.is_empty() { Ok(()) } else { self::text(&text) }
    }
}

/// Prints a text and a line break, whatever form was asked for: a document is one already.
pub(super) fn text(text: &str) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(CliError::Print)
}
