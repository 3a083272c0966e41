"""Users, roles, tenants: permissions, and what ends with a user or tenant."""
import subprocess

import pytest

import harness
from systems import System, assert_error

ZERO_USER = "user_" + "0" * 32


def test_a_user_is_made_listed_changed_and_removed(standard):
    made = standard.call("POST", "/v1/users", json={
        "email": "Ada@Example.com", "name": "Ada", "role": "admin"})
    user = made.json()
    assert made.status_code == 201 and user["email"] == "ada@example.com" and not user["has_password"]
    assert "password" not in user and "argon2" not in made.text
    assert standard.call("GET", f"/v1/users/{user['id']}").json() == user
    assert [one["id"] for one in standard.call("GET", "/v1/users").json()["data"]] == [user["id"]]
    other = standard.person("admin")
    changed = standard.call("PATCH", f"/v1/users/{user['id']}", json={"name": None, "role": "auditor"}).json()
    assert (changed["name"], changed["role"]) == (None, "auditor")
    assert standard.call("DELETE", f"/v1/users/{user['id']}").json()["status"] == "removed"
    assert standard.call("GET", f"/v1/users/{user['id']}").status_code == 404
    assert [one["id"] for one in standard.call("GET", "/v1/users").json()["data"]] == [other.id]
    assert "password" not in standard.call("GET", "/v1/audit_events").text.replace("new password", "")


def make_user(server, email, password, *more):
    """Set by the operator, the only one who sets other users' passwords."""
    return subprocess.run(
        [harness.BINARY, "users", "create", email, *more, "--password-stdin", "--data", server.data],
        input=password, capture_output=True, text=True, timeout=30, check=False,
        env={name: value for name, value in harness.os.environ.items() if not name.startswith("KEYREEVE_")})


@pytest.mark.parametrize("password", ["short", "x" * 257])
def test_a_password_is_neither_short_nor_endless(server, password):
    refused = make_user(server, "a@b.c", password)
    assert refused.returncode != 0 and "8 to 256" in refused.stderr and password not in refused.stderr


@harness.embedded_only
def test_a_password_is_stored_as_argon2id_and_nowhere_else(fresh):
    password = "a very particular password"
    made = make_user(fresh, "a@b.c", password)
    assert made.returncode == 0, made.stderr
    assert fresh.stop() == 0
    whole = b"".join(path.read_bytes() for path in harness.pathlib.Path(fresh.data).iterdir() if path.is_file())
    assert b"$argon2id$v=19$m=19456,t=2,p=1$" in whole
    assert password.encode() not in whole and password not in fresh.stderr()


@pytest.mark.parametrize("wish, field", [
    ({}, "email"), ({"email": "nobody"}, "email"), ({"email": "a b@c.d"}, "email"), ({"email": "x" * 300 + "@b.c"}, "email"),
    ({"email": "a@b.c", "role": "king"}, "role"), ({"email": "a@b.c", "name": " "}, "name"),
    ({"email": "a@b.c", "id": "user_1"}, "id"),
])
def test_an_invalid_user_is_refused_by_field(standard, wish, field):
    body = assert_error(standard.call("POST", "/v1/users", json=wish), 400, "BAD_REQUEST")
    assert body["errors"][0]["meta"]["param_name"] == field
    assert "short" not in body["detail"]
    assert standard.call("GET", "/v1/users").json()["data"] == []


def test_an_address_is_one_users_without_regard_to_case(standard):
    first = standard.call("POST", "/v1/users", json={"email": "a@b.c"}).json()
    assert_error(standard.call("POST", "/v1/users", json={"email": "A@B.C"}), 409, "EMAIL_TAKEN")
    other = System(standard.server, "standard")
    assert other.call("POST", "/v1/users", json={"email": "a@b.c"}).status_code == 201
    standard.call("DELETE", f"/v1/users/{first['id']}")
    again = standard.call("POST", "/v1/users", json={"email": "a@b.c"})
    assert again.status_code == 201 and again.json()["id"] != first["id"]


