"""Verifiers inside applications: a revocation waits for their memory as it does for a node's."""
import contextlib
import pathlib
import signal
import socket
import subprocess
import threading
import time

import pytest
from child import Inside
from history import DENIED, UNAVAILABLE, VALID, History
from load import Load
from topology import LEASE_SECONDS, WAIT_SECONDS

from harness import BINARY, Server


@contextlib.contextmanager
def hanging(world, load, on=0):
    inside = Inside(world.nodes[on], load.history)
    try:
        yield inside
    finally:
        inside.close()


def remembered(load, inside, node, count=1):
    keys = load.issue(node, count)
    for key in keys:
        assert inside.ask(key) == VALID
    return keys


def test_a_revocation_is_effective_inside_applications_when_it_is_answered(world):
    with Load(world) as load, hanging(world, load) as inside:
        for number in range(30):
            (key,) = remembered(load, inside, world.nodes[0])
            began = time.monotonic()
            status, answer, _ = load.revoke(world.nodes[number % 3], key)
            assert status == 200 and answer["effect"]["scope"] == "everywhere"
            assert time.monotonic() - began < 1, "nobody was away, so nobody is waited for"
            assert inside.ask(key) == DENIED
            load.keys.remove(key)
        assert len(inside.revoked) == 30, "the application is told of each"


def test_every_kind_of_denial_is_effective_inside_applications(world):
    first, second, _ = world.nodes
    inside = Inside(first, History())
    try:
        def fresh(name, subject="user_1"):
            status, key = second.call("POST", "/v1/api_keys", {"name": name, "subject": subject})
            assert status == 201 and inside.ask(key) == VALID
            return key
        held, rotated, erased = fresh("held"), fresh("rotated"), fresh("erased")
        assert second.call("POST", f"/v1/api_keys/{held['id']}/disable", {})[0] == 200 and inside.ask(held) == DENIED
        assert second.call("POST", f"/v1/api_keys/{held['id']}/reactivate", {})[0] == 200 and inside.ask(held) == VALID
        status, anew = second.call("POST", f"/v1/api_keys/{rotated['id']}/rotate", {})
        assert status == 200 and inside.ask(anew) == VALID
        assert inside.answer(rotated, inside.send(rotated))[1]["reason"] == "rotated"
        assert second.call("DELETE", f"/v1/api_keys/{erased['id']}")[0] == 200 and inside.ask(erased) == DENIED
        status, user = second.call("POST", "/v1/users", {"email": "inside@example.org", "role": "member"})
        owned = fresh("owned", user["id"])
        for place, key in ((f"/v1/users/{user['id']}", owned), ("/v1/tenants/default", held)):
            for word, result in (("suspended", DENIED), ("active", VALID)):
                assert second.call("PATCH", place, {"status": word})[0] == 200
                assert inside.ask(key) == result, place
    finally:
        inside.close()


def test_a_stopped_application_is_waited_for_and_then_denies(world):
    with Load(world) as load, hanging(world, load) as inside:
        key, other = remembered(load, inside, world.nodes[0], 2)
        inside.signal(signal.SIGSTOP)
        began = time.monotonic()
        assert load.revoke(world.nodes[1], key)[0] == 200
        assert 0.5 < time.monotonic() - began < WAIT_SECONDS + 1
        # Requested after the answer, while the application is still stopped.
        inv = inside.send(key)
        began = time.monotonic()
        assert load.revoke(world.nodes[2], other)[0] == 200
        assert time.monotonic() - began < 1, "it is known to hold no lease"
        inside.signal(signal.SIGCONT)
        assert inside.answer(key, inv)[0] in (DENIED, UNAVAILABLE)
        again(inside, other, DENIED)


def again(inside, key, result, seconds=10):
    deadline = time.monotonic() + seconds
    while (said := inside.ask(key)) != result:
        assert said == UNAVAILABLE and time.monotonic() < deadline, said


def test_an_application_that_is_cut_off_says_so_when_its_lease_is_over(world):
    with Load(world) as load, hanging(world, load) as inside:
        key, kept = remembered(load, inside, world.nodes[0], 2)
        inside.cut()
        assert inside.ask(key) == VALID, "it has a lease"
        assert load.revoke(world.nodes[1], key)[0] == 200
        # The history's checker checks every answer from here on.
        assert inside.ask(key) == UNAVAILABLE and inside.ask(kept) == UNAVAILABLE
        inside.heal()
        again(inside, kept, VALID, 20)
        assert inside.ask(key) == DENIED


def test_an_application_whose_node_dies_ends_with_its_lease_and_comes_back(world):
    with Load(world) as load, hanging(world, load, on=2) as inside:
        key, kept = remembered(load, inside, world.nodes[2], 2)
        world.nodes[2].kill()
        assert inside.ask(key) == VALID, "it has a lease"
        assert load.revoke(world.nodes[0], key)[0] == 200
        assert inside.ask(key) == UNAVAILABLE
        world.nodes[2].start()
        again(inside, kept, VALID)
        assert inside.ask(key) == DENIED


