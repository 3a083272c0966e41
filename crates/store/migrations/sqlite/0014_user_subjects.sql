-- The subject of a user's keys as a column, so that a key finds out whether its owner is suspended or removed by an index,
-- in the statement that reads the key.
ALTER TABLE users ADD COLUMN subject TEXT GENERATED ALWAYS AS ('user_' || lower(hex(id))) VIRTUAL;

CREATE INDEX users_blocked_subjects ON users (tenant, subject) WHERE status <> 'active';
