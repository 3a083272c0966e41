"""A full disk, and a read-only directory: keys are verified, and changes report that nothing was done."""
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

import pytest
import requests

import harness
from harness import assert_error

pytestmark = [
    harness.embedded_only,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounts file systems"),
]


class Disk:
    """A separate small file system."""

    def __init__(self, size="3m"):
        self.place = tempfile.mkdtemp(prefix="keyreeve-disk-")
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", self.place], check=True)
        self.data = os.path.join(self.place, "data")

    def fill(self):
        """Fills it to the last byte."""
        with open(os.path.join(self.place, "filler"), "ab", buffering=0) as filler:
            for size in (65_536, 4_096, 1):
                try:
                    while filler.write(b"x" * size):
                        pass
                except OSError:
                    pass

    def empty(self):
        os.unlink(os.path.join(self.place, "filler"))

    def remount(self, mode):
        subprocess.run(["mount", "-o", f"remount,{mode}", self.place], check=True)

    def close(self):
        subprocess.run(["umount", "-l", self.place], check=True)
        os.rmdir(self.place)


@pytest.fixture
def disk():
    made = Disk()
    yield made
    made.close()


@pytest.fixture
def server(disk):
    running = harness.Server(data=disk.data)
    yield running
    if running.process.poll() is None:
        running.kill()


def ready(server, query="?verbose"):
    return requests.get(server.ops + "/readyz" + query, timeout=10)


def wait_until_all_is_well(server):
    """Data that could not be written is written again once a second."""
    deadline = time.monotonic() + 5
    while not ready(server).text.startswith("ok\n"):
        assert time.monotonic() < deadline, ready(server).text
        time.sleep(0.05)


def assert_verifies_and_refuses_changes(server, key, word):
    assert server.verify(key["secret"])["valid"]
    assert server.verify("ak_kr1" + "0" * 49)["code"] != "VALID"
    body = assert_error(server.call("POST", "/v1/api_keys", json={"name": "x", "subject": "user_2"}), 503)
    assert "othing was changed" in body["detail"], body
    assert server.verify(key["secret"])["valid"], "a refused change takes nothing away"
    answer = ready(server)
    assert answer.status_code == 200, answer.text
    line = next(line for line in answer.text.splitlines() if "]writes" in line)
    assert line.startswith("[-]") and word in line and "nothing was changed" in line, line


def leave(server, ending):
    if ending == "stop":
        assert server.stop() == 0
    else:
        server.kill()


@pytest.mark.parametrize("ending", ["stop", "kill"])
@pytest.mark.parametrize("order", ["fills-while-it-runs", "fills-while-it-is-down"])
def test_a_restart_on_a_full_disk_verifies(disk, server, ending, order):
    key = server.create("kept")
    if order == "fills-while-it-runs":
        disk.fill()
        leave(server, ending)
    else:
        leave(server, ending)
        disk.fill()
    server.start()
    assert_verifies_and_refuses_changes(server, key, "disk is full")
    for _ in range(2):
        leave(server, ending)
        server.start()
    assert_verifies_and_refuses_changes(server, key, "disk is full")
    disk.empty()
    created = server.create("after")
    assert server.verify(created["secret"])["valid"], "room again is enough"
    wait_until_all_is_well(server)
    leave(server, ending)
    server.start()
    assert server.verify(key["secret"])["valid"] and server.verify(created["secret"])["valid"]
    assert server.call("POST", "/v1/audit/verify", json={}).json()["ok"]


def test_a_full_disk_and_only_the_database_file_is_enough_to_verify(disk, server):
    """Without SQLite's files beside it: a copy, or a database that an older version closed."""
    key = server.create("kept")
    assert server.stop() == 0
    for name in ["keyreeve.db-wal", "keyreeve.db-shm", "lock", "operator.sock", "audit-verifier-key"]:
        pathlib.Path(disk.data, name).unlink(missing_ok=True)
    disk.fill()
    server.start()
    assert_verifies_and_refuses_changes(server, key, "disk is full")
    assert server.stop() == 0
    disk.empty()
    server.start()
    server.create("after")


def test_a_first_start_on_a_full_disk_leaves_nothing_half_made(disk):
    disk.fill()
    with pytest.raises(RuntimeError):
        harness.Server(data=disk.data)
    disk.empty()
    server = harness.Server(data=disk.data)
    assert server.root_key and server.create("first")
    server.kill()


