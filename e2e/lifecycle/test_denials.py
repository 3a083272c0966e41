"""Denials are kept outside the database: an older copy of it gets them back, and the operator decides about the rest."""
import json
import os
import pathlib
import shutil
import subprocess
import time

import grpc
import pytest
import requests

import harness
from test_restore import copy_database, database, events, is_refused, keyreeve, ready

pytestmark = harness.embedded_only

# Denials are written twice a second.
WRITTEN_SECONDS = 10


def denials(server):
    return pathlib.Path(server.data) / "denials"


def wait_until_written(server):
    """Until the file has everything up to the present end of the log."""
    head = server.call("GET", "/v1/audit_events", params={"limit": 1}).json()["data"][0]["revision"]
    deadline = time.monotonic() + WRITTEN_SECONDS
    while metric(server, "keyreeve_denials_revision") < head:
        assert time.monotonic() < deadline, "the denials were not written"
        time.sleep(0.05)


def metric(server, name):
    text = requests.get(server.ops + "/metrics", timeout=10).text
    return float(next(line.split()[1] for line in text.splitlines() if line.startswith(name + " ")))


def accept(server, *arguments):
    return keyreeve("audit", "accept-restore", "--data", server.data, "--reason", "a drill", "--yes", *arguments)


def restore(server, *arguments):
    return keyreeve("restore", *arguments, "--data", server.data)


def reason(server, key):
    return server.verify(key["secret"])["reason"]


class Scene:
    """Two servers' worth of changes: everything is denied after the copy was made."""

    def __init__(self, tmp_path, ending):
        self.server = server = harness.Server()
        self.keys = {name: server.create(name, scopes=["read", "write"])
                     for name in ["kept", "revoked", "disabled", "erased", "rotated", "narrowed", "shortened", "back"]}
        made = server.call("POST", "/v1/users", json={"email": "u@example.com", "role": "member"})
        assert made.status_code == 201, made.text
        self.user = made.json()
        self.keys["owned"] = server.create("owned", subject=self.user["id"])
        self.root_key = server.call("POST", "/v1/root_keys", json={"name": "r", "permissions": ["keys:verify"]}).json()
        tenant = server.call("POST", "/v1/tenants", json={"slug": "acme", "name": "Acme"})
        assert tenant.status_code == 201, tenant.text
        self.tenant_key = tenant.json()["root_key"]["secret"] if "root_key" in tenant.json() else None
        assert server.stop() == 0
        self.older = tmp_path / "older" / "keyreeve.db"
        self.older.parent.mkdir()
        copy_database(database(server), self.older)
        server.start()
        self.deny()
        wait_until_written(server)
        assert server.call("GET", "/v1/audit/checkpoint").status_code == 200
        if ending == "stop":
            assert server.stop() == 0
        else:
            server.kill()

    def deny(self):
        server, ids = self.server, {name: key["id"] for name, key in self.keys.items()}
        for name, verb, body in [("revoked", "revoke", {}), ("disabled", "disable", {}), ("rotated", "rotate", {}),
                                 ("back", "disable", {}), ("back", "reactivate", {})]:
            done = server.call("POST", f"/v1/api_keys/{ids[name]}/{verb}", json=body)
            assert done.status_code == 200, done.text
        for name, change in [("narrowed", {"scopes": ["read"]}), ("shortened", {"seconds_until_expiration": 3600})]:
            done = server.call("PATCH", f"/v1/api_keys/{ids[name]}", json=change)
            assert done.status_code == 200, done.text
        assert server.call("DELETE", f"/v1/api_keys/{ids['erased']}").status_code in (200, 204)
        done = server.call("PATCH", f"/v1/users/{self.user['id']}", json={"status": "suspended"})
        assert done.status_code == 200, done.text
        assert server.call("DELETE", f"/v1/root_keys/{self.root_key['id']}").status_code in (200, 204)
        done = server.call("PATCH", "/v1/tenants/acme", json={"status": "suspended"})
        assert done.status_code == 200, done.text

    def put_back(self):
        copy_database(self.older, database(self.server))
        assert is_refused(self.server)

    def close(self):
        self.server.close()


@pytest.fixture(params=["stop", "kill"])
def scene(request, tmp_path):
    made = Scene(tmp_path, request.param)
    yield made
    made.close()


@pytest.fixture
def stopped(tmp_path):
    made = Scene(tmp_path, "stop")
    yield made
    made.close()


EXPECTED = {"kept": "valid", "revoked": "revoked", "disabled": "disabled", "erased": {"unknown", "revoked", "erased"},
            "rotated": "disabled", "narrowed": "disabled", "shortened": "disabled", "back": "valid",
            "owned": "owner_blocked"}


