"""Limits of keys, from outside: rates, quotas, networks, scopes with stars."""
import concurrent.futures
import time

import pytest
from harness import assert_error
from systems import System


def rate(name="few", limit=2, seconds=3600, **fields):
    return {"name": name, "limit": limit, "seconds": seconds, **fields}


def quota(name="daily", limit=2, period="day"):
    return {"name": name, "limit": limit, "period": period}


@pytest.fixture
def standard(server):
    return System(server, "standard")


@pytest.mark.parametrize("limit", [rate(), rate(hard=True), quota()], ids=["soft rate", "hard rate", "quota"])
def test_an_exceeded_limit_is_429_with_the_headers_to_pass_on(server, standard, limit):
    secret = standard.create(limits=[limit])["secret"]
    for remaining in (1, 0):
        verdict = server.verify(secret)
        assert (verdict["code"], verdict["status"]) == ("VALID", 200)
        (standing,) = verdict["limits"]
        assert standing["name"] == limit["name"] and standing["limit"] == 2 and standing["remaining"] == remaining
        assert verdict["headers"]["RateLimit"] == f'"{limit["name"]}";r={remaining};t={standing["reset_seconds"]}'
        window = limit.get("seconds", 86_400)
        assert verdict["headers"]["RateLimit-Policy"] == f'"{limit["name"]}";q=2;w={window}'
        assert "Retry-After" not in verdict["headers"]
    denied = server.verify(secret)
    assert (denied["valid"], denied["code"], denied["status"], denied["reason"]) == (False, "RATE_LIMITED", 429, "limited")
    assert 0 < int(denied["headers"]["Retry-After"]) <= 86_400
    assert denied["limits"][0]["remaining"] == 0
    assert "name" not in denied and "claims" not in denied


def test_a_rate_comes_back_evenly(server, standard):
    secret = standard.create(limits=[rate(limit=4, seconds=2, burst=1)])["secret"]
    assert server.verify(secret)["valid"] and not server.verify(secret)["valid"]
    time.sleep(0.55)
    assert server.verify(secret)["valid"] and not server.verify(secret)["valid"]


def test_a_batch_and_clerks_verify_are_counted_like_every_other(server, standard):
    secret = standard.create(limits=[rate(limit=3)])["secret"]
    items = [{"key": secret}] * 2 + [{"key": secret, "cost": 0}]
    verdicts = server.call("POST", "/v1/verify/batch", json={"items": items}).json()["data"]
    assert [verdict["valid"] for verdict in verdicts] == [True] * 3
    asked = [standard.call("POST", "/v1/api_keys/verify", json={"secret": secret}).status_code for _ in range(2)]
    assert asked == [200, 404]


def test_a_use_may_cost_more_and_nothing_is_taken_for_a_denial(server, standard):
    secret = standard.create(limits=[rate(limit=10), quota(limit=9)], scopes=["a"])["secret"]
    assert server.verify(secret, scopes=["b"])["reason"] == "scope"
    assert server.verify(secret, cost=8)["valid"]
    assert server.verify(secret, cost=2)["reason"] == "limited", "the quota has one left"
    assert server.verify(secret, cost=1)["valid"]
    looked = server.verify(secret, cost=0)
    assert looked["valid"] and [one["remaining"] for one in looked["limits"]] == [1, 0]
    assert_error(server.call("POST", "/v1/verify", json={"key": secret, "cost": 1_000_001}), 400)
    assert_error(server.call("POST", "/v1/verify", json={"key": secret, "cost": -1}), 400)


def test_concurrent_requests_do_not_exceed_a_limit(server, standard):
    for limit in (rate(limit=50), rate(limit=50, hard=True), quota(limit=50)):
        secret = standard.create(limits=[limit])["secret"]
        with concurrent.futures.ThreadPoolExecutor(16) as threads:
            verdicts = list(threads.map(lambda _, secret=secret: server.verify(secret)["valid"], range(120)))
        assert sum(verdicts) == 50, limit


