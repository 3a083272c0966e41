"""Hyperspell: confirmed, permanent, kept in history and audit log. Preset `keep`."""
from systems import DAY


def test_H_01_managing_keys_needs_the_right_to(hyperspell):
    key = hyperspell.create()
    path = f"/v1/api_keys/{key['id']}/revoke"
    auditor, admin = hyperspell.person("auditor"), hyperspell.person("admin")
    assert auditor.call("POST", path, json={}).status_code == 403
    assert hyperspell.works(key["secret"])
    assert admin.call("POST", path, json={}).status_code == 200


def test_H_02_the_list_has_active_and_revoked_keys(hyperspell):
    active, revoked = hyperspell.create(), hyperspell.create()
    hyperspell.do(revoked, "revoke")
    assert {row["id"]: row["state"] for row in hyperspell.listed()} == {active["id"]: "active", revoked["id"]: "revoked"}


def test_H_04_the_policy_asks_for_a_dialog(hyperspell):
    assert hyperspell.policy()["revoke"]["confirm"] == "dialog"


def test_H_06_revoking_is_at_once_and_permanent(hyperspell):
    key = hyperspell.create()
    assert hyperspell.works(key["secret"])
    hyperspell.do(key, "revoke")
    assert not hyperspell.works(key["secret"])
    for verb in ["reactivate", "rotate", "disable"]:
        assert hyperspell.do(key, verb, status=409)["code"] == "INVALID_TRANSITION"
    assert hyperspell.do(key, "revoke")["state"] == "revoked"


def test_H_07_afterwards_the_key_is_marked_revoked(hyperspell):
    key = hyperspell.create()
    hyperspell.do(key, "revoke")
    shown = hyperspell.get(key).json()
    assert shown["revoked"] is True and shown["state"] == "revoked"


def test_H_08_using_it_is_unauthorized(hyperspell):
    key = hyperspell.create()
    hyperspell.do(key, "revoke")
    answer = hyperspell.use(key["secret"])
    assert answer.status_code == 401 and answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_H_09_the_revocation_is_seen_in_history_and_audit_log(hyperspell):
    key = hyperspell.create()
    hyperspell.do(key, "revoke", {"revocation_reason": "decommissioned"})
    history = hyperspell.call("GET", f"/v1/api_keys/{key['id']}/events").json()["data"]
    assert [event["action"] for event in history] == ["key.created", "key.revoked"]
    assert history[-1]["reason"] == "decommissioned"
    assert hyperspell.audit(action="key.revoked")[0]["target"]["id"] == key["id"]


def test_H_10_the_list_shows_name_and_creation_date(hyperspell):
    key = hyperspell.create()
    row = hyperspell.listed()[0]
    assert row["name"] == key["name"] and row["created_at"] == key["created_at"]


def test_H_11_reasons_can_be_named(hyperspell):
    for code in ["cessation", "superseded", "key_compromise"]:
        key = hyperspell.create()
        revoked = hyperspell.do(key, "revoke", {"reason_code": code})
        assert revoked["reason_code"] == code


def test_H_12_the_secret_is_visible_once(hyperspell):
    key = hyperspell.create()
    assert key["secret"] not in hyperspell.get(key).text


def test_H_13_revocation_is_a_time_and_the_row_is_kept(hyperspell):
    key = hyperspell.create()
    assert hyperspell.get(key).json()["revoked_at"] is None
    revoked = hyperspell.do(key, "revoke")
    assert hyperspell.get(key).json()["revoked_at"] == revoked["revoked_at"] >= key["created_at"]


def test_H_14_bearer_and_401_where_it_is_no_good(hyperspell):
    assert hyperspell.use(hyperspell.create()["secret"]).status_code == 200
    assert hyperspell.use("ak_nonsense").status_code == 401


def test_H_16_a_call_shows_whose_key_it_is_and_when_it_expires(hyperspell):
    key = hyperspell.create(seconds_until_expiration=DAY)
    me = hyperspell.use(key["secret"]).json()
    assert (me["subject"], me["expiration"]) == ("user_1", key["expiration"])
