"""The files: errors at the start, and changes while the server runs."""
import os
import pathlib
import shutil
import ssl
import subprocess
import threading
import time

import pytest
import requests

from authority import openssl
from conftest import pair
from harness import BINARY


def refused(tmp_path, *arguments, file=None, **environment):
    """Returns the error of a server that does not start."""
    places = [word for listener in ("listen", "check-listen", "ops-listen") for word in (f"--{listener}", "127.0.0.1:0")]
    if file is not None:
        settings = tmp_path / "keyreeve.toml"
        settings.write_text(file)
        arguments = [*arguments, "--config", settings]
    data = tmp_path / "data"
    told = subprocess.run([BINARY, "serve", "--data", data, *places, *map(str, arguments)], capture_output=True, text=True,
                          timeout=20, env={"PATH": "/usr/bin:/bin", **environment})
    assert told.returncode != 0 and not (data / "keyreeve.db").exists(), "nothing was set up"
    return told.returncode, told.stderr


def test_a_pair_that_does_not_match_prevents_the_start(tmp_path, authority, good):
    certificate, key = good
    other, _ = authority.issue("other")
    code, said = refused(tmp_path, *pair((other, key)))
    assert code == 1 and str(other) in said and str(key) in said and "does not belong" in said


def test_what_is_missing_or_empty_is_named(tmp_path, authority, good):
    certificate, key = good
    encrypted = tmp_path / "encrypted.key"
    openssl("pkcs8", "-topk8", "-in", key, "-passout", "pass:x", "-out", encrypted)
    for arguments, why in [
        (pair((certificate, "/nowhere.key")), "cannot read /nowhere.key"),
        (pair(("/dev/null", key)), "/dev/null holds no certificate"),
        (pair((certificate, certificate)), f"{certificate} holds no private key"),
        (pair((certificate, encrypted)), "not encrypted"),
        ([*pair(good), "--check-client-ca", key], f"{key} holds no certificate"),
    ]:
        code, said = refused(tmp_path, *arguments)
        assert code == 1 and why in said, said


def test_settings_that_contradict_each_other_are_wrong_usage(tmp_path, good):
    certificate, key = map(str, good)
    for arguments, file, environment in [
        (["--tls-cert", certificate], None, {}),
        ([], None, {"KEYREEVE_TLS_KEY": key}),
        (["--check-client-ca", certificate], None, {}),
        ([*pair(good), "--check-plain", "--check-client-ca", certificate], None, {}),
        ([], f"tls_cert = '{certificate}'\n", {}),
        ([], f"tls_cert = '{certificate}'\ntls_kye = '{key}'\n", {}),
        ([], "check_plain = 'yes'\n", {}),
    ]:
        code, said = refused(tmp_path, *arguments, file=file, **environment)
        assert code == 2 and "tls" in said.lower() or "check_plain" in said, said


def test_the_files_may_come_from_the_settings_file_or_variables(tmp_path, serve, good):
    certificate, key = good
    settings = tmp_path / "keyreeve.toml"
    settings.write_text(f"tls_cert = '{certificate}'\ntls_key = '{key}'\n")
    assert serve(["--config", settings]).call("GET", "/v1/api_keys").status_code == 200
    by_variables = {"KEYREEVE_TLS_CERT": str(certificate), "KEYREEVE_TLS_KEY": str(key)}
    assert serve([], environment=by_variables).call("GET", "/v1/api_keys").status_code == 200


class Renewal:
    """A server whose files are links, as those of a renewing tool or of a mounted secret are."""

    def __init__(self, tmp_path, serve, issued):
        self.links = tmp_path / "cert.pem", tmp_path / "key.pem"
        self.put(issued)
        self.server = serve(pair(self.links))

    def put(self, issued):
        for link, target in zip(self.links, issued):
            new = link.with_suffix(".new")
            new.symlink_to(target)
            os.replace(new, link)

    def shown(self):
        with self.server.connect() as stream:
            return ssl.DER_cert_to_PEM_cert(stream.getpeercert(binary_form=True)).strip()

    def until(self, what, seconds=6):
        deadline = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def details(self):
        return requests.get(self.server.ops + "/readyz?verbose", timeout=10).text

    def metric(self, name):
        text = requests.get(self.server.ops + "/metrics", timeout=10).text
        return {line.split("{")[1].split("}")[0]: float(line.split()[-1]) for line in text.splitlines()
                if line.startswith(name + "{")}


