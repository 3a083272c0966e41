"""`keyreeve doctor` and `keyreeve healthcheck` against real servers and real directories."""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest
import requests

from harness import BINARY, POSTGRES, Server, embedded_only

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs/operations/doctor.md"


def run(*arguments, **environment):
    # Variables of the machine that runs the tests are not under test.
    return subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=30, cwd="/",
                          env={"PATH": "/usr/bin:/bin", **environment})


def doctor(data, *arguments, **environment):
    """Returns the findings, by id, and what was examined."""
    told = run("doctor", "--data", data, "-o", "json", *arguments, **environment)
    diagnosis = json.loads(told.stdout)
    found = {finding["id"]: finding for finding in diagnosis["findings"]}
    assert len(found) == len(diagnosis["findings"]), "each thing is said once"
    assert told.returncode == (3 if found else 0) and diagnosis["ok"] == (not found)
    for finding in found.values():
        assert set(finding) == {"id", "severity", "what", "why", "fix", "docs"} and all(finding.values())
        page, _, anchor = finding["docs"].partition("#")
        assert f"### {anchor}\n" in (ROOT / page).read_text()
    return found, diagnosis["examined"]


@pytest.fixture
def self_signed(tmp_path):
    """A pair that expires in three days and that all users may read."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3",
                    "-subj", "/CN=x", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", certificate],
                   check=True, capture_output=True)
    key.chmod(0o644)
    return certificate, key


def test_a_default_server_has_no_findings(fresh):
    if POSTGRES:
        pytest.skip("the database of the tests need not wait for its disk")
    assert doctor(fresh.data) == ({}, ["settings", "files", "data", "server"])
    told = run("doctor", "--data", fresh.data)
    assert told.returncode == 0 and told.stdout == "" and "0 found" in told.stderr


@embedded_only
def test_a_directory_without_a_server_is_looked_at_too(fresh):
    fresh.create("ends", seconds_until_expiration=3_600)
    assert fresh.stop() == 0
    assert doctor(fresh.data) == ({}, ["settings", "files", "data"])
    assert doctor("/nowhere") == ({}, ["settings", "files"])


@embedded_only
def test_a_killed_server_is_not_queried(fresh):
    fresh.kill()
    assert doctor(fresh.data)[1] == ["settings", "files", "data"]


@embedded_only
def test_each_fault_of_a_bad_set_up_is_found_once(self_signed, tmp_path):
    certificate, key = self_signed
    data = tempfile.mkdtemp(prefix="keyreeve-e2e-")
    root_key = tmp_path / "root-key"
    server = Server(data=data, environment={"KEYREEVE_LISEN": "x"}, arguments=[
        "--root-key-file", str(root_key), "--cache-entries", "1", "--lease", "2m", "--check-tls-cert", str(certificate),
        "--check-tls-key", str(key)])
    try:
        server.root_key = root_key.read_text().strip()
        for number in range(3):
            server.create(f"endless {number}")
        os.chmod(data, 0o755)
        os.chmod(os.path.join(data, "keyreeve.db"), 0o644)
        found, examined = doctor(data)
        assert examined == ["settings", "files", "data", "server"]
        assert set(found) == {
            "certificate-ends-soon", "tls-key-open", "data-open", "root-key-left", "keys-without-end", "memory-too-small",
            "lease-long", "unknown-variables"}
        assert "default (3)" in found["keys-without-end"]["what"]
        assert "KEYREEVE_LISEN" in found["unknown-variables"]["what"]
        assert f"{data} (755)" in found["data-open"]["what"] and "keyreeve.db (644)" in found["data-open"]["what"]
        told = run("doctor", "--data", data)
        assert told.returncode == 3 and "8 found" in told.stderr
        assert told.stdout.startswith("danger: ") and told.stdout.count("    fix: ") == 8
        assert server.root_key not in told.stdout + told.stderr
    finally:
        server.close()
        shutil.rmtree(data, ignore_errors=True)


def test_addresses_that_others_reach_are_found_before_a_start(self_signed, tmp_path):
    """No listener is opened for this: only the settings are examined."""
    certificate, key = self_signed
    key.chmod(0o600)
    exposed = ["--listen", "0.0.0.0:7300,unix:/run/a", "--check-listen", "[::]:7301", "--ops-listen", "10.0.0.1:7302"]
    assert set(doctor(tmp_path / "none", *exposed)[0]) == {"api-without-tls", "check-without-tls", "ops-exposed"}
    tls = ["--tls-cert", certificate, "--tls-key", key]
    found = set(doctor(tmp_path / "none", *exposed, *tls)[0])
    assert found == {"check-without-client-certificates", "ops-exposed", "certificate-ends-soon"}
    found = set(doctor(tmp_path / "none", *exposed, *tls, "--check-client-ca", certificate)[0])
    assert found == {"ops-exposed", "certificate-ends-soon"}


@embedded_only
def test_what_a_start_would_fail_on_is_found_before_it(self_signed, tmp_path, fresh):
    certificate, key = self_signed
    assert fresh.stop() == 0
    key.chmod(0o600)
    settings = tmp_path / "keyreeve.toml"
    settings.write_text(f"tls_cert = '{key}'\ntls_key = '{key}'\ncheck_plain = true\n"
                        "database = 'postgres://u:secret@db.example/k'\nlease = '3s'\n")
    found, examined = doctor(fresh.data, "--config", settings, KEYREEVE_TYPO="1")
    assert set(found) == {"tls-files-unusable", "database-unencrypted", "lease-short", "unknown-variables"}
    assert "secret" not in json.dumps(found)
    settings.write_text("lisen = '0.0.0.0:7300'\n")
    assert run("doctor", "--config", settings).returncode == 2


@embedded_only
def test_a_log_that_was_cut_off_is_found(fresh):
    """An older copy of the database beside a newer checkpoint."""
    fresh.stop()
    kept = os.path.join(fresh.data, "kept")
    shutil.copy(os.path.join(fresh.data, "keyreeve.db"), kept)
    fresh.start()
    fresh.create("later", seconds_until_expiration=3_600)
    fresh.stop()
    os.replace(kept, os.path.join(fresh.data, "keyreeve.db"))
    found, _ = doctor(fresh.data)
    assert set(found) - {"data-open"} == {"audit-log-short"}
    with open(os.path.join(fresh.data, "audit-checkpoint"), "a") as checkpoint:
        checkpoint.write("x")
    pathlib.Path(fresh.data, "audit-checkpoint").write_text("keyreeve/audit\n99\nAAAA\n")
    assert "checkpoint-unusable" in doctor(fresh.data)[0]


def test_only_the_socket_in_the_data_directory_answers(server):
    for url in (server.url, server.check, server.ops):
        answer = requests.get(url + "/operator/doctor", headers={"Authorization": f"Bearer {server.root_key}"}, timeout=10)
        assert answer.status_code == 404 and "findings" not in answer.text


def test_a_healthcheck_says_how_it_is(fresh):
    address = fresh.addresses["ops_listen"]
    told = run("healthcheck", "--ops-listen", address)
    assert (told.returncode, told.stdout) == (0, "ok\n")
    assert run("healthcheck", KEYREEVE_OPS_LISTEN="0.0.0.0:" + address.split(":")[1]).returncode == 0
    fresh.stop()
    told = run("healthcheck", "--ops-listen", address)
    assert told.returncode == 7 and address in told.stderr


def test_readiness_says_more_when_asked(server):
    assert requests.get(server.ops + "/readyz", timeout=10).text == "ok\n"
    said = requests.get(server.ops + "/readyz?verbose", timeout=10).text
    assert said.startswith("ok\nrevision: ") and "remembered: " in said
    assert requests.get(server.ops + "/healthz", timeout=10).text == "ok\n"
    assert requests.post(server.ops + "/healthz", timeout=10).status_code == 405
