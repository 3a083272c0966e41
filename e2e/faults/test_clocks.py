"""The database's clock is stepped, and corrected: a real Postgres under libfaketime, and real nodes."""
import glob
import os
import pathlib
import subprocess
import time
import urllib.error
import urllib.request

import pytest
from topology import SCRIPT, SERVER_PORT, WAIT_SECONDS, Postgres, World

HOUR = 3600


class SteppedPostgres(Postgres):
    """Its wall clock is set by a file; its monotonic clock is the machine's."""

    def script(self, verb, *arguments):
        self.offset = pathlib.Path(self.dir, "offset")
        if not self.offset.exists():
            self.step(0)
        environment = {**os.environ, "PGADDRESS": self.address}
        if verb == "start":
            library = glob.glob("/usr/lib/*/faketime/libfaketime.so.1")[0]
            environment.update(LD_PRELOAD=library, FAKETIME_TIMESTAMP_FILE=str(self.offset), FAKETIME_NO_CACHE="1",
                               DONT_FAKE_MONOTONIC="1", FAKETIME_DONT_FAKE_MONOTONIC="1")
        subprocess.run([SCRIPT, verb, self.dir, *map(str, arguments)], check=True, env=environment, timeout=120)

    def step(self, seconds):
        # Replaced atomically: the server may read the file at any time.
        new = self.offset.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.chmod(0o644)
        new.rename(self.offset)


@pytest.fixture
def stepped():
    server = SteppedPostgres()
    yield server
    server.close()


@pytest.fixture
def world(stepped):
    world = World(stepped, nodes=2)
    yield world
    world.close()


def made(node, name, **more):
    status, key = node.call("POST", "/v1/api_keys", {"name": name, "subject": "user_1", **more})
    assert status == 201, key
    return key


def verdict(node, key):
    return node.call("POST", "/v1/verify", {"key": key["secret"]})[1]


def ops(node, path):
    try:
        with urllib.request.urlopen(f"http://{node.address}:{SERVER_PORT + 1}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def behind(node):
    lines = ops(node, "/metrics")[1].splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("keyreeve_database_clock_behind_seconds "))


def until(what, seconds):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.05)


def test_a_step_of_the_databases_clock_that_lasts_three_seconds_is_over_after_a_wait(stepped, world):
    one, other = world.nodes
    soft = made(one, "soft", limits=[{"name": "r", "limit": 5, "seconds": 5, "burst": 5}])
    hard = made(one, "hard", limits=[{"name": "r", "limit": 5, "seconds": 5, "burst": 5, "hard": True}])
    hourly = made(one, "hourly", limits=[{"name": "q", "limit": 1000, "period": "hour"}])
    lasting = made(one, "lasting", seconds_until_expiration=600)
    assert all(verdict(node, lasting)["valid"] for node in world.nodes)
    assert behind(one) == 0 and ops(one, "/readyz")[0] == 200
    stepped.step(HOUR)
    until(lambda: verdict(one, lasting)["reason"] == "expired" and verdict(other, lasting)["reason"] == "expired", 5)
    within = made(one, "within", seconds_until_expiration=600)
    for key in (soft, hard):
        while verdict(one, key)["valid"]:
            pass
    assert verdict(one, hourly)["valid"]
    time.sleep(2)
    stepped.step(0)
    until(lambda: behind(one) > HOUR - 60 and behind(other) > HOUR - 60, 5)
    status, text = ops(one, "/readyz")
    assert status == 503 and "clock" in text, text
    # During the step: new keys get the correct expiry, rates continue, and no key that may have expired is valid.
    short = made(one, "short", seconds_until_expiration=2)
    issued = time.monotonic()
    assert verdict(one, lasting)["reason"] == "expired"
    time.sleep(1.1)
    for key in (soft, hard):
        assert any(verdict(node, key)["valid"] for node in world.nodes), key["name"]
    until(lambda: behind(one) == 0 and behind(other) == 0, WAIT_SECONDS + 5)
    assert ops(one, "/readyz")[0] == 200
    assert time.monotonic() - issued > 2
    for node in world.nodes:
        assert verdict(node, lasting)["valid"], "it has not expired"
        assert verdict(node, within)["valid"], "it was given 600 seconds from the time before the step"
        assert verdict(node, short)["reason"] == "expired"
        assert verdict(node, hourly)["valid"]
        assert node.log().count("clock is behind") == 1, node.log()
        assert "ERROR" in node.log()
    left = (within["expiration"] - lasting["expiration"]) / 1000
    assert 0 <= left < 60, "what was made within the step does not live an hour longer"


def test_a_database_whose_clock_is_set_back_revives_no_key(stepped, world):
    one, other = world.nodes
    short = made(one, "short", seconds_until_expiration=3)
    assert verdict(one, short)["valid"]
    until(lambda: verdict(one, short)["reason"] == "expired", 10)
    made(other, "later")  # The audit log is what a node that starts knows of the time.
    stepped.step(-HOUR)
    until(lambda: behind(one) > HOUR - 60, 5)
    end = time.monotonic() + WAIT_SECONDS + 3
    while time.monotonic() < end:
        assert verdict(one, short)["reason"] == verdict(other, short)["reason"] == "expired"
        assert ops(one, "/readyz")[0] == 503
        time.sleep(0.2)
    lasting = made(other, "lasting", seconds_until_expiration=2 * HOUR)
    assert verdict(one, lasting)["valid"], "keys are made and judged all the while"
    # A node that starts now compares with the audit log.
    late = world.add("late")
    assert verdict(late, short)["reason"] == "expired"
    assert ops(late, "/readyz")[0] == 503
    stepped.step(0)
    until(lambda: behind(one) == behind(late) == 0, 5)
    assert ops(one, "/readyz")[0] == ops(late, "/readyz")[0] == 200
