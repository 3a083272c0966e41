"""Root keys: expiry, last use, rotation with an overlap, networks, on every face that accepts them."""
import json
import pathlib
import subprocess
import sys
import time

import pytest
import requests

import harness
from harness import POSTGRES, Server, assert_error, new_database

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "hostile"))
from test_held_back import HeldBack  # noqa: E402
from verifier_client import Refused, WireVerifier, upgraded  # noqa: E402

ALL = ["keys:read", "keys:write", "keys:verify", "policy:read", "policy:write", "users:write", "users:act", "audit:read",
       "tenants:write", "root_keys:write"]
# The verdict of an expiry may be this much later than the test sees its clock: both are on one machine.
SLACK = 0.25


def make(server, permissions=ALL, status=201, root_key=None, **wish):
    answer = server.call("POST", "/v1/root_keys", root_key=root_key, json={"name": "one", "permissions": permissions, **wish})
    assert answer.status_code == status, answer.text
    return answer.json()


def rotate(server, root_key, status=200, by=None, headers=None, **wish):
    answer = server.call("POST", f"/v1/root_keys/{root_key['id']}/rotate", root_key=by, headers=headers, json=wish)
    assert answer.status_code == status, answer.text
    return answer.json()


def shown(server, root_key):
    return next(one for one in server.call("GET", "/v1/root_keys").json()["data"] if one["id"] == root_key["id"])


def statuses(server, secret, key, headers=None):
    """The status of a call with a root key, by face."""
    headers, bearer = headers or {}, {"Authorization": f"Bearer {secret}"}

    def post(path, **options):
        return requests.post(server.url + path, headers={**bearer, **headers}, timeout=30, **options).status_code

    def stream():
        try:
            upgraded(server, secret, headers=headers)[0].close()
        except Refused as refused:
            return refused.status
        return 101

    gateway = {"X-Keyreeve-Gateway": secret, "X-API-Key": key}
    return {
        "management": server.call("GET", "/v1/api_keys", root_key=secret, headers=headers).status_code,
        "verify": post("/v1/verify", json={"key": key}),
        "batch": post("/v1/verify/batch", json={"items": [{"key": key}]}),
        "clerk": post("/v1/api_keys/verify", json={"secret": key}),
        "introspect": post("/oauth2/introspect", data={"token": key}),
        "verifier": stream(),
        "gateway": requests.get(server.check + "/gateway/generic/private", headers={**gateway, **headers}, timeout=30).status_code,
    }


GOOD = {"management": 200, "verify": 200, "batch": 200, "clerk": 200, "introspect": 200, "verifier": 101, "gateway": 200}
REFUSED = {face: 403 if face == "gateway" else 401 for face in GOOD}


@pytest.fixture(scope="module")
def key(server):
    server.call("POST", "/v1/check_policies", json={"name": "private", "gateway_credential": "required"})
    return server.create("root keys")["secret"]


def until(instant):
    time.sleep(max(0.0, instant / 1000 - time.time()) + SLACK)


def test_an_expired_root_key_is_refused_at_that_instant_by_every_face(server, key):
    made = make(server, seconds_until_expiration=4)
    assert abs(made["expires_at"] - made["created_at"] - 4000) < 10
    assert statuses(server, made["secret"], key) == GOOD
    body = json.dumps({"key": key})
    held = [HeldBack(server, path, made["secret"], text) for path, text in [
        ("/v1/verify", body), ("/v1/api_keys", json.dumps({"name": "late", "subject": "user_1"}))]]
    verifier = WireVerifier(server, made["secret"])
    deadline = time.monotonic() + 3
    while not verifier.grants and time.monotonic() < deadline:
        time.sleep(0.02)
    assert verifier.grants
    until(made["expires_at"])
    assert statuses(server, made["secret"], key) == REFUSED
    for request in held:
        status, answer = request.finish()
        assert status == 401, answer
    # It is sent away by the next sweep, and not first when its lease ends.
    assert verifier.closed.wait(2)
    assert_error(server.call("GET", "/v1/policy", root_key=made["secret"]), 401, "ROOT_KEY_INVALID")