@pytest.mark.parametrize("free", [8, 24, 40, 64, 96, 128, 192, 256])
def test_a_disk_that_fills_up_while_an_instance_is_founded_can_be_founded_later(disk, free):
    """Leaves space for a part of it only, in KiB."""
    os.makedirs(disk.data)
    reserve = pathlib.Path(disk.place, "reserve")
    reserve.write_bytes(b"x" * free * 1024)
    disk.fill()
    reserve.unlink()
    try:
        first = harness.Server(data=disk.data)
    except RuntimeError:
        first = None
    root_key = first.root_key if first else None
    if first:
        first.kill()
    disk.empty()
    again = harness.Server(data=disk.data)
    again.root_key = again.root_key or root_key
    assert again.root_key, "it was shown once"
    assert again.create("first")
    check = again.call("POST", "/v1/audit/verify", json={}).json()
    assert check.get("ok"), (check, again.stderr())
    again.kill()


@pytest.mark.parametrize("ending", ["stop", "kill"])
def test_a_read_only_directory_is_enough_to_verify(disk, server, ending):
    key = server.create("kept")
    other = server.create("revoked")
    server.call("POST", f"/v1/api_keys/{other['id']}/revoke", json={})
    leave(server, ending)
    disk.remount("ro")
    server.start()
    assert_verifies_and_refuses_changes(server, key, "read-only")
    assert server.verify(other["secret"])["reason"] == "revoked"
    assert server.stop() == 0
    disk.remount("rw")
    server.start()
    assert server.verify(server.create("after")["secret"])["valid"]


def test_a_directory_without_write_permission_is_enough_to_verify(disk, server, tmp_path, monkeypatch):
    """Existing files may be written, and none can be created. Root may do everything, so its capabilities are dropped."""
    key = server.create("kept")
    assert server.stop() == 0
    plain = tmp_path / "keyreeve"
    plain.write_text(f'#!/bin/sh\nexec setpriv --bounding-set=-all {harness.BINARY} "$@"\n')
    plain.chmod(0o755)
    os.chmod(disk.data, 0o500)
    with monkeypatch.context() as patched:
        patched.setattr(harness, "BINARY", str(plain))
        server.start()
    assert_verifies_and_refuses_changes(server, key, "read-only for the user")
    assert server.stop() == 0
    os.chmod(disk.data, 0o700)
    server.start()
    assert server.verify(server.create("after")["secret"])["valid"]


def test_a_read_only_directory_without_the_index_says_what_to_do(disk, server):
    """The last changes are in SQLite's WAL, whose index cannot be created."""
    server.create("kept")
    server.kill()
    pathlib.Path(disk.data, "keyreeve.db-shm").unlink()
    disk.remount("ro")
    with pytest.raises(RuntimeError, match="keyreeve.db-wal"):
        server.start()


def test_two_servers_never_share_a_read_only_directory(disk, server):
    assert server.stop() == 0
    pathlib.Path(disk.data, "lock").unlink()
    disk.remount("ro")
    server.start()
    with pytest.raises(RuntimeError, match="in use"):
        harness.Server(data=disk.data)


def test_a_read_only_mount_of_a_directory_in_use_is_refused(disk, server):
    view = tempfile.mkdtemp(prefix="keyreeve-view-")
    subprocess.run(["mount", "--bind", disk.data, view], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", view], check=True)
        with pytest.raises(RuntimeError, match="in use"):
            harness.Server(data=view)
    finally:
        subprocess.run(["umount", view], check=True)
        shutil.rmtree(view, ignore_errors=True)


def test_an_older_database_is_refused_on_a_read_only_directory_too(disk, server):
    assert server.stop() == 0
    older = pathlib.Path(disk.place, "older")
    shutil.copy2(os.path.join(disk.data, "keyreeve.db"), older)
    server.start()
    server.create("lost")
    assert server.stop() == 0
    shutil.copy2(older, os.path.join(disk.data, "keyreeve.db"))
    disk.remount("ro")
    with pytest.raises(RuntimeError, match="older copy"):
        server.start()


def test_killed_at_every_step_of_the_first_start_it_starts_again():
    for step in range(14):
        data = tempfile.mkdtemp(prefix="keyreeve-killed-")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("KEYREEVE_")}
        command = [harness.BINARY, "serve", "--data", data]
        for listener in ("--listen", "--check-listen", "--ops-listen"):
            command += [listener, "127.0.0.1:0"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
        time.sleep(0.005 * step)
        process.kill()
        process.wait()
        server = harness.Server(data=data)
        server.close()
        shutil.rmtree(data)
