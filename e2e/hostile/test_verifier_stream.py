"""Verifiers that break the protocol: what that costs, and which callers."""
import json
import os
import signal
import subprocess
import threading
import time

import pytest
from verifier_client import Refused, WireVerifier, digest
from verifier_world import OVERDUE, SLACK, WAIT, at_once, every_change_of, honest, other, server, tenant, timed  # noqa: F401: fixtures

from harness import BINARY


def test_a_verifier_that_never_acknowledges_delays_no_other_tenant(server, tenant, other):
    changes = every_change_of(other)
    known = tenant.key()
    with WireVerifier(server, tenant.root_key, acknowledges=False) as silent:
        silent.learn(known)
        waiting = threading.Thread(target=lambda: tenant.revoke(known))
        waiting.start()
        assert silent.wait_for(lambda said: said["type"] == "forget"), "it is told of its own"
        for what, change in changes.items():
            at_once(change, what)
        waiting.join()


def test_a_verifier_that_never_acknowledges_delays_changes_of_its_keys_once(server, tenant):
    first, second, third, unknown = (tenant.key() for _ in range(4))
    with WireVerifier(server, tenant.root_key, acknowledges=False) as silent:
        silent.learn(first, second, third)
        at_once(lambda: tenant.revoke(unknown), "a key that it never asked for")
        began = time.monotonic()
        tenant.revoke(first)
        assert time.monotonic() >= silent.lease_end(), "it might still have answered"
        assert silent.wait_closed(OVERDUE + SLACK), "the server ends the connection"
        tenant.revoke(second)
        assert time.monotonic() - began < OVERDUE + WAIT + SLACK, "what it was given is waited for once, for all"
        at_once(lambda: tenant.revoke(third), "the next key that it knew")
        at_once(lambda: tenant.revoke(tenant.key()), "a key of the same tenant")


def test_an_overdue_verifier_gets_no_grant_and_is_disconnected(server, tenant):
    known = tenant.key()
    with WireVerifier(server, tenant.root_key, acknowledges=False) as silent:
        silent.learn(known)
        revoking = threading.Thread(target=lambda: tenant.revoke(known))
        revoking.start()
        assert silent.wait_for(lambda said: said["type"] == "forget")
        ordered = time.monotonic()
        assert silent.wait_closed(OVERDUE + SLACK), "it is still connected"
        # Counted from when it sent the ping, because this side may read an answer late.
        late = [asked for asked in silent.extended if asked > ordered + OVERDUE + SLACK / 2]
        assert not late, "a grant after it was overdue"
        revoking.join()


@pytest.mark.parametrize("delay, stays", [(1.5, True), (2.5, False)])
def test_an_acknowledgement_that_comes_late_is_waited_for_up_to_two_seconds(server, tenant, delay, stays):
    known, second, third = (tenant.key() for _ in range(3))
    with WireVerifier(server, tenant.root_key, delay=delay) as slow:
        slow.learn(known, second, third)
        began = time.monotonic()
        took = timed(lambda: tenant.revoke(known))
        assert took < OVERDUE + WAIT + SLACK
        assert digest(known["secret"]) not in slow.memory
        if stays:
            assert took < OVERDUE + SLACK, "answered when it was acknowledged, or could not answer any more"
            assert not slow.closed.is_set() and slow.fetch(second["secret"])["secret"]
        else:
            assert slow.wait_closed(OVERDUE + SLACK)
            tenant.revoke(second)
            assert time.monotonic() - began < OVERDUE + WAIT + SLACK
            at_once(lambda: tenant.revoke(third))


def test_a_stopped_application_delays_only_changes_of_its_keys_and_once(server, tenant, other):
    known, second, unknown = (tenant.key() for _ in range(3))
    changes = every_change_of(other)
    environment = {"PATH": os.environ["PATH"], "KEYREEVE_URL": server.url, "KEYREEVE_ROOT_KEY": tenant.root_key}
    application = subprocess.Popen([BINARY, "verifier"], env=environment, stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE)
    try:
        for key in (known, second):
            application.stdin.write(key["secret"].encode() + b"\n")
            application.stdin.flush()
            assert json.loads(application.stdout.readline())["valid"]
        application.send_signal(signal.SIGSTOP)
        at_once(lambda: tenant.revoke(unknown), "a key that it never asked for")
        for what, change in changes.items():
            at_once(change, what)
        assert timed(lambda: tenant.revoke(known)) < OVERDUE + WAIT + SLACK
        at_once(lambda: tenant.revoke(second), "its lease is over")
        at_once(lambda: tenant.call("PUT", "/v1/policy", json={"preset": "standard"}), "its lease is over")
    finally:
        application.kill()
        application.wait()


def test_a_revocation_is_not_effective_while_a_verifier_may_still_accept_the_key(server, tenant):
    """For each cause: its connection, its root key, or a missing acknowledgement."""
    ends = {
        "it is cut off": lambda verifier, root: verifier.close(),
        "its root key is revoked": lambda _, root: server.call("DELETE", f"/v1/root_keys/{root['id']}",
                                                                headers={"Prefer": "respond-async"}),
    }
    for what, end in ends.items():
        known, root = tenant.key(), tenant.root()
        with WireVerifier(server, root["secret"], acknowledges=False) as verifier:
            verifier.learn(known)
            verifier.ping()
            time.sleep(0.3)
            ending = threading.Thread(target=end, args=(verifier, root))
            ending.start()
            assert timed(lambda: tenant.revoke(known)) < OVERDUE + WAIT + SLACK, what
            assert time.monotonic() >= verifier.lease_end(), f"{what}: it might still have answered"
            ending.join()


