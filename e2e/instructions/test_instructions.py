"""User instructions of a verification, counted by callgrind: the same on every run, so they can be a gate.

Callgrind has no hardware SHA-256: the key's digest counts as some 3 400 instructions here. The binary is that of the tests,
built crate by crate; the release, built as one, takes a quarter less.
"""
import json
import math
import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import time

import pytest

from harness import BINARY, Server

BASELINE = pathlib.Path(__file__).with_name("baseline.json")
# Other versions of the C library and the kernel make a little difference.
TOLERANCE = 1.06
WARM, COUNTED = 200, 1_600
# Most counts of the same.
COUNTS = 3


@pytest.fixture(scope="module")
def prepared():
    """Keys of a server that was stopped: its data directory, its root key, and some secrets."""
    server = Server()
    keys = [server.create(name=f"key {number}", scopes=["invoices:read"])["secret"] for number in range(8)]
    server.stop()
    yield server.data, server.root_key, keys
    server.close()


class Counted:
    """The server under callgrind, which counts only between `on` and `off`."""

    def __init__(self, data):
        self.out = tempfile.mkdtemp(prefix="keyreeve-callgrind-")
        self.process = subprocess.Popen(
            ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={self.out}/out", BINARY, "serve",
             "--data", data, "--listen", "127.0.0.1:0", "--check-listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0",
             "--log", "off"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for line in self.process.stdout:
            name, _, value = line.strip().partition("=")
            if name == "listen":
                self.port = int(value.rsplit(":", 1)[1])
            if name == "ready":
                return
        raise RuntimeError("the server did not start under callgrind")

    def control(self, state):
        subprocess.run(["callgrind_control", "-i", state, str(self.process.pid)], check=True, capture_output=True,
                       timeout=60)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=120)
        text = pathlib.Path(self.out, "out").read_text()
        return int(re.search(r"^(?:totals|summary): (\d+)", text.replace("summary: 0\n", ""), re.MULTILINE)[1])


def ask(stream, requests, count):
    reader = stream.makefile("rb")
    for number in range(count):
        stream.sendall(requests[number % len(requests)])
        length = 0
        assert reader.readline().startswith(b"HTTP/1.1 200")
        while (line := reader.readline().strip()):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        assert b'"valid":true' in reader.read(length)


def counted(data, requests):
    """Instructions a request."""
    server = Counted(data)
    try:
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as stream:
            ask(stream, requests, WARM)
            # The usage of the first verifications is written now, and not counted.
            time.sleep(2.5)
            server.control("on")
            ask(stream, requests, COUNTED)
            server.control("off")
    finally:
        total = server.stop()
    return total / COUNTED


@pytest.mark.parametrize("path, kind", [("/v1/verify", "direct"), ("/v1/verify", "library")])
def test_a_verification_costs_no_more_than_it_did(prepared, path, kind):
    data, root_key, keys = prepared
    json_type = "application/json" if kind == "direct" else "application/json; charset=utf-8"
    requests = []
    for key in keys:
        body = json.dumps({"key": key})
        requests.append((f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {root_key}\r\nContent-Type: {json_type}"
                         f"\r\nContent-Length: {len(body)}\r\n\r\n{body}").encode())
    recorded = json.loads(BASELINE.read_text())
    allowed = recorded[kind] * TOLERANCE
    # What the server does by the clock is counted too, and the more of it the slower the machine is: the least of a few
    # counts is what the requests cost.
    per_request = math.inf
    for _ in range(COUNTS):
        if per_request > allowed:
            per_request = min(per_request, counted(data, requests))
    if os.environ.get("KEYREEVE_RECORD"):
        recorded[kind] = round(per_request)
        BASELINE.write_text(json.dumps(recorded, indent=2) + "\n")
    assert per_request <= allowed, (
        f"{per_request:,.0f} instructions, recorded were {recorded[kind]:,}; if that is meant, run this with "
        "KEYREEVE_RECORD=1 and say why")
