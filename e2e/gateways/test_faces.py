"""Every face that gives verdicts refuses for every cause, the first time (from the store) and again (from memory)."""
import dataclasses
import http.client
import itertools
import json
import os
import re
import socket
import subprocess
import tempfile
import time
import urllib.parse

import grpc
import pytest
from harness import BINARY, Server
from real import ask, bearer

PROFILES = ["nginx", "caddy", "traefik", "envoy", "haproxy", "generic"]
NUMBERS = itertools.count(1)
# How long after its end a key or a secret may be good on the slowest clock, and the machine's delays.
END_SECONDS = 20
SCOPE = "read"


@dataclasses.dataclass(frozen=True)
class Said:
    """Whether a face lets a request pass, and the code for the key's holder; `None` where a face has none."""

    passes: bool
    code: str | None


class OverUnix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Inside:
    """A verifier inside an application: `keyreeve verifier`, with one line for each question."""

    def __init__(self, url, root_key):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("KEYREEVE_")}
        self.process = subprocess.Popen([BINARY, "verifier", "--url", url], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        env={**environment, "KEYREEVE_ROOT_KEY": root_key}, text=True)

    def ask(self, secret):
        self.process.stdin.write(f"{secret} {SCOPE}\n" if secret else "\n")
        self.process.stdin.flush()
        while "revoked" in (found := json.loads(self.process.stdout.readline())):
            pass
        return Said(found["valid"], found["code"])

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class World:
    """A server that listens on TCP and on Unix sockets, and two verifiers inside applications."""

    def __init__(self):
        self.directory = tempfile.TemporaryDirectory(prefix="keyreeve-faces-")
        self.api, self.check = (os.path.join(self.directory.name, name) for name in ("api.sock", "check.sock"))
        self.server = Server(arguments=["--listen", f"unix:{self.api}", "--check-listen", f"unix:{self.check}"])
        self.inside = Inside(self.server.url, self.server.root_key)
        self.inside_unix = Inside(f"unix:{self.api}", self.server.root_key)

    def send(self, path, body, content="application/json", tenant=None, connection=None):
        """A question by the instance root key."""
        host, port = self.server.addresses["listen"].split(":")
        connection = connection or http.client.HTTPConnection(host, int(port), timeout=30)
        headers = {"Authorization": f"Bearer {self.server.root_key}", "Content-Type": content}
        try:
            connection.request("POST", path, body, {**headers, **({"Keyreeve-Tenant": tenant} if tenant else {})})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def close(self):
        self.inside.close()
        self.inside_unix.close()
        self.server.close()
        self.directory.cleanup()


class Tenant:
    """A tenant with a check policy that asks for the scope, and keys that hold it."""

    def __init__(self, world):
        self.server, self.slug = world.server, f"faces-{next(NUMBERS)}"
        body = {"slug": self.slug, "name": self.slug, "preset": "standard"}
        assert self.server.call("POST", "/v1/tenants", json=body).status_code == 201
        self.call("POST", "/v1/check_policies", {"name": "reads", "scopes": [SCOPE]})
        self.policy = f"{self.slug}:reads"

    def call(self, method, path, body=None):
        answer = self.server.call(method, path, json=body, headers={"Keyreeve-Tenant": self.slug})
        assert answer.ok, f"{method} {path}: {answer.text}"
        return answer.json()

    def keys(self, count):
        """Keys, each of an owner of its own."""
        owners = [self.call("POST", "/v1/users", {"email": f"o{next(NUMBERS)}@example.com", "role": "member"})["id"]
                  for _ in range(count)]
        items = [{"name": f"key {next(NUMBERS)}", "subject": owner, "scopes": [SCOPE]} for owner in owners]
        return self.call("POST", "/v1/api_keys/batch", {"items": items})["data"]

    def change(self, key, **fields):
        self.call("PATCH", f"/v1/api_keys/{key['id']}", fields)

    def do(self, key, verb, **fields):
        return self.call("POST", f"/v1/api_keys/{key['id']}/{verb}", fields)


# The faces: each with the world, the tenant of the key, and what is presented; `None` is nothing.
def by_verify(world, _, secret, connection=None):
    status, body = world.send("/v1/verify", json.dumps({"key": secret or "", "scopes": [SCOPE]}), connection=connection)
    return Said(body.get("valid") is True, body.get("code", status))


def by_batch(world, _, secret):
    status, body = world.send("/v1/verify/batch", json.dumps({"items": [{"key": secret or "", "scopes": [SCOPE]}]}))
    (verdict,) = body.get("data", [body])
    return Said(verdict.get("valid") is True, verdict.get("code", status))


def by_clerk(world, tenant, secret):
    status, _ = world.send("/v1/api_keys/verify", json.dumps({"secret": secret or ""}), tenant=tenant.slug)
    return Said(status == 200, None if status in (200, 404) else str(status))


def by_introspection(world, _, secret):
    form = urllib.parse.urlencode({"token": secret or ""})
    status, body = world.send("/oauth2/introspect", form, "application/x-www-form-urlencoded")
    return Said(body.get("active") is True, None if body == {"active": False} or status == 200 else str(status))


