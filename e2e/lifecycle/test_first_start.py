"""The first start: an instance exists only if its first root key was shown, at every failure and at every moment."""
import contextlib
import os
import pathlib
import random
import signal
import socket
import subprocess
import tempfile
import time

import pytest
import requests

from harness import BINARY, POSTGRES, Server, embedded_only, new_database

LISTENERS = ("--listen", "--check-listen", "--ops-listen")


class Place:
    """A data directory, and a separate database where the suite runs on Postgres."""

    def __init__(self, path, database=None):
        self.path = path
        self.data = str(path / "data")
        self.database = database or (new_database() if POSTGRES else None)

    def another_node(self):
        return Place(pathlib.Path(tempfile.mkdtemp(dir=self.path)), self.database)

    def command(self, arguments=()):
        command = [BINARY, "serve", "--data", self.data]
        for listener in LISTENERS:
            if listener not in arguments:
                command += [listener, "127.0.0.1:0"]
        return command + (["--database", self.database] if self.database else []) + list(arguments)

    def begin(self, arguments=(), **options):
        clean = {name: value for name, value in os.environ.items() if not name.startswith("KEYREEVE_")}
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        return subprocess.Popen(self.command(arguments), env=clean, **options)

    def fail(self, arguments=(), **options):
        """Starts a server that must not come up, and returns its standard output and standard error."""
        process = self.begin(arguments, **options)
        try:
            out, error = process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError("it started") from None
        assert process.returncode == 1, error
        assert error.count(b"error:") == 1 and b"panicked" not in error, error
        return out or b"", error.decode()

    def must_show_a_root_key(self, earlier=b""):
        """Starts normally, and returns the server. No root key was shown before."""
        assert b"root_key=" not in earlier
        server = Server(data=self.data, arguments=["--database", self.database] if self.database else [])
        assert server.root_key, "no root key is shown: the instance has one that nobody has seen"
        assert len(server.call("GET", "/v1/root_keys").json()["data"]) == 1
        return server

    def must_be_empty(self, earlier=b""):
        self.must_show_a_root_key(earlier).close()


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


@pytest.fixture
def busy():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield "127.0.0.1:%d" % taken.getsockname()[1]


@pytest.mark.parametrize("listener", LISTENERS)
def test_a_port_that_is_taken_leaves_nothing_founded(place, busy, listener):
    out, error = place.fail([listener, busy])
    assert f"cannot listen on {busy}" in error
    place.must_be_empty(out)


@pytest.mark.parametrize("listener", LISTENERS[:2])
def test_a_socket_without_a_directory_leaves_nothing_founded(place, listener):
    missing = f"unix:{place.path}/missing/api.sock"
    out, error = place.fail([listener, f"127.0.0.1:0,{missing}"])
    assert f"cannot listen on {missing}" in error
    place.must_be_empty(out)


@pytest.mark.parametrize("listener", LISTENERS[:2])
def test_sockets_that_were_bound_are_removed_when_the_start_fails(place, busy, listener):
    path = place.path / "api.sock"
    place.fail([listener, f"unix:{path}", "--ops-listen", busy])
    assert not path.exists() and not (place.path / "data/operator.sock").exists()


def test_an_operator_socket_that_cannot_be_made_leaves_nothing_founded(place):
    in_the_way = pathlib.Path(place.data) / "operator.sock"
    in_the_way.mkdir(parents=True, mode=0o700)
    out, error = place.fail()
    assert "operator.sock" in error
    in_the_way.rmdir()
    place.must_be_empty(out)


def test_a_bad_tls_file_leaves_nothing_founded(place):
    pem = place.path / "tls.pem"
    pem.write_text("no certificate")
    out, error = place.fail(["--tls-cert", str(pem), "--tls-key", str(pem)])
    assert "TLS" in error
    place.must_be_empty(out)


def test_a_root_key_file_that_exists_stays_as_it_is_and_nothing_is_founded(place):
    path = place.path / "root-key"
    path.write_text("mine")
    out, error = place.fail(["--root-key-file", str(path)])
    assert "Nothing was set up" in error and str(path) in error
    assert path.read_text() == "mine"
    place.must_be_empty(out)