@pytest.mark.parametrize("change", ["revoke", "erase", "disable", "update"])
def test_a_change_waits_for_the_secret_that_a_rotation_before_it_took_from_the_key(server, tenant, change):
    """A revocation right after a rotation touches the new secret; a verifier may still accept the old one."""
    key, root = tenant.key(), tenant.root()
    path = f"/v1/api_keys/{key['id']}"
    changes = {
        "revoke": lambda: tenant.revoke(key),
        "erase": lambda: tenant.call("DELETE", path),
        "disable": lambda: tenant.call("POST", f"{path}/disable", json={}),
        "update": lambda: tenant.call("PATCH", path, json={"scopes": []}),
    }
    with WireVerifier(server, root["secret"], acknowledges=False) as verifier:
        verifier.learn(key)
        rotation = threading.Thread(target=tenant.call, args=("POST", f"{path}/rotate"), kwargs={"json": {}})
        rotation.start()
        number = verifier.wait_for(lambda said: said["type"] == "forget")["number"]
        changed = threading.Thread(target=changes[change])
        changed.start()
        changed.join(0.5)
        assert changed.is_alive(), "it returned although the verifier may still accept the old secret"
        verifier.acknowledge(number)
        at_once(changed.join, change)
        rotation.join()


def test_a_verifier_receives_nothing_about_another_tenant(server, tenant, other):
    mine, theirs = tenant.key(), [other.key() for _ in range(3)]
    with honest(WireVerifier(server, tenant.root_key)) as verifier:
        verifier.learn(mine)
        for key in theirs:
            assert verifier.fetch(key["secret"])["secret"] is None
        with honest(WireVerifier(server, other.root_key)) as neighbour:
            neighbour.learn(*theirs)
            for change in every_change_of(other).values():
                change()
            other.call("POST", "/v1/api_keys/revoke_many", json={"filter": {"all": True}})
            assert len(neighbour.orders()) > 0
        assert not verifier.orders(), "what happens elsewhere is none of its business"
        # One change of its own, in one commit with theirs, as with a leak of many keys.
        tenant.revoke(mine)
        heard = json.dumps([said for _, said in verifier.received])
        for key in theirs:
            assert key["id"] not in heard and digest(key["secret"]) not in heard
        assert other.slug not in heard and len(verifier.orders()) == 1


def test_an_instance_wide_verifier_forgets_only_the_tenant_that_changed(server, tenant, other):
    mine, theirs = tenant.key(), other.key()
    user = other.user()
    owned = other.key(user)
    root = server.call("POST", "/v1/root_keys", json={"name": "edge", "permissions": ["keys:verify"]}).json()
    with honest(WireVerifier(server, root["secret"])) as verifier:
        verifier.learn(mine, theirs, owned)
        for method, path, body in [("PATCH", f"/v1/users/{user}", {"status": "suspended"}),
                                   ("PUT", "/v1/policy", {"preset": "hold"})]:
            verifier.learn(mine, theirs, owned)
            other.call(method, path, json=body)
            assert digest(mine["secret"]) in verifier.memory, f"{path}: it forgot another tenant's key too"
            assert digest(owned["secret"]) not in verifier.memory
        server.call("PATCH", f"/v1/tenants/{other.slug}", json={"status": "suspended"}).raise_for_status()
        assert set(verifier.memory) == {digest(mine["secret"])}


@pytest.mark.parametrize("ending", ["stays silent", "closes its connection"])
def test_repeated_time_outs_suspend_only_the_stream_of_a_root_key(server, tenant, other, ending):
    root, refused = tenant.root(), None
    for _ in range(20):
        known = tenant.key()
        try:
            verifier = WireVerifier(server, root["secret"], acknowledges=False)
        except Refused as answer:
            refused = answer
            break
        with verifier:
            verifier.learn(known)
            if ending == "stays silent":
                tenant.revoke(known)
                verifier.wait_closed(OVERDUE + SLACK)
                continue
            revoking = threading.Thread(target=tenant.revoke, args=(known,))
            revoking.start()
            verifier.wait_for(lambda said: said["type"] == "forget")
            verifier.close()
            revoking.join()
    assert refused, "it was never refused"
    assert refused.status == 429 and refused.code == "VERIFIER_STREAM_SUSPENDED", refused
    assert int(refused.headers["retry-after"]) >= 1
    page = server.call("GET", "/errors/VERIFIER_STREAM_SUSPENDED")
    assert page.ok and "VERIFIER_STREAM_SUSPENDED" in page.text
    key = tenant.key()
    asked = server.call("POST", "/v1/verify", root_key=root["secret"], json={"key": key["secret"]})
    assert asked.json()["valid"], "it may still ask"
    for good in (tenant.root()["secret"], other.root_key):
        with honest(WireVerifier(server, good)) as verifier:
            assert verifier.granted(), "another root key has its stream"
