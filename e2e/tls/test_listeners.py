"""What the listeners accept with TLS, and what they refuse."""
import json
import socket
import ssl
import subprocess
import time

import pytest
import requests

from conftest import pair
from harness import BINARY


def question(root_key, secret):
    body = json.dumps({"key": secret})
    return (f"POST /v1/verify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {root_key}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}").encode()


def answers(stream, count):
    """Reads a number of answers from a connection."""
    reader, found = stream.makefile("rb"), []
    for _ in range(count):
        assert reader.readline().startswith(b"HTTP/1.1 200")
        length = 0
        while (line := reader.readline().strip()):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        found.append(json.loads(reader.read(length)))
    return found


def test_a_key_is_issued_verified_and_revoked_through_tls(secure):
    key = secure.create("through TLS")
    assert secure.verify(key["secret"])["valid"]
    revoked = secure.call("POST", f"/v1/api_keys/{key['id']}/revoke", json={})
    assert revoked.status_code == 200 and revoked.json()["effect"]["scope"] == "everywhere"
    assert secure.verify(key["secret"])["code"] == "API_KEY_INVALID"


def test_plain_verifications_are_answered_in_a_row_on_one_connection(secure):
    key = secure.create("in a row")["secret"]
    with secure.connect() as stream:
        for _ in range(3):
            stream.sendall(question(secure.root_key, key) * 20)
            assert all(answer["valid"] for answer in answers(stream, 20))


def test_a_request_that_comes_a_byte_a_record_is_answered(secure):
    key = secure.create("in pieces")["secret"]
    with secure.connect() as stream:
        for byte in question(secure.root_key, key):
            stream.sendall(bytes([byte]))
        assert answers(stream, 1)[0]["valid"]


