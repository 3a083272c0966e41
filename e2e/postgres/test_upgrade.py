"""Upgrade and downgrade: the databases that each schema version left (make_fixtures.py), and nodes of two versions beside
each other."""
import gzip
import json
import os
import pathlib
import re
import sqlite3
import subprocess
import threading

import pytest

from harness import Server, new_database

SERVER = os.environ.get("KEYREEVE_TEST_POSTGRES") or pytest.skip("no server", allow_module_level=True)
HERE = pathlib.Path(__file__).resolve().parent
FIXTURES = HERE / "fixtures"
MIGRATIONS = HERE.parents[1] / "crates/store/migrations"
KNOWN = json.loads((FIXTURES / "known.json").read_text())


def versions(kind):
    """Every migration so far: one without a fixture fails."""
    return sorted(int(file.name[:4]) for file in (MIGRATIONS / kind).glob("*.sql"))


def fixture(kind, version):
    return gzip.decompress((FIXTURES / f"{kind}-{version:04}.sql.gz").read_bytes()).decode()


def psql(database, statements):
    done = subprocess.run(["psql", "-qAtX", "-v", "ON_ERROR_STOP=1", database], input=statements, check=False, text=True,
                          capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def sqlite_start(version, tmp_path):
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    database = sqlite3.connect(data / "keyreeve.db")
    database.executescript(fixture("sqlite", version))
    database.close()
    return lambda: Server(data=str(data))


def postgres_start(version, tmp_path):
    database = new_database(SERVER)
    psql(database, fixture("postgres", version))
    return lambda: Server(data=str(tmp_path / "data"), arguments=["--database", database, "--lease", "2s"])


def keeps_everything(server):
    """Keys, their states and secrets, the root key and the audit log are what they were."""
    secret = lambda key: "".join(key["secret"])  # noqa: E731
    server.root_key = "".join(KNOWN["root_key"])
    keys = KNOWN["keys"]
    reasons = {state: server.verify(secret(key))["reason"] for state, key in keys.items()}
    assert reasons == {"active": "valid", "disabled": "disabled", "revoked": "revoked", "rotated": "rotated", "erased": "erased"}
    verdict = server.verify("".join(KNOWN["fresh"]))
    assert verdict["valid"] and verdict["name"] == "key rotated" and verdict["claims"] == {"plan": "gold"}, verdict
    assert server.count() == 4
    found = server.call("GET", "/v1/api_keys", params={"query": "KEY ACT"}).json()["data"]
    assert [key["name"] for key in found] == ["key active"], "names are searched"
    check = server.call("POST", "/v1/audit/verify", json={}).json()
    assert check["ok"] and check["entries"] >= 10, check


def works_on(server):
    """Everything that changes keys still does."""
    active, held = KNOWN["keys"]["active"], KNOWN["keys"]["disabled"]
    assert server.call("POST", f"/v1/api_keys/{held['id']}/reactivate", json={}).status_code == 200
    assert server.verify("".join(held["secret"]))["valid"]
    assert server.call("POST", f"/v1/api_keys/{active['id']}/revoke", json={}).status_code == 200
    assert not server.verify("".join(active["secret"]))["valid"]
    assert server.verify(server.create("new")["secret"])["valid"]


@pytest.mark.parametrize("start, kind, version", [
    *((sqlite_start, "sqlite", version) for version in versions("sqlite")),
    *((postgres_start, "postgres", version) for version in versions("postgres")),
], ids=lambda part: str(part) if isinstance(part, (str, int)) else "")
def test_a_database_that_a_version_left_is_upgraded_and_keeps_everything(monkeypatch, tmp_path, start, kind, version):
    monkeypatch.setattr("harness.POSTGRES", None)
    server = start(version, tmp_path)()
    try:
        missing = [number for number in versions(kind) if number > version]
        logged = re.findall(r"migrating the database: (\d+) of (\d+) number=(\d+)", server.stderr())
        assert [(int(place), int(all_), int(number)) for place, all_, number in logged] == [
            (place + 1, len(missing), number) for place, number in enumerate(missing)], server.stderr()
        keeps_everything(server)
        works_on(server)
        assert server.stop() == 0
        server.start()
        assert not server.verify("".join(KNOWN["keys"]["active"]["secret"]))["valid"]
    finally:
        server.close()


def test_a_downgrade_is_refused_in_plain_words_and_changes_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr("harness.POSTGRES", None)
    newest = versions("sqlite")[-1]
    start = sqlite_start(newest, tmp_path)
    database = sqlite3.connect(tmp_path / "data/keyreeve.db")
    database.execute("INSERT INTO keyreeve_migrations VALUES (999, 'future')")
    database.commit()
    before = list(database.iterdump())
    database.close()
    with pytest.raises(RuntimeError, match=f"schema version 999.*this one knows {newest}.*newer version.*backup"):
        start()
    assert list(sqlite3.connect(tmp_path / "data/keyreeve.db").iterdump()) == before


# What the rules for a migration allow (docs/contributing/add-a-migration.md), in the tables that every node uses.
NEXT = """BEGIN; INSERT INTO keyreeve_migrations (version, name) VALUES (999, 'next');
ALTER TABLE keys ADD COLUMN next TEXT; ALTER TABLE credentials ADD COLUMN next BIGINT NOT NULL DEFAULT 0;
ALTER TABLE log ADD COLUMN next TEXT; ALTER TABLE sessions ADD COLUMN next BIGINT; ALTER TABLE tenants ADD COLUMN next TEXT;
ALTER TABLE root_keys ADD COLUMN next TEXT; ALTER TABLE users ADD COLUMN next TEXT; ALTER TABLE head ADD COLUMN next TEXT;
CREATE TABLE latest (id BIGINT PRIMARY KEY); COMMIT;"""


def test_running_nodes_continue_when_a_newer_version_migrates_the_database(monkeypatch):
    monkeypatch.setattr("harness.POSTGRES", None)
    database = new_database(SERVER)
    first = Server(arguments=["--database", database, "--lease", "2s"])
    second = Server(arguments=["--database", database, "--lease", "2s"])
    second.root_key = first.root_key
    try:
        kept = first.create("kept")
        failures, stopped = [], threading.Event()

        def verify():
            while not stopped.wait(0.005):
                for node in (first, second):
                    answer = node.call("POST", "/v1/verify", json={"key": kept["secret"]})
                    if answer.status_code != 200 or not answer.json()["valid"]:
                        failures.append(answer.text)

        def change(node, other):
            answer = node.call("POST", "/v1/api_keys", json={"name": "one", "subject": "user_2"})
            assert answer.status_code == 201, answer.text
            key = answer.json()
            assert other.verify(key["secret"])["valid"]
            answer = node.call("POST", f"/v1/api_keys/{key['id']}/revoke", json={})
            assert answer.status_code == 200, answer.text
            assert answer.json()["effect"]["verifiers"] == 2, answer.text
            assert not other.verify(key["secret"])["valid"]
        change(first, second)
        verifying = threading.Thread(target=verify)
        verifying.start()
        try:
            psql(database, NEXT)
            for _ in range(5):
                change(first, second)
                change(second, first)
        finally:
            stopped.set()
            verifying.join()
        assert not failures, failures[:3]
        assert first.call("POST", "/v1/audit/verify", json={}).json()["ok"]
        # From now on a node of this version does not start; the one that runs is not affected.
        assert second.stop() == 0
        with pytest.raises(RuntimeError, match="schema version 999.*newer version"):
            second.start()
        assert first.verify(kept["secret"])["valid"]
        first.create("after")
    finally:
        first.close()
        second.close()


def test_a_node_of_an_older_version_is_waited_for_and_heard_on_the_newest_schema(monkeypatch):
    """It polls with the function of migration 7, and knows nothing of the columns that came later."""
    monkeypatch.setattr("harness.POSTGRES", None)
    database = new_database(SERVER)
    server = Server(arguments=["--database", database, "--lease", "2s"])
    try:
        key = server.create("one")
        psql(database, "INSERT INTO sessions (id, node, acked) SELECT '\\x0123456789abcdef0123456789abcdef', 'old', revision "
             "FROM head")
        stopped = threading.Event()

        def poll():
            while not stopped.wait(0.02):
                psql(database, "SELECT count(*) FROM (SELECT revision FROM head) h, LATERAL keyreeve_poll("
                     "'\\x0123456789abcdef0123456789abcdef', h.revision, 500, h.revision)")
        polling = threading.Thread(target=poll)
        polling.start()
        try:
            answer = server.call("POST", f"/v1/api_keys/{key['id']}/revoke", json={}).json()
        finally:
            stopped.set()
            polling.join()
        assert answer["effect"]["verifiers"] == 2 and answer["effect"]["waited_ms"] < 2_000, answer["effect"]
    finally:
        server.close()
