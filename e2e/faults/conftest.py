"""Fixtures of the fault tests. They need root: they make network namespaces."""
import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="all fault tests, as long as they take")


def pytest_configure(config):
    config.addinivalue_line("markers", "long: runs only with --long")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--long"):
        return
    for item in items:
        if item.get_closest_marker("long"):
            item.add_marker(pytest.mark.skip(reason="only with --long"))


@pytest.fixture(scope="module")
def postgres():
    from topology import Postgres
    server = Postgres()
    yield server
    server.close()


@pytest.fixture
def world(postgres):
    """Three nodes, each in its own network namespace, on a new database."""
    from topology import World
    if os.geteuid() != 0:
        pytest.fail("the fault tests make network namespaces and so must run as root")
    world = World(postgres)
    yield world
    world.close()
