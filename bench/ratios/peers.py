"""Rows 6 and 7: verify against what a comparable team would run instead. The servers are in bench/peers."""
import contextlib
import dataclasses
import hashlib
import http.client
import json
import os
import pathlib
import re
import secrets
import statistics
import subprocess
import tempfile

from . import generators, rows, servers

PLACE = servers.HERE / "peers"
REDIS_KEYS = 10_000
# Node becomes three times as fast while it compiles frequently used code. That time is not measured.
WARM_SECONDS = 6
# The installed packages to name in the report.
NODE_NAMES = ("better-auth", "@better-auth/api-key", "better-sqlite3", "fastify", "express", "ioredis")
PYTHON_NAMES = ("fastapi", "uvicorn", "redis", "hiredis", "Django", "djangorestframework",
                "djangorestframework-api-key", "gunicorn")


@dataclasses.dataclass(frozen=True)
class Candidate:
    number: int
    name: str
    goal: int
    program: str
    # It issues this many keys itself; those of the others are in Redis.
    own_keys: int = 0
    setup: str = ""
    # The key is in the header, under this scheme, and not in the body.
    scheme: str = ""


CANDIDATES = (
    Candidate(6, "better-auth, defaults", 80, "better-auth.mjs", own_keys=1_000, setup="defaults"),
    Candidate(6, "better-auth, its best", 28, "better-auth.mjs", own_keys=1_000, setup="best"),
    Candidate(7, "Fastify and Redis", 5, "fastify.mjs"),
    Candidate(7, "Express and Redis", 25, "express.mjs"),
    Candidate(7, "FastAPI and Redis", 35, "fastapi_redis.py"),
    Candidate(7, "Django REST framework", 100, "drf.py", own_keys=200, scheme="Api-Key"),
)


def install():
    subprocess.run([PLACE / "setup"], check=True)


def versions():
    """Returns the versions in the lock files, which are the installed ones."""
    packages = json.loads((PLACE / "package-lock.json").read_text())["packages"]
    node = next(entry["version"] for path, entry in packages.items() if path.startswith("node_modules/node-linux-"))
    python = re.search(r"^version = (\S+)", (PLACE / ".venv/pyvenv.cfg").read_text(), re.MULTILINE)[1]
    pinned = dict(line.split("==") for line in (PLACE / "requirements.txt").read_text().split() if "==" in line)
    of_node = ", ".join(f"{name} {packages['node_modules/' + name]['version']}" for name in NODE_NAMES)
    of_python = ", ".join(f"{name} {pinned[name]}" for name in PYTHON_NAMES)
    return [f"Node {node} ({of_node})", f"Python {python} ({of_python})"]


class Peer(servers.Server):
    """One of the candidates. It listens when its keys are stored. Its Redis is part of it."""

    def __init__(self, candidate, folder, cpus, redis):
        self.redis = None if candidate.own_keys else redis
        own = folder / f"{pathlib.Path(candidate.program).stem}-{candidate.setup}"
        self.keys = own.with_suffix(".keys") if candidate.own_keys else folder / "redis.keys"
        self.scheme = candidate.scheme
        port = servers.free_port()
        environment = {
            **os.environ, "PATH": f"{PLACE}/node_modules/.bin:{PLACE}/.venv/bin:{os.environ['PATH']}",
            "NODE_ENV": "production", "PORT": str(port), "REDIS_PORT": str(redis.port), "SETUP": candidate.setup,
            "KEYS": str(self.keys), "KEY_COUNT": str(candidate.own_keys), "DATABASE": str(own.with_suffix(".db"))}
        command = ["python" if candidate.program.endswith(".py") else "node", candidate.program]
        self.log = own.with_suffix(".log")
        with self.log.open("w") as log:
            super().__init__(command, port, cpus, stdout=log, stderr=log, cwd=PLACE, env=environment)

    def wait(self, seconds=120):
        try:
            return super().wait(seconds)
        except SystemExit as error:
            raise SystemExit(f"{error}\n{self.log.read_text()[-2000:]}") from None

    def cpu_seconds(self):
        return super().cpu_seconds() + (self.redis.cpu_seconds() if self.redis else 0)

    def load_environment(self):
        return {"KEYS": str(self.keys), "ROOT": "-", **({"SCHEME": self.scheme} if self.scheme else {})}


