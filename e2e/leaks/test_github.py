"""POST /v1/leaks/github: GitHub's partner programme, with keys of our own."""
import hashlib
import json
import secrets
import time

import pytest
import requests

from github import GitHub, Publisher, with_checksum
from harness import Server, assert_error


@pytest.fixture(scope="module")
def github(tmp_path_factory):
    return GitHub(tmp_path_factory.mktemp("github"))


@pytest.fixture(scope="module")
def server(github):
    running = Server(arguments=["--leaks-github-keys", str(github.list)])
    yield running
    running.close()


def send(server, body, headers):
    return requests.post(server.url + "/v1/leaks/github", data=body, headers=headers, timeout=60)


def match(token, **fields):
    return {"token": token, "type": "keyreeve_api_key", "url": "https://github.com/o/r/blob/1a/x.py", "source": "commit",
            **fields}


def labels(answer):
    assert answer.status_code == 200, answer.text
    return [label["label"] for label in answer.json()]


def test_what_github_found_is_revoked_and_labelled(server, github):
    key, gone, safe = server.create("in public"), server.create("gone"), server.create("safe")
    server.call("POST", f"/v1/api_keys/{gone['id']}/revoke", json={})
    tokens = [key["secret"], gone["secret"], "ak_kr1" + "0" * 49, "nonsense"]
    body = json.dumps([match(token, url="" if token == "nonsense" else None) for token in tokens]).encode()
    answer = send(server, body, github.sign(body))
    assert labels(answer) == ["true_positive", "true_positive", "false_positive", "false_positive"]
    assert answer.json()[0] == {"token_hash": hashlib.sha256(key["secret"].encode()).hexdigest(),
                                "token_type": "keyreeve_api_key", "label": "true_positive"}
    assert key["secret"] not in answer.text
    shown = server.call("GET", f"/v1/api_keys/{key['id']}").json()
    assert (shown["state"], shown["reason_code"]) == ("revoked", "leaked")
    assert shown["revocation_reason"] == "found by github (commit)"
    assert server.verify(safe["secret"])["valid"]


def test_a_message_that_github_did_not_sign_just_so_is_refused(server, github):
    key = server.create("stays")
    body = json.dumps([match(key["secret"])], separators=(",", ":")).encode()
    good = github.sign(body)
    signature = good["Github-Public-Key-Signature"]
    wrong = [
        (json.dumps(json.loads(body)).encode(), good, 403),
        (body + b"\n", good, 403),
        (body, {**good, "Github-Public-Key-Identifier": "another"}, 403),
        (body, {**good, "Github-Public-Key-Signature": signature[:-8] + "AAAA" + signature[-4:]}, 403),
        (body, {**good, "Github-Public-Key-Signature": "not base64!"}, 403),
        (body, {**good, "Github-Public-Key-Signature": ""}, 400),
        (body, {**good, "Github-Public-Key-Identifier": "x" * 200}, 400),
        (body, {"Github-Public-Key-Identifier": "current"}, 400),
        (body, {}, 400),
        (body, {"Authorization": f"Bearer {server.root_key}"}, 400),
    ]
    for body_sent, headers, status in wrong:
        assert_error(send(server, body_sent, headers), status, "SIGNATURE_INVALID" if status == 403 else "BAD_REQUEST")
    assert server.verify(key["secret"])["valid"]
    metrics = requests.get(server.ops + "/metrics").text
    assert f'keyreeve_leak_reports_total{{source="github",result="refused"}} {len(wrong)}' in metrics
    assert labels(send(server, body, good)) == ["true_positive"]


def test_unsigned_messages_do_not_block_signed_ones(server, github):
    junk = [send(server, b"[]", github.sign(b"[1]")).status_code for _ in range(70)]
    assert set(junk) == {403, 429} and junk.index(429) >= 50
    assert send(server, b"[]", github.sign(b"[]")).status_code == 200


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b'[["x","t",null,null]]', b'[{"token":"x"}]', b"nonsense"])
def test_a_signed_message_that_makes_no_sense_is_refused(server, github, body):
    assert_error(send(server, body, github.sign(body)), 400, "BAD_REQUEST")


