//! Pairs: two gateways that get the same reports, and whose alerts are one row for everybody who looks.
//!
//! Each side keeps its own row, under the identifier that it always had: what gateways are told, healed by and asked for goes by
//! it. While the pair lasts that row is hidden (`merged_into`) by a merged one, whose identifier derives from the pair's and
//! which [`refresh`] writes anew after every change of a side, by [`merge`]. Acknowledgements and notes are the merged row's; a
//! close closes every side. What a gateway says of itself is never merged.

pub mod merge;
mod row;
#[cfg(test)]
mod tests;

use postern_protocol::alert::AlertKey;
use postern_protocol::id::{AlertId, GatewayId};
use postern_protocol::timestamp::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use serde::Serialize;

use super::audit::{self, By, Deed, Outcome, What};
use super::{StoreError, TenantStore};
use crate::feed::Change;
use crate::random;

pub(super) use row::{Actor, close_sides, refresh};

/// Rules whose alerts are about one gateway and are never merged: the gateway's own, and the control plane's.
pub(super) const ABOUT_ITSELF: &str = "(rule = 'postern' OR rule LIKE 'control-plane.%')";

/// Tells whether an alert of this rule may be merged.
pub(super) fn is_mergeable(rule: &str) -> bool {
    rule != postern_protocol::id::RuleId::own().as_str() && !rule.starts_with("control-plane.")
}

/// A pair, as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PairView {
    /// Identifier.
    pub id: String,
    /// Its two gateways.
    pub gateways: Vec<GatewayId>,
    /// When it was declared.
    #[serde(serialize_with = "crate::rfc3339::serialize")]
    pub declared_at: Timestamp,
    /// Who declared it.
    pub declared_by: String,
}

/// A wish to declare two gateways a pair, or to dissolve one.
#[derive(Clone, Debug)]
pub struct PairRequest {
    /// The gateways.
    pub gateways: [GatewayId; 2],
    /// Who wants it.
    pub by: By,
    /// When.
    pub at: Timestamp,
}

impl TenantStore {
    /// Lists the pairs by their first gateway.
    ///
    /// # Errors
    /// [`StoreError`] from the database.
    pub async fn pairs(&self) -> Result<Vec<PairView>, StoreError> {
        self.read(list).await
    }

    /// Declares a pair: from now on both gateways' alerts are merged, those that there are at once.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when a gateway is in a pair already, or both are the same.
    pub async fn declare_pair(&self, request: PairRequest) -> Result<(PairView, Vec<Change>), StoreError> {
        self.write(move |tx| declare(tx, &request)).await
    }

    /// Dissolves a pair: each gateway's alerts are its own again, under the identifiers that they had before.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is no such pair.
    pub async fn dissolve_pair(&self, id: &str, by: By, at: Timestamp) -> Result<Vec<Change>, StoreError> {
        let id = id.to_owned();
        self.write(move |tx| dissolve(tx, &id, by, at)).await
    }
}

/// Returns the pair that `gateway` is in.
pub(super) fn of_gateway(db: &Connection, gateway: &GatewayId) -> Result<Option<GatewayId>, StoreError> {
    let pair = db
        .prepare_cached("SELECT pair FROM pair_member WHERE gateway = ?1")?
        .query_row([gateway.as_str()], |row| row.get::<_, String>(0))
        .optional()?;
    pair.map(|pair| GatewayId::new(pair).map_err(|_| StoreError::Corrupt("pair"))).transpose()
}

/// Returns the gateways of a pair, ascending.
fn members(db: &Connection, pair: &str) -> Result<Vec<GatewayId>, StoreError> {
    let mut query = db.prepare_cached("SELECT gateway FROM pair_member WHERE pair = ?1 ORDER BY gateway")?;
    let mut rows = query.query([pair])?;
    let mut members = Vec::new();
    while let Some(row) = rows.next()? {
        members.push(GatewayId::new(row.get::<_, String>(0)?).map_err(|_| StoreError::Corrupt("pair"))?);
    }
    Ok(members)
}

