"""Under systemd: the unit's sandbox, and what the process sends to its manager."""
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time

import pytest

from harness import Server

UNIT = pathlib.Path(__file__).resolve().parent.parent.parent / "deploy/systemd/keyreeve.service"
# Exposure in tenths: 1.5 of 10.
THRESHOLD = 15


def test_the_units_exposure_is_under_the_threshold():
    told = subprocess.run(["systemd-analyze", "security", "--offline=true", f"--threshold={THRESHOLD}", UNIT],
                          capture_output=True, text=True, timeout=30)
    assert told.returncode == 0, told.stdout[-500:]


def test_systemd_accepts_the_unit(tmp_path):
    """systemd accepts it without a warning; the program is at the unit's path only on a machine that has it installed."""
    copy = tmp_path / "keyreeve.service"
    copy.write_text(UNIT.read_text().replace("/usr/local/bin/keyreeve", "/bin/true"))
    told = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, timeout=30)
    lines = [line for line in (told.stdout + told.stderr).splitlines() if "keyreeve" in line]
    assert told.returncode == 0 and not lines, lines


def test_the_unit_keeps_secrets_out_of_the_journal():
    text = UNIT.read_text()
    assert "StandardOutput=null" in text and "--root-key-file" in text and "LimitCORE=0" in text


class Manager:
    """A listener at NOTIFY_SOCKET, as systemd's."""

    def __init__(self, directory, watchdog=None):
        self.path = os.path.join(directory, "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.environment = {"NOTIFY_SOCKET": self.path}
        if watchdog:
            self.environment["WATCHDOG_USEC"] = str(int(watchdog * 1_000_000))

    def heard(self, seconds):
        """Returns the lines that arrive within a number of seconds."""
        lines, end = [], time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                lines += self.socket.recv(4096).decode().splitlines()
            except TimeoutError:
                pass
        return lines


@pytest.fixture
def directory():
    with tempfile.TemporaryDirectory() as path:
        yield path


def test_the_manager_receives_ready_watchdog_and_stopping(directory):
    manager = Manager(directory, watchdog=0.4)
    server = Server(environment=manager.environment)
    try:
        manager.socket.settimeout(2)
        assert manager.socket.recv(4096).decode().splitlines()[0] == "READY=1"
        began = time.monotonic()
        for _ in range(5):
            assert manager.socket.recv(4096) == b"WATCHDOG=1\n"
        assert 0.7 < time.monotonic() - began < 1.9, "twice as often as is asked for"
        assert server.stop() == 0
        assert "STOPPING=1" in manager.heard(0.2)
    finally:
        server.close()


def test_a_blocked_process_sends_no_watchdog_signal(directory):
    manager = Manager(directory, watchdog=0.4)
    server = Server(environment=manager.environment)
    try:
        server.process.send_signal(signal.SIGSTOP)
        manager.heard(0.3)
        assert manager.heard(0.6) == []
        server.process.send_signal(signal.SIGCONT)
        assert "WATCHDOG=1" in manager.heard(0.5)
    finally:
        server.close()


def test_without_a_watchdog_or_a_manager_nothing_is_sent(directory):
    manager = Manager(directory)
    server = Server(environment=manager.environment)
    try:
        assert manager.heard(0.6) == ["READY=1", "STATUS=answering"]
    finally:
        server.close()
    alone = Server(environment={"NOTIFY_SOCKET": os.path.join(directory, "nobody")})
    assert alone.stop() == 0, "a manager that does not listen keeps nobody from serving"
    alone.close()


def test_a_second_signal_ends_it_at_once():
    server = Server()
    try:
        # A request that never ends delays the first stop.
        with socket.create_connection(("127.0.0.1", int(server.addresses["listen"].rsplit(":", 1)[1]))) as stream:
            head = f"POST /v1/api_keys HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.root_key}\r\nContent-Length: 100"
            stream.sendall(head.encode() + b"\r\n\r\n{")
            time.sleep(0.2)
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            assert server.process.poll() is None, "it waits for what has begun"
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(timeout=3) == 130
    finally:
        server.close()
