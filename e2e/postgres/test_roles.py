"""The roles and settings that a Postgres may have: who owns the schema, who runs nodes, and what is set at the role."""
import gzip
import json
import os
import pathlib
import subprocess
import time

import pytest

from harness import BINARY, Server, new_database

SERVER = os.environ.get("KEYREEVE_TEST_POSTGRES") or pytest.skip("no server", allow_module_level=True)
FIXTURES = pathlib.Path(__file__).resolve().parent / "fixtures"
ROLES = pathlib.Path(__file__).resolve().parents[2] / "deploy/postgres/roles.sql"


def sql(url, statement, check=True):
    """Returns the rows of a statement, or its error if it may fail."""
    done = subprocess.run(["psql", "-qAtX", "-v", "ON_ERROR_STOP=1", url, "-c", statement], check=False, capture_output=True,
                          text=True, timeout=60)
    if check and done.returncode:
        raise RuntimeError(f"{statement}: {done.stderr}")
    return done.stdout.strip() if done.returncode == 0 else done.stderr


def name():
    return "t" + os.urandom(6).hex()


def as_role(database, role):
    return database.replace("keyreeve@", f"{role}@")


def migrate(database):
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("KEYREEVE_")}
    return subprocess.run([BINARY, "database", "migrate", "--database", database, "-o", "json"], capture_output=True, text=True,
                          timeout=60, check=False, env=inherited)


@pytest.fixture
def role():
    """A role without any privilege, that owns nothing yet."""
    made = name()
    sql(SERVER, f"CREATE ROLE {made} LOGIN")
    yield made