fn list(db: &Connection) -> Result<Vec<PairView>, StoreError> {
    let mut query = db.prepare_cached("SELECT id, declared_at, declared_by FROM pair ORDER BY declared_at, id")?;
    let mut rows = query.query([])?;
    let mut pairs = Vec::new();
    while let Some(row) = rows.next()? {
        let id: String = row.get(0)?;
        let gateways = members(db, &id)?;
        pairs.push(PairView { id, gateways, declared_at: Timestamp::from_nanos(row.get(1)?), declared_by: row.get(2)? });
    }
    Ok(pairs)
}

fn declare(tx: &Transaction<'_>, request: &PairRequest) -> Result<(PairView, Vec<Change>), StoreError> {
    let [first, second] = &request.gateways;
    if first == second {
        return Err(StoreError::Conflict("a pair is two different gateways".to_owned()));
    }
    for gateway in &request.gateways {
        if of_gateway(tx, gateway)?.is_some() {
            return Err(StoreError::Conflict(format!("gateway {gateway} is in a pair already; dissolve that first")));
        }
    }
    let pair = GatewayId::new(format!("pair-{}", random::hex::<5>()?)).map_err(|_| StoreError::Corrupt("pair"))?;
    let who = request.by.to_string();
    tx.execute("INSERT INTO pair (id, declared_at, declared_by) VALUES (?1, ?2, ?3)", params![pair.as_str(), request.at.as_nanos(), who])?;
    for gateway in &request.gateways {
        tx.execute("INSERT INTO pair_member (gateway, pair) VALUES (?1, ?2)", params![gateway.as_str(), pair.as_str()])?;
    }
    let mut changes = Vec::new();
    for key in keys(tx, &request.gateways)? {
        let sides = request.gateways.each_ref().map(|gateway| AlertId::derive(gateway, &key));
        let merged = AlertId::derive(&pair, &key);
        adopt_history(tx, &merged, &sides)?;
        let actor = Actor { name: &who, at: request.at };
        changes.extend(refresh(tx, &pair, &key, actor)?.map(|refreshed| refreshed.change));
        adopt_acknowledgement(tx, &merged, &sides)?;
        write_down(tx, merged.as_str(), actor, ("paired", &format!("{first} and {second} report together")))?;
    }
    let detail = format!("{} alerts merged", changes.len());
    audit::note(tx, deed(What::PairDeclared, request, detail))?;
    let gateways = members(tx, pair.as_str())?;
    Ok((PairView { id: pair.into(), gateways, declared_at: request.at, declared_by: who }, changes))
}

