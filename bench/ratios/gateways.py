"""Part `gateways`: what a check adds to a request behind each gateway, with the shipped files and with the same files
without the check. Needs what scripts/setup installs."""
import dataclasses
import json
import os
import pathlib
import re
import statistics
import subprocess
import tempfile

from . import generators, servers

WHEELS = servers.HERE.parent / "e2e/.venv/bin"
KEYS = 1_000
# One connection measures the time of a check; several measure the request rate that remains.
ONE, MANY = 1, 32
# Goal: the median latency with a check, over that without.
LATENCY_AT_MOST, RATE_AT_LEAST = 3, 0.25


@dataclasses.dataclass(frozen=True)
class Gateway:
    name: str
    command: tuple
    file: str
    # What is removed from the file, so that no check is made.
    check: str


GATEWAYS = (
    Gateway("nginx", ("nginx", "-p", ".", "-c", "nginx.conf", "-g", "daemon off; pid nginx.pid; error_log stderr crit;"),
            "nginx.conf", r" +auth_request /_keyreeve;\n"),
    Gateway("caddy", ("caddy", "run", "--config", "Caddyfile", "--adapter", "caddyfile"), "Caddyfile",
            r"\t\tforward_auth .*?\n\t\t\}\n"),
    Gateway("traefik", (WHEELS / "traefik", "--configFile=traefik.yml", "--log.level=ERROR"), "traefik-keyreeve.yml",
            r"keyreeve, (?=without-key)"),
    Gateway("envoy", (WHEELS / "envoy", "-c", "envoy.yaml", "--concurrency", "1", "--use-dynamic-base-id", "--log-level",
                      "error"), "envoy.yaml",
            r" +- name: envoy.filters.http.ext_authz\n.*?(?= +- name: envoy.filters.http.router)"),
    Gateway("envoy-http", (WHEELS / "envoy", "-c", "envoy-http.yaml", "--concurrency", "1", "--use-dynamic-base-id",
                           "--log-level", "error"), "envoy-http.yaml",
            r" +- name: envoy.filters.http.ext_authz\n.*?(?= +- name: envoy.filters.http.router)"),
    Gateway("haproxy", ("haproxy", "-db", "-f", "haproxy.cfg"), "haproxy.cfg",
            r" +http-request lua\.keyreeve .*?\n.*?(?= +# The key ends here)"),
)


class Running(servers.Server):
    """A gateway between an API and, if it checks, Keyreeve."""

    def __init__(self, gateway, folder, check, upstream, has_check):
        folder = folder / (gateway.name + ("-with" if has_check else "-without"))
        port = servers.free_port()
        command = [servers.BIN, "gateways", "snippet", gateway.name, "--into", folder, "--check", check, "--upstream",
                   upstream, "--listen", f"127.0.0.1:{port}"]
        subprocess.run(command, check=True, capture_output=True)
        if not has_check:
            file = folder / gateway.file
            text, count = re.subn(gateway.check, "", file.read_text(), count=1, flags=re.DOTALL)
            if count != 1:
                raise SystemExit(f"bench: {gateway.file} has no check to take out")
            file.write_text(text)
        environment = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
        with (folder / "log").open("w") as log:
            super().__init__(gateway.command, port, "0", stdout=log, stderr=log, cwd=folder, env=environment)
        self.wait()


def gateways(plan, report):
    with tempfile.TemporaryDirectory(dir=plan.disk) as folder:
        folder = pathlib.Path(folder)
        keyreeve = Checked(folder / "data", plan.cpu)
        api = servers.nginx(folder, plan.cpu)
        secrets = keyreeve.issue(KEYS)
        keyreeve.remember(secrets)
        keys = folder / "keys"
        keys.write_text("\n".join(secrets) + "\n")
        for gateway in GATEWAYS:
            sides = [Running(gateway, folder, keyreeve.check, f"127.0.0.1:{api.port}", has_check)
                     for has_check in (True, False)]
            measure(plan, report, gateway.name, sides, str(keys))
            for side in sides:
                side.stop()


class Checked(servers.Keyreeve):
    """A Keyreeve with a known check listener."""

    def __init__(self, data, cpus):
        port = servers.free_port()
        self.check = f"127.0.0.1:{port}"
        super().__init__(data, cpus, options=("--check-listen", self.check))


def measure(plan, report, name, sides, keys):
    for side in sides:
        # A gateway may listen before it is ready; a round counts only successful answers.
        warm(side, keys)
    rounds = {(side, connections): [] for side in sides for connections in (ONE, MANY)}
    for _ in range(plan.rounds):
        for (side, connections), loads in rounds.items():
            loads.append(load(side, plan.seconds, connections, plan.cpu, keys))
    with_check, without = sides

    def pairs(connections, pick):
        both = zip(rounds[with_check, connections], rounds[without, connections])
        return [(pick(one), pick(other)) for one, other in both]

    latency = pairs(ONE, lambda one: one.p99_us)
    rate = pairs(MANY, lambda one: one.rate)
    for what, values, unit, goal, sense in (
        ("request with a check / without, median, 1 connection", latency, "us", LATENCY_AT_MOST, "at most"),
        (f"requests a second with a check / without, {MANY} connections", rate, "req/s", RATE_AT_LEAST, "at least"),
    ):
        ratios = [one / other for one, other in values]
        first, second = (statistics.median(side) for side in zip(*values))
        note = f"{first:,.0f} to {second:,.0f} {unit} [{min(ratios):.2f}..{max(ratios):.2f}]"
        if unit == "us":
            note = f"{first - second:,.0f} us more: {note}"
        report.add("GW", f"{name}: {what}", statistics.median(ratios), note, goal, sense)


def load(side, seconds, connections, cpus, keys):
    """A round. What `generators` calls p99 is the median here."""
    return generators.wrk_without_errors(side, "gateway", seconds, connections, cpus, KEYS=keys)


def warm(side, keys):
    for _ in range(20):
        found = generators.wrk(side, "gateway", 1, ONE, "0", KEYS=keys) if is_ready(side, keys) else None
        if found and not found.errors:
            return
    raise SystemExit(f"bench: {side.process.args} does not let a good key through")


def is_ready(side, keys):
    key = pathlib.Path(keys).read_text().split("\n", 1)[0]
    asked = subprocess.run(["curl", "-s", "-o", "/dev/null", "-w", "%{json}", "--retry", "10", "--retry-connrefused",
                            "--retry-delay", "1", side.url, "-H", f"Authorization: Bearer {key}"],
                           capture_output=True, text=True, check=False)
    return json.loads(asked.stdout)["http_code"] == 200
