"""Userplane: revoke deletes, three keys a user, rotate in one step. Preset `erase`, prefix `uspl`."""
import threading
import time

import requests

from systems import DAY, assert_error

INVALID = "API_KEY_INVALID"


def outside(answer):
    return answer.status_code, answer.json()["code"]


def test_U_02_a_key_belongs_to_the_user_who_made_it(userplane):
    user = userplane.person()
    key = user.create()
    assert key["subject"] == user.id
    assert userplane.use(key["secret"]).json()["subject"] == user.id


def test_U_03_a_user_manages_only_their_own_keys(userplane):
    one, other = userplane.person(), userplane.person()
    key = one.create()
    for method, path in [("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/revoke"), ("POST", "/rotate"),
                         ("POST", "/disable"), ("POST", "/reactivate"), ("GET", "/events"), ("GET", "/usage")]:
        answer = other.call(method, f"/v1/api_keys/{key['id']}{path}", json={})
        assert answer.status_code == 404, (method, path, answer.text)
    assert other.call("GET", "/v1/api_keys").json()["data"] == []
    assert userplane.works(key["secret"])


def test_U_04_the_list_shows_name_mask_expiry_and_status(userplane):
    key = userplane.create(seconds_until_expiration=7 * DAY)
    row = userplane.listed()[0]
    assert (row["name"], row["prefix"], row["last_four"]) == (key["name"], "uspl", key["secret"][-4:])
    assert row["expiration"] == key["expiration"] and row["state"] == "active"
    assert "secret" not in row


def test_U_06_with_no_keys_the_list_says_so(userplane):
    assert userplane.call("GET", "/v1/api_keys").json() == {"data": [], "total_count": 0}


def test_U_07_a_secret_can_never_be_seen_again(userplane):
    key = userplane.create()
    assert key["secret"] not in userplane.get(key).text
    assert key["secret"] not in userplane.call("GET", "/v1/api_keys").text
    assert userplane.call("GET", f"/v1/api_keys/{key['id']}/secret").status_code == 404


def test_U_08_every_secret_starts_with_uspl(userplane):
    key = userplane.create()
    assert key["secret"].startswith("uspl_")
    assert userplane.do(key, "rotate")["secret"].startswith("uspl_")


def test_U_09_at_most_three_keys_a_user(userplane):
    for _ in range(3):
        userplane.create("user_1")
    userplane.create("user_1", status=409)
    userplane.create("user_2")


def test_U_11_expiry_is_never_or_one_of_four_choices(userplane):
    assert userplane.policy()["expiry"]["choices_days"] == [7, 30, 60, 90]
    for days in [None, 7, 30, 60, 90]:
        key = userplane.create(f"user_{days}", seconds_until_expiration=days and days * DAY)
        expected = key["created_at"] + days * DAY * 1000 if days else None
        assert key["expiration"] == expected
    key = userplane.create("user_rotates")
    for seconds in [1, DAY, 8 * DAY, 7 * DAY + 1, 89 * DAY]:
        refused = userplane.create("user_other", seconds_until_expiration=seconds, status=409)
        assert refused["code"] == "POLICY_FORBIDS", seconds
        rotated = userplane.do(key, "rotate", {"seconds_until_expiration": seconds}, status=409)
        assert rotated["code"] == "POLICY_FORBIDS", seconds
    assert userplane.works(key["secret"]), "a refused rotation changes nothing"


def test_U_12_a_finite_life_is_at_most_90_days(userplane):
    refused = userplane.create(seconds_until_expiration=90 * DAY + 1, status=409)
    assert refused["code"] == "POLICY_FORBIDS"
    assert userplane.create(seconds_until_expiration=None)["expiration"] is None


def test_U_13_the_secret_is_in_the_answer_that_issues_it(userplane):
    key = userplane.create()
    assert userplane.works(key["secret"])
    assert "secret" not in userplane.get(key).json()


def test_U_14_a_fourth_key_is_refused(userplane):
    for _ in range(3):
        userplane.create("user_1")
    refused = userplane.create("user_1", status=409)
    assert refused["code"] == "KEY_LIMIT_REACHED"
    assert refused["errors"][0]["meta"]["max"] == 3 and refused["errors"][0]["meta"]["used"] == 3


def test_U_15_keys_are_managed_through_an_api(userplane):
    paths = requests.get(userplane.server.url + "/openapi.json", timeout=30).json()["paths"]
    for path in ["/v1/api_keys", "/v1/api_keys/{id}/revoke", "/v1/api_keys/{id}/rotate"]:
        assert path in paths


def test_U_21_the_policy_asks_for_the_phrase(userplane):
    assert userplane.policy()["revoke"]["confirm"] == "phrase"


def test_U_23_revoking_deletes_for_good(userplane):
    key = userplane.create()
    userplane.do(key, "revoke")
    assert userplane.get(key).status_code == 404
    for verb in ["reactivate", "rotate", "disable", "revoke"]:
        userplane.do(key, verb, status=404)
    assert not userplane.works(key["secret"])


