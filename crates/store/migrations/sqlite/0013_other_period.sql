-- What a quota counted in another period than the one that began at `since`, the last that was counted beside it: a clock
-- that goes back finds its count there. Null for rates, and before there was a second period.
ALTER TABLE limit_counters ADD COLUMN other_since INTEGER;
ALTER TABLE limit_counters ADD COLUMN other_value INTEGER;
