"""Faults of the database: frozen, killed, behind a pooler, answered by a replica, changed by hand."""
import os
import signal
import subprocess
import tempfile
import threading
import time

import pytest
from history import DENIED, UNAVAILABLE, VALID, Changed, now
from load import Asker, Load
from topology import LEASE_SECONDS, WAIT_SECONDS, Delay, Pooler, World, run


def until(happened, seconds, what):
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def recovered(load, world, key):
    for node in world.nodes:
        until(lambda node=node: Asker(node, load.history).ask(key).result == VALID, 10, node.log())


def test_a_database_frozen_for_less_than_a_lease_does_not_affect_verification(world, postgres):
    with Load(world) as load:
        keys = load.issue(world.nodes[0], 2)
        load.warm(keys)
        time.sleep(0.5)
        postgres.freeze()
        began = time.monotonic()
        try:
            while time.monotonic() - began < LEASE_SECONDS * 0.5:
                assert set(load.ask_all(keys[0]).values()) == {VALID}
        finally:
            postgres.thaw()
        recovered(load, world, keys[1])
        assert load.revoke(world.nodes[0], keys[0])[0] == 200
        assert set(load.ask_all(keys[0]).values()) == {DENIED}


def test_a_database_frozen_for_longer_stops_verification_and_changes_are_refused(world, postgres):
    with Load(world) as load:
        keys = load.issue(world.nodes[0], 2)
        load.warm(keys)
        postgres.freeze()
        try:
            time.sleep(WAIT_SECONDS)
            assert set(load.ask_all(keys[0]).values()) == {UNAVAILABLE}
            began = time.monotonic()
            status, answer, _ = load.revoke(world.nodes[1], keys[0])
            assert status == 503 and answer["code"] in ("SERVICE_UNAVAILABLE", "OUTCOME_UNKNOWN"), answer
            assert time.monotonic() - began < 6
        finally:
            postgres.thaw()
        recovered(load, world, keys[1])
        assert load.revoke(world.nodes[1], keys[0])[0] == 200
        assert set(load.ask_all(keys[0]).values()) == {DENIED}


def killed_after_answers(world, postgres, rounds):
    with Load(world) as load:
        for number in range(rounds):
            (key,) = load.issue(world.nodes[number % 3])
            load.warm([key])
            status, answer, _ = load.revoke(world.nodes[number % 3], key)
            postgres.kill()
            assert status == 200, answer
            postgres.start()
            until(lambda: Asker(world.nodes[0], load.history).ask(key).result == DENIED, 15, world.nodes[0].log())
            assert world.sql(f"SELECT state FROM keys WHERE id = decode('{key['id'][3:]}', 'hex')") == "revoked"
            for node in world.nodes:
                until(lambda node=node: node.call("GET", "/v1/nodes")[0] == 200, 15, node.log())
            load.keys.remove(key)


def test_a_database_killed_right_after_an_answer_has_lost_nothing(world, postgres):
    killed_after_answers(world, postgres, 3)


@pytest.mark.long
def test_a_database_killed_right_after_an_answer_has_lost_nothing_fifty_times(world, postgres):
    killed_after_answers(world, postgres, 50)


def test_a_killed_database_with_asynchronous_commit_has_lost_no_answered_change(world, postgres):
    name = world.database.rsplit("/", 1)[1]
    postgres.sql(postgres.url, f"ALTER DATABASE {name} SET synchronous_commit = off")
    killed_after_answers(world, postgres, 2)


def test_killed_listening_connections_do_not_stop_changes(world):
    stop = threading.Event()

    def kill_listeners():
        while not stop.wait(0.15):
            world.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                      "WHERE query LIKE 'SELECT * FROM keyreeve_poll%' OR query LIKE 'LISTEN%'")
    killer = threading.Thread(target=kill_listeners)
    killer.start()
    try:
        with Load(world) as load:
            for number in range(15):
                (key,) = load.issue(world.nodes[number % 3])
                load.ask_all(key)
                status, answer, seconds = load.revoke(world.nodes[(number + 1) % 3], key)
                assert status == 200 and seconds <= WAIT_SECONDS + 1.5, answer
                assert VALID not in load.ask_all(key).values()
                load.keys.remove(key)
    finally:
        stop.set()
        killer.join()


def test_nodes_work_behind_a_transaction_pooler(postgres):
    pooler = Pooler(postgres)
    try:
        from harness import new_database
        world = World(postgres, url=pooler.url(new_database(postgres.url)))
        try:
            with Load(world) as load:
                for number in range(15):
                    (key,) = load.issue(world.nodes[number % 3])
                    load.warm([key])
                    status, answer, seconds = load.revoke(world.nodes[(number + 1) % 3], key)
                    assert status == 200 and answer["effect"]["verifiers"] == 3, answer
                    # No notification arrives, so this is the poll interval.
                    assert seconds < 1.5
                    assert set(load.ask_all(key).values()) == {DENIED}
                    load.keys.remove(key)
                until(lambda: "notifications of the database do not arrive" in world.nodes[0].log(), 5, "not said")
        finally:
            world.close()
    finally:
        pooler.close()


