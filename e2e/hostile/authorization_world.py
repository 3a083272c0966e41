"""What the authorisation matrix calls about and who calls: two tenants, their records, and one caller of each kind."""
import base64
import dataclasses
import http.client
import itertools
import json
import secrets
import urllib.parse
import zlib

from verifier_client import WireVerifier

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# All with four digits, so that no name is a part of another one.
NUMBERS = itertools.count(1000)
# What a key must have been through before these operations can succeed on it.
STATES = {
    "finalizeApiKey": ("revoke", {}),
    "finishRotation": ("rotate", {"overlap_seconds": 3600}),
    "purgeApiKeys": ("revoke", {"reason_code": "key_compromise"}),
    "reactivateApiKey": ("disable", {}),
}
# Operations that end the key in their body.
ENDING = ("purgeApiKeys", "revokeManyApiKeys")
# Fields that change although no call changes the record: use, and the lease of a connected verifier.
VOLATILE = ("last_used_at", "lease_ends_at", "keys_held", "oldest_unacknowledged_ms")


def unknown_secret(prefix):
    """A secret of the right form, with its checksum, that was never issued (crates/core/src/key/format.rs)."""
    text = f"{prefix}_kr1" + "".join(secrets.choice(ALPHABET) for _ in range(43))
    number, digits = zlib.crc32(text.encode()), ""
    for _ in range(6):
        number, digit = divmod(number, 62)
        digits = ALPHABET[digit] + digits
    return text + digits


@dataclasses.dataclass
class Record:
    """The record that an operation is about: its id in the address, and a key for operations that name one in the body."""

    id: str
    key: dict
    subject: str
    close: object = lambda: None


class Answer:
    def __init__(self, response):
        self.status_code, self.text = response.status, response.read().decode()
        self.ok = self.status_code < 400


class Client:
    """One connection that is kept: thousands of calls, each a fraction of what `requests` takes."""

    def __init__(self, address):
        self.connection = http.client.HTTPConnection(address, timeout=30)

    def send(self, method, path, headers, body=None, is_form=False):
        if method == "GET" or body is None:
            data = None
        elif is_form:
            data, headers = urllib.parse.urlencode(body), {**headers, "Content-Type": "application/x-www-form-urlencoded"}
        else:
            data, headers = json.dumps(body), {**headers, "Content-Type": "application/json"}
        try:
            self.connection.request(method, path, data, headers)
            return Answer(self.connection.getresponse())
        except (http.client.RemoteDisconnected, ConnectionError):
            # The server has closed the kept connection: nothing of the call was read.
            self.connection.close()
            self.connection.request(method, path, data, headers)
            return Answer(self.connection.getresponse())


