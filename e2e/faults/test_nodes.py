"""Faults of nodes: stopped, killed, partitioned, many joining at once."""
import collections
import signal
import threading
import time

from history import DENIED, UNAVAILABLE, VALID
from load import Asker, Load
from topology import LEASE_SECONDS, WAIT_SECONDS


def test_healthy_revocations_are_effective_on_the_first_request_afterwards(world):
    with Load(world) as load:
        for number in range(60):
            node = world.nodes[number % 3]
            (key,) = load.issue(node)
            load.warm([key])
            status, answer, _ = load.revoke(world.nodes[(number + 1) % 3], key)
            assert status == 200 and answer["effect"]["scope"] == "everywhere"
            assert answer["effect"]["verifiers"] == 3
            assert set(load.ask_all(key).values()) == {DENIED}
            load.keys.remove(key)


def test_disable_and_reactivate_are_both_effective_when_they_answer(world):
    with Load(world) as load:
        keys = load.issue(world.nodes[0], 3)
        load.warm(keys)
        for number in range(20):
            key = keys[number % 3]
            assert load.disable(world.nodes[number % 3], key)[0] == 200
            assert set(load.ask_all(key).values()) == {DENIED}
            assert load.reactivate(world.nodes[(number + 1) % 3], key)[0] == 200
            assert set(load.ask_all(key).values()) == {VALID}


def everywhere(world, key):
    return [node.call("POST", "/v1/verify", {"key": key["secret"]})[1]["reason"] for node in world.nodes]


def test_every_kind_of_denial_is_effective_on_every_node_when_it_is_answered(world):
    first, second, third = world.nodes

    def fresh(name, subject="user_1"):
        status, key = second.call("POST", "/v1/api_keys", {"name": name, "subject": subject})
        assert status == 201, key
        assert everywhere(world, key) == ["valid"] * 3 and everywhere(world, key) == ["valid"] * 3
        return key

    rotated = fresh("rotated")
    status, anew = first.call("POST", f"/v1/api_keys/{rotated['id']}/rotate", {})
    assert status == 200 and everywhere(world, rotated) == ["rotated"] * 3 and everywhere(world, anew) == ["valid"] * 3
    erased = fresh("erased")
    assert third.call("DELETE", f"/v1/api_keys/{erased['id']}")[0] == 200
    assert everywhere(world, erased) == ["erased"] * 3
    many = fresh("many")
    assert first.call("POST", "/v1/api_keys/revoke_many", {"filter": {"ids": [many["id"]]}})[1]["revoked"] == 1
    assert everywhere(world, many) == ["revoked"] * 3
    status, user = second.call("POST", "/v1/users", {"email": "a@example.org", "role": "member"})
    assert status == 201, user
    owned = fresh("owned", user["id"])
    for status_word, reason in (("suspended", "owner_blocked"), ("active", "valid"), ("suspended", "owner_blocked")):
        assert first.call("PATCH", f"/v1/users/{user['id']}", {"status": status_word})[0] == 200
        assert everywhere(world, owned) == [reason] * 3
    tenants = fresh("of the tenant")
    for status_word, reason in (("suspended", "owner_blocked"), ("active", "valid")):
        assert third.call("PATCH", "/v1/tenants/default", {"status": status_word})[0] == 200
        assert everywhere(world, tenants) == [reason] * 3
    status, made = first.call("POST", "/v1/root_keys", {"name": "ends", "permissions": ["keys:verify"]})
    assert status == 201, made
    bearer = {"Authorization": f"Bearer {made['secret']}"}
    asked = [node.call("POST", "/v1/verify", {"key": tenants["secret"]}, bearer)[0] for node in world.nodes]
    assert asked == [200] * 3
    assert second.call("DELETE", f"/v1/root_keys/{made['id']}")[0] == 200
    asked = [node.call("POST", "/v1/verify", {"key": tenants["secret"]}, bearer)[0] for node in world.nodes]
    assert asked == [401] * 3