def test_U_24_the_very_next_request_is_401(userplane):
    for _ in range(20):
        key = userplane.create()
        assert userplane.works(key["secret"])
        userplane.do(key, "revoke")
        assert outside(userplane.use(key["secret"])) == (401, INVALID)


def test_U_25_the_key_is_gone_from_the_list(userplane):
    key = userplane.create()
    userplane.do(key, "revoke")
    assert userplane.listed(include_invalid="true") == []


def test_U_26_the_slot_is_free_at_once(userplane):
    keys = [userplane.create("user_1") for _ in range(3)]
    userplane.do(keys[1], "revoke")
    userplane.create("user_1")
    userplane.create("user_1", status=409)


def test_U_33_the_old_secret_is_invalid_at_once_and_for_ever(userplane):
    key = userplane.create()
    new = userplane.do(key, "rotate")
    assert outside(userplane.use(key["secret"])) == (401, INVALID)
    userplane.do(new, "rotate")
    assert outside(userplane.use(key["secret"])) == (401, INVALID)
    assert outside(userplane.use(new["secret"])) == (401, INVALID)


def test_U_34_the_new_secret_has_the_chosen_name_and_expiry(userplane):
    key = userplane.create()
    new = userplane.do(key, "rotate", {"name": "chosen", "seconds_until_expiration": 30 * DAY})
    assert new["id"] == key["id"] and new["name"] == "chosen" and new["prefix"] == "uspl"
    assert new["expiration"] == new["rotated_at"] + 30 * DAY * 1000


def test_U_35_rotating_at_three_of_three_succeeds(userplane):
    keys = [userplane.create("user_1") for _ in range(3)]
    new = userplane.do(keys[0], "rotate")
    assert userplane.works(new["secret"])
    assert len(userplane.listed(subject="user_1")) == 3
    userplane.create("user_1", status=409)


def test_U_36_old_dead_and_new_alive_are_one_step(userplane):
    key = userplane.create()
    verdicts, stop = [], threading.Event()

    def watch():
        while not stop.is_set():
            verdicts.append(userplane.server.verify(key["secret"]))

    watcher = threading.Thread(target=watch)
    watcher.start()
    time.sleep(0.1)
    new = userplane.do(key, "rotate")
    assert userplane.works(new["secret"])
    stop.set()
    watcher.join()
    # The old secret is valid in every state before the rotation's revision, and in none from it on.
    step = new["effect"]["revision"]
    assert any(verdict["valid"] for verdict in verdicts)
    for verdict in verdicts:
        assert not (verdict["valid"] and verdict["revision"] >= step), verdict
        assert verdict["valid"] or verdict["reason"] == "rotated"


def test_U_40_a_key_is_sent_as_bearer(userplane):
    assert userplane.use(userplane.create()["secret"]).status_code == 200


def test_U_41_errors_have_a_code_and_a_documentation_address(userplane):
    body = assert_error(userplane.use("uspl_nonsense"), 401, INVALID)
    page = requests.get(userplane.server.url + body["type"], timeout=30)
    assert page.status_code == 200 and INVALID in page.text


def test_U_42_no_key_is_required(userplane):
    assert outside(userplane.use(None)) == (401, "API_KEY_REQUIRED")


def test_U_43_unknown_revoked_and_rotated_out_are_invalid(userplane):
    revoked, rotated = userplane.create(), userplane.create()
    userplane.do(revoked, "revoke")
    userplane.do(rotated, "rotate")
    unknown = "uspl_kr1" + "0" * 49
    for secret in [unknown, revoked["secret"], rotated["secret"]]:
        assert outside(userplane.use(secret)) == (401, INVALID)


def test_U_44_past_its_expiry_is_expired(userplane):
    any_life = userplane.call("PUT", "/v1/policy", json={"expiry": {"custom": True}})
    assert any_life.status_code == 200
    key = userplane.create(seconds_until_expiration=1)
    assert userplane.works(key["secret"])
    time.sleep(1.1)
    assert outside(userplane.use(key["secret"])) == (401, "API_KEY_EXPIRED")
    assert userplane.get(key).json()["state"] == "expired"


def test_U_45_disabled_is_403(userplane):
    key = userplane.create()
    userplane.do(key, "disable")
    assert outside(userplane.use(key["secret"])) == (403, "API_KEY_DISABLED")


def test_U_46_an_owner_who_is_no_active_member_is_refused(userplane):
    user = userplane.person()
    key = user.create()
    assert userplane.works(key["secret"])
    userplane.call("PATCH", f"/v1/users/{user.id}", json={"status": "suspended"})
    assert outside(userplane.use(key["secret"])) == (401, INVALID)
    userplane.call("PATCH", f"/v1/users/{user.id}", json={"status": "active"})
    assert userplane.works(key["secret"])


def test_U_50_a_who_am_i_call_needs_no_other_right(userplane):
    key = userplane.create(scopes=[])
    me = userplane.use(key["secret"]).json()
    assert me["id"] == key["id"] and "secret" not in me
