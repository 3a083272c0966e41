"""bench/run [--quick] [--keys N] [--only verify,instructions,creations,churn,immediate]"""
import argparse
import dataclasses
import pathlib
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
    """Prints each row when it is known."""

    def add(self, number, what, value, note, goal, sense):
        is_met = value >= goal if sense == "at least" else value <= goal
        shown = f"{value:.0f}" if value >= 100 else f"{value:.2f}"
        state = "met" if is_met else "not met"
        print(f"{number:>3}  {what:<58} {shown:>7}   goal {sense} {goal:<5} {state:<8} {note}", flush=True)


PARTS = {
    "verify": rows.verify_against_limits,
    "instructions": rows.instructions,
    "creations": rows.creations,
    "churn": rows.verify_under_churn,
    "immediate": immediate.immediate,
}


def main():
    options = argparse.ArgumentParser(prog="bench/run", description=__doc__)
    options.add_argument("--quick", action="store_true", help="fewer keys and rounds: under two minutes")
    options.add_argument("--keys", type=int, help="keys to issue and remember")
    options.add_argument("--only", default=",".join(PARTS), help="parts, by comma")
    chosen = options.parse_args()
    disk = pathlib.Path(__file__).resolve().parent.parent / ".cache"
    disk.mkdir(exist_ok=True)
    if chosen.quick:
        plan = Plan(50_000, 3, 1, (32,), 50_000, "0", disk)
    else:
        plan = Plan(1_000_000, 9, 1, (32, 64), 100_000, "0", disk)
    plan.keys = chosen.keys or plan.keys
    began = time.monotonic()
    print(f"Ratios in one run: median of {plan.rounds} rounds of {plan.seconds} s, candidates in turns. Absolute "
          "numbers are this machine's, and now's.\n")
    report = Report()
    for part in chosen.only.split(","):
        PARTS[part](plan, report)
    print(f"\n{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
