"""Usage recorded by verification: last use, counts, warnings; and keys that expire soon."""
import time

from systems import DAY


def counts(system, key):
    usage = system.call("GET", f"/v1/api_keys/{key['id']}/usage").json()["data"]
    totals = {}
    for hour in usage:
        assert hour["hour"] % 3_600_000 == 0
        totals[hour["outcome"]] = totals.get(hour["outcome"], 0) + hour["count"]
    return totals


def test_verdicts_are_counted_by_outcome(standard):
    key = standard.create(scopes=["read"])
    for _ in range(5):
        standard.server.verify(key["secret"])
    for _ in range(3):
        standard.server.verify(key["secret"], scopes=["write"])
    standard.do(key, "disable")
    standard.server.verify(key["secret"])
    standard.do(key, "revoke")
    standard.server.verify(key["secret"])
    assert counts(standard, key) == {"valid": 5, "scope": 3, "disabled": 1, "revoked": 1}


def test_counts_and_last_use_survive_a_stop(fresh):
    key = fresh.create("counted")
    for _ in range(7):
        fresh.verify(key["secret"])
    assert fresh.stop() == 0
    fresh.start()
    usage = fresh.call("GET", f"/v1/api_keys/{key['id']}/usage").json()["data"]
    assert sum(hour["count"] for hour in usage) == 7
    assert fresh.call("GET", f"/v1/api_keys/{key['id']}").json()["last_used_at"] >= key["created_at"]


def test_last_use_is_exact_to_a_minute_at_once(standard):
    key = standard.create()
    assert standard.get(key).json()["last_used_at"] is None
    standard.server.verify(key["secret"])
    assert abs(standard.get(key).json()["last_used_at"] - time.time() * 1000) < 60_000


def test_a_meter_shows_calls_still_made_with_the_old_secret(standard):
    key = standard.create()
    new = standard.do(key, "rotate", {"overlap_seconds": 3600})
    assert new["retiring_until"] == new["rotated_at"] + 3_600_000
    for _ in range(3):
        assert standard.server.verify(key["secret"])["valid"]
    standard.server.verify(new["secret"])
    assert counts(standard, key) == {"valid": 1, "valid_retiring": 3}
    finished = standard.call("POST", f"/v1/api_keys/{key['id']}/rotate/finish", json={}).json()
    assert finished["retiring_until"] is None
    assert standard.server.verify(key["secret"])["reason"] == "rotated"
    assert standard.works(new["secret"])


def test_a_replaced_secret_that_is_presented_leaves_one_warning(standard):
    key = standard.create()
    standard.do(key, "rotate")
    for _ in range(5):
        assert standard.server.verify(key["secret"])["reason"] == "rotated"
    until = time.monotonic() + 5
    while time.monotonic() < until and not standard.audit(action="key.secret_reused"):
        time.sleep(0.1)
    time.sleep(1.2)
    warnings = standard.audit(action="key.secret_reused")
    assert len(warnings) == 1
    assert warnings[0]["target"]["id"] == key["id"] and warnings[0]["actor"]["type"] == "system"


def test_what_is_about_to_expire_is_listed(standard):
    soon = standard.create(seconds_until_expiration=DAY)
    standard.create(seconds_until_expiration=60 * DAY)
    standard.create()
    held = standard.create(seconds_until_expiration=DAY)
    standard.do(held, "disable")
    assert [key["id"] for key in standard.listed(expiring_within=2 * DAY)] == [soon["id"]]


def test_a_key_expires_without_a_call_and_the_verdict_is_expired(standard):
    key = standard.create(seconds_until_expiration=1)
    assert standard.works(key["secret"])
    time.sleep(1.1)
    assert standard.server.verify(key["secret"])["reason"] == "expired"
    shown = standard.get(key).json()
    assert shown["expired"] is True and shown["state"] == "expired"
    assert standard.do(key, "rotate", status=409)["code"] == "INVALID_TRANSITION"
    new = standard.do(key, "rotate", {"seconds_until_expiration": 60})
    assert standard.works(new["secret"])


def test_a_refused_call_moves_the_time_of_refusals_and_not_the_last_use(standard):
    quota = {"name": "total", "limit": 1, "period": "total"}
    key = standard.create(scopes=["read"], limits=[quota])
    assert (key["last_used_at"], key["last_refused_at"]) == (None, None)
    path = f"/v1/api_keys/{key['id']}"
    standard.server.verify(key["secret"], scopes=["write"])
    shown = standard.call("GET", path).json()
    assert shown["last_used_at"] is None and abs(shown["last_refused_at"] - time.time() * 1000) < 60_000
    assert standard.server.verify(key["secret"])["valid"]
    used = standard.call("GET", path).json()
    assert used["last_used_at"] is not None
    for _ in range(3):
        assert standard.server.verify(key["secret"])["reason"] == "limited"
    standard.do(key, "revoke")
    standard.server.verify(key["secret"])
    after = standard.call("GET", path).json()
    assert after["last_used_at"] == used["last_used_at"] and after["last_refused_at"] > used["last_refused_at"]
    listed = [one for one in standard.listed(include_invalid="true") if one["id"] == key["id"]]
    assert listed[0]["last_refused_at"] == after["last_refused_at"]


def test_the_time_of_refusals_survives_a_stop(fresh):
    key = fresh.create("counted")
    fresh.call("POST", f"/v1/api_keys/{key['id']}/disable", json={})
    fresh.verify(key["secret"])
    before = fresh.call("GET", f"/v1/api_keys/{key['id']}").json()
    assert fresh.stop() == 0
    fresh.start()
    shown = fresh.call("GET", f"/v1/api_keys/{key['id']}").json()
    assert shown["last_refused_at"] == before["last_refused_at"] is not None and shown["last_used_at"] is None


def test_a_refused_secret_counts_as_presented(standard):
    """A retry must not replace a secret that its owner has received, though no call with it was accepted yet."""
    wish = {"name": "one", "subject": "user_1", "scopes": ["read"]}
    made = standard.server.call("POST", "/v1/api_keys", root_key=standard.root_key, json=wish,
                                headers={"Idempotency-Key": "once"})
    standard.server.verify(made.json()["secret"], scopes=["write"])
    again = standard.server.call("POST", "/v1/api_keys", root_key=standard.root_key, json=wish,
                                 headers={"Idempotency-Key": "once"})
    assert again.status_code == 409 and standard.works(made.json()["secret"])
