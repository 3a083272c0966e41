"""Policy: presets, overrides, contradictions, and the effect of a change on existing keys."""
import time

import pytest

from systems import DAY, System, assert_error

PRESETS = {
    "erase": {"limit": 3, "never": True, "max": 90, "undo": "never", "after": "erase", "confirm": "phrase",
              "list": "all", "reveal": "owner_safe", "sticky": True, "editable": False},
    "hold": {"limit": 20, "never": True, "max": None, "undo": "always", "after": "keep", "confirm": "none",
             "list": "all", "reveal": "none", "sticky": False, "editable": True},
    "keep": {"limit": 20, "never": False, "max": None, "undo": "never", "after": "keep", "confirm": "dialog",
             "list": "all", "reveal": "none", "sticky": True, "editable": True},
    "standard": {"limit": None, "never": True, "max": None, "undo": "never", "after": "hide", "confirm": "none",
                 "list": "usable", "reveal": "owner_safe", "sticky": True, "editable": True},
}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_the_exact_expression_of_its_system(standard, preset):
    put = standard.call("PUT", "/v1/policy", json={"preset": preset})
    assert put.status_code == 200
    policy = standard.policy()
    expected = PRESETS[preset]
    assert policy["preset"] == preset
    assert policy["limit"]["keys_per_subject"] == expected["limit"]
    assert (policy["expiry"]["allow_never"], policy["expiry"]["max_days"]) == (expected["never"], expected["max"])
    assert policy["expiry"]["editable"] == expected["editable"]
    assert policy["expiry"]["custom"] == (preset != "erase")
    revoke = policy["revoke"]
    assert (revoke["undo"], revoke["after"], revoke["confirm"]) == tuple(
        expected[name] for name in ("undo", "after", "confirm"))
    assert policy["list"]["default"] == expected["list"] and policy["verify"]["reveal"] == expected["reveal"]
    assert policy["reactivate"]["sticky"] == expected["sticky"]


def test_given_fields_override_and_what_is_read_can_be_put_back(standard):
    wish = {"preset": "erase", "prefix": "uspl", "limit": {"keys_per_subject": 5}, "revoke": {"undo": 3600}}
    put = standard.call("PUT", "/v1/policy", json=wish).json()
    assert (put["prefix"], put["limit"]["keys_per_subject"], put["revoke"]["undo"]) == ("uspl", 5, 3600)
    assert put["revoke"]["confirm"] == "phrase", "the rest is the preset's"
    policy = standard.policy()
    again = standard.call("PUT", "/v1/policy", json=policy).json()
    assert {**again, "not_allowed_today": None} == {**policy, "not_allowed_today": None}


@pytest.mark.parametrize("wish, field", [
    ({"preset": "forever"}, "preset"),
    ({"prefix": "Bad Prefix"}, "prefix"),
    ({"colour": 1}, "colour"),
    ({"limit": {"keys_per_subject": 0}}, "limit.keys_per_subject"),
    ({"limit": {"keys_per_subject": "3"}}, "limit.keys_per_subject"),
    ({"limit": {"keys_per_subject": 10**15}}, "limit.keys_per_subject"),
    ({"limit": [3]}, "limit"),
    ({"expiry": {"max_days": 30, "default_days": 31}}, "expiry.default_days"),
    ({"expiry": {"max_days": 30, "choices_days": [7, 90]}}, "expiry.choices_days"),
    ({"expiry": {"choices_days": [30, 7]}}, "expiry.choices_days"),
    ({"expiry": {"allow_never": False}}, "expiry.default_days"),
    ({"expiry": {"max_days": 3_000_000}}, "expiry.max_days"),
    ({"expiry": {"custom": False, "default_days": 8, "choices_days": [7, 90]}}, "expiry.default_days"),
    ({"expiry": {"custom": False, "default_days": 7}}, "expiry.default_days"),
    ({"expiry": {"custom": False, "choices_days": [7], "allow_never": False, "max_days": 30}}, "expiry.max_days"),
    ({"rotate": {"overlap_default_seconds": 60, "overlap_max_seconds": 30}}, "rotate.overlap_default_seconds"),
    ({"rotate": {"overlap_max_seconds": -1}}, "rotate.overlap_max_seconds"),
    ({"revoke": {"undo": "sometimes"}}, "revoke.undo"),
    ({"revoke": {"undo": 0}}, "revoke.undo"),
    ({"revoke": {"undo": "always", "after": "erase"}}, "revoke.after"),
    ({"revoke": {"confirm": "dance"}}, "revoke.confirm"),
    ({"verify": {"reveal": "all"}}, "verify.reveal"),
])
def test_a_policy_that_makes_no_sense_is_refused_by_field(standard, wish, field):
    before = standard.policy()
    body = assert_error(standard.call("PUT", "/v1/policy", json=wish), 400, "BAD_REQUEST")
    assert body["errors"][0]["meta"]["param_name"] == field
    assert standard.policy() == before


