"""A full disk: a refused change is not done and is reported as such, and verification is not affected."""
import os
import subprocess
import tempfile
import time

import pytest
import requests

from harness import Server, assert_error, embedded_only

pytestmark = embedded_only
DISK = "24m"
REMEMBERED = 300


@pytest.fixture
def disk():
    """A separate file system that can be filled."""
    if os.geteuid() != 0:
        pytest.fail("a file system is mounted, so this must run as root")
    place = tempfile.mkdtemp(prefix="keyreeve-disk-")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", "-l", place], check=True)
    os.rmdir(place)


@pytest.fixture
def server(disk):
    running = Server(data=os.path.join(disk, "data"))
    yield running
    running.close()


def fill(disk):
    with open(os.path.join(disk, "filler"), "wb", buffering=0) as filler:
        for size in (65_536, 1_024, 1):
            try:
                while True:
                    filler.write(b"x" * size)
            except OSError:
                pass


def metric(server, name):
    lines = requests.get(server.ops + "/metrics", timeout=10).text.splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name)


def misses(server):
    lines = requests.get(server.ops + "/metrics", timeout=10).text.splitlines()
    return [float(line.rsplit(" ", 1)[1]) for line in lines
            if line.startswith("keyreeve_cache_requests_total") and 'result="miss"' in line][0]


def ready(server, verbose=False):
    return requests.get(server.ops + "/readyz" + ("?verbose" if verbose else ""), timeout=10)


def refused(server, number):
    """Creates keys until the free space of the WAL is used up as well, and returns those that were answered 201."""
    made, refusals = [], 0
    while refusals < number:
        wish = {"name": f"late {len(made)} {refusals}", "subject": f"user_{len(made)}", "claims": {"x": "y" * 3_000}}
        answer = server.call("POST", "/v1/api_keys", json=wish)
        if answer.status_code == 201:
            made.append(answer.json())
            continue
        body = assert_error(answer, 503, "SERVICE_UNAVAILABLE")
        assert "Nothing was changed" in body["detail"], body
        refusals += 1
    return made


def test_a_write_refused_by_a_full_disk_is_not_done_and_the_memory_is_kept(server, disk):
    keys = [server.create(f"key {number}") for number in range(REMEMBERED)]
    for key in keys:
        assert server.verify(key["secret"])["valid"]
    fill(disk)
    made = refused(server, 30)
    before = misses(server)
    for key in keys:
        assert server.verify(key["secret"])["valid"]
    assert misses(server) == before, "all of them were remembered"
    # A small change may still fit into the WAL where a large one did not.
    revoked = 0
    while (answer := server.call("POST", f"/v1/api_keys/{keys[revoked]['id']}/revoke", json={})).status_code == 200:
        assert not server.verify(keys[revoked]["secret"])["valid"]
        revoked += 1
    assert_error(answer, 503, "SERVICE_UNAVAILABLE")
    keys, before = keys[revoked:], misses(server)
    for key in keys:
        assert server.verify(key["secret"])["valid"], "nothing was changed"
    assert misses(server) == before, "and all of them are still remembered"
    os.remove(os.path.join(disk, "filler"))
    assert server.call("POST", f"/v1/api_keys/{keys[0]['id']}/revoke", json={}).status_code == 200
    assert not server.verify(keys[0]["secret"])["valid"]
    # Neither now nor after a crash does a refused change exist.
    assert server.count() == REMEMBERED + len(made)
    server.kill()
    server.start()
    assert server.count() == REMEMBERED + len(made)


def test_failing_writes_and_their_recovery_are_reported(server, disk):
    key = server.create("one")
    assert ready(server).text == "ok\n"
    assert metric(server, "keyreeve_store_writes_failing") == 0
    assert abs(metric(server, "keyreeve_store_last_write_timestamp_seconds") - time.time()) < 60
    fill(disk)
    refused(server, 3)
    answer = ready(server)
    told = "ok, but writes: failing: the disk is full; nothing was changed\n"
    assert (answer.status_code, answer.text) == (200, told), "it verifies, and so it serves"
    assert "last_write_failure: " in ready(server, verbose=True).text
    assert metric(server, "keyreeve_store_writes_failing") == 1
    assert metric(server, "keyreeve_store_write_failures_total") >= 3
    assert server.verify(key["secret"])["valid"]
    os.remove(os.path.join(disk, "filler"))
    # There is no write from outside, and the recovery is detected nevertheless.
    deadline = time.monotonic() + 10
    while ready(server).text != "ok\n":
        assert time.monotonic() < deadline, ready(server, verbose=True).text
        time.sleep(0.1)
    assert metric(server, "keyreeve_store_writes_failing") == 0
