-- Twin of sqlite/0012. How many keys of each subject are not revoked, kept by the database itself whoever writes: at least
-- as many as count toward a limit. Only where this is too many for the limit must the keys themselves be looked at, one by
-- one.
CREATE TABLE subject_keys (
    tenant  TEXT   NOT NULL,
    subject TEXT   NOT NULL,
    keys    BIGINT NOT NULL,
    PRIMARY KEY (tenant, subject)
) WITH (fillfactor = 70);

INSERT INTO subject_keys (tenant, subject, keys)
    SELECT tenant, subject, count(*) FROM keys WHERE state <> 'revoked' GROUP BY tenant, subject;

CREATE FUNCTION keyreeve_count_keys() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO subject_keys AS known (tenant, subject, keys)
            SELECT tenant, subject, count(*) FROM added WHERE state <> 'revoked' GROUP BY tenant, subject ORDER BY 1, 2
            ON CONFLICT (tenant, subject) DO UPDATE SET keys = known.keys + excluded.keys;
        RETURN NULL;
    END IF;
    IF TG_OP = 'TRUNCATE' THEN
        DELETE FROM subject_keys;
        RETURN NULL;
    END IF;
    IF OLD.state <> 'revoked' THEN
        UPDATE subject_keys SET keys = keys - 1 WHERE tenant = OLD.tenant AND subject = OLD.subject;
    END IF;
    IF TG_OP = 'UPDATE' THEN
        IF NEW.state <> 'revoked' THEN
            INSERT INTO subject_keys AS known (tenant, subject, keys) VALUES (NEW.tenant, NEW.subject, 1)
                ON CONFLICT (tenant, subject) DO UPDATE SET keys = known.keys + 1;
        END IF;
    END IF;
    RETURN NULL;
END
$$;

-- By their names they come after `changed_by_hand`, which takes the head: everybody takes that first.
CREATE TRIGGER counted_added AFTER INSERT ON keys REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION keyreeve_count_keys();
CREATE TRIGGER counted_gone AFTER DELETE ON keys
    FOR EACH ROW WHEN (OLD.state <> 'revoked') EXECUTE FUNCTION keyreeve_count_keys();
CREATE TRIGGER counted_moved AFTER UPDATE ON keys
    FOR EACH ROW WHEN ((OLD.state <> 'revoked') <> (NEW.state <> 'revoked')
        OR OLD.tenant <> NEW.tenant OR OLD.subject <> NEW.subject)
    EXECUTE FUNCTION keyreeve_count_keys();
CREATE TRIGGER counted_none AFTER TRUNCATE ON keys
    FOR EACH STATEMENT EXECUTE FUNCTION keyreeve_count_keys();

-- Whether a usable key of a subject has a name: those that never expire, and those that have not yet.
CREATE INDEX keys_named ON keys (tenant, subject, name, expires_at) WHERE state <> 'revoked';
