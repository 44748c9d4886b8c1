-- Version 4: alerts among others, and what rules do. Times are nanoseconds since the Unix epoch.

-- Alerts whose newest state came ahead of its lane's order: what the lane itself said last of each. Its history is so far.
CREATE TABLE alert_overtaken (
    alert            TEXT PRIMARY KEY,
    occurrence       INTEGER NOT NULL,        -- 0: nothing yet
    gateway_revision INTEGER NOT NULL,
    state            TEXT NOT NULL,
    severity         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The newest head of the alerts lane that a gateway told with what came ahead: one that is behind it in that epoch was set back.
CREATE TABLE lane_head (
    gateway  TEXT PRIMARY KEY,
    epoch    BLOB NOT NULL,                   -- 8 bytes, big-endian
    sequence INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- How an alert stands among others, and why: what a record's course says.
ALTER TABLE alert ADD COLUMN parent TEXT NOT NULL DEFAULT '';          -- identifier of the alert that folds it; '' for none
ALTER TABLE alert ADD COLUMN parent_key TEXT NOT NULL DEFAULT '';      -- JSON array of that alert's resource, kind and qualifier
ALTER TABLE alert ADD COLUMN suppressed_by TEXT NOT NULL DEFAULT '';   -- the maintenance window that keeps it quiet; '' for none
ALTER TABLE alert ADD COLUMN suppressed_until INTEGER NOT NULL DEFAULT 0;
ALTER TABLE alert ADD COLUMN flapping INTEGER NOT NULL DEFAULT 0;
ALTER TABLE alert ADD COLUMN decisions TEXT NOT NULL DEFAULT '[]';     -- JSON array of protocol::alert::Decision
CREATE INDEX alert_by_parent ON alert (parent, state, first_seen DESC, id) WHERE parent <> '' AND merged_into IS NULL;
DROP INDEX alert_by_state;
CREATE INDEX alert_by_state ON alert (state, first_seen DESC, id, merged_into, parent, suppressed_by);
DROP INDEX alert_open_counts;
CREATE INDEX alert_open_counts ON alert (severity, acknowledged_at, merged_into, parent, suppressed_by) WHERE state = 'open';

-- The identifiers that rows name as their parent, as far as there are such alerts, and whether what a person sees there is open.
-- Finds them by jumping from one to the next in alert_by_parent: ten thousand children of one alert cost one step.
CREATE VIEW folding (id, is_open) AS
    WITH RECURSIVE named (parent) AS (
        SELECT min(parent) FROM alert WHERE parent <> '' AND merged_into IS NULL
        UNION ALL
        SELECT (SELECT min(next.parent) FROM alert AS next
                WHERE next.parent > named.parent AND next.parent <> '' AND next.merged_into IS NULL)
        FROM named WHERE named.parent IS NOT NULL
    )
    SELECT alert.id, coalesce(merged.state, alert.state) = 'open'
    FROM named CROSS JOIN alert ON alert.id = named.parent LEFT JOIN alert AS merged ON merged.id = alert.merged_into;

-- Documents that gateways were asked to try on their recent events, and what they answered. The newest of a day.
CREATE TABLE replay (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    gateway     TEXT NOT NULL,
    document    BLOB NOT NULL,                -- empty once it was answered
    since       INTEGER NOT NULL,             -- from when on
    asked_at    INTEGER NOT NULL,
    asked_by    TEXT NOT NULL,
    answered_at INTEGER,
    result      TEXT                          -- JSON of protocol::replay::Replayed
) STRICT;
CREATE INDEX replay_by_gateway ON replay (gateway, number);

-- The counters of a gateway's rules, as it last said; those of another revision begin anew.
CREATE TABLE rule_report (
    gateway  TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    since    INTEGER NOT NULL,
    at       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE rule_figures (
    gateway TEXT NOT NULL,
    rule    TEXT NOT NULL,
    figures TEXT NOT NULL,                    -- JSON of protocol::replay::RuleFigures
    PRIMARY KEY (gateway, rule)
) STRICT, WITHOUT ROWID;

-- Audit entries that came from the system database and may come again: until they are gone there.
CREATE TABLE audit_taken (
    id BLOB PRIMARY KEY
) STRICT, WITHOUT ROWID;
