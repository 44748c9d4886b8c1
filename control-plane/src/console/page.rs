//! What all pages share: the frame with the person's name in it, and how a template becomes an answer.

use askama::Template;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use postern_protocol::id::TenantId;
use serde::Deserialize;

use super::assets;
use super::fault::Fault;
use crate::auth::console::ConsolePrincipal;
use crate::auth::{Permission, Role};

/// What the frame of a page shows and what its forms carry. Holds the CSRF token: no `Debug`.
pub(super) struct Shell {
    /// Folder of style sheets and modules.
    pub(super) assets: String,
    /// Whether the person may act on alerts.
    pub(super) can_act: bool,
    /// Whether the person may configure and enrol gateways.
    pub(super) can_configure: bool,
    /// What every form carries.
    pub(super) csrf: String,
    /// What the person may do, by name.
    pub(super) role: Role,
    /// Which entry of the menu is lit.
    pub(super) section: &'static str,
    /// Whose data it is.
    pub(super) tenant: TenantId,
    /// The person's name.
    pub(super) user: String,
}

impl Shell {
    /// Makes the frame for a person; `section` is `alerts`, `gateways`, `rollouts`, `mibs` or `audit`.
    pub(super) fn new(person: &ConsolePrincipal, section: &'static str) -> Self {
        let role = person.principal.role;
        Self {
            assets: assets::base(),
            can_act: role.allows(Permission::ActOnAlerts),
            can_configure: role.allows(Permission::Configure),
            csrf: person.csrf.clone(),
            role,
            section,
            tenant: person.principal.tenant.clone(),
            user: person.user.clone(),
        }
    }
}

/// A form that carries nothing but its token.
#[derive(Deserialize)]
pub(super) struct NoFields {}

/// Renders a page.
pub(super) fn html(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => (status, [(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"))], text).into_response(),
        Err(error) => Fault::internal(&error).into_response(),
    }
}

/// Renders a part of a page.
pub(super) fn part(template: &impl Template) -> Result<String, Fault> {
    template.render().map_err(|error| Fault::internal(&error))
}
