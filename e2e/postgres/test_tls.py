"""TLS to Postgres: each mode has libpq's meaning, and what is wrong is one clear sentence with the setting to change."""
import os
import pathlib
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from harness import BINARY, Server  # noqa: E402
from secured import ENCODED, NAME, PASSWORD, Authority, Relay, Secured  # noqa: E402

pytestmark = pytest.mark.skipif(not os.environ.get("KEYREEVE_TEST_POSTGRES"), reason="Postgres is not asked for")
SSL_REQUEST = bytes([0, 0, 0, 8, 4, 210, 22, 47])


@pytest.fixture(autouse=True)
def no_database_of_the_suite(monkeypatch):
    """A server has the database that its test names, also where the suite runs on Postgres."""
    monkeypatch.setattr("harness.POSTGRES", None)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"), "good")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"), "strange")


@pytest.fixture(scope="module")
def postgres(authority):
    certificate, key = authority.issue("server", hosts=[f"DNS:{NAME}"])
    server = Secured(certificate, key, authority.certificate)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def plain():
    server = Secured()
    yield server
    server.stop()


@pytest.fixture
def database(postgres):
    return postgres.database()


def serve(*arguments, environment=None, timeout=30):
    """Runs `serve` where it must refuse, and returns its exit code and output."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("KEYREEVE_", "PG"))}
    with tempfile.TemporaryDirectory() as data:
        command = [BINARY, "serve", "--data", data, "--listen", "127.0.0.1:0", "--check-listen", "127.0.0.1:0",
                   "--ops-listen", "127.0.0.1:0", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False,
                              env={**inherited, "HOME": data, **(environment or {})})
    assert "ready" not in done.stdout, done.stdout
    assert "sesame" not in done.stderr and "panicked" not in done.stderr
    return done.returncode, done.stderr


def works(*arguments, environment=None, root_key=None):
    """Starts a node, verifies a key, and ends it. Returns the root key."""
    server = Server(arguments=[str(one) for one in arguments], environment=environment)
    server.root_key = server.root_key or root_key
    try:
        key = server.create("key-" + os.urandom(4).hex())
        assert server.verify(key["secret"])["valid"]
        assert "sesame" not in server.stderr()
        return server.root_key
    finally:
        server.close()


@pytest.mark.parametrize("mode,is_encrypted", [("", True), ("sslmode=disable", False), ("sslmode=prefer", True),
                                               ("sslmode=require", True), ("sslmode=verify-ca", True),
                                               ("sslmode=verify-full", True), ("ssl=true", True),
                                               ("sslmode=verify-full&sslsni=0&ssl_min_protocol_version=TLSv1.3", True),
                                               ("sslmode=require&ssl_max_protocol_version=TLSv1.2", True)])
def test_a_mode_decides_whether_there_is_tls(postgres, authority, database, mode, is_encrypted):
    if "verify" in mode:
        mode += f"&sslrootcert={authority.certificate}"
    server = Server(arguments=["--database", postgres.url(database, mode)])
    try:
        assert server.verify(server.create("one")["secret"])["valid"]
        assert postgres.are_encrypted(database) is is_encrypted
    finally:
        server.close()


@pytest.mark.parametrize("form", ["url", "pairs", "socket"])
def test_forms_of_the_connection_string(postgres, database, form):
    text = {"url": postgres.url(database, "sslmode=require"),
            "pairs": f"host={NAME} hostaddr=127.0.0.1 port={postgres.port} user=secretive password='{PASSWORD}' "
                     f"dbname={database} sslmode = require",
            "socket": f"postgres:///{database}?host={postgres.dir}&port={postgres.port}&user=keyreeve&sslmode=verify-full"}[form]
    works("--database", text)


def test_only_prefer_goes_on_without_tls(plain):
    for mode in ("prefer", "disable"):
        works("--database", plain.url(plain.database(), f"sslmode={mode}"))
    for mode in ("require", "verify-full"):
        code, said = serve("--database", plain.url("postgres", f"sslmode={mode}"), "--database-wait", "60s")
        assert code == 1 and "offers no TLS" in said and "sslmode" in said


def test_prefer_does_not_go_on_without_tls_when_the_certificate_is_wrong(postgres, stranger, database):
    code, said = serve("--database", postgres.url(database, f"sslrootcert={stranger.certificate}"))
    assert code == 1 and "is not signed by sslrootcert" in said


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_a_certificate_of_another_authority_is_refused_at_once(postgres, stranger, database, mode):
    url = postgres.url(database, f"sslmode={mode}&sslrootcert={stranger.certificate}")
    code, said = serve("--database", url, "--database-wait", "60s", timeout=20)
    assert code == 1 and "is not signed by sslrootcert" in said and said.count("error:") == 1


def test_the_authorities_of_the_machine_are_the_default(postgres, authority, database):
    url = postgres.url(database, "sslmode=verify-full")
    code, said = serve("--database", url)
    assert code == 1 and "sslrootcert" in said and "authorities of this machine" in said
    trusted = {"SSL_CERT_FILE": str(authority.certificate)}
    works("--database", url, environment=trusted)
    works("--database", postgres.url(postgres.database(), "sslrootcert=system"), environment=trusted)


def test_another_name_is_refused_at_once_by_verify_full_alone(postgres, authority, database):
    root = f"sslrootcert={authority.certificate}"
    url = postgres.url(database, f"sslmode=verify-full&{root}", host="other.keyreeve.test")
    code, said = serve("--database", url, "--database-wait", "60s", timeout=20)
    assert code == 1 and NAME in said and "other.keyreeve.test" in said and "hostaddr" in said
    works("--database", postgres.url(database, f"sslmode=verify-ca&{root}", host="other.keyreeve.test"))


def test_a_certificate_that_has_expired_is_refused_at_once(authority):
    certificate, key = authority.issue("old", hosts=[f"DNS:{NAME}"], times=("20200101000000Z", "20200102000000Z"))
    server = Secured(certificate, key, authority.certificate)
    try:
        url = server.url("postgres", f"sslmode=verify-full&sslrootcert={authority.certificate}")
        code, said = serve("--database", url, "--database-wait", "60s", timeout=20)
        assert code == 1 and "expired" in said and "renew" in said
    finally:
        server.stop()


def test_a_certificate_that_a_server_has_signed_itself_may_be_the_root(tmp_path):
    key, certificate = tmp_path / "key", tmp_path / "pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={NAME}", "-addext",
                    f"subjectAltName=DNS:{NAME}", "-days", "9", "-keyout", key, "-out", certificate], check=True,
                   capture_output=True)
    server = Secured(certificate, key, certificate)
    try:
        works("--database", server.url(server.database(), f"sslmode=verify-full&sslrootcert={certificate}"))
        code, said = serve("--database", server.url("postgres", f"sslmode=verify-full&sslrootcert={certificate}",
                                                    host="other.keyreeve.test"))
        assert code == 1 and "other.keyreeve.test" in said
    finally:
        server.stop()


def test_a_client_certificate_logs_in(postgres, authority, stranger, database):
    certificate, key = authority.issue("certified", hosts=["DNS:node"], usage="clientAuth")
    key.chmod(0o600)
    root = f"sslmode=verify-full&sslrootcert={authority.certificate}"
    url = postgres.url(database, root, user="certified")
    works("--database", url, "--database-sslcert", certificate, "--database-sslkey", key)

    code, said = serve("--database", url, "--database-wait", "60s", timeout=20)
    assert code == 1 and "client certificate" in said and "sslcert" in said

    foreign, its_key = stranger.issue("certified", hosts=["DNS:node"], usage="clientAuth")
    its_key.chmod(0o600)
    code, said = serve("--database", url, "--database-sslcert", foreign, "--database-sslkey", its_key)
    assert code == 1 and "does not accept the client certificate" in said and "sslcert" in said

    code, said = serve("--database", url, "--database-sslcert", certificate, "--database-sslkey", its_key)
    assert code == 1 and "do not belong together" in said
    key.chmod(0o644)
    code, said = serve("--database", url, "--database-sslcert", certificate, "--database-sslkey", key)
    assert code == 1 and "600" in said and str(key) in said


@pytest.mark.parametrize("kind,digest", [("ec", "-sha256"), ("ec", "-sha384"), ("rsa", "-sha512"), ("rsa", "pss")])
def test_a_login_is_bound_to_the_certificate(authority, tmp_path, kind, digest):
    certificate, key = authority.issue(f"bound-{kind}{digest}", hosts=[f"DNS:{NAME}"], kind=kind)
    new = tmp_path / "server.pem"
    how = ["-sha256", "-sigopt", "rsa_padding_mode:pss"] if digest == "pss" else [digest]
    subprocess.run(["openssl", "req", "-x509", "-key", key, *how, "-subj", f"/CN={NAME}", "-addext",
                    f"subjectAltName=DNS:{NAME}", "-days", "9", "-out", new], check=True, capture_output=True)
    server = Secured(new, key, authority.certificate)
    try:
        works("--database", server.url(server.database(), f"sslmode=verify-full&sslrootcert={new}&channel_binding=require",
                                       user=f"secretive:{ENCODED}"))
    finally:
        server.stop()


def test_a_login_that_is_not_bound_is_refused_if_that_is_required(postgres, database):
    for url in (postgres.url(database, "channel_binding=require&sslmode=require"),
                postgres.url(database, "channel_binding=require&sslmode=disable", user=f"secretive:{ENCODED}")):
        code, said = serve("--database", url, "--database-wait", "60s", timeout=20)
        assert code == 1 and "channel_binding" in said, said


def test_a_wrong_password_ends_the_start_at_once(postgres, database):
    url = postgres.url(database, user="secretive:sesame-wrong")
    code, said = serve("--database", url, "--database-wait", "60s", timeout=20)
    assert code == 1 and "password authentication failed" in said and "correct the user or the password" in said
    code, said = serve("--database", postgres.url(database, user="secretive"), "--database-wait", "60s", timeout=20)
    assert code == 1 and "none is given" in said and "PGPASSWORD" in said
    code, said = serve("--database", postgres.url("nowhere"), "--database-wait", "60s", timeout=20)
    assert code == 1 and "does not exist" in said


def test_a_role_that_may_not_connect_without_tls_is_told_to_use_it(postgres, database):
    code, said = serve("--database", postgres.url(database, "sslmode=disable", user="encrypted"))
    assert code == 1 and "encrypt" in said, said


def test_prefer_goes_on_without_tls_where_the_server_admits_the_role_so_only(postgres, database):
    works("--database", postgres.url(database, user="plain"))
    for mode in ("sslmode=require", "channel_binding=require"):
        code, said = serve("--database", postgres.url(database, mode, user="plain"))
        assert code == 1 and "pg_hba.conf" in said, said


def test_settings_are_flags_variables_and_keys(postgres, authority, database, tmp_path):
    url = postgres.url(database, user=f"secretive:{ENCODED}")
    root_key = works("--database", url, "--database-sslmode", "verify-full", "--database-sslrootcert",
                     authority.certificate, "--database-channel-binding", "require", "--database-sslsni", "1",
                     "--database-sslnegotiation", "postgres")
    works("--database", url, root_key=root_key,
          environment={"KEYREEVE_DATABASE_SSLMODE": "verify-full",
                       "KEYREEVE_DATABASE_SSLROOTCERT": str(authority.certificate)})
    config = tmp_path / "keyreeve.toml"
    config.write_text(f"[database]\nurl = '{url}'\nsslmode = 'verify-full'\nsslrootcert = '{authority.certificate}'\n"
                      "wait = '5s'\n")
    works("--config", config, root_key=root_key)
    config.write_text(f"[database]\nurl = '{url}'\nsslmodus = 'x'\n")
    code, said = serve("--config", config)
    assert code == 2 and "line 3" in said
    code, said = serve("--database", url + "&sslmode=disable", "--database-sslmode", "verify-full")
    assert code == 1 and "give one of them" in said


def test_the_password_comes_from_a_variable_or_a_password_file(postgres, database, tmp_path):
    url = postgres.url(database, user="secretive")
    root_key = works("--database", url, environment={"PGPASSWORD": PASSWORD})
    escaped = PASSWORD.replace(":", "\\:")
    passfile = tmp_path / "pgpass"
    passfile.write_text(f"# nodes\nother:*:*:*:x\n{NAME}:{postgres.port}:{database}:secretive:{escaped}\n")
    passfile.chmod(0o600)
    works("--database", url, root_key=root_key, environment={"PGPASSFILE": str(passfile)})
    works("--database", url, root_key=root_key, environment={"PGPASSFILE": str(passfile), "PGPASSWORD": ""})
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(passfile, home / ".pgpass")
    works("--database", url, root_key=root_key, environment={"HOME": str(home)})
    passfile.chmod(0o644)
    code, said = serve("--database", url, environment={"PGPASSFILE": str(passfile)})
    assert code == 1 and "600" in said and "PGPASSWORD" in said


def end_connections(postgres, database):
    postgres.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")


def becomes_able_to_create(server, name):
    deadline = time.monotonic() + 20
    while True:
        answer = server.call("POST", "/v1/api_keys", json={"name": name, "subject": "user_1"})
        if answer.status_code == 201:
            return
        assert time.monotonic() < deadline, (answer.text, server.stderr())
        time.sleep(0.1)


def test_a_password_that_changed_is_read_again_for_new_connections(postgres, tmp_path):
    """In the file of the URL, and from the command, which is run again and not for each connection."""
    postgres.set_password("sesame-1", "changing")
    secret, runs, file = tmp_path / "secret", tmp_path / "runs", tmp_path / "url"
    secret.write_text("sesame-1\n")
    one, two = postgres.database(), postgres.database()
    file.write_text(postgres.url(one, user="changing:sesame-1") + "\n")
    by_file = Server(arguments=["--database-url-file", str(file)])
    by_command = Server(arguments=["--database", postgres.url(two, user="changing"), "--database-password-command",
                                   f"echo x >>{runs}; cat {secret}"])
    try:
        for server in (by_file, by_command):
            becomes_able_to_create(server, "before")
        assert len(runs.read_text().split()) <= 2, "several connections were made with one password"
        time.sleep(5)
        postgres.set_password("sesame-2", "changing")
        secret.write_text("sesame-2\n")
        file.write_text(postgres.url(one, user="changing:sesame-2") + "\n")
        for database, server in ((one, by_file), (two, by_command)):
            end_connections(postgres, database)
            becomes_able_to_create(server, "after")
            assert "sesame" not in server.stderr()
    finally:
        by_file.close()
        by_command.close()


@pytest.mark.parametrize("command,reason", [("echo sesame; exit 4", "exit status: 4"), ("true", "empty"),
                                            ("yes sesame", "larger")])
def test_a_password_command_that_fails_is_named_without_its_output(postgres, database, command, reason):
    url = postgres.url(database, user="secretive")
    code, said = serve("--database", url, "--database-password-command", command, "--database-wait", "60s", timeout=20)
    assert code == 1 and reason in said and "database-password-command" in said


def test_a_start_waits_for_a_database_that_is_not_up_yet(authority):
    certificate, key = authority.issue("late", hosts=[f"DNS:{NAME}"])
    postgres = Secured(certificate, key, authority.certificate, is_started=False)
    with tempfile.TemporaryDirectory() as data, tempfile.TemporaryFile("w+") as log:
        url = postgres.url("postgres", f"sslmode=verify-full&sslrootcert={authority.certificate}")
        node = subprocess.Popen([BINARY, "serve", "--data", data, "--database", url, "--database-wait", "60s", "--listen",
                                 "127.0.0.1:0", "--check-listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"],
                                stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            began = time.monotonic()
            time.sleep(2.5)
            assert node.poll() is None
            postgres.start()
            while (line := node.stdout.readline()) and line != "ready\n":
                pass
            assert line == "ready\n"
            took = time.monotonic() - began
            log.seek(0)
            waits = [line for line in log if "waiting for the database" in line]
            assert 2 <= len(waits) <= took + 1, waits
        finally:
            node.terminate()
            node.wait(20)
            postgres.stop()


def test_a_wait_has_an_end_and_can_be_interrupted():
    began = time.monotonic()
    code, said = serve("--database", "postgres://u:sesame@127.0.0.1:1/k", "--database-wait", "2s")
    assert code == 1 and "refused" in said and 1.5 < time.monotonic() - began < 10
    assert said.count("waiting for the database") <= 3
    with tempfile.TemporaryDirectory() as data:
        node = subprocess.Popen([BINARY, "serve", "--data", data, "--database", "postgres://u@127.0.0.1:1/k",
                                 "--database-wait", "1h"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(1)
        node.send_signal(signal.SIGTERM)
        assert node.wait(10) == 0


def test_of_several_hosts_the_one_that_accepts_writes_is_used(postgres, plain):
    """The first is read-only, the second is away."""
    plain.sql("CREATE ROLE reader LOGIN SUPERUSER; ALTER ROLE reader SET default_transaction_read_only = on")
    database = postgres.database()
    plain.sql(f"CREATE DATABASE {database}")
    postgres.sql("CREATE ROLE reader LOGIN SUPERUSER")
    hosts = f"127.0.0.1:{plain.port},127.0.0.1:1,127.0.0.1:{postgres.port}"
    root_key = None
    for attributes in ("", "?target_session_attrs=read-write", "?target_session_attrs=primary"):
        root_key = works("--database", f"postgres://reader@{hosts}/{database}{attributes}", root_key=root_key)
    assert plain.sql("SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'", database) == "0"
    code, said = serve("--database", f"postgres://reader@{hosts}/{database}?target_session_attrs=any")
    assert code == 1 and "read-only" in said


def test_after_the_primary_has_moved_the_next_connection_finds_it(postgres, authority, database):
    first = Relay(postgres.port)
    away = Relay(postgres.port)
    away.close()
    url = (f"postgres://keyreeve@{NAME}:{first.port},{NAME}:{away.port}/{database}?hostaddr=127.0.0.1,127.0.0.1"
           f"&sslmode=verify-full&sslrootcert={authority.certificate}")
    server = Server(arguments=["--database", url])
    try:
        becomes_able_to_create(server, "before")
        first.close()
        second = Relay(postgres.port, port=away.port)
        becomes_able_to_create(server, "after")
        second.close()
        third = Relay(postgres.port, port=first.port)
        becomes_able_to_create(server, "back")
        third.close()
    finally:
        server.close()


def test_a_host_that_does_not_answer_does_not_keep_the_next_from_being_tried(postgres, database):
    """The kernel accepts the connection, and no process reads it."""
    import socket
    silent = socket.create_server(("127.0.0.1", 0))
    hosts = f"127.0.0.1:{silent.getsockname()[1]},127.0.0.1:{postgres.port}"
    works("--database", f"postgres://keyreeve@{hosts}/{database}")
    silent.close()


def test_requests_to_cancel_a_statement_go_through_tls_too(postgres, authority, database):
    relay = Relay(postgres.port)
    url = postgres.url(database, f"sslmode=verify-full&sslrootcert={authority.certificate}", port=relay.port)
    server = Server(arguments=["--database", url])
    try:
        server.create("one")
        stopped = [int(pid) for pid in postgres.sql(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'keyreeve' AND state = 'idle' AND "
            f"datname = '{database}'").split()]
        before = len(relay.beginnings)
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            assert server.call("GET", "/v1/api_keys?subject=user_1").status_code == 503
            deadline = time.monotonic() + 10
            while len(relay.beginnings) == before:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            time.sleep(1)
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
        assert set(relay.beginnings) == {SSL_REQUEST}
        becomes_able_to_create(server, "after")
    finally:
        server.close()
        relay.close()


def test_renewed_files_are_used_without_a_restart(authority, stranger, tmp_path):
    certificate, key = authority.issue("renewed", hosts=[f"DNS:{NAME}"])
    postgres = Secured(certificate, key, authority.certificate)
    root = tmp_path / "root.pem"
    shutil.copy(authority.certificate, root)
    database = postgres.database()
    server = Server(arguments=["--database", postgres.url(database, f"sslmode=verify-full&sslrootcert={root}")])
    try:
        becomes_able_to_create(server, "before")
        other, its_key = stranger.issue("renewed", hosts=[f"DNS:{NAME}"])
        postgres.put(other, "server.pem")
        postgres.put(its_key, "server.key")
        postgres.sql("SELECT pg_reload_conf()")
        shutil.copy(stranger.certificate, root)
        time.sleep(0.5)
        end_connections(postgres, database)
        becomes_able_to_create(server, "after")
    finally:
        server.close()
        postgres.stop()


def test_a_handshake_may_begin_at_once(authority):
    """As PostgreSQL 17 has it: here something ends TLS in front of a server that has none."""
    certificate, key = authority.issue("direct", hosts=[f"DNS:{NAME}"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["postgresql"])
    postgres = Secured()
    relay = Relay(postgres.port, context=context)
    try:
        url = postgres.url(postgres.database(), f"sslmode=verify-full&sslrootcert={authority.certificate}", port=relay.port)
        works("--database", url + "&sslnegotiation=direct")
        assert all(SSL_REQUEST not in first for first in relay.beginnings)
        code, said = serve("--database", postgres.url("postgres", "sslmode=require&sslnegotiation=direct"))
        assert code == 1 and "sslnegotiation=direct" in said
    finally:
        relay.close()
        postgres.stop()


def test_commands_that_open_the_database_have_the_same_settings(postgres, authority, database):
    source = Server(arguments=[])
    key = source.create("moved")
    assert source.stop() == 0
    tls = ["--database", postgres.url(database, user="secretive"), "--database-sslmode", "verify-full",
           "--database-sslrootcert", str(authority.certificate)]
    environment = {"PGPASSWORD": PASSWORD}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("KEYREEVE_")}
    moved = subprocess.run([BINARY, "move", "--data", source.data, *tls], env={**inherited, **environment},
                           capture_output=True, text=True, check=False)
    assert moved.returncode == 0, moved.stderr
    server = Server(arguments=tls, environment=environment)
    server.root_key = source.root_key
    assert server.verify(key["secret"])["valid"]
    data = server.data
    server.stop()
    accepted = subprocess.run([BINARY, "audit", "accept-restore", "--data", data, *tls, "--reason", "x", "--yes"],
                              env={**inherited, **environment}, capture_output=True, text=True, check=False)
    assert accepted.returncode == 0 and "nothing to accept" in accepted.stderr, accepted.stderr
    nothing = subprocess.run([BINARY, "move", "--data", data], env=inherited, capture_output=True, text=True, check=False)
    assert nothing.returncode == 1 and "no database is named" in nothing.stderr
    shutil.rmtree(source.data, ignore_errors=True)


def test_pgbouncer_with_tls_is_detected_as_a_pooler(postgres, authority, database):
    certificate, key = authority.issue("pooler", hosts=[f"DNS:{NAME}"])
    for file, name in ((certificate, "pooler.pem"), (key, "pooler.key")):
        postgres.put(file, name)
    from secured import free_port
    port, place = free_port(), pathlib.Path(postgres.dir)
    settings = place / "pgbouncer.ini"
    settings.write_text(f"[databases]\n* = host=127.0.0.1 port={postgres.port} user=keyreeve\n[pgbouncer]\n"
                        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\npool_mode = transaction\n"
                        f"unix_socket_dir =\nlogfile = {place}/pgbouncer.log\nclient_tls_sslmode = require\n"
                        f"client_tls_cert_file = {place}/pooler.pem\nclient_tls_key_file = {place}/pooler.key\n")
    drop = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    pooler = subprocess.Popen([*drop, "/usr/sbin/pgbouncer", "-q", settings], stderr=subprocess.DEVNULL)
    try:
        url = postgres.url(database, f"sslmode=verify-full&sslrootcert={authority.certificate}", port=port)
        server = Server(arguments=["--database", url, "--database-wait", "10s"])
        try:
            assert server.verify(server.create("one")["secret"])["valid"]
            prepared = postgres.sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SET plan_cache_mode%'")
            assert prepared == "0"
        finally:
            server.close()
    finally:
        pooler.terminate()
        pooler.wait(10)
