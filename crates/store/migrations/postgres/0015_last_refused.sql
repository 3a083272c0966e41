-- Twin of sqlite/0015. When a call with a secret of the key was last refused (Unix ms); `last_used_at` is of accepted calls.
ALTER TABLE keys ADD COLUMN last_refused_at BIGINT;
