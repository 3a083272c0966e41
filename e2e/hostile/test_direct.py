"""Plain verifications are answered ahead of the HTTP library: a client must see no difference but in time."""
import json
import os
import socket
import subprocess
import tempfile
import time

import pytest
from harness import Server

TIMEOUT = 10
BODY = b'{"key":"%s"}'


@pytest.fixture(scope="module")
def secret(server):
    made = server.create(name="direct", subject="user_direct", scopes=["read"])
    # The first verification of a key is answered from the store, all later ones from memory.
    ask(server, plain(server, BODY % made["secret"].encode()))
    return made["secret"].encode()


def connect(server):
    host, port = server.addresses["listen"].split(":")
    return socket.create_connection((host, int(port)), timeout=TIMEOUT)


def plain(server, body, *lines, path=b"/v1/verify", root_key=None):
    fixed = [b"POST %s HTTP/1.1" % path, b"Host: x", b"Content-Type: application/json",
             b"Authorization: Bearer " + (root_key or server.root_key.encode()), b"Content-Length: %d" % len(body)]
    return b"\r\n".join([*fixed, *lines, b"", b""]) + body


def answers(connection, count):
    """Reads a number of answers: (status, headers, body as JSON)."""
    stream, found = connection.makefile("rb"), []
    for _ in range(count):
        status = int(stream.readline().split(b" ")[1])
        headers = {}
        while (line := stream.readline().strip()):
            name, _, value = line.partition(b":")
            headers[name.lower().decode()] = value.strip().decode()
        found.append((status, headers, json.loads(stream.read(int(headers["content-length"])))))
    return found


def ask(server, *requests):
    with connect(server) as connection:
        connection.sendall(b"".join(requests))
        return answers(connection, len(requests))


# Makes the HTTP library answer the same request.
LIBRARY = b"Content-Type: application/json; charset=utf-8"


def by_library(request):
    return request.replace(b"Content-Type: application/json", LIBRARY)


def same(answer):
    status, headers, body = answer
    varying = ("x-request-id", "date")
    return status, sorted(headers), {name: value for name, value in headers.items() if name not in varying}, body


def test_the_direct_path_and_the_http_library_give_the_same_answer(server, secret):
    batch = json.dumps({"items": [{"key": secret.decode()}, {"key": "no key"}, {"key": ""}]}).encode()
    for body, path in [
        (BODY % secret, b"/v1/verify"),
        (BODY % b"no key", b"/v1/verify"),
        (b'{"key":"%s","scopes":["write"]}' % secret, b"/v1/verify"),
        (b'{"key":"%s","ip":"192.0.2.7"}' % secret, b"/v1/verify"),
        (batch, b"/v1/verify/batch"),
    ]:
        request = plain(server, body, path=path)
        direct, library = ask(server, request)[0], ask(server, by_library(request))[0]
        assert same(direct) == same(library), body
        assert direct[0] == 200


def test_every_refusal_comes_from_the_http_library(server, secret):
    good = BODY % secret
    for request, status, code in [
        (plain(server, b"{"), 400, "BAD_REQUEST"),
        (plain(server, b""), 400, "BAD_REQUEST"),
        (plain(server, b'{"key":"x","ip":"nowhere"}'), 400, "BAD_REQUEST"),
        (plain(server, b'{"items":[]}', path=b"/v1/verify/batch"), 400, "BAD_REQUEST"),
        (plain(server, good, root_key=b"rk_wrong"), 401, "ROOT_KEY_INVALID"),
        (plain(server, good, root_key=secret), 401, "ROOT_KEY_INVALID"),
        (plain(server, good, b"Authorization: Bearer x"), 400, "BAD_REQUEST"),
        (plain(server, good).replace(b"application/json", b"text/plain"), 415, "UNSUPPORTED_MEDIA_TYPE"),
    ]:
        answer = ask(server, request)[0]
        assert (answer[0], answer[2]["code"]) == (status, code), request


def test_a_refused_batch_has_judged_nothing(server):
    made = server.create(name="unjudged", subject="user_direct")
    items = [{"key": made["secret"]}, {"key": made["secret"], "ip": "nowhere"}]
    request = plain(server, json.dumps({"items": items}).encode(), path=b"/v1/verify/batch")
    assert ask(server, request)[0][0] == 400
    assert server.call("GET", f"/v1/api_keys/{made['id']}").json()["last_used_at"] is None


@pytest.mark.parametrize("size", [1, 2, 3, 7, 40, 200])
def test_it_does_not_matter_in_which_pieces_a_request_arrives(server, secret, size):
    request = plain(server, BODY % secret) + plain(server, BODY % b"no key")
    with connect(server) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start in range(0, len(request), size):
            connection.sendall(request[start:start + size])
        found = answers(connection, 2)
    assert [body["valid"] for _, _, body in found] == [True, False]


