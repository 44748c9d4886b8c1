//! One identity on two machines: how a copy is told from a restart and from a disk that was set back, and what an admin decides.
//!
//! Every start of a gateway draws an *incarnation* and keeps the one before on its disk, so starts form a chain. A greeting that continues
//! the chain is a restart. One that does not, or that continues it while the start before is still connected, is either a disk (or a
//! virtual machine's memory) that was set back, or a copy: if the known incarnation is heard again afterwards, both live, and it is a copy.
//! Then the one that is known goes on, the newcomer is kept out (*suspect*), and an admin says which of the two stays; the other is
//! *refused* for good, and so are the starts that follow it. If the known one stays silent, the newcomer takes its place.
//!
//! Two runs of one virtual machine that was copied with its memory have the same incarnation until one of them starts again; they are
//! found by their session counters, and only then can be told apart.

use std::time::Duration;

use postern_protocol::alert::{AlertKey, Severity};
use postern_protocol::id::{GatewayId, RuleId, TenantId};
use postern_protocol::timestamp::Timestamp;
use serde::Serialize;

use crate::app::App;
use crate::feed::Change;
use crate::store::audit::{By, Deed, Outcome, What};
use crate::store::incarnations::{Known, Standing};
use crate::store::own_alerts::OwnAlert;
use crate::store::{StoreError, Stores};

/// Kind of the alert about a copy.
pub const KIND: &str = "gateway-cloned";

/// The rule that it names.
pub const RULE: &str = "control-plane.gateway-cloned";

/// How long the known incarnation has to be silent for the newcomer to take its place: two heartbeats, and something for slow links.
pub const SILENCE: Duration = Duration::from_secs(25);

/// What is heard sooner after the newcomer's greeting may have been under way when the known incarnation ended.
pub const UNDER_WAY: Duration = Duration::from_secs(1);

/// What a greeting says of its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// This start; 0 from a version 1 gateway.
    pub incarnation: u64,
    /// The one that the disk held before; 0 for none.
    pub previous: u64,
    /// Counts its sessions.
    pub session: u64,
}

/// What is known of a gateway's starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// The one that has the gateway's place.
    pub current: Option<Known>,
    /// How the start that arrives stands, if it was seen before.
    pub arriving: Option<Standing>,
    /// How the one before it stands.
    pub previous: Option<Standing>,
    /// Whether a session of the current one is live.
    pub is_live: bool,
}

/// What to do with a greeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It fits: a first start, the known one again, or its successor.
    Fits,
    /// It does not, and waits until the known one is heard or has been silent for [`SILENCE`].
    Doubtful(Doubt),
    /// It was found to be a copy, or follows one; an admin has not decided, or has decided against it.
    KeptOut(Standing),
    /// The gateway's version does not tell.
    Untold,
}

/// Why a greeting does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// The known start, with a session that it counted before: its memory was set back.
    Memory,
    /// It follows a start that is not the known one.
    Disk,
    /// It follows the known one, which is still connected.
    Alive,
}

impl Doubt {
    /// Whether the gateway may have forgotten what it had reported, when the known one stays silent.
    pub const fn is_set_back(self) -> bool {
        match self {
            Self::Disk | Self::Memory => true,
            Self::Alive => false,
        }
    }

    /// Says what it was when the known one stayed silent.
    pub const fn harmless(self) -> &'static str {
        match self {
            Self::Memory => "its memory was set back to an earlier state (a virtual machine's snapshot was resumed)",
            Self::Disk => "its disk was set back to an earlier state (a snapshot or backup was restored)",
            Self::Alive => "it was started again while its old connection still seemed to be there",
        }
    }
}

/// Judges a greeting. Pure.
pub fn judge(arrival: Arrival, chain: Chain) -> Verdict {
    if arrival.incarnation == 0 {
        return Verdict::Untold;
    }
    // Of a start that is known, what it followed says nothing more: an admin may have kept it in place of the one before.
    if let Some(standing @ (Standing::Refused | Standing::Suspect)) = chain.arriving.or(chain.previous) {
        return Verdict::KeptOut(standing);
    }
    let Some(current) = chain.current else { return Verdict::Fits };
    if arrival.incarnation == current.incarnation {
        return if arrival.session > current.session { Verdict::Fits } else { Verdict::Doubtful(Doubt::Memory) };
    }
    if arrival.previous == current.incarnation {
        return if chain.is_live { Verdict::Doubtful(Doubt::Alive) } else { Verdict::Fits };
    }
    Verdict::Doubtful(Doubt::Disk)
}

/// What became of a doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// The known one was heard: both live.
    Cloned,
    /// It stayed silent.
    Harmless,
    /// Not decided yet.
    Open,
}

/// Says what became of a doubt that began `age` ago; `heard` says how long after its beginning the known one was heard. Pure.
pub fn outlook(age: Duration, heard: Option<Duration>) -> Outlook {
    match heard {
        Some(after) if after > UNDER_WAY => Outlook::Cloned,
        _ if age >= SILENCE => Outlook::Harmless,
        _ => Outlook::Open,
    }
}

/// Which of two machines with one identity stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// The one that has the gateway's place.
    Current,
    /// The one that is kept out.
    Other,
}

