"""Fixtures of every Python suite here."""
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from harness import Server  # noqa: E402


@pytest.fixture(scope="module")
def server():
    running = Server()
    yield running
    running.close()


@pytest.fixture
def fresh():
    """A separate server for a test that stops or kills it."""
    running = Server()
    yield running
    running.close()
