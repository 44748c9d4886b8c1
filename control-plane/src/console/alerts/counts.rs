//! How many alerts are open, by severity: the tiles at the top of the list.

use askama::Template;
use postern_protocol::alert::Severity;

use super::query::{ListQuery, Quiet};
use crate::console::fault::Fault;
use crate::console::{figures, page};
use crate::store::{StoreError, TenantStore, alerts};

/// How many alerts of one severity are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OpenCount {
    severity: Severity,
    open: u64,
    unacknowledged: u64,
}

impl TenantStore {
    /// Counts the open alerts of each severity, gravest first: those that the list shows, neither folded nor quiet.
    pub(super) async fn open_counts(&self) -> Result<Vec<OpenCount>, StoreError> {
        self.read(|db| {
            let mut query = db.prepare_cached(
                "SELECT severity, count(*), count(*) FILTER (WHERE acknowledged_at IS NULL) FROM alert WHERE state = 'open' AND merged_into IS NULL
                 AND suppressed_by = '' AND parent NOT IN (SELECT id FROM folding WHERE is_open) GROUP BY severity",
            )?;
            let mut counts: Vec<_> =
                Severity::ALL.into_iter().map(|severity| OpenCount { severity, open: 0, unacknowledged: 0 }).collect();
            let mut rows = query.query([])?;
            while let Some(row) = rows.next()? {
                let severity = alerts::severity(row, 0)?;
                let Some(count) = counts.iter_mut().find(|count| count.severity == severity) else { continue };
                count.open = u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0);
                count.unacknowledged = u64::try_from(row.get::<_, i64>(2)?).unwrap_or(0);
            }
            counts.reverse();
            Ok(counts)
        })
        .await
    }

    /// Counts the open alerts that maintenance windows keep quiet and nothing folds.
    pub(super) async fn quiet_count(&self) -> Result<u64, StoreError> {
        self.read(|db| {
            let count: i64 = db
                .prepare_cached(
                    "SELECT count(*) FROM alert WHERE state = 'open' AND merged_into IS NULL AND suppressed_by <> ''
                     AND parent NOT IN (SELECT id FROM folding WHERE is_open)",
                )?
                .query_row([], |row| row.get(0))?;
            Ok(u64::try_from(count).unwrap_or(0))
        })
        .await
    }

    /// Whether an open alert names `id` as its parent.
    pub(super) async fn names_as_parent(&self, id: &str) -> Result<bool, StoreError> {
        let id = id.to_owned();
        self.read(move |db| {
            let mut query = db.prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM alert WHERE parent <> '' AND merged_into IS NULL AND state = 'open'
                 AND parent IN (SELECT id FROM alert WHERE id = ?1 OR merged_into = ?1))",
            )?;
            Ok(query.query_row([id], |row| row.get(0))?)
        })
        .await
    }

    /// Whether any alert was ever stored.
    pub(super) async fn has_alerts(&self) -> Result<bool, StoreError> {
        self.read(|db| Ok(db.query_row("SELECT EXISTS (SELECT 1 FROM alert)", [], |row| row.get(0))?)).await
    }
}

struct Tile {
    chosen: bool,
    count: String,
    href: String,
    none: bool,
    severity: Severity,
    unacknowledged: String,
}

#[derive(Template)]
#[template(path = "severity_counts.html")]
struct Tiles {
    quiet: Option<QuietTile>,
    tiles: Vec<Tile>,
}

/// What maintenance windows keep quiet.
struct QuietTile {
    count: String,
    href: String,
    shown: bool,
}

/// Renders the tiles. Each leads to the list with its severity taken in or out.
pub(super) async fn render(store: &TenantStore, query: &ListQuery) -> Result<String, Fault> {
    let (counts, quiet) = (store.open_counts().await?, store.quiet_count().await?);
    let tile = |count: &OpenCount| Tile {
        chosen: query.severities.contains(&count.severity),
        count: figures::count(count.open),
        href: query.toggled(count.severity).page(""),
        none: count.open == 0,
        severity: count.severity,
        unacknowledged: figures::count(count.unacknowledged),
    };
    let shown = query.quiet == Quiet::Shown;
    let href = query.with_quiet(if shown { Quiet::Hidden } else { Quiet::Shown }).page("");
    let quiet = (query.hides() && (quiet > 0 || shown)).then(|| QuietTile { count: figures::count(quiet), href, shown });
    page::part(&Tiles { quiet, tiles: counts.iter().map(tile).collect() })
}
