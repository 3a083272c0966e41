"""What other clients of the database server, and its disk, do to running nodes: all connections in use, a table locked for
long, every session terminated in a loop, a full disk. docs/operations/postgres.md has a row for each."""
import contextlib
import os
import signal
import subprocess
import threading
import time

import pytest
from history import DENIED, UNAVAILABLE, VALID
from load import Asker, Load
from test_database import recovered, until
from topology import WAIT_SECONDS, Postgres, World


# A server notices that the client of a sleeping session is gone.
CHECKED = {**os.environ, "PGOPTIONS": "-c client_connection_check_interval=100"}


@contextlib.contextmanager
def psql(url, statements):
    """A separate session that runs statements, and is ended with the block."""
    session = subprocess.Popen(["psql", "-qAtX", url, "-c", statements], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                               text=True, env=CHECKED)
    try:
        yield session
    finally:
        session.kill()
        session.wait()


@contextlib.contextmanager
def session_of(url):
    """A session that is given its statements later."""
    session = subprocess.Popen(["psql", "-qAtX", url], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, text=True)
    try:
        yield session
    finally:
        session.kill()
        session.wait()


class Occupant:
    """Takes every free connection of a server, and each one that becomes free, until it is closed."""

    def __init__(self, url):
        self.url, self.closed = url, threading.Event()
        self.sessions = []
        self.thread = threading.Thread(target=self.occupy)
        self.thread.start()

    def occupy(self):
        while not self.closed.is_set():
            self.sessions = [one for one in self.sessions if one.poll() is None]
            command = ["psql", "-qAtX", self.url, "-c", "SELECT pg_sleep(300)"]
            self.sessions.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=CHECKED))
            self.closed.wait(0.05)

    def close(self):
        self.closed.set()
        self.thread.join()
        for session in self.sessions:
            session.kill()
            session.wait()


def test_all_connections_in_use_is_reported_at_the_start_and_does_not_end_running_nodes():
    postgres = Postgres("max_connections=24", "superuser_reserved_connections=0")
    world = World(postgres, nodes=1)
    occupant = None
    try:
        running = world.nodes[0]
        with Load(world) as load:
            kept, revoked, last = load.issue(running, 3)
            load.warm([kept, revoked, last])
            # One session of the test's own, which ends the node's sessions later.
            with session_of(world.database) as own:
                occupant = Occupant(postgres.url)
                late = world.add("late", start=False)
                until(lambda: postgres.sql_or_none(postgres.url, "SELECT 1") is None, 30, "there is a free connection")
                with pytest.raises(RuntimeError, match="too many clients|connection slots are reserved"):
                    late.start()
                # What is connected stays connected.
                assert load.revoke(running, revoked)[0] == 200
                assert set(load.ask_all(revoked, [running]).values()) == {DENIED}
                assert set(load.ask_all(kept, [running]).values()) == {VALID}
                # The node's own sessions end, and the occupant takes their places.
                # It is stopped for that, because it would be faster.
                running.signal(signal.SIGSTOP)
                own.stdin.write("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'keyreeve';\n")
                own.stdin.flush()
                time.sleep(0.5)
                until(lambda: postgres.sql_or_none(postgres.url, "SELECT 1") is None, 30, "there is a free connection")
                running.signal(signal.SIGCONT)
                until(lambda: Asker(running, load.history).ask(kept).result == UNAVAILABLE, 30, running.log())
                status, answer, _ = load.revoke(running, last)
                assert status == 503, answer
            occupant.close()
            occupant = None
            until(lambda: Asker(running, load.history).ask(kept).result == VALID, 15, running.log())
            until(lambda: load.revoke(running, last)[0] == 200, 15, running.log())
            assert set(load.ask_all(last, [running]).values()) == {DENIED}
            late.start()
            assert Asker(late, load.history).ask(kept).result == VALID
    finally:
        if occupant:
            occupant.close()
        world.close()
        postgres.close()


# What happens to a change, and whether nodes verify what is in their memory as long as the table is locked. A poll reads
# `head`, `log` and `sessions`; the other tables only if it has a change to apply.
LOCKED = {"keys": ("refused", True), "credentials": ("refused", True), "root_keys": ("refused", True), "usage": ("made", True),
          "head": ("refused", False), "log": ("refused", False), "sessions": ("made", False)}


SHORT = ("keys", "log", "sessions")


@pytest.mark.parametrize("table", [pytest.param(table, marks=[] if table in SHORT else pytest.mark.long) for table in LOCKED])
def test_a_table_that_is_locked_for_long_revives_no_key_and_nodes_recover(world, table):
    change, goes_on = LOCKED[table]
    with Load(world) as load:
        kept, revoked = load.issue(world.nodes[0], 2)
        load.warm([kept, revoked])
        until(lambda: all(not one["lag"] for one in world.nodes[0].call("GET", "/v1/nodes")[1]["data"]), 5, "not applied")
        with psql(world.database, f"BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep({WAIT_SECONDS + 8})"):
            until(lambda: world.sql("SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND "
                                    f"relation = '{table}'::regclass") == "1", 5, "not locked")
            began = time.monotonic()
            status, answer, seconds = load.revoke(world.nodes[1], revoked)
            assert status == (200 if change == "made" else 503), (status, answer)
            # Where nodes cannot acknowledge it, a change is effective when their leases are over.
            assert seconds < WAIT_SECONDS + 4, seconds
            seen = set()
            while time.monotonic() - began < WAIT_SECONDS + 2:
                seen |= set(load.ask_all(kept).values())
            last = set(load.ask_all(kept).values())
            assert (seen, last) == ({VALID}, {VALID}) if goes_on else last == {UNAVAILABLE}, (seen, last)
        recovered(load, world, kept)
        until(lambda: load.revoke(world.nodes[1], revoked)[0] == 200, 10, world.nodes[1].log())
        assert set(load.ask_all(revoked).values()) == {DENIED}


