"""Row B1: a backup of many keys and its restore; row B2: verifications beside a backup."""
import pathlib
import statistics
import subprocess
import tempfile
import time

from . import generators, rows, servers

ROUNDS_IDLE = 5


def backup(plan, report):
    with tempfile.TemporaryDirectory(dir=plan.disk) as name:
        folder = pathlib.Path(name)
        keyreeve = servers.Keyreeve(folder / "data", "0-1")
        try:
            secrets = keyreeve.issue(plan.keys)
            # wrk keeps all requests in its own memory: what is verified is spread over all keys.
            sample = secrets[::-(-len(secrets) // 50_000)]
            keyreeve.remember(sample)
            keyreeve.settle()
            environment = {"KEYS": str(rows.keys_file(folder, sample, len(sample))), "ROOT": keyreeve.root_key}
            beside_a_backup(plan, report, keyreeve, folder, environment)
            create_and_restore(plan, report, folder)
        finally:
            keyreeve.stop()


def command(*arguments):
    return subprocess.Popen([servers.BIN, *map(str, arguments)], stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE, text=True)


def ended(process):
    _, said = process.communicate(timeout=3_600)
    if process.returncode:
        raise SystemExit(f"bench: {said}")


def beside_a_backup(plan, report, keyreeve, folder, environment):
    """B2: rounds of a second while one backup after the other is made, and as many without, in turns."""
    idle, beside = [], []
    for number in range(ROUNDS_IDLE):
        idle.append(generators.wrk_without_errors(keyreeve, "verify", plan.seconds, 8, "0-1", **environment).p99_us)
        making = command("backup", "create", "--data", folder / "data", "--out", folder / f"{number}.backup")
        time.sleep(0.2)
        beside.append(generators.wrk_without_errors(keyreeve, "verify", plan.seconds, 8, "0-1", **environment).p99_us)
        if making.poll() is not None:
            print(f"(the backup was over before a round was: {plan.keys:,} keys are too few)")
        ended(making)
    ratio = statistics.median(beside) / statistics.median(idle)
    note = f"{statistics.median(beside):.0f} to {statistics.median(idle):.0f} us, 8 connections, {plan.keys:,} keys"
    report.add("B2", "p99 of verify beside a backup / without", ratio, note, 1.3, "at most")


def create_and_restore(plan, report, folder):
    """B1: on SQLite, with the server that is running."""
    file, per_key = folder / "0.backup", {}
    for what, arguments in (("created", ("create", "--data", folder / "data", "--out", file, "--force")),
                            ("verified", ("verify", file)),
                            ("restored", ("restore", file, "--data", folder / "restored"))):
        began = time.perf_counter()
        ended(command("backup", *arguments))
        per_key[what] = time.perf_counter() - began
    size = file.stat().st_size
    for what, seconds in per_key.items():
        note = f"{plan.keys / seconds:,.0f} keys/s" + (f", {size / plan.keys:.0f} bytes a key" if what == "created" else "")
        report.add("B1", f"a backup of {plan.keys:,} keys {what}, s", seconds, note, plan.keys / 10_000, "at most")
