"""The life cycle of a key over HTTP, with every repetition and every wrong order."""
import time

import pytest
import requests

from harness import assert_error


def do(server, key, verb, body=None, status=200):
    answer = server.call("POST", f"/v1/api_keys/{key['id']}/{verb}", json=body or {})
    assert answer.status_code == status, answer.text
    return answer.json()


def me(server, secret):
    return requests.get(server.url + "/v1/me", headers={"Authorization": f"Bearer {secret}"})


def test_revoked_key_is_denied_when_revoke_returns(server):
    for n in range(20):
        key = server.create(f"storm {n}")
        assert server.verify(key["secret"])["valid"] and server.verify(key["secret"])["source"] == "memory"
        revoked = do(server, key, "revoke", {"revocation_reason": "r", "reason_code": "superseded"})
        verdict = server.verify(key["secret"])
        assert (verdict["valid"], verdict["reason"], verdict["status"]) == (False, "revoked", 401)
        assert revoked["state"] == "revoked" and revoked["effect"]["scope"] == "everywhere"
        assert verdict["revision"] >= revoked["effect"]["revision"]


def test_revoked_never_becomes_active(server):
    key = server.create("final")
    first = do(server, key, "revoke", {"revocation_reason": "first"})
    again = do(server, key, "revoke", {"revocation_reason": "second"})
    assert again["revocation_reason"] == "first" and again["revoked_at"] == first["revoked_at"]
    assert again["effect"]["revision"] == first["effect"]["revision"], "a repetition left an audit entry"
    for verb in ["reactivate", "disable", "rotate"]:
        answer = server.call("POST", f"/v1/api_keys/{key['id']}/{verb}", json={})
        assert_error(answer, 409, "INVALID_TRANSITION")
    answer = server.call("PATCH", f"/v1/api_keys/{key['id']}", json={"seconds_until_expiration": 60})
    assert_error(answer, 409, "INVALID_TRANSITION")
    answer = server.call("PATCH", f"/v1/api_keys/{key['id']}", json={"description": "still"})
    assert answer.json()["description"] == "still"


def test_a_hold_is_lifted_and_the_same_secret_works_again(server):
    key = server.create("hold")
    server.verify(key["secret"])
    assert do(server, key, "disable", {"reason": "looking into it"})["state"] == "disabled"
    verdict = server.verify(key["secret"])
    assert (verdict["code"], verdict["status"], verdict["reason"]) == ("API_KEY_DISABLED", 403, "disabled")
    assert_error(me(server, key["secret"]), 403, "API_KEY_DISABLED")
    assert_error(server.call("POST", f"/v1/api_keys/{key['id']}/rotate", json={}), 409, "INVALID_TRANSITION")
    revision = do(server, key, "disable")["effect"]["revision"]
    assert do(server, key, "disable")["effect"]["revision"] == revision
    assert do(server, key, "reactivate")["state"] == "active"
    assert server.verify(key["secret"])["valid"]


def test_rotation_is_one_step_and_keeps_the_id(server):
    key = server.create("rotate", scopes=["read"])
    server.verify(key["secret"])
    rotated = do(server, key, "rotate", {"name": "rotated"})
    assert rotated["id"] == key["id"] and rotated["name"] == "rotated" and rotated["scopes"] == ["read"]
    assert rotated["secret"] != key["secret"]
    assert server.verify(key["secret"])["reason"] == "rotated"
    assert server.verify(rotated["secret"])["valid"]


def test_an_overlap_keeps_both_secrets_until_it_is_finished(server):
    key = server.create("overlap")
    rotated = do(server, key, "rotate", {"overlap_seconds": 3600})
    assert rotated["retiring_until"] is not None
    assert server.verify(key["secret"])["valid"] and server.verify(rotated["secret"])["valid"]
    do(server, key, "rotate/finish")
    assert server.verify(key["secret"])["reason"] == "rotated"
    assert server.verify(rotated["secret"])["valid"]