class World:
    """A tenant of which every text has `marker` in it, a second tenant, and an instance root key over both."""

    def __init__(self, server):
        self.server, self.root_key = server, server.root_key
        self.send = Client(server.addresses["listen"]).send
        self.marker = "m" + secrets.token_hex(8)
        self.number = lambda: next(NUMBERS)
        made, self.elsewhere = (self.make("POST", "/v1/tenants", {"slug": f"{name}-{self.number()}", "name": name})
                                for name in (self.marker, "elsewhere"))
        self.slug, self.full = made["slug"], made["root_key"]
        self.make("PUT", "/v1/policy", {"revoke": {"undo": 3600}}, tenant=self.slug)
        self.people = {name: self.person(role) for name, role in [
            ("admin", "admin"), ("a second admin", "admin"), ("auditor", "auditor"), ("owner", "member"),
            ("another member", "member"), ("suspended", "member"), ("suspended admin", "admin"), ("removed admin", "admin")]}
        for name in ("suspended", "suspended admin"):
            self.make("PATCH", f"/v1/users/{self.people[name]}", {"status": "suspended"}, tenant=self.slug)
        self.make("DELETE", f"/v1/users/{self.people['removed admin']}", tenant=self.slug)
        self.owner = self.people["owner"]
        self.stranger = self.make("POST", "/v1/users", {"email": f"s{self.number()}@example.com", "role": "admin"},
                                  tenant=self.elsewhere["slug"])["id"]
        self.issued = []
        self.any_key = self.key()

    def make(self, method, path, body=None, tenant=None):
        """A call that must succeed, by the instance root key."""
        naming = {"Keyreeve-Tenant": tenant} if tenant else {}
        answer = self.send(method, path, {"Authorization": f"Bearer {self.root_key}", **naming}, body)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return json.loads(answer.text)

    def person(self, role):
        email = f"{self.marker}-{self.number()}@example.com"
        return self.make("POST", "/v1/users", {"email": email, "role": role, "name": self.marker}, tenant=self.slug)["id"]

    def root(self, permissions, tenant):
        name = f"{self.marker} {self.number()}" if tenant == self.slug else "elsewhere"
        body = {"name": name, "permissions": sorted(permissions), "tenant": tenant}
        return self.make("POST", "/v1/root_keys", body)

    def key(self, operation=None):
        """A key of the member who owns keys, in the state that an operation takes."""
        body = {"name": f"{self.marker} {self.number()}", "subject": self.owner, "description": self.marker,
                "limits": [{"name": "daily", "limit": 1000, "period": "day"}]}
        key = self.make("POST", "/v1/api_keys", body, tenant=self.slug)
        if operation == "resetApiKeyLimits":
            assert self.make("POST", "/v1/verify", {"key": key["secret"]})["valid"]
        if operation in STATES:
            verb, wanted = STATES[operation]
            self.make("POST", f"/v1/api_keys/{key['id']}/{verb}", wanted, tenant=self.slug)
        return key

    def record(self, operation):
        """A fresh record for an operation; `KeyError` where its address names a kind that is not known here."""
        key = self.key(operation.id) if operation.kind in (None, "api_keys", "operations") else self.any_key
        made = KINDS[operation.kind](self, key)
        if operation.id == "finishRootKeyRotation":
            self.make("POST", f"/v1/root_keys/{made}/rotate", {"overlap_seconds": 3600})
        record = Record(made, key, self.owner) if isinstance(made, str) else Record(made[0], key, self.owner, made[1])
        names = [] if operation.kind in ("errors", "operations") else [record.id]
        self.issued += [*names, key["id"], key["secret"]]
        return record

    def verifier(self):
        connected = WireVerifier(self.server, self.full["secret"])
        assert connected.granted()
        return self.connected()[0]["id"], connected.close

    def connected(self):
        listed = self.make("GET", "/v1/verifiers/connected", tenant=self.slug)["data"]
        return sorted(listed, key=lambda one: one["connected_at"], reverse=True)

    def state(self):
        """Every record of the tenant, and what belongs to the instance alone."""
        paths = ["/v1/api_keys?include_invalid=true&limit=20", "/v1/users", "/v1/root_keys", "/v1/policy",
                 "/v1/check_policies", "/v1/verifiers/connected", f"/v1/tenants/{self.slug}"]
        found = {path: steady(self.make("GET", path, tenant=self.slug)) for path in paths}
        # Those of earlier calls are listed until their lease is over.
        connected = found["/v1/verifiers/connected"]
        connected["data"] = [one for one in connected["data"] if one["state"] != "disconnected"]
        return {**found, "/v1/tenants": self.make("GET", "/v1/tenants")}

    def journal(self, since):
        """Entries of the tenant's audit log after a revision that are no refusal, and the newest revision of all."""
        page = self.make("GET", f"/v1/audit_events?order=asc&limit=1000&cursor={since}", tenant=self.slug)["data"]
        written = [one for one in page if one["action"] != "access.refused"]
        return written, page[-1]["revision"] if page else since


def steady(answer):
    for record in answer.get("data", [answer]):
        for name in VOLATILE:
            record.pop(name, None)
    return answer


def check_policy(world, _):
    body = {"name": f"p{world.number()}", "realm": world.marker}
    return world.make("POST", "/v1/check_policies", body, tenant=world.slug)["name"]


def change(world, _):
    """The id of a change of the tenant: its newest one."""
    return f"op_{world.journal(1)[1]}"


def tenant(world, _):
    slug = f"{world.marker}-{world.number()}"
    return world.make("POST", "/v1/tenants", {"slug": slug, "name": world.marker})["slug"]


# A record by the segment before its id in an address; `None` is an address without an id.
KINDS = {
    None: lambda world, key: key["id"],
    "api_keys": lambda world, key: key["id"],
    "check_policies": check_policy,
    "connected": lambda world, key: world.verifier(),
    "errors": lambda world, key: "NOT_FOUND",
    "operations": change,
    "root_keys": lambda world, key: world.root({"keys:read"}, world.slug)["id"],
    "tenants": tenant,
    "users": lambda world, key: world.person("member"),
}
# Valid contents by operation. What a cell makes has no marker in its name.
BODIES = {
    "createAPIKey": lambda w, r: {"name": f"made {w.number()}", "subject": r.subject},
    "createAPIKeys": lambda w, r: {"items": [{"name": f"made {w.number()}", "subject": r.subject}]},
    "createCheckPolicy": lambda w, r: {"name": f"made{w.number()}"},
    "createRootKey": lambda w, r: {"name": "made", "permissions": ["root_keys:write"]},
    "createTenant": lambda w, r: {"slug": f"made-{w.number()}", "name": "Made"},
    "createUser": lambda w, r: {"email": f"made{w.number()}@example.com", "role": "member"},
    "introspect": lambda w, r: {"token": r.key["secret"]},
    "purgeApiKeys": lambda w, r: {"revoked_before": 253_402_300_000_000},
    "putPolicy": lambda w, r: {"limit": {"keys_per_subject": 100_000 + w.number()}},
    "reportGithubLeaks": lambda w, r: [{"token": r.key["secret"], "type": "keyreeve_api_key"}],
    "reportLeaks": lambda w, r: {"secret": r.key["secret"]},
    "revokeManyApiKeys": lambda w, r: {"filter": {"ids": [r.key["id"]]}},
    "revokeToken": lambda w, r: {"token": r.key["secret"]},
    "updateApiKey": lambda w, r: {"description": f"changed {w.number()}"},
    "updateCheckPolicy": lambda w, r: {"realm": f"changed {w.number()}"},
    "updateTenant": lambda w, r: {"name": f"changed {w.number()}"},
    "updateUser": lambda w, r: {"name": f"changed {w.number()}"},
    "verify": lambda w, r: {"key": r.key["secret"]},
    "verifyAPIKey": lambda w, r: {"secret": r.key["secret"]},
    "verifyBatch": lambda w, r: {"items": [{"key": r.key["secret"]}]},
}


