"""How the shipped files handle unusual requests: other hosts and addresses, uploads, WebSockets, CORS
preflights, many headers, and clients that try to remove the identity headers."""
import pathlib
import socket
import threading

import pytest
import requests
from real import Gateway, ask, bearer, free_port
from test_real import FORGED, assert_denied, ours, world  # noqa: F401: fixture

# Gateways that accept no request with so many headers themselves.
OWN_HEADERS_MAX = {"envoy": 85, "envoy-http": 85, "haproxy": 95}
PREFLIGHT = [("Origin", "https://app.example"), ("Access-Control-Request-Method", "PUT")]


class WebSocketApi:
    """An API that accepts any upgrade and sends back what it receives."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.asked = []
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        head = read_head(connection)
        self.asked.append(head.decode())
        if b"upgrade: websocket" not in head.lower():
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return connection.close()
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                           b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
        while part := connection.recv(1024):
            connection.sendall(part)
        connection.close()

    def close(self):
        self.listener.close()


def read_head(connection):
    head = b""
    while b"\r\n\r\n" not in head:
        part = connection.recv(4096)
        if not part:
            break
        head += part
    return head


def upgrade(address, headers):
    """A WebSocket handshake: the answer's head, and the connection."""
    host, port = address.split(":")
    connection = socket.create_connection((host, int(port)), timeout=10)
    lines = ["GET /socket HTTP/1.1", "Host: api.example", "Connection: keep-alive, Upgrade", "Upgrade: websocket",
             "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
    lines += [f"{name}: {value}" for name, value in headers]
    connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
    return read_head(connection).decode(), connection


@pytest.mark.parametrize("named", [
    "X-Keyreeve-Subject", "x-keyreeve-key-id, x-keyreeve-tenant", "keep-alive, X-Keyreeve-Scopes", "close, X-Keyreeve-Subject",
    "Upgrade, X-Keyreeve-Subject, X-Keyreeve-Key-Id",
])
def test_a_client_takes_no_identity_away_by_naming_it_in_connection(world, named):
    """RFC 9110, 7.6.1: a proxy removes the headers that `Connection` names, and would remove Keyreeve's too."""
    seen = world.ask("/orders", [bearer(world.key["secret"]), ("Connection", named)]).seen()
    identity = ours(seen)
    assert identity["subject"] == ["user_ada"] and identity["key-id"] == [world.key["id"]], identity
    assert identity["tenant"] == ["acme"] and identity["scopes"] == ["orders:read"], identity


def test_any_host_that_a_client_names_is_answered(world):
    for host in ("api.example", "API.EXAMPLE:8443", "10.1.2.3", "localhost"):
        headers = {"Host": host}
        denied = requests.get(f"http://{world.gateway.address}/orders", headers=headers, timeout=20)
        assert denied.status_code == 401, (host, denied.status_code)
        headers["Authorization"] = f"Bearer {world.key['secret']}"
        allowed = requests.get(f"http://{world.gateway.address}/orders", headers=headers, timeout=20)
        assert allowed.status_code == 200 and allowed.json()["path"] == "/orders", host


def test_the_gateway_listens_on_the_given_address(world):
    listen = f"127.0.0.2:{free_port()}"
    gateway = Gateway(world.kind, world.server.addresses["check_listen"], world.api.address, "acme:orders", listen=listen)
    try:
        assert gateway.ask("/orders", [bearer(world.key["secret"])]).status == 200
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", int(listen.split(":")[1]))) != 0, "and nowhere else"
    finally:
        gateway.close()
    everywhere = f"0.0.0.0:{free_port()}"
    gateway = Gateway(world.kind, world.server.addresses["check_listen"], world.api.address, "acme:orders", listen=everywhere)
    try:
        for host in ("127.0.0.1", "127.0.0.3"):
            port = everywhere.split(":")[1]
            assert ask(f"{host}:{port}", "/orders", [bearer(world.key["secret"])]).status == 200, host
    finally:
        gateway.close()


def with_a_limit_of_the_location(directory):
    """An operator allows larger uploads to the API's location than nginx does by default."""
    path = pathlib.Path(directory, "nginx.conf")
    if path.exists():
        text = path.read_text().replace("location / {", "location / {\n            client_max_body_size 16m;", 1)
        path.write_text(text)


def test_an_upload_of_some_megabytes_passes(world):
    gateway = Gateway(world.kind, world.server.addresses["check_listen"], world.api.address, "acme:orders",
                      change=with_a_limit_of_the_location)
    try:
        url, held = f"http://{gateway.address}/upload", {"Authorization": f"Bearer {world.key['secret']}"}
        for body in (b"x" * 5_000_000, iter([b"x" * 1_000_000] * 5)):
            answer = requests.put(url, data=body, headers=held, timeout=30)
            assert answer.status_code == 200 and len(answer.json()["body"]) == 5_000_000
        assert requests.put(url, data=b"x" * 5_000, timeout=30).status_code == 401
    finally:
        gateway.close()


def test_a_websocket_is_opened_with_a_good_key_and_not_without(world):
    api = WebSocketApi()
    gateway = Gateway(world.kind, world.server.addresses["check_listen"], api.address, "acme:orders")
    try:
        head, connection = upgrade(gateway.address, [])
        connection.close()
        assert head.startswith("HTTP/1.1 401"), head
        assert api.asked == []
        head, connection = upgrade(gateway.address, [bearer(world.key["secret"]), ("X-Keyreeve-Subject", "forged")])
        assert head.startswith("HTTP/1.1 101"), head
        connection.sendall(b"over the wire")
        assert connection.recv(100) == b"over the wire"
        connection.close()
        asked = api.asked[-1].lower()
        assert "x-keyreeve-subject: user_ada" in asked and "forged" not in asked
        assert world.key["secret"] not in api.asked[-1]
    finally:
        gateway.close()
        api.close()


def test_a_cors_preflight_needs_a_key_unless_the_operator_lets_it_by(world):
    assert_denied(world.ask("/orders", PREFLIGHT, method="OPTIONS"), 401)
    gateway = Gateway(world.kind, world.server.addresses["check_listen"], world.api.address, "acme:orders",
                      flags=["--cors-preflight"])
    try:
        forged = [(name, "forged") for name in FORGED]
        key = [bearer(world.key["secret"]), ("X-API-Key", world.key["secret"])]
        seen = gateway.ask("/orders", PREFLIGHT + forged + key, method="OPTIONS").seen()
        assert seen["method"] == "OPTIONS" and ["access-control-request-method", "PUT"] in seen["headers"]
        assert "forged" not in str(ours(seen)) and world.key["secret"] not in str(seen)
        assert not any(value for values in ours(seen).values() for value in values), "nobody's identity"
        # Only a preflight: it has the method OPTIONS, an origin, and names the method of the next request.
        assert gateway.ask("/orders", [], method="OPTIONS").status == 401
        assert gateway.ask("/orders", PREFLIGHT[:1], method="OPTIONS").status == 401
        assert gateway.ask("/orders", PREFLIGHT[1:], method="OPTIONS").status == 401
        for method in ("GET", "PUT", "POST"):
            assert gateway.ask("/orders", PREFLIGHT, method=method).status == 401, method
        identity = ours(gateway.ask("/orders", [bearer(world.key["secret"])]).seen())
        assert identity["subject"] == ["user_ada"], "everything else is checked as before"
    finally:
        gateway.close()


@pytest.mark.parametrize("count", [80, 95, 150, 240])
def test_a_request_with_many_headers_is_judged_like_any_other(world, count):
    if count > OWN_HEADERS_MAX.get(world.kind, count):
        pytest.skip(f"{world.kind} itself takes no request with so many headers")
    many = [(f"X-H-{place}", "v") for place in range(count - 2)]
    assert world.ask("/orders", [bearer(world.key["secret"])] + many).status == 200
    assert world.ask("/orders", many).status == 401
