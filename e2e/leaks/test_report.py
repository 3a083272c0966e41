"""POST /v1/leaks: possession is enough, the answer reveals nothing, the policy decides."""
import pathlib

import pytest
import requests

from harness import Server, assert_error


def report(server, body):
    return requests.post(server.url + "/v1/leaks", json=body)


def tenant(server, slug, action=None, **policy):
    made = server.call("POST", "/v1/tenants", json={"slug": slug, "name": slug}).json()["root_key"]["secret"]
    wish = {**policy, **({"leaks": {"action": action}} if action else {})}
    answer = server.call("PUT", "/v1/policy", root_key=made, json=wish)
    assert answer.status_code == 200, answer.text
    return made


def key_of(server, root_key, name="found"):
    wish = {"name": name, "subject": "user_1"}
    return server.call("POST", "/v1/api_keys", root_key=root_key, json=wish).json()


def state(server, root_key, key):
    return server.call("GET", f"/v1/api_keys/{key['id']}", root_key=root_key).json()


def events(server, root_key, key):
    data = server.call("GET", f"/v1/api_keys/{key['id']}/events", root_key=root_key).json()["data"]
    return [event for event in data if event["action"] != "key.created"]


def seen(answer):
    headers = {name: value for name, value in answer.headers.items() if name.lower() not in ("date", "x-request-id")}
    return answer.status_code, headers, answer.content


def count(server, source, result):
    label = f'keyreeve_leak_reports_total{{source="{source}",result="{result}"}} '
    lines = requests.get(server.ops + "/metrics").text.splitlines()
    return int(next(line.split()[-1] for line in lines if line.startswith(label)))


def test_a_leaked_key_is_finally_revoked_by_default(server):
    before = count(server, "api", "revoked")
    key = server.create("found")
    assert server.verify(key["secret"])["valid"]
    where = "https://me:pass@github.com/o/r/blob/1a/x.py?token=1#L10"
    answer = report(server, {"secret": key["secret"], "source": "gitleaks", "url": where, "note": "in a commit"})
    assert answer.status_code == 202 and answer.json() == {"accepted": True}
    assert answer.headers["Cache-Control"] == "no-store"
    assert server.verify(key["secret"])["reason"] == "revoked"
    shown = state(server, server.root_key, key)
    assert (shown["state"], shown["reason_code"], shown["revoked_by"]) == ("revoked", "leaked", "system")
    words = "found by gitleaks at https://github.com/o/r/blob/1a/x.py#L10: in a commit"
    assert shown["revocation_reason"] == words
    leaked, revoked = events(server, server.root_key, key)
    assert [leaked["action"], revoked["action"]] == ["key.leaked", "key.revoked"]
    assert leaked["reason"] == words and leaked["address"] == "127.0.0.1"
    assert leaked["actor"] == {"type": "system", "id": "system"}
    assert leaked["request_id"] == answer.headers["X-Request-Id"] and leaked["subject"] == "user_1"
    assert count(server, "api", "revoked") == before + 1


@pytest.mark.parametrize("field", ["secret", "key"])
@pytest.mark.parametrize("slug, policy, expected", [
    ("switch", {"preset": "hold"}, "revoked"), ("eraser", {"preset": "erase"}, None),
    ("strict", {"revoke": {"reason": "required", "undo": 3600}}, "revoked"),
])
def test_a_leak_is_final_under_every_policy_of_revoking(server, field, slug, policy, expected):
    root_key = tenant(server, f"{slug}-{field}", **policy)
    key = key_of(server, root_key)
    assert report(server, {field: key["secret"]}).status_code == 202
    answer = server.call("GET", f"/v1/api_keys/{key['id']}", root_key=root_key)
    if expected:
        assert answer.json()["state"] == expected
    else:
        assert_error(answer, 404)
    assert not server.verify(key["secret"])["valid"]


