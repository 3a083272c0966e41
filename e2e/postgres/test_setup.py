"""Starting on Postgres: errors are named, then nothing is done, and no secret is printed."""
import os
import subprocess
import tempfile
import threading
import time

import pytest

from harness import BINARY, Server, new_database

SERVER = os.environ.get("KEYREEVE_TEST_POSTGRES") or pytest.skip("no server", allow_module_level=True)


@pytest.fixture
def database():
    return new_database(SERVER)


def serve(database, *arguments, environment=None):
    """Runs `serve` where it must refuse, and returns its exit code and output."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("KEYREEVE_")}
    with tempfile.TemporaryDirectory() as data:
        command = [BINARY, "serve", "--data", data, "--database", database, "--listen", "127.0.0.1:0",
                   "--check-listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False,
                              env={**inherited, **(environment or {})})
    assert "ready" not in done.stdout
    return done.returncode, done.stderr


def sql(database, statement):
    return subprocess.run(["psql", "-qAt", database, "-c", statement], check=True, capture_output=True,
                          text=True).stdout.strip()


def tables(database):
    return sql(database, "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'")


@pytest.mark.parametrize("url", ["postgres://", "mysql://a@b/c", "nonsense", "postgres://a:sesame@b:notaport/c"])
def test_a_url_that_cannot_be_read_is_refused_without_repeating_it(url):
    code, said = serve(url)
    assert code == 1 and "error:" in said
    assert "sesame" not in said and "panicked" not in said


def test_a_server_that_is_not_there_is_named_as_unreachable():
    code, said = serve("postgres://keyreeve:sesame@127.0.0.1:1/x")
    assert code == 1 and "the database is not available" in said and "refused" in said
    assert "sesame" not in said


def test_a_database_that_is_not_there_is_named(database):
    code, said = serve(database + "_not")
    assert code == 1 and "does not exist" in said


def test_a_wrong_password_is_reported_and_not_repeated(database):
    role = "r" + os.urandom(4).hex()
    sql(SERVER, f"CREATE ROLE {role} LOGIN")
    hba = sql(SERVER, "SHOW hba_file")
    before = open(hba).read()
    try:
        with open(hba, "w") as file:
            file.write(f"host all {role} 127.0.0.1/32 scram-sha-256\n" + before)
        sql(SERVER, "SELECT pg_reload_conf()")
        time.sleep(0.5)
        code, said = serve(database.replace("keyreeve@", f"{role}:sesame@"))
    finally:
        with open(hba, "w") as file:
            file.write(before)
        sql(SERVER, "SELECT pg_reload_conf()")
    assert code == 1 and "password authentication failed" in said
    assert "sesame" not in said
    assert tables(database) == "0"


def test_a_database_of_a_newer_version_is_refused_and_left_alone(database):
    Server(arguments=["--database", database]).close()
    sql(database, "INSERT INTO keyreeve_migrations (version, name) VALUES (999, 'future')")
    before = sql(database, "SELECT revision FROM head")
    code, said = serve(database)
    assert code == 1 and "schema version 999" in said and "Start the newer version" in said
    assert sql(database, "SELECT revision FROM head") == before


def test_a_database_of_an_older_version_is_brought_up_to_date(database):
    server = Server(arguments=["--database", database])
    key = server.create("one")
    root_key = server.root_key
    server.stop()
    # As version 2 left it.
    sql(database, "DROP TABLE sessions, cluster, logins, traces, check_policies, limit_counters, subject_keys; "
                  "DROP INDEX users_of_email, log_of_subject, keys_named; ALTER TABLE keys DROP COLUMN limits; "
                  "ALTER TABLE users DROP COLUMN subject; ALTER TABLE keys DROP COLUMN last_refused_at, DROP COLUMN folded_name; "
                  "ALTER TABLE usage DROP COLUMN extra_cost; DROP TABLE replaced_root_secrets; DROP INDEX root_keys_retiring; "
                  "ALTER TABLE root_keys DROP COLUMN expires_at, DROP COLUMN networks, DROP COLUMN rotated_at, "
                  "DROP COLUMN retiring_digest, DROP COLUMN retiring_until, DROP COLUMN last_used_at, "
                  "DROP COLUMN is_presented; "
                  "DROP FUNCTION keyreeve_changed_by_hand, keyreeve_count_keys CASCADE; "
                  "DROP FUNCTION keyreeve_part, keyreeve_poll(BYTEA, BIGINT, BIGINT, BIGINT), "
                  "keyreeve_poll(BYTEA, BIGINT, BIGINT, BIGINT, TEXT, BIGINT), keyreeve_renew, keyreeve_era, keyreeve_place; "
                  "DELETE FROM keyreeve_migrations WHERE version > 2")
    again = Server(arguments=["--database", database])
    again.root_key = root_key
    assert again.verify(key["secret"])["valid"]
    again.close()


def test_nodes_with_different_leases_do_not_start_beside_each_other(database):
    first = Server(arguments=["--database", database, "--lease", "4s"])
    code, said = serve(database, "--lease", "5s")
    assert code == 1 and "4000 ms" in said and "5000 ms" in said
    assert first.call("GET", "/v1/nodes").json()["lease_ms"] == 4_000
    # Without a setting it uses the lease of the others.
    second = Server(arguments=["--database", database])
    second.root_key = first.root_key
    assert second.call("GET", "/v1/nodes").json()["lease_ms"] == 4_000
    assert first.stop() == 0 and second.stop() == 0
    # They returned their leases: now it may be another one.
    third = Server(arguments=["--database", database, "--lease", "5s"])
    third.root_key = first.root_key
    assert third.call("GET", "/v1/nodes").json()["lease_ms"] == 5_000
    third.close()


@pytest.mark.parametrize("lease", ["1s", "15", "2h", "-3s", "soon"])
def test_a_lease_that_makes_no_sense_is_wrong_usage(database, lease):
    code, said = serve(database, f"--lease={lease}")
    assert code == 2 and "lease" in said
    assert tables(database) == "0"


def test_several_nodes_may_start_at_once_on_an_empty_database(database):
    servers, failed = [], []

    def start():
        try:
            servers.append(Server(arguments=["--database", database, "--lease", "3s"]))
        except RuntimeError as error:
            failed.append(error)
    threads = [threading.Thread(target=start) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, failed
    founders = [server for server in servers if server.root_key]
    assert len(founders) == 1, "exactly one makes the tenant and the root key"
    nodes = founders[0].call("GET", "/v1/nodes").json()
    assert len(nodes["data"]) == 5 and sum(node["is_self"] for node in nodes["data"]) == 1
    assert all(node["state"] == "serving" and node["lag"] == 0 for node in nodes["data"])
    for server in servers:
        assert server.stop() == 0
    assert sql(database, "SELECT count(*) FROM sessions WHERE NOT is_dead") == "0"


def test_respond_async_gives_an_operation_that_becomes_effective(database):
    server = Server(arguments=["--database", database, "--lease", "3s"])
    key = server.create("one")
    answer = server.call("POST", f"/v1/api_keys/{key['id']}/revoke", json={}, headers={"Prefer": "respond-async"})
    assert answer.status_code == 202 and answer.headers["Preference-Applied"] == "respond-async"
    assert answer.json()["effect"]["scope"] == "pending" and answer.json()["state"] == "revoking"
    place = answer.headers["Location"]
    deadline = time.monotonic() + 5
    while server.call("GET", place).json()["status"] == "pending":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert server.call("GET", f"/v1/api_keys/{key['id']}").json()["state"] == "revoked"
    assert server.call("GET", "/v1/operations/op_999999999").status_code == 404
    for wrong in ("op_", "op_x", "5", "op_0", "op_" + "9" * 40):
        assert server.call("GET", f"/v1/operations/{wrong}").status_code == 404, wrong
    server.close()


def test_a_key_is_revoking_while_a_verifier_may_not_have_heard(database):
    first = Server(arguments=["--database", database, "--lease", "2s"])
    second = Server(arguments=["--database", database, "--lease", "2s"])
    key = first.create("one")
    second.process.send_signal(19)
    try:
        answer = first.call("POST", f"/v1/api_keys/{key['id']}/revoke", json={}, headers={"Prefer": "respond-async"})
        assert answer.status_code == 202
        assert first.call("GET", f"/v1/api_keys/{key['id']}").json()["state"] == "revoking"
        assert first.call("GET", answer.headers["Location"]).json()["status"] == "pending"
        time.sleep(3.3)
        assert first.call("GET", f"/v1/api_keys/{key['id']}").json()["state"] == "revoked"
        assert first.call("GET", answer.headers["Location"]).json()["status"] == "effective"
    finally:
        second.process.send_signal(18)
        second.close()
        first.close()


def test_readiness_and_metrics_say_how_the_lease_is(database):
    import requests
    server = Server(arguments=["--database", database, "--lease", "3s"])
    key = server.create("one")
    server.call("POST", f"/v1/api_keys/{key['id']}/revoke", json={})
    assert requests.get(server.ops + "/readyz", timeout=5).status_code == 200
    metrics = requests.get(server.ops + "/metrics", timeout=5).text
    for name in ("keyreeve_lease_left_milliseconds", "keyreeve_lag_revisions", "keyreeve_durability_at_risk",
                 "keyreeve_history_forked", "keyreeve_revocation_seconds_bucket", "keyreeve_revocation_seconds_count 1"):
        assert name in metrics, name
    server.close()


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_does_not_keep_every_text_is_refused(encoding):
    name = "e2e_" + os.urandom(6).hex()
    sql(SERVER, f"CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    database = SERVER.rsplit("/", 1)[0] + "/" + name
    code, said = serve(database)
    assert code == 1 and encoding in said and "UTF8" in said
    assert tables(database) == "0"
