-- Twin of sqlite/0002. People, counts, and tenants that are gone.

ALTER TABLE tenants ADD COLUMN is_removed BOOLEAN NOT NULL DEFAULT FALSE;

-- A removed user's row stays, so that the keys stay blocked.
CREATE TABLE users (
    id         BYTEA  PRIMARY KEY,
    tenant     TEXT   NOT NULL REFERENCES tenants (slug),
    email      TEXT   NOT NULL,
    name       TEXT,
    role       TEXT   NOT NULL CHECK (role IN ('member', 'admin', 'auditor')),
    status     TEXT   NOT NULL CHECK (status IN ('active', 'suspended', 'removed')),
    password   TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE UNIQUE INDEX users_by_email ON users (tenant, email) WHERE status <> 'removed';
CREATE INDEX users_blocked ON users (tenant) WHERE status <> 'active';

-- Verdicts counted by key and hour. Hours are Unix milliseconds of their start.
CREATE TABLE usage (
    key_id  BYTEA  NOT NULL,
    hour    BIGINT NOT NULL,
    outcome TEXT   NOT NULL,
    count   BIGINT NOT NULL,
    PRIMARY KEY (key_id, hour, outcome)
);

CREATE INDEX usage_by_hour ON usage (hour);

CREATE INDEX log_of_target ON log (target_id, revision);
CREATE INDEX log_of_tenant ON log (tenant, revision);
CREATE INDEX keys_expiring ON keys (tenant, expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX keys_lapsing ON keys (finalize_at) WHERE finalize_at IS NOT NULL;
