"""Bad requests: credentials, addresses, queries, ids, methods."""
import pytest
import requests

from harness import assert_error

ZERO = "ak_" + "0" * 32


@pytest.fixture(scope="module")
def key(server):
    return server.create("hostile")


@pytest.fixture(scope="module")
def tenant(server):
    answer = server.call("POST", "/v1/tenants", json={"slug": "other", "name": "Other", "preset": "keep"})
    assert answer.status_code == 201
    return answer.json()


def test_a_call_without_a_root_key_is_401(server):
    for path in ["/v1/api_keys", "/v1/root_keys", "/v1/tenants", f"/v1/api_keys/{ZERO}"]:
        answer = requests.get(server.url + path)
        assert_error(answer, 401)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    for path in ["/v1/verify", "/v1/verify/batch", "/api_keys/verify"]:
        assert_error(requests.post(server.url + path, json={}), 401)


@pytest.mark.parametrize("value", ["Bearer", "Bearer ", "Basic abc", "Bearer nonsense", "Bearer ak_kr1" + "0" * 49])
def test_a_wrong_credential_is_401(server, value):
    answer = requests.get(server.url + "/v1/api_keys", headers={"Authorization": value})
    assert_error(answer, 401)


def test_an_api_key_is_no_root_key(server, key):
    assert_error(server.call("GET", "/v1/api_keys", root_key=key["secret"]), 401, "clerk_key_invalid")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
def test_the_scheme_counts_in_any_case(server, scheme):
    headers = {"Authorization": f"{scheme} {server.root_key}"}
    assert requests.get(server.url + "/v1/api_keys", headers=headers).status_code == 200


def test_a_permission_that_is_missing_is_403(server, key):
    def root_key(*permissions):
        answer = server.call("POST", "/v1/root_keys", json={"name": "few", "permissions": list(permissions)})
        assert answer.status_code == 201
        return answer.json()["secret"]

    reader, verifier = root_key("keys:read"), root_key("keys:verify")
    assert server.call("GET", "/v1/api_keys", root_key=reader).status_code == 200
    path = f"/v1/api_keys/{key['id']}"
    for method, where, body in [
        ("POST", "/v1/api_keys", {"name": "x", "subject": "s"}),
        ("POST", "/v1/api_keys/batch", {"items": [{"name": "x", "subject": "s"}]}),
        ("PATCH", path, {}), ("DELETE", path, None), ("POST", path + "/revoke", {}), ("POST", path + "/disable", {}),
        ("POST", path + "/reactivate", {}), ("POST", path + "/rotate", {}), ("POST", path + "/rotate/finish", None),
        ("POST", path + "/limits/reset", None),
        ("POST", "/api_keys/verify", {"secret": "x"}),
    ]:
        assert_error(server.call(method, where, root_key=reader, json=body), 403, "authorization_invalid")
    for method, where, body in [
        ("GET", "/v1/root_keys", None), ("POST", "/v1/root_keys", {"name": "x", "permissions": []}),
        ("DELETE", "/v1/root_keys/rk_" + "0" * 32, None), ("GET", "/v1/tenants", None),
        ("POST", "/v1/tenants", {"slug": "x", "name": "x"}), ("POST", "/v1/verify", {"key": "x"}),
        ("POST", "/v1/verify/batch", {"items": [{"key": "x"}]}),
    ]:
        assert_error(server.call(method, where, root_key=reader, json=body), 403, "PERMISSION_DENIED")
    for where in ["/v1/api_keys", path, path + "/secret", path + "/limits"]:
        assert_error(server.call("GET", where, root_key=verifier), 403, "authorization_invalid")
    assert server.call("POST", "/v1/verify", root_key=verifier, json={"key": "x"}).status_code == 200


def test_a_caller_cannot_grant_a_permission_that_it_lacks(server):
    few = server.call("POST", "/v1/root_keys", json={"name": "few", "permissions": ["root_keys:write"]}).json()
    wish = {"name": "more", "permissions": ["keys:write"]}
    assert_error(server.call("POST", "/v1/root_keys", root_key=few["secret"], json=wish), 403, "PERMISSION_DENIED")


