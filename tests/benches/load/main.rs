//! `make bench`: the gateway beside the field's programs, at the same load on the same machine in the same run.
//!
//! The figure to trust is processor seconds of the receiving program for a million events at one offered rate: it hardly depends on
//! what else the machine does. Rates without loss do, so they are only compared within one run. A peer that is not installed is
//! left out with a message. Arguments choose rows by a part of their name; `soak` and `drain` are other modes.

// A bench is a test with figures: whatever goes wrong ends it.
#![allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod connect;
mod datagrams;
mod drain;
mod peers;
mod postern;
mod process;
mod rows;
mod send;
mod soak;
mod table;

use table::Table;

fn main() {
    // Cargo adds `--bench`.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    if wanted.iter().any(|word| word == "soak") {
        return soak::run();
    }
    if wanted.iter().any(|word| word == "drain") {
        return drain::run();
    }
    let mut table = Table::default();
    for (name, row) in rows::ALL {
        if wanted.is_empty() || wanted.iter().any(|word| name.contains(word.as_str())) {
            println!("== {name}");
            row(&mut table);
        }
    }
    println!("\n{table}");
}
