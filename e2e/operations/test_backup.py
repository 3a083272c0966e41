"""`keyreeve backup`: made of a running or a stopped instance, verified offline, restored into either database."""
import concurrent.futures
import io
import json
import os
import pathlib
import shutil
import subprocess
import tarfile
import tempfile
import time

import pytest
import requests

from harness import BINARY, POSTGRES, Server, drop_database, embedded_only, new_database

# A database server for restores into Postgres, and for backups of it.
POSTGRES_SERVER = os.environ.get("KEYREEVE_TEST_POSTGRES") or POSTGRES
DATABASES = ["sqlite", pytest.param("postgres", marks=pytest.mark.skipif(not POSTGRES_SERVER, reason="no server"))]


def run(*arguments, **options):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KEYREEVE_")}
    return subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False,
                          env=environment, **options)


def done(*arguments):
    """Runs a command that must succeed, and returns its answer."""
    ran = run(*arguments, "-o", "json")
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def refused(*arguments):
    """Runs a command that must fail, and returns its one sentence."""
    ran = run(*arguments)
    assert ran.returncode not in (0, 101) and ran.stdout == "", (ran.returncode, ran.stdout, ran.stderr)
    assert ran.stderr.startswith("error: ") and ran.stderr.count("\n") == 1, ran.stderr
    return ran.stderr


def age(*arguments):
    """Runs a program of age, if there is one."""
    if not shutil.which(arguments[0]):
        pytest.skip(f"no {arguments[0]}")
    return subprocess.run(arguments, capture_output=True, text=True, check=True)


