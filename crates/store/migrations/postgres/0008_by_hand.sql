-- Who writes as Keyreeve does writes the log too. For each row of it a function was called to find that out (migration
-- 3); now it is asked before anything is called.
DO $$
DECLARE
    watched TEXT;
BEGIN
    FOREACH watched IN ARRAY ARRAY['keys', 'credentials', 'tenants', 'users', 'root_keys', 'check_policies'] LOOP
        EXECUTE format('DROP TRIGGER changed_by_hand ON %I', watched);
        EXECUTE format('CREATE TRIGGER changed_by_hand AFTER INSERT OR UPDATE OR DELETE ON %I
            FOR EACH ROW WHEN (current_setting(''keyreeve.writer'', TRUE) IS DISTINCT FROM ''on'')
            EXECUTE FUNCTION keyreeve_changed_by_hand()', watched);
    END LOOP;
END
$$;