/// Decides which of two machines stays; returns what changed for readers. The session of one that goes ends within seconds.
///
/// # Errors
/// [`StoreError::NotFound`] without such a gateway, [`StoreError::Conflict`] when it is not quarantined.
pub async fn decide(
    stores: &Stores,
    gateway: (&TenantId, &GatewayId),
    keep: Keep,
    (by, now): (By, Timestamp),
) -> Result<Option<Change>, StoreError> {
    let (tenant, id) = gateway;
    let detail = match keep {
        Keep::Current => "the machine that had the gateway's place stays; the other is refused for good",
        Keep::Other => "the machine that was kept out takes the gateway's place; the one that had it is refused for good",
    };
    let deed =
        Deed { at: now, by, what: What::GatewayCloned, about: format!("gateway {id}"), detail: detail.to_owned(), outcome: Outcome::Done };
    stores.system().decide_quarantine(tenant, id, keep, deed).await?;
    stores.tenant(tenant)?.clear_own(id, alert(id, String::new())?, now).await
}

/// As [`decide`], from the program that readers look at: they learn of it at once.
///
/// # Errors
/// As [`decide`].
pub async fn decide_live(app: &App, (tenant, gateway): (&TenantId, &GatewayId), keep: Keep, by: By) -> Result<(), StoreError> {
    let changed = decide(&app.stores, (tenant, gateway), keep, (by, app.now())).await?;
    changed.into_iter().for_each(|change| app.feed.publish(tenant, change));
    app.feed.publish(tenant, Change::Gateway { id: gateway.clone() });
    Ok(())
}

/// Raises the alert about a copy.
///
/// # Errors
/// [`StoreError`] from the database.
pub(crate) async fn raise(app: &App, tenant: &TenantId, gateway: &GatewayId, summary: String) -> Result<(), StoreError> {
    let change = app.stores.tenant(tenant)?.raise_own(gateway, alert(gateway, summary)?, app.now()).await?;
    if let Some(change) = change {
        app.feed.publish(tenant, change);
    }
    app.feed.publish(tenant, Change::Gateway { id: gateway.clone() });
    Ok(())
}

fn alert(gateway: &GatewayId, summary: String) -> Result<OwnAlert, StoreError> {
    let key = AlertKey { resource: gateway.as_str().to_owned(), kind: KIND.to_owned(), qualifier: String::new() };
    let rule = RuleId::new(RULE).map_err(|_| StoreError::Corrupt("rule"))?;
    Ok(OwnAlert { key, severity: Severity::Critical, summary, rule })
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: u64 = 11;
    const B: u64 = 22;
    const C: u64 = 33;

    fn arrival(incarnation: u64, previous: u64, session: u64) -> Arrival {
        Arrival { incarnation, previous, session }
    }

    fn known(incarnation: u64, session: u64) -> Chain {
        Chain { current: Some(Known { incarnation, session }), ..Chain::default() }
    }

    #[test]
    fn restarts_and_reconnections_fit() {
        assert_eq!(judge(arrival(A, 0, 1), Chain::default()), Verdict::Fits);
        assert_eq!(judge(arrival(A, 0, 2), known(A, 1)), Verdict::Fits);
        assert_eq!(judge(arrival(B, A, 1), known(A, 9)), Verdict::Fits);
        // The session counts over the connection that is still there: an old one that nobody missed.
        assert_eq!(judge(arrival(A, 0, 2), Chain { is_live: true, ..known(A, 1) }), Verdict::Fits);
    }

    #[test]
    fn a_copy_that_starts_beside_the_original_is_doubted() {
        assert_eq!(judge(arrival(B, A, 1), Chain { is_live: true, ..known(A, 9) }), Verdict::Doubtful(Doubt::Alive));
    }

    #[test]
    fn an_older_disk_or_memory_is_doubted() {
        assert_eq!(judge(arrival(C, A, 1), known(B, 1)), Verdict::Doubtful(Doubt::Disk));
        assert_eq!(judge(arrival(A, 0, 5), Chain { arriving: Some(Standing::Superseded), ..known(B, 1) }), Verdict::Doubtful(Doubt::Disk));
        assert_eq!(judge(arrival(B, A, 4), known(B, 4)), Verdict::Doubtful(Doubt::Memory));
    }

    #[test]
    fn what_was_kept_out_stays_out_and_so_does_what_follows_it() {
        for standing in [Standing::Suspect, Standing::Refused] {
            let own = Chain { arriving: Some(standing), ..known(A, 1) };
            assert_eq!(judge(arrival(B, A, 2), own), Verdict::KeptOut(standing));
            let follows = Chain { previous: Some(standing), ..known(A, 1) };
            assert_eq!(judge(arrival(C, B, 1), follows), Verdict::KeptOut(standing));
        }
    }

    #[test]
    fn a_copy_that_an_admin_kept_is_not_held_to_the_refused_start_that_it_followed() {
        let kept = Chain { arriving: Some(Standing::Current), previous: Some(Standing::Refused), ..known(B, 0) };
        assert_eq!(judge(arrival(B, A, 2), kept), Verdict::Fits);
    }

    #[test]
    fn a_gateway_that_tells_no_incarnation_is_not_judged() {
        assert_eq!(judge(arrival(0, 0, 0), known(A, 1)), Verdict::Untold);
    }

    #[test]
    fn a_doubt_ends_with_a_sign_of_life_or_with_silence() {
        let secs = Duration::from_secs;
        assert_eq!(outlook(secs(3), None), Outlook::Open);
        assert_eq!(outlook(secs(3), Some(Duration::from_millis(900))), Outlook::Open);
        assert_eq!(outlook(secs(3), Some(secs(2))), Outlook::Cloned);
        assert_eq!(outlook(secs(24), None), Outlook::Open);
        assert_eq!(outlook(secs(25), Some(Duration::from_millis(900))), Outlook::Harmless);
    }
}