class Place:
    """Where an instance lives: a directory, and perhaps a database of its own."""

    def __init__(self, kind, directory):
        self.data = str(directory)
        self.database = new_database(POSTGRES_SERVER) if kind == "postgres" else None

    @property
    def options(self):
        return ["--data", self.data, *(["--database", self.database] if self.database else [])]

    def serve(self, *arguments):
        return Server(data=self.data, arguments=[*self.options[2:], *arguments])


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Makes places, and servers without a database that they were not given."""
    monkeypatch.setattr("harness.POSTGRES", None)
    places, servers = [], []

    def make(kind="sqlite", name=None):
        place = Place(kind, tmp_path / (name or f"place-{len(places)}"))
        places.append(place)
        return place

    make.servers = servers
    yield make
    for server in servers:
        server.close()
    for one in places:
        if one.database:
            drop_database(one.database)


def live(server):
    """Gives an instance every kind of record."""
    keys = {state: server.create(f"key {state}") for state in ("active", "disabled", "revoked", "rotated", "erased")}
    for state, verb in (("disabled", "disable"), ("revoked", "revoke"), ("rotated", "rotate")):
        answer = server.call("POST", f"/v1/api_keys/{keys[state]['id']}/{verb}", json={})
        assert answer.status_code == 200, answer.text
        if state == "rotated":
            keys["fresh"] = {**keys["rotated"], "secret": answer.json()["secret"]}
    assert server.call("DELETE", f"/v1/api_keys/{keys['erased']['id']}").status_code == 200
    assert server.call("POST", "/v1/users", json={"email": "a@example.org", "role": "admin"}).status_code == 201
    assert server.call("POST", "/v1/tenants", json={"slug": "acme", "name": "Acme", "preset": "erase"}).status_code == 201
    keys["odd"] = server.create("na\u00efve \U0001f511 'quoted' \\ \"name\"", claims={"a": [1, None]}, scopes=["read"])
    return keys


REASONS = {"active": "valid", "disabled": "disabled", "revoked": "revoked", "rotated": "rotated", "erased": "erased",
           "fresh": "valid", "odd": "valid"}


def reasons(server, keys):
    return {name: server.verify(key["secret"])["reason"] for name, key in keys.items()}


@pytest.fixture
def made(place, tmp_path):
    """A backup of an instance with every kind of record, which is stopped."""
    origin = place(name="origin")
    server = origin.serve()
    keys = live(server)
    file = tmp_path / "made.backup"
    manifest = done("backup", "create", *origin.options, "--out", file)
    root_key = server.root_key
    assert server.stop() == 0
    return {"origin": origin, "keys": keys, "file": file, "manifest": manifest, "root_key": root_key}


@pytest.mark.parametrize("target", DATABASES)
@pytest.mark.parametrize("source", DATABASES)
def test_a_backup_of_either_database_is_restored_into_either(place, tmp_path, source, target):
    origin, copy, file = place(source), place(target), tmp_path / "a.backup"
    server = origin.serve()
    place.servers.append(server)
    keys = live(server)
    records = {name: server.call("GET", f"/v1/api_keys/{keys[name]['id']}").json() for name in ("active", "odd", "revoked")}
    manifest = done("backup", "create", *origin.options, "--out", file)
    assert manifest["database"] == source and manifest["keys"] == 5 and file.stat().st_mode & 0o777 == 0o600
    verified = done("backup", "verify", file, "--public-key", origin.data)
    assert (verified["revision"], verified["chain"]) == (manifest["revision"], manifest["chain"])
    after = server.create("after the backup")
    server.close()

    restored = done("backup", "restore", file, "--accept", "--public-key", origin.data, *copy.options)
    assert restored["revision"] == manifest["revision"] and restored["instance"] == manifest["instance"]
    second = copy.serve()
    place.servers.append(second)
    second.root_key = server.root_key
    assert reasons(second, keys) == REASONS
    assert second.verify(after["secret"])["reason"] == "unknown"
    changing = ("last_used_at", "last_refused_at", "request_id")
    for name, before in records.items():
        found = second.call("GET", f"/v1/api_keys/{keys[name]['id']}").json()
        assert {k: v for k, v in found.items() if k not in changing} == {
            k: v for k, v in before.items() if k not in changing}
    check = second.call("POST", "/v1/audit/verify", json={}).json()
    assert check["ok"] and check["entries"] >= manifest["revision"]
    assert second.call("POST", f"/v1/api_keys/{keys['active']['id']}/revoke", json={}).status_code == 200
    assert second.verify(keys["active"]["secret"])["reason"] == "revoked"


def entries(place):
    """Returns the audit log of a running server."""
    exported = run("audit", "export", "--data", place.data)
    assert exported.returncode == 0, exported.stderr
    return [json.loads(line) for line in exported.stdout.splitlines()]


@pytest.mark.parametrize("kind", DATABASES)
def test_a_backup_beside_changes_is_one_moment_of_the_log(place, tmp_path, kind):
    origin, copy, file = place(kind), place(), tmp_path / "a.backup"
    server = origin.serve()
    place.servers.append(server)
    stop = []

    def change(worker):
        made = []
        while not stop:
            key = server.create(f"key of {worker}")
            assert server.call("POST", f"/v1/api_keys/{key['id']}/revoke", json={}).status_code == 200
            made.append(key)
        return made

    with concurrent.futures.ThreadPoolExecutor() as pool:
        workers = [pool.submit(change, worker) for worker in range(3)]
        time.sleep(0.3)
        manifest = done("backup", "create", *origin.options, "--out", file)
        time.sleep(0.1)
        stop.append(True)
        keys = [key for worker in workers for key in worker.result()]
    assert entries(origin)[-1]["revision"] > manifest["revision"] > 10
    server.close()
    done("backup", "verify", file)
    done("backup", "restore", file, "--accept", *copy.options)
    second = copy.serve()
    place.servers.append(second)
    second.root_key = server.root_key
    # Each key of the copy is in the state that its last entry has: no change is there in part.
    events = entries(copy)
    revoked = {event["target"]["id"] for event in events if event["action"] == "key.revoked"}
    created = {event["target"]["id"] for event in events if event["action"] == "key.created"}
    assert len(created) == manifest["keys"]
    for key in keys:
        expected = "revoked" if key["id"] in revoked else "valid" if key["id"] in created else "unknown"
        assert second.verify(key["secret"])["reason"] == expected


def test_a_stopped_instance_is_backed_up_without_a_server(made, tmp_path):
    origin = made["origin"]
    file = tmp_path / "stopped.backup"
    manifest = done("backup", "create", *origin.options, "--out", file)
    assert manifest["revision"] >= made["manifest"]["revision"]
    done("backup", "verify", file, "--public-key", origin.data)
    assert "there is no data directory" in refused("backup", "create", "--data", tmp_path / "none", "--out", tmp_path / "x")
    (tmp_path / "empty").mkdir()
    assert "there is no instance" in refused("backup", "create", "--data", tmp_path / "empty", "--out", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_backup_contains_no_secret_and_no_private_key(made):
    private = (pathlib.Path(made["origin"].data) / "audit-signing-key").read_text().strip()
    unpacked = made["file"].read_bytes()
    with tarfile.open(made["file"]) as archive:
        for member in archive:
            unpacked += subprocess.run(["zstd", "-dcq"] if member.name.endswith(".zst") else ["cat"], check=True,
                                       input=archive.extractfile(member).read(), capture_output=True).stdout
    assert b"naive" not in unpacked and "na\u00efve".encode() in unpacked, "the names are in it"
    for secret in [*(key["secret"] for key in made["keys"].values()), made["root_key"], private]:
        assert secret.encode() not in unpacked


def test_an_existing_file_is_replaced_only_by_force(made, tmp_path):
    before = made["file"].read_bytes()
    assert "exists" in refused("backup", "create", *made["origin"].options, "--out", made["file"])
    assert made["file"].read_bytes() == before
    done("backup", "create", *made["origin"].options, "--out", made["file"], "--force")
    assert made["file"].read_bytes() != before
    assert not list(tmp_path.glob(".keyreeve-*"))


def rewritten(file, change, to):
    """Writes an archive with its members changed by a function of name and bytes; None leaves a member out."""
    with tarfile.open(file) as old, tarfile.open(to, "w", format=tarfile.USTAR_FORMAT) as new:
        for member in old:
            content = change(member.name, old.extractfile(member).read())
            if content is not None:
                member.size = len(content)
                new.addfile(member, io.BytesIO(content))
    return to


def bad_archives(made, tmp_path):
    """Yields archives that are not what was written, each with the words of its error."""
    file, content = made["file"], made["file"].read_bytes()

    def write(name, content):
        (tmp_path / name).write_bytes(content)
        return tmp_path / name

    yield write("empty", b""), "not a backup"
    yield write("text", b"hello\n" * 1000), "not a backup"
    yield write("zeros", bytes(4096)), "not a backup"
    yield write("database", (pathlib.Path(made["origin"].data) / "keyreeve.db").read_bytes()), "not a backup"
    for part in (0.3, 0.6, 0.9):
        yield write(f"cut-{part}", content[:int(len(content) * part)]), "cut off"
    yield write("cut-at-the-signature", content[:content.rindex(b"manifest.sig")]), "cut off"
    yield write("more", content + b"more"), "changed"
    places = range(600, len(content) - 1024, max(1, len(content) // 60))
    for place in places:
        flipped = bytearray(content)
        flipped[place] ^= 1
        # Padding of a member is no content: a change there is none.
        if not is_padding(file, place):
            yield write("flipped", bytes(flipped)), ""
    for name, words, change in [
        ("newer", "newer version", lambda name, old: old.replace(b'"format":1', b'"format":2')),
        ("newer-data", "newer version", lambda name, old: old.replace(b'"name:text"', b'"name:text","x:text"', 1)
            if name == "keyreeve-backup.json" else old),
        ("without-part", "changed", lambda name, old: None if name.startswith("tables/keys/") else old),
        ("without-manifest", "cut off", lambda name, old: None if name.startswith("manifest") else old),
        ("without-signature", "cut off", lambda name, old: None if name == "manifest.sig" else old),
        ("manifest", "changed", lambda name, old: old.replace(b'"revision": ', b'"revision": 1')
            if name == "manifest.json" else old),
        ("time", "changed", lambda name, old: old.replace(b'"taken_at": 1', b'"taken_at": 2')
            if name == "manifest.json" else old),
        ("part", "changed", lambda name, old: old[:-4] + b"abcd" if name.startswith("tables/keys/") else old),
    ]:
        yield rewritten(file, change, tmp_path / name), words


def is_padding(file, place):
    with tarfile.open(file) as archive:
        for member in archive:
            end = member.offset_data + member.size
            if end <= place < (end + 511) // 512 * 512:
                return True
            # Fields of the header that nothing depends on are covered by its checksum.
    return False


def test_a_backup_that_is_not_as_it_was_written_is_refused_in_one_sentence(made, place, tmp_path):
    for number, (file, words) in enumerate(bad_archives(made, tmp_path)):
        said = refused("backup", "verify", file)
        assert words in said, (file, said)
        if number % 7 == 0:
            target = place(name=f"refused-{number}")
            refused("backup", "restore", file, *target.options)
            left = {path.name for path in pathlib.Path(target.data).glob("*")}
            assert left <= {"lock"}, left
    assert "cannot be read" in refused("backup", "verify", tmp_path / "missing")


def test_a_backup_signed_by_another_key_is_refused(made, place, tmp_path):
    other = place(name="other")
    server = other.serve()
    assert server.stop() == 0
    said = refused("backup", "verify", made["file"], "--public-key", other.data)
    assert "another key" in said and said.count("SHA256:") == 2
    target = place(name="target")
    assert "another key" in refused("backup", "restore", made["file"], "--public-key", other.data, *target.options)
    # Signed again by a forger: consistent, and only the comparison of the keys shows it.
    assert "public key" in refused("backup", "verify", made["file"], "--public-key", "nonsense")
    key = (pathlib.Path(made["origin"].data) / "audit-verifier-key").read_text().strip()
    assert done("backup", "verify", made["file"], "--public-key", key)["fingerprint"].startswith("SHA256:")


def test_living_data_is_never_overwritten(made, place):
    origin = made["origin"]
    before = {path.name: path.read_bytes() for path in pathlib.Path(origin.data).glob("*")}
    assert "already" in refused("backup", "restore", made["file"], *origin.options)
    assert {path.name: path.read_bytes() for path in pathlib.Path(origin.data).glob("*") if path.name != "lock"} == {
        name: content for name, content in before.items() if name != "lock"}
    server = origin.serve()
    place.servers.append(server)
    assert "in use" in refused("backup", "restore", made["file"], *origin.options)
    server.root_key = made["root_key"]
    assert reasons(server, made["keys"]) == REASONS


def test_a_restore_that_was_killed_can_be_repeated(made, place):
    target = place(name="killed")
    os.makedirs(target.data)
    left = pathlib.Path(target.data) / "keyreeve.db-restoring"
    left.write_bytes(b"half of a database")
    done("backup", "restore", made["file"], "--accept", *target.options)
    assert not left.exists()
    server = target.serve()
    place.servers.append(server)
    server.root_key = made["root_key"]
    assert reasons(server, made["keys"]) == REASONS


@pytest.mark.skipif(not POSTGRES_SERVER, reason="no server")
def test_a_database_that_holds_an_instance_is_never_overwritten(made, place):
    living = place("postgres")
    server = living.serve()
    place.servers.append(server)
    key = server.create("living")
    target = ["--data", living.data + "-other", "--database", living.database]
    assert "already" in refused("backup", "restore", made["file"], *target)
    assert server.verify(key["secret"])["valid"]


def test_an_encrypted_backup_needs_an_identity_of_a_recipient(made, place, tmp_path):
    age("age-keygen", "-o", str(tmp_path / "own"))
    age("age-keygen", "-o", str(tmp_path / "other"))
    recipient = age("age-keygen", "-y", str(tmp_path / "own")).stdout.strip()
    check_encryption(made, place, tmp_path, recipient)


# A pair of age, so that this is tested without its programs.
RECIPIENT = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa"
IDENTITY = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33"
OTHER_IDENTITY = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX"


def test_a_backup_for_a_recipient_is_opened_by_its_identity_alone(made, place, tmp_path):
    (tmp_path / "own").write_text(f"# mine\n{IDENTITY}\n")
    (tmp_path / "other").write_text(OTHER_IDENTITY + "\n")
    check_encryption(made, place, tmp_path, RECIPIENT)


def check_encryption(made, place, tmp_path, recipient):
    file, target = tmp_path / "a.backup.age", place(name="opened")
    done("backup", "create", *made["origin"].options, "--recipient", recipient, "--out", file)
    assert file.read_bytes().startswith(b"age-encryption.org/v1") and b"keyreeve" not in file.read_bytes()
    assert "--identity" in refused("backup", "verify", file)
    assert "none of the identities" in refused("backup", "verify", file, "--identity", tmp_path / "other")
    said = refused("backup", "verify", file, "--identity", made["file"])
    assert "identity" in said and "AGE-SECRET" not in said
    verified = done("backup", "verify", file, "--identity", tmp_path / "other", "--identity", tmp_path / "own",
                    "--public-key", made["origin"].data)
    assert verified["is_encrypted"] and verified["revision"] == made["manifest"]["revision"]
    content = file.read_bytes()
    for name, bad in [("cut", content[:-100]), ("flipped", content[:2000] + b"x" + content[2001:]),
                      ("header", content[:100] + b"x" + content[101:])]:
        (tmp_path / name).write_bytes(bad)
        refused("backup", "verify", tmp_path / name, "--identity", tmp_path / "own")
    assert "recipient" in refused("backup", "create", *made["origin"].options, "--recipient", "age1x", "--out",
                                  tmp_path / "x")
    done("backup", "restore", file, "--accept", "--identity", tmp_path / "own", *target.options)
    server = target.serve()
    place.servers.append(server)
    server.root_key = made["root_key"]
    assert reasons(server, made["keys"]) == REASONS


def metric(server, name):
    for line in requests.get(server.ops + "/metrics", timeout=10).text.splitlines():
        if line.startswith(name + " "):
            return float(line.split()[1])
    raise AssertionError(name)


def eventually(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.1)
    return found


def test_scheduled_backups_are_verified_counted_and_only_they_are_pruned(place, tmp_path):
    origin, backups = place(), tmp_path / "backups"
    backups.mkdir()
    # Left behind by a process that was killed, and by other instances and people.
    (backups / ".keyreeve-abcdef.partial").write_text("x")
    others = ["keyreeve-00000000-20200101T000000Z.backup", "keyreeve.backup", "notes.txt"]
    for name in others:
        (backups / name).write_text("x")
    server = origin.serve("--backup-dir", str(backups), "--backup-every", "1m", "--backup-keep", "2")
    place.servers.append(server)
    # The file of another instance does not delay the first one, nor does anything else.
    own = lambda: sorted(path for path in backups.glob("keyreeve-*-*Z.backup") if path.name not in others)
    first = eventually(own)[0]
    eventually(lambda: metric(server, "keyreeve_backup_size_bytes") > 0)
    assert metric(server, "keyreeve_backup_failures_total") == 0
    assert abs(metric(server, "keyreeve_backup_last_success_timestamp_seconds") - time.time()) < 60
    assert metric(server, "keyreeve_backup_duration_seconds") > 0
    verified = done("backup", "verify", first, "--public-key", origin.data)
    assert first.name.startswith(f"keyreeve-{verified['instance'][:8]}-")
    assert not (backups / ".keyreeve-abcdef.partial").exists()
    # Older ones of this instance: the next backup keeps two.
    assert server.stop() == 0
    older = [first.with_name(first.name[:18] + f"2020010{day}T000000Z.backup") for day in range(1, 4)]
    for path in older:
        path.write_bytes(first.read_bytes())
    first.unlink()
    server = origin.serve("--backup-dir", str(backups), "--backup-every", "1m", "--backup-keep", "2")
    place.servers.append(server)
    eventually(lambda: len(own()) == 2 and own()[-1] not in older)
    assert own()[0] == older[-1]
    for name in others:
        assert (backups / name).exists(), name


def test_a_backup_that_is_not_due_is_not_made_by_a_restart(place, tmp_path):
    origin, backups = place(), tmp_path / "backups"
    for _ in range(2):
        server = origin.serve("--backup-dir", str(backups))
        place.servers.append(server)
        eventually(lambda: metric(server, "keyreeve_backup_last_success_timestamp_seconds") > 0)
        assert server.stop() == 0
    assert len(list(backups.glob("*"))) == 1


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB."""
    mounted = tmp_path / "small"
    mounted.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(mounted)], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("needs root")
    yield mounted
    subprocess.run(["umount", "--lazy", str(mounted)], check=False)


