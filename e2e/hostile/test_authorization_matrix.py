"""Every operation of the served document by every kind of caller. `KEYREEVE_MATRIX_TABLE=file` writes the result as a table."""
import copy
import os
import pathlib

import pytest
from authorization_matrix import Matrix, Rules

RULES = Rules()


@pytest.fixture(scope="module")
def matrix(server):
    document = server.call("GET", "/openapi.json").json()
    run = Matrix(server, document, RULES).run()
    if path := os.environ.get("KEYREEVE_MATRIX_TABLE"):
        pathlib.Path(path).write_text(run.table())
    return run


def listed(cells):
    lines = [f"{cell}, {cell.expected.word} ({cell.expected.status}) expected: {'; '.join(cell.wrong)}" for cell in cells]
    return "\n".join(lines)


def wrong(matrix, group):
    cells = [cell for cell in matrix.cells if cell.caller.group == group and cell.fault is None]
    assert len(cells) > 2 * len(matrix.operations), "the group has lost its callers"
    return listed(cell for cell in cells if cell.wrong)


def test_every_published_operation_is_in_the_matrix(matrix):
    assert len(matrix.operations) > 55 and not matrix.uncovered, "add a record or a body to authorization_world.py"


def test_no_other_operation_is_open_than_the_reviewed_ones(matrix):
    assert {one.id for one in matrix.operations if one.is_open} == RULES.open


def test_only_a_good_root_key_is_answered(matrix):
    assert not (found := wrong(matrix, "credential")), found


def test_each_operation_takes_the_permission_of_its_security_and_no_other_will_do(matrix):
    assert not (found := wrong(matrix, "permission")), found


def test_no_call_reaches_the_records_of_another_tenant(matrix):
    assert not (found := wrong(matrix, "foreign")), found


def test_a_root_key_that_acts_as_a_person_may_do_what_both_may(matrix):
    assert not (found := wrong(matrix, "role")), found


def test_a_refused_call_changes_no_record(matrix):
    assert not matrix.changed


def test_each_refused_call_would_succeed_with_every_permission(matrix):
    assert not (found := listed(cell for cell in matrix.controls.values() if cell.wrong)), found
    guarded = {one.name for one in matrix.operations if one.takes("root_key") and not one.is_open}
    assert guarded == set(matrix.controls)


def test_every_exception_is_needed(matrix):
    cells = [cell for cell in [*matrix.cells, *matrix.controls.values()] if cell.exception is not None]
    used = {(cell.exception, cell.operation.id) for cell in cells}
    idle = [name for number, one in enumerate(RULES.file.get("exceptions", []))
            for name in one["operations"] if (number, name) not in used]
    assert not idle, f"exceptions without a cell: {idle}"
    assert not (found := [str(cell) for cell in cells if cell.is_stale]), f"exceptions without an effect: {found}"
    known = {one.id for one in matrix.operations}
    assert RULES.instance_only | RULES.reads | set(RULES.also) <= known


def test_every_fault_is_still_one(matrix):
    assert not (found := [str(cell) for cell in matrix.cells if cell.fault is not None and not cell.wrong]), found


@pytest.mark.parametrize("number, operation", [
    pytest.param(number, operation, id=f"{one['name']}-{operation}", marks=pytest.mark.xfail(strict=True, reason=one["reason"]))
    for number, one in enumerate(RULES.file.get("faults", [])) for operation in one["operations"]])
def test_known_fault(matrix, number, operation):
    cells = [cell for cell in matrix.cells if cell.fault == number and cell.operation.id == operation]
    assert not (found := listed(cell for cell in cells if cell.wrong)), found


PLANTED = {
    "another permission in the document": lambda document, _: document["security"].update(root_key=["policy:read"]),
    "a permission too many in a role": lambda _, file: file["roles"]["auditor"].append("keys:write"),
    "a permission too few in a role": lambda _, file: file["roles"]["member"].remove("keys:write"),
    "an operation for the instance alone": lambda _, file: file["instance_only"][0]["operations"].append("disableApiKey"),
    "an operation that changes nothing": lambda _, file: file["reads"][0]["operations"].append("disableApiKey"),
    "a permission more": lambda _, file: file["also_needs"].append(
        {"operation": "disableApiKey", "permissions": ["audit:read"]}),
    "an exception without an effect": lambda _, file: file["exceptions"].append(
        {"operations": ["disableApiKey"], "in_place_of": ["done"], "status": "2xx", "reason": "none"}),
}


def test_the_matrix_of_one_operation_finds_each_planted_error(server):
    path, method = "/v1/api_keys/{id}/disable", "post"
    served = server.call("GET", "/openapi.json").json()
    served["paths"] = {path: {method: served["paths"][path][method]}}
    for name, plant in {"none": lambda *_: None, **PLANTED}.items():
        document, file = copy.deepcopy(served), copy.deepcopy(RULES.file)
        plant({"security": document["paths"][path][method]["security"][0]}, file)
        run = Matrix(server, document, Rules(file)).run()
        found = [str(cell) for cell in [*run.cells, *run.controls.values()] if cell.wrong or cell.is_stale]
        assert bool(found) == (name != "none"), f"{name}: {found}"


def test_an_operation_that_is_not_known_is_not_covered(server):
    served = server.call("GET", "/openapi.json").json()
    one = copy.deepcopy(served["paths"]["/v1/api_keys/batch"]["post"])
    served["paths"] = {"/v1/news": {"post": {**one, "operationId": "news"}},
                       "/v1/news/{id}": {"get": {"operationId": "new", "security": []}}}
    assert Matrix(server, served, RULES).run().uncovered == ["POST /v1/news", "GET /v1/news/{id}"]