def test_a_hard_limit_survives_a_restart_and_a_kill(fresh):
    hard = fresh.create("hard", limits=[quota(limit=500, period="total")])["secret"]
    used = sum(fresh.verify(hard)["valid"] for _ in range(200))
    assert used == 200
    fresh.stop()
    fresh.start()
    used += sum(fresh.verify(hard)["valid"] for _ in range(100))
    assert used == 300
    fresh.kill()
    fresh.start()
    used += sum(fresh.verify(hard)["valid"] for _ in range(300))
    # A slice that a process had taken and not used is lost with it: at most one.
    assert 495 <= used <= 500


def test_a_key_may_be_used_from_its_networks_only(server, standard):
    key = standard.create(allowed_networks=["192.0.2.0/24", "2001:db8::/32", "203.0.113.9"])
    assert key["allowed_networks"] == ["192.0.2.0/24", "2001:db8::/32", "203.0.113.9/32"]
    for address, reason in (("192.0.2.255", "valid"), ("2001:db8:1::1", "valid"), ("203.0.113.9", "valid"),
                            ("::ffff:192.0.2.1", "valid"), ("192.0.3.1", "address"), ("203.0.113.8", "address"),
                            ("2001:db9::1", "address")):
        assert server.verify(key["secret"], ip=address)["reason"] == reason, address
    unknown = server.verify(key["secret"])
    assert (unknown["code"], unknown["status"]) == ("API_KEY_CONTEXT_DENIED", 403)
    changed = standard.call("PATCH", f"/v1/api_keys/{key['id']}", json={"allowed_networks": None}).json()
    assert changed["allowed_networks"] == [] and server.verify(key["secret"])["valid"], "effective when it answers"


def test_a_change_of_limits_is_effective_when_it_is_answered_and_is_in_the_audit_log(server, standard):
    key = standard.create(limits=[quota(limit=1)])
    assert [server.verify(key["secret"])["valid"] for _ in range(2)] == [True, False]
    for limits, reason in (([quota(limit=2)], "valid"), ([quota(limit=2)], "limited"), (None, "valid"), ([], "valid")):
        changed = standard.call("PATCH", f"/v1/api_keys/{key['id']}", json={"limits": limits})
        assert changed.status_code == 200, changed.text
        assert server.verify(key["secret"])["reason"] == reason, limits
    shown = standard.call("GET", f"/v1/api_keys/{key['id']}").json()
    assert shown["limits"] == []
    events = standard.call("GET", f"/v1/audit_events?key_id={key['id']}").json()["data"]
    assert "quota:daily,2,day" in str(events)


def test_a_key_returns_its_limits_in_the_form_of_a_request(standard):
    wished = [rate(limit=120, seconds=60, burst=20, hard=True), rate("slow", 5, 10), quota(limit=10_000, period="month")]
    shown = standard.create(limits=wished)["limits"]
    assert shown == [wished[0], {**wished[1], "burst": 5, "hard": False}, {**wished[2], "hard": True}]
    again = standard.create(limits=shown)
    assert again["limits"] == shown


@pytest.mark.parametrize("limits, field", [
    ([rate(limit=0)], "limits[0]"),
    ([rate(seconds=0)], "limits[0]"),
    ([rate(seconds=86_401)], "limits[0]"),
    ([rate(burst=3)], "limits[0]"),
    ([rate(limit=1.5)], "limits[0].limit"),
    ([rate(name="No")], "limits[0].name"),
    ([rate(name="x" * 33)], "limits[0].name"),
    ([rate(), rate()], "limits"),
    ([rate(name=f"n{number}") for number in range(9)], "limits"),
    ([quota(), {"name": "none", "limit": 1}], "limits[1]"),
    ([{**rate(), "period": "day"}], "limits[0]"),
    ([{**quota(), "burst": 1}], "limits[0]"),
    ([{**quota(), "hard": False}], "limits[0]"),
    ([quota(period="week")], "limits[0].period"),
    ([{**quota(), "more": 1}], "limits[0]"),
    ([["daily", 1, None, None, None, "day"]], "limits[0]"),
    ("2/s", "limits"),
])
def test_a_limit_that_cannot_be_is_refused_with_its_name(standard, limits, field):
    refused = standard.call("POST", "/v1/api_keys", json={"name": "n", "subject": "s", "limits": limits})
    body = assert_error(refused, 400)
    assert field in str(body["errors"]), body


