"""Several nodes on one database: a change with `If-Match` is refused on each of them once another node has changed the record."""
import concurrent.futures
import os

import pytest

from harness import Server, new_database
from systems import System

POSTGRES = os.environ.get("KEYREEVE_TEST_POSTGRES") or pytest.skip("no server", allow_module_level=True)
ROUNDS = 10


@pytest.fixture
def nodes():
    database = new_database(POSTGRES)
    first = Server(arguments=["--database", database])
    second = Server(arguments=["--database", database])
    second.root_key = first.root_key
    yield first, second
    first.close()
    second.close()


def test_of_two_changes_of_one_version_on_two_nodes_one_is_made(nodes):
    first, _ = nodes
    system = System(first, "standard")
    key = system.create(scopes=["read", "admin"])
    path = f"/v1/api_keys/{key['id']}"
    for number in range(ROUNDS):
        tag = system.call("GET", path).headers["ETag"]

        def change(node, tag=tag, number=number):
            body = {"description": f"{number} by {node.url}"}
            return node.call("PATCH", path, root_key=system.root_key, headers={"If-Match": tag}, json=body)

        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(change, nodes))
        assert sorted(answer.status_code for answer in answers) == [200, 412], [answer.text for answer in answers]
        refused = next(answer for answer in answers if answer.status_code == 412).json()
        assert refused["code"] == "PRECONDITION_FAILED", refused


def test_the_version_of_one_node_is_that_of_every_node(nodes):
    first, second = nodes
    system = System(first, "standard")
    key = system.create()
    for path in (f"/v1/api_keys/{key['id']}", "/v1/policy", "/v1/check_policies/default"):
        tags = {node.call("GET", path, root_key=system.root_key).headers["ETag"] for node in nodes}
        assert len(tags) == 1, (path, tags)
    tag = second.call("GET", "/v1/policy", root_key=system.root_key).headers["ETag"]
    assert system.call("PUT", "/v1/policy", json={"names": "any"}, headers={"If-Match": tag}).status_code == 200
    late = second.call("PUT", "/v1/policy", root_key=system.root_key, json={"names": "any"}, headers={"If-Match": tag})
    assert late.status_code == 412, late.text
