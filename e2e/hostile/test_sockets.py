"""Malformed requests that no ordinary client sends, byte by byte."""
import contextlib
import socket

import pytest

TIMEOUT = 10


def exchange(server, *parts, shut=False):
    """Sends bytes and reads until the server closes or sends nothing more."""
    host, port = server.addresses["listen"].split(":")
    with socket.create_connection((host, int(port)), timeout=TIMEOUT) as connection:
        for part in parts:
            connection.sendall(part)
        if shut:
            # The server may have closed already; its answer can still be read.
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
        received = b""
        while True:
            try:
                data = connection.recv(65536)
            except TimeoutError:
                raise AssertionError(f"the server neither answered nor closed: {received!r}") from None
            if not data:
                return received
            received += data
            if not shut and complete(received) and b"onnection: close" not in received:
                return received


def complete(received):
    head, found, body = received.partition(b"\r\n\r\n")
    length = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    return bool(found) and bool(length) and len(body) >= int(length[0].split(b":")[1])


def head(server, *lines, method=b"POST", path=b"/v1/verify"):
    fixed = [b"%s %s HTTP/1.1" % (method, path), b"Host: x", b"Authorization: Bearer " + server.root_key.encode()]
    return b"\r\n".join([*fixed, *lines, b"", b""])


def smuggled(server):
    return head(server, b"Content-Length: 38", path=b"/v1/api_keys") + b'{"name":"smuggled","subject":"user_x"}'


@pytest.mark.parametrize(
    "lines",
    [
        [b"Content-Length: 6", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: chunked", b"Content-Length: 6"],
        [b"TRANSFER-ENCODING: chunked", b"X: y", b"content-length: 6"],
    ],
)
def test_two_lengths_are_refused_and_nothing_is_smuggled(server, lines):
    answer = exchange(server, head(server, *lines) + b"0\r\n\r\n" + smuggled(server))
    assert answer.startswith(b"HTTP/1.1 400"), answer
    assert b"onnection: close" in answer
    assert answer.count(b"HTTP/1.1 ") == 1, "what follows was carried out as a request"
    found = server.call("GET", "/v1/api_keys?subject=user_x").json()
    assert found["total_count"] == 0


@pytest.mark.parametrize("encoding_first", [True, False])
def test_two_lengths_are_refused_also_where_one_of_them_holds_a_whole_verification(server, encoding_first):
    body = b'{"key":"ak_kr1nothing"}'
    lines = [b"Content-Length: %d" % len(body), b"Content-Type: application/json", b"Transfer-Encoding: chunked"]
    answer = exchange(server, head(server, *(reversed(lines) if encoding_first else lines)) + body)
    assert answer.startswith(b"HTTP/1.1 400") and b"onnection: close" in answer, answer


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /v1/api_keys HTTP/1.1\r\nHost: x\r\nX: a\r\n folded\r\n\r\n",
        b"POST /v1/verify HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /v1/verify HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n{}",
        b"POST /v1/verify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n{}",
        b"GET /v1/api_keys HTTP/1.1\r\nHost: x\r\nBad Header: y\r\n\r\n",
        b"GET /v1/api_keys HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused_and_closed(server, request_bytes):
    answer = exchange(server, request_bytes, shut=True)
    assert answer[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 431", b""), answer[:200]
    assert server.call("GET", "/v1/api_keys").status_code == 200


def test_a_bad_chunk_is_refused(server):
    answer = exchange(server, head(server, b"Transfer-Encoding: chunked") + b"zz\r\n{}\r\n0\r\n\r\n", shut=True)
    assert answer.startswith(b"HTTP/1.1 400"), answer


def test_a_chunked_body_is_read(server):
    body = b'a\r\n{"key":"x"\r\n1\r\n}\r\n0\r\n\r\n'
    assert b'"reason":"malformed"' in exchange(server, head(server, b"Transfer-Encoding: chunked") + body)


def test_a_body_cut_off_is_refused(server):
    before = server.count()
    cut = head(server, b"Content-Length: 100", path=b"/v1/api_keys") + b'{"name":"cut","subject":"user_1"}'
    answer = exchange(server, cut, shut=True)
    assert answer[:12] in (b"HTTP/1.1 400", b""), answer
    assert server.count() == before


@pytest.mark.parametrize("second", [b"Authorization: Bearer other", b"authorization: Basic eA=="])
def test_two_credentials_are_refused(server, second):
    for path in [b"/v1/verify", b"/v1/api_keys"]:
        answer = exchange(server, head(server, second, b"Content-Length: 2", path=path) + b"{}")
        assert answer.startswith(b"HTTP/1.1 400"), answer


def test_joined_credentials_are_refused(server):
    joined = b"GET /v1/api_keys HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s, Bearer x\r\n\r\n"
    assert exchange(server, joined % server.root_key.encode()).startswith(b"HTTP/1.1 400")


def test_requests_in_a_row_are_answered_in_order(server):
    one = head(server, b"Content-Length: 11") + b'{"key":"x"}'
    other = head(server, b"Content-Length: 10") + b'{"key":""}'
    answer = exchange(server, one + other + one, shut=True)
    assert answer.count(b"HTTP/1.1 200") == 3
    assert answer.index(b'"missing"') > answer.index(b'"malformed"')


def test_a_slow_request_does_not_hold_up_others(server):
    host, port = server.addresses["listen"].split(":")
    with socket.create_connection((host, int(port)), timeout=TIMEOUT) as slow:
        slow.sendall(head(server, b"Content-Length: 100"))
        assert server.call("GET", "/v1/api_keys").status_code == 200
