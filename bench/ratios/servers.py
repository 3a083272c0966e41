"""Servers under measurement: started pinned, watched by their process group, and ended by it."""
import contextlib
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import time

HERE = pathlib.Path(__file__).resolve().parent.parent
TICKS = os.sysconf("SC_CLK_TCK")
BIN = os.environ.get("KEYREEVE_BIN", "keyreeve")
LIMITS = pathlib.Path(os.environ.get("LIMITS_BIN", "."))


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Server:
    """A process and its address. `cpus` is what taskset takes."""

    def __init__(self, command, port, cpus, cwd=None, stdout=subprocess.DEVNULL):
        self.port = port
        self.process = subprocess.Popen(
            ["taskset", "-c", cpus, *map(str, command)], cwd=cwd, start_new_session=True,
            stdout=stdout, stderr=subprocess.DEVNULL, text=True)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def wait(self, seconds=20):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return self
            time.sleep(0.05)
        raise SystemExit(f"bench: {self.process.args} does not listen")

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def resident_bytes(self):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        return 0

    def settle(self, seconds=120):
        """Waits until the process is idle: what the preparation left to write must not be measured."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            before = self.cpu_seconds()
            time.sleep(1)
            if self.cpu_seconds() - before < 0.05:
                return

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Keyreeve(Server):
    """A fresh instance whose tenant may issue as many keys as it likes."""

    def __init__(self, data, cpus, before=()):
        command = [*before, BIN, "serve", "--data", data, "--listen", "127.0.0.1:0", "--check-listen", "127.0.0.1:0",
                   "--ops-listen", "127.0.0.1:0", "--log", "off"]
        super().__init__(command, 0, cpus, stdout=subprocess.PIPE)
        self.root_key = None
        for line in self.process.stdout:
            name, _, value = line.strip().partition("=")
            if name == "listen":
                self.port = int(value.rsplit(":", 1)[1])
            elif name == "root_key":
                self.root_key = value
            elif name == "ready":
                return
        raise SystemExit("bench: keyreeve did not start")

    def connection(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def call(self, connection, path, body):
        connection.request("POST", path, json.dumps(body), {
            "Authorization": f"Bearer {self.root_key}", "Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise SystemExit(f"bench: {path} answered {answer.status}: {text[:300]!r}")
        return json.loads(text)

    def issue(self, count):
        """Issues keys, a thousand at a time, and gives their secrets."""
        connection, secrets = self.connection(), []
        while len(secrets) < count:
            number = len(secrets)
            items = [{"name": "production", "subject": f"user_{number + place}", "scopes": ["invoices:read"]}
                     for place in range(min(1000, count - number))]
            made = self.call(connection, "/v1/api_keys/batch", {"items": items})
            secrets += [key["secret"] for key in made["data"]]
        return secrets

    def remember(self, secrets):
        """Has every key verified once, so that all are in memory."""
        connection = self.connection()
        for start in range(0, len(secrets), 100):
            items = [{"key": secret} for secret in secrets[start:start + 100]]
            self.call(connection, "/v1/verify/batch", {"items": items})


def nginx(folder, cpus):
    port = free_port()
    (folder / "nginx.conf").write_text((HERE / "nginx.conf").read_text().replace("@PORT@", str(port)))
    return Server(["nginx", "-p", folder, "-c", folder / "nginx.conf"], port, cpus).wait()


def hello(cpus, workers):
    port = free_port()
    return Server([LIMITS / "hello", f"127.0.0.1:{port}", workers], port, cpus).wait()


def redis(folder, cpus):
    port = free_port()
    command = ["redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder]
    return Server(command, port, cpus).wait()
