//! Roll-outs: a change of configuration for the gateways of a tag, stage by stage, with a stop at the first failure.
//!
//! `plan` decides, `change` makes each gateway's document, `store::rollouts` keeps everything, so that a roll-out survives a restart.
//! [`watch`] is the task that has them go on: whenever a gateway reported how far a revision got, and every second.

pub mod change;
pub mod plan;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use postern_protocol::id::{GatewayId, TenantId};
use postern_protocol::revision::Problem;
use tokio::sync::Notify;
use tokio::time::MissedTickBehavior;

use self::change::{Change, ChangeError};
use self::plan::{MemberState, Offline, OnFailure, Stage, Step};
use crate::app::App;
use crate::auth::{Forbidden, Permission, Principal};
use crate::configuration::{self, Force, Put, PutError};
use crate::store::audit::By;
use crate::store::rollouts::{NewRollout, RolloutState, RolloutView};
use crate::store::{StoreError, TenantStore};

/// How often roll-outs are looked at when nothing is heard: gateways come, go, and are revoked.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Most stages.
const MAX_STAGES: usize = 20;

/// Wakes [`watch`].
#[derive(Default)]
pub struct Rollouts {
    news: Notify,
}

impl Rollouts {
    /// Says that something changed that a roll-out may wait for. Call it after the commit.
    pub fn wake(&self) {
        self.news.notify_one();
    }
}

/// A roll-out as somebody asks for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    /// Which gateways; empty for all.
    pub tag: String,
    /// What changes.
    pub change: Change,
    /// How far each stage reaches.
    pub stages: Vec<Stage>,
    /// What is done about gateways that are away.
    pub offline: Offline,
    /// What is done about failures.
    pub on_failure: OnFailure,
}

/// Why a roll-out does not begin, or does not go on.
#[derive(Debug, thiserror::Error)]
pub enum RolloutError {
    /// The change does not fit a gateway's document.
    #[error("the change does not fit {gateway}")]
    Change {
        /// Which.
        gateway: GatewayId,
        /// Why.
        #[source]
        cause: ChangeError,
    },
    /// The role does not allow it.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// The document that a gateway would get has these problems.
    #[error("the document for {gateway} has {} problems", problems.len())]
    Invalid {
        /// Which.
        gateway: GatewayId,
        /// What is wrong.
        problems: Vec<Problem>,
    },
    /// There is no such roll-out.
    #[error("there is no such roll-out")]
    NotFound,
    /// No gateway has the tag.
    #[error("no gateway has the tag {0:?}")]
    Nobody(String),
    /// The stages are none, or too many.
    #[error("a roll-out has 1 to {MAX_STAGES} stages")]
    Stages,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Begins a roll-out; the document of every gateway is checked before. Returns its identifier.
///
/// # Errors
/// [`RolloutError`] says why it does not begin.
pub async fn start(app: &App, principal: &Principal, wish: Wish) -> Result<String, RolloutError> {
    principal.require(Permission::Configure)?;
    if wish.stages.is_empty() || wish.stages.len() > MAX_STAGES {
        return Err(RolloutError::Stages);
    }
    let (tenant, store) = (&principal.tenant, app.stores.tenant(&principal.tenant)?);
    let tags = store.tags().await?;
    let tagged = |id: &GatewayId| wish.tag.is_empty() || tags.get(id.as_str()).is_some_and(|tags| tags.contains(&wish.tag));
    let mut gateways = app.stores.list_gateways(tenant).await?;
    gateways.retain(|gateway| gateway.revoked_at.is_none() && tagged(&gateway.id));
    if gateways.is_empty() {
        return Err(RolloutError::Nobody(wish.tag));
    }
    // Those that are there first: an early stage is to show soon how it goes.
    gateways.sort_by_key(|gateway| !gateway.connected);
    for gateway in &gateways {
        let text = document(&store, &gateway.id, &wish.change).await?;
        let checked = configuration::check(app, tenant, &gateway.id, text.as_bytes()).await?;
        checked.map_err(|problems| RolloutError::Invalid { gateway: gateway.id.clone(), problems })?;
    }
    let stages = plan::assign(&wish.stages, gateways.len());
    let Wish { tag, change, stages: written, offline, on_failure } = wish;
    let id = crate::random::hex::<6>().map_err(StoreError::from)?;
    let members = gateways.into_iter().map(|gateway| gateway.id).zip(stages).collect();
    let new = NewRollout { id: id.clone(), tag, change, stages: written, offline, on_failure, members };
    store.start_rollout(new, By::from(principal), app.now()).await?;
    tracing::info!(%tenant, rollout = id, by = %principal.actor, "roll-out began");
    app.rollouts.wake();
    Ok(id)
}

/// Stops a roll-out: gateways whose turn has not come get nothing.
///
/// # Errors
/// [`RolloutError`].
pub async fn stop(app: &App, principal: &Principal, id: &str) -> Result<(), RolloutError> {
    principal.require(Permission::Configure)?;
    let store = known(app, principal, id).await?;
    let reason = format!("stopped by {}", principal.actor);
    store.end_rollout(id, (RolloutState::Stopped, reason), (By::from(principal), app.now())).await?;
    Ok(())
}

/// Has a stopped roll-out go on without the gateways that failed.
///
/// # Errors
/// [`RolloutError`].
pub async fn resume(app: &App, principal: &Principal, id: &str) -> Result<(), RolloutError> {
    principal.require(Permission::Configure)?;
    let store = known(app, principal, id).await?;
    store.resume_rollout(id, (By::from(principal), app.now())).await?;
    app.rollouts.wake();
    Ok(())
}

async fn known(app: &App, principal: &Principal, id: &str) -> Result<TenantStore, RolloutError> {
    let store = app.stores.tenant(&principal.tenant)?;
    store.find_rollout(id).await?.ok_or(RolloutError::NotFound)?;
    Ok(store)
}

/// Makes the document that a gateway gets.
async fn document(store: &TenantStore, gateway: &GatewayId, change: &Change) -> Result<String, RolloutError> {
    let present = store.desired(gateway).await?.map(|revision| revision.document);
    let present = present.unwrap_or_else(|| postern_protocol::revision::BUILT_IN.as_bytes().to_vec());
    change.apply(&present).map_err(|cause| RolloutError::Change { gateway: gateway.clone(), cause })
}

/// Has roll-outs go on until `app.stop`. A store that fails is logged and asked again at the next look.
pub async fn watch(app: Arc<App>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            () = app.stop.cancelled() => return,
            _ = ticks.tick() => {}
            () = app.rollouts.news.notified() => {}
        }
        if let Err(error) = look(&app).await {
            tracing::error!(error = %crate::chain(&error), "roll-outs cannot go on now");
        }
    }
}

