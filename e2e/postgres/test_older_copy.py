"""An older Postgres under a node whose directory knows more: nothing is signed over it until the operator accepts it."""
import json
import os
import pathlib
import subprocess
import tempfile
import time

import pytest
import requests

from harness import BINARY, Server, new_database

SERVER = os.environ.get("KEYREEVE_TEST_POSTGRES") or pytest.skip("no server", allow_module_level=True)
WAIT_SECONDS = 20


def accept(data, database, *arguments):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KEYREEVE_")}
    command = [BINARY, "audit", "accept-restore", "--data", data, "--database", database, "--reason", "a drill", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)


def dumped(database):
    return subprocess.run(["pg_dump", "--clean", "--if-exists", database], capture_output=True, check=True).stdout


def restored(database, dump):
    subprocess.run(["psql", "-q", "-v", "ON_ERROR_STOP=1", database], input=dump, check=True, stdout=subprocess.DEVNULL)


def test_nothing_is_signed_over_an_older_postgres_until_the_operator_accepts_it(monkeypatch):
    monkeypatch.setattr("harness.POSTGRES", None)
    database = new_database(SERVER)
    server = Server(arguments=["--database", database, "--lease", "2s"])
    server.create("kept")
    assert server.stop() == 0
    dump = dumped(database)
    server.start()
    for number in range(3):
        server.create(f"lost {number}")
    assert server.stop() == 0
    data = pathlib.Path(server.data)
    note = (data / "audit-checkpoint").read_text()
    signed = int(note.splitlines()[1])
    restored(database, dump)
    server.start()
    # As many changes as were lost, and more.
    deadline = time.monotonic() + WAIT_SECONDS
    made = 0
    while made < 6 and time.monotonic() < deadline:
        answer = server.call("POST", "/v1/api_keys", json={"name": f"more {made}", "subject": "user_1"})
        made += answer.status_code == 201
        time.sleep(0.3)
    time.sleep(1.5)
    assert (data / "audit-checkpoint").read_text() == note
    metrics = requests.get(server.ops + "/metrics", timeout=10).text
    assert "keyreeve_audit_checkpoint_refused 1" in metrics
    assert server.says("is not signed")
    check = server.call("POST", "/v1/audit/verify", json={})
    if check.status_code == 200:
        assert not check.json()["ok"] and check.json()["checkpoint_revision"] == signed
    assert accept(server.data, database, "--yes").returncode == 1, "the node runs"
    server.stop()
    done = accept(server.data, database, "--yes", "-o", "json")
    assert done.returncode == 0, done.stderr
    assert pathlib.Path(json.loads(done.stdout)["kept"][0]).read_text() == note
    server.start()
    deadline = time.monotonic() + WAIT_SECONDS
    while "keyreeve_audit_checkpoint_refused 0" not in requests.get(server.ops + "/metrics", timeout=10).text:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    events = server.call("GET", "/v1/audit_events", params={"action": "instance.restore_accepted"}).json()["data"]
    assert len(events) == 1 and events[0]["before"]["signed"]["revision"] == signed
    assert server.call("POST", "/v1/audit/verify", json={}).json()["ok"]
    server.close()


@pytest.mark.parametrize("harm", ["deleted", "empty", "nonsense"])
def test_an_unusable_signing_key_prevents_the_start_and_leaves_no_session(monkeypatch, harm):
    """Changes on other nodes would wait for the session of a node that systemd restarts every second."""
    monkeypatch.setattr("harness.POSTGRES", None)
    database = new_database(SERVER)
    server = Server(arguments=["--database", database])
    assert server.stop() == 0
    key = pathlib.Path(server.data, "audit-signing-key")
    key.unlink() if harm == "deleted" else key.write_bytes(b"" if harm == "empty" else os.urandom(64))
    with pytest.raises(RuntimeError, match="accept-restore"):
        server.start()
    assert server.process.wait(10) == 8
    living = "SELECT count(*) FROM sessions WHERE NOT is_dead"
    counted = subprocess.run(["psql", "-qAtX", database, "-c", living], capture_output=True, check=True)
    assert counted.stdout.strip() == b"0"
    assert accept(server.data, database, "--yes").returncode == 0
    server.start()
    assert server.create("after")
    server.close()
