"""Real nodes, each in its own network namespace, on a real Postgres, and the faults that can be injected."""
import atexit
import contextlib
import itertools
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request

from harness import BINARY, new_database

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts/postgres"
LEASE_SECONDS = 2.0
WAIT_SECONDS = 1.25 * LEASE_SECONDS + 0.5
SERVER_PORT = 7300
# Each process has its own bridge and addresses, because several run side by side.
RUN = f"{os.getpid() % 0x10000:04x}"
NET = f"10.{100 + os.getpid() // 250 % 100}.{os.getpid() % 250}"
numbers = itertools.count(10)


def run(*command, check=True):
    environment = {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
    done = subprocess.run([str(part) for part in command], check=False, capture_output=True, text=True, env=environment)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr}")
    return done.stdout


def free_port(address="127.0.0.1"):
    with socket.socket() as probe:
        probe.bind((address, 0))
        return probe.getsockname()[1]


class Bridge:
    """The network that nodes and database share. Created once in a run."""
    made = None

    @classmethod
    def get(cls):
        if cls.made is None:
            cls.made = cls()
        return cls.made

    def __init__(self):
        self.name, self.address = f"kr{RUN}", f"{NET}.1"
        run("ip", "link", "add", self.name, "type", "bridge")
        run("ip", "address", "add", f"{self.address}/24", "dev", self.name)
        run("ip", "link", "set", self.name, "up")
        atexit.register(Bridge.close)

    @classmethod
    def close(cls):
        if cls.made:
            run("ip", "link", "delete", cls.made.name, check=False)
            cls.made = None


class Postgres:
    """A separate server, by default of Debian's version; commits wait for the disk. With `size` its files are on a file
    system of that size."""

    def __init__(self, *settings, version=None, size=None):
        self.version = version
        self.address = Bridge.get().address
        self.dir = tempfile.mkdtemp(prefix="keyreeve-faults-pg-")
        self.has_mount = bool(size)
        if size:
            run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", self.dir)
        os.chmod(self.dir, 0o711)
        self.port = free_port(self.address)
        self.settings = settings
        self.start()
        self.url = f"postgres://keyreeve@{self.address}:{self.port}/postgres"

    def script(self, verb, *arguments):
        environment = {**os.environ, "PGADDRESS": self.address}
        if self.version:
            environment["KEYREEVE_POSTGRES_VERSION"] = self.version
        subprocess.run([SCRIPT, verb, self.dir, *map(str, arguments)], check=True, env=environment, timeout=120)

    def start(self):
        self.script("start", self.port, *self.settings)

    def kill(self):
        """Like a crash: kills the postmaster and all its children at once."""
        children = self.pids()
        for pid in children:
            # A worker may have ended since it was listed.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while any(os.path.exists(f"/proc/{pid}") for pid in children) and time.monotonic() < deadline:
            time.sleep(0.01)
        pathlib.Path(self.dir, "data/postmaster.pid").unlink(missing_ok=True)

    def pids(self):
        master = int(pathlib.Path(self.dir, "data/postmaster.pid").read_text().splitlines()[0])
        children = run("pgrep", "-P", master, check=False).split()
        return [master, *map(int, children)]

    def freeze(self):
        self.frozen = self.pids()
        for pid in self.frozen:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def thaw(self):
        for pid in self.frozen:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def sql(self, database_url, statement):
        return run("psql", "-qAt", database_url, "-c", statement).strip()

    def sql_or_none(self, database_url, statement):
        """None if the server does not answer."""
        try:
            return self.sql(database_url, statement)
        except RuntimeError:
            return None

    def revive(self):
        """Starts a server that has stopped itself, as its supervisor does."""
        pathlib.Path(self.dir, "data/postmaster.pid").unlink(missing_ok=True)
        self.start()

    def close(self):
        try:
            self.script("stop")
        except subprocess.SubprocessError:
            pass
        if self.has_mount:
            run("umount", "-l", self.dir, check=False)
        shutil.rmtree(self.dir, ignore_errors=True)


