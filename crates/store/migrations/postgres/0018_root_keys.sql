-- Twin of sqlite/0018. Root keys have an expiry, networks, a last use, and a secret that a rotation replaces (times in
-- Unix ms). `networks` has a space between two; empty is any. `retiring_digest` stays after `retiring_until`, until the
-- next rotation.
ALTER TABLE root_keys ADD COLUMN expires_at BIGINT;
ALTER TABLE root_keys ADD COLUMN networks TEXT NOT NULL DEFAULT '';
ALTER TABLE root_keys ADD COLUMN rotated_at BIGINT;
ALTER TABLE root_keys ADD COLUMN retiring_digest BYTEA;
ALTER TABLE root_keys ADD COLUMN retiring_until BIGINT;
ALTER TABLE root_keys ADD COLUMN last_used_at BIGINT;
ALTER TABLE root_keys ADD COLUMN is_presented BOOLEAN NOT NULL DEFAULT FALSE;
CREATE UNIQUE INDEX root_keys_retiring ON root_keys (retiring_digest) WHERE retiring_digest IS NOT NULL;

-- Secrets that are replaced for good. A node may still remember one until it has applied the rotation, so each is kept for
-- an hour after.
CREATE TABLE replaced_root_secrets (
    digest      BYTEA   PRIMARY KEY,
    root_key    BYTEA   NOT NULL REFERENCES root_keys (id),
    replaced_at BIGINT  NOT NULL
);
CREATE INDEX replaced_of_root_key ON replaced_root_secrets (root_key);

-- The poll of migration 10, where a root key has several secrets: the present one, the one that is retiring (the present one
-- again if there is none), and all that are replaced for good.
CREATE OR REPLACE FUNCTION keyreeve_poll(own BYTEA, applied BIGINT, most BIGINT, acknowledged BIGINT, held TEXT, low BIGINT)
RETURNS TABLE (
    is_renewed BOOLEAN, is_replica BOOLEAN, head_revision BIGINT, chain_there BYTEA, now BIGINT,
    has_sync_standby BOOLEAN, is_safe_on_disk BOOLEAN, standbys BIGINT,
    revision BIGINT, chain BYTEA, action TEXT, target_type TEXT, target_id TEXT, log_tenant TEXT, digests BYTEA,
    slug TEXT, tenant_name TEXT, is_suspended BOOLEAN, is_removed BOOLEAN, policy TEXT, tenant_created_at BIGINT,
    id BYTEA, tenant TEXT, email TEXT, name TEXT, role TEXT, status TEXT, password TEXT, created_at BIGINT,
    updated_at BIGINT
) LANGUAGE plpgsql ROWS 1 SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    PERFORM set_config('synchronous_commit',
        CASE WHEN current_setting('synchronous_standby_names') = '' THEN 'off' ELSE 'on' END, TRUE);
    UPDATE sessions SET acked = low, reached = acknowledged, holding = held, renewals = renewals + 1, seen_at = clock_timestamp()
        WHERE sessions.id = own AND NOT is_dead;
    is_renewed := FOUND;
    is_replica := pg_is_in_recovery();
    has_sync_standby := current_setting('synchronous_standby_names') <> '';
    is_safe_on_disk := current_setting('fsync') = 'on' AND current_setting('full_page_writes') = 'on';
    SELECT h.revision, (SELECT log.chain FROM log WHERE log.revision = applied), w.count,
            floor(extract(epoch FROM clock_timestamp()) * 1000)
        INTO head_revision, chain_there, standbys, now
        FROM head h, (SELECT count(*) FROM pg_stat_get_wal_senders()) w WHERE h.id = 1;
    IF head_revision = applied THEN
        RETURN NEXT;
        RETURN;
    END IF;
    RETURN QUERY
    SELECT is_renewed, is_replica, h.revision, (SELECT log.chain FROM log WHERE log.revision = applied),
        floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint, has_sync_standby, is_safe_on_disk, standbys,
        l.revision, l.chain, l.action, l.target_type, l.target_id, l.tenant, l.digests,
        t.slug, t.name, t.is_suspended, t.is_removed::boolean, t.policy, t.created_at,
        u.id, u.tenant, u.email, u.name, u.role, u.status, u.password, u.created_at, u.updated_at
    FROM head h
        LEFT JOIN LATERAL (
            SELECT log.*,
                CASE
                    WHEN log.target_type = 'key' AND log.target_id ~ '^ak_[0-9a-f]{32}$' THEN (
                        SELECT string_agg(c.digest, ''::bytea) FROM credentials c
                        WHERE c.key_id = decode(substr(log.target_id, 4), 'hex'))
                    WHEN log.target_type = 'root_key' AND log.target_id ~ '^rk_[0-9a-f]{32}$' THEN (
                        SELECT r.digest || coalesce(r.retiring_digest, r.digest) || coalesce((
                            SELECT string_agg(p.digest, ''::bytea) FROM replaced_root_secrets p
                            WHERE p.root_key = r.id), ''::bytea)
                        FROM root_keys r WHERE r.id = decode(substr(log.target_id, 4), 'hex'))
                END AS digests,
                CASE WHEN log.target_type = 'user' AND log.target_id ~ '^user_[0-9a-f]{32}$' THEN
                    decode(substr(log.target_id, 6), 'hex') END AS user_id
            FROM log WHERE log.revision > applied ORDER BY log.revision LIMIT most
        ) l ON TRUE
        LEFT JOIN tenants t ON l.target_type = 'tenant' AND t.slug = l.target_id
        LEFT JOIN users u ON u.id = l.user_id
    WHERE h.id = 1
    ORDER BY l.revision;
END
$$;
