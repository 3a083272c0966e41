-- Secrets in the order in which they were made, and an index of half their digests. Digests lie in no order, so each new
-- one is written to a page of its own; with a third of the bytes there are fewer such pages, which split less often and
-- stay in memory longer. 16 bytes are enough to be different, and whoever asks compares all 32.

DROP INDEX credentials_of_key;
ALTER TABLE credentials RENAME TO former_credentials;

CREATE TABLE credentials (
    digest       BLOB    NOT NULL,
    key_id       BLOB    NOT NULL,
    tenant       TEXT    NOT NULL,
    standing     TEXT    NOT NULL CHECK (standing IN ('live', 'retiring', 'retired', 'erased')),
    until        INTEGER,
    last_used_at INTEGER
) STRICT;

INSERT INTO credentials (digest, key_id, tenant, standing, until, last_used_at)
    SELECT digest, key_id, tenant, standing, until, last_used_at FROM former_credentials ORDER BY key_id;
DROP TABLE former_credentials;

CREATE UNIQUE INDEX credentials_by_digest ON credentials (substr(digest, 1, 16));
CREATE INDEX credentials_of_key ON credentials (key_id);
