//! The waiting room: SNMPv3 notifications that a gateway refused, and the binding that lets them in.
//!
//! A binding is a change of the gateway's document: a user that is added or extended, or an engine that may start over. It becomes a
//! revision through `configuration::put` like any other. The API and the console call this.

mod section;
mod users;

use postern_protocol::id::{GatewayId, RevisionNumber};
use postern_protocol::revision::intake::{EngineReset, Snmp, User, WeakAlgorithm};
use postern_protocol::revision::{self, Problem};
use serde::Deserialize;

use crate::app::App;
use crate::auth::{Permission, Principal};
use crate::configuration::{self, Force, PutError};
use crate::store::StoreError;

/// What lets somebody in.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Binding {
    /// A user is added, or its entry gets the engines and sources of this one.
    BindUser {
        /// As a document has it. Without `auth` it extends the entry of that name, whatever its keys.
        user: User,
        /// Weak algorithms that are allowed from now on.
        #[serde(default)]
        allow_weak: Vec<WeakAlgorithm>,
    },
    /// An engine may start again from lower boots, once: its device was replaced.
    ResetEngine {
        /// Its engine ID in hexadecimal.
        engine: String,
    },
}

/// A document with a binding in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The revision that it was made from; 0 for the built-in rules.
    pub base: RevisionNumber,
    /// What was before, with the section that changes printed as it is in `after`: so that a comparison shows what changes, and not
    /// how somebody wrote it.
    pub before: String,
    /// What it would be.
    pub after: String,
}

/// Why nothing was bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Several entries have the name; only their keys could tell them apart.
    #[error("several users are called {0:?}: choose algorithms and secrets, to say which is meant")]
    Ambiguous(String),
    /// The present document cannot be read, so that nothing can be added to it.
    #[error("the present configuration has {} problem(s): mend it first", .0.len())]
    Broken(Vec<Problem>),
    /// Another revision was stored since the preview.
    #[error("revision {0} was stored meanwhile: look at the change again")]
    Changed(RevisionNumber),
    /// The document says all of it already.
    #[error("the configuration says so already; if the sender is refused still, look at its keys and its level")]
    Nothing,
    /// It cannot become a revision.
    #[error(transparent)]
    Put(#[from] PutError),
}

impl From<StoreError> for BindError {
    fn from(error: StoreError) -> Self {
        Self::Put(error.into())
    }
}

/// Makes the document that binds, of the newest one or the built-in one, and stores nothing.
///
/// # Errors
/// [`BindError`] says why there is none.
pub async fn preview(app: &App, principal: &Principal, gateway: &GatewayId, binding: &Binding) -> Result<Bound, BindError> {
    principal.require(Permission::Configure).map_err(PutError::from)?;
    let record = app.stores.system().find_gateway(gateway).await?.filter(|record| record.tenant == principal.tenant);
    record.ok_or(PutError::NotFound)?;
    let desired = app.stores.tenant(&principal.tenant)?.desired(gateway).await?;
    let base = desired.as_ref().map_or(RevisionNumber(0), |revision| revision.view.number);
    let before = desired.map_or_else(|| revision::BUILT_IN.as_bytes().to_vec(), |revision| revision.document);
    app.checks.check(before.clone()).await?.map_err(BindError::Broken)?;
    let before = String::from_utf8(before).map_err(|_| StoreError::Corrupt("revision"))?;
    let (before, after) = bind(&before, binding)?;
    Ok(Bound { base, before, after })
}

/// Binds: the document becomes the gateway's next revision.
///
/// # Errors
/// [`BindError`] says why it was not stored.
pub async fn apply(app: &App, principal: &Principal, gateway: &GatewayId, bound: &Bound) -> Result<RevisionNumber, BindError> {
    let newest = app.stores.tenant(&principal.tenant)?.newest_revision(gateway).await?;
    if newest != bound.base {
        return Err(BindError::Changed(newest));
    }
    let number = configuration::put(app, principal, gateway, bound.after.as_bytes(), Force::Checked).await?;
    tracing::info!(%gateway, revision = %number, by = %principal.actor, "bound from the waiting room");
    Ok(number)
}

