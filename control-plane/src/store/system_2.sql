-- Version 2: identities over the years. Times are nanoseconds since the Unix epoch.


-- What was done to accounts, tenants and trust, by whom, from where, and what came of it. Hash-chained: see store::audit.
CREATE TABLE audit (
    number INTEGER PRIMARY KEY,
    text   BLOB NOT NULL,                     -- JSON of store::audit::Deed, exactly as hashed
    digest BLOB NOT NULL                      -- SHA-256 of protocol::audit::chain_input
) STRICT;

-- Client certificates of gateways: one for each key, for every certificate is for a fresh one. The newest that was used is the
-- gateway's; an older one of a disk that was set back is still good until its own end.
CREATE TABLE gateway_certificate (
    gateway       TEXT NOT NULL,
    spki          BLOB NOT NULL,              -- SHA-256 of its SubjectPublicKeyInfo
    serial        TEXT NOT NULL,              -- hexadecimal
    issuer        BLOB NOT NULL,              -- SHA-256 of the authority's SubjectPublicKeyInfo
    not_before    INTEGER NOT NULL,
    not_after     INTEGER NOT NULL,
    issued_at     INTEGER NOT NULL,
    first_used_at INTEGER,
    PRIMARY KEY (gateway, spki)
) STRICT, WITHOUT ROWID;

-- Until when a gateway whose certificate ended too long ago may renew it all the same: an admin allowed it.
ALTER TABLE gateway ADD COLUMN renew_until INTEGER;

-- Which trust bundle a gateway confirmed, and which one it refused.
CREATE TABLE gateway_trust (
    gateway        TEXT PRIMARY KEY,
    confirmed      INTEGER NOT NULL,          -- serial
    at             INTEGER NOT NULL,
    refused_serial INTEGER,
    refused        TEXT                       -- why
) STRICT, WITHOUT ROWID;

-- Starts of gateways, as their greetings said: who follows whom tells a restart from a disk that was set back and from a clone.
CREATE TABLE gateway_incarnation (
    gateway     TEXT NOT NULL,
    incarnation BLOB NOT NULL,                -- 8 bytes, big-endian
    previous    BLOB NOT NULL,
    state       TEXT NOT NULL CHECK (state IN ('current', 'superseded', 'suspect', 'refused')),
    session     INTEGER NOT NULL,             -- the greatest that it counted
    first_seen  INTEGER NOT NULL,
    last_seen   INTEGER NOT NULL,
    peer        TEXT NOT NULL,                -- address of its last connection
    version     TEXT NOT NULL,
    PRIMARY KEY (gateway, incarnation)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX gateway_incarnation_current ON gateway_incarnation (gateway) WHERE state = 'current';

-- Gateways whose identity two machines use; a row until an admin decides.
CREATE TABLE gateway_quarantine (
    gateway TEXT PRIMARY KEY,
    since   INTEGER NOT NULL,
    suspect BLOB NOT NULL,                    -- the incarnation that is kept out
    proof   TEXT NOT NULL                     -- what proved it, for a person
) STRICT, WITHOUT ROWID;