class Subject(servers.Keyreeve):
    """Keyreeve, with the requests of a peer."""
    scheme = ""

    def prepare(self, folder, count):
        with (folder / "all.txt").open("w+") as file:
            self.issue_to(file, range(count))
            file.seek(0)
            self.keys = rows.keys_file(folder, file, count)
        return self

    def load_environment(self):
        return {"KEYS": str(self.keys), "ROOT": self.root_key}


def peers(plan, report):
    """6, 7: server, its Redis and generator share one vCPU; all candidates in each round."""
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as running:
        folder = pathlib.Path(name)

        def started(server):
            running.callback(server.stop)
            return server

        redis = started(servers.redis(folder, plan.cpu))
        fill(redis, folder / "redis.keys")
        keyreeve = started(Subject(folder / "data", plan.cpu)).prepare(folder, plan.keys)
        others = [started(Peer(candidate, folder, plan.cpu, redis)).wait() for candidate in CANDIDATES]
        for server in (keyreeve, *others):
            server.settle()
            check(server)
            load(server, plan, WARM_SECONDS, plan.connections[0])
        for connections in plan.connections:
            rounds(plan, report, connections, keyreeve, others)


def fill(redis, keys):
    """Stores keys in Redis under their digests, each with the contents of a verdict."""
    made = ["sk_live_" + secrets.token_urlsafe(32) for _ in range(REDIS_KEYS)]
    commands = []
    for number, key in enumerate(made):
        record = {"key_id": f"ak_{number:032x}", "tenant": "default", "subject": f"user_{number}", "name": "production",
                  "scopes": ["invoices:read"], "expiration": None}
        commands.append(f"SET key:{hashlib.sha256(key.encode()).hexdigest()} '{json.dumps(record)}'\n")
    answer = subprocess.run(["redis-cli", "-p", str(redis.port)], input="".join(commands) + "DBSIZE\n",
                            capture_output=True, text=True, check=True)
    if answer.stdout.split()[-1] != str(REDIS_KEYS):
        raise SystemExit(f"bench: Redis took not all keys: {answer.stdout[-300:]}")
    keys.write_text("\n".join(made) + "\n")


def check(server):
    """Checks that it accepts a good key and refuses a bad one: a server that does not look keys up is no peer."""
    with server.keys.open() as file:
        key = file.readline().strip()
    flipped = key[:-1] + ("a" if key[-1] != "a" else "b")
    good, bad = is_accepted(server, key), is_accepted(server, flipped)
    if not good or bad:
        raise SystemExit(f"bench: {server.process.args} says {good} of a good key and {bad} of a bad one")


def is_accepted(server, key):
    environment = server.load_environment()
    authorization = f"{server.scheme} {key}" if server.scheme else f"Bearer {environment['ROOT']}"
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("POST", "/v1/verify", json.dumps({"key": key}), {
        "Authorization": authorization, "Content-Type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status == 200 and json.loads(text)["valid"]


def load(server, plan, seconds, connections):
    return generators.wrk_without_errors(server, "verify", seconds, connections, plan.cpu, **server.load_environment())


def rounds(plan, report, connections, keyreeve, others):
    everybody = (keyreeve, *others)
    loads = {server: [] for server in everybody}
    for round_number in range(plan.rounds + 1):
        for server in everybody:
            found = load(server, plan, plan.seconds, connections)
            if round_number:
                loads[server].append(found)
    own = loads[keyreeve]
    for candidate, server in zip(CANDIDATES, others):
        ratios = [mine.rate / other.rate for mine, other in zip(own, loads[server])]
        rate, other_rate, cpu = (statistics.median(values) for values in (
            [one.rate for one in own], [one.rate for one in loads[server]], [one.cpu_us for one in loads[server]]))
        note = f"{rate:,.0f} to {other_rate:,.0f} req/s, of {cpu:,.0f} us each {rows.between(ratios)}"
        report.add(candidate.number, f"verify / {candidate.name}, {connections} connections", statistics.median(ratios),
                   note, candidate.goal, "at least")