def test_repeating_a_revocation_of_many_waits_as_the_first_one_must(world):
    first, second, stopped = world.nodes
    status, key = first.call("POST", "/v1/api_keys", {"name": "one", "subject": "user_1"})
    assert status == 201 and everywhere(world, key) == ["valid"] * 3
    stopped.signal(signal.SIGSTOP)
    wish = {"filter": {"subject": "user_1"}}
    assert first.call("POST", "/v1/api_keys/revoke_many", wish, {"Prefer": "respond-async"})[0] == 202
    begun = time.monotonic()
    status, again = second.call("POST", "/v1/api_keys/revoke_many", wish)
    assert status == 200 and again["matched"] == 0
    assert time.monotonic() - begun > 1.0, "the first one is not effective yet"
    stopped.signal(signal.SIGCONT)
    assert stopped.call("POST", "/v1/verify", {"key": key["secret"]})[1].get("valid") is not True


def test_a_stopped_node_delays_a_revocation_and_does_not_accept_the_key_when_it_resumes(world):
    first, stopped, third = world.nodes
    with Load(world) as load:
        (key, other) = load.issue(first, 2)
        load.warm([key, other])
        stopped.signal(signal.SIGSTOP)
        # Requests queue up at the stopped node and are answered after it wakes.
        queued = []
        askers = [threading.Thread(target=lambda: queued.append(Asker(stopped, load.history).ask(key, timeout=60)))
                  for _ in range(20)]
        for thread in askers:
            thread.start()
        status, answer, seconds = load.revoke(first, key)
        assert status == 200 and answer["effect"]["verifiers"] == 2
        assert WAIT_SECONDS - 0.2 <= seconds <= WAIT_SECONDS + 1.5, seconds
        assert load.ask_all(key, [first, third]) == {"n1": DENIED, "n3": DENIED}
        stopped.signal(signal.SIGCONT)
        for thread in askers:
            thread.join()
        assert len(queued) == 20 and all(verdict.result != VALID for verdict in queued)
        # Its session is marked dead now: the next revocation does not wait for it, and the node registers again on its own.
        time.sleep(1.5)
        assert load.revoke(first, other)[2] < 1.0
        deadline = time.monotonic() + 5
        while Asker(stopped, load.history).ask(key).result == UNAVAILABLE:
            assert time.monotonic() < deadline, stopped.log()
            time.sleep(0.05)


def test_a_killed_node_is_waited_for_once_and_starts_again_at_once(world):
    first, killed, _ = world.nodes
    with Load(world) as load:
        keys = load.issue(first, 3)
        load.warm(keys)
        killed.kill()
        killed.start()
        assert load.ask_all(keys[0], [killed])["n2"] == VALID
        status, answer, seconds = load.revoke(first, keys[0])
        assert status == 200, answer
        assert seconds <= WAIT_SECONDS + 1.5
        assert set(load.ask_all(keys[0]).values()) == {DENIED}
        time.sleep(WAIT_SECONDS + 1.5 - min(seconds, WAIT_SECONDS))
        assert load.revoke(killed, keys[1])[2] < 1.0
        assert set(load.ask_all(keys[1]).values()) == {DENIED}


def test_a_revoker_killed_in_the_middle_leaves_the_key_dead_and_the_repeat_waits(world):
    revoker, second, frozen = world.nodes
    with Load(world) as load:
        (key,) = load.issue(second)
        load.warm([key])
        # While one node is stopped, the revoker has committed and waits: there it is killed.
        frozen.signal(signal.SIGSTOP)
        outcome = []
        waiting = threading.Thread(target=lambda: outcome.append(load.revoke(revoker, key)))
        waiting.start()
        time.sleep(0.5)
        revoker.kill()
        waiting.join()
        assert outcome[0][0] == 0
        status, _, seconds = load.revoke(second, key)
        assert status == 200 and seconds > 1.0, "the repeat must not be a shortcut"
        frozen.signal(signal.SIGCONT)
        assert VALID not in load.ask_all(key, [second, frozen]).values()


