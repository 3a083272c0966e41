"""Every route of the published document, without a root key, with a wrong one, and with one that lacks its permission."""
import re

import pytest
import requests

METHODS = ("get", "post", "put", "patch", "delete")
# Well-formed contents and ids, so that only the root key is at fault.
CONTENTS = {
    "/v1/api_keys": {"name": "a", "subject": "user_1"},
    "/v1/api_keys/batch": {"items": [{"name": "a", "subject": "user_1"}]},
    "/v1/api_keys/purge": {"revoked_before": 1_600_000_000_000},
    "/v1/api_keys/revoke_many": {"filter": {"subject": "user_1"}},
    "/v1/check_policies": {"name": "a"},
    "/v1/root_keys": {"name": "a", "permissions": ["keys:read"]},
    "/v1/tenants": {"slug": "another", "name": "Another"},
    "/v1/users": {"email": "a@example.com"},
}
IDS = {"api_keys": "ak_" + "0" * 32, "root_keys": "rk_" + "0" * 32, "users": "user_" + "0" * 32, "operations": "op_1"}
# The permissions of the root key that lacks the required one: it may do something, but never that.
OTHERS = ("keys:read", "audit:read")


def operations(server):
    document = requests.get(server.url + "/openapi.json", timeout=30).json()
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield method, path, item[method]


def address(path):
    kind = path.split("/")[2] if path.startswith("/v1/") else "api_keys"
    return re.sub(r"{\w+}", IDS.get(kind, "none"), path)


def needs(operation):
    """The permissions of which an operation needs one; `None` if it takes no root key."""
    demands = operation.get("security", [])
    keys = [permission for demand in demands for permission in demand.get("root_key", [])]
    return keys if any("root_key" in demand for demand in demands) and {} not in demands else None


def call(server, method, path, root_key):
    headers = {"Content-Type": "application/json"}
    if root_key:
        headers["Authorization"] = "Bearer " + root_key
    content = None if method == "get" else CONTENTS.get(path, {})
    return requests.request(method.upper(), server.url + address(path), headers=headers, json=content, timeout=30)


@pytest.fixture(scope="module")
def guarded(server):
    found = [(method, path, operation) for method, path, operation in operations(server) if needs(operation) is not None]
    assert len(found) > 40
    return found


@pytest.mark.parametrize("root_key", [None, "rk_kr1" + "0" * 49, "nonsense"])
def test_no_route_answers_without_a_good_root_key(server, guarded, root_key):
    wrong = {}
    for method, path, operation in guarded:
        answer = call(server, method, path, root_key)
        if answer.status_code != 401 or "/errors/ROOT_KEY_" not in answer.text:
            wrong[f"{method} {path}"] = (answer.status_code, answer.text[:150])
    assert not wrong, "\n".join(f"{name}: {said}" for name, said in wrong.items())


def test_no_route_answers_a_root_key_without_its_permission(server, guarded):
    wrong = {}
    for one in OTHERS:
        made = server.call("POST", "/v1/root_keys", json={"name": "narrow", "permissions": [one]})
        assert made.status_code == 201, made.text
        for method, path, operation in guarded:
            asked = needs(operation)
            if not asked or one in asked:
                continue
            answer = call(server, method, path, made.json()["secret"])
            if answer.status_code != 403:
                wrong[f"{method} {path} with {one}"] = (answer.status_code, answer.text[:120])
    assert not wrong, "\n".join(f"{name}: {said}" for name, said in wrong.items())
