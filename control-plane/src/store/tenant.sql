-- One tenant's own database. Times are nanoseconds since the Unix epoch.
CREATE TABLE alert (
    id               TEXT PRIMARY KEY,        -- AlertId::derive(gateway, key)
    gateway          TEXT NOT NULL,
    resource         TEXT NOT NULL,
    kind             TEXT NOT NULL,
    qualifier        TEXT NOT NULL,
    occurrence       INTEGER NOT NULL,
    gateway_revision INTEGER NOT NULL,        -- the gateway's: a record is applied only if newer
    revision         INTEGER NOT NULL,        -- ours: from change_number, grows with every change; the ETag and the event id
    state            TEXT NOT NULL CHECK (state IN ('open', 'cleared', 'closed')),
    severity         INTEGER NOT NULL,        -- 1 indeterminate to 5 critical
    summary          TEXT NOT NULL,
    count            INTEGER NOT NULL,
    first_seen       INTEGER NOT NULL,
    last_seen        INTEGER NOT NULL,
    cleared_at       INTEGER,
    closed_at        INTEGER,
    closed_by        TEXT,
    close_count_seen INTEGER,                 -- set while the gateway has not yet confirmed the close
    labels           TEXT NOT NULL,           -- JSON object
    rule             TEXT NOT NULL,
    rule_version     INTEGER NOT NULL,
    evidence         TEXT NOT NULL,           -- JSON of protocol::alert::Evidence
    acknowledged_by  TEXT,
    acknowledged_at  INTEGER
) STRICT;
CREATE INDEX alert_by_first_seen ON alert (first_seen DESC, id);
CREATE INDEX alert_by_state ON alert (state, first_seen DESC, id);
CREATE INDEX alert_open_counts ON alert (severity, acknowledged_at) WHERE state = 'open';
CREATE INDEX alert_by_revision ON alert (revision);
CREATE INDEX alert_close_pending ON alert (gateway) WHERE close_count_seen IS NOT NULL;

-- Earlier occurrences of an alert: as they were when the next one began.
CREATE TABLE occurrence (
    alert           TEXT NOT NULL,
    occurrence      INTEGER NOT NULL,
    state           TEXT NOT NULL,
    severity        INTEGER NOT NULL,
    summary         TEXT NOT NULL,
    count           INTEGER NOT NULL,
    first_seen      INTEGER NOT NULL,
    last_seen       INTEGER NOT NULL,
    cleared_at      INTEGER,
    closed_at       INTEGER,
    acknowledged_by TEXT,
    acknowledged_at INTEGER,
    PRIMARY KEY (alert, occurrence)
) STRICT, WITHOUT ROWID;

-- What happened to an alert, oldest first: raised, severity changed, cleared, re-raised, acknowledged, closed, noted.
CREATE TABLE alert_history (
    number INTEGER PRIMARY KEY,
    alert  TEXT NOT NULL,
    at     INTEGER NOT NULL,
    actor  TEXT NOT NULL,                     -- a user, an API client, or 'gateway:ID'
    what   TEXT NOT NULL,                     -- raised | severity | cleared | acknowledged | unacknowledged | closed | note
    text   TEXT NOT NULL                      -- the note, or old and new value
) STRICT;
CREATE INDEX alert_history_by_alert ON alert_history (alert, number);

CREATE TABLE lane_cursor (
    gateway  TEXT NOT NULL,
    lane     INTEGER NOT NULL,
    epoch    BLOB NOT NULL,                   -- 8 bytes, big-endian
    sequence INTEGER NOT NULL,
    seen_at  INTEGER NOT NULL,
    PRIMARY KEY (gateway, lane, epoch)
) STRICT, WITHOUT ROWID;

-- Records that never came: a gateway gave them up, or this file was restored from an older state.
CREATE TABLE lane_gap (
    number         INTEGER PRIMARY KEY,
    gateway        TEXT NOT NULL,
    lane           INTEGER NOT NULL,
    epoch          BLOB NOT NULL,
    after_sequence INTEGER NOT NULL,
    records        INTEGER NOT NULL,
    at             INTEGER NOT NULL,
    resent         INTEGER NOT NULL DEFAULT 0 -- whether the gateway was asked for all its open alerts since
) STRICT;

-- Configuration revisions. Numbers are never reused: the newest is the desired one.
CREATE TABLE revision (
    gateway    TEXT NOT NULL,
    number     INTEGER NOT NULL,
    document   BLOB NOT NULL,
    signature  BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    state      TEXT NOT NULL DEFAULT 'desired' CHECK (state IN ('desired', 'applying', 'applied', 'failed')),
    state_at   INTEGER NOT NULL,
    problems   TEXT NOT NULL DEFAULT '[]',    -- JSON array of revision::Problem
    PRIMARY KEY (gateway, number)
) STRICT;

-- What a gateway last said of itself, and whether it is there.
CREATE TABLE gateway_state (
    gateway            TEXT PRIMARY KEY,
    connected          INTEGER NOT NULL DEFAULT 0,
    last_seen          INTEGER,
    program_version    TEXT,
    effective_revision INTEGER,
    status             TEXT,                  -- JSON of protocol::status::Status
    status_at          INTEGER
) STRICT;

-- Answers to POSTs that carried an Idempotency-Key, kept for a day.
CREATE TABLE idempotency (
    principal  TEXT NOT NULL,
    key        TEXT NOT NULL,
    request    BLOB NOT NULL,                 -- SHA-256 of method, path and body
    status     INTEGER NOT NULL,
    body       BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (principal, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE change_number (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    number   INTEGER NOT NULL
) STRICT;
INSERT INTO change_number VALUES (1, 0);
