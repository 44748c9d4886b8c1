//! The rule packs that this program brings along, and how a document takes and changes them.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use postern_protocol::revision::document::{Action, Rule};
use postern_protocol::revision::pack::{self, PackUse};

use super::fault::Fault;
use super::page::{self, Shell};
use crate::auth::Permission;
use crate::auth::console::ConsolePrincipal;
use crate::rule_book;

#[derive(Template)]
#[template(path = "packs.html")]
struct PacksPage {
    packs: Vec<PackCard>,
    shell: Shell,
}

struct PackCard {
    id: &'static str,
    rules: Vec<RuleLine>,
    snippet: String,
    version: u32,
}

struct RuleLine {
    description: String,
    does: &'static str,
    id: String,
    matches: String,
    version: u32,
}

/// Lists the packs.
pub(super) async fn page(person: ConsolePrincipal) -> Result<Response, Fault> {
    person.principal.require(Permission::Read)?;
    let page = PacksPage { packs: pack::known().map(|(id, version)| card(id, version)).collect(), shell: Shell::new(&person, "gateways") };
    Ok(page::html(StatusCode::OK, &page))
}

fn card(id: &'static str, version: u32) -> PackCard {
    let wanted = PackUse { id: id.to_owned(), version, overrides: Default::default() };
    // A pack of this program reads: a test of the protocol walks them all.
    let rules = pack::rules_of(&wanted, "packs", &mut Vec::new());
    let first = rules.first().map(|rule| rule.id.to_string()).unwrap_or_default();
    let snippet = format!(
        "\"packs\": [\n  {{\n    \"id\": \"{id}\",\n    \"version\": {version},\n    \"overrides\": {{\n      \"{first}\": {{\"mode\": \"observe\"}}\n    }}\n  }}\n]"
    );
    let line = |rule: Rule| RuleLine {
        does: match rule.then {
            Action::Clear(_) => "clears",
            Action::Raise(_) => "raises",
            Action::Suppress {} => "suppresses",
        },
        matches: rule_book::in_words(&rule.matcher),
        description: rule.description,
        id: rule.id.to_string(),
        version: rule.version,
    };
    PackCard { id, rules: rules.into_iter().map(line).collect(), snippet, version }
}
