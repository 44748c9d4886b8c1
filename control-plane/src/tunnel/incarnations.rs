//! Which start of which disk greets: a greeting is admitted, waits in doubt, or is kept out, as `clones` judges.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use postern_protocol::farewell::QUARANTINED;
use postern_protocol::id::GatewayId;
use postern_protocol::message::Hello;
use tokio::time::Instant;

use super::context::{Context, HandlerError};
use super::greeting;
use crate::clones::{self, Arrival, Doubt, Outlook, Verdict};
use crate::rfc3339;
use crate::store::audit::{By, Deed, Outcome, What};
use crate::store::gateway_events::{GatewayEvent, Happening};
use crate::store::incarnations::{Found, Seen, Standing};

/// How long a greeting in doubt is held before the gateway is told to come again: less than it waits for an answer.
const HOLD: Duration = Duration::from_secs(11);

const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Doubts that nobody asked about for so long are over.
const FORGOTTEN: Duration = Duration::from_secs(120);

/// Doubts under way: a gateway comes again while one is not decided. Cheap to clone.
#[derive(Clone, Default)]
pub struct Doubts {
    // A mutex because sessions meet here; it is held for a map look-up.
    since: Arc<Mutex<HashMap<(GatewayId, u64), Instant>>>,
}

impl Doubts {
    fn begin(&self, gateway: &GatewayId, incarnation: u64) -> Instant {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        since.retain(|_, began| began.elapsed() < FORGOTTEN);
        *since.entry((gateway.clone(), incarnation)).or_insert_with(Instant::now)
    }

    fn end(&self, gateway: &GatewayId, incarnation: u64) {
        self.since.lock().unwrap_or_else(PoisonError::into_inner).remove(&(gateway.clone(), incarnation));
    }
}

/// Judges a greeting, before it is answered.
pub(super) async fn arrive(context: &Context, hello: &Hello) -> Result<(), HandlerError> {
    let Context { app, peer, .. } = context;
    let arrival = Arrival { incarnation: hello.incarnation, previous: hello.previous_incarnation, session: hello.session };
    let (arrival, mut chain) = app.stores.system().chain(&peer.gateway, arrival, hello.earlier_incarnations.clone()).await?;
    let newcomer =
        Newcomer { context, arrival, seen: Seen { peer: context.from.to_string(), version: greeting::version(hello), at: app.now() } };
    chain.is_live =
        app.gateways.heard(&peer.gateway).is_some_and(|heard| Some(heard.incarnation) == chain.current.map(|known| known.incarnation));
    match clones::judge(arrival, chain) {
        Verdict::Untold => {}
        Verdict::Fits => newcomer.admit(None).await?,
        Verdict::KeptOut(standing) => return newcomer.keep_out(standing).await,
        Verdict::Doubtful(doubt) => {
            let known = chain.current.map_or(0, |known| known.incarnation);
            newcomer.wait(doubt, known).await?;
        }
    }
    if app.stores.system().certificate_used(&peer.gateway, &peer.certificate, app.now()).await? {
        let text =
            format!("it shows its new certificate {}, good until {}", peer.certificate.serial, rfc3339::format(peer.certificate.not_after));
        context.store.note_gateway_event(&peer.gateway, GatewayEvent { at: app.now(), what: Happening::Renewed, text }).await?;
    }
    Ok(())
}

struct Newcomer<'a> {
    context: &'a Context,
    arrival: Arrival,
    seen: Seen,
}

