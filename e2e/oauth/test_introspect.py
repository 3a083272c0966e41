"""RFC 7662: POST /oauth2/introspect."""
import base64
import time

import pytest
import requests

from harness import Server, assert_error

INACTIVE = b'{"active":false}'


def introspect(server, token, root_key=None, **fields):
    form = {"token": token, **fields}
    return server.call("POST", "/oauth2/introspect", root_key=root_key, data=form)


def basic(name, secret):
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()}


def assert_oauth_error(answer, status, word):
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    body = answer.json()
    assert body["error"] == word and body["error_description"], body
    assert body["request_id"] == answer.headers["X-Request-Id"]
    return body


@pytest.fixture(scope="module")
def key(server):
    return server.create("introspected", subject="user_7", scopes=["read", "write"], claims={"plan": "pro"},
                         seconds_until_expiration=86_400)


@pytest.fixture(scope="module")
def other(server):
    answer = server.call("POST", "/v1/tenants", json={"slug": "other", "name": "Other"})
    assert answer.status_code == 201
    return answer.json()["root_key"]


def test_a_good_key_is_active_with_everything_that_a_gateway_needs(server, key):
    answer = introspect(server, key["secret"], token_type_hint="access_token", unknown="ignored")
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    body, now = answer.json(), time.time()
    assert now + 50 < body.pop("exp") <= now + 60
    issued = key["created_at"] // 1000
    assert body.pop("keyreeve").items() >= {
        "tenant": "default", "key_id": key["id"], "name": "introspected", "scopes": ["read", "write"],
        "claims": {"plan": "pro"}, "expiration": key["expiration"]}.items()
    assert abs(body.pop("iat") - issued) <= 1 and abs(body.pop("nbf") - issued) <= 1
    assert body == {"active": True, "scope": "read write", "client_id": key["id"], "token_type": "Bearer",
                    "sub": "user_7", "aud": "default", "iss": server.url, "jti": key["id"]}


def test_a_caller_shows_a_root_key_by_http_basic_or_as_a_bearer(server, key):
    made = server.call("POST", "/v1/root_keys", json={"name": "gateway", "permissions": ["keys:verify"]}).json()
    form = {"token": key["secret"]}
    for headers in [basic(made["id"], made["secret"]), basic("my-gateway", made["secret"]), basic("", made["secret"]),
                    {"Authorization": f"bearer {made['secret']}"}]:
        answer = requests.post(server.url + "/oauth2/introspect", headers=headers, data=form)
        assert answer.json()["active"] is True, answer.text


def test_whatever_is_wrong_with_a_token_the_answer_is_the_same(server, other):
    def made(name, **fields):
        return server.create(name, subject="user_wrong", **fields)

    revoked, disabled, rotated, deleted = made("revoked"), made("disabled"), made("rotated"), made("deleted")
    short = made("expires", seconds_until_expiration=1)
    server.call("POST", f"/v1/api_keys/{revoked['id']}/revoke", json={})
    server.call("POST", f"/v1/api_keys/{disabled['id']}/disable", json={})
    server.call("POST", f"/v1/api_keys/{rotated['id']}/rotate", json={})
    server.call("DELETE", f"/v1/api_keys/{deleted['id']}")
    time.sleep(1.1)
    mistyped = short["secret"][:-1] + ("x" if short["secret"][-1] != "x" else "y")
    wrong = [revoked["secret"], disabled["secret"], rotated["secret"], deleted["secret"], short["secret"], mistyped,
             "nonsense", "é" * 50, "x" * 10_000, server.root_key, other["secret"], "ak_kr1" + "0" * 49]
    for token in wrong:
        answer = introspect(server, token)
        assert (answer.status_code, answer.content) == (200, INACTIVE), token
        assert answer.headers["Cache-Control"] == "no-store"


def test_a_tenants_root_key_sees_only_its_own_tenants_keys(server, key, other):
    assert introspect(server, key["secret"], root_key=other["secret"]).content == INACTIVE
    theirs = server.call("POST", "/v1/api_keys", root_key=other["secret"], json={"name": "x", "subject": "s"}).json()
    assert introspect(server, theirs["secret"], root_key=other["secret"]).json()["aud"] == "other"
    assert introspect(server, theirs["secret"]).json()["active"] is True


def test_a_retiring_secret_is_active_until_it_retires(server):
    first = server.create("retires", subject="user_r")
    answer = server.call("POST", f"/v1/api_keys/{first['id']}/rotate", json={"overlap_seconds": 5})
    until = answer.json()["retiring_until"]
    assert introspect(server, first["secret"]).json()["exp"] == until // 1000
    assert introspect(server, answer.json()["secret"]).json()["exp"] > until // 1000


