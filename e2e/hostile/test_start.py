"""The environment of a start: signals, empty variables, addresses of databases, the data directory, Host."""
import os
import signal
import socket
import stat
import subprocess

import pytest
import requests

from harness import BINARY, Server, embedded_only


@embedded_only
def test_a_hangup_does_not_end_the_server(fresh):
    key = fresh.create("kept")
    fresh.process.send_signal(signal.SIGHUP)
    assert fresh.says("SIGHUP") and fresh.process.poll() is None
    assert fresh.verify(key["secret"])["valid"]
    assert fresh.stop() == 0


@embedded_only
def test_variables_that_are_set_to_nothing_count_as_not_set():
    names = subprocess.run([BINARY, "serve", "--help"], capture_output=True, text=True, check=True, timeout=20).stdout
    named = {part.split("]")[0].split("=")[0] for part in names.split("[env: ")[1:]}
    assert "KEYREEVE_DATABASE_URL" in named and len(named) > 15
    server = Server(environment={name: "" for name in [*named, "KEYREEVE_COLOUR"]})
    try:
        assert server.create("made")["secret"]
        assert "KEYREEVE_COLOUR" not in server.stderr()
    finally:
        server.close()


@embedded_only
def test_a_new_data_directory_is_its_owners_alone(tmp_path):
    data = tmp_path / "above" / "data"
    old = os.umask(0o022)
    try:
        server = Server(data=str(data))
    finally:
        os.umask(old)
    try:
        assert stat.S_IMODE(data.stat().st_mode) == 0o700
    finally:
        server.close()


@embedded_only
def test_an_unknown_parameter_of_the_databases_url_is_named(tmp_path):
    ended = subprocess.run(
        [BINARY, "serve", "--data", str(tmp_path), "--database", "postgres://u:hidden@127.0.0.1:1/k?sslmodus=require"],
        capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 1 and "parameter sslmodus" in ended.stderr and "hidden" not in ended.stderr


@embedded_only
@pytest.mark.parametrize("listener", ["listen", "check_listen", "ops_listen", "operator"])
@pytest.mark.parametrize("hosts", [[], ["x", "x"], ["x", "y"], ["x y"], ["a@x"]], ids=repr)
def test_a_request_without_exactly_one_host_is_refused(server, listener, hosts):
    paths = {"ops_listen": "/livez", "check_listen": "/gateway/generic/default"}
    lines = [f"GET {paths.get(listener, '/v1/api_keys')} HTTP/1.1", *(f"Host: {host}" for host in hosts), "", ""]
    if listener == "operator":
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(os.path.join(server.data, "operator.sock"))
    else:
        host, port = server.addresses[listener].split(":")
        connection = socket.create_connection((host, int(port)))
    with connection:
        connection.settimeout(10)
        connection.sendall("\r\n".join(lines).encode())
        answer = b""
        while part := connection.recv(65536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 400"), answer[:100]
    assert b"onnection: close" in answer


@embedded_only
def test_a_plain_verification_without_a_host_is_refused_too(server):
    host, port = server.addresses["check_listen"].split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"POST /v1/verify HTTP/1.1\r\nAuthorization: Bearer %s\r\nContent-Length: 11\r\n\r\n"
                           b'{"key":"x"}' % server.root_key.encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 400")


@embedded_only
def test_an_ipv4_mapped_network_means_the_ipv4_network(server):
    key = server.create("mapped", allowed_networks=["::ffff:192.0.2.0/120"])
    assert key["allowed_networks"] == ["192.0.2.0/24"]
    for address, is_valid in [("192.0.2.9", True), ("::ffff:192.0.2.9", True), ("192.0.3.9", False)]:
        assert server.verify(key["secret"], ip=address)["valid"] is is_valid, address
    refused = server.call("POST", "/v1/api_keys",
                          json={"name": "all", "subject": "u", "allowed_networks": ["::ffff:192.0.2.0/24"]})
    assert refused.status_code == 400
    assert requests.get(server.ops + "/livez", timeout=5).ok