@pytest.mark.parametrize("how", ["time", "finish", "revoke"])
def test_both_secrets_work_until_the_overlap_is_over(server, key, how):
    made = make(server)
    rotated = rotate(server, made, overlap_seconds=3 if how == "time" else 600)
    assert (rotated["id"], rotated["last_four"]) == (made["id"], rotated["secret"][-4:])
    assert rotated["secret"] != made["secret"] and rotated["retiring_until"] > rotated["rotated_at"]
    for secret in (made["secret"], rotated["secret"]):
        assert statuses(server, secret, key) == GOOD
    if how == "time":
        until(rotated["retiring_until"])
    elif how == "finish":
        finished = server.call("POST", f"/v1/root_keys/{made['id']}/rotate/finish")
        assert finished.status_code == 200 and finished.json()["retiring_until"] is None
        assert "secret" not in finished.json()
    else:
        assert server.call("DELETE", f"/v1/root_keys/{made['id']}").status_code == 200
    assert statuses(server, made["secret"], key) == REFUSED
    assert statuses(server, rotated["secret"], key) == (REFUSED if how == "revoke" else GOOD)
    log = server.call("GET", f"/v1/audit_events?key_id={made['id']}").json()["data"]
    ends = {"time": [], "finish": ["root_key.rotation_finished"], "revoke": ["root_key.revoked"]}[how]
    assert [entry["action"] for entry in log if entry["action"] != "access.refused"] == [
        *ends, "root_key.rotated", "root_key.created"]
    assert made["secret"] not in json.dumps(log) and rotated["secret"] not in json.dumps(log)


def test_without_an_overlap_the_old_secret_is_refused_when_the_answer_comes(server, key):
    made = make(server)
    assert statuses(server, made["secret"], key) == GOOD
    held = HeldBack(server, "/v1/api_keys", made["secret"], json.dumps({"name": "replaced", "subject": "user_1"}))
    rotated = rotate(server, made, by=made["secret"])
    assert statuses(server, made["secret"], key) == REFUSED and held.finish()[0] == 401
    assert statuses(server, rotated["secret"], key) == GOOD


@pytest.mark.skipif(not POSTGRES, reason="nodes share a database of Postgres")
def test_a_secret_that_one_node_has_replaced_is_accepted_by_no_node():
    database = new_database()
    one = Server(arguments=["--database", database])
    two = Server(arguments=["--database", database])
    two.root_key = one.root_key
    try:
        made = make(one)
        for _ in range(3):
            assert one.call("GET", "/v1/api_keys", root_key=made["secret"]).status_code == 200
            assert two.call("GET", "/v1/api_keys", root_key=made["secret"]).status_code == 200
            rotated = rotate(one, made, overlap_seconds=0)
            assert two.call("GET", "/v1/api_keys", root_key=made["secret"]).status_code == 401
            assert two.call("GET", "/v1/api_keys", root_key=rotated["secret"]).status_code == 200
            made = rotated
        rotated = rotate(two, made, overlap_seconds=600)
        assert one.call("GET", "/v1/api_keys", root_key=made["secret"]).status_code == 200
        assert two.call("POST", f"/v1/root_keys/{made['id']}/rotate/finish").status_code == 200
        assert one.call("GET", "/v1/api_keys", root_key=made["secret"]).status_code == 401
        assert two.call("DELETE", f"/v1/root_keys/{made['id']}").status_code == 200
        assert one.call("GET", "/v1/api_keys", root_key=rotated["secret"]).status_code == 401
    finally:
        one.close()
        two.close()
        harness.drop_database(database)


def test_a_retry_of_a_rotation_does_not_lock_the_caller_out(server):
    made, mark = make(server), {"Idempotency-Key": "rotate once"}
    lost = rotate(server, made, headers=mark, overlap_seconds=60)
    again = rotate(server, made, headers=mark, overlap_seconds=60)
    assert again["secret"] != lost["secret"]
    assert server.call("GET", "/v1/api_keys", root_key=lost["secret"]).status_code == 401
    for secret in (made["secret"], again["secret"]):
        assert server.call("GET", "/v1/api_keys", root_key=secret).status_code == 200
    assert rotate(server, made, 409, headers=mark, overlap_seconds=60)["code"] == "ALREADY_COMPLETED"
    assert server.call("GET", "/v1/api_keys", root_key=again["secret"]).status_code == 200


