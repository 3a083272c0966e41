"""Three Postgres servers under Patroni, each in its own network namespace, with etcd and HAProxy."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

from topology import Bridge, RUN, NET, free_port, make_space, numbers, run, wait_for_port

MEMBERS = 3
POSTGRES_PORT, REST_PORT = 5432, 8008
# Seconds. Patroni's defaults are 30, 10 and 10: a failover then takes up to half a minute.
TTL, LOOP_WAIT, RETRY_TIMEOUT = 10, 2, 3
AS_POSTGRES = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]


def until(happened, seconds, what):
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, what() if callable(what) else what
        time.sleep(0.05)


class Member:
    """One Postgres server with its Patroni."""

    def __init__(self, cluster, number):
        self.cluster, self.name = cluster, f"pg{number}"
        place = next(numbers)
        self.address, self.space = f"{NET}.{place}", f"kr{RUN}-{place}"
        make_space(self.space, self.address, f"kr{RUN}{place}")
        self.dir = pathlib.Path(cluster.dir, self.name)
        self.dir.mkdir()
        self.log = open(self.dir / "patroni.log", "ab")
        (self.dir / "patroni.yml").write_text(json.dumps(self.settings(), indent=1))
        shutil.chown(self.dir, "postgres", "postgres")
        self.process = None

    def settings(self):
        """As JSON, which is YAML."""
        binaries = run("bash", "-c", "ls -d /usr/lib/postgresql/*/bin | tail -n 1").strip()
        login = {"username": "keyreeve", "password": "unused"}
        return {
            "scope": "keyreeve", "name": self.name,
            "restapi": {"listen": f"{self.address}:{REST_PORT}", "connect_address": f"{self.address}:{REST_PORT}"},
            "etcd3": {"host": f"{self.cluster.address}:{self.cluster.etcd_port}"},
            "bootstrap": {
                "dcs": {
                    "ttl": TTL, "loop_wait": LOOP_WAIT, "retry_timeout": RETRY_TIMEOUT,
                    "maximum_lag_on_failover": 100_000_000, "synchronous_mode": self.cluster.is_synchronous,
                    "postgresql": {"use_pg_rewind": True, "remove_data_directory_on_diverged_timelines": True,
                                   "parameters": {"max_connections": 100, "max_wal_size": "256MB"}},
                },
                "initdb": [{"encoding": "UTF8"}, {"locale": "C"}],
                "pg_hba": ["local all all trust", "host all all 0.0.0.0/0 trust", "host replication all 0.0.0.0/0 trust"],
            },
            "postgresql": {
                "listen": f"{self.address}:{POSTGRES_PORT}", "connect_address": f"{self.address}:{POSTGRES_PORT}",
                "data_dir": str(self.dir / "data"), "bin_dir": binaries, "pgpass": str(self.dir / "pgpass"),
                "use_unix_socket": True, "use_unix_socket_repl": True,
                "authentication": {"superuser": login, "replication": login},
                "parameters": {"unix_socket_directories": str(self.dir)},
            },
        }

    def start(self):
        command = ["ip", "netns", "exec", self.space, *AS_POSTGRES, "env", f"HOME={self.dir}", "/usr/bin/patroni",
                   str(self.dir / "patroni.yml")]
        environment = {"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin", "LC_ALL": "C.UTF-8"}
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, env=environment)

    def inside(self, *command):
        return run("ip", "netns", "exec", self.space, *command)

    def kill(self):
        """Like the loss of the machine: Patroni and Postgres at once."""
        for pid in run("ip", "netns", "pids", self.space).split():
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()
        (self.dir / "data/postmaster.pid").unlink(missing_ok=True)

    def cut(self):
        """Nothing reaches it, and it reaches nothing."""
        for chain in ("INPUT", "OUTPUT"):
            self.inside("iptables", "-w", "-A", chain, "!", "-o" if chain == "OUTPUT" else "-i", "lo", "-j", "DROP")

    def isolate(self):
        """It reaches neither etcd nor the other members. Nodes and HAProxy still reach it."""
        for peer in self.cluster.members:
            if peer is not self:
                self.drop(peer.address)
        self.inside("iptables", "-w", "-A", "OUTPUT", "-p", "tcp", "--dport", self.cluster.etcd_port, "-j", "DROP")

    def stop_replication(self):
        """Its standbys get nothing from it any more: they lag."""
        for peer in self.cluster.members:
            if peer is not self:
                self.inside("iptables", "-w", "-A", "OUTPUT", "-p", "tcp", "--sport", POSTGRES_PORT, "-d", peer.address,
                            "-j", "DROP")

    def drop(self, address):
        self.inside("iptables", "-w", "-A", "INPUT", "-s", address, "-j", "DROP")
        self.inside("iptables", "-w", "-A", "OUTPUT", "-d", address, "-j", "DROP")

    def replace(self):
        """As an operator does with a lost machine: it comes back without data, and copies the primary's. A primary that was
        isolated may have written more than the next one has; Patroni 3.0 does not always notice that."""
        if self.process.poll() is None:
            self.kill()
        self.inside("iptables", "-F")
        shutil.rmtree(self.dir / "data", ignore_errors=True)
        self.start()

    def state(self):
        """Patroni's own view, None if it does not answer."""
        try:
            with urllib.request.urlopen(f"http://{self.address}:{REST_PORT}/patroni", timeout=2) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return json.loads(error.read())
        except (OSError, ValueError):
            return None

    def close(self):
        if self.process and self.process.poll() is None:
            self.kill()
        self.log.close()
        run("ip", "netns", "delete", self.space, check=False)