async fn look(app: &App) -> Result<(), StoreError> {
    for tenant in app.stores.system().list_tenants().await? {
        let store = app.stores.tenant(&tenant.id)?;
        for rollout in store.running_rollouts().await? {
            go_on(app, &tenant.id, &store, &rollout).await?;
        }
    }
    Ok(())
}

/// Does what can be done now.
async fn go_on(app: &App, tenant: &TenantId, store: &TenantStore, rollout: &RolloutView) -> Result<(), StoreError> {
    loop {
        let revoked: HashMap<GatewayId, bool> =
            app.stores.system().list_gateways(Some(tenant)).await?.into_iter().map(|one| (one.id, one.revoked_at.is_some())).collect();
        let mut members = store.rollout_members(&rollout.id).await?;
        for member in &mut members {
            member.revoked = revoked.get(&member.gateway).copied().unwrap_or(true);
        }
        let steps = plan::next(rollout.offline, rollout.on_failure, &members);
        if steps.is_empty() {
            return Ok(());
        }
        for step in steps {
            let who = (By::control_plane(), app.now());
            match step {
                Step::Finish => return store.end_rollout(&rollout.id, (RolloutState::Done, String::new()), who).await,
                Step::Mark { gateway, state, reason } => {
                    tracing::info!(rollout = rollout.id, %gateway, state = state.name(), reason, "roll-out");
                    store.mark_rollout(&rollout.id, &gateway, (state, reason), who.1).await?;
                }
                Step::Send { gateway } => {
                    if let Err(error) = send(app, tenant, rollout, &gateway).await {
                        let reason = crate::chain(&error);
                        store.mark_rollout(&rollout.id, &gateway, (MemberState::Failed, reason), who.1).await?;
                    }
                }
                Step::Stop { reason } => {
                    tracing::warn!(rollout = rollout.id, reason, "roll-out stopped");
                    return store.end_rollout(&rollout.id, (RolloutState::Stopped, reason), who).await;
                }
            }
        }
    }
}

async fn send(app: &App, tenant: &TenantId, rollout: &RolloutView, gateway: &GatewayId) -> Result<(), SendError> {
    let text = document(&app.stores.tenant(tenant)?, gateway, &rollout.change).await?;
    let put = Put {
        tenant: tenant.clone(),
        gateway: gateway.clone(),
        text: text.into_bytes(),
        force: Force::Checked,
        by: By { who: rollout.created_by.clone(), from: None },
        remark: format!("roll-out {}", rollout.id),
        rollout: Some(rollout.id.clone()),
    };
    configuration::store(app, put).await?;
    Ok(())
}

/// Why a gateway did not get its document.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error("it cannot be put")]
    Put(#[from] PutError),
    #[error("it cannot be made")]
    Rollout(#[from] RolloutError),
    #[error("the store failed")]
    Store(#[from] StoreError),
}
