"""What was denied after a backup stays denied when it is restored, and the operator decides about what no file knows."""
import os
import shutil
import subprocess

import pytest

from harness import BINARY
from test_backup import DATABASES, POSTGRES_SERVER, done, place, refused, run  # noqa: F401 (a fixture)


def entries(directory):
    exported = run("audit", "export", "--data", directory)
    assert exported.returncode == 0, exported.stderr
    return exported.stdout


@pytest.fixture
def lost(place, tmp_path):
    """An instance with a backup, changes after it, and a database that is lost."""
    def make(kind):
        origin = place(kind, name="origin")
        server = origin.serve()
        keys = {name: server.create(name) for name in ("kept", "leaked", "disabled", "narrowed")}
        worker = server.call("POST", "/v1/root_keys", json={"name": "worker", "permissions": ["keys:verify"]}).json()
        file = tmp_path / "a.backup"
        done("backup", "create", *origin.options, "--out", file)
        for name, verb in (("leaked", "revoke"), ("disabled", "disable")):
            assert server.call("POST", f"/v1/api_keys/{keys[name]['id']}/{verb}", json={}).status_code == 200
        assert server.call("DELETE", f"/v1/root_keys/{worker['id']}").status_code == 200
        root_key = server.root_key
        assert server.stop() == 0
        for name in os.listdir(origin.data):
            if name.startswith("keyreeve.db"):
                os.remove(os.path.join(origin.data, name))
        return origin, file, keys, worker, root_key

    return make


@pytest.mark.parametrize("target", DATABASES)
@pytest.mark.parametrize("source", DATABASES)
def test_what_was_denied_after_the_backup_is_denied_again(place, lost, source, target):
    origin, file, keys, worker, root_key = lost(source)
    copy = place(target)
    printed = run("backup", "restore", file, "--denials", f"{origin.data}/denials", "--accept", *copy.options)
    assert printed.returncode == 0, printed.stderr
    assert "No denial is known of the time from" in printed.stdout + printed.stderr
    server = copy.serve()
    place.servers.append(server)
    server.root_key = root_key
    reasons = {name: server.verify(key["secret"])["reason"] for name, key in keys.items()}
    assert reasons == {"kept": "valid", "leaked": "revoked", "disabled": "disabled", "narrowed": "valid"}
    answer = server.call("POST", "/v1/verify", json={"key": "x"}, headers={"Authorization": f"Bearer {worker['secret']}"})
    assert answer.status_code == 401, answer.text
    assert '"instance.restored"' in entries(copy.data)


def test_a_restore_into_the_directory_of_the_lost_instance_is_served(place, lost):
    origin, file, keys, _, root_key = lost("sqlite")
    done("backup", "restore", file, "--accept", "--data", origin.data)
    server = origin.serve()
    place.servers.append(server)
    server.root_key = root_key
    assert server.verify(keys["leaked"]["secret"])["reason"] == "revoked"
    assert done("audit", "verify", "--data", origin.data)["ok"]


def test_without_a_choice_no_key_is_verified_until_the_operator_decides(place, lost):
    origin, file, keys, _, root_key = lost("sqlite")
    done("backup", "restore", file, "--data", origin.data)
    server = origin.serve()
    place.servers.append(server)
    server.root_key = root_key
    answer = server.call("POST", "/v1/verify", json={"key": keys["kept"]["secret"]})
    assert (answer.status_code, answer.json()["reason"]) == (503, "restore_undecided")
    assert server.call("GET", f"/v1/api_keys/{keys['kept']['id']}").status_code == 200
    decided = run("restore", "decide", "--hold-all", "--reason", "drill", "--data", origin.data)
    assert decided.returncode == 0, decided.stderr
    assert server.verify(keys["kept"]["secret"])["reason"] == "disabled"
    released = run("restore", "release", "--all", "--data", origin.data)
    assert released.returncode == 0, released.stderr
    assert server.verify(keys["kept"]["secret"])["reason"] == "valid"
    assert server.verify(keys["leaked"]["secret"])["reason"] == "revoked"
    assert server.verify(keys["disabled"]["secret"])["reason"] == "disabled"


