"""A client that holds its body back: the credential is looked at again when the body is complete."""
import json
import re
import socket

import pytest

EMAIL = "ada@example.com"


class HeldBack:
    """A request whose head is sent, and whose body is not."""

    def __init__(self, server, path, root_key, body, kind="application/json", **headers):
        host, port = re.match(r"http://([^:/]+):(\d+)", server.url).groups()
        self.body = body.encode()
        self.connection = socket.create_connection((host, int(port)), timeout=30)
        fields = {"Host": f"{host}:{port}", "Authorization": f"Bearer {root_key}", "Content-Type": kind,
                  "Content-Length": len(self.body), "Connection": "close", **headers}
        head = f"POST {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.connection.sendall(head.encode() + b"\r\n")

    def finish(self):
        self.connection.sendall(self.body)
        answer = b"".join(iter(lambda: self.connection.recv(65_536), b""))
        self.connection.close()
        return int(answer.split(b" ", 2)[1]), answer.decode()


def root_key(server, *permissions):
    made = server.call("POST", "/v1/root_keys", json={"name": "held", "permissions": list(permissions)})
    assert made.status_code == 201, made.text
    return made.json()


def user(server, email):
    made = server.call("POST", "/v1/users", json={"email": email, "role": "admin"})
    assert made.status_code == 201, made.text
    return made.json()["id"]


def requests_of(server, secret, person):
    """A held-back request of each kind, by name."""
    key = server.create(f"verified by {secret[-6:]}")["secret"]
    create, another = (json.dumps({"name": f"{word} {secret[-6:]}", "subject": "user_1"}) for word in ("late", "later"))
    verify = json.dumps({"key": key})
    form = "application/x-www-form-urlencoded"
    return {
        "create": HeldBack(server, "/v1/api_keys", secret, create),
        "create as a user": HeldBack(server, "/v1/api_keys", secret, another, **{"Keyreeve-Act-As": person}),
        "invite": HeldBack(server, f"/v1/users/{person}/invite", secret, "{}"),
        "verify": HeldBack(server, "/v1/verify", secret, verify),
        "batch": HeldBack(server, "/v1/verify/batch", secret, json.dumps({"items": [{"key": key}]})),
        "clerk": HeldBack(server, "/v1/api_keys/verify", secret, json.dumps({"secret": key})),
        "introspect": HeldBack(server, "/oauth2/introspect", secret, f"token={key}", form),
    }


def test_what_a_revoked_root_key_held_back_does_nothing(server):
    made = root_key(server, *server.call("GET", "/v1/root_keys").json()["data"][0]["permissions"])
    held = requests_of(server, made["secret"], user(server, EMAIL))
    before = server.count()
    assert server.call("DELETE", f"/v1/root_keys/{made['id']}").status_code == 200
    for name, request in held.items():
        status, answer = request.finish()
        assert status == 401, f"{name}: {answer}"
    assert server.count() == before


def test_the_same_requests_are_answered_while_the_root_key_is_good(server):
    made = root_key(server, *server.call("GET", "/v1/root_keys").json()["data"][0]["permissions"])
    for name, request in requests_of(server, made["secret"], user(server, "bob@example.com")).items():
        status, answer = request.finish()
        assert status in (200, 201), f"{name}: {answer}"


@pytest.mark.parametrize("second", ["other", "same"])
def test_two_users_to_act_as_are_refused(server, second):
    ada, bob = user(server, f"ada-{second}@example.com"), user(server, f"bob-{second}@example.com")
    named = f"{ada}\r\nKeyreeve-Act-As: {ada if second == 'same' else bob}"
    body = json.dumps({"name": "two", "subject": "user_1"})
    status, answer = HeldBack(server, "/v1/api_keys", server.root_key, body, **{"Keyreeve-Act-As": named}).finish()
    assert status == 400 and "Keyreeve-Act-As" in answer