@pytest.mark.parametrize("network", ["192.0.2.1/24", "192.0.2.0/33", "example.org", "", "192.0.2", "::/129", "10.0.0.0/8 "])
def test_a_network_that_cannot_be_is_refused_with_its_place(standard, network):
    wish = {"name": "n", "subject": "s", "allowed_networks": ["192.0.2.0/24", network]}
    body = assert_error(standard.call("POST", "/v1/api_keys", json=wish), 400)
    assert "allowed_networks[1]" in str(body["errors"]), body


def test_a_member_cannot_limit_or_unlimit_their_own_key(standard):
    member, admin = standard.person(), standard.person("admin")
    member.create(limits=[rate()], status=403)
    key = member.create(allowed_networks=["192.0.2.0/24"])
    assert admin.call("PATCH", f"/v1/api_keys/{key['id']}", json={"limits": [rate()]}).status_code == 200
    for limits in ([], None, [rate(limit=100)]):
        refused = member.call("PATCH", f"/v1/api_keys/{key['id']}", json={"limits": limits})
        assert "administrator" in assert_error(refused, 403, "authorization_invalid")["detail"]
    renamed = member.call("PATCH", f"/v1/api_keys/{key['id']}", json={"name": "another", "allowed_networks": []})
    assert renamed.status_code == 200 and renamed.json()["limits"][0]["limit"] == 2


def test_a_star_in_a_scope_of_a_key_matches_its_parts(server, standard):
    secret = standard.create(scopes=["invoices:*", "*:read", "exact"])["secret"]
    for scope, holds in (("invoices:write", True), ("invoices:read:own", True), ("users:read", True), ("exact", True),
                         ("users:write", False), ("invoices", False), ("exactly", False), ("users:read:own", False)):
        assert server.verify(secret, scopes=[scope])["valid"] is holds, scope
    assert server.verify(standard.create(scopes=["*"])["secret"], scopes=["anything:at.all"])["valid"]
    assert not server.verify(standard.create(scopes=["invoices:read"])["secret"], scopes=["invoices:*"])["valid"]


def test_me_and_introspection_use_nothing_of_a_limit(server, standard):
    key = standard.create(limits=[rate(limit=1)])
    held = {"Authorization": f"Bearer {key['secret']}"}
    for _ in range(3):
        shown = server.call("GET", "/v1/me", headers=held)
        assert shown.status_code == 200, shown.text
        token = standard.call("POST", "/oauth2/introspect", data={"token": key["secret"]})
        assert token.json()["active"] is True
    assert [server.verify(key["secret"])["valid"] for _ in range(2)] == [True, False]
    assert server.call("GET", "/v1/me", headers=held).status_code == 200


def test_limited_requests_are_counted_and_shown_where_refusals_are(server, standard):
    key = standard.create(limits=[rate(limit=1)])
    for _ in range(4):
        server.verify(key["secret"], ip="192.0.2.1")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        usage = standard.call("GET", f"/v1/api_keys/{key['id']}/usage").json()
        if "'limited'" in str(usage):
            break
        time.sleep(0.2)
    assert "'limited'" in str(usage), usage


def test_a_key_without_limits_has_no_limit_fields(server, standard):
    verdict = server.verify(standard.create()["secret"])
    assert verdict["valid"] and "limits" not in verdict and "headers" not in verdict


