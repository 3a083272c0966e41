"""Rows S1 to S4: the cost of many keys beside verification, and the effect of a flood of junk on a revocation."""
import contextlib
import os
import pathlib
import re
import statistics
import subprocess
import tempfile
import time

from . import servers
from .immediate import Node, Postgres, nodes, p, revoked_ms

MANY = 100_000
JUNK = 20_000
JUNK_AT_ONCE = 100


def scale(plan, report):
    with tempfile.TemporaryDirectory(dir=plan.disk) as name:
        folder = pathlib.Path(name)
        many_keys(report, folder)
        with contextlib.closing(Postgres()) as postgres:
            flood(plan, report, folder, postgres)


def many_keys(report, folder):
    keyreeve = servers.Keyreeve(folder / "data", "0-1")
    try:
        created_and_revoked(report, keyreeve)
    finally:
        keyreeve.stop()


def created_and_revoked(report, keyreeve):
    """S2: by several clients. S3: in one call, until the answer, which is sent when the change is effective."""
    begun = time.perf_counter()
    secrets = keyreeve.issue(MANY)
    taken = time.perf_counter() - begun
    report.add("S2", f"{MANY:,} keys created by batches of 1 000, s", taken, f"{MANY / taken:,.0f} keys/s", 30, "at most")
    keyreeve.remember(secrets)
    connection = keyreeve.connection()
    begun = time.perf_counter()
    done = keyreeve.call(connection, "/v1/api_keys/revoke_many", {"filter": {"all": True}})
    taken = time.perf_counter() - begun
    for start in range(0, MANY, 100):
        items = [{"key": secret} for secret in secrets[start:start + 100]]
        verdicts = keyreeve.call(connection, "/v1/verify/batch", {"items": items})["data"]
        assert not any(verdict["valid"] for verdict in verdicts), "accepted after revoke_many"
    report.add("S3", f"{done['revoked']:,} remembered keys revoked in one call, s", taken,
               "afterwards every one of them is refused", 10, "at most")


def lists(keys, report, keyreeve):
    """S1: the time of a page of the list, with each filter."""
    connection = keyreeve.connection()
    for what, query in (("the newest keys", "limit=100"), ("a name that nobody has", "query=nobody-has-this&limit=100"),
                        ("of one owner", f"subject=user_{keys - 1}"), ("revoked keys", "state=revoked&limit=100")):
        taken = []
        for _ in range(5):
            begun = time.perf_counter()
            connection.request("GET", f"/v1/api_keys?{query}", headers={"Authorization": f"Bearer {keyreeve.root_key}"})
            answer = connection.getresponse()
            body = answer.read()
            assert answer.status == 200, body
            taken.append((time.perf_counter() - begun) * 1_000)
        report.add("S1", f"a page of {keys:,} keys, {what}, ms", statistics.median(taken),
                   f"slowest {max(taken):.0f} ms", 300, "at most")


def started_again(keys, report, data):
    """S1: a start with all those keys in the database, and the memory of the process then."""
    begun = time.perf_counter()
    keyreeve = servers.Keyreeve(data, "0-1")
    taken = time.perf_counter() - begun
    try:
        note = f"{keyreeve.resident_bytes() / 1e6:.0f} MB resident, nothing remembered yet"
        report.add("S1", f"start with {keys:,} keys in the database, s", taken, note, 2, "at most")
    finally:
        keyreeve.stop()


def flood(plan, report, folder, postgres):
    """S4: revocations on three nodes, one of which gets junk by the tens of thousands; all on two cores."""
    stranger = servers.Keyreeve(folder / "stranger", "0-1")
    try:
        forged = stranger.issue(JUNK)
    finally:
        stranger.stop()
    mistyped = [secret[:-1] + ("0" if secret[-1] != "0" else "1") for secret in forged]
    with nodes(3, postgres.url) as running:
        revoked_ms(running, 5)
        for kind, keys in (("mistyped", mistyped), ("with a right checksum, so that each is looked up", forged)):
            path = folder / "junk.txt"
            path.write_text("\n".join(keys) + "\n")
            flooded_by(plan, report, running, kind, path)


def flooded_by(plan, report, running, kind, path):
    per_round = 20 if plan.rounds > 3 else 10
    quiet, flooded, rates = [], [], []
    for _ in range(plan.rounds):
        quiet += revoked_ms(running, per_round)
        load = start_flood(running[0], path)
        flooded += revoked_ms(running[1:] + running[:1], per_round)
        rates.append(ended(load))
    note = (f"{statistics.median(flooded):.1f} to {statistics.median(quiet):.1f} ms, p99 {p(flooded, 0.99):.0f} to "
            f"{p(quiet, 0.99):.0f} ms; {statistics.median(rates):,.0f} junk keys/s {kind}; every node accepted each key before")
    report.add("S4", f"revoke on 3 nodes under junk {kind.split(',')[0]} / without, p50",
               statistics.median(flooded) / statistics.median(quiet), note, 5, "at most")


def start_flood(node, junk):
    environment = {**os.environ, "ROOT": Node.root_key, "KEYS": str(junk), "BATCH": str(JUNK_AT_ONCE)}
    return subprocess.Popen(
        ["wrk", "-t", "1", "-c", "8", "-d", "600s", "--timeout", "30s", "-s", servers.HERE / "lua/verify.lua",
         f"http://127.0.0.1:{node.port}/v1/verify/batch"], stdout=subprocess.PIPE, text=True, env=environment)


def ended(load):
    load.send_signal(2)
    output, _ = load.communicate(timeout=60)
    return float(re.search(r"@@ (\S+)", output)[1]) * JUNK_AT_ONCE
