"""Output of the command line: text unless JSON is requested, secrets and links once, links that lead back to this server."""
import contextlib
import json
import os
import re
import subprocess

import pytest
import requests

from harness import BINARY, Server, embedded_only

PUBLIC = "https://keys.example.com"


def keyreeve(*arguments, stdin="", **environment):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("KEYREEVE_")}
    return subprocess.run([BINARY, *arguments], input=stdin, capture_output=True, text=True, timeout=60, check=False,
                          env={**clean, **environment})


def done(*arguments, **options):
    result = keyreeve(*arguments, **options)
    assert result.returncode == 0, result
    return result


def at_a_terminal(*arguments, **environment):
    """What a user sees: standard output is a terminal."""
    ours, theirs = os.openpty()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("KEYREEVE_")}
    subprocess.run([BINARY, *arguments], stdin=subprocess.DEVNULL, stdout=theirs, timeout=60, check=True,
                   env={**clean, **environment})
    os.close(theirs)
    seen = b""
    # Reading from a terminal whose other end is closed is an error.
    with contextlib.suppress(OSError):
        while chunk := os.read(ours, 65536):
            seen += chunk
    os.close(ours)
    return seen.decode()


def link_in(text):
    return re.search(r"^link\s+(\S+)$", text, re.MULTILINE)[1]


def opens(server, link):
    """Whether a link leads to the page where a password is set. Only its path is used: its host may be another one."""
    return requests.get(server.url + "/setup" + link.split("/setup")[1], timeout=20).status_code == 200


@pytest.fixture(scope="module")
def public():
    running = Server(environment={"KEYREEVE_PUBLIC_URL": PUBLIC})
    yield running
    running.close()


def there(server):
    return {"KEYREEVE_URL": server.url, "KEYREEVE_ROOT_KEY": server.root_key}


def test_the_first_administrators_link_has_the_public_address(public, fresh):
    assert f"first_admin_link={PUBLIC}/setup?token=".encode() in public.stdout
    assert f"first_admin_link={fresh.url}/setup?token=".encode() in fresh.stdout


def test_a_user_without_a_password_gets_a_link_that_works(public, fresh):
    for server, base in ((public, PUBLIC), (fresh, fresh.url)):
        made = done("users", "create", "ada@example.com", "--role", "admin", **there(server))
        link = link_in(made.stdout)
        assert link.startswith(f"{base}/setup?token=") and opens(server, link)
        assert not opens(server, link[:-1])
        user = re.search(r"user_[0-9a-f]{32}", made.stdout)[0]
        again = link_in(done("users", "invite", user, **there(server)).stdout)
        assert again != link and again.startswith(base) and opens(server, again)


def test_a_link_is_part_of_the_json_too(public):
    made = json.loads(done("users", "create", "json@example.com", "-o", "json", **there(public)).stdout)
    assert made["email"] == "json@example.com" and not made["has_password"]
    assert made["link"].startswith(PUBLIC) and made["link_expires_at"] > made["created_at"]


def test_a_user_with_a_password_gets_no_link_and_is_made_on_the_machine_itself(public):
    create = ("users", "create", "bob@example.com", "--password-stdin")
    refused = keyreeve(*create, stdin="correct horse battery", **there(public))
    assert refused.returncode == 4 and "/invite" in refused.stderr
    made = done(*create, "--data", public.data, stdin="correct horse battery")
    assert "link" not in made.stdout and "token" not in made.stdout + made.stderr


def test_the_api_gives_links_to_callers_that_may_create_users(public):
    user = public.call("POST", "/v1/users", json={"email": "api@example.com"}).json()
    path = f"/v1/users/{user['id']}/invite"
    invited = public.call("POST", path)
    assert invited.status_code == 201 and set(invited.json()) == {"user_id", "link", "expires_at"}
    assert invited.headers["Cache-Control"] == "no-store"
    assert opens(public, invited.json()["link"])
    weak = public.call("POST", "/v1/root_keys", json={"name": "weak", "permissions": ["keys:read"]}).json()["secret"]
    assert public.call("POST", path, root_key=weak).status_code == 403
    assert public.call("POST", "/v1/users/user_" + "0" * 32 + "/invite").status_code == 404
    actions = [event["action"] for event in public.call("GET", "/v1/audit_events").json()["data"]]
    assert "user.invited" in actions


def test_a_link_never_has_the_name_that_a_request_brings(public, fresh):
    for server, base in ((public, PUBLIC), (fresh, fresh.url)):
        user = server.call("POST", "/v1/users", json={"email": "host@example.com"}).json()["id"]
        invited = server.call("POST", f"/v1/users/{user}/invite", headers={"Host": "evil.example"}).json()
        assert invited["link"].startswith(base + "/setup")


@embedded_only
def test_a_link_made_while_no_server_runs_leads_to_the_one_that_will(fresh):
    fresh.stop()
    at = {"KEYREEVE_DATA": fresh.data}
    plain = link_in(done("users", "create", "a@example.com", **at).stdout)
    assert plain.startswith("http://127.0.0.1:7300/setup?token=")
    named = link_in(done("users", "create", "b@example.com", KEYREEVE_PUBLIC_URL=PUBLIC, **at).stdout)
    assert named.startswith(PUBLIC + "/setup?token=")
    asked = link_in(done("users", "create", "c@example.com", "--url", "http://192.0.2.1:7300/", **at).stdout)
    assert asked.startswith("http://192.0.2.1:7300/setup?token=")
    fresh.start()
    assert all(opens(fresh, link) for link in (plain, named, asked))


