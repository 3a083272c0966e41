"""One server for a test: its own process, its own data directory, free ports."""
import atexit
import os
import pathlib
import secrets
import shutil
import signal
import subprocess
import tempfile
import time

import pytest
import requests

BINARY = os.environ.get("KEYREEVE_BIN") or str(
    pathlib.Path(__file__).resolve().parent.parent / "target/tested/keyreeve"
)
# How long the log may lag behind the events.
LOG_SECONDS = 10
START_SECONDS = 20
# With it, every server keeps its data in its own Postgres database on this server instead of in SQLite.
POSTGRES = os.environ.get("KEYREEVE_E2E_POSTGRES")

embedded_only = pytest.mark.skipif(bool(POSTGRES), reason="is about the file in the data directory")


def new_database(server=None):
    """Creates an empty database and returns its URL."""
    server = server or POSTGRES
    name = "e2e_" + secrets.token_hex(6)
    subprocess.run(["psql", "-q", server, "-c", f"CREATE DATABASE {name}"], check=True)
    return server.rsplit("/", 1)[0] + "/" + name


def drop_database(url):
    """Frees its disk space; hundreds of tests have one each."""
    server, name = url.rsplit("/", 1)
    subprocess.run(["psql", "-q", server + "/postgres", "-c", f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"], check=False,
                   stderr=subprocess.DEVNULL)


class Server:
    """A server that this test started, and that only this test stops."""

    def __init__(self, data=None, arguments=(), environment=None):
        self.owns_data = data is None
        self.data = data or tempfile.mkdtemp(prefix="keyreeve-e2e-")
        self.arguments = list(arguments)
        self.own_database = None
        if POSTGRES and "--database" not in self.arguments:
            self.own_database = new_database()
            self.arguments += ["--database", self.own_database]
        self.environment = environment or {}
        self.root_key = None
        self.stdout = b""
        logs = tempfile.mkdtemp(prefix="keyreeve-log-")
        atexit.register(shutil.rmtree, logs, ignore_errors=True)
        self.stderr_path = os.path.join(logs, "stderr")
        self.start()

    def start(self):
        command = [BINARY, "serve", "--data", self.data]
        for listener in ("--listen", "--check-listen", "--ops-listen"):
            command += [listener, "127.0.0.1:0"]
        self.launch(command + self.arguments)

    def launch(self, command):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("KEYREEVE_")}
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=open(self.stderr_path, "ab"),
            env={**environment, **self.environment},
        )
        self.addresses = {}
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            line = self.process.stdout.readline()
            self.stdout += line
            text = line.decode().strip()
            if text == "ready":
                self.url = "http://" + self.addresses["listen"]
                self.ops = "http://" + self.addresses["ops_listen"]
                self.check = "http://" + self.addresses["check_listen"]
                return
            name, _, value = text.partition("=")
            if name == "root_key":
                self.root_key = value
            elif value:
                # Of several places the first is the one in the network.
                self.addresses.setdefault(name, value)
            elif not line:
                break
        raise RuntimeError("the server did not start: " + self.stderr())

    def stderr(self):
        return pathlib.Path(self.stderr_path).read_text(errors="replace")

    def says(self, text):
        """Whether the log has a text, or has it soon: a separate thread writes it."""
        deadline = time.monotonic() + LOG_SECONDS
        while text not in self.stderr() and time.monotonic() < deadline:
            time.sleep(0.05)
        return text in self.stderr()

    def call(self, method, path, root_key=None, headers=None, **options):
        sent = {"Authorization": f"Bearer {root_key or self.root_key}", **(headers or {})}
        return requests.request(method, self.url + path, headers=sent, timeout=30, **options)

    def create(self, name, subject="user_1", **fields):
        answer = self.call("POST", "/v1/api_keys", json={"name": name, "subject": subject, **fields})
        assert answer.status_code == 201, answer.text
        return answer.json()

    def verify(self, secret, **fields):
        answer = self.call("POST", "/v1/verify", json={"key": secret, **fields})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def count(self):
        return self.call("GET", "/v1/api_keys?include_invalid=true").json()["total_count"]

    def kill(self):
        """Like a power cut: without a clean shutdown."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """Asks the server to stop, and returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=30)
        self.stdout += self.process.stdout.read()
        return code

    def close(self):
        if self.process.poll() is None:
            self.kill()
        if self.owns_data:
            shutil.rmtree(self.data, ignore_errors=True)
            if self.own_database:
                drop_database(self.own_database)


def assert_error(answer, status, code=None):
    """Checks that an error has the one complete shape."""
    assert answer.status_code == status, f"{answer.status_code}: {answer.text}"
    body = answer.json()
    assert set(body) == {"type", "title", "status", "detail", "code", "request_id", "errors"}, body
    assert body["status"] == status
    assert body["type"].startswith("/errors/")
    assert answer.headers["X-Request-Id"] == body["request_id"]
    first = body["errors"][0]
    assert set(first) == {"code", "message", "long_message", "meta"}
    assert first["code"] == body["code"] and first["long_message"] == body["detail"]
    if code:
        assert body["code"] == code, body
    return body
