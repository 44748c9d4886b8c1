-- The system database: who exists and who may. Holds no alert, no measurement and no configuration of a tenant.
CREATE TABLE tenant (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    created_at INTEGER NOT NULL              -- nanoseconds since the Unix epoch, like every *_at
) STRICT;

CREATE TABLE gateway (
    id              TEXT PRIMARY KEY,
    tenant          TEXT NOT NULL REFERENCES tenant (id),
    name            TEXT NOT NULL,
    enrolled_at     INTEGER NOT NULL,
    revoked_at      INTEGER,
    client_spki     BLOB NOT NULL             -- SHA-256 of the client certificate's SPKI: the certificate must still fit
) STRICT;
CREATE INDEX gateway_by_tenant ON gateway (tenant);

CREATE TABLE enrolment_token (
    secret_sha256 BLOB PRIMARY KEY,
    id            TEXT NOT NULL UNIQUE,       -- short name for lists and revocation
    tenant        TEXT NOT NULL REFERENCES tenant (id),
    gateway_name  TEXT NOT NULL,
    created_at    INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL,
    used_at       INTEGER,
    used_by       TEXT,                       -- the gateway that it made
    revoked_at    INTEGER
) STRICT;

CREATE TABLE user (
    name                 TEXT PRIMARY KEY,
    tenant               TEXT NOT NULL REFERENCES tenant (id),
    role                 TEXT NOT NULL CHECK (role IN ('admin', 'operator', 'viewer')),
    password_hash        TEXT NOT NULL,       -- argon2id, PHC string
    must_change_password INTEGER NOT NULL,
    failed_sign_ins      INTEGER NOT NULL DEFAULT 0,
    locked_until         INTEGER,
    created_at           INTEGER NOT NULL
) STRICT;

-- Failed sign-ins under names that no user has: they lock like users do, so that a lock does not tell which names exist.
CREATE TABLE unknown_sign_in (
    name_sha256     BLOB PRIMARY KEY,
    failed_sign_ins INTEGER NOT NULL,
    locked_until    INTEGER,
    last_at         INTEGER NOT NULL          -- forgotten a day later
) STRICT;
CREATE INDEX unknown_sign_in_by_time ON unknown_sign_in (last_at);

CREATE TABLE session (
    token_sha256 BLOB PRIMARY KEY,
    user         TEXT NOT NULL REFERENCES user (name) ON DELETE CASCADE,
    csrf         TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    last_used_at INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL
) STRICT;
CREATE INDEX session_by_user ON session (user);

CREATE TABLE api_client (
    id            TEXT PRIMARY KEY,
    tenant        TEXT NOT NULL REFERENCES tenant (id),
    role          TEXT NOT NULL CHECK (role IN ('admin', 'operator', 'viewer')),
    secret_sha256 BLOB NOT NULL,              -- 256 random bits: a fast hash is enough
    created_at    INTEGER NOT NULL,
    revoked_at    INTEGER
) STRICT;

CREATE TABLE access_token (
    token_sha256 BLOB PRIMARY KEY,
    client       TEXT NOT NULL REFERENCES api_client (id) ON DELETE CASCADE,
    expires_at   INTEGER NOT NULL
) STRICT;
