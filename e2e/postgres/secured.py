"""A Postgres server with TLS, with roles that log in in different ways, and what may be between it and a node."""
import os
import pathlib
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading

E2E = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(E2E / "tls"))

from authority import Authority  # noqa: E402,F401

SCRIPT = E2E.parent / "scripts" / "postgres"
NAME = "db.keyreeve.test"
PASSWORD = "sesame/open:now@once"
ENCODED = "sesame%2Fopen%3Anow%40once"
# The first line that matches decides: a role, a kind of connection, a way to log in.
RULES = """\
hostssl all certified 127.0.0.1/32 cert
hostssl all encrypted 127.0.0.1/32 trust
hostnossl all plain 127.0.0.1/32 trust
host all certified,encrypted,plain 127.0.0.1/32 reject
host all secretive,changing 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
local all secretive scram-sha-256
local all all trust
"""


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Secured:
    """A Postgres server; without a certificate it has no TLS."""

    def __init__(self, certificate=None, key=None, authority=None, settings=(), is_started=True):
        self.dir = tempfile.mkdtemp(prefix="keyreeve-pg-", dir="/tmp")
        os.chmod(self.dir, 0o711)
        self.port = free_port()
        self.settings = ["fsync=off", "max_wal_size=128MB", *settings]
        if certificate:
            self.put(certificate, "server.pem")
            self.put(key, "server.key")
            self.put(authority, "clients.pem")
            files = {"ssl_cert_file": "server.pem", "ssl_key_file": "server.key", "ssl_ca_file": "clients.pem"}
            self.settings += ["ssl=on", *(f"{name}={self.dir}/{file}" for name, file in files.items())]
        if is_started:
            self.start()

    def put(self, source, name):
        place = pathlib.Path(self.dir, name)
        shutil.copy(source, place)
        place.chmod(0o600)
        if os.geteuid() == 0:
            shutil.chown(place, "postgres", "postgres")

    def start(self):
        subprocess.run([SCRIPT, "start", self.dir, str(self.port), *self.settings], check=True)
        pathlib.Path(self.dir, "data", "pg_hba.conf").write_text(RULES)
        self.sql("SELECT pg_reload_conf()")
        for role in ("certified", "encrypted", "plain"):
            self.sql(f"CREATE ROLE {role} LOGIN SUPERUSER")
        self.set_password(PASSWORD)

    def set_password(self, password, role="secretive"):
        self.sql(f"DO $$ BEGIN CREATE ROLE {role} LOGIN SUPERUSER; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
        self.sql(f"ALTER ROLE {role} PASSWORD '{password}'")

    def stop(self):
        subprocess.run([SCRIPT, "stop", self.dir], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(self.dir, ignore_errors=True)

    def sql(self, statement, database="postgres"):
        command = ["psql", "-qAt", "-h", self.dir, "-p", str(self.port), "-U", "keyreeve", "-c", statement, database]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def database(self):
        name = "e2e_" + os.urandom(6).hex()
        self.sql(f"CREATE DATABASE {name}")
        return name

    def url(self, database, parameters="", user="keyreeve", host=NAME, port=None):
        """The name is that of the certificate, the address is this machine's."""
        return f"postgres://{user}@{host}:{port or self.port}/{database}?hostaddr=127.0.0.1&{parameters}".rstrip("&?")

    def are_encrypted(self, database):
        """Whether the connections of nodes have TLS."""
        rows = self.sql("SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) "
                        f"WHERE datname = '{database}' AND application_name = 'keyreeve'")
        assert rows in ("t", "f"), rows
        return rows == "t"


class Relay:
    """Passes connections on, and keeps what each of them begins with."""

    def __init__(self, target, port=None, context=None):
        self.target, self.context = target, context
        self.beginnings, self.open = [], []
        self.listener = socket.create_server(("127.0.0.1", port or 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                one, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(one,), daemon=True).start()

    def serve(self, one):
        try:
            if self.context:
                one = self.context.wrap_socket(one, server_side=True)
            other = socket.create_connection(("127.0.0.1", self.target))
            first = one.recv(65_536)
            self.beginnings.append(first)
            self.open += [one, other]
            other.sendall(first)
        except OSError:
            return
        threading.Thread(target=self.copy, args=(other, one), daemon=True).start()
        self.copy(one, other)

    def copy(self, source, sink):
        try:
            while part := source.recv(65_536):
                sink.sendall(part)
        except (OSError, ssl.SSLError):
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        """Also ends what is open, as a server that is gone does."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for end in self.open:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