def test_a_directory_in_which_a_restore_was_interrupted_is_not_served(place, lost):
    origin, file, keys, _, root_key = lost("sqlite")
    done("backup", "restore", file, "--accept", "--data", origin.data)
    mark = os.path.join(origin.data, "restore-unfinished")
    assert not os.path.exists(mark)
    with open(mark, "w", encoding="utf-8") as out:
        out.write("interrupted\n")
    ran = subprocess.run([BINARY, "serve", "--data", origin.data, "--listen", "127.0.0.1:0"], capture_output=True, text=True,
                         timeout=60, check=False)
    assert ran.returncode == 8 and "interrupted" in ran.stderr, ran.stderr
    # A repeated restore is refused beside the rows of the first, and leaves its mark.
    refused("backup", "restore", file, "--accept", "--data", origin.data)
    assert os.path.exists(mark)
    # As the message requires: the database is moved away, and the restore repeated.
    for name in os.listdir(origin.data):
        if name.startswith("keyreeve.db"):
            shutil.move(os.path.join(origin.data, name), f"{origin.data}-{name}")
    done("backup", "restore", file, "--accept", "--data", origin.data)
    server = origin.serve()
    place.servers.append(server)
    server.root_key = root_key
    assert server.verify(keys["leaked"]["secret"])["reason"] == "revoked"


@pytest.mark.skipif(not POSTGRES_SERVER, reason="no server")
def test_no_node_starts_on_a_database_that_is_being_restored(place):
    shared = place("postgres")
    first = shared.serve()
    key = first.create("x")
    root_key = first.root_key
    assert first.stop() == 0

    def statement(text):
        subprocess.run(["psql", "-q", shared.database, "-c", text], check=True)

    # The mark that a restore commits with its rows. The data directory of this node knows nothing of the restore.
    statement("CREATE TABLE keyreeve_restoring ()")
    command = [BINARY, "serve", "--data", f"{shared.data}-of-another-node", "--database", shared.database, "--listen",
               "127.0.0.1:0"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 8 and "is being restored" in ran.stderr, ran.stderr
    statement("DROP TABLE keyreeve_restoring")
    second = shared.serve()
    place.servers.append(second)
    second.root_key = root_key
    assert second.verify(key["secret"])["valid"]


def test_the_denials_of_another_instance_are_refused_before_anything_is_restored(place, lost, tmp_path):
    _, file, *_ = lost("sqlite")
    other = place(name="other")
    stranger = other.serve()
    key = stranger.create("x")
    assert stranger.call("POST", f"/v1/api_keys/{key['id']}/revoke", json={}).status_code == 200
    assert stranger.stop() == 0
    target = place(name="target")
    refused("backup", "restore", file, "--denials", f"{other.data}/denials", "--accept", *target.options)
    assert not [name for name in os.listdir(target.data) if name.startswith(("keyreeve.db", "restore-unfinished"))]


def test_denials_whose_first_line_is_damaged_are_of_their_instance(place, lost):
    origin, file, keys, _, root_key = lost("sqlite")
    done("backup", "restore", file, "--accept", "--data", origin.data)
    path = os.path.join(origin.data, "denials")
    with open(path, encoding="utf-8") as lines:
        first, *others = lines.readlines()
    with open(path, "w", encoding="utf-8") as out:
        out.writelines(["x" + first[1:], *others])
    server = origin.serve()
    server.root_key = root_key
    assert server.call("POST", f"/v1/api_keys/{keys['kept']['id']}/revoke", json={}).status_code == 200
    assert server.stop() == 0
    assert not [name for name in os.listdir(origin.data) if name.startswith("denials.")], "put aside as another's"
    with open(path, encoding="utf-8") as lines:
        assert " origin " in lines.read(), "the first line is written again"


def test_a_decision_that_would_hold_no_key_is_refused(place, lost):
    origin, file, keys, _, root_key = lost("sqlite")
    done("backup", "restore", file, "--data", origin.data)
    server = origin.serve()
    place.servers.append(server)
    server.root_key = root_key
    decided = run("restore", "decide", "--hold-since", "2099-01-01T00:00:00Z", "--reason", "x", "--data", origin.data)
    assert decided.returncode != 0 and "no key would be held" in decided.stderr, decided.stderr
    answer = server.call("POST", "/v1/verify", json={"key": keys["kept"]["secret"]})
    assert (answer.status_code, answer.json()["reason"]) == (503, "restore_undecided")


def test_a_later_restore_needs_a_choice_of_its_own(place, lost):
    origin, file, keys, _, root_key = lost("sqlite")
    done("backup", "restore", file, "--accept", "--data", origin.data)
    later = f"{file}.later"
    done("backup", "create", "--data", origin.data, "--out", later)
    for name in os.listdir(origin.data):
        if name.startswith("keyreeve.db"):
            os.remove(os.path.join(origin.data, name))
    done("backup", "restore", later, "--data", origin.data)
    server = origin.serve()
    place.servers.append(server)
    server.root_key = root_key
    answer = server.call("POST", "/v1/verify", json={"key": keys["kept"]["secret"]})
    assert (answer.status_code, answer.json()["reason"]) == (503, "restore_undecided")
