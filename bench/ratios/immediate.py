"""The cost of an immediate revocation: several nodes on one Postgres, against a plain durable commit."""
import contextlib
import http.client
import json
import os
import pathlib
import secrets
import shutil
import signal
import statistics
import subprocess
import tempfile
import time

from .servers import BIN, free_port

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts/postgres"
# The shortest lease with which nodes poll once per second, as they do by default.
LEASE = "5s"
WAIT_MS = 6_750


def run(*command, **options):
    return subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True, **options).stdout


class Postgres:
    def __init__(self, environment=()):
        self.dir = tempfile.mkdtemp(prefix="keyreeve-bench-pg-")
        os.chmod(self.dir, 0o711)
        self.port = free_port()
        environment = {**os.environ, "PGPRELOAD": "pg_stat_statements", **dict(environment)}
        run(SCRIPT, "start", self.dir, self.port, env=environment)
        self.server = f"postgres://keyreeve@127.0.0.1:{self.port}/"
        self.url = self.new_database()

    def new_database(self):
        name = "b" + secrets.token_hex(4)
        self.sql(f"CREATE DATABASE {name}", "postgres")
        return self.server + name

    def sql(self, statement, database=None):
        return run("psql", "-qAt", self.server + database if database else self.url, "-c", statement).strip()

    def commits_ms(self, key, seconds):
        """Returns latencies of plain durable commits of one key's row."""
        with tempfile.TemporaryDirectory() as folder:
            script = pathlib.Path(folder, "commit.sql")
            script.write_text("BEGIN; SELECT set_config('keyreeve.writer', 'on', TRUE); UPDATE keys SET note = 'x' "
                              f"WHERE id = decode('{key['id'][3:]}', 'hex'); COMMIT;\n")
            run("pgbench", "-n", "-f", script, "-T", seconds, "-l", "--log-prefix", f"{folder}/log", self.url)
            lines = [line.split() for log in pathlib.Path(folder).glob("log*") for line in log.read_text().splitlines()]
        return [int(line[2]) / 1_000 for line in lines]

    def close(self):
        subprocess.run([SCRIPT, "stop", self.dir], check=False)
        shutil.rmtree(self.dir, ignore_errors=True)


class Pooler:
    def __init__(self, postgres):
        self.dir = tempfile.mkdtemp(prefix="keyreeve-bench-pooler-")
        os.chmod(self.dir, 0o755)
        self.port = free_port()
        settings = pathlib.Path(self.dir, "pgbouncer.ini")
        settings.write_text(f"[databases]\n* = host=127.0.0.1 port={postgres.port} user=keyreeve\n[pgbouncer]\n"
                            f"listen_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\nauth_type = any\n"
                            "pool_mode = transaction\ndefault_pool_size = 20\nmax_client_conn = 500\n")
        command = ["pgbouncer", settings]
        if os.geteuid() == 0:
            command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL,
                                        env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin"})
        time.sleep(0.7)

    def url(self, url):
        return f"postgres://keyreeve@127.0.0.1:{self.port}/" + url.rsplit("/", 1)[1]

    def close(self):
        self.process.terminate()
        self.process.wait(timeout=10)
        shutil.rmtree(self.dir, ignore_errors=True)