def test_a_node_that_is_cut_from_the_database_takes_its_applications_with_it(world):
    with Load(world) as load, hanging(world, load) as inside:
        (key,) = remembered(load, inside, world.nodes[0])
        world.nodes[0].cut()
        time.sleep(LEASE_SECONDS / 0.9)
        assert inside.ask(key) == UNAVAILABLE, "a child's lease ends with its node's"
        assert load.revoke(world.nodes[1], key)[0] == 200
        world.nodes[0].heal()
        again(inside, key, DENIED)


@pytest.fixture
def single():
    server = Server(arguments=["--lease", "2000ms"])
    yield server
    server.close()


def lines(server):
    port = server.url.rsplit(":", 1)[1]
    environment = {"PATH": "/usr/bin:/bin", "KEYREEVE_URL": f"http://127.0.0.1:{port}", "KEYREEVE_ROOT_KEY": server.root_key}
    return subprocess.Popen([BINARY, "verifier"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def said(process, secret):
    process.stdin.write(secret.encode() + b"\n")
    process.stdin.flush()
    while "revoked" in (line := process.stdout.readline().decode()).split(":")[0]:
        pass
    return line


def test_after_a_kill_a_single_process_waits_for_the_leases_of_its_former_verifiers(single):
    key = single.create(name="one")
    application = lines(single)
    try:
        assert '"valid":true' in said(application, key["secret"])
        application.send_signal(signal.SIGSTOP)
        single.kill()
        single.start()
        began = time.monotonic()
        assert single.call("POST", f"/v1/api_keys/{key['id']}/revoke", json={}).status_code == 200
        assert time.monotonic() - began > WAIT_SECONDS - 1, "the application might still have answered"
        application.send_signal(signal.SIGCONT)
        assert '"valid":false' in said(application, key["secret"])
    finally:
        application.kill()
        application.wait()


def test_revocations_that_share_a_commit_each_wait_for_the_application(single):
    keys = [single.create(name=f"many {number}") for number in range(48)]
    application, lock, failed = lines(single), threading.Lock(), []
    try:
        for key in keys:
            assert '"valid":true' in said(application, key["secret"])

        def revoke(mine):
            for key in mine:
                status = single.call("POST", f"/v1/api_keys/{key['id']}/revoke", json={}).status_code
                with lock:
                    if status != 200 or '"valid":false' not in said(application, key["secret"]):
                        failed.append(key["id"])
        threads = [threading.Thread(target=revoke, args=(keys[place::12],)) for place in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed
    finally:
        application.kill()
        application.wait()


def test_a_single_process_that_stops_dismisses_its_verifiers(single):
    application = lines(single)
    key = single.create(name="two")
    try:
        assert '"valid":true' in said(application, key["secret"])
        marker = pathlib.Path(single.data, "verifiers")
        assert marker.read_text() == "2000\n"
        began = time.monotonic()
        assert single.stop() == 0
        assert time.monotonic() - began < 2 and not marker.exists()
        assert '"code":"SERVICE_UNAVAILABLE"' in said(application, key["secret"])
    finally:
        application.kill()
        application.wait()


def raw(server, *messages, upgrade="keyreeve-verifier", root_key=None):
    host, port = server.addresses["listen"].split(":")
    stream = socket.create_connection((host, int(port)), timeout=10)
    head = ["GET /v1/verifiers HTTP/1.1", "Host: x", f"Authorization: Bearer {root_key or server.root_key}",
            "Connection: Upgrade", f"Upgrade: {upgrade}", "", ""]
    stream.sendall("\r\n".join(head).encode())
    for message in messages:
        stream.sendall(message)
    return stream


def everything(stream):
    received = b""
    with contextlib.suppress(TimeoutError, ConnectionError):
        while data := stream.recv(65536):
            received += data
    return received


@pytest.mark.parametrize("nonsense", [
    b"nonsense\n", b'{"type":"ping","number":1}\n', b'{"type":"hello","capacity":-1}\n', b"\x00" * 4096 + b"\n",
    b'{"type":"hello","capacity":10}\n{"type":"hello","capacity":10}\n',
    b'{"type":"hello","capacity":10}\n{"type":"fetch","number":1,"digest":"xyz"}\n',
    b'{"type":"hello","capacity":10,"extra":1}\n',
])
def test_a_malformed_message_closes_its_connection_and_affects_no_other(single, nonsense):
    with raw(single, nonsense) as stream:
        assert everything(stream).startswith(b"HTTP/1.1 101")
    key = single.create(name=f"after {len(nonsense)} {nonsense[:9]!r}")
    assert single.verify(key["secret"])["valid"]
    began = time.monotonic()
    assert single.call("POST", f"/v1/api_keys/{key['id']}/revoke", json={}).status_code == 200
    assert time.monotonic() - began < 1, "nothing was granted, so nobody is waited for"


def test_the_stream_needs_the_upgrade_and_the_permission(single):
    with raw(single, upgrade="websocket") as stream:
        assert stream.recv(64).startswith(b"HTTP/1.1 426")
    made = single.call("POST", "/v1/root_keys", json={"name": "reads", "permissions": ["keys:read"]}).json()
    with raw(single, root_key=made["secret"]) as stream:
        assert stream.recv(64).startswith(b"HTTP/1.1 403")
    with raw(single, root_key="nobody") as stream:
        assert stream.recv(64).startswith(b"HTTP/1.1 401")
    assert single.call("GET", "/v1/verifiers").json()["code"] == "UPGRADE_REQUIRED"