def make_space(space, address, outside):
    """A network namespace with an address on the bridge."""
    inside = "eth0"
    run("ip", "netns", "add", space)
    run("ip", "link", "add", outside, "type", "veth", "peer", "name", inside, "netns", space)
    run("ip", "link", "set", outside, "master", Bridge.get().name, "up")
    run("ip", "-n", space, "address", "add", f"{address}/24", "dev", inside)
    run("ip", "-n", space, "link", "set", inside, "up")
    run("ip", "-n", space, "link", "set", "lo", "up")


class Node:
    """One server process, in its own namespace."""

    def __init__(self, name, database, environment=None, wrapper=(), lease=LEASE_SECONDS):
        self.name, self.database, self.lease = name, database, lease
        self.environment, self.wrapper = environment or {}, list(wrapper)
        number = next(numbers)
        self.address = f"{NET}.{number}"
        self.space = f"kr{RUN}-{number}"
        self.data = tempfile.mkdtemp(prefix="keyreeve-faults-")
        self.stderr = open(os.path.join(self.data, "stderr"), "ab")
        self.root_key = None
        make_space(self.space, self.address, f"kr{RUN}{number}")
        self.process = None

    def start(self, wait=True):
        command = ["ip", "netns", "exec", self.space, *self.wrapper, BINARY, "serve", "--data", self.data,
                   "--database", self.database, "--node-name", self.name, "--lease", f"{int(self.lease * 1000)}ms",
                   "--listen", f"{self.address}:{SERVER_PORT}", "--check-listen", f"{self.address}:0",
                   "--ops-listen", f"{self.address}:{SERVER_PORT + 1}"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("KEYREEVE_")}
        environment.update(PATH=os.environ["PATH"] + ":/usr/sbin:/sbin", KEYREEVE_LOG="warn", **self.environment)
        # Its own process group, because a wrapper (faketime) may stay in front of the server.
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self.stderr, env=environment,
                                        start_new_session=True)
        if wait:
            self.wait()

    def wait(self):
        for line in self.process.stdout:
            text = line.decode().strip()
            if text == "ready":
                return
            name, _, value = text.partition("=")
            if name == "root_key":
                self.root_key = value
        raise RuntimeError(f"{self.name} did not start: " + self.log())

    def log(self):
        return pathlib.Path(self.data, "stderr").read_text(errors="replace")

    def signal(self, number):
        os.killpg(self.process.pid, number)

    def kill(self):
        self.signal(signal.SIGKILL)
        self.process.wait()

    def iptables(self, *rule):
        run("ip", "netns", "exec", self.space, "iptables", "-w", *rule)

    def cut(self, to_database=True, from_database=True):
        """Partitions this node from the database, also in one direction only. Clients still reach it."""
        database = Bridge.get().address
        ports = ["-p", "tcp", "--dport", str(self.database_port())]
        if to_database:
            self.iptables("-A", "OUTPUT", "-d", database, *ports, "-j", "DROP")
        if from_database:
            back = ["-p", "tcp", "--sport", str(self.database_port())]
            self.iptables("-A", "INPUT", "-s", database, *back, "-j", "DROP")

    def database_port(self):
        return int(self.database.rsplit(":", 1)[1].split("/")[0])

    def heal(self):
        self.iptables("-F")

    def close(self):
        if self.process and self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.kill()
        self.stderr.close()
        # Shown where the test failed.
        print(f"-- {self.name}\n{self.log()}")
        run("ip", "netns", "delete", self.space, check=False)
        shutil.rmtree(self.data, ignore_errors=True)

    def call(self, method, path, body=None, headers=None, timeout=60):
        """Status and body; (0, None) if there was no answer."""
        request = urllib.request.Request(
            f"http://{self.address}:{SERVER_PORT}{path}", method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.world.root_key}", "Content-Type": "application/json",
                     **(headers or {})})
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"{}")
        except (OSError, ValueError):
            return 0, None


