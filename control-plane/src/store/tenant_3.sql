-- Version 3: gateways over the years. Times are nanoseconds since the Unix epoch.

-- Configuration revisions get two more states and a remark; a CHECK cannot be changed in place.
CREATE TABLE revision_3 (
    gateway    TEXT NOT NULL,
    number     INTEGER NOT NULL,
    document   BLOB NOT NULL,
    signature  BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    remark     TEXT NOT NULL DEFAULT '',      -- where it comes from: a roll-out, an earlier revision, a file
    state      TEXT NOT NULL DEFAULT 'desired'
               CHECK (state IN ('desired', 'applying', 'provisional', 'applied', 'failed', 'reverted')),
    state_at   INTEGER NOT NULL,
    problems   TEXT NOT NULL DEFAULT '[]',    -- JSON array of revision::Problem
    PRIMARY KEY (gateway, number)
) STRICT;
INSERT INTO revision_3 (gateway, number, document, signature, created_at, created_by, state, state_at, problems)
    SELECT gateway, number, document, signature, created_at, created_by, state, state_at, problems FROM revision;
DROP TABLE revision;
ALTER TABLE revision_3 RENAME TO revision;

-- Words by which roll-outs choose gateways.
CREATE TABLE gateway_tag (
    gateway TEXT NOT NULL,
    tag     TEXT NOT NULL,
    PRIMARY KEY (gateway, tag)
) STRICT, WITHOUT ROWID;

-- A change of many gateways' configuration, stage by stage.
CREATE TABLE rollout (
    id         TEXT PRIMARY KEY,
    tag        TEXT NOT NULL,                 -- '' for every gateway
    change     TEXT NOT NULL,                 -- JSON of rollouts::change::Change
    stages     TEXT NOT NULL,                 -- JSON array of rollouts::plan::Stage, as asked for
    offline    TEXT NOT NULL CHECK (offline IN ('wait', 'skip')),
    on_failure TEXT NOT NULL CHECK (on_failure IN ('stop', 'go_on')),
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('running', 'stopped', 'done')),
    state_at   INTEGER NOT NULL,
    reason     TEXT NOT NULL DEFAULT ''       -- why it stopped
) STRICT;
CREATE INDEX rollout_running ON rollout (state) WHERE state = 'running';

-- How far a roll-out got with each gateway.
CREATE TABLE rollout_gateway (
    rollout  TEXT NOT NULL REFERENCES rollout (id),
    gateway  TEXT NOT NULL,
    stage    INTEGER NOT NULL,                -- from 1
    state    TEXT NOT NULL CHECK (state IN ('waiting', 'sent', 'done', 'failed', 'skipped')),
    revision INTEGER,                         -- the one that it got
    reason   TEXT NOT NULL DEFAULT '',
    state_at INTEGER NOT NULL,
    PRIMARY KEY (rollout, gateway)
) STRICT, WITHOUT ROWID;

-- What was done to this tenant, by whom, from where, and what came of it. Hash-chained: see store::audit.
CREATE TABLE audit (
    number INTEGER PRIMARY KEY,
    text   BLOB NOT NULL,                     -- JSON of store::audit::Deed, exactly as hashed
    digest BLOB NOT NULL                      -- SHA-256 of protocol::audit::chain_input
) STRICT;

-- What is measured: one row for each thing, metric, unit and labels.
CREATE TABLE sample_series (
    number   INTEGER PRIMARY KEY,
    gateway  TEXT NOT NULL,
    resource TEXT NOT NULL,
    metric   TEXT NOT NULL,
    unit     TEXT NOT NULL,
    labels   TEXT NOT NULL,                   -- JSON object, names ascending
    UNIQUE (gateway, resource, metric, unit, labels)
) STRICT;

-- Measurements: one for each series and moment, the first that came; a repetition changes nothing. Kept for 30 days.
CREATE TABLE sample (
    series INTEGER NOT NULL,
    at     INTEGER NOT NULL,
    value  REAL NOT NULL,
    PRIMARY KEY (series, at)
) STRICT, WITHOUT ROWID;

-- What a gateway is made of, as it last said.
CREATE TABLE gateway_inventory (
    gateway    TEXT PRIMARY KEY,
    record     TEXT NOT NULL,                 -- JSON of protocol::inventory::Inventory
    at         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What happened to a gateway: sessions set back, databases restored, clones, renewals, findings. The newest 1,000 of each are kept.
CREATE TABLE gateway_event (
    number  INTEGER PRIMARY KEY,
    gateway TEXT NOT NULL,
    at      INTEGER NOT NULL,
    what    TEXT NOT NULL,                    -- store::gateway_events::Happening
    text    TEXT NOT NULL                     -- for a person
) STRICT;
CREATE INDEX gateway_event_by_gateway ON gateway_event (gateway, number);

-- A gateway committed all its open alerts again; once the alerts lane is there, what is open under an older revision is over.
CREATE TABLE gateway_resent (
    gateway        TEXT PRIMARY KEY,
    epoch          BLOB NOT NULL,             -- 8 bytes, big-endian
    sequence       INTEGER NOT NULL,
    since_revision INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- How fast a gateway may send what is not an alert, when an administrator bounds it.
CREATE TABLE gateway_pace (
    gateway          TEXT PRIMARY KEY,
    bytes_per_second INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Gateways' audit logs as they came up. What does not follow on what is stored begins a branch; nothing is ever replaced.
CREATE TABLE gateway_audit (
    gateway     TEXT NOT NULL,
    branch      INTEGER NOT NULL,
    number      INTEGER NOT NULL,
    text        BLOB NOT NULL,                -- exactly as hashed
    digest      BLOB NOT NULL,
    received_at INTEGER NOT NULL,
    PRIMARY KEY (gateway, branch, number)
) STRICT, WITHOUT ROWID;

-- Where and how a gateway's audit log did not fit: one row for each branch but the first.
CREATE TABLE gateway_audit_break (
    gateway TEXT NOT NULL,
    branch  INTEGER NOT NULL,
    number  INTEGER NOT NULL,                 -- of the first entry that does not fit
    kind    TEXT NOT NULL CHECK (kind IN ('altered', 'forked', 'missing')),
    at      INTEGER NOT NULL,
    text    TEXT NOT NULL,
    PRIMARY KEY (gateway, branch)
) STRICT, WITHOUT ROWID;

-- Two gateways that get the same reports. Their alerts are merged into one row; each side's own row stays and is hidden by it.
CREATE TABLE pair (
    id          TEXT PRIMARY KEY,             -- also what the merged alerts' identifiers derive from
    declared_at INTEGER NOT NULL,
    declared_by TEXT NOT NULL
) STRICT;
CREATE TABLE pair_member (
    gateway TEXT PRIMARY KEY,
    pair    TEXT NOT NULL REFERENCES pair (id)
) STRICT, WITHOUT ROWID;
ALTER TABLE alert ADD COLUMN merged_into TEXT; -- of a side's row: the merged one that hides it
ALTER TABLE alert ADD COLUMN decided_by TEXT;  -- of a merged row, whose gateway is the pair: the side that it follows
CREATE INDEX alert_by_merged ON alert (merged_into) WHERE merged_into IS NOT NULL;
