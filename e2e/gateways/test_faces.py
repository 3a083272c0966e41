"""Every interface that gives verdicts denies for every cause, the first time (from the store) and again (from memory)."""
import grpc
import pytest
from harness import Server
from real import ask, bearer

PROFILES = ["nginx", "caddy", "traefik", "envoy", "haproxy", "generic"]


def field(number, data):
    length, size = len(data), b""
    while True:
        size += bytes([length & 127 | (128 if length > 127 else 0)])
        length >>= 7
        if not length:
            return bytes([number << 3 | 2]) + size + data


def by_grpc(server, secret):
    """Envoy's CheckRequest: attributes.request.http.headers["authorization"]."""
    pair = field(1, b"authorization") + field(2, b"Bearer " + secret.encode())
    request = field(1, field(4, field(2, field(3, pair))))
    with grpc.insecure_channel(server.addresses["check_listen"]) as channel:
        answer = channel.unary_unary("/envoy.service.auth.v3.Authorization/Check")(request, timeout=20)
    # CheckResponse: field 3 is ok_response, and status.code is left out where it is 0.
    return b"x-keyreeve-key-id" in answer


def by_profile(profile):
    return lambda server, secret: ask(server.addresses["check_listen"], f"/gateway/{profile}/default",
                                      [bearer(secret)]).status == 200


FACES = {
    "verify": lambda server, secret: server.verify(secret)["valid"],
    "batch": lambda server, secret: server.call(
        "POST", "/v1/verify/batch", json={"items": [{"key": secret}]}).json()["data"][0]["valid"],
    "me": lambda server, secret: server.call("GET", "/v1/me", root_key=secret).status_code == 200,
    "clerk": lambda server, secret: server.call(
        "POST", "/v1/api_keys/verify", json={"secret": secret}).status_code == 200,
    "introspect": lambda server, secret: server.call(
        "POST", "/oauth2/introspect", data={"token": secret}).json()["active"],
    "grpc": by_grpc,
    **{profile: by_profile(profile) for profile in PROFILES},
}
ENDS = {
    "revoked": lambda server, key: server.call("POST", f"/v1/api_keys/{key['id']}/revoke", json={}),
    "disabled": lambda server, key: server.call("POST", f"/v1/api_keys/{key['id']}/disable", json={}),
    "rotated": lambda server, key: server.call("POST", f"/v1/api_keys/{key['id']}/rotate", json={}),
    "erased": lambda server, key: server.call("DELETE", f"/v1/api_keys/{key['id']}"),
    "owner suspended": lambda server, key: server.call(
        "PATCH", f"/v1/users/{key['subject']}", json={"status": "suspended"}),
    "owner removed": lambda server, key: server.call("DELETE", f"/v1/users/{key['subject']}"),
}


@pytest.fixture(scope="module")
def faces():
    running = Server()
    yield running
    running.close()


@pytest.mark.parametrize("cause", list(ENDS))
@pytest.mark.parametrize("face", list(FACES))
def test_every_face_denies_for_every_cause(faces, face, cause):
    name = f"{face} {cause}".replace(" ", "-")
    user = faces.call("POST", "/v1/users", json={"email": f"{name}@example.com", "role": "member"}).json()
    known, unasked = (faces.create(f"{name} {n}", subject=user["id"]) for n in range(2))
    assert FACES[face](faces, known["secret"]), "it is good before"
    for key in (known, unasked):
        if not cause.startswith("owner") or key is known:
            answer = ENDS[cause](faces, key)
            assert answer.ok, answer.text
    for key in (known, unasked):
        for _ in range(2):
            assert not FACES[face](faces, key["secret"]), f"{cause} key is let through by {face}"