impl Newcomer<'_> {
    async fn admit(&self, doubt: Option<Doubt>) -> Result<(), HandlerError> {
        let Context { app, peer, store, .. } = self.context;
        let deed = doubt.map(|doubt| self.deed(What::GatewayRewound, doubt.harmless()));
        let text = doubt.map(|doubt| format!("{}; what it had before was silent, so this start goes on", doubt.harmless()));
        // Before its place in the chain is given to it: the doubt would not come again.
        match (doubt.filter(|doubt| doubt.is_set_back()), &text) {
            (Some(_), Some(text)) => store.declare_set_back(&peer.gateway, text.clone(), app.now()).await?,
            (None, Some(text)) => {
                let event = GatewayEvent { at: app.now(), what: Happening::DiskSetBack, text: text.clone() };
                store.note_gateway_event(&peer.gateway, event).await?;
            }
            (_, None) => {}
        }
        app.stores.system().admit(&peer.gateway, self.arrival, self.seen.clone(), deed).await?;
        if let Some(text) = text {
            tracing::warn!(gateway = %peer.gateway, text, "a gateway was set back");
        }
        Ok(())
    }

    /// Waits until the known start is heard or has been silent for long enough.
    async fn wait(&self, doubt: Doubt, known: u64) -> Result<(), HandlerError> {
        let Context { app, peer, .. } = self.context;
        let began = app.doubts.begin(&peer.gateway, self.arrival.incarnation);
        tracing::warn!(gateway = %peer.gateway, ?doubt, "a greeting does not fit what is known of this gateway");
        let held = Instant::now();
        loop {
            let heard = app.gateways.heard(&peer.gateway).filter(|heard| heard.incarnation == known);
            let after = heard.and_then(|heard| heard.at?.checked_duration_since(began));
            match clones::outlook(began.elapsed(), after) {
                Outlook::Cloned => return self.cloned(known).await,
                Outlook::Harmless => {
                    app.doubts.end(&peer.gateway, self.arrival.incarnation);
                    return self.admit(Some(doubt)).await;
                }
                Outlook::Open if held.elapsed() >= HOLD => {
                    let left = clones::SILENCE.saturating_sub(began.elapsed()).as_secs();
                    return Err(HandlerError::Later(format!(
                        "another machine with this gateway's identity may be running: the control plane waits {left} s more for a sign of it"
                    )));
                }
                Outlook::Open => {}
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = app.stop.cancelled() => return Err(HandlerError::Later("the control plane stops".to_owned())),
            }
        }
    }

    async fn cloned(&self, known: u64) -> Result<(), HandlerError> {
        let Context { app, peer, store, .. } = self.context;
        let gateway = &peer.gateway;
        app.doubts.end(gateway, self.arrival.incarnation);
        let incarnations = app.stores.system().list_incarnations(gateway).await?;
        let known = data_encoding::HEXLOWER.encode(&known.to_be_bytes());
        let other = incarnations.iter().find(|view| view.incarnation == known);
        let (address, version) = other.map_or(("an unknown address", "unknown"), |view| (&view.peer, &view.version));
        let proof = format!(
            "the machine at {address} (version {version}) was heard after the machine at {} (version {}) had greeted with the same identity: \
             both are running",
            self.seen.peer, self.seen.version
        );
        tracing::warn!(%gateway, proof, "two machines use one gateway's identity: the newcomer is quarantined");
        let found = Found::Copy { proof: proof.clone(), deed: self.deed(What::GatewayCloned, &proof) };
        app.stores.system().keep_out(gateway, self.arrival, self.seen.clone(), found).await?;
        store.note_gateway_event(gateway, GatewayEvent { at: app.now(), what: Happening::Cloned, text: proof.clone() }).await?;
        let summary = format!(
            "Two machines use the identity of gateway {gateway}: {proof}. The first one goes on; decide on the gateway's identity page which one stays"
        );
        clones::raise(app, &peer.tenant, gateway, summary).await?;
        Err(HandlerError::Refused(self.explanation()))
    }

    async fn keep_out(&self, standing: Standing) -> Result<(), HandlerError> {
        let Context { app, peer, .. } = self.context;
        app.stores.system().keep_out(&peer.gateway, self.arrival, self.seen.clone(), Found::Again(standing)).await?;
        Err(HandlerError::Refused(match standing {
            Standing::Refused => format!(
                "this copy of gateway {} {QUARANTINED} for good: an admin decided that another machine stays. To use this one, move its data \
                 directory away and enrol it as a gateway of its own",
                peer.gateway
            ),
            Standing::Current | Standing::Superseded | Standing::Suspect => self.explanation(),
        }))
    }

    fn explanation(&self) -> String {
        format!(
            "this copy of gateway {} {QUARANTINED}: another machine with the same identity is running (a cloned virtual machine, or a copied \
             data directory). Stop one of the two; if this is the one to keep, choose it on the gateway's identity page in the console, or with \
             `postern-control gateway keep {} --other`",
            self.context.peer.gateway, self.context.peer.gateway
        )
    }

    fn deed(&self, what: What, detail: &str) -> Deed {
        let by = By { who: format!("gateway:{}", self.context.peer.gateway), from: Some(self.context.from.ip()) };
        let about = format!("gateway {}", self.context.peer.gateway);
        Deed { at: self.seen.at, by, what, about, detail: detail.to_owned(), outcome: Outcome::Done }
    }
}