def test_rotation_at_the_limit_succeeds_and_a_fourth_key_does_not(server):
    slug = "userplane"
    root = server.call("POST", "/v1/tenants", json={"slug": slug, "name": "U", "preset": "erase"}).json()["root_key"]
    create = lambda: server.call(  # noqa: E731
        "POST", "/v1/api_keys", root_key=root["secret"], json={"name": "k", "subject": "user_1"}
    )
    keys = [create().json() for _ in range(3)]
    error = assert_error(create(), 409, "KEY_LIMIT_REACHED")
    assert error["errors"][0]["meta"]["max"] == 3 and error["errors"][0]["meta"]["used"] == 3
    path = f"/v1/api_keys/{keys[0]['id']}"
    rotated = server.call("POST", path + "/rotate", root_key=root["secret"], json={})
    assert rotated.status_code == 200
    revoked = server.call("POST", path + "/revoke", root_key=root["secret"], json={})
    assert revoked.status_code == 200
    assert_error(server.call("GET", path, root_key=root["secret"]), 404)
    assert server.verify(rotated.json()["secret"])["reason"] == "erased"
    assert create().status_code == 201


def test_an_expired_key_is_told_apart_only_to_its_holder(server):
    key = server.create("short", seconds_until_expiration=1.0)
    assert me(server, key["secret"]).status_code == 200
    time.sleep(1.1)
    verdict = server.verify(key["secret"])
    assert (verdict["code"], verdict["status"], verdict["reason"]) == ("API_KEY_EXPIRED", 401, "expired")
    assert_error(me(server, key["secret"]), 401, "API_KEY_EXPIRED")
    assert server.call("GET", f"/v1/api_keys/{key['id']}").json()["state"] == "expired"
    answer = server.call("POST", f"/v1/api_keys/{key['id']}/rotate", json={})
    assert_error(answer, 409, "INVALID_TRANSITION")
    rotated = do(server, key, "rotate", {"seconds_until_expiration": 3600})
    assert server.verify(rotated["secret"])["valid"]


def test_scopes_must_all_be_held(server):
    key = server.create("scoped", scopes=["read", "write"])
    assert server.verify(key["secret"], scopes=["read", "write"])["valid"]
    verdict = server.verify(key["secret"], scopes=["read", "admin"])
    assert (verdict["code"], verdict["status"], verdict["reason"]) == ("INSUFFICIENT_SCOPE", 403, "scope")


def test_me_is_the_keys_own_record_and_can_end_it(server):
    key = server.create("me", claims={"a": 1})
    mine = me(server, key["secret"])
    assert mine.json()["id"] == key["id"] and "secret" not in mine.json()
    headers = {"Authorization": f"Bearer {key['secret']}"}
    revoked = requests.post(server.url + "/v1/me/revoke", headers=headers)
    assert revoked.json()["revoked_by"] == key["id"]
    assert_error(me(server, key["secret"]), 401, "API_KEY_INVALID")
    assert_error(requests.post(server.url + "/v1/me/revoke", headers=headers), 401, "API_KEY_INVALID")
    answer = requests.get(server.url + "/v1/me")
    assert_error(answer, 401, "API_KEY_REQUIRED")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_deleted_keys_secret_is_a_tombstone(server):
    key = server.create("delete")
    gone = server.call("DELETE", f"/v1/api_keys/{key['id']}").json()
    assert gone["deleted"] is True and gone["effect"]["revision"] > 0
    assert server.verify(key["secret"])["reason"] == "erased"
    assert_error(server.call("DELETE", f"/v1/api_keys/{key['id']}"), 404)


@pytest.mark.parametrize("state, names", [("revoked", ["r"]), ("disabled", ["d"]), ("active", ["a"])])
def test_a_list_by_state(server, state, names):
    subject = f"user_state_{state}"
    for name in "ard":
        key = server.create(name, subject=subject)
        if name == "r":
            do(server, key, "revoke")
        if name == "d":
            do(server, key, "disable")
    answer = server.call("GET", "/v1/api_keys", params={"subject": subject, "state": state}).json()
    assert [key["name"] for key in answer["data"]] == names
    usable = server.call("GET", "/v1/api_keys", params={"subject": subject}).json()
    assert [key["name"] for key in usable["data"]] == ["d", "a"]


def test_pages_join_to_the_whole_list(server):
    subject = "user_pages"
    made = [server.create(f"n{n}", subject=subject)["id"] for n in range(7)]
    seen, cursor = [], None
    for _ in range(10):
        params = {"subject": subject, "limit": 3, **({"cursor": cursor} if cursor else {})}
        page = server.call("GET", "/v1/api_keys", params=params).json()
        assert page["total_count"] == 7
        seen += [key["id"] for key in page["data"]]
        cursor = page.get("next_cursor")
        if not cursor:
            break
    assert seen == made[::-1]
