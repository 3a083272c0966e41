"""Row 13: other transports than HTTP over TCP. Server and generator share one vCPU, the candidates take turns."""
import json
import pathlib
import statistics
import subprocess
import tempfile

from . import generators, servers
from .rows import between

median = statistics.median
STREAMS = ("-c", 8, "-m", 8)
CONNECTIONS = 32
GRPC = ("-H", "content-type: application/grpc", "-H", "te: trailers")
CHECK = "/envoy.service.auth.v3.Authorization/Check"


def ways(plan, report):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        socket = folder / "api.sock"
        keyreeve = servers.Keyreeve(folder / "data", plan.cpu, listen=f"127.0.0.1:0,unix:{socket}")
        greeter = servers.hello_grpc(plan.cpu)
        try:
            secret = keyreeve.issue(1)[0]
            keyreeve.remember([secret])
            over_grpc(plan, report, folder, keyreeve, greeter, secret)
            over_unix(plan, report, folder, keyreeve, socket, secret)
        finally:
            greeter.stop()
            keyreeve.stop()


def over_grpc(plan, report, folder, keyreeve, greeter, secret):
    question, greeting = folder / "check.bin", folder / "hello.bin"
    question.write_bytes(framed(check_request(secret)))
    greeting.write_bytes(framed(field(1, b"production")))
    check = f"http://127.0.0.1:{keyreeve.check_port}{CHECK}"
    hello = f"{greeter.url}/hello.Greeter/Greet"
    if b"x-keyreeve-" not in asked_once(check, question):
        raise SystemExit("bench: the check did not let a good key through")
    rates = {"check": [], "hello": []}
    for _ in range(plan.rounds):
        for kind, url, data in (("check", check, question), ("hello", hello, greeting)):
            rates[kind].append(generators.h2load(url, plan.seconds, plan.cpu, *STREAMS, *GRPC, "-d", data))
    add(report, "gRPC ext_authz check / tonic hello, 8 x 8 streams", rates["check"], rates["hello"], 0.85)


def over_unix(plan, report, folder, keyreeve, socket, secret):
    body = folder / "verify.json"
    body.write_text(json.dumps({"key": secret}))
    options = ("--h1", "-c", CONNECTIONS, "-d", body, "-H", "content-type: application/json",
               "-H", f"authorization: Bearer {keyreeve.root_key}")
    rates = {"unix": [], "tcp": []}
    for _ in range(plan.rounds):
        rates["unix"].append(generators.h2load("http://keyreeve/v1/verify", plan.seconds, plan.cpu, *options, "-B",
                                               f"unix:{socket}"))
        rates["tcp"].append(generators.h2load(f"{keyreeve.url}/v1/verify", plan.seconds, plan.cpu, *options))
    add(report, f"verify over a Unix socket / TCP, {CONNECTIONS} connections", rates["unix"], rates["tcp"], 1.15)


def add(report, what, own, other, goal):
    ratios = [a / b for a, b in zip(own, other)]
    note = f"{median(own):,.0f} to {median(other):,.0f} req/s {between(ratios)}"
    report.add(13, what, median(ratios), note, goal, "at least")


def asked_once(url, data):
    headers = [word for option in (GRPC[1], GRPC[3]) for word in ("-H", option)]
    command = ["curl", "-sS", "--http2-prior-knowledge", *headers, "--data-binary", f"@{data}", url]
    return subprocess.run(command, capture_output=True, check=True).stdout


def check_request(secret):
    """The request of Envoy: CheckRequest.attributes.request.http.headers, as Protocol Buffers."""
    header = field(1, b"authorization") + field(2, f"Bearer {secret}".encode())
    return field(1, field(4, field(2, field(3, header))))


def field(number, data):
    assert len(data) < 128 * 128
    low, high = len(data) & 127, len(data) >> 7
    length = bytes([low | 128, high]) if high else bytes([low])
    return bytes([number << 3 | 2]) + length + data


def framed(message):
    return bytes([0]) + len(message).to_bytes(4, "big") + message