def owned_database(role):
    """A database of the role. `public` is closed."""
    database = new_database(SERVER)
    sql(SERVER, f"ALTER DATABASE {database.rsplit('/', 1)[1]} OWNER TO {role}")
    sql(database, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    return database


def works(server):
    """Issues, verifies, rotates, revokes and reads, as every suite does."""
    key = server.create("one")
    assert server.verify(key["secret"])["valid"]
    fresh = server.call("POST", f"/v1/api_keys/{key['id']}/rotate", json={})
    assert fresh.status_code == 200, fresh.text
    answer = server.call("POST", f"/v1/api_keys/{key['id']}/revoke", json={})
    assert answer.status_code == 200, answer.text
    assert not server.verify(fresh.json()["secret"])["valid"]
    limited = server.create("two")
    assert server.verify(limited["secret"])["valid"]
    assert server.call("DELETE", f"/v1/api_keys/{limited['id']}").status_code in (200, 204)
    check = server.call("POST", "/v1/audit/verify", json={})
    assert check.status_code == 200 and check.json()["ok"], check.text


@pytest.fixture
def two_roles():
    """A database with the two roles of deploy/postgres/roles.sql, run by an administrator who is no superuser."""
    administrator = name()
    sql(SERVER, f"CREATE ROLE {administrator} LOGIN CREATEROLE")
    database = owned_database(administrator)

    def run_file():
        done = subprocess.run(["psql", "-qX", "-v", "ON_ERROR_STOP=1", "-f", str(ROLES), as_role(database, administrator)],
                              capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    # The roles belong to the server, and the one who made them administers them.
    for made in ("keyreeve_owner", "keyreeve_node"):
        sql(SERVER, f"DROP ROLE IF EXISTS {made}")
    run_file()
    yield database, run_file
    sql(SERVER, f"DROP DATABASE {database.rsplit('/', 1)[1]} WITH (FORCE)")
    for made in ("keyreeve_owner", "keyreeve_node", administrator):
        sql(SERVER, f"DROP ROLE IF EXISTS {made}")


def test_a_node_runs_with_a_role_that_can_only_append_to_the_audit_log(two_roles):
    database, run_file = two_roles
    owner, node = (as_role(database, role) for role in ("keyreeve_owner", "keyreeve_node"))
    done = migrate(owner)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["from"] == 0 and "migrating" not in done.stderr
    run_file()
    again = migrate(owner)
    assert json.loads(again.stdout)["from"] == json.loads(again.stdout)["to"] and "already" in again.stderr
    assert sql(database, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == "0"
    server = Server(arguments=["--database", node, "--lease", "2s"])
    other = Server(arguments=["--database", node, "--lease", "2s"])
    try:
        works(server)
        assert len(server.call("GET", "/v1/nodes").json()["data"]) == 2
        for statement in ("UPDATE log SET reason = 'x'", "DELETE FROM log", "TRUNCATE log", "DROP TABLE log",
                          "CREATE TABLE mine (id INT)", "CREATE TABLE public.mine (id INT)",
                          "INSERT INTO keyreeve_migrations (version, name) VALUES (999, 'x')",
                          "ALTER TABLE keys ADD COLUMN mine INT"):
            refused = sql(node, statement, check=False)
            assert "permission denied" in refused or "must be owner" in refused, (statement, refused)
        assert server.call("POST", "/v1/audit/verify", json={}).json()["ok"]
    finally:
        other.close()
        server.close()


def test_a_later_migration_needs_no_further_grant(two_roles):
    database, run_file = two_roles
    assert migrate(as_role(database, "keyreeve_owner")).returncode == 0
    run_file()
    sql(as_role(database, "keyreeve_owner"), "CREATE TABLE later (id INT); CREATE FUNCTION latest() RETURNS INT LANGUAGE sql "
        "AS 'SELECT 1'")
    assert sql(as_role(database, "keyreeve_node"), "INSERT INTO later VALUES (1); DELETE FROM later; SELECT latest()") == "1"


def test_a_node_whose_role_may_not_migrate_names_the_command_that_does(two_roles):
    database, run_file = two_roles
    owner, node = (as_role(database, role) for role in ("keyreeve_owner", "keyreeve_node"))
    with pytest.raises(RuntimeError, match="keyreeve database migrate"):
        Server(arguments=["--database", node])
    # As an older version left it.
    older = gzip.decompress((FIXTURES / "postgres-0016.sql.gz").read_bytes()).decode().replace("public.", "keyreeve.")
    loaded = subprocess.run(["psql", "-qX", "-v", "ON_ERROR_STOP=1", owner], input=older, capture_output=True, text=True, check=False)
    assert loaded.returncode == 0, loaded.stderr
    run_file()
    with pytest.raises(RuntimeError, match="schema version 16, this version of keyreeve needs .*`keyreeve database migrate`"):
        Server(arguments=["--database", node])
    done = migrate(owner)
    assert json.loads(done.stdout)["from"] == 16 and "migrating the database: 1 of" in done.stderr, done.stderr
    Server(arguments=["--database", node]).close()


def test_a_role_that_only_owns_its_database_is_enough_with_public_closed(role):
    database = owned_database(role)
    server = Server(arguments=["--database", as_role(database, role), "--lease", "2s"])
    works(server)
    server.close()


def test_a_role_without_a_schema_to_create_tables_in_is_refused_in_one_sentence(role):
    database = new_database(SERVER)
    sql(database, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    with pytest.raises(RuntimeError, match="permission denied for schema public.*keyreeve database migrate"):
        Server(arguments=["--database", as_role(database, role)])
    assert sql(database, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == "0"


@pytest.mark.parametrize("place", ["role", "options"])
def test_the_tables_may_be_in_a_schema_of_their_own(role, place):
    database = new_database(SERVER)
    sql(database, f"CREATE SCHEMA apart AUTHORIZATION {role}")
    url = as_role(database, role)
    if place == "role":
        sql(database, f"ALTER ROLE {role} SET search_path = apart")
    else:
        url += "?options=-c%20search_path%3Dapart"
    server = Server(arguments=["--database", url, "--lease", "2s"])
    works(server)
    assert server.stop() == 0
    assert sql(database, "SELECT DISTINCT schemaname FROM pg_tables WHERE tablename IN ('keys', 'log')") == "apart"
    server.start()
    server.close()


# By what it is about: settings that an administrator may have given the role.
SETTINGS = {
    "backslashes": ["standard_conforming_strings = off"],
    "statement timeout": ["statement_timeout = '20ms'"],
    "lock timeout": ["lock_timeout = '1ms'"],
    "idle transaction": ["idle_in_transaction_session_timeout = '20ms'"],
    "idle session": ["idle_session_timeout = '300ms'"],
    "isolation": ["default_transaction_isolation = serializable", "default_transaction_deferrable = on"],
    "commits": ["synchronous_commit = off"],
    "plans": ["plan_cache_mode = force_custom_plan", "enable_indexscan = off", "jit = on"],
    "formats": ["bytea_output = escape", "timezone = 'America/New_York'", "datestyle = 'SQL, DMY'", "extra_float_digits = -15",
                "intervalstyle = sql_standard", "client_encoding = LATIN1", "array_nulls = off", "transform_null_equals = on"],
    "messages": ["client_min_messages = debug1"],
}


@pytest.mark.parametrize("about", SETTINGS)
def test_a_setting_of_the_role_changes_nothing(role, about):
    """From the first start, with all migrations, to a name that is not ASCII."""
    for setting in SETTINGS[about]:
        sql(SERVER, f"ALTER ROLE {role} SET {setting}")
    database = owned_database(role)
    server = Server(arguments=["--database", as_role(database, role), "--lease", "2s"])
    try:
        works(server)
        key = server.create("Straße \\ 'ü'", claims={"path": "C:\\x", "quote": "it's"})
        found = server.call("GET", f"/v1/api_keys/{key['id']}").json()
        assert found["name"] == "Straße \\ 'ü'" and found["claims"] == {"path": "C:\\x", "quote": "it's"}, found
        assert server.call("GET", "/v1/nodes").json()["data"][0]["state"] == "serving"
        assert server.stop() == 0
        server.start()
        assert server.verify(key["secret"])["valid"]
        deadline = time.monotonic() + 5
        while server.call("GET", "/v1/nodes").json()["data"][0]["lag"]:
            assert time.monotonic() < deadline, server.stderr()
            time.sleep(0.05)
    finally:
        server.close()


def test_a_change_by_hand_without_standard_strings_is_refused(role):
    """It would be chained wrongly. In any other session it is recorded (test_database.py)."""
    database = owned_database(role)
    server = Server(arguments=["--database", as_role(database, role)])
    key = server.create("one")
    server.close()
    change = f"UPDATE keys SET name = 'x' WHERE id = decode('{key['id'][3:]}', 'hex')"
    refused = sql(database, f"SET standard_conforming_strings = off; {change}", check=False)
    assert "ERROR" in refused, refused
    assert sql(database, "SELECT name FROM keys") == "one"
    sql(database, change)
    assert sql(database, "SELECT name FROM keys") == "x"


def test_a_role_that_may_only_read_is_refused(role):
    sql(SERVER, f"ALTER ROLE {role} SET default_transaction_read_only = on")
    with pytest.raises(RuntimeError, match="read-only"):
        Server(arguments=["--database", as_role(owned_database(role), role)])
