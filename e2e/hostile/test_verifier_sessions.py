"""A verifier depends on its root key: the end of the root key closes the connection, from the server's side."""
import threading
import time

import pytest
from verifier_client import Refused, WireVerifier, digest
from verifier_world import OVERDUE, SLACK, WAIT, Tenant, at_once, honest, server, timed  # noqa: F401: fixtures


# The server checks at least this often whether a connection may stay.
SWEEP = 0.25


def end_root_key(server, tenant, root):
    server.call("DELETE", f"/v1/root_keys/{root['id']}").raise_for_status()


def suspend_tenant(server, tenant, root):
    server.call("PATCH", f"/v1/tenants/{tenant.slug}", json={"status": "suspended"}).raise_for_status()


def delete_tenant(server, tenant, root):
    server.call("DELETE", f"/v1/tenants/{tenant.slug}").raise_for_status()


def operators_key(server, tenant):
    """A key of the tenant, created by the operator: also where the tenant's own root keys are no longer valid."""
    made = server.call("POST", "/v1/api_keys", headers={"Keyreeve-Tenant": tenant.slug},
                       json={"name": f"later {time.monotonic_ns()}", "subject": "user_1"})
    return made.json() if made.ok else None


@pytest.mark.parametrize("end", [end_root_key, suspend_tenant, delete_tenant])
@pytest.mark.parametrize("acknowledges", [True, False])
def test_what_ends_its_root_key_ends_its_stream(server, end, acknowledges):
    tenant = Tenant(server)
    root, known = tenant.root(), tenant.key()
    with WireVerifier(server, root["secret"], acknowledges=acknowledges) as verifier:
        verifier.learn(known)
        took = timed(lambda: end(server, tenant, root))
        answered = time.monotonic()
        assert took < OVERDUE + WAIT + SLACK, "its consent is not needed"
        assert acknowledges or answered >= verifier.lease_end(), "it might still have answered"
        assert verifier.wait_closed(SWEEP + SLACK), "the server ends the connection itself"
        late = [said for at, said in verifier.received if at > answered and said["type"] in ("grant", "found")]
        assert not [said for said in late if said.get("length_ms") or said.get("secret")]
        later = operators_key(server, tenant)
        assert later is None or later["id"] not in str(verifier.received)
    with pytest.raises(Refused) as refused:
        WireVerifier(server, root["secret"])
    assert refused.value.status in (401, 403)


def test_a_dismissed_verifier_may_still_acknowledge_but_gets_no_answer_or_lease(server):
    """An honest verifier whose ping crosses its dismissal on the way is not treated as one that never acknowledges."""
    tenant = Tenant(server)
    root, known = tenant.root(), tenant.key()
    with WireVerifier(server, root["secret"], acknowledges=False, pings=False) as verifier:
        verifier.ping()
        verifier.learn(known)
        ended = threading.Thread(target=end_root_key, args=(server, tenant, root))
        ended.start()
        last = verifier.wait_for(lambda said: said["type"] == "forget" and said.get("is_last"))
        grants = len(verifier.grants)
        verifier.ping()
        assert verifier.fetch(known["secret"])["secret"] is None, "it gets no answer"
        assert not verifier.wait_closed(0.1) and len(verifier.grants) == grants, "nor a lease"
        verifier.acknowledge(last["number"])
        at_once(ended.join, "it has acknowledged in time")
        assert verifier.wait_closed(SWEEP + SLACK)


def test_a_verifier_that_ignores_its_dismissal_is_sent_nothing_more(server):
    """It reads nothing, acknowledges nothing and sends further requests, together with the revocation."""
    tenant = Tenant(server)
    root, known = tenant.root(), tenant.key()
    with WireVerifier(server, root["secret"], acknowledges=False) as verifier:
        verifier.learn(known)
        end_root_key(server, tenant, root)
        made = tenant.key()
        assert verifier.fetch(made["secret"]) is None
        assert digest(made["secret"]) not in verifier.memory and made["id"] not in str(verifier.received)
        assert verifier.wait_closed(SLACK)


def test_a_verifier_that_connects_right_after_its_root_key_was_created_stays(server):
    tenant = Tenant(server)
    for _ in range(20):
        root = tenant.root()
        with honest(WireVerifier(server, root["secret"], pings=False)) as verifier:
            for _ in range(4):
                number = verifier.ping()
                assert verifier.wait_for(lambda said, number=number: said.get("number") == number), "sent away"
                time.sleep(0.05)
            assert not verifier.orders() and not verifier.closed.is_set()


def test_the_end_of_another_root_key_does_not_close_the_stream(server):
    tenant = Tenant(server)
    mine, others = tenant.root(), tenant.root()
    known = tenant.key()
    with honest(WireVerifier(server, mine["secret"])) as verifier:
        verifier.learn(known)
        end_root_key(server, tenant, others)
        end_root_key(server, Tenant(server), tenant.root())
        assert verifier.fetch(known["secret"])["secret"] and not verifier.orders()


def test_a_tenant_that_is_active_again_has_its_verifiers_again(server):
    tenant = Tenant(server)
    root, known = tenant.root(), tenant.key()
    suspend_tenant(server, tenant, root)
    with pytest.raises(Refused):
        WireVerifier(server, root["secret"])
    server.call("PATCH", f"/v1/tenants/{tenant.slug}", json={"status": "active"}).raise_for_status()
    with honest(WireVerifier(server, root["secret"])) as verifier:
        verifier.learn(known)