def cut_off(world, **directions):
    first, second, cut = world.nodes
    with Load(world) as load:
        (key, other) = load.issue(first, 2)
        load.warm([key, other])
        cut.cut(**directions)
        status, _, seconds = load.revoke(first, key)
        assert status == 200 and seconds <= WAIT_SECONDS + 1.5
        # Clients still reach it. It has no lease any more, and answers 503.
        assert load.ask_all(key) == {"n1": DENIED, "n2": DENIED, "n3": UNAVAILABLE}
        assert Asker(cut, load.history).ask(other).result == UNAVAILABLE
        status, body = cut.call("POST", "/v1/verify", {"key": other["secret"]})
        assert status == 503 and body["code"] == "SERVICE_UNAVAILABLE"
        cut.heal()
        deadline = time.monotonic() + 10
        while Asker(cut, load.history).ask(other).result == UNAVAILABLE:
            assert time.monotonic() < deadline, cut.log()
            time.sleep(0.05)
        assert Asker(cut, load.history).ask(key).result == DENIED


def test_a_node_cut_off_both_ways_stops_verifying(world):
    cut_off(world)


def test_a_node_whose_packets_do_not_reach_the_database_stops_verifying(world):
    cut_off(world, from_database=False)


def test_a_node_that_receives_nothing_from_the_database_stops_verifying(world):
    cut_off(world, to_database=False)


def test_nodes_that_join_in_a_crowd_disturb_nothing(world):
    first = world.nodes[0]
    with Load(world) as load:
        keys = load.issue(first, 12)
        load.warm(keys)
        crowd = [world.add(f"j{number}", start=False) for number in range(6)]
        for node in crowd:
            node.start(wait=False)
        for number, key in enumerate(keys):
            status, answer, _ = load.revoke(world.nodes[number % 3], key)
            assert status == 200, answer
            assert VALID not in load.ask_all(key, world.nodes[:3]).values()
        for node in crowd:
            node.wait()
            assert set(load.ask_all(keys[0], [node]).values()) == {DENIED}
        status, nodes = first.call("GET", "/v1/nodes")
        assert status == 200 and len(nodes["data"]) == 9 and nodes["lease_ms"] == LEASE_SECONDS * 1000


def test_the_wall_clocks_may_be_an_hour_apart(postgres, world):
    ahead = world.add("ahead", wrapper=["faketime", "-f", "+1h"])
    behind = world.add("behind", wrapper=["faketime", "-f", "-1h"])
    with Load(world) as load:
        status, short = ahead.call("POST", "/v1/api_keys", {
            "name": "short", "subject": "user_1", "seconds_until_expiration": 3})
        assert status == 201, short
        issued = time.monotonic()
        (key,) = load.issue(behind)
        load.warm([key])
        # The database's clock decides: valid everywhere now, expired everywhere in time, never late.
        for node in world.nodes:
            assert node.call("POST", "/v1/verify", {"key": short["secret"]})[1]["valid"], node.name
        time.sleep(max(0.0, 3.05 - (time.monotonic() - issued)))
        for node in world.nodes:
            assert node.call("POST", "/v1/verify", {"key": short["secret"]})[1]["reason"] == "expired", node.name
        assert load.revoke(ahead, key)[2] < 1.5
        assert set(load.ask_all(key).values()) == {DENIED}


def test_a_hard_limit_is_one_for_all_nodes_and_a_killed_one_gives_nothing_twice(world):
    limits = ([{"name": "few", "limit": 40, "seconds": 3600, "hard": True}],
              [{"name": "all", "limit": 600, "period": "total"}])
    for limit in limits:
        status, key = world.nodes[0].call("POST", "/v1/api_keys", {"name": limit[0]["name"], "subject": "s", "limits": limit})
        assert status == 201, key
        valid, answers = collections.Counter(), collections.Counter()

        def use(node, key=key, valid=valid, answers=answers):
            for _ in range(limit[0]["limit"]):
                status, verdict = node.call("POST", "/v1/verify", {"key": key["secret"]})
                if status:
                    answers[verdict.get("reason", status)] += 1
                    valid[node.name] += verdict.get("valid", False)

        users = [threading.Thread(target=use, args=(node,)) for node in world.nodes for _ in range(2)]
        for user in users:
            user.start()
        time.sleep(0.1)
        world.nodes[2].kill()
        for user in users:
            user.join()
        # Uses that the killed node had allowed and not answered are not counted here; the rest of its slice is lost.
        assert sum(valid.values()) <= limit[0]["limit"], valid
        assert sum(valid.values()) >= limit[0]["limit"] * 0.8, (valid, answers)
        assert set(answers) <= {"valid", "limited"}, answers
        world.nodes[2].start()
