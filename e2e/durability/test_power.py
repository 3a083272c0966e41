"""Answered changes survive a power loss: the disk is copied right after each answer, as it is at that moment, and a
server that starts from the copy has them. A kill -9 does not test this: it leaves the page cache as it is."""
import contextlib
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pytest
from disk import Disk, after_the_cut

from harness import POSTGRES, Server, embedded_only, new_database

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts/postgres"


@pytest.fixture
def disk():
    if os.geteuid() != 0:
        pytest.skip("a disk of its own needs root; test_the_log_is_synchronised_before_the_answer_is_sent needs none")
    made = Disk(256)
    yield made
    made.close()


def changes(server):
    """Every kind of write that is answered: the call, and what a server must answer afterwards."""
    def key(name, **fields):
        return server.create(name=name, **fields)

    def verdict(secret, reason):
        return lambda later: later.verify(secret)["reason"] == reason

    def post(path, body=None, method="POST"):
        answer = server.call(method, path, json=body)
        assert answer.ok, answer.text
        return answer.json()

    made = key("made")
    yield "a key is created", verdict(made["secret"], "valid")
    batch = post("/v1/api_keys/batch", {"items": [{"name": f"b{n}", "subject": "user_1"} for n in range(20)]})["data"]
    yield "a batch is created", lambda later: all(later.verify(one["secret"])["valid"] for one in batch)
    post(f"/v1/api_keys/{made['id']}/disable", {})
    yield "a key is disabled", verdict(made["secret"], "disabled")
    post(f"/v1/api_keys/{made['id']}/reactivate", {})
    yield "a key is re-activated", verdict(made["secret"], "valid")
    anew = post(f"/v1/api_keys/{made['id']}/rotate", {})
    yield "a secret is new", verdict(anew["secret"], "valid")
    yield "a secret is replaced", verdict(made["secret"], "rotated")
    post(f"/v1/api_keys/{made['id']}/revoke", {})
    yield "a key is revoked", verdict(anew["secret"], "revoked")
    erased = key("erased")
    post(f"/v1/api_keys/{erased['id']}", method="DELETE")
    yield "a key is erased", verdict(erased["secret"], "erased")
    user = post("/v1/users", {"email": "a@example.com", "role": "member"})
    owned = key("owned", subject=user["id"])
    post(f"/v1/users/{user['id']}", {"status": "suspended"}, "PATCH")
    yield "an owner is suspended", verdict(owned["secret"], "owner_blocked")
    post("/v1/api_keys/revoke_many", {"filter": {"ids": [one["id"] for one in batch]}})
    yield "many keys are revoked", lambda later: {later.verify(one["secret"])["reason"] for one in batch} == {"revoked"}
    caller = post("/v1/root_keys", {"name": "ends", "permissions": ["keys:verify"]})
    post(f"/v1/root_keys/{caller['id']}", method="DELETE")
    yield "a root key is revoked", lambda later: later.call(
        "POST", "/v1/verify", root_key=caller["secret"], json={"key": owned["secret"]}).status_code == 401


def first_at_once(server):
    yield "the first root key is shown", lambda later: later.call("GET", "/v1/api_keys").status_code == 200
    yield from changes(server)


def cut_after_each(server, disk):
    """A copy of the disk at the moment of each answer."""
    cuts = []
    for number, (what, check) in enumerate(first_at_once(server)):
        # Proof that the copy contains nothing that was not synchronised.
        canary = disk.place / f"canary-{number}"
        canary.write_bytes(b"not synchronised" * 4096)
        cuts.append((what, check, disk.cut(), canary.name))
    return cuts


def assert_nothing_is_lost(cuts, begin):
    lost = []
    for what, check, image, canary in cuts:
        with after_the_cut(image) as place:
            kept = place / canary
            assert not kept.exists() or b"not" not in kept.read_bytes(), "the copy is of the cache, and not of the disk"
            with begin(place) as later:
                if not check(later):
                    lost.append(what)
    assert not lost, lost


@embedded_only
def test_an_answered_write_survives_the_loss_of_power(disk):
    data = disk.place / "data"
    server = Server(data=str(data))

    @contextlib.contextmanager
    def begin(place):
        later = Server(data=str(place / "data"))
        later.root_key = server.root_key
        try:
            yield later
        finally:
            later.close()
    try:
        assert_nothing_is_lost(cut_after_each(server, disk), begin)
    finally:
        server.close()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Database:
    """A Postgres in a directory, with every setting that disables waiting for its disk."""

    def __init__(self, place):
        self.place, self.port = pathlib.Path(place, "pg"), free_port()
        self.url = f"postgres://keyreeve@127.0.0.1:{self.port}/postgres"
        # The first one was running when the copy was made, so its pid file is in the copy and is stale.
        (self.place / "data/postmaster.pid").unlink(missing_ok=True)
        os.chmod(place, 0o711)
        subprocess.run([SCRIPT, "start", self.place, str(self.port), "synchronous_commit=off", "wal_writer_delay=10s",
                        "bgwriter_delay=10s"], check=True, timeout=120)

    def close(self):
        subprocess.run([SCRIPT, "stop", self.place], check=False, timeout=60)