def test_a_root_key_file_that_cannot_be_made_leaves_nothing_founded(place):
    path = place.path / "missing/root-key"
    out, error = place.fail(["--root-key-file", str(path)])
    assert "Nothing was set up" in error and str(path) in error
    place.must_be_empty(out)


def test_a_root_key_file_on_a_full_disk_leaves_neither_file_nor_instance(place):
    disk = place.path / "full"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "none", str(disk)], check=False)
    if mounted.returncode != 0:
        pytest.skip("nothing can be mounted here")
    try:
        with contextlib.suppress(OSError), open(disk / "filler", "wb", buffering=0) as filler:
            while filler.write(b"x" * 4096):
                pass
        path = disk / "root-key"
        out, error = place.fail(["--root-key-file", str(path)])
        assert "Nothing was set up" in error and "No space left" in error
        assert not path.exists()
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    place.must_be_empty(out)


def test_a_root_key_file_belongs_to_an_instance_that_came_up(place, busy):
    path = place.path / "root-key"
    place.fail(["--root-key-file", str(path), "--ops-listen", busy])
    assert not path.exists()
    arguments = ["--root-key-file", str(path)] + (["--database", place.database] if place.database else [])
    server = Server(data=place.data, arguments=arguments)
    assert server.root_key is None
    assert len(server.call("GET", "/v1/root_keys", root_key=path.read_text().strip()).json()["data"]) == 1
    server.close()


def gone():
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "wb")


@pytest.mark.parametrize("out", [gone, lambda: open("/dev/full", "wb"), lambda: open("/dev/null", "wb")],
                         ids=["the reader is gone", "the disk is full", "nowhere"])
def test_where_the_root_key_cannot_be_shown_nothing_is_founded(place, out):
    with out() as writer:
        _, error = place.fail(stdout=writer)
    assert "Nothing was set up" in error and "--root-key-file" in error
    place.must_be_empty()


def test_where_standard_output_is_closed_nothing_is_founded(place):
    _, error = place.fail(preexec_fn=lambda: os.close(1))
    assert "Nothing was set up" in error
    place.must_be_empty()


def test_with_a_file_for_the_root_key_standard_output_may_lead_nowhere(place):
    path = place.path / "root-key"
    with open("/dev/null", "wb") as nowhere:
        process = place.begin(["--root-key-file", str(path)], stdout=nowhere)
        deadline = time.monotonic() + 20
        while not path.exists() or not path.read_text().endswith("\n"):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0


def test_a_reader_that_goes_away_later_ends_a_start_cleanly_and_the_root_key_was_shown(place):
    """Addresses and root key are written in one piece: a reader that closes after the first line has received them all."""
    process = place.begin()
    shown = os.read(process.stdout.fileno(), 65536)
    process.stdout.close()
    assert b"listen=" in shown and b"root_key=kr_root_kr1" in shown
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=30)
    process.stderr.close()
    again = Server(data=place.data, arguments=["--database", place.database] if place.database else [])
    assert again.root_key is None
    root_key = shown.split(b"root_key=")[1].split()[0].decode()
    assert again.call("GET", "/v1/root_keys", root_key=root_key).status_code == 200
    again.close()


def test_a_restart_shows_no_root_key_and_makes_none(place):
    server = place.must_show_a_root_key()
    root_key, before = server.root_key, server.call("GET", "/v1/audit_events").json()["data"]
    for stop in (server.stop, server.kill, server.stop):
        stop()
        server.root_key = None
        server.start()
        assert server.root_key is None
        server.root_key = root_key
        assert len(server.call("GET", "/v1/root_keys").json()["data"]) == 1
    assert server.call("GET", "/v1/audit_events").json()["data"] == before
    server.close()


