"""What users may write into keys: scopes by their role, claims, and limits that members cannot remove."""
import pytest

from harness import assert_error
from systems import System

LIMIT = {"name": "monthly", "limit": 3, "period": "month", "hard": True}


def policy(server, preset="standard", **more):
    return System(server, preset, grant={
        "member": {"scopes": ["repo:*", "read"]}, "admin": {"scopes": ["repo:*", "read", "admin"]}}, **more)


def refused(answer, field, code="POLICY_FORBIDS"):
    body = assert_error(answer, 409, code)
    assert body["errors"][0]["meta"]["param_name"] == field
    return body


def create(person, **fields):
    return person.call("POST", "/v1/api_keys", json={"name": f"k{id(fields)}", "subject": person.id, **fields})


def test_a_member_gives_the_scopes_that_the_policy_allows_and_no_others(server):
    system = policy(server)
    person = system.person()
    assert create(person, scopes=["repo:read", "repo:*", "read"]).status_code == 201
    for scope in ["*", "admin", "repo", "repository:x", "*:read", "read:*", "Read"]:
        assert scope in refused(create(person, scopes=["read", scope]), "scopes")["detail"]
        assert refused(create(person, scopes=[scope]), "scopes")["errors"][0]["meta"]["scope"] == scope
    items = [{"name": "fine", "subject": person.id}, {"name": "bad", "subject": person.id, "scopes": ["admin"]}]
    refused(person.call("POST", "/v1/api_keys/batch", json={"items": items}), "scopes")
    # Clerk's route behaves the same.
    wish = {"name": "clerk", "subject": person.id, "scopes": ["admin"]}
    refused(person.call("POST", "/api_keys", json=wish), "scopes")
    assert len(system.listed()) == 1


def test_an_update_adds_only_allowed_scopes_and_may_keep_what_the_key_has(server):
    system = policy(server)
    person = system.person()
    key = system.create(person.id, scopes=["admin", "read"])
    path = f"/v1/api_keys/{key['id']}"
    assert person.call("PATCH", path, json={"name": "renamed"}).status_code == 200
    assert person.call("PATCH", path, json={"scopes": ["admin", "read", "repo:x"]}).status_code == 200
    refused(person.call("PATCH", path, json={"scopes": ["admin", "*"]}), "scopes")
    refused(person.call("PATCH", f"/api_keys/{key['id']}", json={"scopes": ["*"]}), "scopes")
    assert person.call("PATCH", path, json={"scopes": ["read"]}).status_code == 200
    refused(person.call("PATCH", path, json={"scopes": ["read", "admin"]}), "scopes")
    rotated = person.call("POST", path + "/rotate", json={})
    assert rotated.status_code == 200 and rotated.json()["scopes"] == ["read"]


def test_an_admin_is_bound_by_the_admins_scopes_and_a_root_key_by_none(server):
    system = policy(server)
    admin = system.person("admin")
    for scopes, status in [(["admin", "repo:*"], 201), (["*"], 409), (["other"], 409)]:
        assert create(admin, scopes=scopes, claims={"plan": "pro"}).status_code == status
    assert system.create(scopes=["*"], claims={"plan": "pro"})["scopes"] == ["*"]


@pytest.mark.parametrize("preset", ["standard", "erase", "hold", "keep"])
def test_claims_are_the_administrators_unless_the_policy_says_otherwise(server, preset):
    system = System(server, preset)
    person = system.person()
    refused(create(person, claims={"role": "owner"}), "claims")
    assert create(person, claims=None).status_code == 201
    key = system.create(person.id, claims={"plan": "free"})
    path = f"/v1/api_keys/{key['id']}"
    for claims in [{"plan": "pro"}, {}, None]:
        refused(person.call("PATCH", path, json={"claims": claims}), "claims")
    assert person.call("PATCH", path, json={"claims": {"plan": "free"}, "name": "same"}).status_code == 200
    assert system.get(key).json()["claims"] == {"plan": "free"}
    changed = system.call("PUT", "/v1/policy", json={"grant": {"member": {"claims": True}}})
    assert changed.status_code == 200
    assert person.call("PATCH", path, json={"claims": {"plan": "pro"}}).status_code == 200


def test_new_keys_have_the_default_limits_and_a_member_cannot_lift_them(server):
    system = System(server, "standard", new_keys={"limits": [LIMIT]})
    person = system.person()
    for wish in [{}, {"limits": None}, {"limits": []}]:
        assert create(person, **wish).json()["limits"] == [LIMIT]
    own = {"name": "more", "limit": 1_000_000, "period": "month"}
    assert create(person, limits=[own]).status_code == 403
    key = create(person, name="limited").json()
    path = f"/v1/api_keys/{key['id']}"
    for limits in [[], None, [own], [LIMIT]]:
        assert person.call("PATCH", path, json={"limits": limits}).status_code == 403
    assert person.call("POST", f"{path}/limits/reset", json={}).status_code == 403
    assert person.call("POST", f"{path}/rotate", json={}).json()["limits"] == [LIMIT]
    assert system.create()["limits"] == [LIMIT], "whoever makes it, if nothing is said"
    assert system.create(limits=[])["limits"] == [] and system.create(limits=[own])["limits"][0]["name"] == "more"
    secret = system.create()["secret"]
    assert [server.verify(secret)["valid"] for _ in range(4)] == [True, True, True, False]


@pytest.mark.parametrize("wish, field", [
    ({"grant": {"member": {"scopes": ["x"]}, "admin": {"scopes": ["y"]}}}, "grant.member.scopes"),
    ({"grant": {"admin": {"scopes": ["repo:*"]}}}, "grant.member.scopes"),
    ({"grant": {"member": {"scopes": ["not a scope"]}}}, "grant.member.scopes"),
    ({"grant": {"auditor": {}}}, "grant.auditor"),
    ({"grant": {"admin": {"claims": True}}}, "grant.admin.claims"),
    ({"grant": []}, "grant"),
    ({"new_keys": {"limits": [{"name": "x", "limit": 1}]}}, "new_keys.limits[0]"),
    ({"new_keys": {"limits": [LIMIT, LIMIT]}}, "new_keys.limits"),
])
def test_a_policy_about_new_keys_that_makes_no_sense_is_refused_by_field(standard, wish, field):
    before = standard.policy()
    body = assert_error(standard.call("PUT", "/v1/policy", json=wish), 400, "BAD_REQUEST")
    assert body["errors"][0]["meta"]["param_name"] == field, body
    assert standard.policy() == before


def test_what_the_policy_says_comes_back_and_can_be_given_back(standard):
    shown = standard.policy()
    assert shown["grant"] == {"member": {"scopes": ["*"], "claims": False}, "admin": {"scopes": ["*"]}}
    assert shown["new_keys"] == {"limits": []}
    wish = {**shown, "grant": {"member": {"scopes": ["read"], "claims": True}, "admin": {"scopes": ["*"]}},
            "new_keys": {"limits": [LIMIT]}}
    changed = standard.call("PUT", "/v1/policy", json=wish)
    assert changed.status_code == 200, changed.text
    again = standard.policy()
    assert again["grant"] == wish["grant"] and again["new_keys"] == wish["new_keys"]