def test_a_verification_of_cost_zero_reads_the_counts_and_is_no_use(server, standard):
    key = standard.create(limits=[quota(limit=100), rate(limit=10, hard=True)])
    secret, path = key["secret"], f"/v1/api_keys/{key['id']}"

    def left():
        return [standing["remaining"] for standing in server.verify(secret, cost=0)["limits"]]

    for _ in range(4):
        assert server.verify(secret)["valid"]
    used = standard.call("GET", path).json()["last_used_at"]
    assert left() == [96, 6]
    time.sleep(2.5)
    assert left() == [96, 6]
    server.stop()
    server.start()
    assert left() == [96, 6]
    assert standard.call("PATCH", path, json={"limits": [quota(limit=50), rate(limit=10, hard=True)]}).status_code == 200
    assert left() == [46, 6]
    counts = standard.call("GET", path + "/usage").json()["data"]
    assert sum(count["count"] for count in counts) == 4, counts
    assert standard.call("GET", path).json()["last_used_at"] == used
    unlimited = standard.create()
    assert server.verify(unlimited["secret"], cost=0)["valid"]
    assert standard.call("GET", f"/v1/api_keys/{unlimited['id']}").json()["last_used_at"] is None


def test_usage_has_the_cost_of_the_calls(server, standard):
    key = standard.create(limits=[quota(limit=9)])
    for cost in (1, 3, 5):
        assert server.verify(key["secret"], cost=cost)["valid"]
    assert not server.verify(key["secret"], cost=2)["valid"]
    said = standard.call("GET", f"/v1/api_keys/{key['id']}/usage").json()["data"]
    by_outcome = {hour["outcome"]: (hour["count"], hour["cost"]) for hour in said}
    assert by_outcome["valid"] == (3, 9), said
    assert all(cost == 0 for outcome, (_, cost) in by_outcome.items() if outcome != "valid"), said


def test_limits_are_read_and_set_back_by_id(server, standard):
    key = standard.create(limits=[quota(limit=3), rate("soft", limit=5), rate("slow", limit=5, hard=True)])
    secret, path = key["secret"], f"/v1/api_keys/{key['id']}"
    for _ in range(3):
        assert server.verify(secret)["valid"]
    for _ in range(5):
        assert server.verify(secret)["reason"] == "limited"
    daily, soft, slow = standard.call("GET", path + "/limits").json()["data"]
    assert (daily["name"], daily["limit"], daily["used"], daily["remaining"]) == ("daily", 3, 3, 0)
    assert (soft["used"], soft["remaining"], soft["is_of_this_node"]) == (None, 2, True)
    assert (slow["remaining"], slow["is_of_this_node"]) == (2, False), "what the quota refused took nothing"
    member, auditor = standard.person(), standard.person("auditor")
    assert_error(member.call("POST", path + "/limits/reset"), 403)
    assert_error(auditor.call("POST", path + "/limits/reset"), 403)
    assert auditor.call("GET", path + "/limits").status_code == 200
    answer = standard.call("POST", path + "/limits/reset")
    assert answer.status_code == 200 and answer.json()["effect"], answer.text
    assert [limit["remaining"] for limit in standard.call("GET", path + "/limits").json()["data"]] == [3, 5, 5]
    assert server.verify(secret)["valid"]
    events = standard.call("GET", path + "/events").json()["data"]
    assert events[-1]["action"] == "key.limits_reset"
    assert standard.call("GET", f"/v1/api_keys/{standard.create()['id']}/limits").json() == {"data": []}


def test_a_limit_with_a_former_name_begins_at_zero(server, standard):
    key = standard.create(limits=[quota("a", limit=2, period="total")])
    secret, path = key["secret"], f"/v1/api_keys/{key['id']}"
    assert [server.verify(secret)["valid"] for _ in range(3)] == [True, True, False]
    for name in ("b", "a"):
        body = {"limits": [quota(name, limit=2, period="total")]}
        assert standard.call("PATCH", path, json=body).status_code == 200
    assert [server.verify(secret)["valid"] for _ in range(3)] == [True, True, False]
