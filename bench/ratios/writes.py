"""Row 11: what it costs to make keys, one by one, side by side and in batches, against one durable row each."""
import contextlib
import pathlib
import statistics
import subprocess
import tempfile

from . import generators, servers
from .immediate import Node, Postgres
from .rows import between

median = statistics.median


def creations(plan, report):
    """On SQLite and on Postgres, each against plain inserts on the same disk, in turns."""
    with tempfile.TemporaryDirectory(dir=plan.disk) as name, contextlib.ExitStack() as running:
        folder = pathlib.Path(name)
        keyreeve = servers.Keyreeve(folder / "data", "0-1")
        running.callback(keyreeve.stop)
        raw = [servers.LIMITS / "insert", folder / "raw.db", str(plan.seconds)]
        measure(plan, report, "SQLite", keyreeve, lambda: float(output(raw)))
        on_a_slower_disk(plan, report, folder)
    postgres = Postgres()
    try:
        node = Node(postgres.url)
        try:
            postgres.sql("CREATE TABLE plain (digest BYTEA UNIQUE, owner TEXT, name TEXT, expires BIGINT)")
            measure(plan, report, "Postgres", OverHttp(node), lambda: plain_inserts(postgres, plan.seconds))
        finally:
            node.close()
    finally:
        postgres.close()


def on_a_slower_disk(plan, report, folder):
    """The same where a sync takes some time more, as it does on most disks that are not only in memory."""
    for microseconds in (500, 1_000):
        slowly = ["env", f"LD_PRELOAD={servers.LIMITS / 'slow_sync.so'}", f"SLOW_SYNC_US={microseconds}"]
        keyreeve = servers.Keyreeve(folder / f"slow {microseconds}", "0-1", before=slowly)
        raw = [*slowly, servers.LIMITS / "insert", folder / f"slow {microseconds}.db", str(plan.seconds)]
        name = f"SQLite, a sync {microseconds / 1000:g} ms slower"
        measure(plan, report, name, keyreeve, lambda raw=raw: float(output(raw)))
        keyreeve.stop()


class OverHttp:
    """A node as the load generator sees it."""
    root_key = property(lambda self: Node.root_key)

    def __init__(self, node):
        self.url = f"http://127.0.0.1:{node.port}"

    def cpu_seconds(self):
        return 0


def output(command):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True).stdout


def plain_inserts(postgres, seconds):
    """Rows a second of one client that waits for the disk each time."""
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write("INSERT INTO plain VALUES (sha256(random()::text::bytea), 'user_2f4KmXyZ', 'production', 1799999999);\n")
        script.flush()
        text = output(["pgbench", "-n", "-f", script.name, "-T", seconds, postgres.url])
    return float(next(line.split()[2] for line in text.splitlines() if line.startswith("tps")))


def measure(plan, report, database, server, plain):
    """One creation at a time, 32 callers at a time, batches of 64, and plain rows."""
    kinds = {"single": (1, 1), "side by side": (1, 32), "batch": (64, 1)}
    rates = {kind: [] for kind in (*kinds, "plain")}
    for number in range(plan.rounds):
        for kind, (size, connections) in kinds.items():
            run = f"{size}_{connections}_{number}"
            load = generators.wrk(server, "create", plan.seconds, connections, "0-1", ROOT=server.root_key,
                                  BATCH=str(size), RUN=run)
            rates[kind].append(load.rate * size)
        rates["plain"].append(plain())
    for kind, base, what, goal in (
        ("single", "plain", "single create / plain durable insert", 0.6),
        ("batch", "single", "batch of 64 / single create, rows/s", 10),
        ("side by side", "single", "32 creates at a time / one, rows/s", 2),
    ):
        ratios = [own / other for own, other in zip(rates[kind], rates[base])]
        note = f"{median(rates[kind]):,.0f} to {median(rates[base]):,.0f} rows/s {between(ratios)}"
        report.add(11, f"{what}, {database}", median(ratios), note, goal, "at least")
