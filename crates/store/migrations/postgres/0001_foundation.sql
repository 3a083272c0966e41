-- Twin of sqlite/0001. Times are Unix milliseconds; ids are the 16 bytes of their UUID; digests are 32 bytes.

CREATE TABLE head (
    id       BIGINT PRIMARY KEY CHECK (id = 1),
    revision BIGINT NOT NULL,
    chain    BYTEA  NOT NULL
);

INSERT INTO head (id, revision, chain) VALUES (1, 0, decode(repeat('00', 32), 'hex'));

-- The audit chain and the invalidation log in one. Never updated, never deleted from.
CREATE TABLE log (
    revision    BIGINT PRIMARY KEY,
    at          BIGINT NOT NULL,
    tenant      TEXT   NOT NULL,
    actor_type  TEXT   NOT NULL,
    actor_id    TEXT   NOT NULL,
    action      TEXT   NOT NULL,
    target_type TEXT   NOT NULL,
    target_id   TEXT   NOT NULL,
    subject     TEXT,
    reason      TEXT,
    address     TEXT,
    request_id  TEXT   NOT NULL,
    before      TEXT,
    after       TEXT,
    chain       BYTEA  NOT NULL
);

CREATE TABLE tenants (
    slug         TEXT    PRIMARY KEY,
    name         TEXT    NOT NULL,
    is_suspended BOOLEAN NOT NULL,
    policy       TEXT    NOT NULL,
    created_at   BIGINT  NOT NULL
);

CREATE TABLE root_keys (
    id          BYTEA  PRIMARY KEY,
    name        TEXT   NOT NULL,
    tenant      TEXT   REFERENCES tenants (slug),
    permissions TEXT   NOT NULL,
    digest      BYTEA  NOT NULL UNIQUE,
    last_four   TEXT   NOT NULL,
    created_at  BIGINT NOT NULL,
    revoked_at  BIGINT
);

CREATE TABLE keys (
    id             BYTEA  PRIMARY KEY,
    tenant         TEXT   NOT NULL REFERENCES tenants (slug),
    subject        TEXT   NOT NULL,
    name           TEXT   NOT NULL,
    description    TEXT,
    claims         TEXT,
    scopes         TEXT   NOT NULL,
    created_by     TEXT,
    digest         BYTEA  NOT NULL,
    prefix         TEXT   NOT NULL,
    last_four      TEXT   NOT NULL,
    retiring       BYTEA,
    retiring_until BIGINT,
    state          TEXT   NOT NULL CHECK (state IN ('active', 'disabled', 'revoked')),
    hold_cause     TEXT,
    hold_lock      TEXT,
    finalize_at    BIGINT,
    state_since    BIGINT,
    state_by       TEXT,
    reason_code    TEXT,
    note           TEXT,
    created_at     BIGINT NOT NULL,
    updated_at     BIGINT NOT NULL,
    rotated_at     BIGINT,
    expires_at     BIGINT,
    last_used_at   BIGINT
);

-- Newest first is the order of ids, descending.
CREATE INDEX keys_of_tenant ON keys (tenant, id);
CREATE INDEX keys_of_subject ON keys (tenant, subject, id);

-- Every secret there ever was. A row outlives its key, so that a value is never valid or issued again.
CREATE TABLE credentials (
    digest       BYTEA  PRIMARY KEY,
    key_id       BYTEA  NOT NULL,
    tenant       TEXT   NOT NULL,
    standing     TEXT   NOT NULL CHECK (standing IN ('live', 'retiring', 'retired', 'erased')),
    until        BIGINT,
    last_used_at BIGINT
);

CREATE INDEX credentials_of_key ON credentials (key_id);

CREATE TABLE idempotency (
    actor       TEXT   NOT NULL,
    mark        TEXT   NOT NULL,
    fingerprint BYTEA  NOT NULL,
    targets     BYTEA  NOT NULL,
    created_at  BIGINT NOT NULL,
    PRIMARY KEY (actor, mark)
);

CREATE INDEX idempotency_by_age ON idempotency (created_at);
