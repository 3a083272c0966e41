-- What the counted calls cost beyond one unit each; 0 of those that were refused.
ALTER TABLE usage ADD COLUMN extra_cost INTEGER NOT NULL DEFAULT 0;
