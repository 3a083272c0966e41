"""A separate tenant for each test, on one server."""
import pytest

from systems import System


@pytest.fixture
def standard(server):
    return System(server, "standard")


@pytest.fixture
def hold(server):
    return System(server, "hold")
