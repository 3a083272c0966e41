"""An instance root key that names a tenant acts for that tenant alone, on every interface."""
import base64
import itertools
import json
import socket

import grpc
import pytest
import requests

from harness import assert_error
from systems import System
from verifier_client import Refused, WireVerifier

NUMBERS = itertools.count()


@pytest.fixture
def tenants(server):
    """One tenant, another, and a key of each, valid and in memory."""
    named, other = System(server, "standard"), System(server, "standard")
    keys = [named.create()["secret"], other.create()["secret"]]
    assert all(server.verify(key)["valid"] for key in keys), "without a name an instance root key asks for all"
    return named, other, *keys


def naming(system):
    return {"Keyreeve-Tenant": system.slug}


def listeners(server):
    return [server.url, server.check]


def post(url, server, path, headers, **options):
    return requests.post(url + path, headers={"Authorization": f"Bearer {server.root_key}", **headers}, timeout=30, **options)


def test_verify_and_its_batch_judge_keys_of_the_named_tenant_alone(server, tenants):
    named, other, own, foreign = tenants
    for url, kind in itertools.product(listeners(server), ["application/json", "application/json; charset=utf-8"]):
        headers = {**naming(named), "Content-Type": kind}
        judged = [post(url, server, "/v1/verify", headers, data=json.dumps({"key": key})).json() for key in (own, foreign)]
        assert [one["reason"] for one in judged] == ["valid", "unknown"], (url, kind)
        assert "tenant" not in judged[1] or judged[1]["tenant"] is None, judged[1]
        items = json.dumps({"items": [{"key": own}, {"key": foreign}]})
        batch = post(url, server, "/v1/verify/batch", headers, data=items).json()["data"]
        assert [one["reason"] for one in batch] == ["valid", "unknown"], (url, kind)
    # In the other order, so that the name decides.
    assert server.call("POST", "/v1/verify", json={"key": own}, headers=naming(other)).json()["reason"] == "unknown"


def test_one_connection_may_name_another_tenant_with_each_request(server, tenants):
    named, other, own, foreign = tenants
    host, port = server.addresses["check_listen"].split(":")
    body = json.dumps({"key": foreign})
    whole = b""
    for system in (named, other, None, named):
        name = f"Keyreeve-Tenant: {system.slug}\r\n" if system else ""
        whole += (f"POST /v1/verify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.root_key}\r\n{name}"
                  f"Content-Length: {len(body)}\r\n\r\n{body}").encode()
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(whole)
        stream, found = connection.makefile("rb"), []
        for _ in range(4):
            assert stream.readline().startswith(b"HTTP/1.1 200")
            length = 0
            while (line := stream.readline().strip()):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            found.append(json.loads(stream.read(length))["reason"])
    assert found == ["unknown", "valid", "valid", "unknown"]


@pytest.mark.parametrize("path, kind, body", [
    ("/v1/verify", "application/json", '{"key":"x"}'), ("/v1/verify/batch", "application/json", '{"items":[{"key":"x"}]}'),
    ("/v1/api_keys/verify", "application/json", '{"secret":"x"}'),
    ("/oauth2/introspect", "application/x-www-form-urlencoded", "token=x"),
])
def test_a_name_that_is_none_or_not_the_callers_is_refused(server, tenants, path, kind, body):
    named, other, *_ = tenants
    urls = [server.url] if "oauth" in path else listeners(server)
    for url in urls:
        for slug, status in [("nobody-here", 404), ("No Slug!", 400), ("", 400)]:
            answer = post(url, server, path, {"Keyreeve-Tenant": slug, "Content-Type": kind}, data=body)
            assert answer.status_code == status, (url, slug, answer.text)
        theirs = {**naming(other), "Authorization": f"Bearer {named.root_key}", "Content-Type": kind}
        assert requests.post(url + path, headers=theirs, data=body, timeout=30).status_code == 404
        own = {**naming(named), "Authorization": f"Bearer {named.root_key}", "Content-Type": kind}
        expected = 404 if "api_keys" in path else 200
        assert requests.post(url + path, headers=own, data=body, timeout=30).status_code == expected


