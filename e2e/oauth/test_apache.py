"""Apache httpd with mod_auth_openidc in front of an API, with the configuration of the guide."""
import time

import pytest
import requests

from apache import CONFIGURATION, ROOT, Apache
from harness import Server


@pytest.fixture(scope="module")
def gateway_key(server):
    wish = {"name": "apache", "permissions": ["keys:verify"]}
    return server.call("POST", "/v1/root_keys", json=wish).json()["secret"]


@pytest.fixture(scope="module")
def apache(server, gateway_key):
    running = Apache(server.url, gateway_key, interval=2)
    yield running
    running.close()


@pytest.fixture(scope="module")
def key(server):
    return server.create("through Apache", subject="user_7", scopes=["read", "write"])


def introspections(server):
    lines = requests.get(server.ops + "/metrics").text.splitlines()
    counts = [line for line in lines if 'via="introspect"' in line]
    return sum(int(line.split()[-1]) for line in counts)


def test_a_good_key_gets_through_and_its_secret_does_not(apache, key):
    answer = apache.get(key["secret"])
    assert answer.status_code == 200, apache.log()
    sent = answer.json()
    assert sent["x-keyreeve-subject"] == "user_7" and sent["x-keyreeve-key-id"] == key["id"]
    assert sent["x-keyreeve-tenant"] == "default" and sent["x-keyreeve-scopes"] == "read write"
    assert "authorization" not in sent and key["secret"] not in answer.text


@pytest.mark.parametrize("secret", [None, "nonsense", "ak_kr1" + "0" * 49, ""])
def test_without_a_good_key_nothing_gets_through(apache, secret):
    before = len(apache.api.seen)
    answer = apache.get(secret)
    assert answer.status_code == 401 and answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert len(apache.api.seen) == before


def test_the_identity_headers_cannot_be_forged(apache, key):
    forged = {"X-Keyreeve-Subject": "root", "X-Keyreeve-Scopes": "admin", "X-Keyreeve-Tenant": "other",
              "X-Keyreeve-Key-Id": "ak_1", "OIDC_CLAIM_sub": "root", "OIDC_access_token": "x",
              "X-Keyreeve-Meta": "root"}
    before = len(apache.api.seen)
    answer = apache.get(key["secret"], **forged)
    sent = answer.json()
    assert sent["x-keyreeve-subject"] == "user_7" and sent["x-keyreeve-scopes"] == "read write"
    assert "root" not in answer.text and "admin" not in answer.text, answer.text
    assert apache.get(None, **forged).status_code == 401
    for name in ["X_Keyreeve_Subject", "X-Keyreeve_Subject", "X_Keyreeve-Subject", "x_keyreeve_key_id", "X_Keyreeve"]:
        assert apache.get(key["secret"], **{name: "root"}).status_code in (401, 403), name
    assert len(apache.api.seen) == before + 1


def test_an_answer_is_used_for_the_interval_and_a_revoked_key_is_refused_after_it(server, apache):
    key = server.create("revoked behind Apache")
    before = introspections(server)
    for _ in range(5):
        assert apache.get(key["secret"]).status_code == 200
    assert introspections(server) <= before + 2, "one question answers many requests"
    assert requests.post(server.url + "/oauth2/revoke", data={"token": key["secret"]}).status_code == 200
    deadline = time.monotonic() + 3.5
    while apache.get(key["secret"]).status_code == 200 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert time.monotonic() < deadline, "accepted for longer than the interval"
    assert apache.get(key["secret"]).status_code == 401


def test_with_the_interval_minus_one_a_revoked_key_is_refused_at_once(server, gateway_key):
    apache = Apache(server.url, gateway_key, interval=-1)
    try:
        key = server.create("asked each time")
        assert [apache.get(key["secret"]).status_code for _ in range(3)] == [200, 200, 200]
        server.call("POST", f"/v1/api_keys/{key['id']}/revoke", json={})
        assert apache.get(key["secret"]).status_code == 401
    finally:
        apache.close()


def test_without_an_answer_of_keyreeve_nothing_gets_through():
    server = Server()
    apache = Apache(server.url, server.root_key, interval=-1)
    try:
        key = server.create("cut off")
        assert apache.get(key["secret"]).status_code == 200
        server.kill()
        assert apache.get(key["secret"]).status_code in (401, 500, 502, 503)
        assert len(apache.api.seen) == 1
    finally:
        apache.close()
        server.close()


def test_the_guide_shows_this_very_configuration():
    guide = (ROOT / "docs/guides/oauth.md").read_text()
    assert CONFIGURATION.read_text().strip() in guide