def by_me(world, _, secret):
    answer = ask(world.server.addresses["listen"], "/v1/me", [bearer(secret)] if secret else [])
    return Said(answer.status == 200, "VALID" if answer.status == 200 else answer.json()["code"])


def by_profile(profile):
    return lambda world, tenant, secret: passed(
        ask(world.server.addresses["check_listen"], f"/gateway/{profile}/{tenant.policy}", [bearer(secret)] if secret else []))


def passed(answer):
    return Said(answer.status == 200, "VALID" if answer.status == 200 else answer.headers["X-Keyreeve-Code"])


def by_profile_over_unix(world, tenant, secret):
    connection = OverUnix(world.check)
    try:
        connection.request("GET", f"/gateway/nginx/{tenant.policy}", headers=dict([bearer(secret)] if secret else []))
        return passed(connection.getresponse())
    finally:
        connection.close()


def field(number, data):
    length, size = len(data), b""
    while True:
        size += bytes([length & 127 | (128 if length > 127 else 0)])
        length >>= 7
        if not length:
            return bytes([number << 3 | 2]) + size + data


def by_grpc(world, tenant, secret):
    """Envoy's CheckRequest: attributes.request.http.headers["authorization"], and the policy in context_extensions."""
    pair = field(1, b"authorization") + field(2, b"Bearer " + secret.encode()) if secret else b""
    asked = field(4, field(2, field(3, pair) if pair else b""))
    policy = field(10, field(1, b"keyreeve_policy") + field(2, tenant.policy.encode()))
    with grpc.insecure_channel(world.server.addresses["check_listen"]) as channel:
        answer = channel.unary_unary("/envoy.service.auth.v3.Authorization/Check")(field(1, asked + policy), timeout=20)
    # CheckResponse: field 3 is ok_response with the identity; field 1 the status, with our code as its message.
    passes = b"x-keyreeve-key-id" in answer
    code = re.match(rb"\n.(?:\x08.)?\x12.([A-Z_]+)", answer, re.DOTALL)
    return Said(passes, "VALID" if passes else code.group(1).decode())


FACES = {
    "verify": by_verify,
    "verify over a Unix socket": lambda world, tenant, secret: by_verify(world, tenant, secret, OverUnix(world.api)),
    "verify on the check listener": lambda world, tenant, secret: by_verify(
        world, tenant, secret, http.client.HTTPConnection(world.server.addresses["check_listen"], timeout=30)),
    "batch": by_batch,
    "me": by_me,
    "clerk": by_clerk,
    "introspect": by_introspection,
    "grpc": by_grpc,
    **{profile: by_profile(profile) for profile in PROFILES},
    "nginx over a Unix socket": by_profile_over_unix,
    "inside": lambda world, _, secret: world.inside.ask(secret),
    "inside over a Unix socket": lambda world, _, secret: world.inside_unix.ask(secret),
}

# What ends a key for every face. Each takes the tenant and all keys, and gives what to present in place of each secret.
def each(work):
    def end(tenant, keys):
        for key in keys:
            work(tenant, key)
    return end


def expired(tenant, keys):
    for key in keys:
        tenant.change(key, seconds_until_expiration=1)
    until_refused(tenant, keys[-1])


def retired(tenant, keys):
    for key in keys:
        tenant.do(key, "rotate", overlap_seconds=1)
    until_refused(tenant, keys[-1])


def exhausted(tenant, keys):
    for key in keys:
        tenant.change(key, limits=[{"name": "once", "limit": 1, "period": "total"}])
        assert tenant.server.verify(key["secret"])["valid"]


def until_refused(tenant, key):
    """Waits for an end by time, and asks without a use."""
    deadline = time.monotonic() + END_SECONDS
    while tenant.server.verify(key["secret"], cost=0)["valid"]:
        assert time.monotonic() < deadline, "the end of its time has not come"
        time.sleep(0.1)


