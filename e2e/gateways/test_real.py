"""Every real gateway, with the shipped files."""
import base64
import json
import pathlib
import signal
import socket
import sqlite3
import threading
import time

import pytest
import requests
from harness import Server, embedded_only
from real import GATEWAYS, Gateway, Http, Echo, bearer

IDENTITY = ["key-id", "tenant", "subject", "owner-type", "scopes", "environment", "meta"]
# nginx cannot remove headers by a prefix: names that its file does not list pass.
KEEPS_UNNAMED = {"nginx"}
# Gateways whose own time limit for an authorizer cannot be set.
SLOW_TO_GIVE_UP = {"traefik": 31}
# Gateways that turn an authorizer's 503 into one of their own.
OWN_503 = {"envoy-http"}
# Gateways that can add headers of the authorizer's answer to the response of an allowed request.
TELLS_LIMITS_OF_THE_ALLOWED = {"nginx", "envoy", "envoy-http"}
DOWN_SECONDS = 2
SILENT_SECONDS = 4


class World:
    """A Keyreeve, an API and a gateway between them."""

    def __init__(self, kind):
        self.kind = kind
        self.server = Server()
        self.api = Http(Echo)
        self.call("POST", "/v1/tenants", slug="acme", name="Acme")
        self.call("POST", "/v1/check_policies", name="orders")
        self.key = self.create(name="good", subject="user_ada", scopes=["orders:read"], claims={"plan": "pro"})
        self.gateway = Gateway(kind, self.server.addresses["check_listen"], self.api.address, "acme:orders")
        self.ask = self.gateway.ask
        print(f"{kind}: {self.gateway.version()}")

    def call(self, method, path, **body):
        answer = self.server.call(method, path, headers={"Keyreeve-Tenant": "acme"} if "tenants" not in path else {},
                                  json=body)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    def create(self, **fields):
        return self.call("POST", "/v1/api_keys", **fields)

    def policy(self, **fields):
        self.call("PATCH", "/v1/check_policies/orders", **fields)

    def close(self):
        self.gateway.close()
        self.api.close()
        self.server.close()


@pytest.fixture(scope="module", params=list(GATEWAYS))
def world(request):
    made = World(request.param)
    yield made
    made.close()


def ours(seen):
    """Every header that an application could take for Keyreeve's, in any spelling, with its values."""
    found = {}
    for name, value in seen["headers"]:
        plain = name.replace("_", "-")
        if plain.startswith("x-keyreeve-"):
            found.setdefault(plain.removeprefix("x-keyreeve-"), []).append(value)
    return found


def assert_denied(answer, status, code=None):
    assert answer.status == status, answer
    assert b'"headers"' not in answer.body, "the API was not asked"
    if code:
        assert answer.json()["code"] == code, answer
        assert answer.headers["Content-Type"] == "application/problem+json"


def test_allowed_with_identity_and_without_the_key(world):
    secret = world.key["secret"]
    for header in [bearer(secret), ("X-API-Key", secret), ("authorization", f"bearer {secret}")]:
        seen = world.ask("/orders?page=2", [header, ("Accept", "text/x")]).seen()
        assert seen["path"] == "/orders?page=2" and ["accept", "text/x"] in seen["headers"]
        assert secret not in str(seen), "the key ends at the gateway"
        identity = ours(seen)
        assert identity["key-id"] == [world.key["id"]]
        assert identity["tenant"] == ["acme"] and identity["subject"] == ["user_ada"]
        assert identity["owner-type"] == ["user"] and identity["scopes"] == ["orders:read"]
        assert identity.get("meta", [""]) == [""] and identity.get("environment", [""]) == [""]
    posted = world.ask("/orders", [bearer(secret)], method="POST", body=b"an order").seen()
    assert (posted["method"], posted["body"]) == ("POST", "an order")


def test_bodies_of_any_framing_pass_or_are_denied_as_one_request(world):
    url, parts = f"http://{world.gateway.address}/orders", [b"an ", b"order"]
    held = {"Authorization": f"Bearer {world.key['secret']}"}
    allowed = requests.post(url, data=iter(parts), headers=held, timeout=20)
    assert allowed.status_code == 200 and allowed.json()["method"] == "POST"
    assert requests.post(url, data=iter(parts), timeout=20).status_code == 401
    large = requests.put(url, data=b"x" * 200_000, headers=held, timeout=20)
    assert large.status_code == 200 and large.json()["body"] == "x" * 200_000
    # Both lengths at once are refused by one of the servers, and the API does not receive two requests.
    host, port = world.gateway.address.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as raw:
        raw.sendall(b"POST /a HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + world.key["secret"].encode()
                    + b"\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n")
        raw.settimeout(2)
        answered = b""
        try:
            while (part := raw.recv(65536)):
                answered += part
        except TimeoutError:
            pass
    assert b"/smuggled" not in answered, answered