def test_a_caller_gives_no_longer_life_and_no_other_networks_than_it_has(server):
    own = make(server, seconds_until_expiration=600, allowed_networks=["127.0.0.0/8"])
    by = own["secret"]
    inherited = make(server, root_key=by)
    assert (inherited["expires_at"], inherited["allowed_networks"]) == (own["expires_at"], own["allowed_networks"])
    within = make(server, root_key=by, seconds_until_expiration=60, allowed_networks=["127.0.0.1"])
    assert within["allowed_networks"] == ["127.0.0.1/32"]
    for beyond in ({"seconds_until_expiration": None}, {"seconds_until_expiration": 601}, {"allowed_networks": []},
                   {"allowed_networks": ["126.0.0.0/7"]}, {"allowed_networks": ["::1"]}):
        assert make(server, root_key=by, status=403, **beyond)["code"] == "PERMISSION_DENIED", beyond
    tenant = server.call("POST", "/v1/tenants", root_key=by, json={"slug": "within", "name": "w", "preset": "keep"}).json()
    assert tenant["root_key"]["expires_at"] == own["expires_at"]
    assert rotate(server, own, 403, by=by, seconds_until_expiration=None)["code"] == "PERMISSION_DENIED"
    rotated = rotate(server, own, by=by, overlap_seconds=60)
    assert rotated["expires_at"] == own["expires_at"] and rotated["allowed_networks"] == own["allowed_networks"]


def test_a_rotation_gives_the_caller_no_root_key_that_can_do_more(server):
    mighty = make(server)
    weak = make(server, ["root_keys:write", "keys:read"])
    assert rotate(server, mighty, 403, by=weak["secret"])["code"] == "PERMISSION_DENIED"
    assert server.call("GET", "/v1/api_keys", root_key=mighty["secret"]).status_code == 200
    rotate(server, weak, by=weak["secret"])


@pytest.mark.parametrize("wish, field", [
    ({"allowed_networks": ["nowhere"]}, "allowed_networks[0]"), ({"allowed_networks": ["10.0.0.1/8"]}, "allowed_networks[0]"),
    ({"allowed_networks": [f"10.0.0.{number}" for number in range(65)]}, "allowed_networks"),
    ({"seconds_until_expiration": 0}, "seconds_until_expiration"), ({"seconds_until_expiration": 10 ** 12}, "seconds_until_expiration"),
])
def test_an_invalid_limit_of_a_root_key_is_refused_by_field(server, wish, field):
    answer = server.call("POST", "/v1/root_keys", json={"name": "one", "permissions": ["keys:read"], **wish})
    body = assert_error(answer, 400, "BAD_REQUEST")
    assert field in json.dumps(body)


def test_an_overlap_has_a_bound(server):
    assert "overlap_seconds" in json.dumps(rotate(server, make(server), 400, overlap_seconds=30 * 86_400 + 1))


def test_an_expired_or_revoked_root_key_is_rotated_only_with_a_new_expiry(server):
    made = make(server, ["keys:read"], seconds_until_expiration=1)
    until(made["expires_at"])
    assert rotate(server, made, 409)["code"] == "INVALID_TRANSITION"
    renewed = rotate(server, made, seconds_until_expiration=600, overlap_seconds=60)
    assert renewed["retiring_until"] is None, "the old secret stays expired"
    assert server.call("GET", "/v1/api_keys", root_key=made["secret"]).status_code == 401
    assert server.call("GET", "/v1/api_keys", root_key=renewed["secret"]).status_code == 200
    server.call("DELETE", f"/v1/root_keys/{made['id']}")
    assert rotate(server, made, 409, seconds_until_expiration=600)["code"] == "INVALID_TRANSITION"


def test_the_last_use_is_shown_and_a_refused_call_is_none(server):
    used, unused = make(server), make(server, allowed_networks=["192.0.2.0/24"])
    assert shown(server, used)["last_used_at"] is None
    began = time.time() * 1000
    server.call("GET", "/v1/api_keys", root_key=used["secret"])
    server.call("GET", "/v1/api_keys", root_key=unused["secret"])
    deadline = time.monotonic() + 5
    while shown(server, used)["last_used_at"] is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert abs(shown(server, used)["last_used_at"] - began) < 5000
    assert shown(server, unused)["last_used_at"] is None


