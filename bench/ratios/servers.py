"""Servers under measurement: started on fixed CPUs, measured by session, and stopped with all their processes."""
import concurrent.futures
import contextlib
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent.parent
TICKS = os.sysconf("SC_CLK_TCK")
BIN = os.environ.get("KEYREEVE_BIN", "keyreeve")
LIMITS = pathlib.Path(os.environ.get("LIMITS_BIN", "."))
# Clients that create keys concurrently: several batches share a commit.
CALLERS = 8
# Maximum number of keys that one request may create, and verify.
CREATE_BATCH, VERIFY_BATCH = 1_000, 100
RUNNING = []


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def stop_all():
    """Stops everything that was started, also after an error."""
    for server in list(RUNNING):
        server.stop()


class Server:
    """A process, its child processes, and their address. `cpus` is the argument of taskset."""

    def __init__(self, command, port, cpus, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options):
        self.port = port
        self.process = subprocess.Popen(
            ["taskset", "-c", cpus, *map(str, command)], start_new_session=True, stdout=stdout, stderr=stderr,
            text=True, **options)
        RUNNING.append(self)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def wait(self, seconds=20):
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return self
            time.sleep(0.05)
        raise SystemExit(f"bench: {self.process.args} does not listen")

    def cpu_seconds(self):
        """Returns the CPU time of all processes of its session: a server may have workers."""
        ticks = 0
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            # A process may end while it is read.
            with contextlib.suppress(OSError):
                fields = stat.read_text().rsplit(")", 1)[1].split()
                if int(fields[3]) == self.process.pid:
                    ticks += int(fields[11]) + int(fields[12])
        return ticks / TICKS

    def resident_bytes(self):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        return 0

    def settle(self, seconds=120):
        """Waits until the process is idle: writes that the preparation left must not be measured."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            before = self.cpu_seconds()
            time.sleep(1)
            if self.cpu_seconds() - before < 0.05:
                return

    def stop(self):
        if self in RUNNING:
            RUNNING.remove(self)
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        # Workers that have outlived it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


class Keyreeve(Server):
    """A new instance whose tenant has no limit on keys."""

    def __init__(self, data, cpus, before=(), options=(), listen="127.0.0.1:0"):
        command = [*before, BIN, "serve", "--data", data, "--listen", listen, "--check-listen", "127.0.0.1:0",
                   "--ops-listen", "127.0.0.1:0", "--log", "off", *options]
        super().__init__(command, 0, cpus, stdout=subprocess.PIPE)
        self.root_key = None
        for line in self.process.stdout:
            name, _, value = line.strip().partition("=")
            if name == "listen" and not value.startswith("unix:"):
                self.port = int(value.rsplit(":", 1)[1])
            elif name == "check_listen":
                self.check_port = int(value.rsplit(":", 1)[1])
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

    def issue(self, count, callers=CALLERS):
        """Issues keys and returns their secrets."""
        made = self.spread(self.issue_batch, each(range(count), CREATE_BATCH), callers)
        return [secret for batch in made for secret in batch]

    def remember(self, secrets, callers=CALLERS):
        """Verifies every key once, so that all are in memory."""
        for _ in self.spread(self.remember_batch, each(secrets, CREATE_BATCH), callers):
            pass

    def issue_to(self, file, numbers):
        """Issues keys, verifies each once, and writes the secrets to a file as they arrive: there may be many."""
        for batch in self.spread(self.issue_remembered, each(numbers, CREATE_BATCH)):
            file.writelines(secret + "\n" for secret in batch)
        file.flush()

    def spread(self, work, parts, callers=CALLERS):
        """Returns the results of `work(connection, part)` in the order of the parts, from several threads."""
        own = threading.local()

        def one(part):
            if not hasattr(own, "connection"):
                own.connection = self.connection()
            return work(own.connection, part)

        with concurrent.futures.ThreadPoolExecutor(callers) as threads:
            yield from threads.map(one, parts)

    def issue_batch(self, connection, numbers):
        items = [{"name": "production", "subject": f"user_{number}", "scopes": ["invoices:read"]} for number in numbers]
        made = self.call(connection, "/v1/api_keys/batch", {"items": items})
        return [key["secret"] for key in made["data"]]

    def remember_batch(self, connection, secrets):
        for part in each(secrets, VERIFY_BATCH):
            answer = self.call(connection, "/v1/verify/batch", {"items": [{"key": secret} for secret in part]})
            if not all(verdict["valid"] for verdict in answer["data"]):
                raise SystemExit("bench: a key that was just issued is not valid")

    def issue_remembered(self, connection, numbers):
        secrets = self.issue_batch(connection, numbers)
        self.remember_batch(connection, secrets)
        return secrets


def each(sequence, size):
    return (sequence[start:start + size] for start in range(0, len(sequence), size))


def nginx(folder, cpus):
    port = free_port()
    (folder / "nginx.conf").write_text((HERE / "nginx.conf").read_text().replace("@PORT@", str(port)))
    return Server(["nginx", "-p", folder, "-c", folder / "nginx.conf"], port, cpus).wait()


def hello(cpus, workers):
    port = free_port()
    return Server([LIMITS / "hello", f"127.0.0.1:{port}", workers], port, cpus).wait()


def hello_grpc(cpus):
    port = free_port()
    return Server([LIMITS / "hello_grpc", f"127.0.0.1:{port}"], port, cpus).wait()


def redis(folder, cpus):
    port = free_port()
    lasting = ["--save", "", "--appendonly", "no", "--dir", folder]
    return Server(["redis-server", "--port", port, "--bind", "127.0.0.1", *lasting], port, cpus).wait()
