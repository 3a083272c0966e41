"""Old data: a database that does not contain what was signed for it is not served, and never signed over."""
import json
import os
import pathlib
import shutil
import sqlite3
import subprocess
import time

import pytest
import requests

import harness

pytestmark = harness.embedded_only

HISTORY = 8
# The files are checked once a second.
NOTICED_SECONDS = 5
CHANGES = 6
REVOKED = 3


def keyreeve(*arguments, stdin=""):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KEYREEVE_")}
    return subprocess.run([harness.BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=60,
                          check=False, env=environment, input=stdin)


def accept(data, *arguments, stdin=""):
    return keyreeve("audit", "accept-restore", "--data", data, "--reason", "a drill", "--accept", *arguments, stdin=stdin)


def is_refused(server):
    """Whether the server refuses to start, in the documented way."""
    try:
        server.start()
    except RuntimeError:
        assert server.process.wait(timeout=30) == HISTORY
        text = server.stderr()
        assert "accept-restore" in text or "complete copy" in text, text
        return True
    return False


def database(server):
    return pathlib.Path(server.data) / "keyreeve.db"


def copy_database(source, target):
    """What an operator copies while the server is stopped: the file, and SQLite's files beside it."""
    for old in target.parent.glob("keyreeve.db*"):
        old.unlink()
    for found in source.parent.glob("keyreeve.db*"):
        shutil.copy2(found, target.parent / found.name)


def note(server):
    return (pathlib.Path(server.data) / "audit-checkpoint").read_text()


def events(server, action):
    answer = server.call("GET", "/v1/audit_events", params={"action": action})
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


class Scene:
    """A server with an older copy of its database: a key and a root key were revoked since."""

    def __init__(self, tmp_path, ending="stop"):
        self.server = harness.Server()
        self.key = self.server.create("kept")
        made = self.server.call("POST", "/v1/root_keys", json={"name": "other", "permissions": ["keys:verify"]}).json()
        self.end(ending)
        self.older = tmp_path / "older" / "keyreeve.db"
        self.older.parent.mkdir()
        copy_database(database(self.server), self.older)
        self.server.start()
        revoked = self.server.call("POST", f"/v1/api_keys/{self.key['id']}/revoke", json={})
        assert revoked.status_code == 200
        gone = self.server.call("DELETE", f"/v1/root_keys/{made['id']}")
        assert gone.status_code in (200, 204), gone.text
        self.root_key = made["secret"]
        self.server.create("lost")
        self.wait_for_checkpoint()
        self.end(ending)
        self.note = note(self.server)

    def end(self, ending):
        if ending == "stop":
            assert self.server.stop() == 0
        else:
            self.wait_for_checkpoint()
            self.server.kill()

    def wait_for_checkpoint(self):
        answer = self.server.call("GET", "/v1/audit/checkpoint")
        assert answer.status_code == 200, answer.text

    def put_back(self):
        copy_database(self.older, database(self.server))

    def close(self):
        self.server.close()


@pytest.fixture(params=["stop", "kill"])
def scene(request, tmp_path):
    made = Scene(tmp_path, request.param)
    yield made
    made.close()


@pytest.fixture
def stopped(tmp_path):
    made = Scene(tmp_path)
    yield made
    made.close()


def test_an_older_database_put_back_is_not_served_and_not_signed_over(scene):
    scene.put_back()
    for _ in range(3):
        assert is_refused(scene.server)
        assert scene.server.says("older copy")
        assert note(scene.server) == scene.note
    done = keyreeve("audit", "verify", "--file", scene.server.data)
    assert done.returncode == 3, "the log does not reach the checkpoint"


def test_the_newest_database_put_back_again_is_served_as_before(scene, tmp_path):
    newest = tmp_path / "newest" / "keyreeve.db"
    newest.parent.mkdir()
    copy_database(database(scene.server), newest)
    scene.put_back()
    assert is_refused(scene.server)
    copy_database(newest, database(scene.server))
    scene.server.start()
    assert scene.server.verify(scene.key["secret"])["reason"] == "revoked"


def test_changes_beyond_the_lost_ones_do_not_make_an_older_database_good(stopped, tmp_path):
    """Made by a server in another directory, without this checkpoint, and then put beside it."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    copy_database(stopped.older, elsewhere / "keyreeve.db")
    other = harness.Server(data=str(elsewhere))
    other.root_key = stopped.server.root_key
    for number in range(CHANGES * 2):
        other.create(f"more {number}")
    assert other.stop() == 0
    copy_database(elsewhere / "keyreeve.db", database(stopped.server))
    assert is_refused(stopped.server)
    assert stopped.server.says("history differs")
    assert note(stopped.server) == stopped.note


def test_another_instances_database_is_not_served(stopped):
    other = harness.Server()
    for number in range(CHANGES * 2):
        other.create(f"other {number}")
    assert other.stop() == 0
    copy_database(database(other), database(stopped.server))
    other.close()
    assert is_refused(stopped.server)
    assert note(stopped.server) == stopped.note


@pytest.mark.parametrize("harm", ["missing", "empty", "without-tables", "no-database"])
def test_no_instance_is_founded_beside_a_checkpoint(stopped, harm):
    for found in database(stopped.server).parent.glob("keyreeve.db*"):
        found.unlink()
    if harm == "empty":
        database(stopped.server).touch()
    if harm == "without-tables":
        sqlite3.connect(database(stopped.server)).execute("PRAGMA journal_mode = WAL").close()
    if harm == "no-database":
        database(stopped.server).write_bytes(os.urandom(8192))
    before = stopped.server.stdout.count(b"root_key=")
    try:
        assert is_refused(stopped.server)
    except AssertionError:
        assert harm == "no-database" and stopped.server.process.returncode == 1
    assert stopped.server.stdout.count(b"root_key=") == before
    assert note(stopped.server) == stopped.note


@pytest.mark.parametrize("name", ["audit-checkpoint", "audit-signing-key"])
@pytest.mark.parametrize("harm", ["deleted", "empty", "nonsense", "anothers"])
def test_a_missing_or_damaged_checkpoint_or_signing_key_prevents_the_start(stopped, name, harm):
    path = pathlib.Path(stopped.server.data) / name
    if harm == "deleted":
        path.unlink()
    elif harm == "anothers":
        other = harness.Server()
        assert other.stop() == 0
        shutil.copy(pathlib.Path(other.data) / name, path)
        other.close()
    else:
        path.write_bytes(b"" if harm == "empty" else os.urandom(64))
    assert is_refused(stopped.server)
    assert accept(stopped.server.data, "--yes").returncode == 0
    stopped.server.start()
    assert stopped.server.verify(stopped.key["secret"])["reason"] == "revoked"
    assert len(events(stopped.server, "instance.restore_accepted")) == 1


def test_the_operator_accepts_an_older_database_and_the_audit_log_says_so(stopped):
    stopped.put_back()
    data = pathlib.Path(stopped.server.data)
    refused = accept(data, stdin="yes\n")
    assert refused.returncode == 1 and "REVOKED WORK AGAIN" in refused.stderr, refused.stderr
    assert is_refused(stopped.server)
    done = accept(data, "-o", "json", stdin="accept\n")
    assert done.returncode == 0, done.stderr
    accepted = json.loads(done.stdout)
    assert pathlib.Path(accepted["kept"][0]).read_text() == stopped.note, "the evidence stays"
    stopped.server.start()
    assert stopped.server.verify(stopped.key["secret"])["reason"] == "revoked", "by the file with denials"
    entry = events(stopped.server, "instance.restore_accepted")[0]
    assert entry["actor"]["type"] == "operator" and entry["reason"] == "a drill"
    assert entry["revision"] == accepted["revision"]
    lines = stopped.note.splitlines()
    assert str(entry["before"]["signed"]["revision"]) == lines[1]
    assert bytes.fromhex(entry["before"]["signed"]["hash"]) == __import__("base64").b64decode(lines[2])
    assert entry["after"]["database"]["revision"] == entry["revision"] - 1
    check = stopped.server.call("POST", "/v1/audit/verify", json={}).json()
    assert check["ok"] and check["checkpoint_revision"] >= entry["revision"]
    assert accept(data, "--yes").returncode == 1, "a server runs on it"
    assert stopped.server.stop() == 0
    again = accept(data, "--yes")
    assert again.returncode == 0 and "nothing to accept" in again.stderr


def test_accepting_a_missing_database_makes_a_new_instance_at_the_next_start(stopped):
    for found in database(stopped.server).parent.glob("keyreeve.db*"):
        found.unlink()
    assert accept(stopped.server.data, "--yes").returncode == 0
    old = stopped.server.root_key
    stopped.server.start()
    assert stopped.server.root_key != old
    assert stopped.server.verify(stopped.key["secret"])["reason"] == "unknown"
    assert [entry["revision"] for entry in events(stopped.server, "instance.restore_accepted")] == [1]


def test_an_acceptance_that_was_broken_off_accepts_nothing(stopped):
    """Between the entry and the new signature: the entry alone is not enough."""
    stopped.put_back()
    data = pathlib.Path(stopped.server.data)
    # The directory entry of the new checkpoint cannot be made.
    blocked = data / "audit-checkpoint.next"
    blocked.mkdir()
    broken = accept(data, "--yes")
    assert broken.returncode != 0
    assert note(stopped.server) == stopped.note
    assert is_refused(stopped.server)
    blocked.rmdir()
    assert accept(data, "--yes").returncode == 0
    stopped.server.start()
    assert len(events(stopped.server, "instance.restore_accepted")) == 2, "both attempts are told"


def test_an_acceptance_that_is_killed_anywhere_accepts_all_or_nothing(stopped):
    stopped.put_back()
    data = pathlib.Path(stopped.server.data)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KEYREEVE_")}
    command = [harness.BINARY, "audit", "accept-restore", "--data", str(data), "--reason", "x", "--yes", "--accept"]
    for step in range(12):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
        time.sleep(0.004 * step)
        process.kill()
        process.wait()
        if note(stopped.server) != stopped.note:
            break
        assert is_refused(stopped.server), step
    if note(stopped.server) == stopped.note:
        assert accept(data, "--yes").returncode == 0
    stopped.server.start()
    assert events(stopped.server, "instance.restore_accepted")
    assert stopped.server.call("POST", "/v1/audit/verify", json={}).json()["ok"]


def test_an_older_file_under_the_log_of_a_newer_one_is_not_served(tmp_path):
    """Killed, so that SQLite's WAL exists, and then the file alone was put back."""
    server = harness.Server()
    key = server.create("kept")
    assert server.stop() == 0
    older = tmp_path / "keyreeve.db"
    shutil.copy2(database(server), older)
    server.start()
    server.call("POST", f"/v1/api_keys/{key['id']}/revoke", json={})
    assert server.stop() == 0
    server.start()
    server.create("more")
    server.kill()
    shutil.copy2(older, database(server))
    assert is_refused(server)
    assert server.says("same copy")
    assert accept(server.data, "--yes").returncode == 1
    server.close()


def ready(server, query=""):
    return requests.get(server.ops + "/readyz" + query, timeout=10)


def wait_until_halted(server):
    deadline = time.monotonic() + NOTICED_SECONDS
    while "[-]history" not in ready(server, "?verbose").text:
        assert time.monotonic() < deadline, "it was not noticed"
        time.sleep(0.05)


def remove(path, _older):
    path.unlink()


def replace(path, older):
    fresh = path.with_name("fresh")
    shutil.copy2(older, fresh)
    fresh.rename(path)


def overwrite(path, older):
    with path.open("wb") as target:
        target.write(older.read_bytes())


def cut(path, _older):
    os.truncate(path, 4096)


def empty(path, _older):
    os.truncate(path, 0)


def remove_log(path, _older):
    path.with_name("keyreeve.db-wal").unlink()


def cut_log(path, _older):
    os.truncate(path.with_name("keyreeve.db-wal"), 0)


def overwrite_log(path, _older):
    log = path.with_name("keyreeve.db-wal")
    with log.open("r+b") as target:
        target.write(os.urandom(log.stat().st_size))


def move_directory(path, _older):
    path.parent.rename(path.parent.with_name(path.parent.name + "-moved"))


@pytest.mark.parametrize("harm", [remove, replace, overwrite, cut, empty, remove_log, cut_log, overwrite_log,
                                  move_directory])
def test_a_database_that_is_taken_away_under_the_server_ends_its_answers(stopped, tmp_path, harm):
    server = stopped.server
    server.start()
    other = server.create("other")
    assert server.verify(other["secret"])["valid"]
    harm(database(server), stopped.older)
    wait_until_halted(server)
    for _ in range(3):
        harness.assert_error(server.call("POST", "/v1/verify", json={"key": other["secret"]}), 503, "SERVICE_UNAVAILABLE")
        refused = server.call("POST", "/v1/api_keys", json={"name": "x", "subject": "user_1"})
        assert refused.status_code == 503, refused.text
    me = requests.get(server.url + "/v1/me", headers={"Authorization": "Bearer " + other["secret"]}, timeout=10)
    assert me.status_code == 503
    lines = ready(server, "?verbose").text.splitlines()
    assert any(line.startswith("[-]history") for line in lines), lines
    assert "keyreeve_halted 1" in requests.get(server.ops + "/metrics", timeout=10).text
    assert server.says("ERROR")
    server.stop()
    moved = pathlib.Path(server.data + "-moved")
    if moved.exists():
        moved.rename(server.data)


@pytest.mark.parametrize("harm", [remove, replace, cut_log, overwrite_log])
def test_no_change_is_answered_that_went_into_a_file_that_is_gone(stopped, harm):
    server = stopped.server
    server.start()
    harm(database(server), stopped.older)
    refused = server.call("POST", "/v1/api_keys", json={"name": "x", "subject": "user_1"})
    assert refused.status_code == 503, "at once, not only when it was noticed"
    server.stop()
    if harm is replace:
        assert database(server).read_bytes() == stopped.older.read_bytes(), "what was put there is left as it is"


def test_a_halted_server_stays_halted_until_a_restart(stopped):
    server = stopped.server
    server.start()
    kept = database(server).with_name("kept")
    database(server).rename(kept)
    wait_until_halted(server)
    kept.rename(database(server))
    time.sleep(1.5)
    assert ready(server).status_code == 503
    server.stop()
    server.start()
    assert ready(server).status_code == 200


def test_a_directory_of_before_checkpoints_is_served_and_signed_from_then_on(stopped):
    data = pathlib.Path(stopped.server.data)
    for name in ["audit-checkpoint", "audit-signing-key", "audit-verifier-key"]:
        (data / name).unlink()
    stopped.server.start()
    check = stopped.server.call("POST", "/v1/audit/verify", json={}).json()
    assert check["ok"]
    assert stopped.server.stop() == 0
    stopped.put_back()
    assert is_refused(stopped.server)
