"""Several nodes on one database: a changed check policy is effective on all of them when it is answered."""
import os
import subprocess
import time

import pytest
from harness import Server, new_database
from real import ask, bearer

POSTGRES = os.environ.get("KEYREEVE_TEST_POSTGRES")
ROUNDS = 20


@pytest.fixture
def nodes():
    if not POSTGRES:
        pytest.skip("needs a Postgres server: . scripts/with-postgres")
    database = new_database(POSTGRES)
    first = Server(arguments=["--database", database, "--lease", "2s"])
    second = Server(arguments=["--database", database])
    second.root_key = first.root_key
    yield first, second
    first.close()
    second.close()


def status(node, secret, policy="default"):
    return ask(node.addresses["check_listen"], f"/gateway/generic/{policy}", [bearer(secret)]).status


def test_a_policy_changed_here_holds_there_when_it_is_answered(nodes):
    first, second = nodes
    secret = first.create(name="one", subject="user_1", scopes=["a"])["secret"]
    assert status(first, secret) == status(second, secret) == 200
    for number in range(ROUNDS):
        here, there = nodes if number % 2 == 0 else reversed(nodes)
        wanted, expected = (["b"], 403) if number % 4 < 2 else (["a"], 200)
        changed = here.call("PATCH", "/v1/check_policies/default", json={"scopes": wanted})
        # The first request after the answer, and no other.
        assert (status(there, secret), status(here, secret)) == (expected, expected), number
        assert changed.json()["effect"]["scope"] == "everywhere"


def test_a_removed_policy_denies_on_every_node(nodes):
    first, second = nodes
    secret = first.create(name="one", subject="user_1")["secret"]
    assert first.call("POST", "/v1/check_policies", json={"name": "orders"}).status_code == 201
    assert status(second, secret, "orders") == 200, "known there when it is answered here"
    assert first.call("DELETE", "/v1/check_policies/orders").status_code == 200
    assert status(second, secret, "orders") == 403


def test_a_policy_changed_by_sql_holds_soon(nodes):
    first, second = nodes
    secret = first.create(name="one", subject="user_1")["secret"]
    assert first.call("PATCH", "/v1/check_policies/default", json={"meta": True}).status_code == 200
    assert status(second, secret) == 200
    database = first.arguments[first.arguments.index("--database") + 1]
    change = "UPDATE check_policies SET document = replace(document, '\"scopes\":[]', '\"scopes\":[\"b\"]')"
    subprocess.run(["psql", "-q", database, "-c", change], check=True)
    deadline = time.monotonic() + 4
    while status(second, secret) != 403:
        assert time.monotonic() < deadline
        time.sleep(0.05)
