"""Real gateways, run with the files that `keyreeve gateways snippet` writes, and an API behind them."""
import http.client
import http.server
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

from harness import BINARY

START_SECONDS = 20
WHEELS = pathlib.Path(sys.executable).parent

# How each is started in a directory that has its files, and how it prints its version.
GATEWAYS = {
    "nginx": (["nginx", "-p", ".", "-c", "nginx.conf", "-g", "daemon off; pid nginx.pid; error_log stderr;"],
              ["nginx", "-v"]),
    "caddy": (["caddy", "run", "--config", "Caddyfile", "--adapter", "caddyfile"], ["caddy", "version"]),
    "traefik": ([str(WHEELS / "traefik"), "--configFile=traefik.yml"], [str(WHEELS / "traefik"), "version"]),
    "envoy": ([str(WHEELS / "envoy"), "-c", "envoy.yaml", "--concurrency", "1", "--use-dynamic-base-id",
               "--log-level", "error"], [str(WHEELS / "envoy"), "--version"]),
    "envoy-http": ([str(WHEELS / "envoy"), "-c", "envoy-http.yaml", "--concurrency", "1", "--use-dynamic-base-id",
                    "--log-level", "error"], [str(WHEELS / "envoy"), "--version"]),
    "haproxy": (["haproxy", "-db", "-f", "haproxy.cfg"], ["haproxy", "-v"]),
}
SYSTEM_PATH = os.environ["PATH"] + ":/usr/sbin:/sbin"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    def json(self):
        return json.loads(self.body)

    def seen(self):
        """The request as the API behind the gateway received it: names in lower case."""
        assert self.status == 200, (self.status, self.body)
        return self.json()

    def __repr__(self):
        return f"{self.status} {dict(self.headers)} {self.body[:200]}"


def ask(address, path="/orders", headers=(), method="GET", body=None, timeout=40):
    """One request with exactly this path and exactly these headers, repeated ones too."""
    host, port = address.split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=timeout)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        return Answer(connection.getresponse())
    finally:
        connection.close()


# An API that accepts as many headers as any gateway passes on.
http.client._MAXHEADERS = 1_000


class Echo(http.server.BaseHTTPRequestHandler):
    """The API behind the gateway: answers with what it received."""

    protocol_version = "HTTP/1.1"

    def read_body(self):
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while length := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(length)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def answer(self):
        body = self.read_body()
        status = int(self.path.rsplit("/", 1)[1]) if self.path.startswith("/status/") else 200
        seen = {"method": self.command, "path": self.path, "body": body.decode(errors="replace"),
                "headers": [[name.lower(), value] for name, value in self.headers.items()]}
        self.send(status, json.dumps(seen).encode(), [("Content-Type", "application/json")])

    def send(self, status, body, headers):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = answer

    def log_message(self, *_):
        pass


class Quiet(http.server.ThreadingHTTPServer):
    def handle_error(self, *_):
        """A stopped gateway's connections are closed with it."""


class Http:
    """A server of this process."""

    def __init__(self, handler):
        self.server = Quiet(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.address = f"127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def write_files(kind, directory, flags=(), **wishes):
    wished = [part for name, value in wishes.items() for part in (f"--{name}", value)]
    command = [BINARY, "gateways", "snippet", kind, "--into", directory, *wished, *flags]
    subprocess.run(command, check=True, capture_output=True)


class Gateway:
    """A gateway that this test started."""

    def __init__(self, kind, check, upstream, policy="default", change=None, listen=None, flags=()):
        self.kind = kind
        self.directory = tempfile.mkdtemp(prefix=f"keyreeve-{kind}-")
        self.address = listen or f"127.0.0.1:{free_port()}"
        write_files(kind, self.directory, flags, policy=policy, check=check, upstream=upstream, listen=self.address)
        if change:
            change(self.directory)
        self.log = open(os.path.join(self.directory, "log"), "wb")
        command, self.version_command = GATEWAYS[kind]
        environment = {**os.environ, "PATH": SYSTEM_PATH, "HOME": self.directory, "XDG_DATA_HOME": self.directory,
                       "XDG_CONFIG_HOME": self.directory}
        self.process = subprocess.Popen(command, cwd=self.directory, stdout=self.log, stderr=self.log, env=environment)
        self.wait()

    def wait(self):
        host, port = self.address.split(":")
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with socket.create_connection((host, int(port)), timeout=1):
                    pass
                if self.ask(headers=[]).status in (401, 403, 429):
                    return
            except OSError:
                pass
            time.sleep(0.05)
        if self.process.poll() is not None or not self.is_listening():
            raise RuntimeError(f"{self.kind} did not start: {self.logged()}")

    def is_listening(self):
        host, port = self.address.split(":")
        with socket.socket() as probe:
            return probe.connect_ex((host, int(port))) == 0

    def logged(self):
        return pathlib.Path(self.directory, "log").read_text(errors="replace")[-4000:]

    def version(self):
        said = subprocess.run(self.version_command, capture_output=True, text=True, check=False,
                              env={**os.environ, "PATH": SYSTEM_PATH})
        return (said.stdout + said.stderr).strip().splitlines()[0]

    def ask(self, path="/orders", headers=(), **options):
        return ask(self.address, path, headers, **options)

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=3)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()
        shutil.rmtree(self.directory, ignore_errors=True)


def bearer(secret):
    return ("Authorization", f"Bearer {secret}")
