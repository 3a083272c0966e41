"""Keys of a suspended or removed owner are marked, and none is created or becomes valid."""
import subprocess

import pytest

import harness
from harness import assert_error
from systems import System


def suspend(system, person, status="suspended"):
    if status == "removed":
        answer = system.call("DELETE", f"/v1/users/{person.id}")
    else:
        answer = system.call("PATCH", f"/v1/users/{person.id}", json={"status": status})
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("status", ["suspended", "removed"])
def test_a_key_of_a_blocked_owner_does_not_look_alive(standard, status):
    person, other = standard.person(), standard.person()
    key, bystander = standard.create(person.id), standard.create(other.id)
    assert key["owner_blocked"] is False and standard.get(key).json()["owner_blocked"] is False
    gone = suspend(standard, person, status)
    assert gone["keys_stopped"] == 1
    shown = standard.get(key).json()
    assert shown["owner_blocked"] is True and shown["state"] == "active", "the state is what is stored"
    assert not standard.works(key["secret"]) and standard.works(bystander["secret"])

    def ids(**query):
        return [one["id"] for one in standard.listed(**query)]

    assert ids(state="active") == [bystander["id"]]
    assert ids(owner_blocked="true") == ids(state="active", owner_blocked="true") == [key["id"]]
    assert ids(owner_blocked="false") == [bystander["id"]]
    assert set(ids()) == {key["id"], bystander["id"]}
    total = standard.call("GET", "/v1/api_keys", params={"state": "active"}).json()["total_count"]
    assert total == 1
    assert_error(standard.call("GET", "/v1/api_keys", params={"owner_blocked": "yes"}), 400, "bad_request")


@pytest.mark.parametrize("status", ["suspended", "removed"])
def test_no_key_of_a_blocked_owner_is_made_rotated_or_activated(hold, status):
    person = hold.person()
    key, held = hold.create(person.id), hold.create(person.id)
    hold.do(held, "disable")
    suspend(hold, person, status)
    body = {"name": "new", "subject": person.id}
    fine = {"name": "fine", "subject": "org_1"}
    refused = [
        hold.call("POST", "/v1/api_keys", json=body),
        hold.call("POST", "/api_keys", json=body),
        hold.call("POST", "/v1/api_keys/batch", json={"items": [fine, body]}),
        hold.call("POST", f"/v1/api_keys/{key['id']}/rotate", json={}),
        hold.call("POST", f"/v1/api_keys/{held['id']}/reactivate", json={}),
    ]
    for answer in refused:
        assert_error(answer, 409, "OWNER_BLOCKED")
        assert "secret" not in answer.json()
    assert [one["id"] for one in hold.listed(subject=person.id)] == [held["id"], key["id"]]
    assert hold.listed(subject="org_1") == [], "all or none"
    assert hold.do(key, "revoke")["owner_blocked"] is True, "what ends a key is carried out"


def test_opening_a_user_says_how_many_keys_work_again(standard):
    person = standard.person()
    keys = [standard.create(person.id) for _ in range(3)]
    standard.do(keys[0], "disable")
    standard.do(keys[1], "revoke")
    assert suspend(standard, person)["keys_stopped"] == 1
    opened = suspend(standard, person, "active")
    assert opened["keys_restored"] == 1 and "keys_stopped" not in opened
    assert standard.works(keys[2]["secret"]) and standard.get(keys[2]).json()["owner_blocked"] is False
    renamed = standard.call("PATCH", f"/v1/users/{person.id}", json={"name": "Ada"}).json()
    assert "keys_stopped" not in renamed and "keys_restored" not in renamed


def test_keys_of_a_suspended_tenant_say_so_and_none_is_made(server):
    system = System(server, "standard")
    key = system.create()
    server.call("PATCH", f"/v1/tenants/{system.slug}", json={"status": "suspended"})

    def as_operator(method, path, **options):
        return server.call(method, path, headers={"Keyreeve-Tenant": system.slug}, **options)

    assert as_operator("GET", f"/v1/api_keys/{key['id']}").json()["owner_blocked"] is True
    body = {"name": "new", "subject": "user_1"}
    assert_error(as_operator("POST", "/v1/api_keys", json=body), 409, "OWNER_BLOCKED")
    assert_error(as_operator("POST", f"/v1/api_keys/{key['id']}/rotate", json={}), 409, "OWNER_BLOCKED")
    server.call("PATCH", f"/v1/tenants/{system.slug}", json={"status": "active"})
    assert as_operator("POST", "/v1/api_keys", json=body).status_code == 201


def test_the_command_line_says_how_many_keys_stop(server):
    system = System(server, "standard")
    person = system.person()
    key = system.create(person.id)

    def keyreeve(*arguments):
        return subprocess.run(
            [harness.BINARY, *arguments, "--url", server.url], capture_output=True, text=True, timeout=30, check=False,
            env={**harness.os.environ, "KEYREEVE_ROOT_KEY": system.root_key})

    suspended = keyreeve("users", "suspend", person.id)
    assert suspended.returncode == 0, suspended.stderr
    assert ["keys_stopped", "1"] in [line.split() for line in suspended.stdout.splitlines()]
    refused = keyreeve("keys", "create", "another", "--subject", person.id)
    assert refused.returncode != 0 and "OWNER_BLOCKED" in refused.stderr, refused.stderr
    listed = keyreeve("keys", "list", "--owner-blocked", "true")
    assert key["id"] in listed.stdout and "OWNER_BLOCKED" in listed.stdout
    assert key["id"] not in keyreeve("keys", "list", "--state", "active").stdout
