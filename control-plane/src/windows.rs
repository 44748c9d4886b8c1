//! Adds maintenance windows to a gateway's document and ends them, on behalf of the console: the rest of the document stays as it is.

use postern_protocol::id::{GatewayId, RevisionNumber};
use postern_protocol::revision::BUILT_IN;
use postern_protocol::revision::document::Document;
use postern_protocol::revision::noise::{Once, Scope, When, Window};
use postern_protocol::timestamp::Timestamp;
use serde_json::{Value, json};

use crate::app::App;
use crate::auth::{Permission, Principal};
use crate::canonical;
use crate::configuration::{self, Force, PutError};
use crate::rfc3339;
use crate::store::StoreError;

/// What to change.
#[derive(Clone, Debug)]
pub enum Wish {
    /// Add a window.
    Add(Box<Window>),
    /// End the window of that name: one that is once ends now, any other is taken out.
    End(String),
}

/// Makes a window that is once.
pub fn once(id: postern_protocol::id::RuleId, description: String, (from, until): (Timestamp, Timestamp), affects: Scope) -> Window {
    let when = When::Once(Once { from: rfc3339::format(from), until: rfc3339::format(until) });
    Window { id, description, affects, when }
}

/// Changes the windows of the newest document and makes that the desired one.
///
/// # Errors
/// As for any configuration that is put; a document that is not JSON or lacks the window is a conflict.
pub async fn change(app: &App, principal: &Principal, gateway: &GatewayId, wish: Wish) -> Result<RevisionNumber, PutError> {
    principal.require(Permission::Configure)?;
    let desired = app.stores.tenant(&principal.tenant)?.desired(gateway).await?;
    let text = desired.map_or_else(|| BUILT_IN.as_bytes().to_vec(), |revision| revision.document);
    let changed = changed(&text, wish, app.now()).map_err(|why| PutError::Store(StoreError::Conflict(why)))?;
    configuration::put(app, principal, gateway, changed.as_bytes(), Force::Checked).await
}

/// Returns the windows of a document; none of one that does not read.
pub fn of(document: &[u8]) -> Vec<Window> {
    serde_json::from_slice::<Document>(document).map(|document| document.windows).unwrap_or_default()
}

fn changed(document: &[u8], wish: Wish, now: Timestamp) -> Result<String, String> {
    let mut value: Value = serde_json::from_slice(document).map_err(|_| "the newest document is not JSON: mend it first".to_owned())?;
    let members = value.as_object_mut().ok_or("the newest document is no object: mend it first")?;
    let windows = members.entry("windows").or_insert_with(|| json!([]));
    let windows = windows.as_array_mut().ok_or("`windows` of the newest document is no list: mend it first")?;
    match wish {
        Wish::Add(window) => windows.push(serde_json::to_value(*window).map_err(|error| error.to_string())?),
        Wish::End(id) => {
            let at = windows.iter().position(|window| window.get("id").and_then(Value::as_str) == Some(&id));
            let at = at.ok_or_else(|| format!("there is no window {id} any more"))?;
            match windows.get_mut(at).and_then(|window| window.pointer_mut("/when/once/until")) {
                Some(until) if !is_over(until, now) => *until = Value::String(rfc3339::format(now)),
                Some(_) | None => drop(windows.remove(at)),
            }
            // A window that was ended before it began has no time at all.
            windows.retain(begins_before_it_ends);
        }
    }
    if windows.is_empty() {
        members.remove("windows");
    }
    let text = serde_json::to_vec(&value).map_err(|error| error.to_string())?;
    canonical::canonical(&text).map_err(|error| error.to_string())
}

fn is_over(until: &Value, now: Timestamp) -> bool {
    until.as_str().and_then(rfc3339::parse).is_none_or(|until| until <= now)
}

fn begins_before_it_ends(window: &Value) -> bool {
    let time = |name: &str| window.pointer(&format!("/when/once/{name}")).and_then(Value::as_str).and_then(rfc3339::parse);
    time("from").zip(time("until")).is_none_or(|(from, until)| from < until)
}

#[cfg(test)]
mod tests {
    use postern_protocol::id::RuleId;
    use postern_protocol::revision;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(1_800_000_000 + seconds)
    }

    fn add(document: &str, id: &str) -> String {
        let scope = Scope { groups: vec!["core".into()], ..Scope::default() };
        let window = once(RuleId::new(id).unwrap(), "Patches".into(), (at(0), at(3600)), scope);
        changed(document.as_bytes(), Wish::Add(Box::new(window)), at(0)).unwrap()
    }

    #[test]
    fn a_window_is_added_to_a_document_that_stays_good() {
        let text = add(BUILT_IN, "patch-night");
        assert!(revision::parse(text.as_bytes()).is_ok(), "{text}");
        assert_eq!(of(text.as_bytes())[0].id.as_str(), "patch-night");
        assert_eq!(of(add(&text, "other").as_bytes()).len(), 2);
    }

    #[test]
    fn a_window_that_runs_ends_now_and_any_other_is_taken_out() {
        let text = add(BUILT_IN, "patch-night");
        let end = |text: &str, seconds| changed(text.as_bytes(), Wish::End("patch-night".into()), at(seconds));
        let ended = end(&text, 60).unwrap();
        assert!(ended.contains("2027-01-15T08:01:00"), "{ended}");
        assert!(of(end(&ended, 90).unwrap().as_bytes()).is_empty(), "it was over");
        assert!(of(end(&text, -60).unwrap().as_bytes()).is_empty(), "it had not begun");
        assert!(end(BUILT_IN, 60).is_err());
        assert!(changed(b"{", Wish::End("x".into()), at(0)).is_err());
    }
}
