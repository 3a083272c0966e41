"""An outage makes no client reconnect: a refused request leaves the connection open."""
import http.client
import json
import shutil
import socket
import subprocess
import time

import pytest
from topology import LEASE_SECONDS, SERVER_PORT, World

BODY = json.dumps({"key": "ak_nothing", "name": "x", "subject": "user_1", "secret": "ak_nothing"})
PATHS = ["/v1/verify", "/v1/verify/batch", "/v1/api_keys/verify", "/v1/api_keys", "/v1/api_keys/batch",
         "/v1/api_keys/ak_00000000000000000000000000000000/revoke", "/v1/users", "/nothing/here"]


@pytest.fixture
def outage(postgres):
    """A node whose database does not answer, and whose lease has ended."""
    world = World(postgres, nodes=1)
    postgres.freeze()
    try:
        time.sleep(2 * LEASE_SECONDS)
        yield world.nodes[0]
    finally:
        postgres.thaw()
        world.close()


def headers(node, **more):
    return {"Authorization": f"Bearer {node.world.root_key}", "Content-Type": "application/json", **more}


@pytest.mark.parametrize("path", PATHS)
def test_a_client_in_python_keeps_its_connection(outage, path):
    connection = http.client.HTTPConnection(outage.address, SERVER_PORT, timeout=30)
    connection.connect()
    connected = connection.sock
    for _ in range(3):
        connection.request("POST", path, BODY, headers(outage))
        answer = connection.getresponse()
        answer.read()
        assert answer.status in (503, 404), answer.status
        assert answer.getheader("Connection") is None, "it says that it will close"
        assert connection.sock is connected, "it was closed"


def test_verification_in_a_burst_is_answered_on_one_connection(outage):
    """Sends all at once, without waiting for answers."""
    one = (f"POST /v1/verify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {outage.world.root_key}\r\n"
           f"Content-Length: {len(BODY)}\r\n\r\n{BODY}").encode()
    other = one.replace(b"/v1/verify ", b"/v1/api_keys/verify ")
    with socket.create_connection((outage.address, SERVER_PORT), timeout=30) as client:
        client.sendall((one + other) * 10)
        seen = b""
        while seen.count(b"HTTP/1.1 503") < 20 or not seen.endswith(b"}"):
            part = client.recv(65_536)
            assert part, seen[-500:]
            seen += part
    assert b"connection: close" not in seen.lower()


def test_a_large_body_of_a_refused_request_is_read(outage):
    connection = http.client.HTTPConnection(outage.address, SERVER_PORT, timeout=30)
    connection.connect()
    connected = connection.sock
    for _ in range(2):
        connection.request("POST", "/v1/api_keys/batch", "x" * 3_000_000, headers(outage))
        answer = connection.getresponse()
        answer.read()
        assert (answer.status, connection.sock is connected) == (503, True)


def test_a_client_that_never_sends_its_body_is_answered_and_disconnected(outage):
    with socket.create_connection((outage.address, SERVER_PORT), timeout=30) as client:
        client.sendall(f"POST /v1/api_keys HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {outage.world.root_key}\r\n"
                       "Content-Length: 100\r\n\r\n{".encode())
        seen = b""
        while part := client.recv(65_536):
            seen += part
    assert seen.startswith(b"HTTP/1.1 503") and b"connection: close" in seen.lower()


def test_curl_connects_once(outage):
    address = f"http://{outage.address}:{SERVER_PORT}/v1/verify"
    command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code} %{num_connects}\n", "-d", BODY,
               "-H", f"Authorization: Bearer {outage.world.root_key}", "-H", "Content-Type: application/json"]
    rounds = [part for _ in range(5) for part in ["-o", "/dev/null", address]]
    told = subprocess.run([*command[:2], *command[4:], *rounds], capture_output=True, text=True, timeout=60, check=True)
    assert told.stdout.split("\n")[:5] == ["503 1"] + ["503 0"] * 4


@pytest.mark.skipif(not shutil.which("node"), reason="there is no Node")
def test_node_connects_once(outage):
    script = f"""
    const http = require('http');
    const agent = new http.Agent({{keepAlive: true, maxSockets: 1}});
    const sockets = new Set();
    const once = () => new Promise((done, failed) => {{
      const request = http.request('http://{outage.address}:{SERVER_PORT}/v1/api_keys', {{method: 'POST', agent,
        headers: {json.dumps(headers(outage))}}}, answer => {{
          answer.resume(); answer.on('end', () => done(answer.statusCode)); }});
      request.on('socket', socket => sockets.add(socket)); request.on('error', failed); request.end({json.dumps(BODY)});
    }});
    (async () => {{ const codes = []; for (let i = 0; i < 5; i++) codes.push(await once());
      console.log(codes.join(' '), sockets.size); process.exit(0); }})();
    """
    told = subprocess.run(["node", "-e", script], capture_output=True, text=True, timeout=60)
    assert told.stdout.strip() == "503 503 503 503 503 1", told


@pytest.mark.parametrize("path", PATHS)
def test_a_body_that_comes_after_its_head_is_waited_for(outage, path):
    head = (f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {outage.world.root_key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n")
    with socket.create_connection((outage.address, SERVER_PORT), timeout=30) as client:
        for _ in range(3):
            client.sendall(head.encode())
            time.sleep(0.1)
            client.sendall(BODY.encode())
            answer = http.client.HTTPResponse(client)
            answer.begin()
            answer.read()
            assert (answer.status in (503, 404), answer.getheader("Connection")) == (True, None)