def test_denied_without_a_key_and_with_a_wrong_one(world):
    missing = world.ask("/orders", [])
    assert_denied(missing, 401, "API_KEY_REQUIRED")
    assert missing.headers["WWW-Authenticate"] == 'Bearer realm="keyreeve"'
    wrong = world.ask("/orders", [bearer("ak_kr1" + "0" * 49)])
    assert_denied(wrong, 401, "API_KEY_INVALID")
    assert wrong.headers["WWW-Authenticate"] == 'Bearer realm="keyreeve", error="invalid_token"'
    assert_denied(world.ask("/orders", [("Authorization", "Basic eDp5")]), 401, "API_KEY_REQUIRED")
    # Another tenant's key, valid there.
    other = world.server.create(name="elsewhere", subject="user_eve")["secret"]
    assert_denied(world.ask("/orders", [bearer(other)]), 401, "API_KEY_INVALID")
    for method in ("POST", "DELETE", "PUT"):
        assert_denied(world.ask("/orders", [], method=method, body=b"x"), 401, "API_KEY_REQUIRED")
    assert world.ask("/orders", [], method="HEAD").status == 401


def test_the_apis_own_answers_are_its_own(world):
    for status in (401, 403, 404, 429, 500, 503):
        answer = world.ask(f"/status/{status}", [bearer(world.key["secret"])])
        assert answer.status == status and b'"headers"' in answer.body, "as the API said it"


def test_scope_missing_is_403_and_a_changed_policy_holds_at_once(world):
    held = [bearer(world.key["secret"])]
    world.policy(scopes=["orders:write"])
    try:
        denied = world.ask("/orders", held)
        assert_denied(denied, 403, "INSUFFICIENT_SCOPE")
        # G-07: the query or path that a client writes never weakens the policy.
        for path in ("/orders?scope=orders:read", "/orders?policy=none&scope=", "/gateway/nginx/none/orders",
                     "/orders/../../gateway/nginx/none"):
            assert world.ask(path, held).status in (400, 403), path
    finally:
        world.policy(scopes=[])
    assert world.ask("/orders", held).status == 200


def test_revoked_in_mid_traffic(world):
    """G1: no request that began after the answer to the revocation was allowed."""
    made = world.create(name="doomed", subject="user_doomed")
    held, statuses, stop = [bearer(made["secret"])], [], threading.Event()

    def use():
        while not stop.is_set():
            began = time.monotonic()
            statuses.append((began, world.ask("/orders", held).status))

    users = [threading.Thread(target=use) for _ in range(4)]
    for user in users:
        user.start()
    time.sleep(0.3)
    world.call("POST", f"/v1/api_keys/{made['id']}/revoke")
    revoked = time.monotonic()
    first = world.ask("/orders", held).status
    time.sleep(0.2)
    stop.set()
    for user in users:
        user.join()
    after = {status for began, status in statuses if began > revoked}
    assert first == 401 and after <= {401}, after
    assert {status for began, status in statuses if began < revoked - 0.1} == {200}


FORGED = ["X-Keyreeve-Subject", "x-keyreeve-scopes", "X_Keyreeve_Subject", "X_KEYREEVE_SCOPES", "X-Keyreeve_Subject",
          "X_Keyreeve-Subject", "X-Keyreeve-Meta", "X-Keyreeve-Environment", "X-Keyreeve-Status", "X-Keyreeve-Code",
          "X-Keyreeve-Gateway"]


def test_forged_identity_headers_do_not_arrive(world):
    headers = [bearer(world.key["secret"])] + [(name, "forged") for name in FORGED]
    identity = ours(world.ask("/orders", headers).seen())
    assert "forged" not in str(identity), identity
    assert identity["subject"] == ["user_ada"] and identity["scopes"] == ["orders:read"]
    unnamed = [bearer(world.key["secret"]), ("X-Keyreeve-Anything", "forged")]
    keeps = "anything" in ours(world.ask("/orders", unnamed).seen())
    assert keeps == (world.kind in KEEPS_UNNAMED)
    # Without a key they do not help either.
    assert_denied(world.ask("/orders", headers[1:]), 401, "API_KEY_REQUIRED")


