"""Bounds for callers without a credential: memory for bodies, and look-ups of unknown secrets."""
import base64
import contextlib
import os
import random
import resource
import socket
import string
import zlib

import pytest
import requests

from harness import Server, embedded_only

pytestmark = embedded_only
MIB = 1024 * 1024
# The budget, the same again for growing buffers, and the memory of 200 connections.
GROWTH_MAX = 2 * 32 * MIB + 24 * MIB
# Look-ups of an address that find nothing, in a minute. If a request is handled twice, it may be read twice.
JUNK_MAX = 600
BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase


@pytest.fixture
def own():
    """A separate server, because a test uses its limits up."""
    running = Server()
    yield running
    running.close()


def resident(server):
    with open(f"/proc/{server.process.pid}/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


def metric(server, name):
    text = requests.get(server.ops + "/metrics", timeout=10).text
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))


def junk(example):
    """A secret derived from this one, with a valid checksum, that no key has."""
    head = example[:-6]
    fixed, body = head[:head.index("kr1") + 3], head[head.index("kr1") + 3:]
    body = "0" + "".join(random.choice(BASE62) for _ in body[1:])
    number = zlib.crc32((fixed + body).encode())
    digits = ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits = BASE62[digit] + digits
    return fixed + body + digits


@pytest.mark.parametrize(
    ("path", "kind", "size"),
    [
        ("/v1/leaks", "application/json", MIB),
        ("/v1/leaks/github", "application/json", 8 * MIB),
        ("/login", "application/x-www-form-urlencoded", 128 * 1024),
        ("/setup", "application/x-www-form-urlencoded", 128 * 1024),
        ("/keys/new", "application/x-www-form-urlencoded", 128 * 1024),
        ("/oauth2/revoke", "application/x-www-form-urlencoded", 64 * 1024),
    ],
)
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_half_sent_bodies_without_a_credential_are_bounded_together(own, path, kind, size, framing):
    key = own.create("before")
    before = resident(own)
    host, port = own.addresses["listen"].split(":")
    opened = []
    try:
        for _ in range(200):
            connection = socket.create_connection((host, int(port)), timeout=10)
            length = f"Content-Length: {size}" if framing == "length" else "Transfer-Encoding: chunked"
            lines = [f"POST {path} HTTP/1.1", f"Host: {own.addresses['listen']}", f"Content-Type: {kind}", length, "", ""]
            body = b"x" * (size - 1)
            if framing == "chunked":
                body = b"%x\r\n%s\r\n" % (len(body), body)
            connection.settimeout(2)
            with contextlib.suppress(OSError):
                connection.sendall("\r\n".join(lines).encode() + body)
            opened.append(connection)
        assert own.verify(key["secret"])["valid"] and own.create("meanwhile", subject="user_2")
        assert resident(own) - before < GROWTH_MAX, f"{(resident(own) - before) // MIB} MiB more"
    finally:
        for connection in opened:
            connection.close()


@pytest.mark.parametrize("path", ["/v1/me", "/v1/api_keys", "/v1/verify", "/oauth2/introspect"])
def test_look_ups_of_unknown_secrets_are_limited_and_those_of_known_ones_are_not(own, path):
    key = own.create("good")
    assert own.verify(key["secret"])["valid"]
    session = requests.Session()

    def ask(secret):
        headers = {"Authorization": f"Bearer {secret}"}
        if path == "/v1/verify":
            return session.post(own.url + path, json={"key": "x"}, headers=headers, timeout=10)
        if path == "/oauth2/introspect":
            return session.post(own.url + path, data={"token": "x"}, headers=headers, timeout=10)
        return session.get(own.url + path, headers=headers, timeout=10)

    example = key["secret"] if path == "/v1/me" else own.root_key
    codes = []
    while len(codes) <= JUNK_MAX and 429 not in codes:
        answer = ask(junk(example))
        codes.append(answer.status_code)
    assert codes == [401] * (len(codes) - 1) + [429]
    assert 1 <= int(answer.headers["Retry-After"]) <= 61
    assert ask(key["secret"] if path == "/v1/me" else own.root_key).status_code == 200
    assert own.verify(key["secret"])["valid"]
    # Nor are those that this node has never seen.
    fresh = own.create("fresh") if path == "/v1/me" else own.call("POST", "/v1/root_keys", json={
        "name": "fresh", "permissions": ["keys:read", "keys:verify"]}).json()
    assert ask(junk(example)).status_code == 429
    assert ask(fresh["secret"]).status_code == 200
    if path == "/v1/me":
        headers = {"Authorization": f"Bearer {own.create('leaked')['secret']}"}
        assert session.post(own.url + "/v1/me/revoke", headers=headers, timeout=10).status_code == 200


@pytest.mark.parametrize("path", ["/v1/verify", "/v1/verify/batch", "/v1/api_keys/verify", "/v1/api_keys"])
def test_behind_a_trusted_proxy_junk_counts_by_the_address_of_the_client(path):
    server = Server(arguments=["--trusted-proxies", "127.0.0.0/8,::1"])
    try:
        session = requests.Session()

        def ask(address):
            headers = {"Authorization": f"Bearer {junk(server.root_key)}", "X-Forwarded-For": address}
            return session.post(server.url + path, json={"key": "x"}, headers=headers, timeout=10).status_code

        codes = [ask("198.51.100.1") for _ in range(JUNK_MAX + 1)]
        assert set(codes) == {401, 429} and ask("198.51.100.2") == 401
    finally:
        server.close()


@pytest.mark.parametrize("path, cookie", [("/keys", "__Host-keyreeve={}"), ("/setup?token={:064x}", "")])
def test_look_ups_of_unknown_sessions_and_links_are_limited(own, path, cookie):
    session = requests.Session()
    for number in range(2 * JUNK_MAX):
        unknown = base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")
        headers = {"Cookie": cookie.format(unknown), "Accept": "text/html"}
        answer = session.get(own.url + path.format(number), headers=headers, timeout=10, allow_redirects=False)
        if answer.status_code == 429:
            return
    raise AssertionError(f"{2 * JUNK_MAX} look-ups were made, the last with {answer.status_code}")


def test_unknown_keys_behind_a_gateway_are_limited_by_end_user(own):
    key = own.create("good")

    def ask(secret, address):
        headers = {"Authorization": f"Bearer {secret}", "X-Forwarded-For": address}
        return requests.get(own.check + "/gateway/generic/default", headers=headers, timeout=10)

    before = metric(own, 'keyreeve_cache_requests_total{result="miss"}')
    codes = []
    while len(codes) <= JUNK_MAX and 429 not in codes:
        codes.append(ask(junk(key["secret"]), "192.0.2.1").status_code)
    assert codes == [401] * (len(codes) - 1) + [429]
    assert metric(own, 'keyreeve_cache_requests_total{result="miss"}') - before <= JUNK_MAX + 1
    assert ask(junk(key["secret"]), "192.0.2.2").status_code == 401
    assert ask(key["secret"], "192.0.2.2").status_code == 200
    assert ask(key["secret"], "192.0.2.1").status_code == 200
