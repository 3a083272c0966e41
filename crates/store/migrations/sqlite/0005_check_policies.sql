-- What gateways ask of keys, by tenant and name. The policy `default` is here only where somebody changed it.

CREATE TABLE check_policies (
    tenant     TEXT    NOT NULL REFERENCES tenants (slug),
    name       TEXT    NOT NULL,
    document   TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;
