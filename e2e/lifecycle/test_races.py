"""Concurrent changes: limits hold, one change is one entry, and every final state is legal."""
import concurrent.futures
import random

from systems import System


def at_once(calls):
    with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
        return [done.result() for done in [pool.submit(call) for call in calls]]


def test_fifty_creates_at_two_of_three_give_one_key(server):
    system = System(server, "erase")
    system.create("user_1")
    system.create("user_1")
    wish = {"name": "race", "subject": "user_1"}
    answers = at_once([lambda: system.call("POST", "/v1/api_keys", json=wish) for _ in range(50)])
    codes = sorted(answer.status_code for answer in answers)
    assert codes == [201] + [409] * 49
    assert len(system.listed(subject="user_1")) == 3


def test_two_admins_revoking_at_once_leave_one_entry(server):
    system = System(server, "keep")
    for _ in range(10):
        key = system.create()
        admins = [system.person("admin"), system.person("admin")]
        answers = at_once([
            lambda admin=admin: admin.call("POST", f"/v1/api_keys/{key['id']}/revoke", json={}) for admin in admins])
        assert [answer.status_code for answer in answers] == [200, 200]
        assert len([event for event in system.audit(key_id=key["id"]) if event["action"] == "key.revoked"]) == 1


def test_revoke_rotate_and_reactivate_at_once_end_in_a_legal_state(server):
    for preset in ["hold", "keep", "standard"]:
        system = System(server, preset, names="any")
        for _ in range(10):
            key = system.create()
            verbs = [("revoke", {}), ("rotate", {}), ("reactivate", {}), ("disable", {}), ("rotate", {}),
                     ("revoke", {"reason_code": "leaked"} if random.random() < 0.3 else {})]
            random.shuffle(verbs)
            answers = at_once([
                lambda verb=verb, body=body: system.call("POST", f"/v1/api_keys/{key['id']}/{verb}", json=body)
                for verb, body in verbs])
            assert {answer.status_code for answer in answers} <= {200, 409}
            secrets = [key["secret"]] + [answer.json()["secret"] for answer in answers
                                         if answer.status_code == 200 and "secret" in answer.json()]
            shown = system.get(key).json()
            working = [secret for secret in secrets if system.works(secret)]
            assert len(working) == (1 if shown["state"] == "active" else 0), (shown["state"], len(working))
            assert shown["revoked"] == (shown["state"] == "revoked")
            # The log agrees: the last change has the key's state. Uses of a replaced secret are no change.
            changes = [event for event in system.audit(key_id=key["id"], action="key.") if event["after"]]
            assert changes[0]["after"]["state"] == shown["state"]
