"""The process: start, stop, a second process on the same directory."""
import os
import pathlib
import socket
import stat
import subprocess
import threading
import time

import pytest
import requests

from harness import BINARY, Server, embedded_only


def test_a_stop_lets_running_requests_finish(fresh):
    host, port = fresh.addresses["listen"].split(":")
    body = b'{"name":"late","subject":"user_1"}'
    with socket.create_connection((host, int(port)), timeout=20) as slow:
        slow.sendall(
            b"POST /v1/api_keys HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n"
            % (fresh.root_key.encode(), len(body)) + body[:10]
        )
        time.sleep(0.3)
        stopped = []
        waiter = threading.Thread(target=lambda: stopped.append(fresh.stop()))
        waiter.start()
        time.sleep(0.5)
        with pytest.raises(requests.ConnectionError):
            requests.get(fresh.url + "/v1/api_keys", timeout=5)
        slow.sendall(body[10:])
        assert slow.recv(65536).startswith(b"HTTP/1.1 201")
        waiter.join(20)
    assert stopped == [0]


def test_not_ready_while_stopping(fresh):
    host, port = fresh.addresses["listen"].split(":")
    with socket.create_connection((host, int(port)), timeout=20) as slow:
        slow.sendall(b"POST /v1/verify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 9\r\n\r\n"
                     % fresh.root_key.encode())
        time.sleep(0.3)
        assert requests.get(fresh.ops + "/readyz").status_code == 200
        fresh.process.terminate()
        time.sleep(0.3)
        assert requests.get(fresh.ops + "/readyz").status_code == 503
        slow.close()
    assert fresh.process.wait(25) == 0


def test_a_second_process_on_the_directory_is_refused(fresh):
    second = subprocess.run(
        [BINARY, "serve", "--data", fresh.data, "--listen", "127.0.0.1:0", "--check-listen", "127.0.0.1:0",
         "--ops-listen", "127.0.0.1:0"], capture_output=True, timeout=20, check=False,
    )
    assert second.returncode != 0
    assert b"in use" in second.stderr and str(fresh.process.pid).encode() in second.stderr
    assert fresh.call("GET", "/v1/api_keys").status_code == 200


def test_everything_is_there_after_a_restart(fresh):
    key = fresh.create("kept", claims={"a": 1})
    root_key = fresh.root_key
    assert fresh.verify(key["secret"])["valid"]
    assert fresh.stop() == 0
    fresh.root_key = None
    fresh.start()
    assert fresh.root_key is None, "a second start showed a root key"
    fresh.root_key = root_key
    kept = fresh.call("GET", f"/v1/api_keys/{key['id']}").json()
    assert kept["claims"] == {"a": 1} and kept["last_used_at"] is not None
    assert fresh.verify(key["secret"])["revision"] >= 3


@embedded_only
def test_the_root_key_file_is_private_and_never_overwritten(tmp_path):
    path = tmp_path / "root-key"
    server = Server(arguments=["--root-key-file", str(path)])
    try:
        assert server.root_key is None and b"root_key" not in server.stdout
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        server.root_key = path.read_text().strip()
        assert server.call("GET", "/v1/api_keys").status_code == 200
        assert stat.S_IMODE(os.stat(server.data).st_mode) == 0o700
        for name in ["keyreeve.db", "operator.sock"]:
            assert stat.S_IMODE(os.stat(os.path.join(server.data, name)).st_mode) == 0o600
    finally:
        server.close()
    with pytest.raises(RuntimeError):
        Server(arguments=["--root-key-file", str(path)])
    assert path.read_text().strip() == server.root_key


def keyreeve(*arguments, stdin="", **environment):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("KEYREEVE_")}
    return subprocess.run([BINARY, *arguments], input=stdin, capture_output=True, text=True, timeout=30, check=False,
                          env={**clean, **environment})


def test_the_command_line_from_create_to_delete(fresh):
    there = {"KEYREEVE_URL": fresh.url, "KEYREEVE_ROOT_KEY": fresh.root_key}
    made = keyreeve("keys", "create", "ci", "--subject", "user_1", "--scope", "read", "--secret-only", **there)
    secret = made.stdout.strip()
    assert made.returncode == 0 and secret.startswith("ak_kr1") and len(made.stdout.splitlines()) == 1
    assert keyreeve("keys", "verify", "-", stdin=secret, **there).returncode == 0
    listed = keyreeve("keys", "list", "-o", "json", **there)
    key_id = requests.models.complexjson.loads(listed.stdout)["data"][0]["id"]
    for verb, done in [("disable", "disabled"), ("reactivate", "re-activated"), ("revoke", "revoked")]:
        result = keyreeve("keys", verb, key_id, **there)
        assert result.returncode == 0 and f"{done} {key_id}" in result.stderr
    assert keyreeve("keys", "verify", stdin=secret, **there).returncode == 3
    assert keyreeve("keys", "rotate", key_id, **there).returncode == 6
    assert keyreeve("keys", "delete", "-", stdin=key_id, **there).returncode == 0
    assert keyreeve("keys", "get", key_id, **there).returncode == 5
    assert keyreeve("keys", "verify", secret, **there).returncode == 2
    assert keyreeve("keys", "list", **{**there, "KEYREEVE_ROOT_KEY": "wrong"}).returncode == 4
    assert keyreeve("keys", "list", **{**there, "KEYREEVE_URL": "http://127.0.0.1:9"}).returncode == 7
    assert keyreeve("keys", "nonsense").returncode == 2
    assert keyreeve("completions", "bash").returncode == 0


@embedded_only
def test_root_keys_on_the_machine_with_and_without_a_running_server(fresh):
    made = keyreeve("root-keys", "create", "--data", fresh.data, "--permission", "keys:read", "--secret-only")
    assert fresh.call("GET", "/v1/api_keys", root_key=made.stdout.strip()).status_code == 200
    assert fresh.stop() == 0
    made = keyreeve("root-keys", "create", "--data", fresh.data, "--secret-only")
    assert made.returncode == 0, made.stderr
    fresh.start()
    assert fresh.call("GET", "/v1/root_keys", root_key=made.stdout.strip()).status_code == 200
    empty = keyreeve("root-keys", "create", "--data", "/nonexistent/keyreeve")
    assert empty.returncode == 2 and "there is no instance" in empty.stderr


def test_settings_come_from_the_file_and_unknown_ones_are_told(tmp_path):
    config = pathlib.Path(tmp_path) / "keyreeve.toml"
    config.write_text('lisen = "127.0.0.1:0"\n')
    refused = keyreeve("serve", "--config", str(config), "--data", str(tmp_path / "data"))
    assert refused.returncode == 2 and "lisen" in refused.stderr
    server = Server(environment={"KEYREEVE_COLOUR": "red"})
    server.close()
    assert server.says("KEYREEVE_COLOUR")


def test_dev_shows_a_curl_that_works(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    child = subprocess.Popen([BINARY, "dev", "--listen", f"127.0.0.1:{port}"], stdout=subprocess.PIPE, text=True)
    try:
        said = ""
        while "Ctrl-C ends it" not in said:
            line = child.stdout.readline()
            assert line, said
            said += line
        command = said.split("Verify the key:")[1].split("Use it")[0].strip()
        answer = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=20, check=True)
        assert '"valid":true' in answer.stdout
    finally:
        child.terminate()
        child.wait(20)
