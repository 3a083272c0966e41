"""Revoke every key that matches a filter, in one call."""
import pytest
import requests

from systems import assert_error


@pytest.fixture
def keys(fresh):
    made = {}
    for number in range(6):
        owner = f"user_{number % 2}"
        made[number] = fresh.create(f"key {number}", owner, scopes=["read"] if number < 4 else ["write"])
    return made


def revoke_many(server, filter, **fields):
    return server.call("POST", "/v1/api_keys/revoke_many", json={"filter": filter, **fields})


def valid(server, keys):
    return [number for number, key in keys.items() if server.verify(key["secret"])["valid"]]


def test_by_owner_and_again_changes_nothing(fresh, keys):
    answer = revoke_many(fresh, {"subject": "user_0"}, revocation_reason="left")
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["matched"], body["revoked"], body["skipped"]) == (3, 3, 0)
    assert body["effect"]["scope"] == "everywhere" and body["effect"]["revision"] > 0
    assert valid(fresh, keys) == [1, 3, 5]
    record = fresh.call("GET", f"/v1/api_keys/{keys[0]['id']}").json()
    assert record["revoked"] and record["revocation_reason"] == "left"
    assert revoke_many(fresh, {"subject": "user_0"}).json()["matched"] == 0


def test_by_ids_by_scope_by_age_and_combined(fresh, keys):
    assert revoke_many(fresh, {"ids": [keys[0]["id"], keys[1]["id"]], "subject": "user_1"}).json()["revoked"] == 1
    assert valid(fresh, keys) == [0, 2, 3, 4, 5]
    assert revoke_many(fresh, {"scope": "write"}).json()["revoked"] == 2
    assert valid(fresh, keys) == [0, 2, 3]
    assert revoke_many(fresh, {"created_before": 1}).json()["matched"] == 0
    assert revoke_many(fresh, {"created_before": keys[5]["created_at"] + 60_000}).json()["revoked"] == 3
    assert valid(fresh, keys) == []


def test_all_keys_of_a_tenant_and_of_no_other(fresh, keys):
    made = fresh.call("POST", "/v1/tenants", json={"slug": "other", "name": "Other"}).json()
    other = fresh.call("POST", "/v1/api_keys", root_key=made["root_key"]["secret"],
                       json={"name": "theirs", "subject": "user_0"}).json()
    assert revoke_many(fresh, {"all": True}).json()["revoked"] == 6
    assert valid(fresh, keys) == []
    assert fresh.verify(other["secret"])["valid"]


def test_a_member_revokes_their_own_and_learns_nothing_of_others(fresh):
    users = [fresh.call("POST", "/v1/users", json={"email": f"{name}@example.org", "role": "member"}).json()
             for name in ("a", "b")]
    mine, theirs = (fresh.create("key", user["id"]) for user in users)
    as_member = {"Keyreeve-Act-As": users[0]["id"]}

    def ask(filter):
        return fresh.call("POST", "/v1/api_keys/revoke_many", json={"filter": filter}, headers=as_member).json()
    for filter in ({"subject": users[1]["id"]}, {"ids": [theirs["id"]]}):
        assert (ask(filter)["matched"], ask(filter)["skipped"]) == (0, 0)
    assert ask({"all": True})["revoked"] == 1
    assert not fresh.verify(mine["secret"])["valid"] and fresh.verify(theirs["secret"])["valid"]


def test_a_dry_run_only_counts(fresh, keys):
    before = propagations(fresh)
    answer = revoke_many(fresh, {"all": True}, dry_run=True).json()
    assert answer == {"matched": 6, "revoked": 0, "skipped": 0}
    assert len(valid(fresh, keys)) == 6
    assert propagations(fresh) == before, "nothing was changed, so no propagation was measured"


def propagations(server):
    text = requests.get(server.ops + "/metrics", timeout=10).text
    return next(line for line in text.splitlines() if line.startswith("keyreeve_revocation_propagation_seconds_count"))


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_reason_that_the_policy_requires_is_required_of_many(fresh, keys, dry_run):
    assert fresh.call("PUT", "/v1/policy", json={"revoke": {"reason": "required"}}).status_code == 200
    error = assert_error(revoke_many(fresh, {"all": True}, dry_run=dry_run), 400, "bad_request")
    assert error["errors"][0]["meta"]["param_name"] == "revocation_reason"
    assert len(valid(fresh, keys)) == 6
    assert revoke_many(fresh, {"all": True}, revocation_reason="a leak", dry_run=dry_run).json()["matched"] == 6


@pytest.mark.parametrize("body", [
    {}, {"filter": {}}, {"filter": None}, {"filter": {"all": False}}, {"filter": {"all": True, "subject": "user_0"}},
    {"filter": {"ids": ["x"] * 1_001}}, {"filter": {"subject": ""}}, {"filter": {"subject": 5}},
    {"filter": {"created_before": -1}}, {"filter": {"all": True}, "reason_code": "because"},
    {"filter": {"all": True, "more": 1}}, {"filter": {"all": True}, "revocation_reason": "x" * 2_001}, [],
])
def test_a_filter_that_says_nothing_or_too_much_is_refused_and_nothing_is_revoked(fresh, keys, body):
    assert_error(fresh.call("POST", "/v1/api_keys/revoke_many", json=body), 400)
    assert len(valid(fresh, keys)) == 6


def test_an_id_that_is_none_is_not_found(fresh, keys):
    """A malformed id is as unknown as an id that does not exist, and blocks no other."""
    answer = revoke_many(fresh, {"ids": ["nonsense", keys[0]["id"]]}).json()
    assert (answer["revoked"], answer["not_found"]) == (1, 1)
    assert len(valid(fresh, keys)) == 5


def test_many_hundreds_at_once(fresh):
    items = [{"name": f"key {number}", "subject": "user_9"} for number in range(700)]
    made = fresh.call("POST", "/v1/api_keys/batch", json={"items": items}).json()["data"]
    assert revoke_many(fresh, {"subject": "user_9"}).json()["revoked"] == 700
    for start in range(0, 700, 100):
        questions = {"items": [{"key": key["secret"]} for key in made[start:start + 100]]}
        verdicts = fresh.call("POST", "/v1/verify/batch", json=questions).json()["data"]
        assert not any(verdict["valid"] for verdict in verdicts)
