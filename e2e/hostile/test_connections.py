"""Cheap connections: they are closed automatically, and never take the seats of clients with a credential."""
import contextlib
import os
import resource
import socket
import tempfile
import time

import pytest
import requests

from harness import Server, embedded_only

pytestmark = embedded_only
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
BEGINNINGS = [
    b"",
    b"P",
    b"PRI",
    PREFACE[:12],
    PREFACE,
    PREFACE + SETTINGS,
    b"GET /livez HTTP/1.1\r\nHost: x\r\n",
    b"POST /v1/verify HTTP/1.1\r\nHost: x\r\n",
]
# The first request has 10 seconds before and 10 seconds after it is known not to be a plain verification.
FIRST_REQUEST_SECONDS = 20
# An answer that is not read is detected between 30 and 60 seconds later.
UNREAD_SECONDS = 10 + 60
SLACK_SECONDS = 15


class Small(Server):
    """A server with the default descriptor limit of most systems, and with a socket."""

    def __init__(self):
        self.socket = os.path.join(tempfile.mkdtemp(prefix="keyreeve-socket-"), "api.sock")
        super().__init__()

    def launch(self, command):
        place = command.index("--listen") + 1
        command = [*command[:place], f"127.0.0.1:0,unix:{self.socket}", *command[place + 1:]]
        super().launch(["prlimit", "--nofile=1024:1024", *command])

    def doors(self):
        """Every address that accepts connections."""
        addresses = [self.addresses[name].rsplit(":", 1) for name in ("listen", "check_listen", "ops_listen")]
        return [(host, int(port)) for host, port in addresses] + [
            self.socket, os.path.join(self.data, "operator.sock")]


@pytest.fixture(scope="module")
def small():
    running = Small()
    yield running
    running.close()


def connect(door):
    family = socket.AF_UNIX if isinstance(door, str) else socket.AF_INET
    connection = socket.socket(family)
    connection.settimeout(10)
    connection.connect(door)
    return connection


def is_closed_until(connection, deadline):
    """Reads what there is, and returns whether the server closes the connection in time."""
    with contextlib.suppress(ConnectionResetError):
        while (left := deadline - time.monotonic()) > 0:
            connection.settimeout(left)
            try:
                if not connection.recv(65536):
                    return True
            except TimeoutError:
                return False
        return False
    return True


def test_a_connection_without_a_request_ends_on_every_listener(small):
    opened = []
    for door in small.doors():
        for beginning in BEGINNINGS:
            connection = connect(door)
            connection.sendall(beginning)
            opened.append((door, beginning, connection))
    deadline = time.monotonic() + FIRST_REQUEST_SECONDS + SLACK_SECONDS
    kept = [(door, beginning) for door, beginning, connection in opened if not is_closed_until(connection, deadline)]
    assert kept == []


def test_a_head_that_comes_byte_by_byte_ends_as_well(small):
    connections = [connect(door) for door in small.doors()[:3]]
    deadline = time.monotonic() + FIRST_REQUEST_SECONDS + SLACK_SECONDS
    for connection in connections:
        connection.sendall(b"GET /livez HTTP/1.1\r\nX-Slow: ")
    while connections and time.monotonic() < deadline:
        time.sleep(0.5)
        for connection in list(connections):
            try:
                connection.sendall(b"x")
                connection.setblocking(False)
                if not connection.recv(4096):
                    connections.remove(connection)
            except BlockingIOError:
                connection.setblocking(True)
            except OSError:
                connections.remove(connection)
    assert connections == []


def get_by_http2(path):
    """The bytes of one GET by HTTP/2 whose answer the client does not read: its window is empty."""
    no_window = bytes([0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0])
    block = bytes([0x82, 0x86, 0x04, len(path)]) + path + bytes([0x01, 1]) + b"x"
    headers = len(block).to_bytes(3, "big") + bytes([1, 5, 0, 0, 0, 1]) + block
    return PREFACE + no_window + headers


def test_an_answer_that_is_not_read_ends_the_connection(small):
    by_lines = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 100
    one = b"POST /v1/verify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 11\r\n\r\n"
    plain = (one % small.root_key.encode() + b'{"key":"x"}') * 20_000
    watched = []
    for sent in [by_lines, plain, get_by_http2(b"/openapi.json")]:
        connection = connect(small.doors()[0])
        connection.setblocking(False)
        view = memoryview(sent)
        # Until the server accepts no more, because its answers are not read.
        quiet_at = time.monotonic() + 3
        while view and time.monotonic() < quiet_at:
            with contextlib.suppress(BlockingIOError):
                view = view[connection.send(view[:65536]):]
        watched.append(connection)
    # The last one may still wait to be accepted.
    accepted_until = time.monotonic() + SLACK_SECONDS
    while open_connections(small) < len(watched) and time.monotonic() < accepted_until:
        time.sleep(0.1)
    assert open_connections(small) >= len(watched)
    deadline = time.monotonic() + UNREAD_SECONDS + SLACK_SECONDS
    while open_connections(small) and time.monotonic() < deadline:
        time.sleep(1)
    assert open_connections(small) == 0


def open_connections(server):
    text = requests.get(server.ops + "/metrics", timeout=10).text
    values = [line.rsplit(" ", 1)[1] for line in text.splitlines()
              if line.startswith('keyreeve_connections{listener="listen"}')]
    return int(float(values[0]))


@pytest.fixture
def many_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def use(server, kept):
    """What real clients do, on new connections and on an earlier one."""
    key = server.create("key " + os.urandom(4).hex(), subject=os.urandom(4).hex())
    assert server.verify(key["secret"])["valid"]
    headers = {"Authorization": f"Bearer {server.root_key}"}
    checked = requests.post(server.check + "/v1/verify", json={"key": key["secret"]}, headers=headers, timeout=10)
    assert checked.json()["valid"]
    assert kept.post(server.url + "/v1/verify", json={"key": key["secret"]}, headers=headers, timeout=10).ok
    for path in ("/livez", "/readyz", "/metrics"):
        assert requests.get(server.ops + path, timeout=10).status_code == 200


@pytest.mark.parametrize("door", [0, 1, 2], ids=["api", "check", "ops"])
@pytest.mark.parametrize("beginning", [b"PRI", PREFACE + SETTINGS, b"GET / HTTP/1.1\r\n"], ids=["three", "http2", "slow"])
def test_a_thousand_connections_take_nothing_from_real_clients(small, many_descriptors, door, beginning):
    kept = requests.Session()
    use(small, kept)
    opened = []
    try:
        for number in range(1_000):
            connection = connect(small.doors()[door])
            with contextlib.suppress(OSError):
                connection.sendall(beginning)
            opened.append(connection)
            if number % 200 == 199:
                use(small, kept)
        use(small, kept)
    finally:
        for connection in opened:
            connection.close()


def test_a_first_request_is_answered_while_others_keep_connecting(small, many_descriptors):
    """The connection of a client that sends its request at once is not the oldest one."""
    opened = []
    try:
        for _ in range(200):
            for _ in range(10):
                connection = connect(small.doors()[0])
                connection.sendall(b"PRI")
                opened.append(connection)
            answer = requests.get(small.url + "/openapi.json", timeout=10)
            assert answer.status_code == 200
    finally:
        for connection in opened:
            connection.close()