def test_a_change_says_which_existing_keys_it_would_not_allow(standard):
    for_ever = standard.create()
    long = standard.create(seconds_until_expiration=200 * DAY)
    short = standard.create(seconds_until_expiration=10 * DAY)
    standard.create("many")
    oldest = standard.listed()[0]
    standard.create("many")
    wish = {"expiry": {"allow_never": False, "max_days": 30, "default_days": 30}, "limit": {"keys_per_subject": 1}}
    told = standard.call("PUT", "/v1/policy", json=wish).json()["not_allowed_today"]
    named = {key["id"]: key["why"] for key in told["keys"]}
    assert told["count"] == len(named)
    assert {for_ever["id"], long["id"], oldest["id"]} <= set(named) and short["id"] not in named
    # They keep working; only later changes are bound.
    assert standard.works(for_ever["secret"])
    assert standard.create("new", seconds_until_expiration=None, status=409)["code"] == "POLICY_FORBIDS"


def test_reading_and_writing_the_policy_are_permissions(standard):
    def root_key(permission):
        wish = {"name": permission, "permissions": [permission]}
        return standard.call("POST", "/v1/root_keys", json=wish).json()["secret"]

    reader = root_key("policy:read")
    assert standard.server.call("GET", "/v1/policy", root_key=reader).status_code == 200
    assert standard.server.call("PUT", "/v1/policy", root_key=reader, json={}).status_code == 403
    assert standard.server.call("GET", "/v1/policy", root_key=root_key("keys:read")).status_code == 403


def test_where_only_the_choices_are_allowed_create_rotate_and_update_take_no_other(standard):
    wish = {"expiry": {"custom": False, "choices_days": [7, 30], "allow_never": False, "default_days": 7, "editable": True}}
    kept = standard.create("kept", seconds_until_expiration=8 * DAY)
    put = standard.call("PUT", "/v1/policy", json=wish).json()
    assert [entry["id"] for entry in put["not_allowed_today"]["keys"]] == [kept["id"]]
    key = standard.create("chosen", seconds_until_expiration=30 * DAY)
    assert standard.create("default")["expiration"], "nothing said is the default"
    for seconds in (None, 8 * DAY, 30 * DAY - 1):
        life = {"seconds_until_expiration": seconds}
        assert standard.create(f"{seconds}", **life, status=409)["code"] == "POLICY_FORBIDS"
        assert standard.do(key, "rotate", life, status=409)["code"] == "POLICY_FORBIDS"
        refused = standard.call("PATCH", f"/v1/api_keys/{key['id']}", json=life)
        assert (refused.status_code, refused.json()["code"]) == (409, "POLICY_FORBIDS")
    standard.do(key, "rotate", {"seconds_until_expiration": 7 * DAY})


def test_a_preset_leaves_the_prefix_of_the_tenant_as_it_is(standard):
    standard.call("PUT", "/v1/policy", json={"prefix": "acme"})
    assert standard.call("PUT", "/v1/policy", json={"preset": "keep"}).json()["prefix"] == "acme"


@pytest.mark.parametrize("seconds, status", [
    (0, 400), (-1, 400), (1.5, 400), ("60", 400), (10**12, 400), (253_402_300_800, 400), (90 * DAY + 1, 409),
])
def test_an_expiry_out_of_bounds_is_refused_and_nothing_made(server, seconds, status):
    userplane = System(server, "erase")
    userplane.create(seconds_until_expiration=seconds, status=status)
    assert userplane.listed() == []