def test_a_tenants_first_root_key_is_shown_once_and_for_people(public):
    made = done("tenants", "create", "acme", **there(public))
    secret = re.search(r"^root_key\.secret\s+(kr_root_kr1\w+)$", made.stdout, re.MULTILINE)[1]
    assert made.stdout.count(secret) == 1 and "{" not in made.stdout and "keep it" in made.stderr
    assert re.search(r"^root_key\.created_at\s+\d{4}-\d\d-\d\dT", made.stdout, re.MULTILINE)
    assert public.call("GET", "/v1/api_keys", root_key=secret).status_code == 200
    as_json = json.loads(done("tenants", "create", "second", "-o", "json", **there(public)).stdout)
    assert as_json["root_key"]["secret"].startswith("kr_root_kr1")
    alone = done("tenants", "create", "third", "--secret-only", **there(public)).stdout
    assert re.fullmatch(r"kr_root_kr1\w+\n", alone)


def test_every_command_prints_for_people_unless_json_is_asked_for(fresh):
    at = there(fresh)
    limits = ["--limit", "per-minute 120/60s burst 20", "--limit", "monthly 10000/month"]
    key = json.loads(done("keys", "create", "one", "--subject", "user_1", *limits, "-o", "json", **at).stdout)
    user = json.loads(done("users", "create", "a@example.com", "-o", "json", **at).stdout)["id"]
    done("tenants", "create", "acme", **at)
    root_key = json.loads(done("root-keys", "create", "-o", "json", **at).stdout)["id"]
    for command in (
        ["keys", "create", "two", "--subject", "user_1", *limits], ["keys", "get", key["id"]], ["keys", "list"],
        ["keys", "history", key["id"]], ["keys", "usage", key["id"]], ["keys", "disable", key["id"]],
        ["keys", "reactivate", key["id"]], ["keys", "rotate", key["id"]], ["keys", "revoke", key["id"]],
        ["root-keys", "create", "three"], ["root-keys", "list"], ["root-keys", "revoke", root_key],
        ["policy", "get"], ["policy", "set", "--preset", "keep"], ["check-policies", "list"],
        ["check-policies", "get", "default"], ["check-policies", "create", "orders"],
        ["check-policies", "change", "orders", "--scope", "orders:read"], ["check-policies", "remove", "orders"],
        ["users", "create", "b@example.com"], ["users", "invite", user], ["users", "list"],
        ["users", "update", user, "--role", "auditor"], ["users", "suspend", user], ["users", "open", user],
        ["users", "remove", user, "--yes"], ["tenants", "list"], ["tenants", "suspend", "acme"],
        ["tenants", "open", "acme"], ["tenants", "remove", "acme", "--yes"], ["audit", "verify"], ["nodes"],
    ):
        told = done(*command, **at).stdout
        assert told.strip() and not re.search(r'[{}\[\]]|"\w+":', told), (command, told)
    for command in (["keys", "list"], ["policy", "get"], ["users", "list"], ["tenants", "list"], ["nodes"],
                    ["root-keys", "list"], ["check-policies", "get", "default"], ["audit", "verify"]):
        assert json.loads(done(*command, "-o", "json", **at).stdout)
    tail = at_a_terminal("audit", "tail", "-n", "3", **at)
    assert len(tail.splitlines()) == 3 and "{" not in tail and re.match(r"\d{4}-\d\d-\d\dT\S+Z  \w+\.\w+  ", tail)
    for arguments in (["-o", "json"], []):
        lines = done("audit", "tail", "-n", "3", *arguments, **at).stdout.splitlines()
        assert len([json.loads(line)["action"] for line in lines]) == 3
    exported = done("audit", "export", **at).stdout.splitlines()
    assert all(json.loads(line)["revision"] for line in exported)


def test_a_change_is_made_only_of_the_version_that_was_seen(server):
    key = server.create("versioned", scopes=["read", "admin"])
    etag = done("keys", "get", key["id"], "--etag", **there(server)).stdout.strip()
    done("keys", "update", key["id"], "--scope", "read", "--if-match", etag, **there(server))
    refused = keyreeve("keys", "update", key["id"], "--scope", "admin", "--if-match", etag, **there(server))
    assert refused.returncode == 6 and "PRECONDITION_FAILED" in refused.stderr
    assert server.call("GET", f"/v1/api_keys/{key['id']}").json()["scopes"] == ["read"]
    etag = done("policy", "get", "--etag", **there(server)).stdout.strip()
    document = done("policy", "get", "-o", "json", **there(server)).stdout
    done("policy", "set", "--file", "-", "--if-match", etag, stdin=document, **there(server))
    wrong = keyreeve("policy", "set", "--file", "-", "--if-match", '"x"', stdin=document, **there(server))
    assert wrong.returncode == 6