@dataclasses.dataclass(frozen=True)
class Caller:
    """One kind of caller. `reach` is the tenant of its root key (`own`, `other`, `instance`), `names` a tenant that it
    names in a header, `acts` the person that it acts as."""

    name: str
    group: str
    secret: str | None
    permissions: frozenset = frozenset()
    standing: str = "root key"
    reach: str = "own"
    names: str | None = None
    acts: str | None = None
    root_key_id: str | None = None

    def headers(self, world):
        """The headers of its calls."""
        sent = {}
        secret = self.secret
        if self.root_key_id:
            basic = base64.b64encode(f"{self.root_key_id}:{secret}".encode()).decode()
            sent["Authorization"] = f"Basic {basic}"
        elif secret is not None:
            sent["Authorization"] = secret if " " in secret else f"Bearer {secret}"
        tenants = {"own": world.slug, "other": world.elsewhere["slug"], "unknown": "no-such-tenant"}
        if self.names:
            sent["Keyreeve-Tenant"] = tenants[self.names]
        if self.acts:
            people = {**world.people, "of the other tenant": world.stranger, "unknown": "user_" + "0" * 32, "no id": "x"}
            sent["Keyreeve-Act-As"] = people[self.acts]
        return sent

    def by_basic(self, root_key):
        return dataclasses.replace(self, name=f"{self.name}, by basic", root_key_id=root_key)


def strangers(world, everything):
    """Callers without a good root key."""
    revoked = world.root(everything, world.slug)
    world.make("DELETE", f"/v1/root_keys/{revoked['id']}")
    ended = world.key()
    world.make("POST", f"/v1/api_keys/{ended['id']}/revoke", {"reason_code": "key_compromise"}, tenant=world.slug)
    full = world.full["secret"]
    bad = {"none": None, "malformed": "nonsense", "empty": "Bearer ", "another scheme": f"Token {full}",
           "mistyped": full[:-1] + ("a" if full[-1] != "a" else "b"), "unknown": unknown_secret("rk"),
           "revoked root key": revoked["secret"], "unknown API key": unknown_secret("acme"),
           "revoked API key": ended["secret"]}
    found = [Caller(name, "credential", secret, standing="none") for name, secret in bad.items()]
    basics = [found[5].by_basic("any"), found[6].by_basic(revoked["id"])]
    return [*found, *basics, Caller("API key", "credential", world.key()["secret"], standing="API key")]


def root_keys(world, permissions, all_of):
    """Root keys of the tenant and of the instance with one permission each, none, all but those that are needed."""
    sets = {**{one: {one} for one in permissions}, "no permission": set(), **all_of}
    for name, held in sets.items():
        own, wide = world.root(held, world.slug), world.root(held, None)
        caller = Caller(name, "permission", own["secret"], frozenset(held))
        yield caller
        yield dataclasses.replace(caller, name=f"{name}, instance", secret=wide["secret"], reach="instance", names="own")
        yield caller.by_basic(own["id"])


def foreigners(world, permissions):
    """Good root keys that mean another tenant than the record's."""
    other, wide = (world.root(permissions, tenant)["secret"] for tenant in (world.elsewhere["slug"], None))
    held = frozenset(permissions)
    yield Caller("root key of another tenant", "foreign", other, held, reach="other")
    yield Caller("root key of another tenant that names this one", "foreign", other, held, reach="other", names="own")
    yield Caller("root key of this tenant that names another", "foreign", world.root(permissions, world.slug)["secret"], held,
                 names="other")
    yield Caller("instance root key that names another tenant", "foreign", wide, held, reach="instance", names="other")
    yield Caller("instance root key that names no known tenant", "foreign", wide, held, reach="instance", names="unknown")


def actors(world, permissions):
    """Root keys that act as people of the tenant."""
    own = Caller("", "role", world.root(permissions, world.slug)["secret"], frozenset(permissions))
    wide = dataclasses.replace(own, secret=world.root(permissions, None)["secret"], reach="instance", names="own")
    for acts in ("admin", "auditor", "owner", "another member", "suspended", "suspended admin", "removed admin",
                 "of the other tenant", "unknown", "no id"):
        yield dataclasses.replace(own, name=f"as {acts}", acts=acts)
        yield dataclasses.replace(wide, name=f"as {acts}, instance", acts=acts)
    for name, held in [("without users:act", set(permissions) - {"users:act"}), ("with users:act alone", {"users:act"})]:
        secret = world.root(held, world.slug)["secret"]
        yield dataclasses.replace(own, name=f"as admin, {name}", acts="admin", secret=secret, permissions=frozenset(held))