class Node:
    root_key = None

    def __init__(self, database):
        self.data = tempfile.mkdtemp(prefix="keyreeve-bench-node-")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("KEYREEVE_")}
        command = [BIN, "serve", "--data", self.data, "--database", database, "--lease", LEASE, "--log", "error"]
        for listener in ("--listen", "--check-listen", "--ops-listen"):
            command += [listener, "127.0.0.1:0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                                        env=environment)
        for line in self.process.stdout:
            name, _, value = line.strip().partition("=")
            if name == "listen":
                self.port = int(value.rsplit(":", 1)[1])
            if name == "root_key":
                Node.root_key = value
            if name == "ready":
                break
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def call(self, path, body):
        self.connection.request("POST", path, json.dumps(body), {
            "Authorization": f"Bearer {Node.root_key}", "Content-Type": "application/json"})
        answer = self.connection.getresponse()
        return answer.status, json.loads(answer.read())

    def issue(self):
        status, key = self.call("/v1/api_keys", {"name": secrets.token_hex(6), "subject": "bench"})
        assert status == 201, key
        return key

    def verify(self, key):
        return self.call("/v1/verify", {"key": key["secret"]})[1]

    def close(self):
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        self.process.wait(timeout=30)
        shutil.rmtree(self.data, ignore_errors=True)


@contextlib.contextmanager
def nodes(count, database):
    running = []
    try:
        for _ in range(count):
            running.append(Node(database))
        yield running
    finally:
        for node in running:
            node.close()


def revoked_ms(nodes, number):
    """Returns latencies of revocations of keys that every node remembers. Each is refused on the first request
    afterwards."""
    taken = []
    for place in range(number):
        key = nodes[place % len(nodes)].issue()
        for node in nodes:
            assert node.verify(key)["valid"] and node.verify(key)["valid"]
        begun = time.perf_counter()
        status, answer = nodes[(place + 1) % len(nodes)].call(f"/v1/api_keys/{key['id']}/revoke", {})
        taken.append((time.perf_counter() - begun) * 1_000)
        assert status == 200 and answer["effect"]["scope"] == "everywhere", answer
        assert not any(node.verify(key)["valid"] for node in nodes), "accepted after revoke"
    return taken


def p(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def immediate(plan, report):
    """How long revocations take on several nodes, their cost, and how many are made per second."""
    per_round = 40 if plan.rounds > 3 else 15
    postgres = Postgres()
    try:
        postgres.sql("CREATE EXTENSION pg_stat_statements")
        for count, goal in ((3, 25), (10, 40)):
            with nodes(count, postgres.url) as running:
                against_commits(plan, report, postgres, running, per_round, goal)
                if count == 3:
                    without_statements(report, postgres, running)
                    idle(report, postgres, running)
                    stopped(report, running)
        pooled(report, postgres, per_round * plan.rounds)
    finally:
        postgres.close()


def against_commits(plan, report, postgres, running, per_round, goal):
    commits, revocations, ratios = [], [], []
    row = running[0].issue()
    for _ in range(plan.rounds):
        plain, taken = postgres.commits_ms(row, plan.seconds), revoked_ms(running, per_round)
        ratios.append(statistics.median(taken) / statistics.median(plain))
        commits += plain
        revocations += taken
    note = (f"{statistics.median(revocations):.1f} to {statistics.median(commits):.2f} ms; "
            f"p99 {p(revocations, 0.99):.1f} ms [{min(ratios):.1f}..{max(ratios):.1f}]")
    name = f"{len(running)} nodes"
    # With three nodes: 4 commits and 10 ms. With more, the bound of p50.
    commit = statistics.median(commits)
    most = 4 + 10 / commit if len(running) == 3 else goal / commit
    what = f"revoke acknowledged by {name} / plain durable commit"
    report.add("G2", what, statistics.median(ratios), note, round(most, 1), "at most")
    if len(running) == 3:
        report.add(10, what, statistics.median(ratios), note, 3, "at most")
    report.add("G2", f"revoke acknowledged by {name}, p50 in ms", statistics.median(revocations), note, goal, "at most")


def without_statements(report, postgres, running):
    """Verifications of known keys make no database query."""
    key = running[0].issue()
    time.sleep(2)
    for node in running:
        node.verify(key), node.verify(key)
    postgres.sql("SELECT pg_stat_statements_reset()")
    number = 1_000
    for _ in range(number):
        for node in running:
            assert node.verify(key)["source"] == "memory"
    look_ups = postgres.sql("SELECT coalesce(sum(calls), 0) FROM pg_stat_statements WHERE query LIKE "
                            "'%LEFT JOIN credentials%' OR query LIKE '%LEFT JOIN root_keys%'")
    report.add("G6", f"look-ups of {number * len(running):,} verifications on {len(running)} nodes", float(look_ups),
               "pg_stat_statements", 0, "at most")


def idle(report, postgres, running):
    seconds = 20
    time.sleep(2)
    ask = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
    writes = ("SELECT coalesce(sum(calls), 0) FROM pg_stat_statements "
              "WHERE query ~ '^(SELECT .* FROM keyreeve_poll|INSERT|UPDATE|BEGIN)' "
              "AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())")
    postgres.sql("SELECT pg_stat_statements_reset()")
    before = int(postgres.sql(ask))
    time.sleep(seconds)
    commits = int(postgres.sql(ask)) - before
    writing = float(postgres.sql(writes))
    per_node = writing / seconds / len(running)
    report.add("G10", "writing commits of an idle node, in one second", per_node,
               f"{commits / seconds / len(running):.1f} with those that only read", 1.3, "at most")


def stopped(report, running):
    key, other = running[0].issue(), running[0].issue()
    for node in running:
        node.verify(key), node.verify(other)
    running[2].process.send_signal(signal.SIGSTOP)
    begun = time.perf_counter()
    status, _ = running[0].call(f"/v1/api_keys/{key['id']}/revoke", {})
    taken = (time.perf_counter() - begun) * 1_000
    assert status == 200
    time.sleep(1.5)
    begun = time.perf_counter()
    running[0].call(f"/v1/api_keys/{other['id']}/revoke", {})
    after = (time.perf_counter() - begun) * 1_000
    running[2].process.send_signal(signal.SIGCONT)
    report.add("G3", "revoke with one node stopped / the wait W", taken / WAIT_MS,
               f"{taken:.0f} to {WAIT_MS} ms; the next one {after:.0f} ms", 1.12, "at most")


def pooled(report, postgres, number):
    """Behind PgBouncer in transaction mode no notification arrives, so the poll interval is the bound."""
    pooler = Pooler(postgres)
    try:
        with nodes(3, pooler.url(postgres.new_database())) as running:
            taken = revoked_ms(running, min(number, 60))
    finally:
        pooler.close()
    interval = 1.2 * 1_000
    report.add("G4", "revoke without notifications, p99 / longest poll interval", p(taken, 0.99) / interval,
               f"p50 {statistics.median(taken):.0f}, p99 {p(taken, 0.99):.0f} ms; polls 0.8 to 1.2 s apart", 1.37,
               "at most")