fn dissolve(tx: &Transaction<'_>, id: &str, by: By, at: Timestamp) -> Result<Vec<Change>, StoreError> {
    let members = members(tx, id)?;
    let [first, second] = members.as_slice() else { return Err(StoreError::NotFound) };
    let who = by.to_string();
    let declared_at: i64 = tx.query_row("SELECT declared_at FROM pair WHERE id = ?1", [id], |row| row.get(0))?;
    let mut query = tx.prepare("SELECT id, merged_into FROM alert WHERE gateway IN (?1, ?2) AND merged_into IS NOT NULL ORDER BY id")?;
    let sides: Vec<(String, String)> =
        query.query_map([first.as_str(), second.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    let mut changes = Vec::new();
    for (side, merged) in &sides {
        // What people did meanwhile belongs to both sides.
        tx.prepare_cached(
            "INSERT INTO alert_history (alert, at, actor, what, text) SELECT ?1, at, actor, what, text FROM alert_history AS merged
             WHERE alert = ?2 AND at >= ?3 AND actor NOT LIKE 'gateway:%' AND what <> 'paired' AND NOT EXISTS
             (SELECT 1 FROM alert_history AS own WHERE own.alert = ?1
              AND (own.at, own.actor, own.what, own.text) = (merged.at, merged.actor, merged.what, merged.text)) ORDER BY number",
        )?
        .execute(params![side, merged, declared_at])?;
        let revision = super::next_change(tx)?;
        tx.prepare_cached(
            "UPDATE alert SET merged_into = NULL, revision = ?3,
             acknowledged_by = (SELECT acknowledged_by FROM alert WHERE id = ?2),
             acknowledged_at = (SELECT acknowledged_at FROM alert WHERE id = ?2) WHERE id = ?1",
        )?
        .execute(params![side, merged, revision])?;
        write_down(tx, side, Actor { name: &who, at }, ("unpaired", &format!("{first} and {second} report apart")))?;
        changes.push(Change::Alert { id: side.clone(), revision });
    }
    for sql in [
        "DELETE FROM alert_history WHERE alert IN (SELECT id FROM alert WHERE gateway = ?1)",
        "DELETE FROM occurrence WHERE alert IN (SELECT id FROM alert WHERE gateway = ?1)",
        "DELETE FROM alert WHERE gateway = ?1",
        "DELETE FROM pair_member WHERE pair = ?1",
        "DELETE FROM pair WHERE id = ?1",
    ] {
        tx.execute(sql, [id])?;
    }
    let request = PairRequest { gateways: [first.clone(), second.clone()], by, at };
    audit::note(tx, deed(What::PairDissolved, &request, format!("{} alerts apart", changes.len())))?;
    Ok(changes)
}

fn deed(what: What, request: &PairRequest, detail: String) -> Deed {
    let [first, second] = &request.gateways;
    Deed { at: request.at, by: request.by.clone(), what, about: format!("gateways {first} and {second}"), detail, outcome: Outcome::Done }
}

/// Returns the keys of everything that either gateway has and that may be merged.
fn keys(tx: &Transaction<'_>, gateways: &[GatewayId; 2]) -> Result<Vec<AlertKey>, StoreError> {
    let [first, second] = gateways;
    let sql = format!("SELECT DISTINCT resource, kind, qualifier FROM alert WHERE gateway IN (?1, ?2) AND NOT {ABOUT_ITSELF}");
    let mut query = tx.prepare(&sql)?;
    let keys = query.query_map([first.as_str(), second.as_str()], |row| {
        Ok(AlertKey { resource: row.get(0)?, kind: row.get(1)?, qualifier: row.get(2)? })
    })?;
    Ok(keys.collect::<Result<_, _>>()?)
}

/// Gives a merged alert the histories and earlier occurrences of its sides; what both have, once.
fn adopt_history(tx: &Transaction<'_>, merged: &AlertId, sides: &[AlertId; 2]) -> Result<(), StoreError> {
    let [first, second] = sides;
    let values = params![merged.as_str(), first.as_str(), second.as_str()];
    tx.prepare_cached(
        "INSERT INTO alert_history (alert, at, actor, what, text)
         SELECT DISTINCT ?1, at, actor, what, text FROM alert_history WHERE alert IN (?2, ?3) ORDER BY at, number",
    )?
    .execute(values)?;
    tx.prepare_cached(
        "INSERT OR IGNORE INTO occurrence SELECT ?1, occurrence, state, severity, summary, count, first_seen, last_seen, cleared_at,
         closed_at, acknowledged_by, acknowledged_at FROM occurrence WHERE alert IN (?2, ?3)",
    )?
    .execute(values)?;
    Ok(())
}

/// Takes over the first acknowledgement of a side that is in the same state as the merged row.
fn adopt_acknowledgement(tx: &Transaction<'_>, merged: &AlertId, sides: &[AlertId; 2]) -> Result<(), StoreError> {
    let [first, second] = sides;
    let found: Option<(String, i64)> = tx
        .prepare_cached(
            "SELECT acknowledged_by, acknowledged_at FROM alert WHERE id IN (?2, ?3) AND acknowledged_at IS NOT NULL
             AND state = (SELECT state FROM alert WHERE id = ?1) ORDER BY acknowledged_at LIMIT 1",
        )?
        .query_row([merged.as_str(), first.as_str(), second.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    if let Some((by, at)) = found {
        tx.prepare_cached("UPDATE alert SET acknowledged_by = ?2, acknowledged_at = ?3 WHERE id = ?1")?.execute(params![
            merged.as_str(),
            by,
            at
        ])?;
    }
    Ok(())
}

fn write_down(tx: &Transaction<'_>, alert: &str, actor: Actor<'_>, (what, text): (&str, &str)) -> Result<(), StoreError> {
    tx.prepare_cached("INSERT INTO alert_history (alert, at, actor, what, text) VALUES (?1, ?2, ?3, ?4, ?5)")?.execute(params![
        alert,
        actor.at.as_nanos(),
        actor.name,
        what,
        text
    ])?;
    Ok(())
}
