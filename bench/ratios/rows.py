"""The measurements, one function each. Numbers are those of the table in README.md."""
import itertools
import os
import pathlib
import re
import statistics
import subprocess
import tempfile

from . import generators, servers

median = statistics.median


def between(ratios):
    return f"[{min(ratios):.2f}..{max(ratios):.2f}]"


def verify_against_limits(plan, report):
    """1, 2, 4, 5: server and generator share one vCPU; all candidates in each round."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        keyreeve = servers.Keyreeve(folder / "data", plan.cpu)
        started = [keyreeve]
        try:
            hello = servers.hello(plan.cpu, 1)
            nginx = servers.nginx(folder, plan.cpu)
            redis = servers.redis(folder, plan.cpu)
            started += [hello, nginx, redis]
            fill = ["redis-benchmark", "-p", str(redis.port), "-t", "set", "-n", "200000", "-r", "100000", "-q"]
            subprocess.run(fill, stdout=subprocess.DEVNULL, check=True)
            at_start = keyreeve.resident_bytes()
            # By one client: the time of large requests in parallel is no part of the cost of a key.
            secrets = keyreeve.issue(plan.keys, callers=1)
            keyreeve.remember(secrets, callers=1)
            keyreeve.settle()
            resident = (keyreeve.resident_bytes() - at_start) / plan.keys
            report.add(9, f"resident bytes per key, {plan.keys:,} keys", resident, "", 200, "at most")
            files = keys_file(folder, secrets, len(secrets))
            environment = {"KEYS": str(files), "ROOT": keyreeve.root_key}
            for connections in plan.connections:
                rounds(plan, report, connections, (keyreeve, hello, nginx, redis), environment)
        finally:
            for server in started:
                server.stop()


def keys_file(folder, secrets, number):
    """At most 50 000 of the keys, spread over all of them: wrk keeps each request in its own memory."""
    path = folder / "keys.txt"
    step = -(-number // 50_000)
    path.write_text("".join(secret.strip() + "\n" for secret in itertools.islice(secrets, 0, None, step)))
    return path


def rounds(plan, report, connections, candidates, environment):
    keyreeve, hello, nginx, redis = candidates
    http = {"keyreeve": keyreeve, "hello": hello, "nginx": nginx}
    seen = {name: [] for name in (*http, "redis")}
    for round_number in range(plan.rounds + 1):
        for name, server in http.items():
            load = generators.wrk(server, "verify", plan.seconds, connections, plan.cpu, **environment)
            if round_number:
                seen[name].append(load)
        rate = generators.redis_get(redis, plan.redis_requests, connections, plan.cpu)
        if round_number:
            seen["redis"].append(rate)
    rates = {name: [load.rate for load in seen[name]] for name in http} | {"redis": seen["redis"]}
    for number, limit, what, goal in [
        (1, "hello", "verify / axum hello-world POST", 1.10),
        (4, "nginx", "verify / nginx return 200", 0.70),
        (5, "redis", "verify / Redis GET", 0.90),
    ]:
        ratios = [own / other for own, other in zip(rates["keyreeve"], rates[limit])]
        note = f"{median(rates['keyreeve']):,.0f} to {median(rates[limit]):,.0f} req/s {between(ratios)}"
        report.add(number, f"{what}, {connections} connections", median(ratios), note, goal, "at least")
    ratios = [own.cpu_us / other.cpu_us for own, other in zip(seen["keyreeve"], seen["hello"])]
    note = f"{median(load.cpu_us for load in seen['keyreeve']):.1f} us a request {between(ratios)}"
    what = f"server CPU per verify / axum hello, {connections} connections"
    report.add(2, what, median(ratios), note, 0.95, "at most")


def instructions(plan, report):
    """3: user instructions of a request, as the difference of two counts. Hardware SHA-256 is not counted there."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        keyreeve = servers.Keyreeve(folder / "data", plan.cpu)
        secrets = keyreeve.issue(64)
        root_key = keyreeve.root_key
        keyreeve.stop()
        bodies = [{"key": secret} for secret in secrets]
        headers = {"Authorization": f"Bearer {root_key}", "Content-Type": "application/json"}

        def own(log):
            return servers.Keyreeve(folder / "data", plan.cpu, before=callgrind(log))

        def limit(log):
            port = servers.free_port()
            command = [*callgrind(log), servers.LIMITS / "hello", f"127.0.0.1:{port}", "1"]
            return servers.Server(command, port, plan.cpu).wait(60)

        counts = [per_request(folder, start, bodies, headers) for start in (own, limit)]
        note = f"{counts[0]:,.0f} to {counts[1]:,.0f} instructions"
        report.add(3, "user instructions per verify / axum hello", counts[0] / counts[1], note, 0.85, "at most")


