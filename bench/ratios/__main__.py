"""bench/run [--quick] [--keys N] [--write] [--only verify,instructions,inside,creations,churn,immediate]"""
import argparse
import contextlib
import dataclasses
import pathlib
import re
import subprocess
import time

from . import immediate, rows


@dataclasses.dataclass
class Plan:
    keys: int
    rounds: int
    seconds: int
    connections: tuple
    redis_requests: int
    cpu: str
    disk: pathlib.Path


class Report:
    """Prints each row when it is known, and keeps it for the page."""

    def __init__(self):
        self.rows = []

    def add(self, number, what, value, note, goal, sense):
        is_met = value >= goal if sense == "at least" else value <= goal
        shown = f"{value:.0f}" if value >= 100 else f"{value:.2f}"
        state = "met" if is_met else "not met"
        print(f"{number:>3}  {what:<58} {shown:>7}   goal {sense} {goal:<5} {state:<8} {note}", flush=True)
        self.rows.append(f"| {number} | {what} | {shown} | {sense} {goal} | {state} | {note} |")

    def write(self, page, introduction):
        """Puts the table in the place of the one before; the rest of the page is kept."""
        head, begin, rest = page.read_text().partition(BEGIN)
        _, end, tail = rest.partition(END)
        if not (begin and end):
            raise SystemExit(f"bench: {page} has no place for the table")
        table = ["| row | what | ratio | goal | | medians [range of the ratio] |", "|---|---|---|---|---|---|", *self.rows]
        page.write_text(f"{head}{BEGIN}\n{introduction}\n\n" + "\n".join(table) + f"\n{END}{tail}")


BEGIN, END = "<!-- table: made by bench/run --write -->", "<!-- end of the table -->"
PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs/performance.md"


def versions():
    """What was measured against what."""
    commands = (["nginx", "-v"], ["redis-server", "--version"], ["wrk", "-v"], ["postgres", "--version"])
    found = []
    for command in commands:
        with contextlib.suppress(OSError):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            match = re.search(r"(\d+\.[\d.]+\d)", done.stdout + done.stderr)
            found += [f"{command[0]} {match[1]}"] if match else []
    return ", ".join(found)


PARTS = {
    "verify": rows.verify_against_limits,
    "instructions": rows.instructions,
    "inside": rows.inside,
    "creations": rows.creations,
    "churn": rows.verify_under_churn,
    "immediate": immediate.immediate,
}


def main():
    options = argparse.ArgumentParser(prog="bench/run", description=__doc__)
    options.add_argument("--quick", action="store_true", help="fewer keys and rounds: under two minutes")
    options.add_argument("--keys", type=int, help="keys to issue and remember")
    options.add_argument("--only", default=",".join(PARTS), help="parts, by comma")
    options.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    chosen = options.parse_args()
    disk = pathlib.Path(__file__).resolve().parent.parent / ".cache"
    disk.mkdir(exist_ok=True)
    if chosen.quick:
        plan = Plan(50_000, 3, 1, (32,), 50_000, "0", disk)
    else:
        plan = Plan(1_000_000, 9, 1, (32, 64), 100_000, "0", disk)
    plan.keys = chosen.keys or plan.keys
    began = time.monotonic()
    introduction = (f"Ratios in one run: median of {plan.rounds} rounds of {plan.seconds} s, candidates in turns. "
                    "Absolute numbers are this machine's, and now's.")
    print(introduction + "\n")
    report = Report()
    for part in chosen.only.split(","):
        PARTS[part](plan, report)
    if chosen.write:
        report.write(PAGE, f"{introduction} {plan.keys:,} keys; {versions()}.")
    print(f"\n{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