def test_killed_at_any_moment_of_the_first_start_an_instance_has_shown_its_root_key(tmp_path):
    choice = random.Random(7)
    for number in range(12):
        folder = tmp_path / str(number)
        folder.mkdir()
        place = Place(folder)
        shown = b""
        # Some are killed before anything exists, some in the middle, some after the end.
        for _ in range(3):
            with open(folder / "out", "wb") as out:
                process = place.begin(stdout=out, stderr=subprocess.DEVNULL)
                time.sleep(choice.uniform(0, 0.25))
                process.kill()
                process.wait()
            shown += (folder / "out").read_bytes()
        server = Server(data=place.data, arguments=["--database", place.database] if place.database else [])
        keys = [line.split(b"=")[1].decode() for line in shown.splitlines() if line.startswith(b"root_key=")]
        root_key = server.root_key or keys[-1]
        listed = server.call("GET", "/v1/root_keys", root_key=root_key)
        assert listed.status_code == 200 and len(listed.json()["data"]) == 1, (keys, server.root_key)
        server.close()


@embedded_only
def test_a_command_does_not_make_an_instance(place, busy):
    """A failed first start leaves an empty database; only `serve` creates an instance, because it shows the root key."""
    place.fail(["--listen", busy])
    clean = {name: value for name, value in os.environ.items() if not name.startswith("KEYREEVE_")}
    for command in (["root-keys", "create"], ["users", "create", "ada@example.com"], ["tenants", "create", "acme"],
                    ["audit", "tail"], ["tenants", "list"]):
        done = subprocess.run([BINARY, *command, "--data", place.data], capture_output=True, text=True, timeout=30,
                              env=clean, check=False)
        assert done.returncode != 0 and "there is no instance" in done.stderr, (command, done)
        assert done.stdout == ""
    place.must_be_empty()


def test_the_ports_are_bound_before_the_root_key_is_shown_and_answer_after_it(place):
    """An address that was shown never refuses a connection."""
    process = place.begin()
    shown = os.read(process.stdout.fileno(), 65536).decode()
    address = shown.split("listen=")[1].split()[0]
    assert requests.get(f"http://{address}/openapi.json", timeout=20).status_code == 200
    process.kill()
    process.communicate()


@pytest.mark.skipif(not POSTGRES, reason="is about several nodes on one database")
@pytest.mark.parametrize("to_file", [False, True], ids=["shown", "in a file"])
def test_of_nodes_that_start_at_once_one_has_the_root_key(place, to_file):
    nodes = [place.another_node() for _ in range(4)]
    file = "root-key"
    arguments = [["--root-key-file", str(node.path / file)] if to_file else [] for node in nodes]
    running = [node.begin(more, stderr=subprocess.DEVNULL) for node, more in zip(nodes, arguments)]
    said = []
    for process in running:
        lines = []
        while not lines or lines[-1] != b"ready\n":
            lines.append(process.stdout.readline())
            assert lines[-1], "a node ended"
        said.append(b"".join(lines))
    if to_file:
        assert not any(b"root_key=" in out for out in said)
        keys = [(node.path / file).read_text().strip() for node in nodes if (node.path / file).exists()]
    else:
        keys = [line.split(b"=")[1].decode() for out in said for line in out.splitlines()
                if line.startswith(b"root_key=")]
    assert len(keys) == 1, keys
    for out in said:
        url = "http://" + out.split(b"listen=")[1].split()[0].decode()
        listed = requests.get(url + "/v1/root_keys", headers={"Authorization": f"Bearer {keys[0]}"}, timeout=20)
        assert listed.status_code == 200 and len(listed.json()["data"]) == 1
    for process in running:
        process.kill()
        process.communicate()


@pytest.mark.skipif(not POSTGRES, reason="is about several nodes on one database")
def test_a_node_that_cannot_get_rid_of_its_root_key_does_not_hold_up_the_others(place):
    """Its output is not read, so it blocks in the transaction; another node creates the instance, the first has none."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(writer, b"x" * 1024):
            pass
    os.set_blocking(writer, True)
    stuck = place.another_node().begin(stdout=writer)
    os.close(writer)
    time.sleep(1.5)
    assert stuck.poll() is None
    server = place.must_show_a_root_key()
    said = b""
    while chunk := os.read(reader, 65536):
        said += chunk
    os.close(reader)
    _, error = stuck.communicate(timeout=30)
    assert stuck.returncode == 1, error
    assert b"could not be set up after its first root key was shown" in error
    assert len(server.call("GET", "/v1/root_keys").json()["data"]) == 1
    server.close()