def test_the_last_admin_stays_unless_it_is_forced_on_the_machine_itself(fresh):
    system = System(fresh, "standard")
    admin = system.person("admin")
    for body in [{"role": "member"}, {"status": "suspended"}]:
        assert_error(system.call("PATCH", f"/v1/users/{admin.id}", json=body), 409, "LAST_ADMIN")
    assert_error(system.call("DELETE", f"/v1/users/{admin.id}"), 409, "LAST_ADMIN")
    second = system.person("admin")
    assert system.call("PATCH", f"/v1/users/{admin.id}", json={"role": "member"}).status_code == 200
    assert_error(system.call("DELETE", f"/v1/users/{second.id}"), 409, "LAST_ADMIN")
    forced = subprocess.run(
        [harness.BINARY, "users", "remove", second.id, "--yes", "--tenant", system.slug, "--data", fresh.data],
        capture_output=True, text=True, timeout=30, check=False,
        env={name: value for name, value in harness.os.environ.items() if not name.startswith("KEYREEVE_")})
    assert forced.returncode == 0, forced.stderr


def test_the_last_root_key_that_makes_others_stays(fresh):
    listed = fresh.call("GET", "/v1/root_keys").json()["data"]
    assert_error(fresh.call("DELETE", f"/v1/root_keys/{listed[0]['id']}"), 409, "LAST_ROOT_KEY")
    fresh.call("POST", "/v1/root_keys", json={"name": "few", "permissions": ["keys:read"]})
    assert_error(fresh.call("DELETE", f"/v1/root_keys/{listed[0]['id']}"), 409, "LAST_ROOT_KEY")
    second = fresh.call("POST", "/v1/root_keys", json={"name": "more", "permissions": ["root_keys:write"]}).json()
    assert fresh.call("DELETE", f"/v1/root_keys/{listed[0]['id']}").status_code == 200
    assert fresh.call("GET", "/v1/root_keys", root_key=second["secret"]).status_code == 200


CALLS = [
    # method, path, body, and who may: member on own, admin, auditor
    ("GET", "/v1/api_keys", None, "member admin auditor"),
    ("GET", "/v1/api_keys/{own}", None, "member admin auditor"),
    ("GET", "/v1/api_keys/{own}/events", None, "member admin auditor"),
    ("GET", "/v1/api_keys/{own}/usage", None, "member admin auditor"),
    ("PATCH", "/v1/api_keys/{own}", {"description": "x"}, "member admin"),
    ("POST", "/v1/api_keys/{own}/disable", {}, "member admin"),
    ("POST", "/v1/api_keys/{own}/reactivate", {}, "member admin"),
    ("POST", "/v1/api_keys/{own}/rotate", {}, "member admin"),
    ("GET", "/v1/policy", None, "member admin auditor"),
    ("PUT", "/v1/policy", {}, "admin"),
    ("GET", "/v1/users", None, "admin auditor"),
    ("POST", "/v1/users", {"email": "new@example.com"}, "admin"),
    ("GET", "/v1/audit_events", None, "admin auditor"),
    ("POST", "/v1/audit/verify", {}, "admin auditor"),
    ("GET", "/v1/root_keys", None, ""),
    ("POST", "/v1/root_keys", {"name": "x", "permissions": []}, ""),
    ("GET", "/v1/tenants", None, ""),
    ("POST", "/v1/api_keys/{own}/revoke", {}, "member admin"),
    ("DELETE", "/v1/api_keys/{own}", None, "member admin"),
]


@pytest.mark.parametrize("role", ["member", "admin", "auditor"])
def test_each_role_has_exactly_its_permissions(standard, role):
    person = standard.person(role)
    own = standard.create(subject=person.id)
    for method, path, body, allowed in CALLS:
        answer = person.call(method, path.format(own=own["id"]), json=body)
        is_allowed = answer.status_code < 300
        assert is_allowed == (role in allowed.split()), (role, method, path, answer.status_code, answer.text)
        assert is_allowed or answer.status_code == 403


def test_acting_as_a_user_needs_a_permission_and_an_existing_user(standard):
    user = standard.person()
    few = standard.call("POST", "/v1/root_keys", json={"name": "few", "permissions": ["keys:read"]}).json()["secret"]

    def act(user_id, root_key=standard.root_key):
        return standard.server.call("GET", "/v1/api_keys", root_key=root_key, headers={"Keyreeve-Act-As": user_id})

    assert act(user.id).status_code == 200
    assert act(user.id, few).status_code == 403
    assert act(ZERO_USER).status_code == 404
    assert act("ada").status_code == 400
    other = System(standard.server, "standard").person()
    assert act(other.id).status_code == 404
    standard.call("PATCH", f"/v1/users/{user.id}", json={"status": "suspended"})
    assert act(user.id).status_code == 403


