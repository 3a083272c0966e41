"""Kill -9 during many creates: keys answered with 201 verify after the restart, and no change is half done."""
import concurrent.futures
import os
import threading
import time

import pytest
import requests

from harness import Server

ROUNDS = int(os.environ.get("KEYREEVE_KILL_ROUNDS", "5"))
WRITERS = 8


def storm(server, round_number, answered, stop):
    """Issues keys one by one and in batches until the server is gone; records the answered ones."""
    def write(writer):
        session = requests.Session()
        session.headers["Authorization"] = f"Bearer {server.root_key}"
        number = 0
        while not stop.is_set():
            number += 1
            name = f"r{round_number} w{writer} n{number}"
            wish = {"name": name, "subject": f"user_{writer}"}
            try:
                if number % 4 == 0:
                    items = [{**wish, "name": f"{name} i{item}"} for item in range(10)]
                    answer = session.post(f"{server.url}/v1/api_keys/batch", json={"items": items}, timeout=10)
                    keys = answer.json()["data"] if answer.status_code == 201 else []
                else:
                    answer = session.post(f"{server.url}/v1/api_keys", json=wish, timeout=10)
                    keys = [answer.json()] if answer.status_code == 201 else []
            except (requests.RequestException, ValueError):
                return
            answered.extend(keys)

    with concurrent.futures.ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(write, range(WRITERS)))


def listed(server):
    keys, cursor = [], None
    while True:
        params = {"limit": 100, "include_invalid": "true", **({"cursor": cursor} if cursor else {})}
        page = server.call("GET", "/v1/api_keys", params=params).json()
        keys += page["data"]
        cursor = page.get("next_cursor")
        if not cursor:
            assert len(keys) == page["total_count"]
            return keys


def assert_all_verify(server, keys):
    for start in range(0, len(keys), 100):
        part = keys[start:start + 100]
        questions = {"items": [{"key": key["secret"]} for key in part]}
        verdicts = server.call("POST", "/v1/verify/batch", json=questions).json()["data"]
        for key, verdict in zip(part, verdicts, strict=True):
            assert verdict["valid"], (key["name"], verdict)
            assert (verdict["key_id"], verdict["name"]) == (key["id"], key["name"])


@pytest.mark.parametrize("_", [0])
def test_every_key_that_was_answered_survives_kill_9(_):
    server = Server()
    root_key = server.root_key
    answered = []
    try:
        for number in range(ROUNDS):
            stop = threading.Event()
            writers = threading.Thread(target=storm, args=(server, number, answered, stop))
            writers.start()
            time.sleep(0.7)
            server.kill()
            stop.set()
            writers.join(30)
            server.start()
            server.root_key = root_key
            assert_all_verify(server, answered)
            there = listed(server)
            assert {key["id"] for key in answered} <= {key["id"] for key in there}
            assert_batches_are_whole(there)
        assert len(answered) > 50 * ROUNDS, "the storm was no storm"
    finally:
        server.close()


def assert_batches_are_whole(keys):
    batches = {}
    for key in keys:
        name, found, _ = key["name"].rpartition(" i")
        if found:
            batches[name] = batches.get(name, 0) + 1
    assert set(batches.values()) <= {10}, batches


def test_a_revocation_that_was_answered_survives_kill_9(fresh):
    keys = [fresh.create(f"k{n}") for n in range(20)]
    for key in keys:
        assert fresh.call("POST", f"/v1/api_keys/{key['id']}/revoke", json={}).status_code == 200
    root_key = fresh.root_key
    fresh.kill()
    fresh.start()
    fresh.root_key = root_key
    assert {fresh.verify(key["secret"])["reason"] for key in keys} == {"revoked"}
