"""The readers of standard error and standard output: gone, or present and not reading. Requests are not affected."""
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import time

import pytest
import requests

from harness import BINARY, embedded_only

pytestmark = embedded_only
START_SECONDS = 20


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def fill(descriptor):
    """Writes into a pipe until it is full, and leaves it blocking."""
    os.set_blocking(descriptor, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(descriptor, b"x" * 4096)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(descriptor, b"x")
    os.set_blocking(descriptor, True)


class Logging:
    """A server whose standard error and standard output are given by a test."""

    def __init__(self, directory, arguments=(), **streams):
        self.ports = {name: free_port() for name in ("listen", "check-listen", "ops-listen")}
        command = [BINARY, "serve", "--data", str(directory / "data"), "--root-key-file", str(directory / "root-key")]
        for name, port in self.ports.items():
            command += [f"--{name}", f"127.0.0.1:{port}"]
        clean = {name: value for name, value in os.environ.items() if not name.startswith("KEYREEVE_")}
        streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **streams}
        self.process = subprocess.Popen([*command, *arguments], env=clean, **streams)
        deadline = time.monotonic() + START_SECONDS
        while not self.is_ready():
            assert self.process.poll() is None, f"the server ended with {self.process.returncode}"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.05)
        self.keys = 0
        self.root_key = (directory / "root-key").read_text().strip()

    def is_ready(self):
        try:
            return requests.get(self.address("ops-listen") + "/readyz", timeout=5).status_code == 200
        except requests.ConnectionError:
            return False

    def address(self, listener):
        return f"http://127.0.0.1:{self.ports[listener]}"

    def metric(self, name):
        text = requests.get(self.address("ops-listen") + "/metrics", timeout=5).text
        values = [line.rsplit(" ", 1)[1] for line in text.splitlines() if line.startswith(name)]
        return float(values[0])

    def use(self):
        """Management, verification, a check and liveness, each on one connection that stays open."""
        headers = {"Authorization": f"Bearer {self.root_key}", "Content-Type": "application/json"}
        management = http.client.HTTPConnection("127.0.0.1", self.ports["listen"], timeout=10)
        management.connect()
        kept = management.sock
        for number in range(self.keys, self.keys + 20):
            body = json.dumps({"name": f"key {number}", "subject": f"user_{number}"})
            management.request("POST", "/v1/api_keys", body, headers)
            made = management.getresponse()
            key = json.loads(made.read())
            assert made.status == 201 and management.sock is kept, "a logged call has lost its connection"
        self.keys += 20
        for listener in ("listen", "check-listen"):
            asked = requests.post(self.address(listener) + "/v1/verify", json={"key": key["secret"]}, headers=headers,
                                  timeout=10)
            assert asked.json()["valid"] is True
        checked = requests.get(self.address("check-listen") + "/gateway/nginx/default", timeout=10,
                               headers={"Authorization": f"Bearer {key['secret']}"})
        assert checked.status_code in (200, 204), checked.text
        assert requests.get(self.address("ops-listen") + "/livez", timeout=5).text == "ok\n"

    def stop(self):
        self.process.terminate()
        return self.process.wait(30)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


@pytest.mark.parametrize("stream", ["stderr", "stdout"])
@pytest.mark.parametrize("how", ["gone", "stuck"])
def test_a_log_reader_that_is_gone_or_stuck_does_not_block_requests(stream, how, tmp_path):
    reading, writing = os.pipe()
    if how == "gone":
        os.close(reading)
    else:
        fill(writing)
    server = Logging(tmp_path, **{stream: writing})
    try:
        server.use()
        server.process.send_signal(signal.SIGPIPE)
        server.use()
        if (stream, how) == ("stderr", "gone"):
            # The queue is written by a thread of its own.
            deadline = time.monotonic() + 10
            while server.metric('keyreeve_log_lines_dropped_total{stream="stderr"}') < 40:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        assert server.stop() == 0
    finally:
        server.close()


def test_lines_that_waited_for_a_stuck_reader_come_when_it_reads(tmp_path):
    reading, writing = os.pipe()
    fill(writing)
    server = Logging(tmp_path, stderr=writing)
    try:
        server.use()
        os.set_blocking(reading, False)
        said = b""
        deadline = time.monotonic() + 20
        while said.count(b"route=\"/v1/api_keys\"") < 20 and time.monotonic() < deadline:
            with contextlib.suppress(BlockingIOError):
                said += os.read(reading, 65536)
        assert said.count(b"route=\"/v1/api_keys\"") == 20
        assert server.metric('keyreeve_log_lines_dropped_total{stream="stderr"}') == 0
    finally:
        server.close()


def test_a_log_that_flows_again_says_how_much_it_has_lost(tmp_path):
    fifo = tmp_path / "log"
    os.mkfifo(fifo)
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    writing = os.open(fifo, os.O_WRONLY)
    server = Logging(tmp_path, stderr=writing)
    try:
        os.close(writing)
        os.close(reading)
        server.use()
        dropped = server.metric('keyreeve_log_lines_dropped_total{stream="stderr"}')
        assert dropped >= 20
        reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        server.use()
        said = b""
        deadline = time.monotonic() + 20
        while b"lines were dropped here" not in said and time.monotonic() < deadline:
            with contextlib.suppress(BlockingIOError):
                said += os.read(reading, 65536)
        notice = said.split(b" lines were dropped here")[0].split()[-1]
        assert float(notice) == server.metric('keyreeve_log_lines_dropped_total{stream="stderr"}') >= dropped
    finally:
        server.close()


def test_a_first_start_whose_root_key_is_not_read_creates_no_instance(tmp_path):
    """The root key is shown inside the transaction, which must end nevertheless."""
    reading, writing = os.pipe()
    fill(writing)
    command = [BINARY, "serve", "--data", str(tmp_path / "data"), "--listen", "127.0.0.1:0",
               "--check-listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"]
    try:
        ended = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False)
    finally:
        os.close(reading)
        os.close(writing)
    assert ended.returncode == 1 and b"does not read" in ended.stderr and b"Nothing was set up" in ended.stderr


def test_a_command_ends_although_its_output_is_not_read(tmp_path):
    reading, writing = os.pipe()
    fill(writing)
    try:
        ended = subprocess.run([BINARY, "serve", "--data", str(tmp_path), "--lease", "15s", "--config", "/nowhere"],
                               stdout=subprocess.DEVNULL, stderr=writing, timeout=60, check=False)
    finally:
        os.close(reading)
        os.close(writing)
    assert ended.returncode == 1