def test_two_tenant_headers_are_refused(server, tenants):
    named, other, own, _ = tenants
    for path, body in [("/v1/verify", {"key": own}), ("/v1/api_keys", {"name": "twice", "subject": "s"})]:
        text = json.dumps(body)
        request = (f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.root_key}\r\nConnection: close\r\n"
                   f"Keyreeve-Tenant: {named.slug}\r\nKeyreeve-Tenant: {other.slug}\r\nContent-Length: {len(text)}\r\n\r\n{text}")
        host, port = server.addresses["listen"].split(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(request.encode())
            assert connection.makefile("rb").readline().split()[1] == b"400", path


def test_clerks_verify_knows_keys_of_the_named_tenant_and_without_a_name_those_of_default(server, tenants):
    named, other, own, foreign = tenants
    of_default = server.create(name=f"of default {next(NUMBERS)}")["secret"]

    def clerk(secret, root_key=None, **headers):
        return server.call("POST", "/v1/api_keys/verify", root_key=root_key, json={"secret": secret}, headers=headers).status_code

    assert [clerk(key) for key in (of_default, own, foreign)] == [200, 404, 404]
    assert [clerk(key, **naming(named)) for key in (of_default, own, foreign)] == [404, 200, 404]
    assert [clerk(key, root_key=named.root_key) for key in (of_default, own, foreign)] == [404, 200, 404]
    bare = requests.post(server.url + "/api_keys/verify", json={"secret": foreign}, timeout=30,
                         headers={"Authorization": f"Bearer {server.root_key}"})
    assert bare.status_code == 404


def test_introspection_knows_tokens_of_the_named_tenant_alone(server, tenants):
    named, _, own, foreign = tenants
    basic = base64.b64encode(f"anything:{server.root_key}".encode()).decode()
    for credential in (f"Bearer {server.root_key}", f"Basic {basic}"):
        headers = {"Authorization": credential, **naming(named)}
        found = [requests.post(server.url + "/oauth2/introspect", data={"token": key}, headers=headers, timeout=30).json()
                 for key in (own, foreign)]
        assert [one["active"] for one in found] == [True, False] and found[1] == {"active": False}


def gateway_policy(server, system, **fields):
    name = f"p{next(NUMBERS)}"
    answer = server.call("POST", "/v1/check_policies", json={"name": name, **fields}, headers=naming(system))
    assert answer.status_code == 201, answer.text
    return f"{system.slug}:{name}"


def by_grpc(server, policy, key, *metadata):
    """`Check` with messages written by hand: attributes.request.http.headers and context_extensions."""
    def field(number, data):
        return bytes([number << 3 | 2]) + varint(len(data)) + data

    def varint(number):
        out = b""
        while number > 127:
            out, number = out + bytes([number & 127 | 128]), number >> 7
        return out + bytes([number])

    def entry(name, value):
        return field(1, name.encode()) + field(2, value.encode())

    http = field(3, entry("authorization", f"Bearer {key}"))
    attributes = field(4, field(2, http)) + field(10, entry("keyreeve_policy", policy))
    with grpc.insecure_channel(server.addresses["check_listen"]) as channel:
        call = channel.unary_unary("/envoy.service.auth.v3.Authorization/Check")
        answer = call(field(1, attributes), metadata=metadata, timeout=10)
    # Field 3 is the answer for an allowed request, field 2 that for a denied one.
    return b"x-keyreeve-key-id" in answer


@pytest.mark.parametrize("fields", [{}, {"gateway_credential": "required"}])
def test_a_gateways_question_that_names_a_tenant_is_about_that_one(server, tenants, fields):
    named, other, own, _ = tenants
    policy = gateway_policy(server, named, **fields)
    shown = {"X-Keyreeve-Gateway": server.root_key} if fields else {}

    def ask(**more):
        headers = {"Authorization": f"Bearer {own}", **shown, **more}
        return requests.get(f"{server.check}/gateway/generic/{policy}", headers=headers, timeout=30)

    assert ask().status_code in (200, 204) and ask(**naming(named)).status_code in (200, 204)
    assert_error(ask(**naming(other)), 403, "CHECK_POLICY_UNKNOWN")
    metadata = [(name.lower(), value) for name, value in shown.items()]
    assert by_grpc(server, policy, own, *metadata)
    assert by_grpc(server, policy, own, *metadata, ("keyreeve-tenant", named.slug))
    assert not by_grpc(server, policy, own, *metadata, ("keyreeve-tenant", other.slug))


def test_a_verifiers_stream_that_names_a_tenant_hears_of_its_keys_alone(server, tenants):
    named, _, own, foreign = tenants
    with WireVerifier(server, headers=naming(named)) as verifier:
        assert verifier.granted() and verifier.fetch(own)["secret"] and not verifier.fetch(foreign)["secret"]
    with pytest.raises(Refused) as refused:
        WireVerifier(server, headers={"Keyreeve-Tenant": "nobody-here"})
    assert refused.value.status == 404


def test_root_keys_of_the_named_tenant_are_the_only_ones_that_are_seen_made_and_revoked(server, tenants):
    named, other, *_ = tenants
    listed = server.call("GET", "/v1/root_keys", headers=naming(named)).json()["data"]
    assert {one["tenant"] for one in listed} == {named.slug}
    wish = {"name": "made", "permissions": ["keys:read"]}
    made = server.call("POST", "/v1/root_keys", json=wish, headers=naming(named)).json()
    assert made["tenant"] == named.slug
    assert_error(server.call("POST", "/v1/root_keys", json={**wish, "tenant": other.slug}, headers=naming(named)), 400)
    assert_error(server.call("DELETE", f"/v1/root_keys/{made['id']}", headers=naming(other)), 404)
    assert server.call("DELETE", f"/v1/root_keys/{made['id']}", headers=naming(named)).status_code == 200