def test_a_client_cannot_have_headers_taken_away_by_naming_them_in_connection(world):
    """H3. A header named there is hop-by-hop: either the request is denied, or the identity arrives."""
    for named in ("authorization", "X-Keyreeve-Subject", "x-api-key, X-Keyreeve-Key-Id"):
        answer = world.ask("/orders", [bearer(world.key["secret"]), ("Connection", named)])
        if answer.status == 200:
            seen = answer.seen()
            assert world.key["secret"] not in str(seen)
            assert "forged" not in str(ours(seen))
        else:
            assert answer.status in (400, 401, 403, 503), answer
    forged = [bearer(world.key["secret"]), ("Connection", "X-Keyreeve-Subject"), ("X-Keyreeve-Subject", "forged")]
    answer = world.ask("/orders", forged)
    assert answer.status != 200 or "forged" not in str(ours(answer.seen()))


def test_dot_segments_never_open_anything(world):
    """G-09: with any path, a request without a key is denied, and no path leads to Keyreeve itself."""
    for path in ("/pub/../../v1/api_keys", "/a/../b", "/../gateway/nginx/default", "/%2e%2e/%2e%2e/v1/api_keys",
                 "/./a", "//a//b", "/a/..;/b", "/gateway/envoy/default/../../../v1/verify"):
        denied = world.ask(path, [])
        assert denied.status in (400, 401, 404), (path, denied)
        assert b'"headers"' not in denied.body, path
        allowed = world.ask(path, [bearer(world.key["secret"])])
        # The API itself answers, or the gateway rejects the path.
        assert allowed.status in (200, 400, 404), (path, allowed)
        if allowed.status == 200:
            assert ours(allowed.seen())["subject"] == ["user_ada"], path


def test_two_credentials_are_refused(world):
    other = world.create(name="other", subject="user_other")["secret"]
    secret = world.key["secret"]
    both = world.ask("/orders", [bearer(secret), ("X-API-Key", other)])
    assert_denied(both, 400, "AMBIGUOUS_CREDENTIALS")
    for headers in ([bearer(secret), bearer(other)], [("Authorization", f"Bearer {secret}, Bearer {other}")],
                    [("X-API-Key", secret), ("X-API-Key", other)], [("X-API-Key", f"{secret},{other}")]):
        answer = world.ask("/orders", headers)
        assert answer.status == 400, (headers, answer)
        assert b'"headers"' not in answer.body
    same = world.ask("/orders", [bearer(secret), ("X-API-Key", secret)])
    assert same.seen() and secret not in str(same.seen())


def test_503_is_passed_on_with_retry_after(world):
    """Keyreeve's own failure: here claims that do not fit into a header."""
    made = world.create(name="large", subject="user_large", claims={"text": "x" * 5000})
    world.policy(meta=True)
    try:
        answer = world.ask("/orders", [bearer(made["secret"])])
        if world.kind in OWN_503:
            assert_denied(answer, 503)
        else:
            assert_denied(answer, 503, "SERVICE_UNAVAILABLE")
            assert answer.headers["Retry-After"] == "1"
        fits = ours(world.ask("/orders", [bearer(world.key["secret"])]).seen())
        meta, = fits["meta"]
        assert json.loads(base64.urlsafe_b64decode(meta + "=" * (-len(meta) % 4))) == {"plan": "pro"}
    finally:
        world.policy(meta=False)


def test_long_scopes_arrive_complete(world):
    scopes = [f"area-{number}:" + "x" * 100 for number in range(100)]
    made = world.create(name="scopes", subject="user_scopes", scopes=scopes)
    identity = ours(world.ask("/orders", [bearer(made["secret"])]).seen())
    assert identity["scopes"] == [" ".join(scopes)]


