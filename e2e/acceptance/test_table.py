"""The table is complete and agrees with the tests."""
from rows import ROWS
from table import TABLE, named_tests, text, walkthroughs


def test_each_row_of_the_api_has_its_test_and_each_test_its_row():
    assert {row for row, where, _ in ROWS if where == "api"} == set(named_tests())


def test_each_row_of_the_dashboard_is_walked_through():
    walked = set(walkthroughs())
    assert {row for row, where, _ in ROWS if where == "dashboard"} <= walked
    assert walked <= {row for row, _, _ in ROWS}


def test_no_row_is_listed_twice():
    assert len({row for row, _, _ in ROWS}) == len(ROWS)


def test_the_committed_table_is_the_one_that_is_written():
    assert TABLE.read_text() == text({}), "run: e2e/.venv/bin/python e2e/acceptance/table.py"