def test_a_fill_that_a_revocation_overtakes_does_not_bring_the_key_back(world, postgres):
    delay = Delay(postgres)
    slow = world.add("slow", database=delay.url(world.database))
    try:
        with Load(world) as load:
            for _ in range(3):
                key = load.issue(world.nodes[0])[0]
                load.keys.remove(key)
                # The slow node has not verified the key yet: the first request reads the database; its answer is held back.
                delay.hold("LEFT JOIN credentials")
                late = []
                asking = threading.Thread(target=lambda: late.append(Asker(slow, load.history).ask(key)))
                asking.start()
                assert delay.caught.wait(5)
                status, answer, _ = load.revoke(world.nodes[0], key)
                assert status == 200, answer
                delay.let_go()
                asking.join()
                assert set(load.ask_all(key).values()) == {DENIED}
    finally:
        delay.close()


def test_a_change_by_hand_is_effective_within_the_wait(world):
    with Load(world) as load:
        key, other = load.issue(world.nodes[0], 2)
        load.warm([key, other])
        raw = key["id"][3:]
        # No answer has reported this as effective.
        load.history.add(Changed(key["id"], True, now(), now(), False))
        world.sql("UPDATE keys SET state = 'revoked', state_since = 1, state_by = 'hand', reason_code = 'unspecified' "
                  f"WHERE id = decode('{raw}', 'hex')")
        began = time.monotonic()
        until(lambda: set(load.ask_all(key).values()) == {DENIED}, WAIT_SECONDS, "it is still accepted")
        assert time.monotonic() - began <= WAIT_SECONDS
        assert set(load.ask_all(other).values()) == {VALID}
        status, check = world.nodes[0].call("POST", "/v1/audit/verify", {})
        assert status == 200 and check["ok"], check
        status, events = world.nodes[0].call("GET", f"/v1/api_keys/{key['id']}/events")
        assert events["data"][0]["action"] == "database.changed" or events["data"][-1]["action"] == "database.changed"


def test_a_replica_whose_replay_is_paused_is_refused_as_the_database(postgres):
    """A standby answers reads with an older state. A node must not start on it, and must report why."""
    place = tempfile.mkdtemp(prefix="keyreeve-standby-")
    os.chmod(place, 0o711)
    standby = Standby(postgres, place)
    try:
        world = World(postgres, nodes=0)
        world.add("first")
        # Durability is at risk now: there is a standby that commits do not wait for.
        until(lambda: world.nodes[0].call("GET", "/v1/nodes")[1]["durability"] == "at-risk", 10, "not noticed")
        standby.pause()
        node = world.add("second", start=False, database=standby.url(world.database))
        with pytest.raises(RuntimeError, match="read-only: name the primary, not a replica"):
            node.start()
        strict = world.add("strict", start=False, environment={"KEYREEVE_REQUIRE_SYNC": "true"})
        with pytest.raises(RuntimeError, match="acknowledged change could be lost"):
            strict.start()
        world.close()
    finally:
        standby.close()


class Standby:
    """A streaming replica, asynchronous."""

    def __init__(self, postgres, place):
        from topology import SCRIPT, free_port
        self.place, self.script = place, SCRIPT
        self.address, self.port = postgres.address, free_port(postgres.address)
        owner = [int(part) for part in run("stat", "-c", "%u %g", postgres.dir).split()]
        os.chown(place, *owner)
        binaries = run("bash", "-c", "ls -d /usr/lib/postgresql/*/bin | tail -n 1").strip()
        as_owner = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        run(*as_owner, f"{binaries}/pg_basebackup", "-R", "-X", "stream", "-c", "fast", "-D", f"{place}/data",
            "-h", postgres.address, "-p", postgres.port, "-U", "keyreeve")
        settings = f"unix_socket_directories = '{place}'\n"
        run(*as_owner, "bash", "-c", f"echo \"{settings}\" >> {place}/data/postgresql.auto.conf")
        self.start()

    def start(self):
        environment = {**os.environ, "PGADDRESS": self.address}
        subprocess.run([self.script, "start", self.place, str(self.port)], check=True, env=environment, timeout=60)

    def url(self, database_url):
        return f"postgres://keyreeve@{self.address}:{self.port}/" + database_url.rsplit("/", 1)[1]

    def pids(self):
        master = int(open(f"{self.place}/data/postmaster.pid").readline())
        return [master, *map(int, run("pgrep", "-P", master).split())]

    def freeze(self):
        for pid in self.pids():
            os.kill(pid, signal.SIGSTOP)

    def thaw(self):
        for pid in self.pids():
            os.kill(pid, signal.SIGCONT)

    def cut(self):
        """Blocks all connections to it. By a restart: a reload is asynchronous, and a receiver that is just starting
        over would still connect."""
        subprocess.run([self.script, "stop", self.place], check=True, timeout=60)
        with open(f"{self.place}/data/postgresql.auto.conf", "a", encoding="utf-8") as settings:
            settings.write("primary_conninfo = ''\n")
        self.start()

    def pause(self):
        run("psql", "-q", self.url("x/postgres"), "-c", "SELECT pg_wal_replay_pause()")

    def close(self):
        subprocess.run([self.script, "stop", self.place], check=False, timeout=60)
        subprocess.run(["rm", "-rf", self.place], check=False)