def test_suspending_an_owner_stops_all_their_keys_and_only_theirs(standard):
    owner, other = standard.person(), standard.person()
    keys = [standard.create(subject=owner.id) for _ in range(3)]
    unasked = standard.create(subject=owner.id)
    bystander = standard.create(subject=other.id)
    assert all(standard.works(key["secret"]) for key in [*keys, bystander])
    answer = standard.call("PATCH", f"/v1/users/{owner.id}", json={"status": "suspended"})
    assert answer.json()["effect"]["scope"] == "everywhere"
    for key in keys:
        verdict = standard.server.verify(key["secret"])
        assert (verdict["valid"], verdict["reason"], verdict["status"]) == (False, "owner_blocked", 401)
    assert standard.works(bystander["secret"])
    # Also a key that was never verified; and no key can be created for them now.
    assert not standard.works(unasked["secret"])
    standard.create(subject=owner.id, status=409)
    standard.call("PATCH", f"/v1/users/{owner.id}", json={"status": "active"})
    assert all(standard.works(key["secret"]) for key in keys)


def test_a_block_survives_a_restart(fresh):
    system = System(fresh, "standard")
    owner = system.person()
    key = system.create(subject=owner.id)
    system.call("DELETE", f"/v1/users/{owner.id}")
    assert fresh.stop() == 0
    fresh.start()
    assert fresh.verify(key["secret"])["reason"] == "owner_blocked"


def test_suspending_a_tenant_stops_all_its_keys_and_removing_ends_them(standard):
    key = standard.create()
    path = f"/v1/tenants/{standard.slug}"
    assert standard.works(key["secret"])
    assert standard.server.call("PATCH", path, json={"status": "suspended"}).json()["status"] == "suspended"
    assert not standard.works(key["secret"])
    assert standard.server.call("PATCH", path, json={"status": "active"}).json()["status"] == "active"
    assert standard.works(key["secret"])
    assert standard.server.call("DELETE", path).json()["status"] == "removed"
    assert not standard.works(key["secret"])
    assert_error(standard.call("GET", "/v1/api_keys"), 401)
    assert_error(standard.server.call("GET", "/v1/api_keys", headers={"Keyreeve-Tenant": standard.slug}), 404)
    assert_error(standard.server.call("GET", path), 404, "NOT_FOUND")
    assert_error(standard.server.call("PATCH", path, json={"status": "active"}), 404, "NOT_FOUND")
    taken = {"slug": standard.slug, "name": "again"}
    assert_error(standard.server.call("POST", "/v1/tenants", json=taken), 409, "SLUG_TAKEN")


def test_another_tenants_id_is_the_same_404_as_an_unknown_one_in_bytes(standard):
    other = System(standard.server, "standard")
    key, user = other.create(), other.person()
    kinds = [("ak_", key["id"], "/v1/api_keys/{}", "GET PATCH DELETE".split()),
             ("ak_", key["id"], "/v1/api_keys/{}/revoke", ["POST"]), ("ak_", key["id"], "/v1/api_keys/{}/disable", ["POST"]),
             ("ak_", key["id"], "/v1/api_keys/{}/reactivate", ["POST"]), ("ak_", key["id"], "/v1/api_keys/{}/rotate", ["POST"]),
             ("ak_", key["id"], "/v1/api_keys/{}/rotate/finish", ["POST"]), ("ak_", key["id"], "/v1/api_keys/{}/finalize", ["POST"]),
             ("ak_", key["id"], "/v1/api_keys/{}/events", ["GET"]), ("ak_", key["id"], "/v1/api_keys/{}/usage", ["GET"]),
             ("ak_", key["id"], "/v1/api_keys/{}/limits", ["GET"]), ("ak_", key["id"], "/v1/api_keys/{}/limits/reset", ["POST"]),
             ("user_", user.id, "/v1/users/{}", "GET PATCH DELETE".split())]
    for prefix, theirs, path, methods in kinds:
        for method in methods:
            headers = {"X-Request-Id": "same"}
            body = None if method in ("GET", "DELETE") else {}
            found = standard.call(method, path.format(theirs), json=body, headers=headers)
            unknown = standard.call(method, path.format(prefix + "0" * 31 + "1"), json=body, headers=headers)
            assert found.status_code == 404 and found.content == unknown.content, (method, path, found.text)
    assert other.works(key["secret"])