def test_what_github_adds_later_is_not_looked_at(server, github):
    body = json.dumps([{**match("x"), "later": {"a": [1]}}]).encode()
    assert labels(send(server, body, github.sign(body))) == ["false_positive"]
    body = b"[]"
    assert labels(send(server, body, github.sign(body))) == []


def test_ten_thousand_matches_are_answered_in_time(server, github):
    """A thousand keys, and nine times as many texts that only have a key's form."""
    keys = []
    for start in range(0, 1_000, 250):
        items = [{"name": "many", "subject": f"user_{start + number}"} for number in range(250)]
        answer = server.call("POST", "/v1/api_keys/batch", json={"items": items})
        keys += [key["secret"] for key in answer.json()["data"]]
    others = [with_checksum("ak_kr1" + secrets.token_hex(22)[:43]) for _ in range(9_000)]
    body = json.dumps([match(secret) for secret in others + keys]).encode()
    headers = github.sign(body)
    began = time.monotonic()
    answer = send(server, body, headers)
    took = time.monotonic() - began
    assert labels(answer) == ["false_positive"] * 9_000 + ["true_positive"] * 1_000
    assert took < 30, f"GitHub waits for 30 s, and it took {took:.1f} s"
    verdicts = server.call("POST", "/v1/verify/batch", json={"items": [{"key": key} for key in keys[::10]]}).json()
    assert {verdict["reason"] for verdict in verdicts["data"]} == {"revoked"}
    print(f"10 000 matches in {took:.1f} s")


def test_more_than_that_is_refused(server, github):
    body = json.dumps([{"token": "x", "type": "t"}] * 10_001).encode()
    assert_error(send(server, body, github.sign(body)), 413, "PAYLOAD_TOO_LARGE")
    assert_error(send(server, b"[" + b" " * 9_000_000 + b"]", {}), 413, "PAYLOAD_TOO_LARGE")


class Fetching:
    """A server that fetches GitHub's keys."""

    def __init__(self, folder):
        self.github = GitHub(folder)
        self.publisher = Publisher(self.github)
        self.server = Server(arguments=["--leaks-github-keys", self.publisher.url])

    def send(self):
        body = json.dumps([match("x")]).encode()
        return send(self.server, body, self.github.sign(body))

    def close(self):
        self.server.close()
        self.publisher.close()


@pytest.fixture
def fetching(tmp_path):
    running = Fetching(tmp_path)
    yield running
    running.close()


def test_the_keys_are_fetched_once_and_only_when_they_are_needed(fetching):
    assert fetching.publisher.asked == []
    assert send(fetching.server, b"[]", {}).status_code == 400 and fetching.publisher.asked == []
    for _ in range(3):
        assert labels(fetching.send()) == ["false_positive"]
    assert len(fetching.publisher.asked) == 1
    fetching.github.new_key("next")
    assert_error(fetching.send(), 403, "SIGNATURE_INVALID")
    assert len(fetching.publisher.asked) == 1, "strangers cannot make it ask more often than once a minute"


@pytest.mark.parametrize("misbehaviour", ["redirect", "huge", "broken"])
def test_no_redirect_is_followed_and_nothing_large_is_read(fetching, misbehaviour):
    fetching.publisher.misbehaviour = misbehaviour
    assert_error(fetching.send(), 503, "SERVICE_UNAVAILABLE")
    assert fetching.publisher.asked == ["/keys"]


def test_without_keys_nothing_is_taken(tmp_path):
    github = GitHub(tmp_path)
    body = b"[]"
    for source, status in [("off", 404), (str(tmp_path / "none.json"), 503)]:
        server = Server(arguments=["--leaks-github-keys", source])
        try:
            assert_error(send(server, body, github.sign(body)), status)
        finally:
            server.close()
