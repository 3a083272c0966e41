"""Check policies by API and command line: success, each error, wrong caller, wrong tenant, repeat."""
import json
import os
import subprocess

import pytest
from harness import BINARY, assert_error

FULL = {"name": "full", "scopes": ["a:read", "b/*"], "key_headers": ["X-Acme-Key", "authorization"], "meta": True,
        "cache_max_age_seconds": 15, "realm": "Acme API", "gateway_credential": "required"}


def call(server, method, path="", root_key=None, tenant=None, **options):
    headers = {"Keyreeve-Tenant": tenant} if tenant else {}
    return server.call(method, "/v1/check_policies" + path, root_key=root_key, headers=headers, **options)


def test_a_policy_lives_from_its_making_to_its_removal(server):
    made = call(server, "POST", json=FULL)
    assert made.status_code == 201
    body = made.json()
    effect = body.pop("effect")
    assert effect["scope"] == "everywhere" and effect["revision"] > 0
    expected = {**FULL, "key_headers": ["X-Acme-Key", "Authorization"], "is_built_in": False,
                "created_at": body["created_at"], "updated_at": body["created_at"]}
    assert body == expected
    assert call(server, "GET", "/full").json() == expected
    assert [one["name"] for one in call(server, "GET").json()["data"]] == ["default", "full"]
    changed = call(server, "PATCH", "/full", json={"scopes": [], "meta": False})
    assert changed.status_code == 200 and changed.json()["effect"]["revision"] > effect["revision"]
    assert (changed.json()["scopes"], changed.json()["realm"]) == ([], "Acme API")
    again = call(server, "PATCH", "/full", json={"scopes": [], "meta": False})
    assert again.json()["effect"]["revision"] == changed.json()["effect"]["revision"], "no change, no entry"
    removed = call(server, "DELETE", "/full")
    assert removed.status_code == 200 and removed.json()["name"] == "full"
    for gone in (call(server, "GET", "/full"), call(server, "DELETE", "/full"),
                 call(server, "PATCH", "/full", json={})):
        assert_error(gone, 404, "NOT_FOUND")
    log = server.call("GET", "/v1/audit_events?limit=3").json()["data"]
    assert [one["action"] for one in log] == [f"check_policy.{verb}" for verb in ("removed", "updated", "created")]
    assert all(one["target"] == {"type": "check_policy", "id": "full"} for one in log)


def test_the_built_in_policy_can_be_changed_and_is_never_gone(server):
    default = call(server, "GET", "/default").json()
    assert default["is_built_in"] and default["created_at"] is None and default["scopes"] == []
    assert default["key_headers"] == ["Authorization", "X-API-Key"] and default["cache_max_age_seconds"] == 0
    assert_error(call(server, "POST", json={"name": "default"}), 409, "NAME_TAKEN")
    changed = call(server, "PATCH", "/default", json={"scopes": ["a"]}).json()
    assert not changed["is_built_in"] and changed["created_at"]
    assert call(server, "DELETE", "/default").json()["scopes"] == ["a"]
    assert call(server, "DELETE", "/default").json()["is_built_in"], "again changes nothing"
    assert call(server, "GET", "/default").json() == default


def test_a_name_is_taken_once(server):
    assert call(server, "POST", json={"name": "once"}).status_code == 201
    assert_error(call(server, "POST", json={"name": "once"}), 409, "NAME_TAKEN")


def test_no_more_policies_than_can_be_remembered(server):
    server.call("POST", "/v1/tenants", json={"slug": "many", "name": "Many"})
    for number in range(100):
        assert call(server, "POST", tenant="many", json={"name": f"p-{number}"}).status_code == 201
    body = assert_error(call(server, "POST", tenant="many", json={"name": "more"}), 409, "CHECK_POLICY_LIMIT_REACHED")
    assert body["errors"][0]["meta"] == {"max": 100}