def test_an_older_copy_gets_every_denial_back(scene):
    scene.put_back()
    done = accept(scene.server, "--accept", "-o", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["denied_again"] == 9, done.stdout + done.stderr
    scene.server.start()
    for name, expected in EXPECTED.items():
        found = reason(scene.server, scene.keys[name])
        assert found == expected or found in expected, (name, found)
    refused = scene.server.call("POST", "/v1/verify", root_key=scene.root_key["secret"], json={"key": "x"})
    assert refused.status_code == 401, "the root key stays revoked"
    tenants = {one["slug"]: one for one in scene.server.call("GET", "/v1/tenants").json()["data"]}
    assert tenants["acme"]["status"] == "suspended"
    entry = events(scene.server, "instance.restored")[0]
    assert entry["actor"]["type"] == "operator" and entry["reason"] == "a drill"
    assert entry["after"]["choice"] == "accept" and entry["after"]["denied_again"] == 9
    assert scene.server.call("POST", "/v1/audit/verify", json={}).json()["ok"]


def test_a_second_restore_of_the_same_copy_gets_the_denials_back_again(stopped):
    """The file keeps what was written before the first restore."""
    for _ in range(2):
        stopped.put_back()
        assert accept(stopped.server, "--accept").returncode == 0
        stopped.server.start()
        assert reason(stopped.server, stopped.keys["revoked"]) == "revoked"
        extra = stopped.server.create("extra")
        stopped.server.call("POST", f"/v1/api_keys/{extra['id']}/revoke", json={})
        wait_until_written(stopped.server)
        assert stopped.server.stop() == 0


def test_without_the_file_the_span_begins_where_the_copy_ends(stopped):
    denials(stopped.server).unlink()
    stopped.put_back()
    done = accept(stopped.server, "--accept", "-o", "json")
    assert done.returncode == 0, done.stderr
    assert "No file with denials" in done.stderr
    told = json.loads(done.stdout)
    stopped.server.start()
    assert reason(stopped.server, stopped.keys["revoked"]) == "valid", "and that was accepted"
    entry = events(stopped.server, "instance.restored")[0]
    assert entry["after"]["unknown_since"] == entry["before"]["database"]["taken_at"]
    assert told["unknown_since"] < told["unknown_until"]


def test_a_file_that_was_saved_elsewhere_is_applied_when_it_is_named(stopped, tmp_path):
    saved = tmp_path / "saved"
    denials(stopped.server).rename(saved)
    stopped.put_back()
    missing = accept(stopped.server, "--accept", "--denials", tmp_path / "missing")
    assert missing.returncode == 1 and "no such file" in missing.stderr, missing.stderr
    assert is_refused(stopped.server), "nothing was accepted"
    assert accept(stopped.server, "--accept", "--denials", saved).returncode == 0
    stopped.server.start()
    assert reason(stopped.server, stopped.keys["revoked"]) == "revoked"


def test_the_file_of_another_instance_is_refused_by_name(stopped, tmp_path):
    other = harness.Server()
    wait_until_written(other)
    assert other.stop() == 0
    named = tmp_path / "others"
    shutil.copy(denials(other), named)
    other.close()
    stopped.put_back()
    refused = accept(stopped.server, "--accept", "--denials", named)
    assert refused.returncode == 1 and str(named) in refused.stderr and "another instance" in refused.stderr
    assert is_refused(stopped.server)
    shutil.copy(named, denials(stopped.server))
    refused = accept(stopped.server, "--accept")
    assert refused.returncode == 1 and str(denials(stopped.server)) in refused.stderr


@pytest.mark.parametrize("harm", ["cut", "changed", "removed"])
def test_everything_that_can_be_read_of_a_damaged_file_is_used(stopped, harm):
    path = denials(stopped.server)
    lines = path.read_bytes().splitlines(keepends=True)
    place = next(number for number, line in enumerate(lines) if b" held " in line)
    if harm == "cut":
        # Within the last line, as after a crash.
        path.write_bytes(b"".join(lines)[:-10])
    elif harm == "changed":
        lines[place] = lines[place].replace(b" held ", b" hold ")
        path.write_bytes(b"".join(lines))
    else:
        path.write_bytes(b"".join(lines[:place] + lines[place + 1:]))
    stopped.put_back()
    done = accept(stopped.server, "--accept", "-o", "json")
    assert done.returncode == 0, done.stderr
    assert ("cannot be read" in done.stderr) == (harm != "cut"), done.stderr
    stopped.server.start()
    assert reason(stopped.server, stopped.keys["revoked"]) == "revoked", "before the damage"
    assert reason(stopped.server, stopped.keys["rotated"]) == "disabled", "after the damage"
    entry = events(stopped.server, "instance.restored")[0]["after"]
    if harm != "cut":
        lost = entry["unknown_until"] - entry["unknown_since"]
        assert lost > 0, "from the damage on no denial is known"


def field(number, content):
    return bytes([number << 3 | 2, len(content)]) + content


def by_grpc(server, secret):
    """Envoy's CheckRequest with the header authorization, for the policy `default`. Returns the answer."""
    pair = field(1, b"authorization") + field(2, b"Bearer " + secret.encode())
    policy = field(10, field(1, b"keyreeve_policy") + field(2, b"default"))
    asked = field(1, field(4, field(2, field(3, pair))) + policy)
    with grpc.insecure_channel(server.addresses["check_listen"]) as channel:
        return channel.unary_unary("/envoy.service.auth.v3.Authorization/Check")(asked, timeout=20)


def undecided(scene):
    scene.put_back()
    done = accept(scene.server)
    assert done.returncode == 0, done.stderr
    assert "No choice was made" in done.stderr
    scene.server.start()
    return scene.server


def test_without_a_choice_no_face_verifies_a_key_and_management_works(stopped):
    server, key = undecided(stopped), stopped.keys["kept"]
    answer = server.call("POST", "/v1/verify", json={"key": key["secret"]})
    assert answer.status_code == 503, answer.text
    assert answer.json()["code"] == "SERVICE_UNAVAILABLE" and answer.json()["reason"] == "restore_undecided"
    batch = server.call("POST", "/v1/verify/batch", json={"items": [{"key": key["secret"]}]})
    assert batch.status_code == 503, batch.text
    clerk = server.call("POST", "/v1/api_keys/verify", json={"secret": key["secret"]})
    assert clerk.status_code == 503, clerk.text
    me = requests.get(server.url + "/v1/me", headers={"Authorization": "Bearer " + key["secret"]}, timeout=10)
    assert me.status_code == 503 and "restored" in me.json()["detail"], me.text
    gateway = requests.get(server.check + "/gateway/generic/default",
                           headers={"Authorization": "Bearer " + key["secret"]}, timeout=10)
    assert gateway.status_code == 503 and "restored" in gateway.json()["detail"], gateway.text
    assert b"SERVICE_UNAVAILABLE" in by_grpc(server, key["secret"])
    told = requests.post(server.url + "/oauth2/introspect", data={"token": key["secret"]},
                         headers={"Authorization": "Bearer " + server.root_key}, timeout=10)
    assert told.status_code == 503, told.text
    upgrade = requests.get(server.url + "/v1/verifiers", timeout=10, headers={
        "Authorization": "Bearer " + server.root_key, "Connection": "Upgrade", "Upgrade": "keyreeve-verifier"})
    assert upgrade.status_code == 503, upgrade.text
    told = ready(server)
    assert told.status_code == 503 and "keyreeve restore decide" in told.text, told.text
    assert "[-]restore" in ready(server, "?verbose").text
    assert metric(server, "keyreeve_restore_undecided") == 1
    assert server.call("GET", "/v1/api_keys").status_code == 200
    assert server.call("POST", f"/v1/api_keys/{key['id']}/revoke", json={}).status_code == 200
    assert len(events(server, "instance.restored")) == 1
    assert server.stop() == 0
    server.start()
    assert ready(server).status_code == 503, "also after a restart"


def test_the_choice_is_made_while_the_server_runs(stopped):
    server = undecided(stopped)
    state = json.loads(restore(server, "status", "-o", "json").stdout)
    assert state["state"] == "undecided" and not state["is_verifying"]
    assert restore(server, "decide", "--reason", "x").returncode == 2
    done = restore(server, "decide", "--accept", "--reason", "nobody revoked anything")
    assert done.returncode == 0, done.stderr
    assert reason(server, stopped.keys["kept"]) == "valid"
    assert reason(server, stopped.keys["revoked"]) == "revoked"
    assert ready(server).status_code == 200
    assert events(server, "instance.restore_decided")[0]["after"]["choice"] == "accept"


def test_the_choice_is_made_without_a_server(stopped):
    server = undecided(stopped)
    assert server.stop() == 0
    assert restore(server, "decide", "--accept", "--reason", "x").returncode == 0
    server.start()
    assert reason(server, stopped.keys["kept"]) == "valid"


def test_accept_restore_may_be_repeated_with_a_choice(stopped):
    server = undecided(stopped)
    assert server.stop() == 0
    assert accept(server, "--hold-all").returncode == 0
    server.start()
    assert reason(server, stopped.keys["kept"]) == "disabled"
    assert server.stop() == 0
    assert "nothing to accept" in accept(server, "--accept").stderr


def test_held_keys_are_released_by_a_filter_and_denied_ones_are_not(stopped):
    stopped.put_back()
    assert accept(stopped.server, "--hold-all").returncode == 0
    server, keys = stopped.server, stopped.keys
    server.start()
    assert {reason(server, keys[name]) for name in ["kept", "back", "rotated", "disabled"]} == {"disabled"}
    assert restore(server, "release").returncode == 2, "neither a filter nor --all"
    dry = json.loads(restore(server, "release", "--all", "--dry-run", "-o", "json").stdout)
    assert dry == {"matched": 3, "released": 0}, "kept, back and the one of the suspended user"
    done = json.loads(restore(server, "release", "--id", keys["kept"]["id"], "-o", "json").stdout)
    assert done == {"matched": 1, "released": 1}
    assert reason(server, keys["kept"]) == "valid"
    assert reason(server, keys["back"]) == "disabled"
    assert restore(server, "release", "--all").returncode == 0
    assert reason(server, keys["back"]) == "valid"
    for name in ["rotated", "disabled", "narrowed", "shortened"]:
        assert reason(server, keys[name]) == "disabled", name
    lifted = server.call("POST", f"/v1/api_keys/{keys['narrowed']['id']}/reactivate", json={})
    assert lifted.status_code == 200, "an administrator has looked at it"


def test_keys_that_were_not_changed_or_used_since_a_time_stay_valid(tmp_path):
    server = harness.Server()
    idle = server.create("idle")
    time.sleep(1.2)
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    fresh = server.create("fresh")
    assert server.stop() == 0
    older = tmp_path / "keyreeve.db"
    copy_database(database(server), older)
    server.start()
    server.create("lost")
    assert server.stop() == 0
    copy_database(older, database(server))
    late = accept(server, "--hold-since", "2100-01-01T00:00:00Z")
    assert late.returncode == 1 and "Nothing was changed" in late.stderr
    assert is_refused(server)
    done = accept(server, "--hold-since", since)
    assert done.returncode == 0, done.stderr
    server.start()
    assert (reason(server, idle), reason(server, fresh)) == ("valid", "disabled")
    server.close()


def test_a_restore_that_is_killed_anywhere_verifies_nothing_until_it_is_repeated(stopped):
    stopped.put_back()
    server = stopped.server
    environment = {name: value for name, value in os.environ.items() if not name.startswith("KEYREEVE_")}
    command = [harness.BINARY, "audit", "accept-restore", "--data", server.data, "--reason", "x", "--yes", "--accept"]
    for step in range(10):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
        time.sleep(0.01 * step)
        process.kill()
        process.wait()
        if not is_still_refused(server):
            break
    else:
        assert accept(server, "--accept").returncode == 0
        server.start()
    assert reason(server, stopped.keys["revoked"]) == "revoked"
    assert reason(server, stopped.keys["kept"]) == "valid"


def is_still_refused(server):
    try:
        server.start()
    except RuntimeError:
        server.process.wait(timeout=30)
        return True
    return False


def test_a_full_disk_stops_no_revocation_and_is_reported(fresh):
    """The file cannot be written: a directory is in its place."""
    wait_until_written(fresh)
    path = denials(fresh)
    path.unlink()
    path.mkdir()
    key = fresh.create("k")
    assert fresh.call("POST", f"/v1/api_keys/{key['id']}/revoke", json={}).status_code == 200
    deadline = time.monotonic() + WRITTEN_SECONDS
    while metric(fresh, "keyreeve_denials_failing") == 0:
        assert time.monotonic() < deadline, "it was not noticed"
        time.sleep(0.05)
    assert metric(fresh, "keyreeve_denials_write_failures_total") > 0
    assert ready(fresh).status_code == 200 and "[-]denials" in ready(fresh, "?verbose").text
    path.rmdir()
    deadline = time.monotonic() + WRITTEN_SECONDS
    while metric(fresh, "keyreeve_denials_failing") == 1:
        assert time.monotonic() < deadline, "it does not continue"
        time.sleep(0.05)
    wait_until_written(fresh)
    assert key["id"].encode() in path.read_bytes(), "what could not be written is written later"


def test_the_file_has_no_secret_and_is_readable_by_its_owner_only(stopped):
    path = denials(stopped.server)
    assert path.stat().st_mode & 0o777 == 0o600
    text = path.read_text()
    for key in stopped.keys.values():
        assert key["secret"] not in text and key["secret"][-43:] not in text