def callgrind(log):
    return ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", f"--log-file={log}"]


def per_request(folder, start, bodies, headers):
    collected = []
    for count in (800, 4_000):
        log = folder / f"callgrind-{count}.log"
        server = start(log)
        generators.requests(server.port, count, bodies, headers)
        server.stop()
        collected.append(int(re.search(r"Collected : (\d+)", log.read_text())[1]))
    return (collected[1] - collected[0]) / 3_200


def inside(plan, report):
    """8: verification inside an application against one SHA-256 of the key: one key, and all of them in no order."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        keyreeve = servers.Keyreeve(folder / "data", "0-1")
        try:
            path = folder / "all.txt"
            # Fills the node first: a verifier fetches each key alone, and each would otherwise be a query to the
            # database.
            with path.open("w") as file:
                keyreeve.issue_to(file, range(plan.keys))
            keyreeve.settle()
            command = [servers.LIMITS / "inside", keyreeve.url, path, str(plan.rounds)]
            done = subprocess.run(command, capture_output=True, text=True, check=True,
                                  env={**os.environ, "ROOT": keyreeve.root_key})
        finally:
            keyreeve.stop()
    rows = [[float(value) for value in line.split()] for line in done.stdout.splitlines()]
    digest = median(row[0] for row in rows)
    for place, what, goal in ((1, "the same key", 3), (2, f"{plan.keys:,} keys in no order", 9)):
        ratios = [row[place] / row[0] for row in rows]
        note = f"{median(row[place] for row in rows):,.0f} to {digest:,.0f} ns {between(ratios)}"
        report.add(8, f"verify in process / one SHA-256, {what}", median(ratios), note, goal, "at most")


def verify_under_churn(plan, report):
    """12: p99 of verify while about 500 keys/s are created and 500 revoked (1 000 changes/s), against idle."""
    with tempfile.TemporaryDirectory(dir=plan.disk) as name:
        folder = pathlib.Path(name)
        keyreeve = servers.Keyreeve(folder / "data", "0-1")
        try:
            secrets = keyreeve.issue(10_000)
            keyreeve.remember(secrets)
            keyreeve.settle()
            environment = {"KEYS": str(keys_file(folder, secrets, len(secrets))), "ROOT": keyreeve.root_key}
            quiet, busy, changes = [], [], []
            for number in range(plan.rounds):
                quiet.append(verify_p99(plan, keyreeve, environment))
                churn = start_churn(plan, keyreeve, number)
                busy.append(verify_p99(plan, keyreeve, environment))
                changes.append(churned(churn))
        finally:
            keyreeve.stop()
        ratios = [loaded / idle for loaded, idle in zip(busy, quiet)]
        note = f"{median(busy):,.0f} to {median(quiet):,.0f} us, {median(changes):,.0f} changes/s {between(ratios)}"
        report.add(12, "verify p99 during changes / idle", median(ratios), note, 1.3, "at most")


def verify_p99(plan, keyreeve, environment):
    return generators.wrk(keyreeve, "verify", plan.seconds, 8, "0", **environment).p99_us


def start_churn(plan, keyreeve, number):
    environment = {"ROOT": keyreeve.root_key, "RUN": f"churn_{number}", "PAUSE": "38"}
    return subprocess.Popen(
        ["taskset", "-c", "1", "wrk", "-t", "1", "-c", "40", "-d", f"{plan.seconds + 0.5:.0f}s", "-s",
         servers.HERE / "lua" / "churn.lua", keyreeve.url], stdout=subprocess.PIPE, text=True,
        env={**os.environ, **environment})


def churned(churn):
    output, _ = churn.communicate(timeout=60)
    return float(re.search(r"@@ (\S+)", output)[1])
