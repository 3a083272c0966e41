"""Measures Keyreeve against the limits of this machine, and against others, as ratios within one run."""
import argparse
import contextlib
import dataclasses
import pathlib
import re
import signal
import subprocess
import sys
import time

from . import backup, curve, gateways, immediate, peers, report, rows, scale, servers, ways, writes


@dataclasses.dataclass
class Plan:
    keys: int
    rounds: int
    seconds: int
    connections: tuple
    redis_requests: int
    cpu: str
    disk: pathlib.Path


def versions(parts):
    """Returns the versions of both sides and of the machine."""
    commands = (["nginx", "-v"], ["redis-server", "--version"], ["wrk", "-v"], ["postgres", "--version"])
    found = []
    for command in commands:
        with contextlib.suppress(OSError):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            match = re.search(r"(\d+\.[\d.]+\d)", done.stdout + done.stderr)
            found += [f"{command[0]} {match[1]}"] if match else []
    return ", ".join(found + (peers.versions() if "peers" in parts else []))


PARTS = {
    "verify": rows.verify_against_limits,
    "instructions": rows.instructions,
    "inside": rows.inside,
    "ways": ways.ways,
    "creations": writes.creations,
    "churn": rows.verify_under_churn,
    "immediate": immediate.immediate,
    "scale": scale.scale,
    "backup": backup.backup,
    "peers": peers.peers,
    "curve": curve.curve,
    "gateways": gateways.gateways,
}
# Needs gateways that bench/run does not install.
ONLY_WHEN_ASKED = {"gateways"}


def chosen_options():
    options = argparse.ArgumentParser(prog="bench/run", description=__doc__)
    options.add_argument("--quick", action="store_true", help="fewer keys and rounds: minutes, not hours")
    options.add_argument("--keys", type=int, help="keys to issue and remember, and the most that `curve` grows to: "
                         "1 000 000, with --quick 50 000; 10000000 takes all of the curve")
    options.add_argument("--only", default=",".join(part for part in PARTS if part not in ONLY_WHEN_ASKED),
                         help="parts, by comma: " + ", ".join(PARTS) + "; all but gateways if not said")
    options.add_argument("--write", action="store_true",
                         help="put what was measured into docs/performance.md, and draw docs/images/cost.svg")
    chosen = options.parse_args()
    chosen.parts = chosen.only.split(",")
    if unknown := set(chosen.parts) - set(PARTS):
        options.error(f"there is no part {', '.join(sorted(unknown))}")
    return chosen


def planned(chosen):
    disk = pathlib.Path(__file__).resolve().parent.parent / ".cache"
    disk.mkdir(exist_ok=True)
    if chosen.quick:
        plan = Plan(50_000, 3, 1, (32,), 50_000, "0", disk)
    else:
        plan = Plan(1_000_000, 9, 1, (32, 64), 100_000, "0", disk)
    plan.keys = chosen.keys or plan.keys
    return plan


def main():
    chosen = chosen_options()
    plan = planned(chosen)
    # On a signal, everything that was started is still stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: ended"))
    if chosen.write and "curve" in chosen.parts:
        # Check this now and not after an hour.
        report.around(report.CURVE)
    if "peers" in chosen.parts:
        peers.install()
    began = time.monotonic()
    introduction = (f"Ratios in one run: median of {plan.rounds} rounds of {plan.seconds} s, candidates in turns. "
                    f"Absolute numbers are this machine's, and now's. {plan.keys:,} keys; {versions(chosen.parts)}.")
    print(introduction + "\n")
    found = report.Report()
    try:
        for part in chosen.parts:
            PARTS[part](plan, found)
    finally:
        servers.stop_all()
    if chosen.write:
        found.write(introduction)
    print(f"\n{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
