-- The name with case folded as Unicode says, by which keys are found whatever the locale of the database.
-- It is written by Keyreeve; rows without it (of before, of an older node, or made by SQL) are filled in at a start.
ALTER TABLE keys ADD COLUMN folded_name TEXT;

CREATE INDEX keys_not_folded ON keys (id) WHERE folded_name IS NULL;
