-- The first tables. Times are Unix milliseconds; ids are the 16 bytes of their UUID; digests are 32 bytes.

CREATE TABLE head (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    revision INTEGER NOT NULL,
    chain    BLOB    NOT NULL
) STRICT;

INSERT INTO head (id, revision, chain) VALUES (1, 0, zeroblob(32));

-- The audit chain and the invalidation log in one. Never updated, never deleted from.
CREATE TABLE log (
    revision    INTEGER PRIMARY KEY,
    at          INTEGER NOT NULL,
    tenant      TEXT    NOT NULL,
    actor_type  TEXT    NOT NULL,
    actor_id    TEXT    NOT NULL,
    action      TEXT    NOT NULL,
    target_type TEXT    NOT NULL,
    target_id   TEXT    NOT NULL,
    subject     TEXT,
    reason      TEXT,
    address     TEXT,
    request_id  TEXT    NOT NULL,
    before      TEXT,
    after       TEXT,
    chain       BLOB    NOT NULL
) STRICT;

CREATE TABLE tenants (
    slug         TEXT    PRIMARY KEY,
    name         TEXT    NOT NULL,
    is_suspended INTEGER NOT NULL,
    policy       TEXT    NOT NULL,
    created_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE root_keys (
    id          BLOB    PRIMARY KEY,
    name        TEXT    NOT NULL,
    tenant      TEXT    REFERENCES tenants (slug),
    permissions TEXT    NOT NULL,
    digest      BLOB    NOT NULL UNIQUE,
    last_four   TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    revoked_at  INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE keys (
    id             BLOB    PRIMARY KEY,
    tenant         TEXT    NOT NULL REFERENCES tenants (slug),
    subject        TEXT    NOT NULL,
    name           TEXT    NOT NULL,
    description    TEXT,
    claims         TEXT,
    scopes         TEXT    NOT NULL,
    created_by     TEXT,
    digest         BLOB    NOT NULL,
    prefix         TEXT    NOT NULL,
    last_four      TEXT    NOT NULL,
    retiring       BLOB,
    retiring_until INTEGER,
    state          TEXT    NOT NULL CHECK (state IN ('active', 'disabled', 'revoked')),
    hold_cause     TEXT,
    hold_lock      TEXT,
    finalize_at    INTEGER,
    state_since    INTEGER,
    state_by       TEXT,
    reason_code    TEXT,
    note           TEXT,
    created_at     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL,
    rotated_at     INTEGER,
    expires_at     INTEGER,
    last_used_at   INTEGER
) STRICT, WITHOUT ROWID;

-- Newest first is the order of ids, descending.
CREATE INDEX keys_of_tenant ON keys (tenant, id);
CREATE INDEX keys_of_subject ON keys (tenant, subject, id);

-- Every secret there ever was. A row outlives its key, so that a value is never valid or issued again.
CREATE TABLE credentials (
    digest       BLOB    PRIMARY KEY,
    key_id       BLOB    NOT NULL,
    tenant       TEXT    NOT NULL,
    standing     TEXT    NOT NULL CHECK (standing IN ('live', 'retiring', 'retired', 'erased')),
    until        INTEGER,
    last_used_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX credentials_of_key ON credentials (key_id);

CREATE TABLE idempotency (
    actor       TEXT    NOT NULL,
    mark        TEXT    NOT NULL,
    fingerprint BLOB    NOT NULL,
    targets     BLOB    NOT NULL,
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (actor, mark)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_by_age ON idempotency (created_at);
