"""Several nodes on a restored Postgres: all obey the one choice, and each directory's denials are applied."""
import os
import pathlib
import subprocess
import time

import pytest
import requests

from harness import BINARY, Server, new_database
from test_older_copy import WAIT_SECONDS, accept, dumped, restored

SERVER = os.environ.get("KEYREEVE_TEST_POSTGRES") or pytest.skip("no server", allow_module_level=True)


def keyreeve(*arguments):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KEYREEVE_")}
    return subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=60, check=False, env=environment)


def ready(node):
    return requests.get(node.ops + "/readyz", timeout=10)


def wait_until(what, says):
    deadline = time.monotonic() + WAIT_SECONDS
    while not what():
        assert time.monotonic() < deadline, says
        time.sleep(0.1)


def written(node, key):
    path = pathlib.Path(node.data, "denials")
    return path.exists() and key["id"].encode() in path.read_bytes()


@pytest.fixture
def nodes(monkeypatch):
    monkeypatch.setattr("harness.POSTGRES", None)
    database = new_database(SERVER)
    arguments = ["--database", database, "--lease", "2s"]
    one = Server(arguments=arguments)
    other = Server(arguments=arguments)
    other.root_key = one.root_key
    yield database, one, other
    one.close()
    other.close()


def stop(*nodes):
    for node in nodes:
        assert node.stop() == 0


def test_every_node_obeys_the_choice_and_a_second_directory_keeps_it(nodes):
    database, one, other = nodes
    kept, revoked = one.create("kept"), one.create("revoked")
    stop(one, other)
    dump = dumped(database)
    one.start()
    other.start()
    wait_until(lambda: one.call("POST", f"/v1/api_keys/{revoked['id']}/revoke", json={}).status_code == 200, "revoke")
    wait_until(lambda: written(one, revoked) and written(other, revoked), "each node keeps the denial")
    stop(one, other)
    # The nodes' own memory of the history is not what is tested here.
    for node in nodes[1:]:
        pathlib.Path(node.data, "database-history").unlink()
    restored(database, dump)
    done = accept(one.data, database, "--yes")
    assert done.returncode == 0 and "No choice was made" in done.stderr, done.stderr
    one.start()
    other.start()
    for node in (one, other):
        wait_until(lambda: "restore" in ready(node).text, ready(node).text)
        answer = node.call("POST", "/v1/verify", json={"key": kept["secret"]})
        assert answer.status_code == 503, answer.text
        wait_until(lambda: node.call("GET", "/v1/api_keys").status_code == 200, "management works")
        assert node.call("POST", "/v1/verify", json={"key": kept["secret"]}).json()["reason"] == "restore_undecided"
    chosen = keyreeve("restore", "decide", "--accept", "--reason", "x", "--data", other.data)
    assert chosen.returncode == 0, chosen.stderr
    for node in (one, other):
        wait_until(lambda: ready(node).status_code == 200, ready(node).text)
        assert node.verify(kept["secret"])["valid"]
        assert node.verify(revoked["secret"])["reason"] == "revoked"
    stop(other)
    again = accept(other.data, database, "--yes")
    assert again.returncode == 0, again.stderr
    other.start()
    wait_until(lambda: ready(other).status_code == 200, "the choice is kept")
    assert ready(one).status_code == 200
    assert other.verify(kept["secret"])["valid"]
