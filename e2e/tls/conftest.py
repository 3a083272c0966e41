"""Servers that use TLS, and connections to them."""
import pathlib
import socket
import ssl
import subprocess
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from authority import Authority  # noqa: E402
from harness import BINARY, Server  # noqa: E402


class Secure(Server):
    """A server whose clients trust one authority."""

    def __init__(self, trusted, arguments=(), **options):
        self.trusted = str(trusted)
        super().__init__(arguments=[str(one) for one in arguments], **options)

    def start(self):
        super().start()
        self.url = "https://" + self.addresses["listen"]
        self.check = "https://" + self.addresses["check_listen"]

    def call(self, method, path, root_key=None, headers=None, **options):
        return super().call(method, path, root_key, headers, **{"verify": self.trusted, **options})

    def port(self, listener="listen"):
        return int(self.addresses[listener].rsplit(":", 1)[1])

    def connect(self, listener="listen", alpn=(), identity=None, host="localhost"):
        """A connection with its handshake done."""
        context = ssl.create_default_context(cafile=self.trusted)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        if identity:
            context.load_cert_chain(*map(str, identity))
        plain = socket.create_connection(("127.0.0.1", self.port(listener)), timeout=10)
        return context.wrap_socket(plain, server_hostname=host)

    def curl(self, *arguments, listener="listen", path="/v1/verify"):
        command = ["curl", "-sS", "--max-time", "10", "--cacert", self.trusted, *map(str, arguments),
                   f"https://localhost:{self.port(listener)}{path}"]
        return subprocess.run(command, capture_output=True, text=True)

    def command(self, *arguments, stdin="", **environment):
        """Runs the command line as on another machine."""
        known = {"PATH": "/usr/bin:/bin", "KEYREEVE_URL": f"https://localhost:{self.port()}",
                 "KEYREEVE_ROOT_KEY": self.root_key, **environment}
        return subprocess.run([BINARY, *arguments], input=stdin, capture_output=True, text=True, env=known, timeout=30)


def pair(issued):
    """The flags for a certificate and its key."""
    certificate, key = issued
    return ["--tls-cert", certificate, "--tls-key", key]


@pytest.fixture(scope="session")
def authority():
    with tempfile.TemporaryDirectory(prefix="keyreeve-ca-") as directory:
        yield Authority(directory, "ours")


@pytest.fixture(scope="session")
def stranger():
    with tempfile.TemporaryDirectory(prefix="keyreeve-ca-") as directory:
        yield Authority(directory, "theirs")


@pytest.fixture(scope="session")
def good(authority):
    return authority.issue("good")


@pytest.fixture(scope="session")
def secure(authority, good):
    """One server with a valid certificate, which requires client certificates on the check listener."""
    running = Secure(authority.certificate, [*pair(good), "--check-client-ca", authority.certificate])
    yield running
    running.close()


@pytest.fixture
def serve(authority):
    """Starts servers that end with the test."""
    running = []

    def make(arguments, **options):
        running.append(Secure(authority.certificate, arguments, **options))
        return running[-1]

    yield make
    for one in running:
        one.close()
