-- Version 3: what the audits owe. Times are nanoseconds since the Unix epoch.

-- Audit entries on their way from here into a tenant's audit; see store/audit_outbox.rs.
CREATE TABLE audit_outbox (
    number INTEGER PRIMARY KEY,
    id     BLOB NOT NULL UNIQUE,              -- 16 random bytes
    tenant TEXT NOT NULL,
    deed   BLOB NOT NULL                      -- JSON
) STRICT;

-- Sign-ins under names that nobody has, until their minute is over and they are in the audit; see store/unknown_sign_ins.rs.
CREATE TABLE unknown_sign_in_count (
    minute   INTEGER NOT NULL,                -- since the Unix epoch
    source   TEXT NOT NULL,                   -- address, or '' for all others
    attempts INTEGER NOT NULL,
    PRIMARY KEY (minute, source)
) STRICT, WITHOUT ROWID;
