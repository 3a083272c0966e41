-- Twin of sqlite/0006. What limits a key: networks, rates and quotas, as one text; null is nothing.
ALTER TABLE keys ADD COLUMN limits TEXT;

-- What was given out of hard limits: of a quota in the period that began at `since` (Unix ms); of a rate (`since` is -1)
-- when a whole burst will be let through again (Unix ns).
CREATE TABLE limit_counters (
    key_id BYTEA  NOT NULL,
    name   TEXT   NOT NULL,
    since  BIGINT NOT NULL,
    value  BIGINT NOT NULL,
    PRIMARY KEY (key_id, name)
);
