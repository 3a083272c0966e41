-- A node that has applied a change may have verifiers that have not: which changes those are stands beside what it
-- acknowledges, so that a change waits only for verifiers that were told of it (coherence.md, section 2.5).
--
-- `acked` stays what it was, every change up to here has reached everybody behind the session: a node of an older
-- version knows nothing else. A newer one goes by `reached` and `holding`; both are missing in the row of an older one.
ALTER TABLE sessions ADD COLUMN reached BIGINT, ADD COLUMN holding TEXT;

-- The poll of migration 7 with what is held, and the low-water mark for older nodes. Theirs stays as it is.
CREATE FUNCTION keyreeve_poll(own BYTEA, applied BIGINT, most BIGINT, acknowledged BIGINT, held TEXT, low BIGINT)
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
                        SELECT r.digest FROM root_keys r WHERE r.id = decode(substr(log.target_id, 4), 'hex'))
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
