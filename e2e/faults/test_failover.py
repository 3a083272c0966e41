"""A failover to an asynchronous standby: the nodes still know what the database loses."""
import os
import threading
import time

import pytest
from history import DENIED, UNAVAILABLE, VALID
from load import Asker, Load
from test_database import Standby, until
from topology import WAIT_SECONDS, Delay, Postgres, World, run

from harness import new_database


@pytest.fixture
def pair(tmp_path_factory):
    """A primary, its asynchronous standby, and a proxy in front of the current primary."""
    primary = Postgres()
    place = f"/tmp/keyreeve-standby-{os.getpid()}-{time.monotonic_ns()}"
    os.mkdir(place, 0o711)
    standby = Standby(primary, place)
    proxy = Delay(primary)
    yield primary, standby, proxy
    proxy.close()
    standby.close()
    primary.close()


def promote(primary, standby, proxy, look=lambda: None):
    """Makes the standby the primary. `look` is called before any node reaches it and writes lost denials again."""
    primary.kill()
    run("psql", "-qAt", standby.url("x/postgres"), "-c", "SELECT pg_promote(true, 30)")
    look()
    proxy.target = (standby.address, standby.port)


def test_a_revocation_lost_in_a_failover_stays_effective(pair):
    primary, standby, proxy = pair
    database = new_database(primary.url)
    world = World(primary, nodes=2, url=proxy.url(database))
    try:
        with Load(world) as load:
            lost, kept, held = load.issue(world.nodes[0], 3)
            load.warm([lost, kept, held])
            until(lambda: world.nodes[0].call("GET", "/v1/nodes")[1]["durability"] == "at-risk", 10, "not noticed")
            time.sleep(0.5)
            # From here on no change is replicated to the standby.
            standby.cut()
            status, answer, _ = load.revoke(world.nodes[0], lost)
            assert status == 200 and answer["effect"]["durability"] == "at-risk", answer
            assert load.disable(world.nodes[1], held)[0] == 200
            assert set(load.ask_all(lost).values()) == {DENIED}
            moved = standby.url(database)

            def it_has_lost_them():
                states = run("psql", "-qAt", moved, "-c", "SELECT DISTINCT state FROM keys").strip()
                assert states == "active", "the standby must have lost them, or this shows nothing"

            promote(primary, standby, proxy, it_has_lost_them)
            # A node that joins in the gap does not know the lost denials: it must not answer before they were written again.
            joined = []
            late = threading.Thread(target=lambda: joined.append(world.add("late")))
            late.start()
            seen = {"n1": [], "n2": []}
            deadline = time.monotonic() + 4 * WAIT_SECONDS
            while time.monotonic() < deadline:
                for name, result in load.ask_all(lost, world.nodes[:2]).items():
                    seen[name].append(result)
                if all(results[-1] == DENIED and results.count(DENIED) > 20 for results in seen.values()):
                    break
            late.join()
            assert all(VALID not in results and results[-1] == DENIED for results in seen.values()), seen
            for node in world.nodes:
                until(lambda node=node: Asker(node, load.history).ask(kept).result == VALID, 10, node.log())
                assert Asker(node, load.history).ask(lost).result in (DENIED, UNAVAILABLE)
            states = run("psql", "-qAt", moved, "-c", "SELECT state FROM keys ORDER BY name").split()
            assert states == ["revoked", "active", "disabled"]
            reasons = run("psql", "-qAt", moved, "-c", "SELECT reason FROM log WHERE reason LIKE 'reasserted%'")
            assert len(reasons.strip().splitlines()) == 2
            assert "history has changed" in world.nodes[0].log() + world.nodes[1].log()
    finally:
        world.close()


def test_a_commit_whose_wait_for_the_standby_is_cancelled_is_not_reported_as_success(pair):
    """The server answers such a commit with success and a warning; it may nevertheless be lost with the primary."""
    primary, standby, _ = pair
    primary.sql(primary.url, "ALTER SYSTEM SET synchronous_standby_names = '*'")
    primary.sql(primary.url, "SELECT pg_reload_conf()")
    until(lambda: primary.sql(primary.url, "SELECT sync_state FROM pg_stat_replication") == "sync", 10, "no standby")
    world = World(primary, nodes=2)
    try:
        with Load(world) as load:
            (key,) = load.issue(world.nodes[0])
            load.warm([key])
            until(lambda: world.nodes[0].call("GET", "/v1/nodes")[1]["durability"] == "replicated", 10, "not noticed")
            standby.freeze()
            outcome = []
            revoking = threading.Thread(target=lambda: outcome.append(load.revoke(world.nodes[0], key)))
            revoking.start()
            cancelled = threading.Event()

            def cancel():
                # Only the statement that waits in a commit of a change: polls wait there too.
                while not cancelled.is_set():
                    found = primary.sql(primary.url, "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity "
                                        "WHERE wait_event = 'SyncRep' AND query LIKE '%COMMIT%'")
                    if found != "0":
                        cancelled.set()
                    time.sleep(0.02)
            cancel()
            revoking.join()
            status, answer, _ = outcome[0]
            assert status == 503 and answer["code"] == "OUTCOME_UNKNOWN", answer
            # No node renews a lease with a commit that the standby has not received.
            time.sleep(WAIT_SECONDS)
            assert set(load.ask_all(key).values()) == {UNAVAILABLE}
            standby.thaw()
            until(lambda: set(load.ask_all(key).values()) == {DENIED}, 10, "it was committed after all")
            status, answer, _ = load.revoke(world.nodes[1], key)
            assert status == 200 and answer["effect"]["durability"] == "replicated", answer
    finally:
        standby.thaw()
        world.close()
        primary.sql(primary.url, "ALTER SYSTEM RESET synchronous_standby_names")
        primary.sql(primary.url, "SELECT pg_reload_conf()")
