-- Who is signed in, and where verifications came from.

-- What lets a person in: the session of a browser, or a link that works once. Only digests are kept.
CREATE TABLE logins (
    digest     BLOB    PRIMARY KEY,
    kind       TEXT    NOT NULL CHECK (kind IN ('session', 'link')),
    tenant     TEXT    NOT NULL,
    user_id    BLOB,
    data       TEXT    NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX logins_of_user ON logins (user_id);
CREATE INDEX logins_by_end ON logins (expires_at);

-- The same person may have a login in several tenants.
CREATE INDEX users_of_email ON users (email) WHERE status <> 'removed';

-- Verdicts by the address that the relying service gave ('' if it gave none), the newest of each.
CREATE TABLE traces (
    key_id  BLOB    NOT NULL,
    outcome TEXT    NOT NULL,
    address TEXT    NOT NULL,
    count   INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    PRIMARY KEY (key_id, outcome, address)
) STRICT, WITHOUT ROWID;

CREATE INDEX log_of_subject ON log (tenant, subject, revision) WHERE subject IS NOT NULL;
