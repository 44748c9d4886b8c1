//! The waiting room in the console: who was refused and why, and one click or a form that lets them in.

use std::collections::BTreeSet;
use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use postern_protocol::revision;
use postern_protocol::status::intake::Waiting;
use postern_protocol::timestamp::Timestamp;
use serde::Deserialize;

use super::find;
use crate::app::App;
use crate::auth::Permission;
use crate::auth::console::ConsolePrincipal;
use crate::console::fault::Fault;
use crate::console::figures;
use crate::console::moment::Moment;
use crate::console::page::{self, Shell};
use crate::console::url;
use crate::store::gateways::GatewayView;

/// What the page was asked for after a binding.
#[derive(Deserialize)]
pub(in crate::console) struct After {
    /// The revision that it made.
    bound: Option<u64>,
}

/// One entry.
struct WaitingLine {
    reason: String,
    /// What the gateway says of it, or what the reason means in general.
    explained: String,
    source: String,
    engine: String,
    user: String,
    level: &'static str,
    count: String,
    first_seen: Moment,
    last_seen: Moment,
    /// The form that lets it in; `None` for the sum of the others.
    form: Option<String>,
    /// What the form's link says.
    action: &'static str,
    /// Whether one click is enough: the user is there already.
    one_click: bool,
}

#[derive(Template)]
#[template(path = "waiting_room_body.html")]
struct Body<'a> {
    can_configure: bool,
    csrf: &'a str,
    id: &'a str,
    lines: Vec<WaitingLine>,
    reported: bool,
}

#[derive(Template)]
#[template(path = "waiting_room.html")]
struct WaitingRoomPage<'a> {
    body: String,
    bound: Option<u64>,
    id: &'a str,
    name: &'a str,
    shell: Shell,
}

/// Shows the page.
pub(in crate::console) async fn page(
    State(app): State<Arc<App>>,
    person: ConsolePrincipal,
    Path(id): Path<String>,
    Query(after): Query<After>,
) -> Result<Response, Fault> {
    person.principal.require(Permission::Read)?;
    let gateway = find(&app, &person.principal, &id).await?;
    let page = WaitingRoomPage {
        body: body(&app, &person, &gateway).await?,
        bound: after.bound,
        id: gateway.id.as_str(),
        name: &gateway.name,
        shell: Shell::new(&person, "gateways"),
    };
    Ok(page::html(StatusCode::OK, &page))
}

/// Renders the list.
pub(super) async fn body(app: &App, person: &ConsolePrincipal, gateway: &GatewayView) -> Result<String, Fault> {
    let known = known_users(app, person, gateway).await?;
    let waiting = gateway.status.as_ref().map(|status| status.intake.waiting_room.as_slice());
    let now = app.now();
    page::part(&Body {
        can_configure: person.principal.role.allows(Permission::Configure),
        csrf: &person.csrf,
        id: gateway.id.as_str(),
        lines: waiting.unwrap_or_default().iter().map(|one| line(one, gateway.id.as_str(), &known, now)).collect(),
        reported: waiting.is_some(),
    })
}

/// The names of the users in the newest document; none when it cannot be read.
pub(super) async fn known_users(app: &App, person: &ConsolePrincipal, gateway: &GatewayView) -> Result<BTreeSet<String>, Fault> {
    let desired = app.stores.tenant(&person.principal.tenant)?.desired(&gateway.id).await?;
    // The shape is enough here, and checking a document whole takes longer than a page may.
    let document = desired.and_then(|revision| serde_json::from_slice::<revision::document::Document>(&revision.document).ok());
    let users = document.and_then(|document| document.snmp).map(|snmp| snmp.users).unwrap_or_default();
    Ok(users.into_iter().map(|user| user.name).collect())
}

fn line(one: &Waiting, gateway: &str, known: &BTreeSet<String>, now: Timestamp) -> WaitingLine {
    let query =
        [("reason", one.reason.as_str()), ("engine", &one.engine_id), ("source", &one.source), ("user", &one.user), ("level", &one.level)];
    let form = (one.source != "others").then(|| url::with_query(&format!("/gateways/{gateway}/waiting-room/bind"), query));
    WaitingLine {
        reason: one.reason.clone(),
        explained: if one.advice.is_empty() { meaning(&one.reason).to_owned() } else { sentence(&one.advice) },
        source: one.source.clone(),
        engine: one.engine_id.clone(),
        user: one.user.clone(),
        level: level(&one.level),
        count: figures::count(one.count),
        first_seen: Moment::from_nanos(one.first_seen, now),
        last_seen: Moment::from_nanos(one.last_seen, now),
        one_click: form.is_some() && matches!(one.reason.as_str(), "unknown_engine" | "unknown_user") && known.contains(&one.user),
        form,
        action: match one.reason.as_str() {
            "not_in_time_window" => "Let the engine start over…",
            "decryption_failed" | "wrong_digest" => "Other keys…",
            "level_too_low" => "Other level…",
            _ => "Bind…",
        },
    }
}

/// Begins with a capital and ends with a full stop.
fn sentence(text: &str) -> String {
    let mut letters = text.trim_end_matches('.').chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}

pub(super) fn meaning(reason: &str) -> &'static str {
    match reason {
        "decryption_failed" => "The message is authentic, but cannot be decrypted: the privacy passphrase or algorithm differs.",
        "level_too_low" => "It came with less protection than the user must have.",
        "not_in_time_window" => {
            "The sender's boots or time are behind what it showed before: it was replaced or reset, or somebody replays."
        }
        "unknown_engine" => "No user is bound to this engine from this source.",
        "unknown_user" => "Users are bound to this engine, but none of this name.",
        "wrong_digest" => "It cannot be authenticated: the passphrase or algorithm differs, or somebody forges.",
        _ => "",
    }
}

fn level(name: &str) -> &'static str {
    match name {
        "auth_no_priv" => "authNoPriv",
        "auth_priv" => "authPriv",
        "no_auth_no_priv" => "noAuthNoPriv",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_click_is_offered_only_where_it_helps() {
        let waiting = |reason: &str, source: &str, user: &str| {
            let one = Waiting {
                reason: reason.into(),
                source: source.into(),
                engine_id: "80".into(),
                user: user.into(),
                level: "auth_priv".into(),
                count: 1,
                first_seen: 0,
                last_seen: 0,
                advice: String::new(),
            };
            let line = line(&one, "gw", &BTreeSet::from(["ops".to_owned()]), Timestamp::from_secs(0));
            (line.one_click, line.form.is_some())
        };
        assert_eq!(waiting("unknown_engine", "10.0.0.1", "ops"), (true, true));
        assert_eq!(waiting("unknown_user", "10.0.0.1", "other"), (false, true));
        assert_eq!(waiting("wrong_digest", "10.0.0.1", "ops"), (false, true));
        assert_eq!(waiting("unknown_engine", "others", "ops"), (false, false));
    }
}