@embedded_only
def test_the_users_address_is_what_the_gateway_saw(world):
    """G-08: an address that the client claims is ignored."""
    made = world.create(name="where", subject="user_where")
    claimed = [("X-Forwarded-For", "203.0.113.9"), ("X-Real-IP", "203.0.113.9"), ("Forwarded", "for=203.0.113.9")]
    assert world.ask("/orders", [bearer(made["secret"]), *claimed]).status == 200
    deadline, addresses = time.monotonic() + 5, set()
    while not addresses and time.monotonic() < deadline:
        time.sleep(0.2)
        with sqlite3.connect(f"file:{world.server.data}/keyreeve.db?mode=ro", uri=True) as database:
            key = bytes.fromhex(made["id"].removeprefix("ak_"))
            rows = database.execute("SELECT address FROM traces WHERE key_id = ?", [key])
            addresses = {address for address, in rows}
    assert addresses == {"127.0.0.1"}


def test_429_is_passed_on_with_retry_after(world):
    limits = [{"name": "few", "limit": 2, "seconds": 3600, "burst": 2}]
    held = [bearer(world.create(name="limited", subject="user_limited", limits=limits)["secret"])]
    for remaining in (1, 0):
        allowed = world.ask("/orders", held)
        assert allowed.status == 200, allowed
        if world.kind in TELLS_LIMITS_OF_THE_ALLOWED:
            assert allowed.headers["RateLimit"].startswith(f'"few";r={remaining};t='), allowed
            assert allowed.headers["RateLimit-Policy"] == '"few";q=2;w=3600'
    denied = world.ask("/orders", held)
    assert_denied(denied, 429, "RATE_LIMITED")
    assert 1 < int(denied.headers["Retry-After"]) <= 1800
    assert denied.headers["RateLimit"].startswith('"few";r=0;t=')
    assert denied.headers["RateLimit-Policy"] == '"few";q=2;w=3600'
    assert world.ask("/orders", [bearer(world.key["secret"])]).status == 200, "another key has its own"


def test_a_key_for_one_network_is_refused_from_another(world):
    """The address is the peer of the gateway, whatever the client's headers contain."""
    here, elsewhere = (world.create(name=f"from {network}", subject="user_1", allowed_networks=[network])["secret"]
                       for network in ("127.0.0.0/8", "192.0.2.0/24"))
    assert world.ask("/orders", [bearer(here)]).status == 200
    forged = [("X-Forwarded-For", "192.0.2.1"), ("X-Real-IP", "192.0.2.1"), ("Forwarded", "for=192.0.2.1")]
    for headers in ([], forged, [("X-Envoy-External-Address", "192.0.2.1")]):
        assert_denied(world.ask("/orders", [bearer(elsewhere), *headers]), 403, "API_KEY_CONTEXT_DENIED")


def freeze(process):
    """Stops a process, and waits until all its threads are: the signal alone lets one finish a request."""
    process.send_signal(signal.SIGSTOP)
    deadline = time.monotonic() + 5
    while any(stat.read_text().rsplit(")", 1)[1].split()[0] != "T"
              for stat in pathlib.Path(f"/proc/{process.pid}/task").glob("*/stat")):
        assert time.monotonic() < deadline, "it does not stop"


def test_a_silent_authorizer_denies_every_request(world):
    if world.kind in SLOW_TO_GIVE_UP:
        pytest.skip(f"gives up after {SLOW_TO_GIVE_UP[world.kind]} s, which cannot be set")
    freeze(world.server.process)
    try:
        began = time.monotonic()
        answer = world.ask("/orders", [bearer(world.key["secret"])])
        took = time.monotonic() - began
    finally:
        world.server.process.send_signal(signal.SIGCONT)
    expected = {"caddy": 504}.get(world.kind, 503)
    assert answer.status == expected and b'"headers"' not in answer.body, answer
    assert took < SILENT_SECONDS, took
    deadline = time.monotonic() + 5
    while world.ask("/orders", [bearer(world.key["secret"])]).status != 200:
        assert time.monotonic() < deadline, "it comes back by itself"
        time.sleep(0.1)


def test_without_an_authorizer_requests_are_denied_in_time(world):
    """The last test: the server is gone afterwards."""
    world.server.kill()
    held = [bearer(world.key["secret"])]
    for _ in range(3):
        began = time.monotonic()
        answer = world.ask("/orders", held)
        took = time.monotonic() - began
        assert answer.status in (500, 502, 503) and b'"headers"' not in answer.body, answer
        assert took < DOWN_SECONDS, took
    expected = {"caddy": 502, "traefik": 500}.get(world.kind, 503)
    assert answer.status == expected
