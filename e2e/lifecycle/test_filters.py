"""Selection of keys: filters, ids, times, pages; and the subjects that exist."""
import json
import subprocess
import time

import pytest

import harness

UNKNOWN = "ak_" + "0" * 32


@pytest.mark.parametrize("subject", [" ", "\u00a0", "\u2003 ", ""])
def test_a_subject_of_blanks_is_refused_wherever_one_comes_in(standard, subject):
    def refused(method, path, **options):
        assert standard.call(method, path, **options).status_code == 400, (path, options)

    refused("POST", "/v1/api_keys", json={"name": "one", "subject": subject})
    refused("POST", "/api_keys", json={"name": "one", "subject": subject})
    refused("POST", "/v1/api_keys", json={"name": "one", "subject": "user_1", "created_by": subject})
    refused("POST", "/v1/api_keys/batch", json={"items": [{"name": "one", "subject": subject}]})
    refused("GET", "/v1/api_keys", params={"subject": subject})
    refused("POST", "/v1/api_keys/revoke_many", json={"filter": {"subject": subject}})
    key = standard.create()
    refused("PATCH", f"/v1/api_keys/{key['id']}", json={"subject": subject})
    assert len(standard.listed()) == 1


@pytest.mark.parametrize("query, field", [
    ({"state": "revoked", "include_invalid": "false"}, "include_invalid"),
    ({"state": "expired", "include_invalid": "false"}, "include_invalid"),
    ({"state": "revoked", "expiring_within": "60"}, "expiring_within"),
    ({"state": "disabled", "expiring_within": "60"}, "expiring_within"),
    ({"state": "expired", "expiring_within": "60"}, "expiring_within"),
    ({"offset": "1", "cursor": UNKNOWN}, "cursor"),
])
def test_filters_that_no_key_can_pass_are_refused(standard, query, field):
    for path in ["/v1/api_keys", "/api_keys"]:
        answer = standard.call("GET", path, params=query)
        assert answer.status_code == 400, answer.text
        assert answer.json()["errors"][0]["meta"]["param_name"] == field


@pytest.mark.parametrize("query", [
    {"state": "active", "include_invalid": "false"}, {"state": "revoked", "include_invalid": "true"},
    {"state": "disabled", "include_invalid": "false"}, {"state": "active", "expiring_within": "60"},
])
def test_filters_that_only_repeat_each_other_are_taken(standard, query):
    assert standard.call("GET", "/v1/api_keys", params=query).status_code == 200


def test_a_malformed_id_is_as_unknown_as_one_that_does_not_exist(standard):
    key = standard.create()
    ids = [key["id"], UNKNOWN, "nonsense", "", "ak_" + "G" * 32]
    dry = standard.call("POST", "/v1/api_keys/revoke_many", json={"filter": {"ids": ids}, "dry_run": True})
    assert dry.status_code == 200, dry.text
    assert (dry.json()["matched"], dry.json()["not_found"]) == (1, 4)
    done = standard.call("POST", "/v1/api_keys/revoke_many", json={"filter": {"ids": ids}}).json()
    assert (done["matched"], done["revoked"], done["not_found"]) == (1, 1, 4)
    for only in [[UNKNOWN], ["nonsense"]]:
        none = standard.call("POST", "/v1/api_keys/revoke_many", json={"filter": {"ids": only}})
        assert none.status_code == 200 and none.json()["not_found"] == 1 and none.json()["revoked"] == 0
    by_owner = standard.call("POST", "/v1/api_keys/revoke_many", json={"filter": {"subject": "user_9"}}).json()
    assert "not_found" not in by_owner


def test_purge_takes_expired_keys_if_it_is_asked_to(standard):
    expired, held = (standard.create(seconds_until_expiration=1) for _ in range(2))
    standard.do(held, "disable")
    living = standard.create(seconds_until_expiration=3600)
    revoked = standard.create()
    standard.do(revoked, "revoke")
    deadline = time.monotonic() + 30
    while not standard.get(expired).json()["expired"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    now = int(time.time() * 1000)

    def purge(**times):
        return standard.call("POST", "/v1/api_keys/purge", json=times)

    assert purge().status_code == 400
    assert purge(expired_before=now - 3_600_000).json() == {"purged": 0, "has_more": False}
    assert purge(expired_before=now + 60_000).json() == {"purged": 1, "has_more": False}
    assert standard.get(expired).status_code == 404
    assert standard.use(expired["secret"]).status_code == 401
    assert all(standard.get(key).status_code == 200 for key in (held, living, revoked))
    assert purge(revoked_before=now + 60_000, expired_before=now + 60_000).json()["purged"] == 1
    assert all(standard.get(key).status_code == 200 for key in (held, living))


def test_the_command_line_lists_all_pages(standard):
    ids = [standard.create()["id"] for _ in range(7)]

    def keyreeve(*arguments):
        return subprocess.run(
            [harness.BINARY, *arguments, "--url", standard.server.url], capture_output=True, text=True, timeout=30,
            check=False, env={**harness.os.environ, "KEYREEVE_ROOT_KEY": standard.root_key})

    page = keyreeve("keys", "list", "--limit", "3", "-o", "json")
    assert len(json.loads(page.stdout)["data"]) == 3 and "--all-pages" in page.stderr
    everything = keyreeve("keys", "list", "--limit", "3", "--all-pages", "-o", "json")
    shown = json.loads(everything.stdout)
    assert [key["id"] for key in shown["data"]] == ids[::-1]
    assert "next_cursor" not in shown and everything.stderr == ""
