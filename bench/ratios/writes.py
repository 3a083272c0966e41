"""Row 11: the cost of creating keys, by 32 and 64 callers, by one alone and in batches, against one durable row
each."""
import pathlib
import statistics
import subprocess
import tempfile

from . import generators, servers
from .immediate import Node, Postgres
from .rows import between

median = statistics.median
# Most disks that survive a power cut take longer to sync than a very fast one. Microseconds.
SLOWER_US = (0, 500, 1_000)


def creations(plan, report):
    """On SQLite and on Postgres, each against plain inserts on the same disk, in turns; also with slower syncs."""
    with tempfile.TemporaryDirectory(dir=plan.disk) as name:
        for microseconds in SLOWER_US:
            on_sqlite(plan, report, pathlib.Path(name, str(microseconds)), microseconds)
    for microseconds in SLOWER_US:
        on_postgres(plan, report, microseconds)


def slowly(microseconds):
    """Returns the environment that slows every sync of a process down, and the note for the table."""
    if not microseconds:
        return {}, ""
    environment = {"LD_PRELOAD": str(servers.LIMITS / "slow_sync.so"), "SLOW_SYNC_US": str(microseconds)}
    return environment, f", a sync {microseconds / 1000:g} ms slower"


def on_sqlite(plan, report, folder, microseconds):
    environment, note = slowly(microseconds)
    before = ["env", *(f"{name}={value}" for name, value in environment.items())]
    folder.mkdir()
    keyreeve = servers.Keyreeve(folder / "data", "0-1", before=before)
    raw = [*before, servers.LIMITS / "insert", folder / "raw.db", str(plan.seconds)]
    try:
        measure(plan, report, f"SQLite{note}", keyreeve, lambda: float(output(raw)))
    finally:
        keyreeve.stop()


def on_postgres(plan, report, microseconds):
    environment, note = slowly(microseconds)
    postgres = Postgres(environment)
    try:
        node = Node(postgres.url)
        try:
            postgres.sql("CREATE TABLE plain (digest BYTEA UNIQUE, owner TEXT, name TEXT, expires BIGINT)")
            measure(plan, report, f"Postgres{note}", OverHttp(node), lambda: plain_inserts(postgres, plan.seconds))
        finally:
            node.close()
    finally:
        postgres.close()


class OverHttp:
    """A node, for the load generator."""
    root_key = property(lambda self: Node.root_key)

    def __init__(self, node):
        self.url = f"http://127.0.0.1:{node.port}"

    def cpu_seconds(self):
        return 0


def output(command):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True).stdout


def plain_inserts(postgres, seconds):
    """Returns rows per second of one client that waits for the disk each time."""
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write("INSERT INTO plain VALUES (sha256(random()::text::bytea), 'user_2f4KmXyZ', 'production', 1799999999);\n")
        script.flush()
        text = output(["pgbench", "-n", "-f", script.name, "-T", seconds, postgres.url])
    return float(next(line.split()[2] for line in text.splitlines() if line.startswith("tps")))


def measure(plan, report, database, server, plain):
    """Creations by 32 and 64 callers, by one alone, in batches of 64, and plain rows."""
    kinds = {"alone": (1, 1), "32": (1, 32), "64": (1, 64), "batch": (64, 1)}
    rates = {kind: [] for kind in (*kinds, "plain")}
    for number in range(plan.rounds):
        for kind, (size, connections) in kinds.items():
            run = f"{size}_{connections}_{number}"
            load = generators.wrk(server, "create", plan.seconds, connections, "0-1", ROOT=server.root_key,
                                  BATCH=str(size), RUN=run)
            rates[kind].append(load.rate * size)
        rates["plain"].append(plain())
    for kind, base, what, goal in (
        ("32", "plain", "single creates, 32 connections / plain durable insert", 0.6),
        ("64", "plain", "single creates, 64 connections / plain durable insert", 0.6),
        ("alone", "plain", "one create at a time / plain durable insert", 0.6),
        ("batch", "alone", "batch of 64 / one create at a time, rows/s", 10),
        ("32", "alone", "32 creates at a time / one, rows/s", 2),
    ):
        ratios = [own / other for own, other in zip(rates[kind], rates[base])]
        note = f"{median(rates[kind]):,.0f} to {median(rates[base]):,.0f} rows/s {between(ratios)}"
        report.add(11, f"{what}, {database}", median(ratios), note, goal, "at least")
