"""RFC 7009: POST /oauth2/revoke, by possession alone."""
import pytest
import requests

from harness import Server

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def revoke(server, token, **fields):
    return requests.post(server.url + "/oauth2/revoke", data={"token": token, **fields})


def seen(answer):
    """The parts of an answer by which a client could distinguish two cases."""
    headers = {name: value for name, value in answer.headers.items() if name.lower() not in ("date", "x-request-id")}
    return answer.status_code, headers, answer.content


def events(server, key, action):
    data = server.call("GET", f"/v1/api_keys/{key['id']}/events").json()["data"]
    return [event for event in data if event["action"] == action]


def test_the_holder_of_a_secret_ends_its_key(server):
    key = server.create("held")
    assert server.verify(key["secret"])["valid"]
    answer = revoke(server, key["secret"], token_type_hint="access_token", unknown="ignored")
    assert answer.status_code == 200 and answer.headers["Cache-Control"] == "no-store"
    assert server.verify(key["secret"])["reason"] == "revoked"
    (event,) = events(server, key, "key.revoked")
    assert event["actor"] == {"type": "key", "id": key["id"]}
    assert "/oauth2/revoke" in event["reason"] and event["address"] == "127.0.0.1"
    assert event["request_id"] == answer.headers["X-Request-Id"]
    shown = server.call("GET", f"/v1/api_keys/{key['id']}").json()
    assert (shown["state"], shown["revoked_by"], shown["reason_code"]) == ("revoked", key["id"], "unspecified")


def test_the_answer_does_not_tell_whether_there_is_such_a_key(server):
    key = server.create("oracle")
    known = revoke(server, key["secret"])
    again = revoke(server, key["secret"])
    mistyped = key["secret"][:-1] + ("x" if key["secret"][-1] != "x" else "y")
    unknown = [revoke(server, token) for token in ["nonsense", mistyped, "ak_kr1" + "0" * 49, server.root_key, "é"]]
    assert len({repr(seen(answer)) for answer in [known, again, *unknown]}) == 1
    assert known.status_code == 200
    assert len(events(server, key, "key.revoked")) == 1
    assert server.call("GET", "/v1/api_keys").status_code == 200, "a root key does not end itself here"


@pytest.mark.parametrize("state", ["disabled", "retiring"])
def test_a_key_that_is_on_hold_or_changing_its_secret_is_ended_too(server, state):
    key = server.create(f"is {state}")
    verb, body = ("disable", {}) if state == "disabled" else ("rotate", {"overlap_seconds": 60})
    assert server.call("POST", f"/v1/api_keys/{key['id']}/{verb}", json=body).status_code == 200
    assert revoke(server, key["secret"]).status_code == 200
    assert server.call("GET", f"/v1/api_keys/{key['id']}").json()["state"] == "revoked"


def test_a_secret_that_was_replaced_ends_nothing(server):
    key = server.create("rotated")
    new = server.call("POST", f"/v1/api_keys/{key['id']}/rotate", json={}).json()["secret"]
    assert revoke(server, key["secret"]).status_code == 200
    assert server.verify(new)["valid"]


def test_a_reason_can_be_given_and_a_leak_is_final_under_every_policy(server):
    made = server.call("POST", "/v1/tenants", json={"slug": "switch", "name": "Switch", "preset": "hold"}).json()
    root_key = made["root_key"]["secret"]

    def key(name):
        wish = {"name": name, "subject": "s"}
        return server.call("POST", "/v1/api_keys", root_key=root_key, json=wish).json()

    def state(key):
        return server.call("GET", f"/v1/api_keys/{key['id']}", root_key=root_key).json()

    held, leaked = key("held"), key("leaked")
    revoke(server, held["secret"])
    assert state(held)["state"] == "disabled"
    revoke(server, leaked["secret"], reason_code="leaked", revocation_reason="pushed to a public repository")
    assert state(leaked)["state"] == "revoked" and state(leaked)["reason_code"] == "leaked"
    assert state(leaked)["revocation_reason"] == "pushed to a public repository"


def test_possession_is_enough_where_a_reason_is_required(server):
    made = server.call("POST", "/v1/tenants", json={"slug": "reasons", "name": "R"}).json()
    root_key = made["root_key"]["secret"]
    answer = server.call("PUT", "/v1/policy", root_key=root_key, json={"revoke": {"reason": "required"}})
    assert answer.status_code == 200
    key = server.call("POST", "/v1/api_keys", root_key=root_key, json={"name": "x", "subject": "s"}).json()
    assert revoke(server, key["secret"]).status_code == 200
    assert server.call("GET", f"/v1/api_keys/{key['id']}", root_key=root_key).json()["state"] == "revoked"


@pytest.mark.parametrize("body, status", [
    ("", 400), ("token", 400), ("token=", 400), ("token=a&token=b", 400), ("token=a&reason_code=bored", 400),
    ("token=a&revocation_reason=" + "x" * 2001, 400), ("token=" + "a" * 100_000, 413),
])
def test_a_malformed_request_is_refused(server, body, status):
    answer = requests.post(server.url + "/oauth2/revoke", headers=FORM, data=body)
    assert answer.status_code == status
    assert answer.json()["error"] == "invalid_request"


def test_another_method_type_or_place_is_refused(server):
    key = server.create("stays")
    for answer, status in [
        (requests.get(f"{server.url}/oauth2/revoke?token={key['secret']}"), 405),
        (requests.post(f"{server.url}/oauth2/revoke?token={key['secret']}", data={"token": key["secret"]}), 400),
        (requests.post(server.url + "/oauth2/revoke", json={"token": key["secret"]}), 415),
        (requests.post(server.check + "/oauth2/revoke", data={"token": key["secret"]}), 404),
    ]:
        assert answer.status_code == status, answer.text
    assert server.verify(key["secret"])["valid"]


def test_requests_of_one_address_are_limited():
    server = Server()
    try:
        with requests.Session() as session:
            def status():
                return session.post(server.url + "/oauth2/revoke", data={"token": "x"})

            answers = [status() for _ in range(330)]
        limited = [answer for answer in answers if answer.status_code == 429]
        assert all(answer.status_code in (200, 429) for answer in answers)
        assert {answer.status_code for answer in answers[:300]} == {200} and len(limited) >= 20
        assert 1 <= int(limited[0].headers["Retry-After"]) <= 60
        assert limited[0].json()["code"] == "RATE_LIMITED"
    finally:
        server.close()
