"""The reported duration of a change agrees with its caller's measurement: in answer, dashboard and metrics."""
import json
import math
import os
import re
import signal
import statistics
import subprocess
import time
import urllib.request

import pytest
from topology import LEASE_SECONDS, SERVER_PORT, World

from harness import BINARY, Server
from pages import Browser

REVOCATIONS = 40
PAUSE_SECONDS = 0.4
PASSWORD = "a-long-password-for-a-test"
SUM = "keyreeve_revocation_propagation_seconds_sum"
COUNT = "keyreeve_revocation_propagation_seconds_count"


class Nodes:
    """Two nodes; changes are made on the first."""

    def __init__(self, postgres):
        self.world = World(postgres, nodes=2)
        self.first, self.second = self.world.nodes
        self.url = f"http://{self.first.address}:{SERVER_PORT}"
        self.ops = f"http://{self.first.address}:{SERVER_PORT + 1}"

    def call(self, method, path, body=None):
        return self.first.call(method, path, body)

    def close(self):
        self.world.close()


class Alone:
    """One process on SQLite, and a verifier that has every verified key in memory."""

    def __init__(self):
        self.server = Server()
        self.url, self.ops = self.server.url, self.server.ops
        environment = {**os.environ, "KEYREEVE_ROOT_KEY": self.server.root_key, "KEYREEVE_URL": self.url}
        self.verifier = subprocess.Popen([BINARY, "verifier"], env=environment, stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE)

    def call(self, method, path, body=None):
        answer = self.server.call(method, path, json=body)
        return answer.status_code, answer.json()

    def ask(self, key):
        self.verifier.stdin.write(key["secret"].encode() + b"\n")
        self.verifier.stdin.flush()
        while "revoked" in (said := json.loads(self.verifier.stdout.readline())):
            pass
        return said

    def close(self):
        self.verifier.kill()
        self.verifier.wait()
        self.server.close()


@pytest.fixture(params=["postgres", "sqlite"])
def place(request):
    # Only the one that needs a Postgres starts one.
    made = Nodes(request.getfixturevalue("postgres")) if request.param == "postgres" else Alone()
    yield made
    made.close()


def new_key(place, name):
    status, key = place.call("POST", "/v1/api_keys", {"name": name, "subject": "user_1"})
    assert status == 201, key
    assert place.call("POST", "/v1/verify", {"key": key["secret"]})[1]["valid"]
    if isinstance(place, Alone):
        assert place.ask(key)["valid"]
    return key


def revoke(place, key):
    """Returns the reported duration, in ms, and the caller's measurement, in ms."""
    began = time.monotonic()
    status, answer = place.call("POST", f"/v1/api_keys/{key['id']}/revoke", {})
    measured = (time.monotonic() - began) * 1_000
    assert status == 200 and answer["effect"]["scope"] == "everywhere", answer
    return answer["effect"]["waited_ms"], measured


def metrics(place):
    text = urllib.request.urlopen(place.ops + "/metrics", timeout=10).read().decode()
    return {name: float(re.search(rf"^{name} (\S+)$", text, re.M)[1]) for name in (SUM, COUNT)}


def assert_agree(told, measured):
    """The reported duration is never more than the measurement (integer ms, rounded up), and is most of it: the measurement
    also contains only the connection and the request."""
    assert all(said <= math.ceil(took) for said, took in zip(told, measured, strict=True)), list(zip(told, measured))
    assert all(said > 0 for said in told), told
    assert sum(told) >= sum(measured) / 4, (told, measured)
    assert statistics.median(told) >= statistics.median(measured) / 4, (told, measured)


def test_the_reported_wait_of_a_revocation_agrees_with_its_caller(place):
    before = metrics(place)
    keys = [new_key(place, f"key {number}") for number in range(REVOCATIONS)]
    both = []
    for key in keys:
        # An idle node polls the database rarely, so its estimate of the database's clock is at its worst.
        time.sleep(PAUSE_SECONDS)
        both.append(revoke(place, key))
    told, measured = zip(*both, strict=True)
    print(both)
    assert_agree(told, measured)
    after = metrics(place)
    assert after[COUNT] - before[COUNT] == REVOCATIONS
    counted = (after[SUM] - before[SUM]) * 1_000
    assert counted <= sum(measured)
    assert sum(told) - REVOCATIONS <= counted <= sum(told) + 0.001, "each was rounded up by less than one"


def test_the_dashboard_shows_the_same_duration(place):
    wish = {"email": "admin@example.com", "role": "admin"}
    status, made = place.call("POST", "/v1/users", wish)
    assert status == 201, made
    token = place.call("POST", f"/v1/users/{made['id']}/invite", {})[1]["link"].split("token=")[1]
    assert Browser(place.url).send(f"/setup?token={token}", new_password=PASSWORD, again=PASSWORD).status_code == 303
    told = {}
    for number in range(5):
        key = new_key(place, f"seen {number}")
        told[key["id"]], _ = revoke(place, key)
    browser = Browser(place.url)
    assert browser.send("/login", email=wish["email"], password=PASSWORD).status_code == 303
    page = browser.ask("GET", "/propagation").text
    shown = [int(ms) for ms in re.findall(r"</svg> (\d+) ms</td>", page)]
    assert shown == list(reversed(told.values())), page
    for key, ms in told.items():
        assert f"confirmed after {ms} ms." in browser.ask("GET", f"/keys/{key}").text


def test_the_wait_for_a_stopped_verifier_is_reported_in_full(place):
    key = new_key(place, "held")
    if isinstance(place, Nodes):
        still = lambda number: place.second.signal(number)  # noqa: E731
    else:
        still = place.verifier.send_signal
    before = metrics(place)
    still(signal.SIGSTOP)
    try:
        told, measured = revoke(place, key)
    finally:
        still(signal.SIGCONT)
    # A lease may have run for a while when its holder stops; at least a half of it is left.
    assert measured / 2 < told <= math.ceil(measured), (told, measured)
    assert told >= LEASE_SECONDS * 1_000 / 4, told
    assert told - 1 <= (metrics(place)[SUM] - before[SUM]) * 1_000 <= measured