@pytest.fixture(scope="module")
def proxied():
    running = Server(arguments=["--trusted-proxies", "127.0.0.0/8"])
    running.call("POST", "/v1/check_policies", json={"name": "private", "gateway_credential": "required"})
    yield running
    running.close()


def test_a_root_key_is_refused_from_outside_its_networks_by_every_face(server, key):
    inside = make(server, allowed_networks=["::1", "127.0.0.0/8"])
    outside = make(server, allowed_networks=["192.0.2.0/24", "2001:db8::/32"])
    assert statuses(server, inside["secret"], key) == GOOD
    # A header of an untrusted client is not believed.
    for headers in ({}, {"X-Forwarded-For": "192.0.2.7"}):
        assert statuses(server, outside["secret"], key, headers) == REFUSED
    refused = server.call("GET", "/v1/api_keys", root_key=outside["secret"])
    unknown = server.call("GET", "/v1/api_keys", root_key="kr_root_" + outside["secret"][8:-8] + "A" * 8)
    assert refused.json()["detail"] == unknown.json()["detail"], "a thief learns nothing"


def test_the_networks_are_compared_with_the_client_behind_trusted_proxies(proxied):
    key = proxied.create("behind")["secret"]
    made = make(proxied, allowed_networks=["192.0.2.0/24", "2001:db8::/32"])
    for address in ("192.0.2.7", "2001:db8::7", "203.0.113.9, 192.0.2.7"):
        expected = {**GOOD, "gateway": 403}
        assert statuses(proxied, made["secret"], key, {"X-Forwarded-For": address}) == expected, address
    for address in (None, "203.0.113.9", "192.0.2.7, 203.0.113.9", "2001:db9::1"):
        headers = {"X-Forwarded-For": address} if address else {}
        assert statuses(proxied, made["secret"], key, headers) == REFUSED, address
    # A gateway's own root key is used from where the gateway is: the header is about the end user.
    own = make(proxied, allowed_networks=["127.0.0.0/8"])
    found = statuses(proxied, own["secret"], key, {"X-Forwarded-For": "203.0.113.9"})
    assert found == {**REFUSED, "gateway": 200}


def test_a_use_from_outside_is_in_the_audit_log_with_its_address(proxied):
    made = make(proxied, allowed_networks=["192.0.2.0/24"])
    for _ in range(3):
        proxied.call("GET", "/v1/api_keys", root_key=made["secret"], headers={"X-Forwarded-For": "203.0.113.9"})
    deadline, found = time.monotonic() + 5, []
    while not found and time.monotonic() < deadline:
        log = proxied.call("GET", "/v1/audit_events?action=access.refused").json()["data"]
        found = [entry for entry in log if entry["target"]["id"] == made["id"]]
    assert found and found[0]["actor"]["id"] == made["id"] and "203.0.113.9" in json.dumps(found[0])
    assert "networks" in json.dumps(found[0])


def test_the_command_line_rotates_a_root_key(fresh):
    def keyreeve(*arguments):
        done = subprocess.run([harness.BINARY, *arguments, "--data", fresh.data], capture_output=True, text=True, timeout=30,
                              check=False, env={"PATH": harness.os.environ["PATH"]})
        assert done.returncode == 0, done.stderr
        return done.stdout

    made = json.loads(keyreeve("root-keys", "create", "ci", "--expires", "52w", "--network", "127.0.0.1", "-o", "json"))
    assert made["allowed_networks"] == ["127.0.0.1/32"] and made["expires_at"] - made["created_at"] == 52 * 7 * 86_400_000
    new = keyreeve("root-keys", "rotate", made["id"], "--overlap", "1h", "--secret-only").strip()
    for secret in (made["secret"], new):
        assert fresh.call("GET", "/v1/api_keys", root_key=secret).status_code == 200
    keyreeve("root-keys", "finish-rotation", made["id"])
    assert fresh.call("GET", "/v1/api_keys", root_key=made["secret"]).status_code == 401
    newest = json.loads(keyreeve("root-keys", "rotate", made["id"], "--expires", "never", "-o", "json"))
    assert newest["expires_at"] is None
    assert fresh.call("GET", "/v1/api_keys", root_key=new).status_code == 401
    # The socket of the operator is no network: a root key is accepted there wherever it may be used.
    assert "LAST_USED_AT" in keyreeve("root-keys", "list")