def test_a_revoked_root_key_is_dead_at_once(server):
    made = server.call("POST", "/v1/root_keys", json={"name": "short", "permissions": ["keys:read"]}).json()
    assert server.call("GET", "/v1/api_keys", root_key=made["secret"]).status_code == 200
    for _ in range(2):
        assert server.call("DELETE", f"/v1/root_keys/{made['id']}").json()["revoked_at"] is not None
    assert_error(server.call("GET", "/v1/api_keys", root_key=made["secret"]), 401, "clerk_key_invalid")


def test_another_tenants_key_is_as_unknown_as_none(server, tenant, key):
    other = tenant["root_key"]["secret"]
    same = {"X-Request-Id": "same"}
    for method, end, body in [
        ("GET", "", None), ("PATCH", "", {"name": "x"}), ("DELETE", "", None), ("POST", "/revoke", {}),
        ("POST", "/disable", {}), ("POST", "/reactivate", {}), ("POST", "/rotate", {}), ("GET", "/secret", None),
    ]:
        theirs = server.call(method, f"/v1/api_keys/{key['id']}{end}", root_key=other, headers=same, json=body)
        nobodys = server.call(method, f"/v1/api_keys/{ZERO}{end}", root_key=other, headers=same, json=body)
        assert_error(theirs, 404, "resource_not_found")
        assert theirs.content == nobodys.content
    verdict = server.call("POST", "/v1/verify", root_key=other, json={"key": key["secret"]}).json()
    assert (verdict["valid"], verdict["reason"]) == (False, "unknown")
    answer = server.call("GET", "/v1/api_keys", root_key=other, headers={"Keyreeve-Tenant": "default"})
    assert_error(answer, 404)
    assert server.verify(key["secret"])["valid"]


def test_an_instance_root_key_verifies_keys_of_every_tenant(server, tenant):
    made = server.call(
        "POST", "/v1/api_keys", headers={"Keyreeve-Tenant": "other"}, json={"name": "x", "subject": "s"}
    ).json()
    assert server.verify(made["secret"])["tenant"] == "other"
    for slug in ["nobody", "", "NOT a slug"]:
        assert server.call("GET", "/v1/api_keys", headers={"Keyreeve-Tenant": slug}).status_code in (400, 404)
    assert_error(server.call("POST", "/v1/tenants", json={"slug": "other", "name": "x"}), 409, "SLUG_TAKEN")


def test_one_changed_letter_anywhere_is_refused_without_a_look_up(server, key):
    for place in range(len(key["secret"])):
        letter = "b" if key["secret"][place] == "a" else "a"
        secret = key["secret"][:place] + letter + key["secret"][place + 1:]
        verdict = server.verify(secret)
        assert (verdict["valid"], verdict["reason"], verdict["source"]) == (False, "malformed", "memory"), place
    assert server.verify(key["secret"])["valid"]


@pytest.mark.parametrize("secret", ["a" * 10_000, "é" * 100, "ak_kr1", " ", "\0", "ak_kr1" + "0" * 50])
def test_what_is_no_key_is_malformed(server, secret):
    assert server.verify(secret)["reason"] == "malformed"
    assert_error(server.call("POST", "/api_keys/verify", json={"secret": secret}), 404)


def test_an_empty_key_is_missing(server):
    verdict = server.verify("")
    assert (verdict["code"], verdict["status"], verdict["reason"]) == ("API_KEY_REQUIRED", 401, "missing")


@pytest.mark.parametrize("key_id", [ZERO, "ak_1", "x", "ak_" + "g" * 32, "%00", "..%2f..", "a" * 5000, "%ff"])
def test_an_unknown_id_is_404(server, key_id):
    answer = server.call("GET", f"/v1/api_keys/{key_id}")
    assert_error(answer, 400 if key_id == "%ff" else 404)


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=101", "limit=x", "limit=1.5", "limit=-1", "offset=-1", "offset=x", "include_invalid=1",
     "state=dead", "cursor=x", "colour=red", "limit=1&limit=2", "subject=", "query=%ff", "type=other", "limit=",
     "subject=%00"],
)
def test_a_wrong_query_is_refused(server, query):
    assert_error(server.call("GET", f"/v1/api_keys?{query}"), 400, "bad_request")


