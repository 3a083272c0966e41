-- Two roles for Keyreeve on Postgres 14 to 18: keyreeve_owner owns the schema `keyreeve` and migrates it; keyreeve_node runs
-- nodes, may not change the schema, and can only append to the audit log.
--
--   psql -v ON_ERROR_STOP=1 -f deploy/postgres/roles.sql DATABASE
--   keyreeve database migrate --database postgres://keyreeve_owner@HOST/DATABASE
--   psql -v ON_ERROR_STOP=1 -f deploy/postgres/roles.sql DATABASE
--
-- Run it as a role that may create roles and owns the database; a superuser is not needed. It can be repeated at any time. The
-- second run restricts the audit log, which the first migration creates; later migrations need no further run. Passwords and
-- other ways to sign in are yours to set: ALTER ROLE keyreeve_node PASSWORD …
BEGIN;

DO $$
DECLARE
    wanted TEXT;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['keyreeve_owner', 'keyreeve_node'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I LOGIN NOCREATEDB NOCREATEROLE', wanted);
        END IF;
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), wanted);
        -- Both find the schema without a setting in the URL, and create nothing in another one.
        EXECUTE format('ALTER ROLE %I IN DATABASE %I SET search_path = keyreeve', wanted, current_database());
    END LOOP;
END
$$;

-- The role that runs this file acts as the owner below. A superuser may do so anyway.
GRANT keyreeve_owner TO CURRENT_USER;
CREATE SCHEMA IF NOT EXISTS keyreeve AUTHORIZATION keyreeve_owner;
SET LOCAL ROLE keyreeve_owner;
SET LOCAL search_path = keyreeve;

GRANT USAGE ON SCHEMA keyreeve TO keyreeve_node;
-- What migrations create later.
ALTER DEFAULT PRIVILEGES IN SCHEMA keyreeve GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO keyreeve_node;
ALTER DEFAULT PRIVILEGES IN SCHEMA keyreeve GRANT EXECUTE ON FUNCTIONS TO keyreeve_node;
-- What is there.
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA keyreeve TO keyreeve_node;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA keyreeve TO keyreeve_node;

DO $$
BEGIN
    IF to_regclass('keyreeve.log') IS NOT NULL THEN
        -- The audit log is appended to, and never changed.
        REVOKE UPDATE, DELETE, TRUNCATE ON keyreeve.log FROM keyreeve_node;
        REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON keyreeve.keyreeve_migrations FROM keyreeve_node;
    END IF;
END
$$;

COMMIT;
