//! The tags of a gateway: a line of words in a form.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::find;
use crate::app::App;
use crate::auth::Permission;
use crate::auth::console::ConsoleForm;
use crate::console::fault::Fault;
use crate::feed::Change;
use crate::store::audit::By;

/// What the form sends.
#[derive(Deserialize)]
pub(in crate::console) struct TagsForm {
    /// Words with blanks or commas between them.
    tags: String,
}

/// Replaces the tags of a gateway.
pub(in crate::console) async fn store(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    form: ConsoleForm<TagsForm>,
) -> Result<Response, Fault> {
    let (person, form) = (form.principal, form.form);
    person.principal.require(Permission::Configure)?;
    let gateway = find(&app, &person.principal, &id).await?;
    let words = form.tags.split([' ', ',', '\t']).filter(|word| !word.is_empty());
    let tags = words.map(str::to_lowercase).collect();
    let who = (By::from(&person.principal), app.now());
    app.stores.tenant(&person.principal.tenant)?.set_tags(&gateway.id, tags, who).await?;
    app.feed.publish(&person.principal.tenant, Change::Gateway { id: gateway.id.clone() });
    Ok(Redirect::to(&format!("/gateways/{}/configuration", gateway.id)).into_response())
}
