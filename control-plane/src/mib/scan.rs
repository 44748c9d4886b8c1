//! Finds every notification's macro in a module, without any idea of what it means: what `parse` and mib-rs make of a module is held
//! against this list, so that nothing is lost in silence.

use super::lexer::{Kind, ModuleText};

/// A notification's macro.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found<'t> {
    pub(super) name: &'t str,
    pub(super) line: u32,
}

/// Finds `name NOTIFICATION-TYPE` and `name TRAP-TYPE` outside comments, texts and lists of imports.
pub(super) fn notifications<'t>(module: &ModuleText<'t>) -> Vec<Found<'t>> {
    let mut found: Vec<Found<'t>> = Vec::new();
    for window in module.tokens.windows(3) {
        let [name, macro_name, next] = window else { continue };
        let is_macro = macro_name.is("NOTIFICATION-TYPE") || macro_name.is("TRAP-TYPE");
        // In a list of imports a comma, another name or FROM follows.
        let is_use = ["OBJECTS", "STATUS", "ENTERPRISE", "VARIABLES", "DESCRIPTION", "REFERENCE"].iter().any(|clause| next.is(clause))
            || next.kind == Kind::Assign;
        if name.kind == Kind::Word && is_macro && is_use {
            found.push(Found { name: name.text, line: name.line });
        }
    }
    found
}
