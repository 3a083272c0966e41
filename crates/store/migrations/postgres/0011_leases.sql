-- A lease grows only by a renewal that is durable (rule R18). Polls that acknowledge a change do not wait for the disk, and
-- a crash takes the newest of them back; so they say nothing about whether a node that was seen twice has polled between.
ALTER TABLE sessions ADD COLUMN leases BIGINT NOT NULL DEFAULT 0;

-- Which tables these are: a dump that is restored makes others. What it was is restored with it.
ALTER TABLE cluster ADD COLUMN place TEXT;

CREATE FUNCTION keyreeve_place() RETURNS TEXT LANGUAGE sql STABLE AS $$
    SELECT d.oid || ' ' || 'sessions'::regclass::oid FROM pg_database d WHERE d.datname = current_database()
$$;

-- To be called behind keyreeve_poll, in its transaction: that one does not wait for the disk.
CREATE FUNCTION keyreeve_renew(own BYTEA) RETURNS VOID LANGUAGE plpgsql AS $$
BEGIN
    UPDATE sessions SET leases = leases + 1 WHERE sessions.id = own AND NOT is_dead;
    PERFORM set_config('synchronous_commit', 'on', TRUE);
END
$$;

-- What the server is now, so that no session is timed across a restart, a failover or a restored copy. A server whose
-- process for one connection crashes takes all commits back that were not on disk, and keeps the time of its start: what
-- is timed must be durable by itself. An ordinary role may ask for all of this.
CREATE FUNCTION keyreeve_era(OUT line BIGINT, OUT start BIGINT, OUT written BIGINT, OUT is_replicated BOOLEAN)
LANGUAGE sql VOLATILE AS $$
    SELECT hashtextextended(substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) || ' ' || keyreeve_place(), 0),
        hashtextextended(pg_postmaster_start_time()::text || ' ' || pg_relation_filenode('sessions'), 0),
        pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint,
        current_setting('synchronous_standby_names') <> ''
$$;
