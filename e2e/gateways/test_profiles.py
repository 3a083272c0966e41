"""The check listener itself, profile by profile, byte for byte."""
import base64
import json
import time

import pytest
from harness import assert_error
from real import ask, bearer

PROFILES = ["nginx", "caddy", "traefik", "envoy", "haproxy", "generic"]
IDENTITY = {"x-keyreeve-key-id", "x-keyreeve-tenant", "x-keyreeve-subject", "x-keyreeve-owner-type",
            "x-keyreeve-scopes", "x-keyreeve-environment", "x-keyreeve-meta"}
# Statuses that nginx accepts (G-04).
FOR_NGINX = {400: 403, 401: 401, 403: 403, 429: 403, 503: 403}


@pytest.fixture(scope="module")
def check(server):
    return lambda path, headers=(), **options: ask(server.addresses["check_listen"], path, headers, **options)


@pytest.fixture(scope="module")
def key(server):
    return server.create(name="good", subject="user_ada", scopes=["orders:read", "orders:list"])


def make(server, name, tenant=None, **fields):
    headers = {"Keyreeve-Tenant": tenant} if tenant else {}
    answer = server.call("POST", "/v1/check_policies", headers=headers, json={"name": name, **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()


def ours(answer):
    return {name.lower(): value for name, value in answer.headers.items() if name.lower().startswith("x-keyreeve-")}


def assert_denied(answer, profile, status, code):
    assert answer.status == (FOR_NGINX[status] if profile == "nginx" else status), answer
    body = answer.json()
    assert (body["code"], body["status"]) == (code, status)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Request-Id"] == body["request_id"]
    assert ours(answer) == {"x-keyreeve-status": str(status), "x-keyreeve-code": code}
    assert ("Retry-After" in answer.headers) == (status in (429, 503))


@pytest.mark.parametrize("profile", PROFILES)
def test_G01_G05_allow_is_200_with_every_header_and_nothing_else(check, key, profile):
    answer = check(f"/gateway/{profile}/default", [bearer(key["secret"])])
    assert (answer.status, answer.body) == (200, b"")
    assert ours(answer) == {
        "x-keyreeve-key-id": key["id"], "x-keyreeve-tenant": "default", "x-keyreeve-subject": "user_ada",
        "x-keyreeve-owner-type": "user", "x-keyreeve-scopes": "orders:read orders:list",
        "x-keyreeve-environment": "", "x-keyreeve-meta": "",
    }
    assert answer.headers["Cache-Control"] == "no-store" and answer.headers["Content-Length"] == "0"


@pytest.mark.parametrize("profile", PROFILES)
def test_G02_G03_G04_denials_have_status_challenge_and_problem_body(server, check, key, profile):
    path = f"/gateway/{profile}/default"
    missing = check(path)
    assert_denied(missing, profile, 401, "API_KEY_REQUIRED")
    assert missing.headers["WWW-Authenticate"] == 'Bearer realm="keyreeve"'
    invalid = check(path, [("X-API-Key", "nonsense")])
    assert_denied(invalid, profile, 401, "API_KEY_INVALID")
    assert invalid.headers["WWW-Authenticate"] == 'Bearer realm="keyreeve", error="invalid_token"'
    name = f"writers-{profile}"
    make(server, name, scopes=["orders:write", "orders:read"], realm="Acme API")
    scope = check(f"/gateway/{profile}/{name}", [bearer(key["secret"])])
    assert_denied(scope, profile, 403, "INSUFFICIENT_SCOPE")
    expected = 'Bearer realm="Acme API", error="insufficient_scope", scope="orders:write orders:read"'
    assert scope.headers["WWW-Authenticate"] == expected
    both = check(path, [bearer(key["secret"]), ("X-API-Key", "other")])
    assert_denied(both, profile, 400, "AMBIGUOUS_CREDENTIALS")
    for nobodys in ("nowhere", "acme:default", "a:b:c", "Default", "%64efault", ".."):
        assert_denied(check(f"/gateway/{profile}/{nobodys}", [bearer(key["secret"])]), profile, 403,
                      "CHECK_POLICY_UNKNOWN")


def test_G07_G09_only_the_beginning_of_the_path_counts(check, key):
    held = [bearer(key["secret"])]
    for path in ("/gateway/envoy/default/", "/gateway/envoy/default/v1/orders?x=1", "/gateway/envoy/default?policy=x",
                 "/gateway/envoy/default/../../v1/api_keys", "/gateway/envoy/default/%2e%2e/%00",
                 "/gateway/envoy/default//gateway/envoy/nowhere", "/gateway/envoy/default?" + "x" * 4000):
        for method in ("GET", "POST", "DELETE", "PROPFIND", "OPTIONS"):
            answer = check(path, held, method=method)
            assert (answer.status, answer.body) == (200, b""), (method, path)
            assert check(path, method=method).status == 401
    assert check("/gateway/envoy/default", held, method="HEAD").status == 200
    assert check("/gateway/envoy/default", held, method="POST", body=b"x" * 10_000).status == 200


def test_G10_gateways_are_answered_by_the_check_listener_and_nothing_else_is(server, check, key):
    host = server.addresses["listen"]
    assert ask(host, "/gateway/nginx/default", [bearer(key["secret"])]).status == 404
    for path in ("/", "/v1/api_keys", "/keys", "/login", "/gateway", "/gateway/", "/gateway/nginx",
                 "/gateway/apache/default", "/gateway/../v1/api_keys"):
        assert check(path, [bearer(server.root_key)]).status == 404, path


@pytest.mark.parametrize("headers", [
    [("Authorization", "Bearer {0}"), ("Authorization", "Bearer {0}")],
    [("Authorization", "Bearer {0}"), ("Authorization", "Basic eDp5")],
    [("Authorization", "Bearer {0}, Bearer {0}")],
    [("Authorization", "Bearer {0},{0}")],
    [("X-API-Key", "{0}"), ("x-api-key", "{0}")],
    [("X-API-Key", "{0},")],
    [("Authorization", "Bearer {0}"), ("X-API-Key", "ak_other")],
])
def test_G11_whatever_could_be_two_keys_is_refused(check, key, headers):
    sent = [(name, value.format(key["secret"])) for name, value in headers]
    assert_denied(check("/gateway/generic/default", sent), "generic", 400, "AMBIGUOUS_CREDENTIALS")


def test_G11_a_policy_says_where_the_key_is(server, check, key):
    make(server, "own-header", key_headers=["X-Acme-Key"])
    path, secret = "/gateway/generic/own-header", key["secret"]
    assert check(path, [("X-Acme-Key", secret), ("Authorization", "Bearer a.jwt.of-somebody-else")]).status == 200
    assert_denied(check(path, [bearer(secret)]), "generic", 401, "API_KEY_REQUIRED")
    assert_denied(check(f"/gateway/generic/default?api_key={secret}&access_token={secret}"), "generic", 401,
                  "API_KEY_REQUIRED")


def test_G13_a_gateway_can_be_asked_for_a_credential_of_its_own(server, check, key):
    make(server, "private", gateway_credential="required")
    path, held = "/gateway/generic/private", bearer(key["secret"])

    def root_key(*permissions, tenant="default"):
        wish = {"name": "gateway", "permissions": list(permissions), "tenant": tenant}
        return server.call("POST", "/v1/root_keys", json=wish).json()

    server.call("POST", "/v1/tenants", json={"slug": "elsewhere", "name": "Elsewhere"})
    good, weak = root_key("keys:verify"), root_key("keys:read")
    foreign = root_key("keys:verify", tenant="elsewhere")
    for shown in [[], [""], [key["secret"]], ["kr_root_kr1x"], [weak["secret"]], [foreign["secret"]],
                  [good["secret"]] * 2]:
        denied = check(path, [held] + [("X-Keyreeve-Gateway", value) for value in shown])
        assert_denied(denied, "generic", 403, "GATEWAY_CREDENTIAL_REQUIRED")
    assert check(path, [held, ("X-Keyreeve-Gateway", good["secret"])]).status == 200
    assert check(path, [held, ("X-Keyreeve-Gateway", server.root_key)]).status == 200
    assert_denied(check(path, [("X-Keyreeve-Gateway", good["secret"])]), "generic", 401, "API_KEY_REQUIRED")
    server.call("DELETE", f"/v1/root_keys/{good['id']}")
    denied = check(path, [held, ("X-Keyreeve-Gateway", good["secret"])])
    assert_denied(denied, "generic", 403, "GATEWAY_CREDENTIAL_REQUIRED")


def test_G14_how_long_an_answer_may_be_kept_is_the_operators_choice_and_has_an_end(server, check, key):
    make(server, "kept", cache_max_age_seconds=5)
    answer = check("/gateway/nginx/kept", [bearer(key["secret"])])
    assert answer.headers["Cache-Control"] == "max-age=5"
    assert answer.headers.get_all("Vary") == ["authorization", "x-api-key"]
    assert check("/gateway/nginx/kept", [bearer("x")]).headers["Cache-Control"] == "no-store"
    brief = server.create(name="brief", subject="user_ada", seconds_until_expiration=3)
    kept = check("/gateway/nginx/kept", [bearer(brief["secret"])]).headers["Cache-Control"]
    assert kept in ("max-age=2", "max-age=1"), "never past the key's end"
    too_long = server.call("PATCH", "/v1/check_policies/kept", json={"cache_max_age_seconds": 16})
    assert assert_error(too_long, 400, "BAD_REQUEST")["errors"][0]["meta"]["param_name"] == "cache_max_age_seconds"


@pytest.mark.parametrize("subject, header, owner", [
    ("org_1", "org_1", "org"),
    ("auth0|ada@example.org", "auth0|ada@example.org", ""),
    ("a b", "a%20b", ""),
    ("größe 日本", "gr%C3%B6%C3%9Fe%20%E6%97%A5%E6%9C%AC", ""),
    ('x", X-Keyreeve-Scopes: admin', "x%22%2C%20X-Keyreeve-Scopes:%20admin", ""),
    ("100%", "100%25", ""),
])
def test_a_subject_of_any_letters_is_one_harmless_header(server, check, subject, header, owner):
    made = server.create(name=f"of {subject}", subject=subject)
    found = ours(check("/gateway/generic/default", [bearer(made["secret"])]))
    assert (found["x-keyreeve-subject"], found["x-keyreeve-owner-type"]) == (header, owner)
    assert set(found) == IDENTITY


def test_meta_is_handed_on_where_the_policy_says_so_and_refused_where_it_does_not_fit(server, check):
    make(server, "with-meta", meta=True)
    claims = {"plan": "größe", "n": [1, 2]}
    made = server.create(name="with claims", subject="user_ada", claims=claims)
    meta = ours(check("/gateway/generic/with-meta", [bearer(made["secret"])]))["x-keyreeve-meta"]
    assert json.loads(base64.urlsafe_b64decode(meta + "=" * (-len(meta) % 4))) == claims
    assert ours(check("/gateway/generic/default", [bearer(made["secret"])]))["x-keyreeve-meta"] == ""
    large = server.create(name="large", subject="user_ada", claims={"x": "y" * 5000})
    assert_denied(check("/gateway/generic/with-meta", [bearer(large["secret"])]), "generic", 503,
                  "SERVICE_UNAVAILABLE")
    assert check("/gateway/generic/default", [bearer(large["secret"])]).status == 200


def test_a_tenant_is_named_in_the_path_and_keys_of_others_are_unknown_there(server, check, key):
    server.call("POST", "/v1/tenants", json={"slug": "acme", "name": "Acme"})
    policy = {"preset": "standard", "prefix": "acme_live"}
    assert server.call("PUT", "/v1/policy", headers={"Keyreeve-Tenant": "acme"}, json=policy).status_code == 200
    made = server.call("POST", "/v1/api_keys", headers={"Keyreeve-Tenant": "acme"},
                       json={"name": "theirs", "subject": "user_bob"}).json()
    allowed = check("/gateway/generic/acme:default", [bearer(made["secret"])])
    assert ours(allowed)["x-keyreeve-tenant"] == "acme" and ours(allowed)["x-keyreeve-environment"] == "live"
    for path, secret in (("/gateway/generic/acme:default", key["secret"]), ("/gateway/generic/default", made["secret"])):
        assert_denied(check(path, [bearer(secret)]), "generic", 401, "API_KEY_INVALID")
    server.call("PATCH", "/v1/tenants/acme", json={"status": "suspended"})
    assert_denied(check("/gateway/generic/acme:default", [bearer(made["secret"])]), "generic", 401, "API_KEY_INVALID")
    server.call("PATCH", "/v1/tenants/acme", json={"status": "active"})
    assert check("/gateway/generic/acme:default", [bearer(made["secret"])]).status == 200


def test_every_state_of_a_key_has_its_answer(server, check):
    def state(path, change, status, code):
        made = server.create(name=f"to be {path or 'expired'}", subject="user_states", **change)
        if path:
            assert server.call("POST", f"/v1/api_keys/{made['id']}/{path}", json={}).status_code == 200
        else:
            time.sleep(1.1)
        assert_denied(check("/gateway/generic/default", [bearer(made["secret"])]), "generic", status, code)

    state("revoke", {}, 401, "API_KEY_INVALID")
    state("rotate", {}, 401, "API_KEY_INVALID")
    state("disable", {}, 403, "API_KEY_DISABLED")
    state(None, {"seconds_until_expiration": 1}, 401, "API_KEY_EXPIRED")


def test_a_gateways_questions_are_counted_like_all_others(server, check):
    made = server.create(name="counted", subject="user_counted")
    for _ in range(3):
        assert check("/gateway/caddy/default", [bearer(made["secret"])]).status == 200
    check("/gateway/caddy/default", [bearer("nonsense")])
    metrics = ask(server.addresses["ops_listen"], "/metrics").body.decode()
    count = {name: float(value) for name, value in (line.rsplit(" ", 1) for line in metrics.splitlines() if line and line[0] != "#")}
    assert count['keyreeve_verifications_total{outcome="valid",via="gateway"}'] >= 3
    assert count['keyreeve_verifications_total{outcome="malformed",via="gateway"}'] >= 1
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        hours = server.call("GET", f"/v1/api_keys/{made['id']}/usage").json()["data"]
        if sum(hour["count"] for hour in hours if hour["outcome"] == "valid") == 3:
            return
        time.sleep(0.2)
    raise AssertionError(hours)


def test_no_key_reaches_the_log(server, check, key):
    for path in (f"/gateway/generic/default?key={key['secret']}", f"/gateway/generic/{key['secret']}",
                 f"/gateway/{key['secret']}/default", f"/gateway/generic/default/{key['secret']}"):
        check(path, [bearer(key["secret"]), ("X-Request-Id", "req-1")])
    assert key["secret"] not in server.stderr()


def test_what_cannot_be_framed_or_read_is_refused(check):
    assert check("/gateway/generic/default", [("Authorization", "Bearer " + "x" * 60_000)]).status == 401
    assert check("/gateway/generic/default", [("Content-Length", "1"), ("Transfer-Encoding", "chunked")]).status == 400
    assert check("/gateway/generic/" + "x" * 60_000, []).status in (403, 414, 431)


def test_G13_unknown_keys_are_limited_by_end_user(check, key):
    def ask_from(address, secret):
        return check("/gateway/generic/default", [("X-API-Key", secret), ("X-Forwarded-For", address)])

    wrong = "ak_kr1" + "0" * 49
    answers = [ask_from("198.51.100.9", wrong) for _ in range(601)]
    assert {answer.status for answer in answers[:600]} == {401}
    for _ in range(100):
        # One use comes back every tenth of a second.
        last = ask_from("198.51.100.9", wrong)
        if last.status == 429:
            break
    assert last.status == 429 and last.json()["code"] == "RATE_LIMITED", last
    assert int(last.headers["Retry-After"]) >= 1
    assert ask_from("198.51.100.9", key["secret"]).status == 200, "a good key is good from there too"
    assert ask_from("198.51.100.10", wrong).status == 401


def test_G14_no_gateway_keeps_the_answer_for_a_key_whose_uses_are_counted(server, check, key):
    make(server, "kept-counted", cache_max_age_seconds=5)
    limited = server.create("limited", limits=[{"name": "few", "limit": 2, "seconds": 3600}])
    kept = check("/gateway/generic/kept-counted", [bearer(key["secret"])])
    assert kept.headers["Cache-Control"] == "max-age=5"
    assert "RateLimit" not in kept.headers
    counted = check("/gateway/generic/kept-counted", [bearer(limited["secret"])])
    assert (counted.status, counted.headers["Cache-Control"]) == (200, "no-store")
    assert counted.headers["RateLimit"].startswith('"few";r=1;t=')
