"""A node that stops for longer than its lease, runs for a moment and stops again, or is killed and started in a loop: changes
do not wait for it forever."""
import os
import signal
import time

import pytest
from history import DENIED, VALID
from load import Asker, Load
from test_database import recovered, until
from test_restored import metric, readyz
from topology import LEASE_SECONDS, Postgres, World


def test_a_node_that_stutters_makes_only_the_first_revocations_wait(world):
    steady, stutterer = world.nodes[0], world.nodes[1]
    with Load(world) as load:
        slow = []
        for number in range(9):
            (key,) = load.issue(steady)
            stutterer.signal(signal.SIGSTOP)
            began = time.monotonic()
            try:
                assert load.revoke(steady, key)[0] == 200
                slow.append(time.monotonic() - began > LEASE_SECONDS / 2)
                time.sleep(max(0, began + LEASE_SECONDS + 0.3 - time.monotonic()))
            finally:
                stutterer.signal(signal.SIGCONT)
            load.keys.remove(key)
            # Long enough to get a lease again, and not to end its probation.
            time.sleep(1.2)
            if number == 4:
                assert metric(stutterer, "keyreeve_node_on_probation") == 1, stutterer.log()
                assert readyz(stutterer)[0] == 503
        assert slow.count(True) <= 3 and not any(slow[3:]), slow
        # It answers again without a restart when it has run for long enough.
        until(lambda: readyz(stutterer)[0] == 200, 60, stutterer.log())
        (key,) = load.issue(steady)
        until(lambda: Asker(stutterer, load.history).ask(key).result == VALID, 10, stutterer.log())


def test_a_node_that_is_killed_in_a_loop_makes_only_the_first_revocations_wait(world):
    steady, looping = world.nodes[0], world.nodes[1]
    with Load(world) as load:
        slow = []
        for number in range(6):
            (key,) = load.issue(steady)
            looping.kill()
            looping.start()
            began = time.monotonic()
            assert load.revoke(steady, key)[0] == 200
            slow.append(time.monotonic() - began > LEASE_SECONDS / 2)
            load.keys.remove(key)
            if number == 2:
                assert metric(looping, "keyreeve_node_on_probation") == 1, looping.log()
                assert readyz(looping)[0] == 503
        assert slow.count(True) <= 3 and not any(slow[3:]), slow
        until(lambda: readyz(looping)[0] == 200, 60, looping.log())
        (key,) = load.issue(steady)
        until(lambda: Asker(looping, load.history).ask(key).result == VALID, 10, looping.log())


@pytest.fixture
def lazy():
    """A server whose asynchronous commits reach the disk late."""
    server = Postgres("wal_writer_delay=10000")
    yield server
    server.close()


def crash_all(server):
    server.kill()
    server.start()


def crash_one(server):
    """One backend is enough: the server restarts all of its processes, and reports an unchanged start time."""
    pid = server.sql(server.url, "SELECT pid FROM pg_stat_activity WHERE query LIKE '%keyreeve%' "
                                 "AND pid <> pg_backend_pid() LIMIT 1")
    before = server.sql(server.url, "SELECT string_agg(pid::text, ',') FROM pg_stat_activity WHERE query LIKE '%keyreeve%'")
    os.kill(int(pid), signal.SIGKILL)
    until(lambda: has_begun_anew(server, before), 15, "it did not crash")


def has_begun_anew(server, before):
    """A connection that was not ended yet continues for a moment, as if nothing had happened."""
    try:
        return server.sql(server.url, f"SELECT count(*) FROM pg_stat_activity WHERE pid IN ({before})") == "0"
    except RuntimeError:
        return False


@pytest.mark.parametrize("crash", [crash_all, crash_one])
def test_a_living_node_is_not_marked_dead_after_a_crash_of_the_database(lazy, crash):
    world = World(lazy, nodes=2)
    try:
        with Load(world) as load:
            for _ in range(3):
                until(lambda: world.nodes[0].call("GET", "/v1/nodes")[0] == 200, 15, "no database")
                (key,) = load.issue(world.nodes[0])
                recovered(load, world, key)
                load.warm([key])
                time.sleep(1.5)
                crash(lazy)
                recovered(load, world, key)
                until(lambda: world.nodes[0].call("GET", "/v1/nodes")[0] == 200, 15, "no database")
                world.nodes[1].cut()
                try:
                    status, answer, _ = load.revoke(world.nodes[0], key)
                    # The checker checks that no node accepts it after this answer.
                    assert status == 200, answer
                    assert VALID not in load.ask_all(key).values()
                finally:
                    world.nodes[1].heal()
                load.keys.remove(key)
            (key,) = load.issue(world.nodes[0])
            recovered(load, world, key)
            assert load.revoke(world.nodes[0], key)[0] == 200
            assert set(load.ask_all(key).values()) <= {DENIED}
    finally:
        world.close()
