-- Version 3: gateways over the years. Times are nanoseconds since the Unix epoch.


-- What was done to this tenant, by whom, from where, and what came of it. Hash-chained: see store::audit.
CREATE TABLE audit (
    number INTEGER PRIMARY KEY,
    text   BLOB NOT NULL,                     -- JSON of store::audit::Deed, exactly as hashed
    digest BLOB NOT NULL                      -- SHA-256 of protocol::audit::chain_input
) STRICT;
