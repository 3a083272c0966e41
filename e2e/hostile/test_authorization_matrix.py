"""Every operation of the served document by every kind of caller. `KEYREEVE_MATRIX_TABLE=file` writes the result as a table."""
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
    return "\n".join(f"{cell}, {cell.expected.word} ({cell.expected.status}) expected: {'; '.join(cell.wrong)}" for cell in cells)


def wrong(matrix, group):
    cells = [cell for cell in matrix.cells if cell.caller.group == group and cell.fault is None]
    assert len(cells) > 2 * len(matrix.operations), "the group has lost its callers"
    return listed(cell for cell in cells if cell.wrong)


def test_every_published_operation_is_in_the_matrix(matrix):
    assert len(matrix.operations) > 55 and not matrix.uncovered, "add a record or a body to authorization_world.py"


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
    guarded = {one.id for one in matrix.operations if one.takes("root_key") and not one.is_open}
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
    pytest.param(number, operation, marks=pytest.mark.xfail(strict=True, reason=one["reason"]), id=f"{one['name']}-{operation}")
    for number, one in enumerate(RULES.file.get("faults", [])) for operation in one["operations"]])
def test_known_fault(matrix, number, operation):
    cells = [cell for cell in matrix.cells if cell.fault == number and cell.operation.id == operation]
    assert not (found := listed(cell for cell in cells if cell.wrong)), found