def test_a_revoked_key_is_inactive_at_once(server):
    key = server.create("ends", subject="user_e")
    assert introspect(server, key["secret"]).json()["active"] is True
    server.call("POST", f"/v1/api_keys/{key['id']}/revoke", json={})
    assert introspect(server, key["secret"]).content == INACTIVE


def test_an_unauthorized_caller_gets_the_challenges(server, key):
    form = {"token": key["secret"]}
    few = server.call("POST", "/v1/root_keys", json={"name": "few", "permissions": ["keys:read"]}).json()
    good = server.call("POST", "/v1/root_keys", json={"name": "good", "permissions": ["keys:verify"]}).json()
    for headers in [{}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Basic nonsense"},
                    {"Authorization": f"Bearer {key['secret']}"}, basic("x", "y"), basic("x", key["secret"]),
                    {"Authorization": "Digest x"}, basic(few["id"], good["secret"])]:
        answer = requests.post(server.url + "/oauth2/introspect", headers=headers, data=form)
        assert_oauth_error(answer, 401, "invalid_client")
        challenge = answer.headers["WWW-Authenticate"]
        assert challenge.startswith("Bearer ") and "Basic " in challenge, challenge
    answer = introspect(server, key["secret"], root_key=few["secret"])
    assert_oauth_error(answer, 403, "insufficient_scope")
    assert 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]


@pytest.mark.parametrize("body, status", [
    ("", 400), ("token", 400), ("token=", 400), ("token_type_hint=access_token", 400),
    ("token=a&token=b", 400), ("token=a&token=a", 400), ("token=a&x=1&x=2", 400),
    ("&".join(f"p{n}=1" for n in range(200)), 400), ("token=" + "a" * 100_000, 413),
])
def test_a_malformed_request_is_refused(server, body, status):
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = server.call("POST", "/oauth2/introspect", headers=headers, data=body)
    assert_oauth_error(answer, status, "invalid_request")


def test_a_token_belongs_into_a_form_in_the_body(server, key):
    headers = {"Content-Type": "application/json"}
    answer = server.call("POST", "/oauth2/introspect", headers=headers, json={"token": key["secret"]})
    assert_oauth_error(answer, 415, "invalid_request")
    answer = server.call("POST", f"/oauth2/introspect?token={key['secret']}", data={"token": key["secret"]})
    assert_oauth_error(answer, 400, "invalid_request")
    answer = server.call("GET", f"/oauth2/introspect?token={key['secret']}")
    assert_oauth_error(answer, 405, "invalid_request")
    answer = server.call("POST", "/oauth2/nothing", headers={"Accept": "text/html"})
    assert_oauth_error(answer, 404, "invalid_request")


def test_two_credentials_are_refused(server, key):
    headers = {"Authorization": f"Bearer {server.root_key}, Bearer {server.root_key}"}
    answer = requests.post(server.url + "/oauth2/introspect", headers=headers, data={"token": key["secret"]})
    assert_oauth_error(answer, 400, "invalid_request")


def test_it_is_not_on_the_check_listener(server, key):
    headers = {"Authorization": f"Bearer {server.root_key}"}
    answer = requests.post(server.check + "/oauth2/introspect", headers=headers, data={"token": key["secret"]})
    assert answer.status_code == 404


def test_questions_are_counted_as_introspections(server, key):
    def count(outcome):
        label = f'keyreeve_verifications_total{{outcome="{outcome}",via="introspect"}} '
        lines = requests.get(server.ops + "/metrics").text.splitlines()
        return int(next(line.split()[-1] for line in lines if line.startswith(label)))

    before = count("valid"), count("malformed")
    introspect(server, key["secret"])
    introspect(server, "nonsense")
    assert (count("valid"), count("malformed")) == (before[0] + 1, before[1] + 1)
    usage = server.call("GET", f"/v1/api_keys/{key['id']}/usage").json()
    assert sum(hour["count"] for hour in usage["data"] if hour["outcome"] == "valid") >= 2


@pytest.mark.parametrize("how", ["flag", "variable", "file"])
def test_exp_is_never_later_than_the_setting_says(how, tmp_path):
    settings = tmp_path / "keyreeve.toml"
    settings.write_text('public_url = "https://keys.example.com/"\n[introspection]\nmax_exp = "5s"\n')
    server = {
        "flag": lambda: Server(arguments=["--introspection-max-exp", "5s", "--public-url", "https://keys.example.com"]),
        "variable": lambda: Server(environment={"KEYREEVE_INTROSPECTION_MAX_EXP": "5s",
                                                "KEYREEVE_PUBLIC_URL": "https://keys.example.com"}),
        "file": lambda: Server(arguments=["--config", str(settings)]),
    }[how]()
    try:
        body = introspect(server, server.create("short")["secret"]).json()
        assert time.time() + 3 < body["exp"] <= time.time() + 5
        assert body["iss"] == "https://keys.example.com"
        assert "warning" not in server.stderr()
    finally:
        server.close()
