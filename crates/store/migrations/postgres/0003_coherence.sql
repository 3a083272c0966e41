-- Many nodes on one database (coherence.md, section 2).

-- Who verifies from memory. A row is made at each start of a node and after each refusal, and ends by being marked
-- dead: by its node when it stops, or by others when it has not moved for longer than any lease can last (R1, R9).
CREATE TABLE sessions (
    id         BYTEA       PRIMARY KEY,
    node       TEXT        NOT NULL,
    acked      BIGINT      NOT NULL,
    renewals   BIGINT      NOT NULL DEFAULT 0,
    is_dead    BOOLEAN     NOT NULL DEFAULT FALSE,
    started_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    seen_at    TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);

-- What all nodes must agree on.
CREATE TABLE cluster (
    id             BIGINT PRIMARY KEY CHECK (id = 1),
    lease_ms       BIGINT NOT NULL,
    -- The newest timeline that a node has seen, and since when: it changes at a failover.
    timeline       TEXT,
    timeline_since TIMESTAMPTZ
);

-- How core::audit::link hashes an optional text.
CREATE FUNCTION keyreeve_part(part TEXT) RETURNS BYTEA LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN part IS NULL THEN '\x00'::bytea
        ELSE '\x01'::bytea || int8send(length(convert_to(part, 'UTF8'))::bigint) || convert_to(part, 'UTF8') END
$$;

-- A change that somebody made by SQL is numbered and chained like every other, so that verifiers hear of it.
CREATE FUNCTION keyreeve_changed_by_hand() RETURNS TRIGGER LANGUAGE plpgsql AS $$
DECLARE
    row_now  JSONB;
    last     head%ROWTYPE;
    number   BIGINT;
    moment   BIGINT := floor(extract(epoch FROM clock_timestamp()) * 1000);
    place    TEXT := '';
    kind     TEXT := TG_TABLE_NAME;
    target   TEXT := '';
    request  TEXT := 'sql';
    link     BYTEA;
BEGIN
    IF current_setting('keyreeve.writer', TRUE) = 'on' THEN
        RETURN NULL;
    END IF;
    IF TG_OP <> 'TRUNCATE' THEN
        row_now := CASE WHEN TG_OP = 'DELETE' THEN to_jsonb(OLD) ELSE to_jsonb(NEW) END;
        place := coalesce(row_now ->> 'tenant', row_now ->> 'slug', '');
    END IF;
    IF TG_OP = 'TRUNCATE' THEN
        target := '*';
    ELSIF TG_TABLE_NAME = 'keys' THEN
        kind := 'key';
        target := 'ak_' || substr(row_now ->> 'id', 3);
    ELSIF TG_TABLE_NAME = 'tenants' THEN
        kind := 'tenant';
        target := row_now ->> 'slug';
    END IF;
    SELECT * INTO last FROM head WHERE id = 1 FOR UPDATE;
    number := last.revision + 1;
    link := sha256('keyreeve audit 1'::bytea || last.chain || int8send(number) || int8send(moment)
        || keyreeve_part(place) || keyreeve_part('operator') || keyreeve_part(session_user::text)
        || keyreeve_part('database.changed') || keyreeve_part(kind) || keyreeve_part(target)
        || keyreeve_part(request) || keyreeve_part(NULL) || keyreeve_part(lower(TG_OP)) || keyreeve_part(NULL)
        || keyreeve_part(NULL) || keyreeve_part(NULL));
    INSERT INTO log (revision, at, tenant, actor_type, actor_id, action, target_type, target_id, reason, request_id,
        chain)
        VALUES (number, moment, place, 'operator', session_user::text, 'database.changed', kind, target,
            lower(TG_OP), request, link);
    UPDATE head SET revision = number, chain = link WHERE id = 1;
    PERFORM pg_notify('keyreeve', '');
    RETURN NULL;
END
$$;

DO $$
DECLARE
    watched TEXT;
BEGIN
    FOREACH watched IN ARRAY ARRAY['keys', 'credentials', 'tenants', 'users', 'root_keys'] LOOP
        EXECUTE format('CREATE TRIGGER changed_by_hand AFTER INSERT OR UPDATE OR DELETE ON %I
            FOR EACH ROW EXECUTE FUNCTION keyreeve_changed_by_hand()', watched);
        EXECUTE format('CREATE TRIGGER truncated_by_hand AFTER TRUNCATE ON %I
            FOR EACH STATEMENT EXECUTE FUNCTION keyreeve_changed_by_hand()', watched);
    END LOOP;
END
$$;