@pytest.mark.parametrize("field, value", [
    ("name", ""), ("name", "A"), ("name", "a b"), ("name", "a:b"), ("name", "x" * 64), ("name", 1),
    ("scopes", "a"), ("scopes", [""]), ("scopes", ["a b"]), ("scopes", ["a"] * 101), ("scopes", [1]),
    ("key_headers", []), ("key_headers", ["Host"]), ("key_headers", ["X-Keyreeve-Subject"]),
    ("key_headers", ["X-Forwarded-For"]), ("key_headers", ["a\nb"]), ("key_headers", ["a", "b", "c", "d", "e"]),
    ("key_headers", ["X_API_Key"]), ("meta", "yes"), ("cache_max_age_seconds", 16), ("cache_max_age_seconds", -1),
    ("cache_max_age_seconds", 1.5), ("realm", ""), ("realm", 'a"b'), ("realm", "a\r\nb"), ("realm", "x" * 65),
    ("gateway_credential", "perhaps"), ("unknown", 1),
])
def test_what_does_not_fit_is_refused_by_its_name_and_nothing_is_made(server, field, value):
    before = call(server, "GET").json()
    body = assert_error(call(server, "POST", json={"name": "bad", field: value}), 400, "BAD_REQUEST")
    assert field in body["detail"] or field == "unknown", body
    if field != "name":
        assert_error(call(server, "PATCH", "/default", json={field: value}), 400, "BAD_REQUEST")
    assert call(server, "GET").json() == before


def test_only_who_may_reads_and_changes_policies(server):
    def root_key(*permissions, tenant=None):
        wish = {"name": "tried", "permissions": list(permissions), "tenant": tenant}
        return server.call("POST", "/v1/root_keys", json=wish).json()["secret"]

    server.call("POST", "/v1/tenants", json={"slug": "other", "name": "Other"})
    server.call("POST", "/v1/check_policies", json={"name": "ours"})
    calls = [("GET", "", None, "read"), ("GET", "/ours", None, "read"), ("POST", "", {"name": "x"}, "write"),
             ("PATCH", "/ours", {}, "write"), ("DELETE", "/ours", None, "write")]
    for method, path, body, kind in calls:
        assert_error(call(server, method, path, root_key="nonsense", json=body), 401, "ROOT_KEY_INVALID")
        wrong = root_key("keys:read", "keys:write", "policy:read" if kind == "write" else "policy:write")
        assert_error(call(server, method, path, root_key=wrong, json=body), 403, "PERMISSION_DENIED")
        foreign = root_key("policy:read", "policy:write", tenant="other")
        if path:
            assert_error(call(server, method, path, root_key=foreign, json=body), 404, "NOT_FOUND")
        assert_error(call(server, method, path, root_key=foreign, tenant="default", json=body), 404, "NOT_FOUND")
    assert [one["name"] for one in call(server, "GET", tenant="other").json()["data"]] == ["default"]


def run(server, *arguments, root_key=None):
    environment = {**os.environ, "KEYREEVE_URL": server.url, "KEYREEVE_ROOT_KEY": root_key or server.root_key}
    return subprocess.run([BINARY, *arguments], env=environment, capture_output=True, text=True, check=False)


def test_the_command_line_does_what_the_api_does(server):
    made = run(server, "check-policies", "create", "by-hand", "--scope", "a", "--scope", "b", "--key-header", "X-Acme",
               "--meta", "true", "--cache-max-age-seconds", "3", "--realm", "Acme", "-o", "json")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["scopes"] == ["a", "b"] and "snippet nginx --policy by-hand" in made.stderr
    listed = run(server, "check-policies", "list")
    assert "by-hand" in listed.stdout and "default" in listed.stdout
    changed = run(server, "check-policies", "change", "by-hand", "--no-scopes", "-o", "json")
    assert json.loads(changed.stdout)["scopes"] == [] and json.loads(changed.stdout)["realm"] == "Acme"
    shown = run(server, "check-policies", "get", "by-hand", "-o", "json")
    assert json.loads(shown.stdout)["key_headers"] == ["X-Acme"]
    assert run(server, "check-policies", "remove", "by-hand").returncode == 0
    assert run(server, "check-policies", "get", "by-hand").returncode == 5
    assert run(server, "check-policies", "create", "default").returncode == 6
    assert run(server, "check-policies", "get", "../keys").returncode == 2
