"""An older copy of the database in the place of the newer one: the nodes write again what it has lost, and recover
without a restart."""
import pathlib
import shutil
import subprocess
import time
import urllib.error
import urllib.request

import pytest
from history import DENIED, UNAVAILABLE, VALID
from load import Asker, Load
from test_database import recovered, until
from topology import SERVER_PORT, WAIT_SECONDS, Postgres, World, run


@pytest.fixture
def own(tmp_path_factory):
    server = Postgres()
    yield server
    server.close()


def readyz(node):
    try:
        with urllib.request.urlopen(f"http://{node.address}:{SERVER_PORT + 1}/readyz", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def metric(node, name):
    with urllib.request.urlopen(f"http://{node.address}:{SERVER_PORT + 1}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(name + " "))


def copy_files(server):
    """A copy of the server's files, as a backup of a disk makes it."""
    server.script("stop")
    copy = pathlib.Path(server.dir, "copy")
    shutil.rmtree(copy, ignore_errors=True)
    run("cp", "-a", f"{server.dir}/data", copy)
    server.start()


def put_files_back(server):
    server.kill()
    shutil.rmtree(f"{server.dir}/data")
    run("cp", "-a", f"{server.dir}/copy", f"{server.dir}/data")
    server.start()


def dump(server, world):
    return run("pg_dump", "-Fp", "--no-owner", world.database)


def restore(server, world, text):
    """Puts the copy into the same server, which keeps running."""
    name = world.database.rsplit("/", 1)[1]
    server.sql(server.url, f"DROP DATABASE {name} WITH (FORCE)")
    server.sql(server.url, f"CREATE DATABASE {name}")
    done = subprocess.run(["psql", "-qAt", "-v", "ON_ERROR_STOP=1", "-1", world.database], input=text, text=True,
                          capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def root_key_of(node):
    status, made = node.call("POST", "/v1/root_keys", {"name": "second", "permissions": ["keys:read"]})
    assert status == 201, made
    return made


def is_root_key_good(node, secret):
    """Returns None if there is no answer now."""
    status, _ = node.call("GET", "/v1/api_keys", headers={"Authorization": f"Bearer {secret}"})
    return None if status in (0, 503) else status == 200


def nobody_says_valid(load, world, denied, kept, seconds=6 * WAIT_SECONDS):
    """Waits until every node denies `denied` and accepts `kept`. /readyz is 503 whenever no verdict is possible."""
    deadline = time.monotonic() + seconds
    while True:
        done = True
        for node in world.nodes:
            for key in denied:
                result = Asker(node, load.history).ask(key).result
                assert result != VALID, (node.name, key["name"], node.log())
                done = done and result == DENIED
            before, _ = readyz(node)
            result = Asker(node, load.history).ask(kept).result
            after, _ = readyz(node)
            assert result != UNAVAILABLE or 503 in (before, after) or 0 in (before, after), (node.name, node.log())
            done = done and result == VALID and after == 200
        if done:
            return
        assert time.monotonic() < deadline, [node.log()[-2000:] for node in world.nodes]


def lose(load, world, put_back, is_older_than_sessions):
    """Makes the database lose a creation, a revocation, a rotation, an erasure and a root key's revocation, among many
    changes, more than will be made again."""
    first, last = world.nodes[0], world.nodes[-1]
    kept, lost, rotated, erased = load.issue(first, 4)
    load.warm([kept, lost, rotated, erased])
    second = root_key_of(first)
    assert is_root_key_good(last, second["secret"]) is True
    copy = put_back(None)
    if is_older_than_sessions:
        for node in world.nodes:
            node.kill()
            node.start()
    # The copy may have needed a restart of the server.
    recovered(load, world, kept)
    load.warm([kept, lost, rotated, erased])
    until(lambda: world.nodes[0].call("GET", "/v1/nodes")[0] == 200, 10, "the database does not answer")
    assert load.revoke(first, lost)[0] == 200
    status, fresh = last.call("POST", f"/v1/api_keys/{rotated['id']}/rotate", {"overlap_seconds": 0})
    assert status == 200, fresh
    assert first.call("DELETE", f"/v1/api_keys/{erased['id']}")[0] in (200, 204)
    assert last.call("DELETE", f"/v1/root_keys/{second['id']}")[0] == 200
    made = load.issue(last, 12)
    load.keys.clear()
    time.sleep(2.5)
    put_back(copy)
    nobody_says_valid(load, world, [lost, rotated, erased, *made[:2]], kept)
    for node in world.nodes:
        until(lambda node=node: is_root_key_good(node, second["secret"]) is False, 10, "the root key lives again")
        assert metric(node, "keyreeve_history_forked") >= 1, node.log()
    # Everything works as before.
    (again,) = load.issue(last)
    load.warm([again])
    assert load.revoke(first, again)[0] == 200
    assert set(load.ask_all(again).values()) == {DENIED}


def by_files(server, world):
    def put_back(copy):
        if copy is None:
            copy_files(server)
            return True
        put_files_back(server)
        return None
    return put_back


def by_dump(server, world):
    def put_back(copy):
        if copy is None:
            return dump(server, world)
        restore(server, world, copy)
        return None
    return put_back


@pytest.mark.parametrize("way", [by_files, by_dump])
@pytest.mark.parametrize("is_younger", [False, True])
def test_an_older_copy_under_running_nodes_revives_no_key(own, way, is_younger):
    world = World(own, nodes=2)
    try:
        # Lost keys may be denied that were valid: the checker does not know that they are lost.
        load = Load(world)
        load.__enter__()
        try:
            lose(load, world, way(own, world), is_younger)
        finally:
            load.stopped.set()
    finally:
        world.close()


def test_an_older_copy_while_all_nodes_are_stopped_revives_no_key(own):
    world = World(own, nodes=2)
    try:
        load = Load(world)
        load.__enter__()
        try:
            put_back = by_files(own, world)

            def stopped(copy):
                if copy is None:
                    return put_back(None)
                for node in world.nodes:
                    node.kill()
                put_back(copy)
                for node in world.nodes:
                    node.start()
                return None
            lose(load, world, stopped, False)
        finally:
            load.stopped.set()
    finally:
        world.close()


def test_another_instances_database_is_refused(own):
    from harness import new_database
    world = World(own, nodes=1)
    try:
        node = world.nodes[0]
        time.sleep(2.5)
        node.kill()
        node.database = new_database(own.url)
        with pytest.raises(RuntimeError, match="another instance"):
            node.start()
        assert own.sql(node.database, "SELECT count(*) FROM sessions") == "0"
    finally:
        world.close()