def test_every_session_terminated_in_a_loop_revives_no_key_and_changes_are_made_in_the_end(world):
    stopped = threading.Event()
    ended = []

    def terminate():
        while not stopped.wait(0.4):
            ended.append(int(world.sql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                                       "WHERE application_name = 'keyreeve'")))

    with Load(world) as load:
        keys = load.issue(world.nodes[0], 12)
        load.warm(keys)
        thread = threading.Thread(target=terminate)
        thread.start()
        statuses = []
        try:
            for number, key in enumerate(keys):
                # Revocations are spread over several terminations, however fast they are.
                until(lambda: len(ended) > number // 3, 10, ended)
                deadline = time.monotonic() + 30
                while True:
                    status, answer, seconds = load.revoke(world.nodes[number % 3], key)
                    statuses.append(status)
                    if status == 200:
                        break
                    assert status == 503 and answer["code"] in ("SERVICE_UNAVAILABLE", "OUTCOME_UNKNOWN"), (status, answer)
                    assert seconds < WAIT_SECONDS + 8 and time.monotonic() < deadline, (seconds, statuses)
                assert VALID not in load.ask_all(key).values()
        finally:
            stopped.set()
            thread.join()
        assert sum(ended) > 20, ended
        (fresh,) = load.issue(world.nodes[0])
        recovered(load, world, fresh)
        for key in keys:
            until(lambda key=key: set(load.ask_all(key).values()) == {DENIED}, 10, "not denied")
    status, check = world.nodes[0].call("POST", "/v1/audit/verify", {})
    assert status == 200 and check["ok"], check


class Filler:
    """Leaves no space on a file system."""

    def __init__(self, directory):
        self.path = os.path.join(directory, "filler")

    def fill(self):
        with open(self.path, "ab", buffering=0) as filler:
            for size in (1 << 20, 65_536, 4_096):
                with contextlib.suppress(OSError):
                    while filler.write(b"x" * size):
                        pass

    def empty(self):
        os.unlink(self.path)


@pytest.fixture
def small():
    """A server on a small file system, and two nodes."""
    postgres = Postgres("max_wal_size=64MB", "min_wal_size=32MB", "wal_recycle=off", size="260m")
    world = World(postgres, nodes=2)
    yield postgres, world
    world.close()
    postgres.close()


def test_a_full_disk_of_the_server_refuses_what_needs_space_and_verification_goes_on(small):
    postgres, world = small
    with Load(world) as load:
        kept, revoked = load.issue(world.nodes[0], 2)
        load.warm([kept, revoked])
        filler = Filler(postgres.dir)
        filler.fill()
        answered, refused = [], []
        while len(refused) < 3:
            body = {"name": "filler", "subject": "user_2", "claims": {"text": os.urandom(1_500).hex()}}
            status, answer = world.nodes[0].call("POST", "/v1/api_keys", body)
            (answered if status == 201 else refused).append((status, answer))
            assert len(answered) < 2_000, "the disk is not full yet"
        for status, answer in refused:
            assert status == 503 and answer["code"] == "SERVICE_UNAVAILABLE", (status, answer)
        assert "No space left on device" in world.nodes[0].log()
        began = time.monotonic()
        while time.monotonic() - began < WAIT_SECONDS:
            assert set(load.ask_all(kept).values()) == {VALID}
        filler.empty()
        until(lambda: load.revoke(world.nodes[1], revoked)[0] == 200, 15, world.nodes[1].log())
        assert set(load.ask_all(revoked).values()) == {DENIED}
        load.issue(world.nodes[0])
        there = world.sql("SELECT encode(id, 'hex') FROM keys").split()
        assert {made["id"][3:] for _, made in answered} <= set(there)


def test_a_server_that_stops_itself_because_its_wal_has_no_space_loses_no_answered_change(small):
    postgres, world = small
    with Load(world) as load:
        keys = load.issue(world.nodes[0], 4)
        load.warm(keys)
        assert load.revoke(world.nodes[0], keys[0])[0] == 200
        filler = Filler(postgres.dir)
        filler.fill()

        def is_stopped():
            return postgres.sql_or_none(postgres.url, "SELECT pg_logical_emit_message(TRUE, 'x', repeat('x', 1000000))") is None
        until(is_stopped, 60, "it has space")
        status, answer, _ = load.revoke(world.nodes[1], keys[1])
        assert status == 503, (status, answer)
        until(lambda: set(load.ask_all(keys[2]).values()) == {UNAVAILABLE}, WAIT_SECONDS + 5, "the leases have ended")
        filler.empty()
        if postgres.sql_or_none(postgres.url, "SELECT 1") is None:
            postgres.revive()
        recovered(load, world, keys[2])
        assert set(load.ask_all(keys[0]).values()) == {DENIED}
        until(lambda: load.revoke(world.nodes[1], keys[1])[0] == 200, 15, world.nodes[1].log())
        assert set(load.ask_all(keys[1]).values()) == {DENIED}
    status, check = world.nodes[0].call("POST", "/v1/audit/verify", {})
    assert status == 200 and check["ok"], check