def test_a_full_disk_keeps_the_older_backups_and_leaves_no_part(place, tmp_path, small_disk):
    origin = place()
    server = origin.serve("--backup-dir", str(small_disk), "--backup-every", "1m")
    place.servers.append(server)
    first = eventually(lambda: list(small_disk.glob("*.backup")))[0]
    good = first.read_bytes()
    (small_disk / "filler").write_bytes(bytes(256 * 1024 - len(good) - 12 * 1024))
    for number in range(60):
        server.create(f"key {number}", claims={"noise": os.urandom(2_000).hex()})
    said = refused("backup", "create", *origin.options, "--out", small_disk / "second.backup")
    assert "No space left" in said
    assert {path.name for path in small_disk.glob("*")} == {first.name, "filler"} and first.read_bytes() == good
    # By the schedule: the file of a minute ago is renamed to be older, so that the next one is due.
    server.stop()
    older = first.rename(first.with_name(first.name[:18] + "20200101T000000Z.backup"))
    server.start()
    eventually(lambda: metric(server, "keyreeve_backup_failures_total") >= 1)
    assert "backup failed" in server.stderr()
    assert {path.name for path in small_disk.glob("*")} == {older.name, "filler"} and older.read_bytes() == good
    # The server goes on.
    assert server.verify(server.create("after")["secret"])["valid"]


