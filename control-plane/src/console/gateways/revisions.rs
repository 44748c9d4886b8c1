//! The parts beside the editor: how far the newest revision got, and the list of all. The live link renders both again.

use askama::Template;
use postern_protocol::timestamp::Timestamp;

use super::{ProblemLine, problem_lines};
use crate::console::fault::Fault;
use crate::console::moment::{self, Moment};
use crate::console::page;
use crate::store::gateways::{Drift, GatewayView};
use crate::store::revisions::{RevisionState, RevisionView};

struct Newest {
    number: u64,
    problems: Vec<ProblemLine>,
    state: &'static str,
}

#[derive(Template)]
#[template(path = "configuration_panel.html")]
struct Panel {
    connected: bool,
    drift: &'static str,
    effective: String,
    explained: String,
    newest: Option<Newest>,
}

struct Item {
    created_at: Moment,
    created_by: String,
    number: u64,
    remark: String,
    shown: bool,
    state: &'static str,
    took: Option<String>,
}

#[derive(Template)]
#[template(path = "configuration_revisions.html")]
struct List<'a> {
    id: &'a str,
    items: Vec<Item>,
}

/// Renders how far the newest revision got.
pub(super) fn panel(gateway: &GatewayView, revisions: &[RevisionView]) -> Result<String, Fault> {
    let newest = revisions.first();
    page::part(&Panel {
        connected: gateway.connected,
        drift: drift(gateway.revision.drift),
        effective: gateway.revision.effective.map_or_else(|| "built-in rules".to_owned(), |number| format!("revision {number}")),
        explained: newest.map(|newest| explain(newest, gateway.connected)).unwrap_or_default(),
        newest: newest.map(|newest| Newest {
            number: newest.number.0,
            problems: problem_lines(&newest.problems),
            state: newest.state.name(),
        }),
    })
}

/// Renders the list of revisions; `shown` is the one in the editor.
pub(super) fn list(gateway: &GatewayView, revisions: &[RevisionView], shown: Option<u64>, now: Timestamp) -> Result<String, Fault> {
    let item = |revision: &RevisionView| Item {
        created_at: Moment::new(revision.created_at, now),
        created_by: revision.created_by.clone(),
        number: revision.number.0,
        remark: revision.remark.clone(),
        shown: shown == Some(revision.number.0),
        state: revision.state.name(),
        took: (revision.state == RevisionState::Applied || revision.state.is_undone()).then(|| took(revision)),
    };
    page::part(&List { id: gateway.id.as_str(), items: revisions.iter().map(item).collect() })
}

fn drift(drift: Option<Drift>) -> &'static str {
    match drift {
        None => "",
        Some(Drift::Refused) => "not what it should run: it refused that",
        Some(Drift::Reverted) => "not what it should run: it took that back",
        Some(Drift::Unknown) => "a revision that nobody here made: save a configuration to put that right",
        Some(Drift::Waiting) => "not yet what it should run",
    }
}

fn took(revision: &RevisionView) -> String {
    moment::lasted(revision.created_at, revision.state_at)
}

fn explain(revision: &RevisionView, connected: bool) -> String {
    match revision.state {
        RevisionState::Desired if connected => "On its way to the gateway.".to_owned(),
        RevisionState::Desired => "The gateway is not connected. It gets this revision as soon as it is back.".to_owned(),
        RevisionState::Applying => "The gateway has taken it in and is putting it into force.".to_owned(),
        RevisionState::Applied => format!("In force on the gateway {} after it was saved.", took(revision)),
        RevisionState::Provisional => {
            "In force on trial. The gateway takes it back by itself unless it reaches the control plane with it in time.".to_owned()
        }
        RevisionState::Reverted => {
            format!("The gateway tried it and took it back {} after it was saved; what was confirmed before is in force.", took(revision))
        }
        RevisionState::Failed => format!("The gateway refused it {} after it was saved and goes on with what it had.", took(revision)),
    }
}
