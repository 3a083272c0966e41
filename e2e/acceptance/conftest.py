"""The systems, each as a tenant with its preset, on one server."""
import pytest

from systems import System


@pytest.fixture
def userplane(server):
    return System(server, "erase", prefix="uspl")


@pytest.fixture
def palette(server):
    return System(server, "hold")


@pytest.fixture
def hyperspell(server):
    return System(server, "keep")