def test_a_restore_onto_a_full_disk_leaves_nothing(made, place, small_disk):
    (small_disk / "filler").write_bytes(bytes(200 * 1024))
    refused("backup", "restore", made["file"], "--data", small_disk / "data")
    assert {path.name for path in (small_disk / "data").glob("*")} <= {"lock"}


@embedded_only
def test_doctor_asks_for_a_backup_of_an_instance_that_is_a_day_old(place, tmp_path):
    origin = place()
    server = origin.serve()
    place.servers.append(server)
    found = lambda: {finding["id"] for finding in json.loads(run("doctor", "--data", origin.data, "-o", "json").stdout)["findings"]}
    assert "backup-none" not in found()
    days_ago = time.time() - 3 * 86_400
    os.utime(pathlib.Path(origin.data) / "audit-signing-key", (days_ago, days_ago))
    assert "backup-none" in found()
    done("backup", "create", *origin.options, "--out", tmp_path / "a.backup")
    assert not {"backup-none", "backup-old"} & found()
    assert metric(server, "keyreeve_backup_last_success_timestamp_seconds") > days_ago
    server.stop()
    assert not {"backup-none", "backup-old"} & found(), "known without the server too"
    (pathlib.Path(origin.data) / "backup-last").write_text(f"{int(days_ago * 1000)}\n")
    assert "backup-old" in found()


def test_the_socket_of_the_api_does_not_send_backups(fresh):
    for path in ("/operator/backup", "/operator/backup-kept"):
        assert fresh.call("GET", path).status_code == 404
        assert requests.get(fresh.url + path, timeout=10).status_code in (401, 404)
