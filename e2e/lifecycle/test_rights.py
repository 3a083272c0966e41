"""Permissions that a root key may grant: never more than it has itself."""
import subprocess

import pytest

import harness
from harness import assert_error
from pages import Browser

MEMBER = ["keys:read", "keys:write", "policy:read"]
ADMIN = [*MEMBER, "policy:write", "users:write", "audit:read"]
PASSWORD = "quite a long sentence 71"


def root_key(system, *permissions):
    wish = {"name": "few", "permissions": list(permissions)}
    made = system.call("POST", "/v1/root_keys", json=wish)
    assert made.status_code == 201, made.text
    return made.json()["secret"]


def caller(system, *permissions):
    secret = root_key(system, *permissions)

    def call(method, path, body=None, **headers):
        return system.server.call(method, path, root_key=secret, json=body, headers=headers)

    return call


def keyreeve(server, *arguments, **options):
    environment = {name: value for name, value in harness.os.environ.items() if not name.startswith("KEYREEVE_")}
    return subprocess.run([harness.BINARY, *arguments, "--data", server.data], capture_output=True, text=True, timeout=60,
                          check=False, env=environment, **options)


@pytest.mark.parametrize("role", ["admin", "auditor", "member"])
def test_users_write_alone_gives_no_role_and_no_way_to_log_in_with_one(standard, role):
    call = caller(standard, "users:write")
    standard.person("admin")
    person = standard.person(role)
    path = f"/v1/users/{person.id}"
    new = {"email": f"new-{role}@example.com", "role": role}
    suspended = standard.person(role)
    standard.call("PATCH", f"/v1/users/{suspended.id}", json={"status": "suspended"})
    for answer in [call("POST", "/v1/users", new), call("POST", "/v1/users", {**new, "password": PASSWORD}),
                   call("PATCH", path, {"password": PASSWORD}), call("POST", f"{path}/invite"),
                   call("PATCH", f"/v1/users/{suspended.id}", {"status": "active"})]:
        assert_error(answer, 403, "PERMISSION_DENIED")
    others = [other for other in ["admin", "auditor", "member"] if other != role]
    for other in others:
        assert_error(call("PATCH", path, {"role": other}), 403, "PERMISSION_DENIED")
    assert standard.call("GET", path).json()["role"] == role
    assert standard.call("GET", path).json()["has_password"] is False
    # What it may do: change names, suspend and remove users.
    assert call("PATCH", path, {"name": "Ada"}).status_code == 200
    assert call("PATCH", path, {"status": "suspended"}).status_code == 200
    assert call("DELETE", path).status_code == 200


def test_a_role_is_granted_by_a_caller_that_has_its_permissions(standard):
    members = caller(standard, "users:write", *MEMBER)
    admins = caller(standard, *ADMIN)
    made = members("POST", "/v1/users", {"email": "m@example.com", "role": "member"})
    assert made.status_code == 201, made.text
    path = f"/v1/users/{made.json()['id']}"
    assert members("POST", f"{path}/invite").status_code == 201
    assert_error(members("PATCH", path, {"role": "admin"}), 403, "PERMISSION_DENIED")
    assert admins("PATCH", path, {"role": "admin"}).status_code == 200
    assert_error(members("POST", f"{path}/invite"), 403, "PERMISSION_DENIED")
    assert admins("POST", f"{path}/invite").status_code == 201


def test_a_password_cannot_be_set_by_the_api(standard):
    everything = standard.call
    person = standard.person("admin")
    for answer in [everything("POST", "/v1/users", json={"email": "x@example.com", "password": PASSWORD}),
                   everything("PATCH", f"/v1/users/{person.id}", json={"password": PASSWORD}),
                   standard.server.call("PATCH", f"/v1/users/{person.id}", json={"password": PASSWORD},
                                        headers={"Keyreeve-Tenant": standard.slug}),
                   person.call("PATCH", f"/v1/users/{person.id}", json={"password": PASSWORD})]:
        body = assert_error(answer, 403, "PERMISSION_DENIED")
        assert PASSWORD not in answer.text and "invite" in body["detail"]
    assert standard.call("GET", f"/v1/users/{person.id}").json()["has_password"] is False


def test_a_link_for_a_member_is_no_link_for_the_administrator_the_member_becomes(standard):
    person = standard.person()
    members = caller(standard, "users:write", *MEMBER)
    link = members("POST", f"/v1/users/{person.id}/invite").json()["link"]
    assert standard.call("PATCH", f"/v1/users/{person.id}", json={"role": "admin"}).status_code == 200
    browser = Browser(standard.server.url)
    token = link.split("token=")[1]
    assert browser.ask("GET", f"/setup?token={token}").status_code == 410
    fresh = standard.call("POST", f"/v1/users/{person.id}/invite").json()["link"].split("token=")[1]
    entered = browser.send(f"/setup?token={fresh}", new_password=PASSWORD, again=PASSWORD)
    assert entered.status_code == 303, entered.text


def test_acting_as_a_user_allows_what_both_may_do(standard):
    admin, member = standard.person("admin"), standard.person()
    own = standard.create(subject=member.id)

    def act(permissions, user, method, path, body=None):
        call = caller(standard, "users:act", *permissions)
        return call(method, path, body, **{"Keyreeve-Act-As": user.id})

    assert_error(act([], admin, "GET", "/v1/users"), 403, "PERMISSION_DENIED")
    assert_error(act([], member, "GET", f"/v1/api_keys/{own['id']}"), 403, "authorization_invalid")
    assert_error(act(["keys:read"], admin, "PUT", "/v1/policy", {}), 403, "PERMISSION_DENIED")
    assert_error(act(["keys:read"], member, "POST", f"/v1/api_keys/{own['id']}/revoke", {}), 403, "authorization_invalid")
    assert_error(act(["users:write", "keys:read"], admin, "POST", "/v1/users", {"email": "y@example.com", "role": "admin"}),
                 403, "PERMISSION_DENIED")
    assert act(["keys:read"], member, "GET", f"/v1/api_keys/{own['id']}").status_code == 200
    # The root key's own permission beyond the user's does not count here.
    assert_error(act(["policy:write", "policy:read"], member, "PUT", "/v1/policy", {}), 403, "PERMISSION_DENIED")
    assert act(["policy:write", "policy:read"], admin, "PUT", "/v1/policy", {}).status_code == 200


def test_the_operator_and_an_administrator_at_the_dashboard_are_allowed_all_of_it(fresh):
    made = keyreeve(fresh, "users", "create", "a@example.com", "--role", "admin", "--password-stdin", input=PASSWORD)
    assert made.returncode == 0, made.stderr
    browser = Browser(fresh.url)
    assert browser.send("/login", email="a@example.com", password=PASSWORD).status_code == 303
    added = browser.send("/tenant/users", email="b@example.com", role="admin", name="")
    assert added.status_code == 200 and "/setup?token=" in added.text, added.text
    listed = fresh.call("GET", "/v1/users").json()["data"]
    second = next(user["id"] for user in listed if user["email"] == "b@example.com")
    changed = keyreeve(fresh, "users", "update", second, "--role", "auditor", "--password-stdin", input=PASSWORD)
    assert changed.returncode == 0, changed.stderr
    assert keyreeve(fresh, "users", "invite", second).returncode == 0
    assert fresh.call("GET", f"/v1/users/{second}").json()["has_password"]
