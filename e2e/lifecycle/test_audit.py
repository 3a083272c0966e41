"""The audit log: complete, and every manipulation is found."""
import atexit
import json
import pathlib
import shutil
import sqlite3
import subprocess
import tempfile
import time

import pytest

import harness
from systems import System, assert_error


def keyreeve(*arguments):
    environment = {name: value for name, value in harness.os.environ.items() if not name.startswith("KEYREEVE_")}
    return subprocess.run([harness.BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=60,
                          check=False, env=environment)


@pytest.fixture(scope="module")
def stopped():
    """The data directory of a server that has made changes and was stopped."""
    if harness.POSTGRES:
        pytest.skip("is about the file in the data directory")
    server = harness.Server()
    system = System(server, "keep")
    for number in range(10):
        key = system.create()
        if number % 2:
            system.do(key, "revoke", {"revocation_reason": f"reason {number}"})
    assert server.stop() == 0
    yield pathlib.Path(server.data)
    server.close()


def verified(data, *arguments):
    done = keyreeve("audit", "verify", "--file", data, "-o", "json", *arguments)
    return done.returncode, json.loads(done.stdout)


def copy_of(data):
    place = tempfile.mkdtemp(prefix="keyreeve-copy-")
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    copy = pathlib.Path(place) / "data"
    shutil.copytree(data, copy)
    return copy


def test_an_unchanged_log_passes_with_and_without_a_server(stopped, server):
    code, check = verified(stopped)
    assert code == 0 and check["ok"] and check["entries"] == check["checkpoint_revision"] > 15
    System(server, "keep").create()
    check = server.call("POST", "/v1/audit/verify", json={}).json()
    assert check["ok"] and "first_broken" not in check


HEAD = "UPDATE head SET revision = (SELECT max(revision) FROM log), " \
       "chain = (SELECT chain FROM log ORDER BY revision DESC LIMIT 1)"
COLUMNS = ["at", "tenant", "actor_type", "actor_id", "action", "target_type", "target_id", "subject", "reason",
           "address", "request_id", "before", "after", "chain"]


def tampered(stopped, *statements):
    copy = copy_of(stopped)
    with sqlite3.connect(copy / "keyreeve.db") as database:
        for statement in statements:
            database.execute(statement)
    return verified(copy)


@pytest.mark.parametrize("column", COLUMNS)
def test_a_changed_column_is_found(stopped, column):
    value = {"at": "at + 1", "chain": "zeroblob(32)"}.get(column, f"coalesce({column}, '') || 'x'")
    code, check = tampered(stopped, f"UPDATE log SET {column} = {value} WHERE revision = 7")
    assert code == 3 and not check["ok"] and check["first_broken"] == 7 and check["entries"] == 6


def test_a_removed_entry_is_found(stopped):
    code, check = tampered(stopped, "DELETE FROM log WHERE revision = 7")
    assert code == 3 and check["first_broken"] == 7


def test_reordered_entries_are_found(stopped):
    code, check = tampered(
        stopped, "UPDATE log SET revision = -1 WHERE revision = 7", "UPDATE log SET revision = 7 WHERE revision = 8",
        "UPDATE log SET revision = 8 WHERE revision = -1")
    assert code == 3 and check["first_broken"] == 7


def test_a_removed_entry_that_was_closed_up_is_found(stopped):
    code, check = tampered(
        stopped, "DELETE FROM log WHERE revision = 7", "UPDATE log SET revision = revision - 1 WHERE revision > 7", HEAD)
    assert code == 3 and check["first_broken"] == 7


@pytest.mark.parametrize("statements", [
    ["DELETE FROM log WHERE revision > 12"],
    ["DELETE FROM log WHERE revision > 12", HEAD],
    ["DELETE FROM log", "UPDATE head SET revision = 0, chain = zeroblob(32)"],
])
def test_a_log_that_was_cut_off_is_found_even_with_its_head(stopped, statements):
    code, check = tampered(stopped, *statements)
    assert code == 3 and not check["ok"] and check["first_broken"] == check["entries"] + 1


def test_a_checkpoint_kept_elsewhere_finds_what_one_beside_the_file_cannot(stopped):
    kept = pathlib.Path(tempfile.mkdtemp(prefix="keyreeve-kept-"))
    for name in ["audit-checkpoint", "audit-verifier-key"]:
        shutil.copy(stopped / name, kept / name)
    copy = copy_of(stopped)
    with sqlite3.connect(copy / "keyreeve.db") as database:
        database.execute("DELETE FROM log WHERE revision > 12")
        database.execute(HEAD)
    (copy / "audit-checkpoint").unlink()
    code, check = verified(copy)
    assert code == 0 and check["checkpoint_revision"] is None, "nothing is left to tell"
    code, check = verified(copy, "--checkpoint", kept / "audit-checkpoint", "--verifier-key", kept / "audit-verifier-key")
    assert code == 3 and check["first_broken"] == 13


def test_a_forged_checkpoint_is_refused(stopped, server):
    copy = copy_of(stopped)
    note = (copy / "audit-checkpoint").read_text()
    lines = note.splitlines(keepends=True)
    lines[1] = "12\n"
    (copy / "audit-checkpoint").write_text("".join(lines))
    done = keyreeve("audit", "verify", "--file", copy)
    assert done.returncode == 1 and "not signed" in done.stderr
    body = assert_error(server.call("POST", "/v1/audit/verify", json={"checkpoint": note}), 400, "BAD_REQUEST")
    assert body["errors"][0]["meta"]["param_name"] == "checkpoint"


def test_a_checkpoint_of_this_server_is_taken(server):
    checkpoint = server.call("GET", "/v1/audit/checkpoint").json()
    System(server, "keep").create()
    check = server.call("POST", "/v1/audit/verify", json={"checkpoint": checkpoint["note"]}).json()
    assert check["ok"] and check["checkpoint_revision"] == checkpoint["revision"] < check["entries"]


def test_a_refused_attempt_by_a_known_caller_is_written_down(standard):
    member, key = standard.person(), standard.create()
    few = standard.call("POST", "/v1/root_keys", json={"name": "few", "permissions": ["keys:read"]}).json()
    standard.server.call("POST", f"/v1/api_keys/{key['id']}/revoke", root_key=few["secret"], json={})
    refused = standard.audit(action="access.refused")[0]
    assert refused["actor"] == {"type": "root_key", "id": few["id"]} and refused["target"]["id"] == key["id"]
    assert refused["reason"] == "PERMISSION_DENIED: POST /v1/api_keys/{id}/revoke"
    member.call("GET", "/v1/users")
    assert standard.audit(action="access.refused")[0]["actor"] == {"type": "user", "id": member.id}
    standard.do(key, "revoke")
    standard.do(key, "rotate", status=409)
    assert standard.audit(action="access.refused")[0]["reason"].startswith("INVALID_TRANSITION")
    count = len(standard.audit(limit=1000))
    standard.server.call("GET", "/v1/api_keys", root_key="kr_root_kr1" + "0" * 49)
    assert len(standard.audit(limit=1000)) == count, "strangers do not fill the log"


def test_erasing_a_key_keeps_its_history_without_its_data(fresh):
    system = System(fresh, "standard")
    canaries = {"description": "canary-description", "claims": {"plan": "canary-claim"}}
    key = system.create(**canaries)
    system.call("PATCH", f"/v1/api_keys/{key['id']}", json={"claims": {"plan": "canary-claim-2"}})
    system.call("DELETE", f"/v1/api_keys/{key['id']}", params={"reason": "asked by the owner"})
    history = system.call("GET", f"/v1/api_keys/{key['id']}/events").json()["data"]
    assert [event["action"] for event in history] == ["key.created", "key.updated", "key.erased"]
    assert history[1]["before"]["claims"] != history[1]["after"]["claims"], "that it changed is seen"
    assert history[-1]["reason"] == "asked by the owner" and history[-1]["before"]["last_four"] == key["last_four"]
    assert "canary" not in json.dumps(history)
    assert fresh.stop() == 0
    with sqlite3.connect(pathlib.Path(fresh.data) / "keyreeve.db") as database:
        dump = "\n".join(database.iterdump())
    assert "canary" not in dump


def test_tail_follows_and_export_gives_everything(fresh):
    system = System(fresh, "standard")
    tail = subprocess.Popen([harness.BINARY, "audit", "tail", "-f", "-n", "1", "--tenant", system.slug, "--data", fresh.data],
                            stdout=subprocess.PIPE, text=True)
    try:
        assert json.loads(tail.stdout.readline())["action"] == "root_key.created"
        key = system.create()
        assert json.loads(tail.stdout.readline())["target"]["id"] == key["id"]
    finally:
        tail.kill()
        tail.wait()
    exported = keyreeve("audit", "export", "--tenant", system.slug, "--data", fresh.data)
    events = [json.loads(line) for line in exported.stdout.splitlines()]
    assert [event["revision"] for event in events] == sorted(event["revision"] for event in events)
    assert events == system.audit(order="asc", limit=1000)
    only = keyreeve("audit", "export", "--tenant", system.slug, "--data", fresh.data, "--action", "key.")
    assert [json.loads(line)["action"] for line in only.stdout.splitlines()] == ["key.created"]


@pytest.mark.parametrize("query", ["key_id=x", "actor_id=%00", "action=nothing", "since=yesterday", "since=-1", "limit=0",
                                   "limit=1001", "cursor=0", "order=up", "colour=1", "since=1&since=2"])
def test_a_filter_that_makes_no_sense_is_refused(server, query):
    assert_error(server.call("GET", f"/v1/audit_events?{query}"), 400, "BAD_REQUEST")


def test_the_log_goes_on_over_restarts(fresh):
    for _ in range(3):
        System(fresh, "keep").create()
        assert fresh.stop() == 0
        fresh.start()
    check = fresh.call("POST", "/v1/audit/verify", json={}).json()
    assert check["ok"] and check["checkpoint_revision"] == check["entries"]
    fresh.kill()
    time.sleep(0.1)
    fresh.start()
    assert fresh.call("POST", "/v1/audit/verify", json={}).json()["ok"]