class Cluster:
    """It is what `World` needs of a Postgres: a URL, and a way to ask it."""

    def __init__(self, is_synchronous):
        self.is_synchronous, self.address = is_synchronous, Bridge.get().address
        self.dir = tempfile.mkdtemp(prefix="keyreeve-failover-")
        os.chmod(self.dir, 0o755)
        self.processes, self.members = [], []
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    def start(self):
        self.etcd_port, peers, self.port = (free_port(self.address) for _ in range(3))
        own, peer = f"http://{self.address}:{self.etcd_port}", f"http://{self.address}:{peers}"
        self.spawn("etcd", "etcd", "--data-dir", f"{self.dir}/etcd", "--listen-client-urls", own, "--advertise-client-urls", own,
                   "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}")
        wait_for_port(self.address, self.etcd_port)
        self.members = [Member(self, number + 1) for number in range(MEMBERS)]
        for member in self.members:
            member.start()
        self.start_proxy()
        self.url = f"postgres://keyreeve@{self.address}:{self.port}/postgres"
        self.wait_until_complete(120)

    def spawn(self, name, *command):
        log = open(f"{self.dir}/{name}.log", "ab")
        environment = {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
        self.processes.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))
        log.close()

    def start_proxy(self):
        """As Patroni's documentation has it: only the member whose REST interface calls itself the primary."""
        servers = "".join(f"  server {one.name} {one.address}:{POSTGRES_PORT} check port {REST_PORT}\n" for one in self.members)
        settings = pathlib.Path(self.dir, "haproxy.cfg")
        settings.write_text(
            "defaults\n  mode tcp\n  timeout connect 1s\n  timeout client 1h\n  timeout server 1h\n  timeout check 1s\n"
            f"listen primary\n  bind {self.address}:{self.port}\n  option httpchk OPTIONS /primary\n"
            "  http-check expect status 200\n  default-server inter 500ms fall 2 rise 1 on-marked-down shutdown-sessions\n"
            f"{servers}")
        self.spawn("haproxy", "haproxy", "-f", str(settings))

    def primary(self):
        """The member that is the primary now; None between two."""
        for member in self.members:
            state = member.state()
            if state and state.get("role") in ("master", "primary") and state.get("state") == "running":
                return member
        return None

    def is_complete(self):
        """A primary and two standbys that stream from it; in synchronous mode etcd names the standby that may take over."""
        primary = self.primary()
        if primary is None:
            return False
        try:
            with urllib.request.urlopen(f"http://{primary.address}:{REST_PORT}/cluster", timeout=2) as answer:
                members = json.loads(answer.read())["members"]
            streaming = self.sql(f"postgres://keyreeve@{primary.address}:{POSTGRES_PORT}/postgres",
                                 "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'")
        except (OSError, ValueError, KeyError, RuntimeError):
            return False
        roles = [one["role"] for one in members]
        return streaming == "2" and len(roles) == MEMBERS and ("sync_standby" in roles) == self.is_synchronous

    def wait_until_complete(self, seconds):
        until(self.is_complete, seconds, lambda: [one.state() for one in self.members] + [self.logs()])
        until(lambda: self.asked("SELECT 1") == "1", 30, "the proxy finds no primary")

    def asked(self, statement):
        try:
            return self.sql(self.url, statement)
        except RuntimeError:
            return None

    def sql(self, database_url, statement):
        environment = {**os.environ, "PGCONNECT_TIMEOUT": "2"}
        done = subprocess.run(["psql", "-qAtX", database_url, "-c", statement], capture_output=True, text=True, check=False,
                              env=environment, timeout=30)
        if done.returncode:
            raise RuntimeError(done.stderr)
        return done.stdout.strip()

    def switch_over(self):
        """The primary hands over to a standby."""
        run("ip", "netns", "exec", self.members[0].space, "env", "LC_ALL=C.UTF-8", "/usr/bin/patronictl", "-c",
            self.members[0].dir / "patroni.yml", "switchover", "keyreeve", "--force")

    def logs(self):
        return "\n".join(f"-- {one.name}\n" + (one.dir / "patroni.log").read_text()[-1_500:] for one in self.members)

    def close(self):
        for member in self.members:
            member.close()
        for process in self.processes:
            process.kill()
            process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)