class World:
    """Three nodes on a new database."""

    def __init__(self, postgres, nodes=3, url=None):
        self.postgres = postgres
        self.database = url or new_database(postgres.url)
        self.nodes = []
        try:
            for number in range(nodes):
                self.add(f"n{number + 1}")
        except Exception:
            self.close()
            raise

    @property
    def root_key(self):
        return next(node.root_key for node in self.nodes if node.root_key)

    def add(self, name, start=True, **options):
        node = Node(name, options.pop("database", self.database), **options)
        node.world = self
        self.nodes.append(node)
        if start:
            node.start()
        return node

    def sql(self, statement):
        return self.postgres.sql(self.database, statement)

    def close(self):
        for node in self.nodes:
            node.close()


class Pooler:
    """PgBouncer in front of a Postgres, every transaction on whatever server connection is free."""

    def __init__(self, postgres, mode="transaction"):
        self.dir = tempfile.mkdtemp(prefix="keyreeve-pooler-")
        os.chmod(self.dir, 0o755)
        self.port = free_port(postgres.address)
        settings = pathlib.Path(self.dir, "pgbouncer.ini")
        settings.write_text(
            f"[databases]\n* = host={postgres.address} port={postgres.port} user=keyreeve\n[pgbouncer]\n"
            f"listen_addr = {postgres.address}\nlisten_port = {self.port}\nunix_socket_dir =\nauth_type = any\n"
            f"pool_mode = {mode}\ndefault_pool_size = 8\nmax_client_conn = 500\nlogfile = {self.dir}/log\n"
            f"user = postgres\n")
        os.chown(self.dir, *(int(part) for part in run("stat", "-c", "%u %g", postgres.dir).split()))
        self.process = subprocess.Popen(
            ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "/usr/sbin/pgbouncer", settings],
            stderr=subprocess.DEVNULL)
        self.address = postgres.address
        wait_for_port(self.address, self.port)

    def url(self, database_url):
        return f"postgres://keyreeve@{self.address}:{self.port}/" + database_url.rsplit("/", 1)[1]

    def close(self):
        self.process.terminate()
        self.process.wait(timeout=10)
        shutil.rmtree(self.dir, ignore_errors=True)


def wait_for_port(address, port):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex((address, port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens on {address}:{port}")


class Delay:
    """A proxy in front of Postgres that can hold back the answer to one kind of statement."""

    def __init__(self, postgres):
        self.target = (postgres.address, postgres.port)
        self.address = postgres.address
        self.server = socket.create_server((self.address, 0))
        self.port = self.server.getsockname()[1]
        self.held, self.release = None, threading.Event()
        self.caught = threading.Event()
        threading.Thread(target=self.accept, daemon=True).start()

    def url(self, database_url):
        return f"postgres://keyreeve@{self.address}:{self.port}/" + database_url.rsplit("/", 1)[1]

    def hold(self, text):
        """From now on, answers to statements with this text wait until `let_go`."""
        self.release.clear()
        self.caught.clear()
        self.held = text.encode()

    def let_go(self):
        self.held = None
        self.release.set()

    def accept(self):
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            try:
                upstream = socket.create_connection(self.target)
            except OSError:
                client.close()
                continue
            state = {"held": False}
            threading.Thread(target=self.forward, args=(client, upstream, state), daemon=True).start()
            threading.Thread(target=self.answer, args=(upstream, client, state), daemon=True).start()

    def forward(self, client, upstream, state):
        self.pump(client, upstream, lambda data: state.update(held=bool(self.held and self.held in data)))

    def answer(self, upstream, client, state):
        def wait(_):
            if state["held"]:
                self.caught.set()
                self.release.wait(30)
        self.pump(upstream, client, wait)

    @staticmethod
    def pump(source, sink, look):
        try:
            while data := source.recv(65536):
                look(data)
                sink.sendall(data)
        except OSError:
            pass
        finally:
            for end in (source, sink):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def close(self):
        self.let_go()
        self.server.close()
