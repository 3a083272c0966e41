"""Writes e2e/postgres/fixtures: the databases that each schema version left, SQLite and Postgres.

Run it after a new migration, with a Postgres in KEYREEVE_TEST_POSTGRES; it adds what is missing and changes no other file:

    (. scripts/with-postgres && KEYREEVE_BIN=target/debug/keyreeve e2e/.venv/bin/python e2e/postgres/make_fixtures.py)

The rows are those of one instance. For an older schema they are reduced to the columns that it has. A merged migration is
never edited, so a fixture stays what it was; the tests would find an edit.
"""
import gzip
import json
import os
import pathlib
import re
import sqlite3
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

FIXTURES = HERE / "fixtures"
MIGRATIONS = HERE.parents[1] / "crates/store/migrations"
# In an order that satisfies foreign keys.
TABLES = ("tenants", "root_keys", "users", "keys", "credentials", "log", "idempotency", "usage", "traces", "check_policies",
          "limit_counters", "subject_keys", "logins")


def migrations(kind):
    """Number, name and text, in order."""
    for file in sorted((MIGRATIONS / kind).glob("*.sql")):
        number, name = re.match(r"(\d+)_(\w+)\.sql", file.name).groups()
        yield int(number), name, file.read_text()


def lived(data, server_class):
    """An instance with a key in each state. Returns what a test needs to know of it; secrets are split, so that no scanner
    takes them for real ones."""
    server = server_class(data=data)
    keys = {state: server.create(f"key {state}", scopes=["read"], claims={"plan": "gold"})
            for state in ("active", "disabled", "revoked", "rotated", "erased")}
    change = lambda state, verb: server.call("POST", f"/v1/api_keys/{keys[state]['id']}/{verb}", json={})  # noqa: E731
    assert change("disabled", "disable").status_code == 200 and change("revoked", "revoke").status_code == 200
    fresh = change("rotated", "rotate").json()["secret"]
    assert server.call("DELETE", f"/v1/api_keys/{keys['erased']['id']}").status_code == 200
    assert server.call("POST", "/v1/users", json={"email": "a@example.org", "role": "admin"}).status_code == 201
    assert server.call("POST", "/v1/tenants", json={"slug": "acme", "name": "Acme", "preset": "erase"}).status_code == 201
    for key in keys.values():
        server.verify(key["secret"])
    server.verify(fresh)
    known = {"root_key": split(server.root_key), "fresh": split(fresh),
             "keys": {state: {"id": key["id"], "secret": split(key["secret"])} for state, key in keys.items()}}
    assert server.stop() == 0
    return known


def split(secret):
    return [secret[place:place + 12] for place in range(0, len(secret), 12)]


def rows_of(database):
    """Columns and rows by table, and the types by SQLite's names."""
    found = {}
    for table in TABLES:
        cursor = database.execute(f"SELECT * FROM {table}")
        found[table] = ([column[0] for column in cursor.description], cursor.fetchall())
    return found


def literal(value, kind):
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f"'\\x{value.hex()}'::bytea" if kind == "postgres" else f"x'{value.hex()}'"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value)


def inserts(rows, columns_of, kind):
    """Statements for the tables and columns that a schema has."""
    for table, (columns, values) in rows.items():
        known = columns_of(table)
        shared = [column for column in columns if column in known]
        for row in values if known else []:
            pairs = dict(zip(columns, row))
            texts = []
            for column in shared:
                text = literal(pairs[column], kind)
                # SQLite has no type of its own for them.
                if kind == "postgres" and known[column] == "boolean" and pairs[column] is not None:
                    text = "TRUE" if pairs[column] else "FALSE"
                texts.append(text)
            yield f"INSERT INTO {table} ({', '.join(shared)}) VALUES ({', '.join(texts)});"


def write(name, text):
    with open(FIXTURES / name, "wb") as file:
        file.write(gzip.compress(text.encode(), mtime=0))


