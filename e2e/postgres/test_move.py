"""`keyreeve move`: from SQLite in a data directory to Postgres, without loss or change."""
import json
import os
import shutil
import subprocess
import tempfile

import pytest

from harness import BINARY, Server, new_database

SERVER = os.environ.get("KEYREEVE_TEST_POSTGRES") or pytest.skip("no server", allow_module_level=True)


def move(data, database):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KEYREEVE_")}
    return subprocess.run([BINARY, "move", "--data", data, "--database", database, "-o", "json"], capture_output=True,
                          text=True, timeout=60, check=False, env=environment)


@pytest.fixture
def data():
    place = tempfile.mkdtemp(prefix="keyreeve-move-")
    yield place
    shutil.rmtree(place, ignore_errors=True)




@pytest.fixture
def lived(data, monkeypatch):
    """A stopped instance with every kind of record: keys in every state, users, tenants, counts, a tombstone."""
    monkeypatch.setattr("harness.POSTGRES", None)
    server = Server(data=data)
    keys = {state: server.create(f"key {state}") for state in ("active", "disabled", "revoked", "rotated", "erased")}
    assert server.call("POST", f"/v1/api_keys/{keys['disabled']['id']}/disable", json={}).status_code == 200
    assert server.call("POST", f"/v1/api_keys/{keys['revoked']['id']}/revoke", json={}).status_code == 200
    rotated = server.call("POST", f"/v1/api_keys/{keys['rotated']['id']}/rotate", json={}).json()
    assert server.call("DELETE", f"/v1/api_keys/{keys['erased']['id']}").status_code == 200
    assert server.call("POST", "/v1/users", json={"email": "a@example.org", "role": "admin"}).status_code == 201
    assert server.call("POST", "/v1/tenants", json={"slug": "acme", "name": "Acme", "preset": "erase"}).status_code == 201
    odd = server.create("na\u00efve \U0001f511 'quoted' \\ name", claims={"a": [1, None]}, scopes=["read", "write"])
    for key in (*keys.values(), odd):
        server.verify(key["secret"])
    revision = server.call("GET", "/v1/nodes").json()["revision"]
    records = {name: server.call("GET", f"/v1/api_keys/{key['id']}").json() for name, key in keys.items()}
    root_key = server.root_key
    assert server.stop() == 0
    return {"data": data, "keys": keys, "fresh": rotated["secret"], "odd": odd, "root_key": root_key,
            "revision": revision, "records": records}


def test_everything_is_there_afterwards_and_is_what_it_was(lived):
    database = new_database(SERVER)
    done = move(lived["data"], database)
    assert done.returncode == 0, done.stderr
    moved = json.loads(done.stdout)
    assert moved["revision"] >= lived["revision"]
    rows = {table["table"]: table["rows"] for table in moved["data"]}
    assert rows["tenants"] == 2 and rows["keys"] == 5 and rows["credentials"] == 7 and rows["users"] == 1, rows
    server = Server(data=lived["data"], arguments=["--database", database])
    server.root_key = lived["root_key"]
    keys = lived["keys"]
    assert server.verify(keys["active"]["secret"])["valid"]
    assert server.verify(lived["fresh"])["valid"]
    assert server.verify(lived["odd"]["secret"])["name"] == lived["odd"]["name"]
    reasons = {name: server.verify(key["secret"])["reason"] for name, key in keys.items()}
    assert reasons == {"active": "valid", "disabled": "disabled", "revoked": "revoked", "rotated": "rotated",
                       "erased": "erased"}
    for name, before in lived["records"].items():
        after = server.call("GET", f"/v1/api_keys/{keys[name]['id']}").json()
        changing = ("last_used_at", "last_refused_at", "request_id")
        assert {k: v for k, v in after.items() if k not in changing} == {
            k: v for k, v in before.items() if k not in changing}
    check = server.call("POST", "/v1/audit/verify", json={}).json()
    assert check["ok"] and check["entries"] >= moved["revision"]
    assert server.call("POST", f"/v1/api_keys/{keys['active']['id']}/revoke", json={}).status_code == 200
    server.close()


def test_what_has_moved_is_not_served_again_by_mistake(lived, monkeypatch):
    assert move(lived["data"], new_database(SERVER)).returncode == 0
    monkeypatch.setattr("harness.POSTGRES", None)
    with pytest.raises(RuntimeError, match="was moved to Postgres; start with --database"):
        Server(data=lived["data"])
    again = move(lived["data"], new_database(SERVER))
    assert again.returncode == 1 and "was moved to Postgres" in again.stderr


def test_a_database_that_holds_something_is_refused_and_nothing_is_changed(lived):
    database = new_database(SERVER)
    other = Server(arguments=["--database", database])
    other.stop()
    refused = move(lived["data"], database)
    assert refused.returncode == 1 and "holds an instance already" in refused.stderr
    assert not os.path.exists(os.path.join(lived["data"], "moved"))


def test_a_running_server_keeps_its_data(data, monkeypatch):
    monkeypatch.setattr("harness.POSTGRES", None)
    server = Server(data=data)
    refused = move(data, new_database(SERVER))
    assert refused.returncode == 1 and "in use by another keyreeve process" in refused.stderr
    server.kill()


def test_a_directory_without_an_instance_is_named(data):
    refused = move(data, new_database(SERVER))
    assert refused.returncode == 1 and "there is no instance in" in refused.stderr
    assert os.listdir(data) == []
