-- Version 2: the intake. Times are nanoseconds since the Unix epoch unless they are minutes.

-- What became of what one protocol of a gateway received in one minute; a repetition replaces. Kept for 30 days.
CREATE TABLE ledger_minute (
    gateway   TEXT NOT NULL,
    minute    INTEGER NOT NULL,               -- minutes since the Unix epoch
    protocol  TEXT NOT NULL,
    received  INTEGER NOT NULL,
    accepted  INTEGER NOT NULL,
    in_flight INTEGER NOT NULL,               -- at the end of the minute
    dropped   TEXT NOT NULL,                  -- JSON object: reason to count
    PRIMARY KEY (gateway, minute, protocol)
) STRICT, WITHOUT ROWID;

-- The busiest sources of a minute. Kept for 7 days.
CREATE TABLE ledger_source (
    gateway  TEXT NOT NULL,
    minute   INTEGER NOT NULL,
    protocol TEXT NOT NULL,
    source   TEXT NOT NULL,
    received INTEGER NOT NULL,
    accepted INTEGER NOT NULL,
    dropped  TEXT NOT NULL,                   -- JSON object: reason to count
    PRIMARY KEY (gateway, minute, protocol, source)
) STRICT, WITHOUT ROWID;

-- Notification OIDs that nothing names, as the gateways last reported them. Kept for 30 days.
CREATE TABLE unknown_oid (
    gateway    TEXT NOT NULL,
    oid        TEXT NOT NULL,
    count      INTEGER NOT NULL,
    first_seen INTEGER NOT NULL,
    last_seen  INTEGER NOT NULL,
    source     TEXT NOT NULL,
    PRIMARY KEY (gateway, oid)
) STRICT, WITHOUT ROWID;
CREATE INDEX unknown_oid_by_last_seen ON unknown_oid (last_seen);

-- Archives of MIB modules, whole: a later one may need what an earlier one holds.
CREATE TABLE mib_upload (
    number      INTEGER PRIMARY KEY,
    name        TEXT NOT NULL,
    sha256      BLOB NOT NULL UNIQUE,
    bytes       INTEGER NOT NULL,
    archive     BLOB NOT NULL,
    uploaded_at INTEGER NOT NULL,
    uploaded_by TEXT NOT NULL
) STRICT;

-- What all archives compile to: the table that the tenant's gateways get, and what became of each module.
CREATE TABLE dictionary (
    only_row   INTEGER PRIMARY KEY CHECK (only_row = 1),
    digest     BLOB NOT NULL,                 -- SHA-256 of the table
    oid_table  BLOB NOT NULL,
    report     TEXT NOT NULL,                 -- JSON of mib::Report
    made_at    INTEGER NOT NULL,
    made_by    TEXT NOT NULL
) STRICT;

-- The RSA keys to which secrets for a gateway are sealed, as its greetings said; the newest counts, some older ones are kept to tell
-- of a change.
CREATE TABLE gateway_sealing_key (
    number  INTEGER PRIMARY KEY,
    gateway TEXT NOT NULL,
    spki    BLOB NOT NULL,                    -- SubjectPublicKeyInfo, DER
    sha256  BLOB NOT NULL,
    seen_at INTEGER NOT NULL
) STRICT;
CREATE INDEX gateway_sealing_key_by_gateway ON gateway_sealing_key (gateway, number);

-- Secrets of a gateway's devices, sealed: nothing here can open them. A deleted one keeps its row, so that no version comes twice.
CREATE TABLE secret (
    gateway    TEXT NOT NULL,
    name       TEXT NOT NULL,
    version    INTEGER NOT NULL,
    sealed     BLOB,                          -- NULL: deleted
    sealed_to  BLOB NOT NULL,                 -- SHA-256 of the key
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    PRIMARY KEY (gateway, name)
) STRICT, WITHOUT ROWID;

-- Grows with every change of a gateway's secrets.
CREATE TABLE secret_serial (
    gateway TEXT PRIMARY KEY,
    serial  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