def test_an_overlap_beyond_the_maximum_is_refused(standard):
    standard.call("PUT", "/v1/policy", json={"rotate": {"overlap_max_seconds": 60}})
    key = standard.create()
    assert standard.do(key, "rotate", {"overlap_seconds": 61}, status=409)["code"] == "POLICY_FORBIDS"
    assert standard.works(key["secret"])


def test_a_revocation_can_be_undone_in_its_window_and_not_after(server):
    system = System(server, "standard", revoke={"undo": 2, "after": "keep"})
    undone, kept = system.create(), system.create()
    for key in [undone, kept]:
        assert system.do(key, "revoke", {"revocation_reason": "perhaps"})["state"] == "disabled"
        assert not system.works(key["secret"])
    system.do(undone, "reactivate")
    assert system.works(undone["secret"])
    time.sleep(0.5)
    # Repeating revoke does not restart the window.
    system.do(kept, "revoke")
    time.sleep(1.6)
    assert system.get(kept).json()["state"] == "revoked"
    assert system.do(kept, "reactivate", status=409)["code"] == "INVALID_TRANSITION"
    until = time.monotonic() + 5

    def ended():
        # The refused attempt above may be younger than the end, or older.
        return [one for one in system.audit(key_id=kept["id"]) if one["actor"]["type"] == "system"]
    while not ended():
        assert time.monotonic() < until, "the end is not in the log"
        time.sleep(0.1)
    assert ended()[0]["action"] == "key.revoked"
    assert system.works(undone["secret"])


def test_finalize_ends_the_window_at_once_and_is_a_verb_of_its_own(server):
    system = System(server, "standard", revoke={"undo": "always", "after": "keep"})
    key = system.create()
    assert system.do(key, "finalize", status=409)["code"] == "INVALID_TRANSITION"
    system.do(key, "revoke")
    assert system.do(key, "finalize", {"revocation_reason": "sure"})["state"] == "revoked"
    assert system.do(key, "finalize")["revocation_reason"] == "sure"
    system.do(key, "reactivate", status=409)


def test_a_window_before_erasure_ends_in_erasure(server):
    system = System(server, "erase", revoke={"undo": 1})
    key = system.create()
    assert system.do(key, "revoke")["state"] == "disabled"
    until = time.monotonic() + 5
    while time.monotonic() < until and system.get(key).status_code != 404:
        time.sleep(0.1)
    assert system.get(key).status_code == 404
    assert system.server.verify(key["secret"])["reason"] == "erased"


@pytest.mark.parametrize("preset", ["hold", "keep", "standard"])
def test_a_compromise_is_final_everywhere(server, preset):
    system = System(server, preset)
    for code in ["key_compromise", "leaked"]:
        key = system.create()
        assert system.do(key, "revoke", {"reason_code": code})["state"] == "revoked"
        system.do(key, "reactivate", status=409)


def test_a_reason_may_be_required(server):
    system = System(server, "standard", revoke={"reason": "required"})
    key = system.create()
    body = system.do(key, "revoke", status=400)
    assert body["errors"][0]["meta"]["param_name"] == "revocation_reason"
    assert system.works(key["secret"])
    system.do(key, "revoke", {"revocation_reason": "left"})


def test_purge_destroys_what_was_revoked_long_ago_and_nothing_else(standard):
    active, revoked = standard.create(), standard.create()
    standard.do(revoked, "revoke")
    now = int(time.time() * 1000)
    early = standard.call("POST", "/v1/api_keys/purge", json={"revoked_before": now - 60_000}).json()
    assert early == {"purged": 0, "has_more": False}
    purged = standard.call("POST", "/v1/api_keys/purge", json={"revoked_before": now + 60_000}).json()
    assert purged == {"purged": 1, "has_more": False}
    assert standard.get(revoked).status_code == 404 and standard.works(active["secret"])
    history = standard.call("GET", f"/v1/api_keys/{revoked['id']}/events").json()["data"]
    assert [event["action"] for event in history] == ["key.created", "key.revoked", "key.erased"]
