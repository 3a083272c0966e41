"""Metrics: their format, their names, and the alerts that use them."""
import pathlib
import re
import shutil
import subprocess
import sys
import time

import pytest
import requests

from harness import POSTGRES, Server, embedded_only

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
RULES = ROOT / "deploy/prometheus/keyreeve.rules.yml"
PROMTOOL = shutil.which("promtool") or str(ROOT / "e2e/.cache/promtool")
# Names are append-only: these two are older than the rule about units.
OLD_UNITS = {"keyreeve_lease_left_milliseconds", "keyreeve_lease_length_milliseconds"}
NEVER_LABELS = {"key", "key_id", "user", "user_id", "subject", "secret", "tenant", "ip", "address", "path"}


def promtool(*arguments, **options):
    return subprocess.run([PROMTOOL, *map(str, arguments)], capture_output=True, text=True, timeout=60, **options)


def metrics(server, **headers):
    answer = requests.get(server.ops + "/metrics", headers=headers, timeout=10)
    assert answer.status_code == 200
    return answer


def value(server, name, **labels):
    """The value of one sample."""
    for line in metrics(server).text.splitlines():
        found = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
        if found and found[1] == name:
            have = dict(re.findall(r'(\w+)="([^"]*)"', found[2] or ""))
            if labels.items() <= have.items():
                return float(found[3])
    return None


@pytest.fixture(scope="module")
def used():
    """A server on which every counted event has happened."""
    server = Server()
    key = server.create("counted", seconds_until_expiration=3_600)
    server.create("without an end")
    server.verify(key["secret"])
    server.verify("ak_kr1" + "x" * 49)
    server.call("POST", f"/v1/api_keys/{key['id']}/rotate", json={})
    server.call("POST", f"/v1/api_keys/{key['id']}/disable", json={})
    server.call("POST", f"/v1/api_keys/{key['id']}/rotate", json={})
    server.call("POST", f"/v1/api_keys/{key['id']}/revoke", json={})
    server.call("POST", "/v1/audit/verify", json={})
    yield server
    server.close()


def test_promtool_finds_nothing_to_say(used):
    told = promtool("check", "metrics", input=metrics(used).text)
    found = [line for line in (told.stdout + told.stderr).splitlines() if line.split(" ")[0] not in OLD_UNITS]
    assert not found, "\n".join(found)


def test_both_forms_say_the_same(used):
    old = metrics(used)
    assert old.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    new = metrics(used, Accept="application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5")
    assert new.headers["Content-Type"].startswith("application/openmetrics-text")
    assert new.text.endswith("# EOF\n") and "# UNIT" in new.text and "# UNIT" not in old.text

    def names(text):
        return {re.split(r"[{ ]", line)[0] for line in text.splitlines() if not line.startswith("#")}

    assert names(old.text) == names(new.text)


def test_what_was_done_is_counted(used):
    assert value(used, "keyreeve_key_operations_total", op="issue", result="done") == 2
    assert value(used, "keyreeve_key_operations_total", op="rotate", result="done") == 1
    assert value(used, "keyreeve_key_operations_total", op="rotate", result="refused") == 1
    assert value(used, "keyreeve_key_operations_total", op="revoke", result="done") == 1
    assert value(used, "keyreeve_verifications_total", outcome="valid") == 1
    assert value(used, "keyreeve_revocation_propagation_seconds_count") >= 2
    revoke = {"http_request_method": "POST", "http_route": "/v1/api_keys/{id}/revoke", "http_response_status_code": "200"}
    assert value(used, "http_server_request_duration_seconds_count", **revoke) == 1
    assert abs(value(used, "keyreeve_audit_verified_timestamp_seconds") - time.time()) < 60
    assert value(used, "keyreeve_build_info", version="0.1.0") == 1
    violations = re.findall(r'keyreeve_invariant_violations_total{invariant="([^"]+)"} (\S+)', metrics(used).text)
    assert ("R5 fill-floor", "0") in violations and {count for _, count in violations} == {"0"}
    assert 0 < value(used, "process_open_fds") < value(used, "process_max_fds")
    assert value(used, "process_resident_memory_bytes") > 1_000_000
    assert abs(value(used, "process_start_time_seconds") - time.time()) < 120


def test_keys_are_counted_when_a_server_starts():
    server = Server()
    try:
        for number in range(3):
            server.create(f"key {number}", **({"seconds_until_expiration": 3_600} if number else {}))
        server.stop()
        server.start()
        deadline = time.monotonic() + 5
        while value(server, "keyreeve_keys", state="active") != 3:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert value(server, "keyreeve_keys_expiring", within="1d") == 2
    finally:
        server.close()


def test_no_label_can_have_many_values(used):
    for unknown in ("/nowhere/1", "/nowhere/2", "/v1/api_keys/ak_1", "/keys/x"):
        used.call("GET", unknown)
    used.call("BREW", "/v1/api_keys")
    text = metrics(used).text
    labels = set(re.findall(r'[{,](\w+)="', text))
    assert not labels & NEVER_LABELS
    assert "nowhere" not in text and "ak_1" not in text and "BREW" not in text


def test_the_rules_are_sound_and_fire_when_they_should():
    told = promtool("check", "rules", RULES)
    assert told.returncode == 0, told.stdout + told.stderr
    told = promtool("test", "rules", RULES.with_name("keyreeve.rules.test.yml"))
    assert told.returncode == 0, told.stdout + told.stderr


def names_in_rules():
    expressions = re.findall(r"expr: (.*(?:\n {10,}.*)*)", RULES.read_text())
    return set(re.findall(r"\b(?:keyreeve|process|http)_\w+", " ".join(expressions)))


def test_every_metric_of_the_rules_and_of_the_page_is_there(used):
    names = names_in_rules()
    assert len(names) > 10
    page = (ROOT / "docs/operations/metrics.md").read_text()
    listed = {name.split("{")[0] for name in re.findall(r"^\| `(\w+)", page, re.MULTILINE)}
    there = {re.split(r"[{ ]", line)[0] for line in metrics(used).text.splitlines() if not line.startswith("#")}
    described = set(re.findall(r"^# TYPE (\w+)", metrics(used).text, re.MULTILINE))
    # Names that only nodes on Postgres or listeners with TLS have are looked up in the source.
    source = (ROOT / "crates/server/src/ops/metrics.rs").read_text()
    elsewhere = {name for name in names | listed if re.sub(r"_(total|seconds)$", "", name) in source or name in source}
    assert names - there - elsewhere == set()
    assert listed - described - elsewhere == set(), "the page has names that are not there"
    assert described - listed == set(), "the page lacks names"