def test_hold_waits_for_an_administrator(server):
    root_key = tenant(server, "holds", "hold")
    key = key_of(server, root_key)
    for _ in range(2):
        assert report(server, {"secret": key["secret"], "source": "ci"}).status_code == 202
    assert state(server, root_key, key)["state"] == "disabled"
    assert server.verify(key["secret"])["reason"] == "disabled"
    assert [event["action"] for event in events(server, root_key, key)] == ["key.leaked", "key.disabled", "key.leaked"]
    assert server.call("POST", f"/v1/api_keys/{key['id']}/reactivate", root_key=root_key, json={}).status_code == 200
    assert server.verify(key["secret"])["valid"]


def test_a_member_cannot_lift_a_hold_for_a_leak(server):
    headers = {"Keyreeve-Tenant": "members"}
    tenant(server, "members", "hold", reactivate={"sticky": False})
    user = server.call("POST", "/v1/users", headers=headers, json={"email": "a@example.com", "role": "member"}).json()
    acting = {**headers, "Keyreeve-Act-As": user["id"]}
    key = server.call("POST", "/v1/api_keys", headers=acting, json={"name": "x", "subject": user["id"]}).json()
    report(server, {"secret": key["secret"]})
    path = f"/v1/api_keys/{key['id']}/reactivate"
    assert_error(server.call("POST", path, headers=acting, json={}), 403)
    assert server.call("POST", path, headers=headers, json={}).status_code == 200


def test_notify_writes_down_and_changes_nothing(server):
    root_key = tenant(server, "notes", "notify")
    key = key_of(server, root_key)
    before = count(server, "api", "noted")
    assert report(server, {"secret": key["secret"], "source": "ci"}).status_code == 202
    assert server.verify(key["secret"])["valid"]
    (event,) = events(server, root_key, key)
    assert event["action"] == "key.leaked" and event["reason"] == "found by ci"
    assert count(server, "api", "noted") == before + 1


def test_the_answer_does_not_tell_whether_there_is_such_a_key(server):
    key = server.create("oracle")
    known = report(server, {"secret": key["secret"]})
    mistyped = key["secret"][:-1] + ("x" if key["secret"][-1] != "x" else "y")
    others = [key["secret"], mistyped, "nonsense", "ak_kr1" + "0" * 49, server.root_key, "é"]
    answers = [report(server, {"secret": secret}) for secret in others]
    batch = report(server, {"items": [{"secret": secret} for secret in others]})
    assert len({repr(seen(answer)) for answer in [known, *answers, batch]}) == 1
    assert server.call("GET", "/v1/api_keys").status_code == 200, "a root key is no API key"


def test_a_batch_reaches_every_tenant(server):
    one, two = tenant(server, "batch-1"), tenant(server, "batch-2", "hold")
    keys = [(root_key, key_of(server, root_key, f"k{number}")) for root_key in (one, two) for number in range(3)]
    items = [{"secret": key["secret"], "source": "ci", "url": "https://ci.example.com/"} for _, key in keys]
    assert report(server, {"items": items + [{"key": "nonsense"}]}).status_code == 202
    states = [state(server, root_key, key)["state"] for root_key, key in keys]
    assert states == ["revoked"] * 3 + ["disabled"] * 3


def test_a_replaced_secret_is_written_down_and_ends_nothing(server):
    key = server.create("rotated")
    new = server.call("POST", f"/v1/api_keys/{key['id']}/rotate", json={}).json()["secret"]
    assert report(server, {"secret": key["secret"], "source": "ci"}).status_code == 202
    assert server.verify(new)["valid"]
    last = events(server, server.root_key, key)[-1]
    assert last["action"] == "key.leaked" and "nothing any more" in last["reason"]


def test_reports_of_one_secret_are_bounded_in_the_log(server):
    key = server.create("again and again")
    body = {"items": [{"secret": key["secret"], "url": f"https://x/{number}"} for number in range(100)]}
    for _ in range(2):
        assert report(server, body).status_code == 202
    assert len(events(server, server.root_key, key)) == 11


