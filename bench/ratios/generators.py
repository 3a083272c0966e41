"""Load: wrk for HTTP, redis-benchmark for Redis, plain sockets where requests must be counted exactly."""
import dataclasses
import json
import os
import re
import socket
import subprocess

from .servers import HERE


@dataclasses.dataclass
class Load:
    """The result of one round."""
    rate: float
    requests: int
    errors: int
    p99_us: float
    cpu_us: float


def wrk(server, script, seconds, connections, cpus, **environment):
    before = server.cpu_seconds()
    done = subprocess.run(
        ["taskset", "-c", cpus, "wrk", "-t", "1", "-c", str(connections), "-d", f"{seconds}s", "--timeout", "5s",
         "-s", HERE / "lua" / f"{script}.lua", server.url + "/v1/verify"],
        capture_output=True, text=True, check=False, env={**os.environ, **environment})
    found = re.search(r"@@ (\S+) (\S+) (\S+) (\S+)", done.stdout)
    if not found:
        raise SystemExit(f"bench: wrk failed: {done.stdout[-500:]} {done.stderr[-500:]}")
    rate, requests, errors, p99 = (float(value) for value in found.groups())
    if errors > requests / 1000:
        raise SystemExit(f"bench: {errors:.0f} of {requests:.0f} requests failed: {done.stdout[-500:]}")
    cpu = (server.cpu_seconds() - before) / max(requests, 1) * 1e6
    return Load(rate, int(requests), int(errors), p99, cpu)


def wrk_without_errors(server, *arguments, **environment):
    load = wrk(server, *arguments, **environment)
    if load.errors:
        raise SystemExit(f"bench: {load.errors} of {load.requests} requests failed: {server.process.args}")
    return load


def redis_get(server, requests, connections, cpus):
    done = subprocess.run(
        ["taskset", "-c", cpus, "redis-benchmark", "-p", str(server.port), "-t", "get", "-c", str(connections),
         "-n", str(requests), "-r", "100000", "--csv"], capture_output=True, text=True, check=True)
    return float(done.stdout.strip().splitlines()[-1].split(",")[1].strip('"'))


def h2load(url, seconds, cpus, *options):
    """Returns requests per second."""
    done = subprocess.run(["taskset", "-c", cpus, "h2load", "-t", "1", "-D", str(seconds), *map(str, options), url],
                          capture_output=True, text=True, check=True)
    rate = re.search(r"finished in .*?, ([\d.]+) req/s", done.stdout)
    failed = re.search(r"(\d+) failed, (\d+) errored", done.stdout)
    codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", done.stdout)
    if not (rate and failed and codes) or {failed[1], failed[2], *codes.groups()[1:]} != {"0"}:
        raise SystemExit(f"bench: h2load: {done.stdout[-800:]} {done.stderr[-300:]}")
    return float(rate[1])


def requests(port, count, bodies, headers, connections=8):
    """Sends exactly `count` requests over some connections, one at a time on each."""
    sockets = [socket.create_connection(("127.0.0.1", port), 600) for _ in range(connections)]
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    wire = [f"POST /v1/verify HTTP/1.1\r\nHost: bench\r\n{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()
            for body in (json.dumps(body) for body in bodies)]
    for number in range(0, count, connections):
        for place, stream in enumerate(sockets):
            stream.sendall(wire[(number + place) % len(wire)])
        for stream in sockets:
            read_answer(stream)
    for stream in sockets:
        stream.close()


def read_answer(stream):
    data = b""
    while b"\r\n\r\n" not in data:
        data += some(stream)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(re.search(rb"content-length: (\d+)", head, re.IGNORECASE)[1])
    while len(body) < length:
        body += some(stream)
    if b" 200 " not in head.splitlines()[0]:
        raise SystemExit(f"bench: {head!r} {body!r}")


def some(stream):
    data = stream.recv(65536)
    if not data:
        raise SystemExit("bench: the server closed a connection")
    return data
