"""Bounds of a verifier: connections, memory, look-ups, and no delay for others."""
import json
import pathlib
import resource
import secrets
import socket
import time

import pytest
from verifier_client import Refused, WireVerifier, leave, upgraded
from verifier_world import LEASE, OVERDUE, SLACK, WAIT, at_once, honest, other, server, tenant, timed  # noqa: F401: fixtures


HANDSHAKE = 5.0
WRITE_TIMEOUT = 5.0
CONNECTIONS_MAX = 5_000
MEMORY_MAX = 64 * 1024 * 1024


def resident(server):
    text = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) * 1024


def hello(stream, capacity=1000):
    stream.sendall(json.dumps({"type": "hello", "capacity": capacity}).encode() + b"\n")


def flood(stream, data, seconds):
    """Sends the same data in a loop, reads nothing, and returns whether the server closed within a time."""
    deadline = time.monotonic() + seconds
    stream.settimeout(0.5)
    while time.monotonic() < deadline:
        try:
            stream.send(data)
        except TimeoutError:
            continue
        except OSError:
            return True
    return False


def is_closed(stream, seconds):
    stream.settimeout(seconds)
    try:
        while stream.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


# Pings are dropped while sixteen wait, so grants alone fill a connection slowly: it is closed when that is full, or when an
# order is not acknowledged, and delays no other caller until then.
@pytest.mark.parametrize("what, closed_after", [("ping", None), ("fetch", WRITE_TIMEOUT + 10), ("charge", WRITE_TIMEOUT + 10)])
def test_a_verifier_that_never_reads_is_closed_and_takes_little_memory(server, tenant, other, what, closed_after):
    before = resident(server)
    message = {"ping": {"type": "ping", "number": 1}, "fetch": {"type": "fetch", "number": 1, "digest": "0" * 64},
               "charge": {"type": "charge", "number": 1, "digest": "0" * 64, "cost": 1}}[what]
    streams = [upgraded(server, tenant.root_key, receive_buffer=4096)[0] for _ in range(4)]
    try:
        for stream in streams:
            hello(stream)
        data = (json.dumps(message).encode() + b"\n") * 500
        ends = [flood(stream, data, closed_after or 3) for stream in streams]
        assert closed_after is None or all(ends), "still connected"
        assert resident(server) - before < MEMORY_MAX
        at_once(lambda: other.revoke(other.key()))
        at_once(lambda: tenant.revoke(tenant.key()))
    finally:
        for stream in streams:
            stream.close()


def test_a_verifier_that_reads_nothing_delays_changes_of_its_keys_once(server, tenant):
    known = [tenant.key() for _ in range(3)]
    verifier = WireVerifier(server, tenant.root_key, acknowledges=False)
    try:
        verifier.learn(*known)
        began = time.monotonic()
        for key in known:
            tenant.revoke(key)
        assert time.monotonic() - began < OVERDUE + WAIT + SLACK, "its lease is waited for once, for all of them"
    finally:
        verifier.close()


@pytest.mark.parametrize("nonsense", [
    b"x" * (2 * 1024 * 1024), secrets.token_bytes(65536) + b"\n", b"\n", b"{}\n", b"[]\n", b'{"type":"nonsense"}\n',
    b'{"type":"ping","number":-1}\n', b'{"type":"ping","number":1e99}\n', b'{"type":"fetch","number":1,"digest":""}\n',
    b'{"type":"charge","number":1,"digest":"' + b"0" * 64 + b'","cost":4294967295}\n',
    b'{"type":"ack","number":18446744073709551616}\n', b'{"type":"hello","capacity":1}\n',
    b'{"type":"ack","number":18446744073709551615}\n', b'{"type":"ack","number":1}\n',
])
def test_a_malformed_message_closes_only_its_connection(server, tenant, nonsense):
    """Also an acknowledgement of an order that was never sent."""
    stream, _ = upgraded(server, tenant.root_key)
    with stream:
        hello(stream)
        try:
            stream.sendall(nonsense)
        except OSError:
            pass
        assert is_closed(stream, SLACK), nonsense[:40]
    at_once(lambda: tenant.revoke(tenant.key()))


def test_an_acknowledgement_of_an_order_never_sent_is_ignored(server, tenant):
    known = tenant.key()
    with WireVerifier(server, tenant.root_key, acknowledges=False) as verifier:
        verifier.learn(known)
        verifier.acknowledge(1_000_000)
        assert verifier.wait_closed(SLACK)
        tenant.revoke(known)
        assert time.monotonic() >= verifier.lease_end(), "it might still have answered"