def sqlite_fixtures(rows):
    done = []
    for number, name, text in migrations("sqlite"):
        done.append((number, name, text))
        if (FIXTURES / f"sqlite-{number:04}.sql.gz").exists():
            continue
        database = sqlite3.connect(":memory:")
        database.execute("CREATE TABLE keyreeve_migrations (version INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT")
        for one, called, statements in done:
            database.executescript(statements)
            database.execute("INSERT INTO keyreeve_migrations VALUES (?, ?)", (one, called))

        def columns_of(table, database=database):
            return {row[1]: row[2] for row in database.execute(f"PRAGMA table_info({table})")}
        # What triggers count is in the rows already.
        triggers = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for trigger, _ in triggers:
            database.execute(f"DROP TRIGGER {trigger}")
        database.executescript("\n".join(inserts(rows, columns_of, "sqlite")))
        for _, definition in triggers:
            database.execute(definition)
        database.execute("UPDATE head SET (revision, chain) = (SELECT revision, chain FROM log ORDER BY revision DESC LIMIT 1)")
        database.commit()
        write(f"sqlite-{number:04}.sql.gz", "\n".join(database.iterdump()) + "\n")


def postgres_fixtures(rows, server):
    from harness import drop_database, new_database
    done = []
    for number, name, text in migrations("postgres"):
        done.append((number, name, text))
        if (FIXTURES / f"postgres-{number:04}.sql.gz").exists():
            continue
        database = new_database(server)
        psql(database, "CREATE TABLE keyreeve_migrations (version BIGINT PRIMARY KEY, name TEXT NOT NULL, "
             "run_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp());")
        for one, called, statements in done:
            psql(database, f"{statements}\nINSERT INTO keyreeve_migrations (version, name) VALUES ({one}, '{called}');")

        def columns_of(table, database=database):
            found = psql(database, "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = 'public' "
                         f"AND table_name = '{table}' AND is_generated = 'NEVER'")
            return dict(line.split("|") for line in found.splitlines())
        head = "UPDATE head SET (revision, chain) = (SELECT revision, chain FROM log ORDER BY revision DESC LIMIT 1);"
        # Neither counted again nor recorded as changes by hand.
        psql(database, "BEGIN; SET LOCAL session_replication_role = replica;\n" +
             "\n".join(inserts(rows, columns_of, "postgres")) + f"\n{head} COMMIT;")
        dump = subprocess.run(["pg_dump", "--no-owner", "--inserts", database], check=True, capture_output=True, text=True).stdout
        # Settings and commands of newer servers or clients, which an older one does not know.
        kept = [line for line in dump.splitlines() if not re.match(r"--|\\|SET (transaction_timeout|default_table_access)|$", line)]
        write(f"postgres-{number:04}.sql.gz", "\n".join(kept) + "\n")
        drop_database(database)


def psql(database, statements):
    done = subprocess.run(["psql", "-qAtX", "-v", "ON_ERROR_STOP=1", database], input=statements, check=False, text=True,
                          capture_output=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout.strip()


def main():
    from harness import Server
    FIXTURES.mkdir(exist_ok=True)
    rows_file = FIXTURES / "rows.sql.gz"
    if not rows_file.exists():
        with tempfile.TemporaryDirectory() as data:
            known = lived(data, Server)
            database = sqlite3.connect(f"{data}/keyreeve.db")
            write(rows_file.name, "\n".join(database.iterdump()) + "\n")
        (FIXTURES / "known.json").write_text(json.dumps(known, indent=1) + "\n")
    database = sqlite3.connect(":memory:")
    database.executescript(gzip.decompress(rows_file.read_bytes()).decode())
    rows = rows_of(database)
    sqlite_fixtures(rows)
    postgres_fixtures(rows, os.environ["KEYREEVE_TEST_POSTGRES"])


if __name__ == "__main__":
    main()
