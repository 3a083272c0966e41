"""Tenants for the tests of the verifier stream, and how long their changes take."""
import contextlib
import itertools
import os
import time

import pytest
from verifier_client import leave

from harness import Server

LEASE = 2.0
# How long a lease can last on the slowest clock, counted on the fastest (crates/core/src/coherence/lease.rs).
WAIT = 1.25 * LEASE + 0.5
# An order that is not acknowledged for this time ends the grants and the connection.
OVERDUE = 2.0
# Scheduling and the database, beyond the times of the protocol.
SLACK = 1.0
names = itertools.count(1)


class Tenant:
    """A separate tenant with a root key that has all permissions in it."""

    def __init__(self, server):
        self.server, self.slug = server, f"t{os.getpid()}-{next(names)}"
        made = server.call("POST", "/v1/tenants", json={"slug": self.slug, "name": self.slug, "preset": "keep"})
        assert made.status_code == 201, made.text
        self.root_key = made.json()["root_key"]["secret"]
        self.root_key_id = made.json()["root_key"]["id"]

    def call(self, method, path, **options):
        answer = self.server.call(method, path, root_key=self.root_key, **options)
        assert answer.ok, answer.text
        return answer.json()

    def key(self, subject="user_1"):
        return self.call("POST", "/v1/api_keys", json={"name": f"key {next(names)}", "subject": subject})

    def user(self):
        return self.call("POST", "/v1/users", json={"email": f"u{next(names)}@example.org", "role": "member"})["id"]

    def revoke(self, key):
        return self.call("POST", f"/v1/api_keys/{key['id']}/revoke", json={})

    def root(self, *permissions):
        """Another root key of the tenant."""
        wish = {"name": f"root {next(names)}", "permissions": list(permissions or ["keys:verify"])}
        return self.call("POST", "/v1/root_keys", json=wish)

    def valid(self, key):
        return self.call("POST", "/v1/verify", json={"key": key["secret"]})["valid"]


def timed(work):
    began = time.monotonic()
    work()
    return time.monotonic() - began


def at_once(work, what=""):
    """Does something that must not wait: the shortest wait for a silent verifier would be `OVERDUE`."""
    took = timed(work)
    assert took < OVERDUE, f"{what} took {took:.2f} s"


def every_change_of(tenant):
    """The changes that are possible in a tenant, each as a function."""
    user = tenant.user()
    key, other, owned = tenant.key(), tenant.key(), tenant.key(user)
    root, slug = tenant.root(), tenant.slug
    # The server has the tenant's gate in memory, so a change of the tenant concerns a memory too.
    assert tenant.valid(key) and tenant.valid(owned)
    operator = tenant.server.call
    return {
        "revoke": lambda: tenant.revoke(key),
        "rotate": lambda: tenant.call("POST", f"/v1/api_keys/{other['id']}/rotate", json={}),
        "user suspended": lambda: tenant.call("PATCH", f"/v1/users/{user}", json={"status": "suspended"}),
        "user active": lambda: tenant.call("PATCH", f"/v1/users/{user}", json={"status": "active"}),
        "erase": lambda: tenant.call("DELETE", f"/v1/api_keys/{owned['id']}"),
        "policy": lambda: tenant.call("PUT", "/v1/policy", json={"preset": "standard"}),
        "root key revoked": lambda: operator("DELETE", f"/v1/root_keys/{root['id']}").raise_for_status(),
        "tenant suspended": lambda: operator("PATCH", f"/v1/tenants/{slug}", json={"status": "suspended"})
        .raise_for_status(),
        "tenant active": lambda: operator("PATCH", f"/v1/tenants/{slug}", json={"status": "active"})
        .raise_for_status(),
    }


@contextlib.contextmanager
def honest(verifier):
    """A verifier that closes at the end, so that no change waits for it."""
    try:
        yield verifier
    finally:
        leave(verifier)


@pytest.fixture(scope="module")
def server():
    running = Server(arguments=["--lease", f"{LEASE * 1000:.0f}ms"])
    yield running
    running.close()


@pytest.fixture
def tenant(server):
    return Tenant(server)


@pytest.fixture
def other(server):
    return Tenant(server)