/// Writes a binding into a document whose other text stays as it is. Returns it as it was, its section printed anew, and as it is.
fn bind(text: &str, binding: &Binding) -> Result<(String, String), BindError> {
    let place = section::find(text, "snmp").ok_or(StoreError::Corrupt("revision"))?;
    let mut snmp: Snmp = match place.value(text) {
        Some(section) => serde_json::from_str(section).map_err(|_| StoreError::Corrupt("revision"))?,
        None => Snmp::default(),
    };
    let printed = |snmp: &Snmp| serde_json::to_string_pretty(snmp).map_err(|_| StoreError::Corrupt("revision"));
    let before = if place.value(text).is_some() { place.replace(text, "snmp", &printed(&snmp)?) } else { text.to_owned() };
    match binding {
        Binding::BindUser { user, allow_weak } => {
            let mut changed = users::bind(&mut snmp.users, user)?;
            for weak in allow_weak.iter().filter(|weak| !snmp.allow_weak.contains(weak)).collect::<Vec<_>>() {
                snmp.allow_weak.push(*weak);
                changed = users::Changed::Yes;
            }
            if changed == users::Changed::No {
                return Err(BindError::Nothing);
            }
        }
        Binding::ResetEngine { engine } => reset(&mut snmp.engine_resets, engine),
    }
    Ok((before, place.replace(text, "snmp", &printed(&snmp)?)))
}

fn reset(resets: &mut Vec<EngineReset>, engine: &str) {
    match resets.iter_mut().find(|reset| reset.engine.eq_ignore_ascii_case(engine)) {
        Some(reset) => reset.serial = reset.serial.saturating_add(1),
        None => resets.push(EngineReset { engine: engine.to_ascii_lowercase(), serial: 1 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENGINE: &str = "80001f8880e9630000d61ff449";

    fn binding(text: &str) -> Binding {
        serde_json::from_str(text).unwrap()
    }

    fn bound(text: &str, by: &str) -> String {
        let (_, after) = bind(text, &binding(by)).unwrap();
        revision::parse(after.as_bytes()).unwrap();
        after
    }

    #[test]
    fn a_user_is_added_and_the_rules_keep_their_text_and_order() {
        let by = format!(
            r#"{{"action":"bind_user","user":{{"name":"ops","engines":["{ENGINE}"],"sources":["10.0.0.1/32"],
               "auth":{{"algorithm":"sha-256","secret":"ops.auth"}},"priv":{{"algorithm":"aes-128","secret":"ops.priv"}}}}}}"#
        );
        let after = bound(revision::BUILT_IN, &by);
        let rules = revision::BUILT_IN.trim_end().strip_suffix('}').unwrap().trim_end();
        assert!(after.starts_with(rules), "nothing but the end differs");
        let document = revision::parse(after.as_bytes()).unwrap();
        assert_eq!(document.snmp.unwrap().users[0].name, "ops");
        assert!(matches!(bind(&after, &binding(&by)), Err(BindError::Nothing)));
    }

    #[test]
    fn a_reset_counts_up() {
        let by = format!(r#"{{"action":"reset_engine","engine":"{}"}}"#, ENGINE.to_uppercase());
        let once = bound(r#"{"format":1,"rules":[]}"#, &by);
        let twice = bound(&once, &by);
        let resets = revision::parse(twice.as_bytes()).unwrap().snmp.unwrap().engine_resets;
        assert_eq!(resets, [EngineReset { engine: ENGINE.into(), serial: 2 }]);
    }

    #[test]
    fn a_weak_algorithm_is_allowed_only_when_asked_for() {
        let user = format!(r#""user":{{"name":"old","engines":["{ENGINE}"],"auth":{{"algorithm":"md5","secret":"s"}}}}"#);
        let (_, refused) = bind(r#"{"format":1,"rules":[]}"#, &binding(&format!(r#"{{"action":"bind_user",{user}}}"#))).unwrap();
        assert!(revision::parse(refused.as_bytes()).is_err());
        bound(r#"{"format":1,"rules":[]}"#, &format!(r#"{{"action":"bind_user",{user},"allow_weak":["md5"]}}"#));
    }

    #[test]
    fn a_binding_with_an_unknown_field_is_refused() {
        assert!(serde_json::from_str::<Binding>(r#"{"action":"bind_user","user":{"name":"a","password":"x"}}"#).is_err());
    }
}
