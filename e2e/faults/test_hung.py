"""A database that accepts connections and does not answer: its connections stay bounded, callers are answered soon, and
the nodes continue without a restart when it answers again."""
import http.client
import json
import os
import pathlib
import secrets
import signal
import subprocess
import threading
import time

import pytest
from test_database import until
from topology import SERVER_PORT, Pooler, World, run

# docs/operations/postgres.md: connections of one node, in every fault.
CONNECTIONS_MAX = 10
ANSWER_SECONDS = 2
# Polls go out once a second, give or take a fifth; each waits for two seconds at most.
TWO_POLLS_SECONDS = 2 * 1.2 + 2
CALLERS = 12


@pytest.fixture
def alone(postgres):
    world = World(postgres, nodes=1)
    yield world
    world.close()


def database_of(world):
    return world.database.rsplit("/", 1)[1]


class Watch:
    """Counts the node's connections continuously, on a superuser's connection."""

    def __init__(self, world):
        self.world, self.stopped, self.looks = world, threading.Event(), 0
        self.most, self.seen, self.lock = 0, [], threading.Lock()
        self.psql = subprocess.Popen(
            ["psql", "-qAtX", world.postgres.url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.own = int(self.ask("SELECT pg_backend_pid()"))
        self.thread = threading.Thread(target=self.look)

    def ask(self, statement):
        with self.lock:
            self.psql.stdin.write(statement + ";\n\\echo end\n")
            self.psql.stdin.flush()
            lines = iter(self.psql.stdout.readline, "end\n")
            return "".join(lines).strip()

    def pids(self):
        """Pids of all backends in the node's database, and of those still connecting."""
        rows = self.ask(
            f"SELECT pid, clock_timestamp() - backend_start, state, application_name, datname, left(query, 50) "
            f"FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> {self.own} AND "
            f"application_name <> 'the test' AND (datname = '{database_of(self.world)}' OR datname IS NULL)")
        rows = rows.splitlines()
        if len(rows) > self.most:
            self.most, self.seen = len(rows), rows
        return [int(row.split("|")[0]) for row in rows]

    def look(self):
        while not self.stopped.wait(0.02):
            self.pids()
            self.looks += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.thread.join()
        self.psql.stdin.close()
        self.psql.wait(10)


class Callers:
    """Create keys and verify unknown secrets in a loop, each on its own connection."""

    def __init__(self, node):
        self.node, self.stopped, self.answers = node, threading.Event(), []
        self.threads = [threading.Thread(target=self.call, args=(number,)) for number in range(CALLERS)]

    def call(self, number):
        connection, headers = None, {"Authorization": f"Bearer {self.node.world.root_key}",
                                     "Content-Type": "application/json"}
        asks = number % 3 != 0
        while not self.stopped.wait(0.01):
            path = "/v1/verify" if asks else "/v1/api_keys"
            body = {"key": self.secret()} if asks else {"name": secrets.token_hex(8), "subject": f"user_{number}"}
            began = time.monotonic()
            try:
                connection = connection or http.client.HTTPConnection(self.node.address, SERVER_PORT, timeout=30)
                connection.request("POST", path, json.dumps(body), headers)
                answer = connection.getresponse()
                text = json.loads(answer.read())
                self.answers.append((path, answer.status, text.get("code"), began, time.monotonic()))
            except OSError as error:
                self.answers.append((path, 0, str(error), began, time.monotonic()))
                connection = None

    def secret(self):
        """A secret that looks valid: its checksum is right, because another server made it."""
        return self.unknown.pop() if self.unknown else "nothing"

    def __enter__(self):
        # Revoked keys that this node has evicted would do as well; these were deleted, and are read each time.
        self.unknown = unknown_secrets(self.node, 4_000)
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        for thread in self.threads:
            thread.join(40)

    def since(self, moment):
        return [answer for answer in self.answers if answer[3] >= moment]


def unknown_secrets(node, number):
    """Keys that the node has created and does not have in memory yet."""
    made = []
    for start in range(0, number, 500):
        names = [{"name": secrets.token_hex(8), "subject": f"subject_{start}"} for _ in range(500)]
        status, answer = node.call("POST", "/v1/api_keys/batch", {"items": names})
        assert status == 201, answer
        made += [key["secret"] for key in answer["data"]]
    return made


def usable(node):
    """Whether the node reads, writes and holds a lease."""
    status, key = node.call("POST", "/v1/api_keys", {"name": secrets.token_hex(8), "subject": "user_1"})
    return status == 201 and node.call("POST", "/v1/verify", {"key": key["secret"]})[0] == 200


def hold(watch, callers, seconds):
    """Keeps the fault for a time, and checks the answers that callers got."""
    began = time.monotonic()
    time.sleep(seconds)
    told = callers.since(began + 0.5)
    assert told, "nobody was told anything"
    slow = [(path, status, code, round(end - start, 2)) for path, status, code, start, end in told
            if end - start > ANSWER_SECONDS + 0.5]
    assert not slow, slow[:5]
    assert watch.most <= CONNECTIONS_MAX, "\n".join(watch.seen)
    return told


def comes_back(world, watch, callers):
    freed = time.monotonic()
    until(lambda: usable(world.nodes[0]), TWO_POLLS_SECONDS, world.nodes[0].log())
    time.sleep(1)
    assert watch.most <= CONNECTIONS_MAX, "\n".join(watch.seen)
    assert watch.looks > 20
    assert {status for _, status, _, start, _ in callers.since(freed + TWO_POLLS_SECONDS)} <= {200, 201, 409}


@pytest.mark.parametrize("lock", ["SELECT * FROM head FOR UPDATE", "LOCK TABLE head IN ACCESS EXCLUSIVE MODE"])
def test_a_client_that_holds_a_lock_on_the_head(alone, lock):
    with Watch(alone) as watch, Callers(alone.nodes[0]) as callers:
        time.sleep(1)
        environment = {**os.environ, "PGAPPNAME": "the test"}
        psql = subprocess.Popen(["psql", "-qAtX", alone.database], stdin=subprocess.PIPE, text=True, env=environment)
        psql.stdin.write(f"BEGIN; {lock};\n")
        psql.stdin.flush()
        told = hold(watch, callers, 8)
        assert any(status == 503 for _, status, _, _, _ in told)
        assert "OUTCOME_UNKNOWN" not in {code for _, _, code, _, _ in told}, "nothing was ever to be committed"
        psql.stdin.write("ROLLBACK;\n")
        psql.stdin.close()
        psql.wait(10)
        comes_back(alone, watch, callers)


def test_a_batch_has_one_deadline_for_all_items(alone):
    node = alone.nodes[0]
    known = unknown_secrets(node, 500)
    assert node.call("POST", "/v1/verify", {"key": known[0]})[0] == 200
    with Watch(alone) as watch:
        stopped = set()
        try:
            while more := set(watch.pids()) - stopped:
                for pid in more:
                    os.kill(pid, signal.SIGSTOP)
                    stopped.add(pid)
            began = time.monotonic()
            status, answer = node.call("POST", "/v1/verify/batch", {"items": [{"key": key} for key in known[:40]]})
            took = time.monotonic() - began
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
    assert status == 503 and took < ANSWER_SECONDS + 0.5, (status, took)
    codes = [item["code"] for item in answer["data"]]
    assert codes == ["VALID"] + 39 * ["SERVICE_UNAVAILABLE"], codes


def test_server_processes_that_stop(alone):
    """Also the processes that start later, every time."""
    with Watch(alone) as watch, Callers(alone.nodes[0]) as callers:
        time.sleep(1)
        stopped = set()
        try:
            began = time.monotonic()
            while time.monotonic() - began < 2:
                for pid in set(watch.pids()) - stopped:
                    os.kill(pid, signal.SIGSTOP)
                    stopped.add(pid)
                time.sleep(0.05)
            # A request that was running when it stopped may take its time: five seconds, if it was a commit.
            time.sleep(6)
            told = hold(watch, callers, 6)
            assert {status for _, status, _, _, _ in told} == {503}
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
        comes_back(alone, watch, callers)


def test_a_node_recovers_although_stopped_server_processes_never_resume(alone):
    """Other processes are not stopped, so the node recovers although the stopped ones never resume. Each idle one that was
    stopped costs the request that uses it a second and a half."""
    with Watch(alone) as watch, Callers(alone.nodes[0]) as callers:
        time.sleep(1)
        callers.__exit__()
        stopped = watch.pids()
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            until(lambda: usable(alone.nodes[0]), 30, alone.nodes[0].log())
            assert watch.most <= CONNECTIONS_MAX, "\n".join(watch.seen)
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)


def test_a_network_that_swallows_everything(alone):
    with Watch(alone) as watch, Callers(alone.nodes[0]) as callers:
        time.sleep(1)
        alone.nodes[0].cut()
        try:
            time.sleep(5)
            hold(watch, callers, 12)
        finally:
            alone.nodes[0].heal()
        comes_back(alone, watch, callers)


def test_a_lock_on_the_head_behind_a_pooler(postgres):
    """Behind it a statement of one client must end too: the pooler would open a connection for the next one."""
    from harness import new_database
    pooler = Pooler(postgres)
    try:
        world = World(postgres, nodes=1, url=pooler.url(new_database(postgres.url)))
        try:
            with Watch(world) as watch, Callers(world.nodes[0]) as callers:
                time.sleep(1)
                environment = {**os.environ, "PGAPPNAME": "the test"}
                direct = postgres.url.rsplit("/", 1)[0] + "/" + database_of(world)
                psql = subprocess.Popen(["psql", "-qAtX", direct], stdin=subprocess.PIPE, text=True, env=environment)
                psql.stdin.write("BEGIN; LOCK TABLE head IN ACCESS EXCLUSIVE MODE;\n")
                psql.stdin.flush()
                hold(watch, callers, 8)
                psql.stdin.write("ROLLBACK;\n")
                psql.stdin.close()
                psql.wait(10)
                comes_back(world, watch, callers)
        finally:
            world.close()
    finally:
        pooler.close()


REMEMBERED = 1_500
# Longer than a restart takes on a busy machine.
LONG_LEASE_SECONDS = 60


def test_a_restart_of_the_database_does_not_affect_verification_from_memory(postgres):
    """During writes, so that commits are interrupted, and their callers get an error."""
    world = World(postgres, nodes=0)
    try:
        node = world.add("n1", lease=LONG_LEASE_SECONDS)
        known = unknown_secrets(node, REMEMBERED)
        for secret in known:
            assert node.call("POST", "/v1/verify", {"key": secret})[0] == 200
        stopped, verdicts = threading.Event(), []

        def ask(part):
            connection = http.client.HTTPConnection(node.address, SERVER_PORT, timeout=30)
            headers = {"Authorization": f"Bearer {world.root_key}", "Content-Type": "application/json"}
            while not stopped.is_set():
                for secret in part:
                    connection.request("POST", "/v1/verify", json.dumps({"key": secret}), headers)
                    answer = connection.getresponse()
                    verdicts.append((answer.status, json.loads(answer.read()).get("valid")))

        askers = [threading.Thread(target=ask, args=(known[part::2],)) for part in range(2)]
        for asker in askers:
            asker.start()
        with Callers(node) as writers:
            time.sleep(0.5)
            for _ in range(2):
                began = time.monotonic()
                binary = run("bash", "-c", "ls -d /usr/lib/postgresql/*/bin | tail -n 1").strip()
                run("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "env", "HOME=/tmp",
                    f"{binary}/pg_ctl", "-D", pathlib.Path(postgres.dir, "data"), "-m", "immediate", "-w", "stop")
                postgres.start()
                until(lambda: usable(node), LONG_LEASE_SECONDS / 2, node.log())
                outage = time.monotonic() - began
            told = writers.since(0)
        stopped.set()
        for asker in askers:
            asker.join(30)
        assert len(verdicts) >= REMEMBERED
        wrong = [verdict for verdict in verdicts if verdict != (200, True)]
        assert not wrong, (len(wrong), len(verdicts), wrong[:5], outage, node.log()[-3000:])
        changes = [(status, code) for path, status, code, _, _ in told if path == "/v1/api_keys"]
        refused = {code for status, code in changes if status != 201}
        assert refused and refused <= {"OUTCOME_UNKNOWN", "SERVICE_UNAVAILABLE"}, refused
    finally:
        world.close()
