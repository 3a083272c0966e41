"""The list of connected verifiers, who may read it, and who may disconnect one."""
import json
import os
import subprocess
import threading
import time

import pytest
import requests
from verifier_client import WireVerifier
from verifier_world import LEASE, OVERDUE, SLACK, WAIT, Tenant, at_once, honest, other, tenant  # noqa: F401: fixtures

from harness import BINARY, Server, assert_error

PATH = "/v1/verifiers/connected"
NOBODYS = "vf_0123456789abcdef_1"
FIELDS = {"id", "tenant", "root_key_id", "peer", "connected_at", "state", "lease_ends_at", "keys_held",
          "oldest_unacknowledged_ms"}


@pytest.fixture(scope="module")
def server():
    running = Server(arguments=["--lease", f"{LEASE * 1000:.0f}ms", "--node-name", "first"])
    yield running
    running.close()


def listed(server, root_key=None, **headers):
    answer = server.call("GET", PATH, root_key=root_key, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def test_a_tenant_sees_its_own_verifiers_and_their_open_orders(server, tenant, other):
    known = tenant.key()
    with WireVerifier(server, tenant.root_key, acknowledges=False) as silent, \
            honest(WireVerifier(server, other.root_key)) as good:
        silent.learn(known)
        good.learn(other.key())
        (mine,) = listed(server, tenant.root_key)
        assert set(mine) == FIELDS
        assert (mine["tenant"], mine["root_key_id"]) == (tenant.slug, tenant.root_key_id)
        assert mine["peer"] == "127.0.0.1" and mine["keys_held"] == 1 and mine["oldest_unacknowledged_ms"] is None
        now = time.time() * 1000
        assert now - 60_000 < mine["connected_at"] <= now + 1000
        assert now - 1000 < mine["lease_ends_at"] < now + WAIT * 1000 + 1000
        revoking = threading.Thread(target=lambda: tenant.revoke(known))
        revoking.start()
        assert silent.wait_for(lambda said: said["type"] == "forget")
        assert 0 <= listed(server, tenant.root_key)[0]["oldest_unacknowledged_ms"] < OVERDUE * 1000 + 1000
        (theirs,) = listed(server, other.root_key)
        assert theirs["tenant"] == other.slug
        revoking.join()


def test_an_instance_root_key_sees_all_or_the_named_tenants(server, tenant, other):
    root = server.call("POST", "/v1/root_keys", json={"name": "edge", "permissions": ["keys:verify"]}).json()
    with honest(WireVerifier(server, tenant.root_key)) as mine, honest(WireVerifier(server, other.root_key)) as theirs, \
            honest(WireVerifier(server, root["secret"])) as wide:
        assert mine.granted() and theirs.granted() and wide.granted()
        tenants = [one["tenant"] for one in listed(server)]
        assert {tenant.slug, other.slug, None} <= set(tenants)
        assert [one["tenant"] for one in listed(server, **{"Keyreeve-Tenant": tenant.slug})] == [tenant.slug]
        node = server.call("GET", PATH).json()["node"]
        assert node["id"] in [one["id"] for one in server.call("GET", "/v1/nodes").json()["data"]]
        answer = server.call("GET", PATH, root_key=tenant.root_key, headers={"Keyreeve-Tenant": other.slug})
        assert_error(answer, 404, "NOT_FOUND")


def test_a_disconnected_verifier_is_listed_while_a_change_waits_for_it(server, tenant):
    known = tenant.key()
    with WireVerifier(server, tenant.root_key, acknowledges=False) as silent:
        silent.learn(known)
        (mine,) = listed(server, tenant.root_key)
        assert mine["state"] == "connected"
        silent.close()
    revoking = threading.Thread(target=lambda: tenant.revoke(known))
    revoking.start()
    deadline, seen = time.monotonic() + SLACK, {}
    while seen.get("oldest_unacknowledged_ms") is None and time.monotonic() < deadline:
        seen = (listed(server, tenant.root_key) or [{}])[0]
    assert (seen["id"], seen["state"]) == (mine["id"], "disconnected") and seen["lease_ends_at"]
    assert metric(server, "keyreeve_verifier_orders_outstanding") >= 1
    refused = server.call("DELETE", f"{PATH}/{mine['id']}", root_key=tenant.root_key)
    assert_error(refused, 404, "NOT_FOUND")
    revoking.join()
    assert listed(server, tenant.root_key) == []


def test_disconnecting_ends_the_connection_and_is_written_down(server, tenant):
    known, second = tenant.key(), tenant.key()
    with WireVerifier(server, tenant.root_key, acknowledges=False) as silent:
        silent.learn(known)
        (mine,) = listed(server, tenant.root_key)
        ended = server.call("DELETE", f"{PATH}/{mine['id']}", root_key=tenant.root_key)
        assert ended.status_code == 200 and ended.json()["id"] == mine["id"]
        assert silent.wait_closed(SLACK), "whatever it does"
        tenant.revoke(known)
        assert time.monotonic() >= silent.lease_end(), "it might still have answered"
    (entry,) = tenant.call("GET", "/v1/audit_events?action=verifier.disconnected")["data"]
    assert entry["target"] == {"type": "verifier", "id": mine["id"]} and entry["reason"] == tenant.root_key_id
    with honest(WireVerifier(server, tenant.root_key)) as again:
        again.learn(second)


def test_another_tenants_verifier_is_as_unknown_as_none(server, tenant, other):
    with honest(WireVerifier(server, other.root_key)) as theirs:
        assert theirs.granted()
        (seen,) = listed(server, other.root_key)
        same = {"X-Request-Id": "same"}
        refused = server.call("DELETE", f"{PATH}/{seen['id']}", root_key=tenant.root_key, headers=same)
        nobodys = server.call("DELETE", f"{PATH}/{NOBODYS}", root_key=tenant.root_key, headers=same)
        assert_error(refused, 404, "NOT_FOUND")
        assert refused.content == nobodys.content
        for odd in ("vf_", "x", seen["id"] + "0", seen["id"].replace("_", "_+", 2), "vf_" + "0" * 400):
            assert server.call("DELETE", f"{PATH}/{odd}", root_key=tenant.root_key).content
            assert_error(server.call("DELETE", f"{PATH}/{odd}"), 404, "NOT_FOUND")
        assert not theirs.closed.is_set() and theirs.granted()


def test_neither_without_a_root_key_nor_without_the_permission(server, tenant):
    for method, path in [("GET", PATH), ("DELETE", f"{PATH}/{NOBODYS}"), ("GET", "/v1/verifiers")]:
        assert_error(requests.request(method, server.url + path, timeout=10), 401, "ROOT_KEY_REQUIRED")
    reader = tenant.root("audit:read", "keys:verify")["secret"]
    writer = tenant.root("root_keys:write")["secret"]
    assert server.call("GET", PATH, root_key=reader).status_code == 200
    assert_error(server.call("DELETE", f"{PATH}/{NOBODYS}", root_key=reader), 403, "PERMISSION_DENIED")
    assert_error(server.call("GET", PATH, root_key=writer), 403, "PERMISSION_DENIED")
    assert_error(server.call("DELETE", f"{PATH}/{NOBODYS}", root_key=writer), 404, "NOT_FOUND")
    assert_error(server.call("GET", "/v1/verifiers", root_key=writer), 403, "PERMISSION_DENIED")


def keyreeve(server, *arguments, root_key=None):
    environment = {"PATH": os.environ["PATH"], "KEYREEVE_URL": server.url,
                   "KEYREEVE_ROOT_KEY": root_key or server.root_key}
    return subprocess.run([BINARY, *arguments], env=environment, capture_output=True, text=True, timeout=30)


def test_the_command_line_lists_and_disconnects(server, tenant):
    with WireVerifier(server, tenant.root_key) as verifier:
        verifier.learn(tenant.key())
        shown = keyreeve(server, "verifiers", "list", root_key=tenant.root_key)
        assert shown.returncode == 0, shown.stderr
        head, line = shown.stdout.splitlines()
        assert head.split()[:4] == ["ID", "TENANT", "ROOT_KEY_ID", "PEER"] and tenant.slug in line and "T" in line
        told = json.loads(keyreeve(server, "verifiers", "list", "-o", "json", "--tenant", tenant.slug).stdout)
        (one,) = told["data"]
        gone = keyreeve(server, "verifiers", "disconnect", one["id"])
        assert gone.returncode == 0 and verifier.wait_closed(SLACK), gone.stderr
        assert keyreeve(server, "verifiers", "disconnect", one["id"]).returncode == 5
        assert keyreeve(server, "verifiers", "disconnect", "../x").returncode == 2


def metric(server, name):
    for line in requests.get(server.ops + "/metrics", timeout=10).text.splitlines():
        if line.startswith(name + " "):
            return float(line.split()[1])
    raise AssertionError(f"no metric {name}")


def test_metrics_report_a_stalled_verifier(server, tenant):
    known = tenant.key()
    overdue = metric(server, "keyreeve_verifiers_overdue_total")
    with WireVerifier(server, tenant.root_key, acknowledges=False) as silent:
        silent.learn(known)
        assert metric(server, "keyreeve_verifiers_connected") >= 1
        assert metric(server, "keyreeve_verifier_orders_outstanding") == 0
        revoking = threading.Thread(target=lambda: tenant.revoke(known))
        revoking.start()
        assert silent.wait_for(lambda said: said["type"] == "forget")
        assert metric(server, "keyreeve_verifier_orders_outstanding") == 1
        assert 0 <= metric(server, "keyreeve_verifier_oldest_order_seconds") < OVERDUE + SLACK
        assert silent.wait_closed(OVERDUE + SLACK)
        revoking.join()
    assert metric(server, "keyreeve_verifiers_overdue_total") == overdue + 1
    assert metric(server, "keyreeve_verifiers_refused_total") >= 0
    at_once(lambda: tenant.revoke(tenant.key()))
