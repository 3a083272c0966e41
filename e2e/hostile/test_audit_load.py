"""One caller can neither fill the audit log nor occupy its verification."""
import concurrent.futures

import pytest

from systems import System


@pytest.fixture
def fresh_system(fresh):
    return System(fresh, "standard")


def weak(system):
    wish = {"name": "weak", "permissions": ["keys:read"]}
    return system.call("POST", "/v1/root_keys", json=wish).json()


def refusals(system, root_key):
    query = {"action": "access.refused", "actor_id": root_key["id"], "limit": 1000}
    return system.call("GET", "/v1/audit_events", params=query).json()["data"]


def test_a_repeated_refusal_is_one_entry_with_a_count(fresh, fresh_system):
    root_key = weak(fresh_system)
    for _ in range(200):
        answer = fresh.call("POST", "/v1/api_keys", root_key=root_key["secret"], json={"name": "x", "subject": "s"})
        assert answer.status_code == 403
    assert len(refusals(fresh_system, root_key)) == 1
    assert fresh.stop() == 0
    fresh.start()
    last, first = refusals(fresh_system, root_key)
    assert "199 refused calls" in last["reason"] and "PERMISSION_DENIED" in first["reason"]


def test_different_refusals_are_bounded_too(fresh, fresh_system):
    root_key = weak(fresh_system)
    for number in range(200):
        answer = fresh.call("POST", f"/v1/api_keys/ak_{number:032x}/revoke", root_key=root_key["secret"], json={})
        assert answer.status_code == 403
    assert len(refusals(fresh_system, root_key)) <= 5
    # Another caller's refusals are not lost among them.
    other = weak(fresh_system)
    fresh.call("DELETE", "/v1/users/user_" + "0" * 32, root_key=other["secret"])
    assert len(refusals(fresh_system, other)) == 1


def verify(system, **options):
    return system.call("POST", "/v1/audit/verify", json={}, **options)


def signed(server):
    return server.call("GET", "/v1/audit/checkpoint").json()["revision"]


def test_a_tenants_audit_verification_begins_at_the_last_checkpoint_and_the_instances_at_the_first_entry(fresh, fresh_system):
    for number in range(50):
        fresh_system.create(name=f"key {number}")
    revision = signed(fresh)
    fresh_system.create()
    of_tenant = verify(fresh_system).json()
    assert of_tenant["ok"] and of_tenant["since"] >= revision and of_tenant["entries"] > revision
    whole = fresh.call("POST", "/v1/audit/verify", json={}).json()
    assert whole["ok"] and whole["since"] == 0 and whole["entries"] >= of_tenant["entries"]


def test_a_tenant_may_compare_the_log_with_a_checkpoint_that_it_kept(fresh, fresh_system):
    fresh_system.create()
    kept = fresh_system.call("GET", "/v1/audit/checkpoint").json()
    fresh_system.create()
    signed(fresh)
    check = fresh_system.call("POST", "/v1/audit/verify", json={"checkpoint": kept["note"]}).json()
    assert check["ok"] and check["checkpoint_revision"] == kept["revision"] <= check["since"] <= check["entries"]


def test_concurrent_audit_verifications_are_limited_by_caller(server):
    first, second = System(server, "standard"), System(server, "standard")
    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda _: verify(first), range(80)))
        assert {answer.status_code for answer in answers} <= {200, 429} and answers[0] is not None
        assert any(answer.status_code == 200 for answer in answers)
    for answer in answers:
        if answer.status_code == 429:
            assert answer.headers["Retry-After"] == "2" and answer.json()["code"] == "RATE_LIMITED"
    assert verify(second).status_code == 200
