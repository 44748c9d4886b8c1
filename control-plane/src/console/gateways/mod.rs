//! Gateways in the console: the list, one gateway with its ledger, its configuration, and the enrolment of new ones.

mod balance;
pub(super) mod bind;
pub(super) mod configuration;
mod course;
pub(super) mod detail;
mod diff;
mod document;
pub(super) mod end;
pub(super) mod enrol;
pub(super) mod identity;
mod intake;
mod ledger;
mod life;
pub(super) mod list;
pub(super) mod live;
pub(super) mod minutes;
pub(super) mod pace;
pub(super) mod replay;
mod report;
pub(super) mod revision;
mod revisions;
pub(super) mod rules;
pub(super) mod secrets;
pub(super) mod tags;
pub(super) mod waiting_room;
pub(super) mod windows;

use postern_protocol::id::GatewayId;
use postern_protocol::revision::Problem;

use super::fault::Fault;
use crate::app::App;
use crate::auth::Principal;
use crate::store::gateways::{GatewayRevisions, GatewayView};

/// Whether a gateway is there, in a word and a class.
struct Link {
    class: &'static str,
    text: &'static str,
}

impl Link {
    fn of(gateway: &GatewayView) -> Self {
        match (gateway.revoked_at, gateway.connected, gateway.last_seen) {
            (Some(_), _, _) => Self { class: "revoked", text: "Revoked" },
            (None, true, _) => Self { class: "up", text: "Connected" },
            (None, false, Some(_)) => Self { class: "down", text: "Not connected" },
            (None, false, None) => Self { class: "revoked", text: "Never connected" },
        }
    }
}

/// How a gateway's configuration stands, in a few words and a class.
struct Standing {
    class: &'static str,
    text: String,
}

impl Standing {
    fn of(revision: &GatewayRevisions) -> Self {
        if let Some(reverted) = &revision.reverted {
            return Self { class: "reverted", text: format!("{} reverted", reverted.number) };
        }
        if let Some(provisional) = revision.provisional {
            return Self { class: "provisional", text: format!("{provisional} on trial") };
        }
        match (&revision.failed, revision.desired, revision.effective) {
            (Some(failed), _, _) => Self { class: "failed", text: format!("{} failed", failed.number) },
            (None, Some(desired), Some(effective)) if desired == effective => {
                Self { class: "applied", text: format!("{desired} in force") }
            }
            (None, Some(desired), _) => Self { class: "desired", text: format!("{desired} waits") },
            (None, None, Some(effective)) => Self { class: "applied", text: format!("{effective} in force") },
            (None, None, None) => Self { class: "", text: "built-in".to_owned() },
        }
    }
}

/// A fault of a document, as the console lists it.
#[derive(Clone)]
struct ProblemLine {
    line: u32,
    column: u32,
    place: String,
    path: String,
    reason: String,
}

impl From<&Problem> for ProblemLine {
    fn from(problem: &Problem) -> Self {
        let place = if problem.line > 0 { format!("{}:{}", problem.line, problem.column) } else { String::new() };
        Self { line: problem.line, column: problem.column, place, path: problem.path.clone(), reason: problem.reason.clone() }
    }
}

fn problem_lines(problems: &[Problem]) -> Vec<ProblemLine> {
    problems.iter().map(ProblemLine::from).collect()
}

/// Finds a gateway of the principal's tenant by the text in an address.
async fn find(app: &App, principal: &Principal, id: &str) -> Result<GatewayView, Fault> {
    let id = GatewayId::new(id).map_err(|_| Fault::NotFound)?;
    app.stores.find_gateway(&principal.tenant, &id).await?.ok_or(Fault::NotFound)
}
