-- How many keys of each subject are not revoked, kept by the database itself whoever writes: at least as many as count
-- toward a limit. Only where this is too many for the limit must the keys themselves be looked at, one by one.
CREATE TABLE subject_keys (
    tenant  TEXT    NOT NULL,
    subject TEXT    NOT NULL,
    keys    INTEGER NOT NULL,
    PRIMARY KEY (tenant, subject)
) STRICT, WITHOUT ROWID;

INSERT INTO subject_keys (tenant, subject, keys)
    SELECT tenant, subject, count(*) FROM keys WHERE state <> 'revoked' GROUP BY tenant, subject;

CREATE TRIGGER key_added AFTER INSERT ON keys WHEN new.state <> 'revoked'
BEGIN
    INSERT INTO subject_keys (tenant, subject, keys) VALUES (new.tenant, new.subject, 1)
        ON CONFLICT (tenant, subject) DO UPDATE SET keys = keys + 1;
END;

CREATE TRIGGER key_gone AFTER DELETE ON keys WHEN old.state <> 'revoked'
BEGIN
    UPDATE subject_keys SET keys = keys - 1 WHERE tenant = old.tenant AND subject = old.subject;
END;

CREATE TRIGGER key_moved AFTER UPDATE OF tenant, subject, state ON keys
    WHEN (old.state <> 'revoked') <> (new.state <> 'revoked') OR old.tenant <> new.tenant OR old.subject <> new.subject
BEGIN
    UPDATE subject_keys SET keys = keys - 1
        WHERE old.state <> 'revoked' AND tenant = old.tenant AND subject = old.subject;
    INSERT INTO subject_keys (tenant, subject, keys) SELECT new.tenant, new.subject, 1 WHERE new.state <> 'revoked'
        ON CONFLICT (tenant, subject) DO UPDATE SET keys = keys + 1;
END;

-- Whether a usable key of a subject has a name: those that never expire, and those that have not yet.
CREATE INDEX keys_named ON keys (tenant, subject, name, expires_at) WHERE state <> 'revoked';