def test_the_secret_is_never_kept(server):
    key = server.create("careless")
    secret = key["secret"]
    report(server, {"secret": secret, "source": "ci", "url": f"https://x/{secret}?k={secret}",
                    "note": f"{secret} and {secret.split('_kr1')[1]}"})
    log = server.call("GET", "/v1/audit_events?limit=100").text
    assert secret.split("_kr1")[1][:43] not in log and "found by ci at https://x/" in log
    if server.arguments == []:
        for path in pathlib.Path(server.data).rglob("*"):
            if path.is_file():
                assert secret.split("_kr1")[1][:43].encode() not in path.read_bytes(), path
    assert secret.split("_kr1")[1][:43] not in server.stderr()


@pytest.mark.parametrize("body, field", [
    ({}, "secret"), ({"secret": ""}, "secret"), ({"secret": 1}, "secret"), ({"secret": "x", "key": "x"}, "key"),
    ({"secret": "x", "source": "a b"}, "source"), ({"secret": "x", "source": "x" * 65}, "source"),
    ({"secret": "x", "url": "javascript:1"}, "url"), ({"secret": "x", "url": "https://x/" + "y" * 2000}, "url"),
    ({"secret": "x", "note": "y" * 1001}, "note"), ({"secret": "x", "note": "a\0b"}, "note"),
    ({"secret": "x", "colour": 1}, "colour"), ({"items": []}, "items"), ({"items": [{"secret": "x"}] * 101}, "items"),
    ({"items": [{"secret": "x"}], "secret": "x"}, "items"), ({"items": [{"secret": "x"}, {}]}, "items[1].secret"),
    ({"items": [{"secret": "x", "url": "x"}]}, "items[0].url"),
])
def test_a_wrong_report_is_refused(fresh_for_bad, body, field):
    error = assert_error(report(fresh_for_bad, body), 400, "BAD_REQUEST")
    assert error["errors"][0]["meta"]["param_name"] == field


@pytest.fixture(scope="module")
def fresh_for_bad():
    running = Server()
    yield running
    running.close()


def test_a_report_is_json_of_bounded_size(fresh_for_bad):
    url = fresh_for_bad.url + "/v1/leaks"
    assert_error(requests.post(url, data="secret=x", headers={"Content-Type": "text/plain"}), 415)
    assert_error(requests.post(url, data='{"secret":"' + "x" * 2_000_000 + '"}'), 413)
    assert_error(requests.post(url, data="[]"), 400)
    assert_error(requests.get(url), 405)
    assert_error(requests.post(fresh_for_bad.check + "/v1/leaks", json={"secret": "x"}), 404)


def test_requests_of_one_address_are_limited():
    server = Server()
    try:
        with requests.Session() as session:
            answers = [session.post(server.url + "/v1/leaks", json={"secret": "x"}) for _ in range(70)]
        assert {answer.status_code for answer in answers[:60]} == {202}
        limited = answers[-1]
        assert_error(limited, 429, "RATE_LIMITED")
        assert 1 <= int(limited.headers["Retry-After"]) <= 60
    finally:
        server.close()


def test_the_policy_decides_what_happens_to_a_leaked_key(server):
    root_key = tenant(server, "says")
    assert server.call("GET", "/v1/policy", root_key=root_key).json()["leaks"] == {"action": "revoke"}
    answer = server.call("PUT", "/v1/policy", root_key=root_key, json={"leaks": {"action": "sing"}})
    assert assert_error(answer, 400)["errors"][0]["meta"]["param_name"] == "leaks.action"
    document = server.call("GET", "/v1/policy", root_key=root_key).json()
    document["leaks"]["action"] = "notify"
    answer = server.call("PUT", "/v1/policy", root_key=root_key, json=document)
    assert answer.status_code == 200 and answer.json()["leaks"] == {"action": "notify"}
