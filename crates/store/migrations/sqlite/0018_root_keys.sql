-- Root keys have an expiry, networks, a last use, and a secret that a rotation replaces (times in Unix ms). `networks` has a
-- space between two; empty is any. `retiring_digest` stays after `retiring_until`, until the next rotation.
ALTER TABLE root_keys ADD COLUMN expires_at INTEGER;
ALTER TABLE root_keys ADD COLUMN networks TEXT NOT NULL DEFAULT '';
ALTER TABLE root_keys ADD COLUMN rotated_at INTEGER;
ALTER TABLE root_keys ADD COLUMN retiring_digest BLOB;
ALTER TABLE root_keys ADD COLUMN retiring_until INTEGER;
ALTER TABLE root_keys ADD COLUMN last_used_at INTEGER;
ALTER TABLE root_keys ADD COLUMN is_presented INTEGER NOT NULL DEFAULT 0;
CREATE UNIQUE INDEX root_keys_retiring ON root_keys (retiring_digest) WHERE retiring_digest IS NOT NULL;

-- Secrets that are replaced for good. A node may still remember one until it has applied the rotation, so each is kept for
-- an hour after.
CREATE TABLE replaced_root_secrets (
    digest      BLOB    PRIMARY KEY,
    root_key    BLOB    NOT NULL REFERENCES root_keys (id),
    replaced_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX replaced_of_root_key ON replaced_root_secrets (root_key);
