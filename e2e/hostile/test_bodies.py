"""Bad bodies: a clear error of the right status, nothing written, the server keeps running."""
import json

import pytest

from harness import assert_error

GOOD = {"name": "good", "subject": "user_1"}


@pytest.fixture(autouse=True)
def nothing_is_written(server):
    before = server.count()
    yield
    assert server.count() == before
    assert server.call("GET", "/v1/api_keys").status_code == 200


def post(server, body, path="/v1/api_keys", **headers):
    if not isinstance(body, (bytes, str)):
        body = json.dumps(body)
    headers = {"Content-Type": "application/json", **headers}
    return server.call("POST", path, data=body.encode() if isinstance(body, str) else body, headers=headers)


@pytest.mark.parametrize(
    "body",
    [
        "", "{", "nul", "[]", "1", '"text"', "{}x", "{'a':1}", '{"name":"x","subject":"s",}', "\ufeff{}",
        '{"name":"\\ud800","subject":"s"}', "[" * 5000, b"\xff\xfe", b'{"name":"\xff","subject":"s"}',
        '{"name":"x","subject":"s"}{"name":"y","subject":"s"}', "\x00",
    ],
)
@pytest.mark.parametrize("path", ["/v1/api_keys", "/v1/verify", "/api_keys/verify", "/v1/api_keys/batch"])
def test_what_is_not_json_is_refused(server, path, body):
    assert_error(post(server, body, path), 400)


@pytest.mark.parametrize(
    "body, field",
    [
        ({"subject": "s"}, "name"),
        ({"name": "x"}, "subject"),
        ({**GOOD, "name": 1}, "name"),
        ({**GOOD, "name": None}, "name"),
        ({**GOOD, "name": ""}, "name"),
        ({**GOOD, "name": "   "}, "name"),
        ({**GOOD, "name": "x" * 256}, "name"),
        ({**GOOD, "name": "a\0b"}, "name"),
        ({**GOOD, "name": "a\nb"}, "name"),
        ({**GOOD, "name": "a\u202eb"}, "name"),
        ({**GOOD, "name": "a\u2066b"}, "name"),
        ({**GOOD, "subject": ""}, "subject"),
        ({**GOOD, "subject": "x" * 256}, "subject"),
        ({**GOOD, "subject": ["s"]}, "subject"),
        ({**GOOD, "description": "x" * 256}, "description"),
        ({**GOOD, "claims": []}, "claims"),
        ({**GOOD, "claims": "x"}, "claims"),
        ({**GOOD, "claims": {"x": "y" * 17000}}, "claims"),
        ({**GOOD, "scopes": "read"}, "scopes"),
        ({**GOOD, "scopes": ["with space"]}, "scopes"),
        ({**GOOD, "scopes": [""]}, "scopes"),
        ({**GOOD, "scopes": ["s"] * 101}, "scopes"),
        ({**GOOD, "scopes": [1]}, "scopes[0]"),
        ({**GOOD, "seconds_until_expiration": 0}, "seconds_until_expiration"),
        ({**GOOD, "seconds_until_expiration": -1}, "seconds_until_expiration"),
        ({**GOOD, "seconds_until_expiration": 1.5}, "seconds_until_expiration"),
        ({**GOOD, "seconds_until_expiration": "3600"}, "seconds_until_expiration"),
        ({**GOOD, "seconds_until_expiration": 1e300}, "seconds_until_expiration"),
        ({**GOOD, "type": "other"}, "type"),
        ({**GOOD, "colour": "red"}, "colour"),
        ({**GOOD, "id": "ak_1"}, "id"),
    ],
)
def test_a_wrong_field_is_named(server, body, field):
    error = assert_error(post(server, body), 400, "bad_request")
    assert error["errors"][0]["meta"]["param_name"] == field


@pytest.mark.parametrize(
    "body",
    [
        '{"name":"x","name":"y","subject":"s"}',
        '{"name":"x","subject":"s","claims":{"a":1,"a":2}}',
        '{"name":"x","subject":"s","claims":{"a":{"b":1,"b":2}}}',
    ],
)
def test_a_repeated_json_key_is_refused(server, body):
    assert_error(post(server, body), 400, "bad_request")


def test_deep_nesting_is_refused(server):
    deep = '{"name":"x","subject":"s","claims":{"a":' + "[" * 100_000 + "]" * 100_000 + "}}"
    assert_error(post(server, deep), 400)


@pytest.mark.parametrize("path", ["/v1/api_keys", "/v1/verify", "/v1/verify/batch", "/api_keys/verify"])
def test_a_body_of_ten_megabytes_is_refused(server, path):
    answer = post(server, '{"name":"' + "x" * 10_000_000 + '"}', path)
    assert_error(answer, 413)
    if "verify" in path:
        # How much of it was read is not certain, so the connection ends, and the client learns it.
        assert answer.headers["Connection"] == "close"


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "text/json", "x"])
@pytest.mark.parametrize("path", ["/v1/api_keys", "/v1/verify", "/api_keys/verify"])
def test_another_content_type_is_refused(server, path, kind):
    assert_error(post(server, GOOD, path, **{"Content-Type": kind}), 415)


@pytest.mark.parametrize("size", [0, 1001])
def test_a_batch_has_one_to_a_thousand_items(server, size):
    items = [{"name": f"n{n}", "subject": "s"} for n in range(size)]
    assert_error(post(server, {"items": items}, "/v1/api_keys/batch"), 400)


def test_a_batch_is_all_or_nothing(server):
    items = [{"name": "batch", "subject": "s"}, {"name": "batch", "subject": "s"}]
    error = assert_error(post(server, {"items": items}, "/v1/api_keys/batch"), 409, "token_creation_conflict")
    assert error["errors"][0]["meta"]["item"] == 1
    items = [{"name": "one", "subject": "s"}, {"name": "two"}]
    error = assert_error(post(server, {"items": items}, "/v1/api_keys/batch"), 400)
    assert error["errors"][0]["meta"]["param_name"] == "items[1].subject"


@pytest.mark.parametrize(
    "body",
    [{}, {"key": 1}, {"key": None}, {"key": "x", "scopes": ["a b"]}, {"key": "x", "scopes": "a"},
     {"key": "x", "ip": "nowhere"}, {"key": "x", "more": 1}],
)
def test_a_wrong_question_is_refused(server, body):
    assert_error(post(server, body, "/v1/verify"), 400)
    assert_error(post(server, {"items": [body]}, "/v1/verify/batch"), 400)


@pytest.mark.parametrize("size", [0, 101])
def test_a_batch_of_questions_has_one_to_a_hundred(server, size):
    assert_error(post(server, {"items": [{"key": "x"}] * size}, "/v1/verify/batch"), 400)