ENDS = {
    "revoked": each(lambda tenant, key: tenant.do(key, "revoke")),
    "disabled": each(lambda tenant, key: tenant.do(key, "disable")),
    "rotated": each(lambda tenant, key: tenant.do(key, "rotate")),
    "retired": retired,
    "erased": each(lambda tenant, key: tenant.call("DELETE", f"/v1/api_keys/{key['id']}")),
    "expired": expired,
    "owner suspended": each(lambda tenant, key: tenant.call("PATCH", f"/v1/users/{key['subject']}", {"status": "suspended"})),
    "owner removed": each(lambda tenant, key: tenant.call("DELETE", f"/v1/users/{key['subject']}")),
    "tenant suspended": lambda tenant, _: tenant.call("PATCH", f"/v1/tenants/{tenant.slug}", {"status": "suspended"}),
    "tenant removed": lambda tenant, _: tenant.call("DELETE", f"/v1/tenants/{tenant.slug}"),
    "scope missing": each(lambda tenant, key: tenant.change(key, scopes=["other"])),
    "address not allowed": each(lambda tenant, key: tenant.change(key, allowed_networks=["192.0.2.0/24"])),
    "exhausted": exhausted,
}
# Faces that do not ask for a cause, and so let such a key pass; each is documented.
NOT_ASKED = {
    ("me", "scope missing"): "a key shows itself for no purpose",
    ("clerk", "scope missing"): "Clerk's question has no scopes",
    ("introspect", "scope missing"): "RFC 7662: the answer has the scopes, and the caller compares",
    ("me", "exhausted"): "docs/guides/limits.md: takes nothing and is not refused",
    ("introspect", "exhausted"): "docs/guides/limits.md: takes nothing and is not refused",
}
# The code by which the cause is known to the key's holder; API_KEY_INVALID for all others.
CODES = {
    "missing": "API_KEY_REQUIRED", "disabled": "API_KEY_DISABLED", "expired": "API_KEY_EXPIRED",
    "scope missing": "INSUFFICIENT_SCOPE", "address not allowed": "API_KEY_CONTEXT_DENIED", "exhausted": "RATE_LIMITED",
}
# RFC 7662, section 2.1: `token` is required.
CODES_OF_FACES = {("introspect", "missing"): "400"}
# 404 and {"active": false}, whatever the cause is.
WITHOUT_CODE = ("clerk", "introspect")


@pytest.fixture(scope="module")
def world():
    running = World()
    yield running
    running.close()


def failures(world, tenant, cause, presented):
    """Faces that do not do with a secret what they must: `presented` has for each face its secrets."""
    found = []
    for face, secrets in presented.items():
        must_pass = (face, cause) in NOT_ASKED
        codes = {"VALID"} if must_pass else {CODES.get(cause, "API_KEY_INVALID")}
        if face in WITHOUT_CODE:
            codes = {CODES_OF_FACES.get((face, cause))}
        for place, secret in enumerate(secrets):
            for time_asked in ("first", "second"):
                answer = FACES[face](world, tenant, secret)
                if answer.passes != must_pass or answer.code not in codes:
                    found.append(f"{face}, secret {place}, asked the {time_asked} time: {answer}, not {codes}")
    return found


@pytest.mark.parametrize("cause", list(ENDS))
def test_every_face_refuses_a_key_that_was_good(world, cause):
    tenant = Tenant(world)
    keys = tenant.keys(2 * len(FACES))
    # For each face one key that it knows, and one that no face was ever asked for.
    known, unasked = keys[:len(FACES)], keys[len(FACES):]
    good = {face: FACES[face](world, tenant, key["secret"]) for face, key in zip(FACES, known)}
    assert not (found := [f"{face}: {answer}" for face, answer in good.items() if not answer.passes]), found
    ENDS[cause](tenant, keys)
    presented = {face: [one["secret"], other["secret"]] for face, one, other in zip(FACES, known, unasked)}
    assert not (found := failures(world, tenant, cause, presented)), "\n".join(found)


# Operations that judge a key, by the face that asks them here.
OPERATIONS = {
    "verify": "verify", "verifyBatch": "batch", "verifyAPIKey": "clerk", "introspect": "introspect", "getMe": "me",
    "connectVerifier": "inside",
    # The same judgement as /v1/me, but a key that is good has no second question.
    "revokeMe": "me",
}


def test_every_operation_that_judges_a_key_is_a_face(world):
    document = world.server.call("GET", "/openapi.json").json()
    demands = [(operation["operationId"], demand) for item in document["paths"].values() for operation in item.values()
               for demand in operation["security"]]
    judging = {name for name, demand in demands if "api_key" in demand or "keys:verify" in demand.get("root_key", [])}
    assert judging == set(OPERATIONS) and set(OPERATIONS.values()) <= set(FACES)


def test_every_face_refuses_what_is_no_key(world):
    tenant = Tenant(world)
    (good,) = tenant.keys(1)
    secret = good["secret"]
    other = Tenant(world)
    mistyped = secret[:-1] + ("a" if secret[-1] != "a" else "b")
    presented = {"missing": None, "malformed": "nonsense", "mistyped": mistyped, "cut off": secret[:-7],
                 "a root key": world.server.root_key, "its id": good["id"], "longer": secret + "a"}
    for cause, text in presented.items():
        found = failures(world, tenant, cause, {face: [text] for face in FACES})
        assert not found, f"{cause}: " + "\n".join(found)
    # A key that was issued, by faces that are about another tenant.
    about_one = ["clerk", "grpc", *PROFILES, "nginx over a Unix socket"]
    assert not (found := failures(world, other, "another tenant", {face: [secret] for face in about_one})), found
    assert all(face(world, tenant, secret).passes for face in FACES.values())


def test_every_face_refuses_a_secret_of_the_right_form_that_was_never_issued(world):
    tenant = Tenant(world)
    unknown = issued_elsewhere()
    assert not (found := failures(world, tenant, "unknown", {face: [unknown] for face in FACES})), "\n".join(found)


def issued_elsewhere():
    """A secret of another instance: right in every letter, and unknown here."""
    elsewhere = Server()
    try:
        return elsewhere.create("key")["secret"]
    finally:
        elsewhere.close()
