"""The cost curve: verify against axum hello, from a thousand keys to ten million, over one connection and over many."""
import dataclasses
import pathlib
import statistics
import tempfile
import time

from . import chart, generators, report as reports, rows, scale, servers

SIZES = (1_000, 100_000, 1_000_000, 10_000_000)
CONNECTIONS = (1, 8, 64, 256)
# The default capacity of a node.
REMEMBERED = 2_000_000


@dataclasses.dataclass(frozen=True)
class Point:
    keys: int
    connections: int
    ratios: list
    rate: float

    @property
    def ratio(self):
        return statistics.median(self.ratios)

    def __str__(self):
        return f"{self.ratio:.2f} {rows.between(self.ratios)}, {self.rate:,.0f} req/s"


class Curve:
    """All measured points, as a table and as a picture, and the measurements with the most keys."""

    def __init__(self):
        self.points = []
        self.end = reports.Rows()

    def table(self):
        head = "".join(f" {connections_of(number)} |" for number in CONNECTIONS)
        lines = [f"| keys |{head}", "|---:|" + "---|" * len(CONNECTIONS)]
        for keys in sorted({point.keys for point in self.points}):
            found = {point.connections: point for point in self.points if point.keys == keys}
            lines.append(f"| {keys:,} |" + "".join(f" {found[number]} |" for number in CONNECTIONS))
        return lines

    def chart(self):
        lines = {connections_of(number): [(point.keys, point.ratio) for point in self.points
                                          if point.connections == number] for number in CONNECTIONS}
        subtitle = "requests a second of POST /v1/verify, as a ratio to axum hello with JSON in and out (dashed)"
        return chart.lines("A verification, by how many keys there are", subtitle, "keys issued and remembered", lines)


def connections_of(number):
    return f"{number} connection" + ("s" if number > 1 else "")


def curve(plan, report):
    """One Keyreeve grows from size to size; at each, both servers run in turns over the same connections, on one
    vCPU."""
    largest = min(plan.keys, SIZES[-1])
    sizes = [size for size in SIZES if size < largest] + [largest]
    report.curve = Curve()
    with tempfile.TemporaryDirectory(dir=plan.disk) as name:
        folder = pathlib.Path(name)
        options = ("--cache-entries", str(max(REMEMBERED, largest * 5 // 4)))
        keyreeve = servers.Keyreeve(folder / "data", plan.cpu, options=options)
        empty = keyreeve.resident_bytes()
        started = [keyreeve]
        try:
            hello = servers.hello(plan.cpu, 1)
            started.append(hello)
            issued = 0
            for size in sizes:
                files = grow(keyreeve, folder, issued, size)
                issued = size
                measure(plan, report.curve, size, keyreeve, hello, {"KEYS": str(files), "ROOT": keyreeve.root_key})
            held = (keyreeve.resident_bytes() - empty) / largest
            report.curve.end.add("9", f"resident bytes per key, {largest:,} keys", held, "", 200, "at most")
            scale.lists(largest, report.curve.end, keyreeve)
        finally:
            for server in started:
                server.stop()
        scale.started_again(largest, report.curve.end, folder / "data")


def grow(keyreeve, folder, issued, size):
    """Issues the missing keys. Returns the file of those that are verified: they are spread over all."""
    began = time.monotonic()
    secrets = folder / "all.txt"
    with secrets.open("a") as file:
        keyreeve.issue_to(file, range(issued, size))
    keyreeve.settle()
    print(f"     {size:,} keys, the last {size - issued:,} in {time.monotonic() - began:.0f} s", flush=True)
    with secrets.open() as file:
        return rows.keys_file(folder, file, size)


def measure(plan, found, size, keyreeve, hello, environment):
    loads = {(server, number): [] for server in (keyreeve, hello) for number in CONNECTIONS}
    for round_number in range(plan.rounds + 1):
        for number in CONNECTIONS:
            for server in (keyreeve, hello):
                load = generators.wrk_without_errors(server, "verify", plan.seconds, number, plan.cpu, **environment)
                if round_number:
                    loads[server, number].append(load.rate)
    for number in CONNECTIONS:
        ratios = [own / other for own, other in zip(loads[keyreeve, number], loads[hello, number])]
        found.points.append(Point(size, number, ratios, statistics.median(loads[keyreeve, number])))
        print(f"     verify / axum hello, {connections_of(number):<15} {found.points[-1]}", flush=True)