def test_pipelined_requests_are_answered_in_order_on_both_paths(server, secret):
    good, bad = plain(server, BODY % secret), plain(server, BODY % b"no key")
    me = b"GET /v1/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n" % secret
    found = ask(server, good, bad, good, me, good, by_library(bad), bad)
    assert [status for status, _, _ in found] == [200] * 7
    assert [body.get("valid") for _, _, body in found] == [True, False, True, None, True, False, False]
    assert found[3][2]["subject"] == "user_direct"


def test_hundreds_of_pipelined_requests_are_all_answered(server, secret):
    with connect(server) as connection:
        connection.sendall(plain(server, BODY % secret) * 300)
        found = answers(connection, 300)
    assert all(body["valid"] for _, _, body in found)
    assert len({headers["x-request-id"] for _, headers, _ in found}) == 300


def test_a_valid_request_id_is_echoed_and_an_invalid_one_is_not(server, secret):
    body = BODY % secret
    given = ask(server, plain(server, body, b"X-Request-Id: trace-1.2:3"))[0]
    assert given[1]["x-request-id"] == "trace-1.2:3"
    replaced = ask(server, plain(server, body, b"X-Request-Id: a b"))[0]
    assert replaced[1]["x-request-id"].startswith("req_")


def test_a_revoked_key_and_a_revoked_root_key_are_refused_on_a_connection_that_used_them(server):
    key = server.create(name="short", subject="user_direct")
    root = server.call("POST", "/v1/root_keys", json={"name": "short", "permissions": ["keys:verify"]}).json()
    request = plain(server, BODY % key["secret"].encode(), root_key=root["secret"].encode())
    with connect(server) as connection:
        for _ in range(3):
            connection.sendall(request)
            assert answers(connection, 1)[0][2]["valid"]
        assert server.call("POST", f"/v1/api_keys/{key['id']}/revoke", json={}).status_code == 200
        connection.sendall(request)
        assert answers(connection, 1)[0][2]["reason"] == "revoked"
        assert server.call("DELETE", f"/v1/root_keys/{root['id']}").status_code < 300
        connection.sendall(request)
        assert answers(connection, 1)[0][0] == 401


def test_the_answer_is_complete_when_the_client_stops_sending(server, secret):
    with connect(server) as connection:
        connection.sendall(plain(server, BODY % secret))
        connection.shutdown(socket.SHUT_WR)
        assert answers(connection, 1)[0][2]["valid"]
        assert connection.recv(1) == b""


def test_http2_with_prior_knowledge_gets_the_same_verdict(server, secret):
    command = ["curl", "-sS", "--http2-prior-knowledge", "-w", "\n%{http_version} %{http_code}",
               "-H", f"Authorization: Bearer {server.root_key}", "-H", "Content-Type: application/json",
               "-d", (BODY % secret).decode(), server.url + "/v1/verify"]
    body, line = subprocess.run(command, check=True, capture_output=True, text=True).stdout.rsplit("\n", 1)
    assert line == "2 200" and json.loads(body)["valid"]


def test_a_unix_socket_is_an_address_like_any_other():
    directory = tempfile.mkdtemp(prefix="keyreeve-e2e-")
    path = os.path.join(directory, "api.sock")
    check = os.path.join(directory, "check.sock")
    # A socket file that a killed process left is replaced.
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    server = Server(arguments=["--listen", f"unix:{path}", "--check-listen", f"unix:{check}"])
    try:
        assert oct(os.stat(path).st_mode & 0o777) == "0o660"
        key = server.create(name="unix", subject="user_unix")["secret"].encode()
        for place in (path, check):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(place)
                connection.sendall(plain(server, BODY % key))
                assert answers(connection, 1)[0][2]["valid"]
                # These sockets give no operator's rights: a request without a credential is refused.
                connection.sendall(plain(server, BODY % key).replace(b"Authorization", b"X-Nothing"))
                assert answers(connection, 1)[0][0] == 401
        second = Server.__new__(Server)
        with pytest.raises(RuntimeError, match="cannot listen on unix:.*in use"):
            second.__init__(arguments=["--listen", f"unix:{path}"])
    finally:
        server.stop()
    assert not os.path.exists(path) and not os.path.exists(check)


def test_no_other_file_is_taken_for_a_socket():
    with tempfile.NamedTemporaryFile() as file, pytest.raises(RuntimeError, match="cannot listen on unix:"):
        Server(arguments=["--listen", f"unix:{file.name}"])


def test_a_request_that_has_begun_is_answered_after_a_stop_was_asked_for(fresh):
    request = plain(fresh, BODY % fresh.create(name="late")["secret"].encode())
    with connect(fresh) as begun, connect(fresh) as idle:
        begun.sendall(request[:-10])
        time.sleep(0.3)
        fresh.process.terminate()
        assert idle.recv(1) == b"", "a connection without a request is closed at once"
        time.sleep(0.3)
        begun.sendall(request[-10:])
        assert answers(begun, 1)[0][2]["valid"]
        assert begun.recv(1) == b""
    assert fresh.process.wait(25) == 0