@pytest.mark.skipif(bool(POSTGRES), reason="starts servers of its own")
def test_an_answered_write_survives_the_loss_of_power_of_a_database_set_not_to_wait(disk):
    database = Database(disk.place)
    url = new_database(database.url)
    name = url.rsplit("/", 1)[1]
    for statement in (f"ALTER DATABASE {name} SET synchronous_commit = off",
                      "ALTER ROLE keyreeve SET synchronous_commit = off"):
        subprocess.run(["psql", "-q", database.url, "-c", statement], check=True)
    data = tempfile.mkdtemp(prefix="keyreeve-power-")
    server = Server(data=data, arguments=["--database", url])

    @contextlib.contextmanager
    def begin(place):
        copy = Database(place)
        later = Server(arguments=["--database", f"postgres://keyreeve@127.0.0.1:{copy.port}/{name}"])
        later.root_key = server.root_key
        try:
            yield later
        finally:
            later.close()
            copy.close()
    try:
        assert_nothing_is_lost(cut_after_each(server, disk), begin)
    finally:
        server.close()
        database.close()
        shutil.rmtree(data, ignore_errors=True)


def traced(server, act):
    """System calls of a server during `act`, in their order."""
    log = pathlib.Path(tempfile.mkdtemp(prefix="keyreeve-strace-"), "calls")
    calls = "trace=pwrite64,pwritev,pwritev2,fdatasync,fsync,write,writev,sendto,sendmsg"
    tracer = subprocess.Popen(["strace", "-f", "-y", "-s", "40", "-e", calls, "-o", log, "-p", str(server.process.pid)],
                              stderr=subprocess.PIPE)
    try:
        assert b"attached" in tracer.stderr.readline()
        # Until the tracer is attached to all of its threads.
        threads = len(os.listdir(f"/proc/{server.process.pid}/task"))
        deadline = time.monotonic() + 10
        while traced_threads(server.process.pid) < threads and time.monotonic() < deadline:
            time.sleep(0.01)
        act()
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(timeout=10)
    lines = log.read_text(errors="replace").splitlines()
    shutil.rmtree(log.parent)
    return lines


def traced_threads(pid):
    states = pathlib.Path(f"/proc/{pid}/task").glob("*/status")
    return sum("TracerPid:\t0" not in state.read_text() for state in states)


def synchronised_before(lines, answer):
    """Whether the log file of the database was written, then synchronised to the end, and only then `answer` was sent."""
    is_written, waiting, is_safe = False, None, False
    for line in lines:
        thread, _, call = line.partition(" ")
        call = call.lstrip()
        if answer in call:
            return is_written and is_safe
        if re.match(r"pwrite\w*\(\d+<[^>]*-wal>", call):
            is_written, is_safe = True, False
        elif re.match(r"f(data)?sync\(\d+<[^>]*-wal>", call):
            is_safe, waiting = "= 0" in call, thread
        elif re.match(r"<\.\.\. f(data)?sync resumed>.*= 0", call) and thread == waiting:
            is_safe = True
    raise AssertionError("the answer was not seen: " + "\n".join(lines[-20:]))


@embedded_only
def test_the_log_is_synchronised_before_the_answer_is_sent(fresh):
    if not shutil.which("strace"):
        pytest.fail("scripts/setup installs strace")
    key = fresh.create(name="made before")
    created = traced(fresh, lambda: fresh.create(name="made"))
    assert synchronised_before(created, "HTTP/1.1 201")
    revoked = traced(fresh, lambda: fresh.call("POST", f"/v1/api_keys/{key['id']}/revoke", json={}))
    assert synchronised_before(revoked, "HTTP/1.1 200")


def test_the_reader_of_system_calls_finds_what_was_not_synchronised():
    write, sync = '7 pwrite64(9</d/keyreeve.db-wal>, "x", 24, 0) = 24', "7 fdatasync(9</d/keyreeve.db-wal>) = 0"
    answer = '8 sendto(12<socket:[1]>, "HTTP/1.1 201 Created"..., 40, MSG_NOSIGNAL, NULL, 0) = 40'
    pending, done = "7 fdatasync(9</d/keyreeve.db-wal> <unfinished ...>", "7 <... fdatasync resumed>) = 0"
    assert synchronised_before([write, sync, answer], "HTTP/1.1 201")
    assert synchronised_before([write, pending, done, answer], "HTTP/1.1 201")
    for bad in ([write, answer], [sync, write, answer], [write, answer, sync], [write, pending, answer, done]):
        assert not synchronised_before(bad, "HTTP/1.1 201")