def test_http_2_is_agreed_on_by_alpn(secure):
    key = secure.create("by h2")["secret"]
    for offered, chosen in [(["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1"), ([], None)]:
        with secure.connect(alpn=offered) as stream:
            assert stream.selected_alpn_protocol() == chosen
    with pytest.raises(ssl.SSLError):
        secure.connect(alpn=["spdy/3"]).close()
    answer = secure.curl("--http2", "-w", "\n%{http_version}", "-H", f"Authorization: Bearer {secure.root_key}",
                         "--json", json.dumps({"key": key}))
    body, version = answer.stdout.rsplit("\n", 1)
    assert version == "2" and json.loads(body)["valid"], answer


def test_tls_1_2_and_1_3_are_spoken_and_nothing_older(secure):
    for version, works in [("1", False), ("1_1", False), ("1_2", True), ("1_3", True)]:
        asked = ["openssl", "s_client", f"-tls{version}", "-connect", f"127.0.0.1:{secure.port()}",
                 "-cipher", "DEFAULT@SECLEVEL=0"]
        told = subprocess.run(asked, input=b"", capture_output=True, timeout=10)
        assert (b"BEGIN CERTIFICATE" in told.stdout) == works, (version, told)


def test_plain_http_on_a_tls_port_gets_a_400(secure):
    answer = requests.get(f"http://127.0.0.1:{secure.port()}/v1/me", timeout=10)
    assert answer.status_code == 400 and "https://" in answer.text
    answer = requests.post(f"http://127.0.0.1:{secure.port()}/v1/verify", data=b"x" * 20_000, timeout=10)
    assert answer.status_code == 400


def test_garbage_ends_its_own_connection_and_no_other(secure):
    for garbage in [b"\x16\x03\x01\x02\x00" + b"\xff" * 512, b"\x16" * 100, b"\x16\x03\x03\x00\x00"]:
        with socket.create_connection(("127.0.0.1", secure.port()), timeout=5) as stream:
            stream.sendall(garbage)
            stream.shutdown(socket.SHUT_WR)
            stream.settimeout(5)
            try:
                while stream.recv(4096):
                    pass
            except ConnectionResetError:
                pass
    assert secure.call("GET", "/v1/api_keys").status_code == 200


def test_a_name_that_the_certificate_does_not_have_is_the_callers_to_refuse(serve, authority):
    server = serve(pair(authority.issue("elsewhere", hosts=["DNS:keys.example"])))
    with pytest.raises(requests.exceptions.SSLError, match="match|mismatch"):
        server.call("GET", "/v1/api_keys")
    with server.connect(host="keys.example"):
        pass
    # The link for users has the host of the certificate.
    assert f"first_admin_link=https://keys.example:{server.port()}/setup?token=".encode() in server.stdout


def test_a_certificate_of_another_authority_is_the_callers_to_refuse(serve, stranger):
    server = serve(pair(stranger.issue("stranger")))
    with pytest.raises(requests.exceptions.SSLError, match="verify failed"):
        server.call("GET", "/v1/api_keys")


def test_an_expired_certificate_is_served_and_reported(serve, authority):
    server = serve(pair(authority.issue("ended", times=("20200101000000Z", "20210101000000Z"))))
    assert server.says("the certificate is not valid now")
    with pytest.raises(requests.exceptions.SSLError, match="expired"):
        server.call("GET", "/v1/api_keys")


def test_an_rsa_certificate_with_a_chain_works(serve, authority):
    certificate, key = authority.issue("rsa", kind="rsa")
    chain = authority.path("chain.pem")
    chain.write_text(certificate.read_text() + authority.certificate.read_text())
    assert serve(pair((chain, key))).call("GET", "/v1/api_keys").status_code == 200


def test_the_check_listener_serves_only_clients_with_a_certificate(secure, authority, stranger):
    key = secure.create("checked")["secret"]
    ask = question(secure.root_key, key)
    gateway = authority.issue("gateway", usage="clientAuth")
    with secure.connect("check_listen", identity=gateway) as stream:
        stream.sendall(ask)
        assert answers(stream, 1)[0]["valid"]
    ended = authority.issue("gone", usage="clientAuth", times=("20200101000000Z", "20210101000000Z"))
    for identity in [None, stranger.issue("intruder", usage="clientAuth"), ended,
                     authority.issue("server", usage="serverAuth")]:
        # In TLS 1.3 a client learns of its refusal when it reads.
        with pytest.raises((ssl.SSLError, ConnectionError)), secure.connect("check_listen", identity=identity) as stream:
            stream.sendall(ask)
            assert stream.recv(1) == b"", "something was answered"
            raise ConnectionError("closed")
    assert secure.verify(key)["valid"], "the API asks nobody for one"


def test_the_check_listener_may_stay_plain(serve, good):
    server = serve([*pair(good), "--check-plain"])
    answer = requests.post(f"http://{server.addresses['check_listen']}/v1/verify", json={"key": ""}, timeout=10,
                           headers={"Authorization": f"Bearer {server.root_key}"})
    assert answer.status_code == 200 and answer.json()["code"] == "API_KEY_REQUIRED"


def test_an_unfinished_handshake_is_closed_and_blocks_no_other(secure):
    slow = [socket.create_connection(("127.0.0.1", secure.port()), timeout=20) for _ in range(200)]
    began = time.monotonic()
    for stream in slow[::2]:
        stream.sendall(b"\x16\x03\x01\x02\x00\x01")
    try:
        assert secure.call("GET", "/v1/api_keys").status_code == 200
        assert time.monotonic() - began < 3, "others had to wait"
        for stream in slow:
            try:
                assert stream.recv(1) == b""
            except ConnectionResetError:
                pass
        assert 8 < time.monotonic() - began < 15
    finally:
        for stream in slow:
            stream.close()
    counted = 'keyreeve_tls_handshakes_total{listener="listen",result="timed_out"} 200'
    # A connection is counted after it was closed.
    deadline = time.monotonic() + 5
    while counted not in (metrics := requests.get(secure.ops + "/metrics", timeout=10).text):
        assert time.monotonic() < deadline, metrics
        time.sleep(0.05)


def test_a_stop_waits_for_no_handshake_and_no_idle_connection(serve, good):
    server = serve(pair(good))
    half = socket.create_connection(("127.0.0.1", server.port()), timeout=10)
    half.sendall(b"\x16\x03\x01\x02\x00\x01")
    with server.connect() as idle:
        idle.sendall(question(server.root_key, "x"))
        answers(idle, 1)
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 5
        assert idle.recv(1) == b"", "the end is said in TLS too"
    half.close()


def test_the_dashboards_cookies_are_for_tls_only(secure):
    page = secure.call("GET", "/login")
    assert page.status_code == 200
    cookies = page.headers["Set-Cookie"]
    assert cookies.startswith("__Host-") and "Secure" in cookies and "HttpOnly" in cookies


def test_the_command_line_trusts_a_file_of_authorities(secure, authority, stranger):
    trusting = {"KEYREEVE_CA_FILE": str(authority.certificate)}
    made = secure.command("keys", "create", "by CLI", "--subject", "user_1", "--secret-only", **trusting)
    assert made.returncode == 0, made.stderr
    listed = secure.command("keys", "list", "--ca-file", str(authority.certificate))
    assert "by CLI" in listed.stdout
    for environment in [{}, {"KEYREEVE_CA_FILE": str(stranger.certificate)}]:
        refused = secure.command("keys", "list", **environment)
        assert refused.returncode == 7 and "certificate" in refused.stderr, refused
    missing = secure.command("keys", "list", KEYREEVE_CA_FILE="/nowhere.pem")
    assert missing.returncode == 2 and "/nowhere.pem" in missing.stderr
    empty = secure.command("keys", "list", KEYREEVE_CA_FILE="/dev/null")
    assert empty.returncode == 2 and "BEGIN CERTIFICATE" in empty.stderr


def test_a_verifier_in_an_application_connects_to_its_node_by_tls(secure, authority):
    key = secure.create("in process")
    environment = {"PATH": "/usr/bin:/bin", "KEYREEVE_URL": f"https://localhost:{secure.port()}",
                   "KEYREEVE_ROOT_KEY": secure.root_key, "KEYREEVE_CA_FILE": str(authority.certificate)}
    with subprocess.Popen([BINARY, "verifier"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                          env=environment) as verifier:
        def ask():
            verifier.stdin.write(key["secret"] + "\n")
            verifier.stdin.flush()
            return json.loads(verifier.stdout.readline())

        assert ask()["valid"] and ask()["source"] == "memory"
        secure.call("POST", f"/v1/api_keys/{key['id']}/revoke", json={})
        assert json.loads(verifier.stdout.readline()) == {"revoked": key["id"]}
        assert ask()["valid"] is False
        verifier.stdin.close()
        assert verifier.wait(timeout=10) == 0
