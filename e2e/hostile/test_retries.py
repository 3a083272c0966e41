"""Idempotency keys: a lost answer never locks a key holder out, and exactly one new secret works."""
import concurrent.futures

from harness import assert_error


def send(server, path, mark, body):
    return server.call("POST", path, json=body, headers={"Idempotency-Key": mark})


def test_a_create_whose_answer_was_lost_is_repeated_with_a_fresh_secret(server):
    body = {"name": "lost", "subject": "user_1"}
    first, second = (send(server, "/v1/api_keys", "c1", body).json() for _ in range(2))
    assert first["id"] == second["id"] and first["secret"] != second["secret"]
    assert not server.verify(first["secret"])["valid"]
    assert server.verify(second["secret"])["valid"]
    error = assert_error(send(server, "/v1/api_keys", "c1", body), 409, "ALREADY_COMPLETED")
    assert error["errors"][0]["meta"]["keys"] == [first["id"]]


def test_a_create_whose_secret_was_looked_at_without_a_use_is_not_repeated(server):
    body = {"name": "looked at", "subject": "user_1"}
    made = send(server, "/v1/api_keys", "look", body).json()
    assert server.verify(made["secret"], cost=0)["valid"]
    assert_error(send(server, "/v1/api_keys", "look", body), 409, "ALREADY_COMPLETED")
    assert server.verify(made["secret"])["valid"]


def test_a_rotation_whose_answer_was_lost_is_repeated_with_a_fresh_secret(server):
    key = server.create("lost rotation")
    path = f"/v1/api_keys/{key['id']}/rotate"
    first, second = (send(server, path, "r1", {}).json() for _ in range(2))
    assert server.verify(key["secret"])["reason"] == "rotated"
    assert not server.verify(first["secret"])["valid"]
    assert server.verify(second["secret"])["valid"]
    assert_error(send(server, path, "r1", {}), 409, "ALREADY_COMPLETED")


def test_a_retry_neither_ends_nor_restarts_an_overlap(server):
    key = server.create("overlap retry")
    path = f"/v1/api_keys/{key['id']}/rotate"
    first, second = (send(server, path, "r2", {"overlap_seconds": 3600}).json() for _ in range(2))
    assert second["retiring_until"] == first["retiring_until"]
    assert server.verify(key["secret"])["valid"]
    assert not server.verify(first["secret"])["valid"] and server.verify(second["secret"])["valid"]


def test_a_batch_is_repeated_as_a_whole(server):
    body = {"items": [{"name": f"b{n}", "subject": "user_b"} for n in range(3)]}
    first, second = (send(server, "/v1/api_keys/batch", "b1", body).json()["data"] for _ in range(2))
    assert [key["id"] for key in first] == [key["id"] for key in second]
    assert all(server.verify(key["secret"])["valid"] for key in second)
    assert not any(server.verify(key["secret"])["valid"] for key in first)
    assert_error(send(server, "/v1/api_keys/batch", "b1", body), 409, "ALREADY_COMPLETED")


def test_an_idempotency_key_on_another_request_is_refused(server):
    send(server, "/v1/api_keys", "m1", {"name": "m1", "subject": "user_1"})
    error = send(server, "/v1/api_keys", "m1", {"name": "other", "subject": "user_1"})
    assert_error(error, 422, "IDEMPOTENCY_KEY_REUSED")


def test_an_idempotency_key_belongs_to_its_caller(server):
    other = server.call("POST", "/v1/root_keys", json={"name": "o", "permissions": ["keys:write"]}).json()["secret"]
    send(server, "/v1/api_keys", "own", {"name": "own 1", "subject": "user_1"})
    answer = server.call(
        "POST", "/v1/api_keys", root_key=other, headers={"Idempotency-Key": "own"},
        json={"name": "own 2", "subject": "user_1"},
    )
    assert answer.status_code == 201


def test_a_repeated_revoke_is_not_carried_out_again(server):
    key = server.create("revoke once")
    path = f"/v1/api_keys/{key['id']}"
    assert send(server, path + "/disable", "d1", {}).json()["state"] == "disabled"
    assert send(server, path + "/reactivate", "d2", {}).json()["state"] == "active"
    assert send(server, path + "/disable", "d1", {}).json()["state"] == "active"
    assert server.verify(key["secret"])["valid"]


def test_identical_requests_at_once_make_one_key(server):
    body = {"name": "at once", "subject": "user_at_once"}
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: send(server, "/v1/api_keys", "p1", body), range(16)))
    assert all(answer.status_code == 201 for answer in answers), [answer.text for answer in answers]
    assert len({answer.json()["id"] for answer in answers}) == 1
    working = [answer.json()["secret"] for answer in answers if server.verify(answer.json()["secret"])["valid"]]
    assert len(working) == 1


def test_a_malformed_idempotency_key_is_refused(server):
    assert_error(send(server, "/v1/api_keys", "x" * 256, {"name": "x", "subject": "s"}), 400)