@pytest.fixture
def renewal(tmp_path, serve, good):
    return Renewal(tmp_path, serve, good)


def test_new_files_are_used_in_the_middle_of_traffic_and_no_request_is_lost(renewal, authority):
    server, failures, done, end = renewal.server, [], [], threading.Event()
    secret = server.create("in traffic")["secret"]

    def ask(fresh):
        session = requests.Session()
        session.headers["Authorization"] = f"Bearer {server.root_key}"
        while not end.is_set():
            if fresh:
                session.close()
            try:
                answer = session.post(server.url + "/v1/verify", json={"key": secret}, timeout=10,
                                      verify=server.trusted)
                assert answer.json()["valid"]
                done.append(1)
            except Exception as error:  # whatever it is, it is a lost request
                failures.append(error)

    threads = [threading.Thread(target=ask, args=(fresh,)) for fresh in (True, True, False)]
    for thread in threads:
        thread.start()
    for name in ("second", "third"):
        issued = authority.issue(name, kind="rsa" if name == "third" else "ec")
        renewal.put(issued)
        renewal.until(lambda: renewal.shown() == issued[0].read_text().strip())
    end.set()
    for thread in threads:
        thread.join()
    assert not failures and len(done) > 100
    assert server.stderr().count("new TLS files are in use") == 2 * 2, "each of both listeners follows them"


def test_a_pair_that_does_not_match_leaves_the_old_one_and_is_reported(renewal, authority, good):
    before = renewal.shown()
    second = authority.issue("half")
    renewal.put((second[0], good[1]))
    renewal.until(lambda: "complaint" in renewal.details())
    assert "does not belong" in renewal.details() and renewal.details().startswith("ok\n")
    assert renewal.shown() == before
    assert renewal.metric("keyreeve_tls_files_refused") == {'listener="listen"': 1.0, 'listener="check_listen"': 1.0}
    assert renewal.server.says("the previous pair stays in use") and "ERROR" in renewal.server.stderr()
    renewal.put(second)
    renewal.until(lambda: renewal.shown() == second[0].read_text().strip())
    assert "complaint" not in renewal.details()
    assert set(renewal.metric("keyreeve_tls_files_refused").values()) == {0.0}


def test_an_expired_certificate_or_none_replaces_nothing(renewal, authority, good):
    before = renewal.shown()
    renewal.put(authority.issue("late", times=("20200101000000Z", "20210101000000Z")))
    renewal.until(lambda: "past its time" in renewal.details())
    renewal.put((pathlib.Path("/nowhere.pem"), good[1]))
    renewal.until(lambda: "cannot read" in renewal.details())
    assert renewal.shown() == before
    ends = renewal.metric("keyreeve_tls_certificate_expiry_timestamp_seconds")
    told = subprocess.run(["openssl", "x509", "-noout", "-enddate", "-in", good[0]], capture_output=True, text=True).stdout
    assert ends['listener="listen"'] == ssl.cert_time_to_seconds(told.strip().split("=")[1])


def test_the_authority_of_callers_may_change_too(tmp_path, serve, authority, stranger, good):
    trusted = tmp_path / "gateways.pem"
    shutil.copy(authority.certificate, trusted)
    server = serve([*pair(good), "--check-client-ca", trusted])
    ours, theirs = (one.issue("caller", usage="clientAuth") for one in (authority, stranger))

    def is_served(identity):
        try:
            with server.connect("check_listen", identity=identity) as stream:
                stream.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                return stream.recv(12) == b"HTTP/1.1 404"
        except (ssl.SSLError, ConnectionError):
            return False

    assert is_served(ours) and not is_served(theirs)
    shutil.copy(stranger.certificate, trusted)
    deadline = time.monotonic() + 6
    while not is_served(theirs):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert not is_served(ours)