def test_a_flood_of_reports_is_bounded(server, tenant, other):
    key = tenant.key()
    before = resident(server)
    seen = [{"digest": secrets.token_hex(32), "outcome": "valid", "count": 2**32 - 1, "last_at": 2**62}] * 4_000
    line = json.dumps({"type": "used", "seen": seen}).encode() + b"\n"
    assert len(line) < 1024 * 1024
    stream, _ = upgraded(server, tenant.root_key)
    with stream:
        hello(stream)
        flood(stream, line, 3)
        at_once(lambda: other.revoke(other.key()))
        assert tenant.valid(key)
    assert resident(server) - before < MEMORY_MAX


def test_look_ups_of_one_tenants_verifiers_do_not_block_those_of_others(server, tenant, other):
    """Thousands of unknown digests, by many connections: each would be a query of the database."""
    verifiers = [WireVerifier(server, tenant.root_key, pings=False) for _ in range(8)]
    try:
        for verifier in verifiers:
            lines = [json.dumps({"type": "fetch", "number": number, "digest": secrets.token_hex(32)})
                     for number in range(2_000)]
            verifier.send("\n".join([*lines, ""]).encode())
        with honest(WireVerifier(server, other.root_key)) as good:
            good.learn(*(other.key() for _ in range(3)))
        at_once(lambda: other.revoke(other.key()))
    finally:
        for verifier in verifiers:
            leave(verifier)


def connect_many(server, root_key, streams, greets=True):
    """Connects until it is refused."""
    while len(streams) < CONNECTIONS_MAX:
        try:
            stream, _ = upgraded(server, root_key)
        except Refused as refused:
            return refused
        streams.append(stream)
        if greets:
            hello(stream)
    return None


def test_verifiers_are_limited_by_root_key_and_tenant(server, tenant, other):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    streams = []
    try:
        refused = connect_many(server, tenant.root_key, streams)
        assert refused and (refused.status, refused.code) == (429, "VERIFIER_LIMIT_REACHED"), refused
        assert int(refused.headers["retry-after"]) >= 1
        by_root_key = len(streams)
        while True:
            before = len(streams)
            refused = connect_many(server, tenant.root()["secret"], streams)
            if len(streams) == before:
                break
        assert by_root_key < len(streams) < CONNECTIONS_MAX, "the tenant has a bound of its own"
        with honest(WireVerifier(server, other.root_key)) as good:
            good.learn(other.key())
        at_once(lambda: other.revoke(other.key()))
        at_once(lambda: tenant.revoke(tenant.key()))
        streams.pop(0).close()
        deadline = time.monotonic() + 10
        while connect_many(server, tenant.root_key, streams) and len(streams) < by_root_key:
            assert time.monotonic() < deadline, "a place that is free again can be taken"
    finally:
        for stream in streams:
            stream.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_connections_without_a_greeting_are_bounded_in_number_and_time(server, tenant, other):
    streams = []
    try:
        began = time.monotonic()
        refused = connect_many(server, tenant.root_key, streams, greets=False)
        assert refused and (refused.status, refused.code) == (429, "VERIFIER_LIMIT_REACHED"), refused
        assert len(streams) < 200
        with honest(WireVerifier(server, other.root_key)) as good:
            assert good.granted()
        assert all(is_closed(stream, began + HANDSHAKE + SLACK - time.monotonic()) for stream in streams)
        with honest(WireVerifier(server, tenant.root_key)) as late:
            assert late.granted()
    finally:
        for stream in streams:
            stream.close()


def test_a_verifier_may_ask_for_a_shorter_lease(server, tenant):
    known = tenant.key()
    with WireVerifier(server, tenant.root_key, acknowledges=False, lease_ms=1000) as verifier:
        verifier.learn(known)
        grants = [said["length_ms"] for _, said in verifier.received if said["type"] == "grant"]
        assert max(grants) <= 1000
        assert timed(lambda: tenant.revoke(known)) < OVERDUE + 1.25 * 1.0 + 0.5 + SLACK
    for absurd in (0, 10_000_000, 2**63):
        with honest(WireVerifier(server, tenant.root_key, lease_ms=absurd)) as verifier:
            assert 0 < verifier.granted()["length_ms"] <= LEASE * 1000


def test_a_head_that_comes_in_pieces_is_a_head(server, tenant):
    host, port = server.addresses["listen"].rsplit(":", 1)
    lines = ["GET /v1/verifiers HTTP/1.1", "Host: x", f"Authorization: Bearer {tenant.root_key}",
             "Connection: keep-alive, Upgrade", "Upgrade: websocket, keyreeve-verifier", "", ""]
    text = "\r\n".join(lines).encode() + b'{"type":"hello","capacity":5}\n{"type":"ping","number":7}\n'
    with socket.create_connection((host, int(port)), timeout=10) as stream:
        for place in range(0, len(text), 7):
            stream.sendall(text[place:place + 7])
        received = b""
        while b'"number":7' not in received:
            data = stream.recv(65536)
            assert data, received
            received += data