@pytest.mark.parametrize(
    "method, path, allowed",
    [("PUT", "/v1/api_keys", {"GET", "HEAD", "POST"}), ("GET", "/v1/verify", {"POST"}), ("POST", "/v1/me", {"GET", "HEAD"}),
     ("GET", f"/v1/api_keys/{ZERO}/revoke", {"POST"}), ("DELETE", "/api_keys/verify", None)],
)
def test_a_wrong_method_is_405_and_says_which_are_right(server, method, path, allowed):
    answer = server.call(method, path)
    if allowed is None:
        assert answer.status_code in (404, 405)
        return
    assert_error(answer, 405)
    assert set(answer.headers["Allow"].replace(" ", "").split(",")) == allowed


@pytest.mark.parametrize("path", ["/nope", "/v1", "/v2/api_keys", f"/v1/api_keys/{ZERO}/nope", "/v1/api_keys/"])
def test_an_unknown_address_is_404(server, path):
    assert_error(server.call("GET", path), 404)


def test_headers_that_every_answer_has(server, key):
    answer = server.call("GET", f"/api_keys/{key['id']}", headers={"X-Request-Id": "mine-1"})
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Request-Id"] == "mine-1"
    answer = server.call("POST", "/v1/verify", json={"key": key["secret"]}, headers={"X-Request-Id": "a b\tc"})
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Request-Id"].startswith("req_")
    answer = server.call("DELETE", f"/v1/api_keys/{ZERO}", headers={"Content-Type": "application/json"})
    assert_error(answer, 404)
    assert answer.headers["Content-Type"] == "application/json"
    answer = server.call("GET", "/v1/nope")
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_every_error_points_to_its_page(server):
    error = server.call("GET", "/v1/nope").json()
    page = requests.get(server.url + error["type"])
    assert page.status_code == 200 and page.text.startswith("# NOT_FOUND")


@pytest.mark.parametrize("name", ["naïve 日本語 🔑", "two  blanks", 'a"b\\c', "<script>alert(1)</script>", "x", "\u200frtl"])
def test_every_other_name_round_trips(server, name):
    key = server.create(name, subject="user_names")
    assert key["name"] == name
    assert server.verify(key["secret"])["name"] == name
    listed = server.call("GET", "/v1/api_keys", params={"subject": "user_names", "query": name}).json()
    assert [one["name"] for one in listed["data"]] == [name]


@pytest.mark.parametrize("name", [" ci", "ci ", "\u00a0ci", "ci\u3000"])
def test_a_new_name_has_no_white_space_at_its_ends(server, key, name):
    """Two names that look the same cannot be distinguished by a reader."""
    made = {"/v1/api_keys": {"name": name, "subject": "user_1"}, "/v1/root_keys": {"name": name, "permissions": ["keys:read"]},
            "/v1/tenants": {"slug": "white-space", "name": name}, "/v1/users": {"email": "w@example.com", "name": name}}
    answers = [server.call("POST", path, json=body) for path, body in made.items()]
    answers.append(server.call("PATCH", f"/v1/api_keys/{key['id']}", json={"name": name}))
    answers.append(server.call("POST", f"/v1/api_keys/{key['id']}/rotate", json={"name": name}))
    for answer in answers:
        assert answer.status_code == 400 and "white space" in answer.json()["detail"], answer.text


@pytest.mark.parametrize("subject", [" ", "\u2003"])
def test_the_owner_of_a_new_key_is_not_blank(server, subject):
    wish = {"name": "owned by nobody", "subject": subject}
    assert_error(server.call("POST", "/v1/api_keys", json=wish), 400, "bad_request")


def test_no_content_type_counts_as_json(server):
    answer = server.call("POST", "/v1/api_keys", data=b'{"name":"untyped","subject":"user_1"}')
    assert answer.status_code == 201


def test_the_check_listener_only_verifies(server, key):
    headers = {"Authorization": f"Bearer {server.root_key}"}
    answer = requests.post(server.check + "/v1/verify", json={"key": key["secret"]}, headers=headers)
    assert answer.json()["valid"] is True
    assert_error(requests.get(server.check + "/v1/api_keys", headers=headers), 404)


def test_operations_are_on_their_own_listener(server):
    assert requests.get(server.ops + "/livez").status_code == 200
    assert requests.get(server.ops + "/readyz").status_code == 200
    metrics = requests.get(server.ops + "/metrics").text
    assert 'keyreeve_verifications_total{outcome="valid",via="api"}' in metrics and metrics.endswith("# EOF\n")
    assert_error(server.call("GET", "/metrics"), 404)
