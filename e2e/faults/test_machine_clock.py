"""A single process, whose machine's wall clock is stepped and corrected."""
import glob
import pathlib
import time

import pytest
import requests
from harness import Server

HOUR = 3600
LEASE_SECONDS = 2
WAIT_SECONDS = 1.25 * LEASE_SECONDS + 0.5


class Stepped(Server):
    """Its wall clock is set by a file; its monotonic clocks are the machine's."""

    def __init__(self, directory):
        self.offset = pathlib.Path(directory, "offset")
        self.step(0)
        library = glob.glob("/usr/lib/*/faketime/libfaketime.so.1")[0]
        super().__init__(arguments=["--child-lease", f"{LEASE_SECONDS}s"], environment={
            "LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": str(self.offset), "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"})

    def step(self, seconds):
        new = self.offset.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.rename(self.offset)

    def behind(self):
        lines = requests.get(self.ops + "/metrics", timeout=10).text.splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith("keyreeve_database_clock_behind_seconds "))

    def ready(self):
        return requests.get(self.ops + "/readyz", timeout=10)


@pytest.fixture
def stepped(tmp_path):
    server = Stepped(tmp_path)
    yield server
    server.close()


def until(what, seconds):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.05)


def test_a_step_of_the_machines_clock_is_over_after_a_wait(stepped):
    lasting = stepped.create("lasting", seconds_until_expiration=600)["secret"]
    limit = {"name": "r", "limit": 5, "seconds": 5, "burst": 5}
    soft = stepped.create("soft", limits=[limit])["secret"]
    hard = stepped.create("hard", limits=[{**limit, "hard": True}])["secret"]
    assert stepped.verify(lasting)["valid"] and stepped.ready().status_code == 200
    stepped.step(HOUR)
    until(lambda: stepped.verify(lasting)["reason"] == "expired", 5)
    for secret in (soft, hard):
        while stepped.verify(secret)["valid"]:
            pass
    stepped.step(0)
    until(lambda: stepped.behind() > HOUR - 60, 5)
    assert stepped.ready().status_code == 503 and "clock" in stepped.ready().text
    short = stepped.create("short", seconds_until_expiration=1)["secret"]
    time.sleep(1.1)
    assert stepped.verify(soft)["valid"] and stepped.verify(hard)["valid"]
    until(lambda: stepped.behind() == 0, WAIT_SECONDS + 5)
    assert stepped.ready().status_code == 200
    assert stepped.verify(lasting)["valid"] and stepped.verify(short)["reason"] == "expired"
    assert stepped.says("ERROR") and stepped.stderr().count("clock is behind") == 1


def test_a_machine_whose_clock_is_set_back_revives_no_key_also_after_a_restart(stepped):
    short = stepped.create("short", seconds_until_expiration=1)["secret"]
    until(lambda: stepped.verify(short)["reason"] == "expired", 5)
    # After a restart only the audit log bounds the time.
    stepped.create("later")
    stepped.step(-HOUR)
    until(lambda: stepped.behind() > HOUR - 60, 5)
    time.sleep(WAIT_SECONDS + 2)
    assert stepped.verify(short)["reason"] == "expired" and stepped.ready().status_code == 503
    stepped.stop()
    stepped.start()
    assert stepped.verify(short)["reason"] == "expired" and stepped.ready().status_code == 503
    # The operator confirms that the clock is right.
    stepped.stop()
    stepped.arguments.append("--accept-clock")
    stepped.start()
    assert stepped.verify(short)["valid"] and stepped.ready().status_code == 200
