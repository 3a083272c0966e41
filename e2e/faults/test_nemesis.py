"""All faults in turn, for KEYREEVE_NEMESIS_MINUTES, by default 10. Only with --long."""
import os
import random
import signal
import threading
import time

import pytest
from load import Load
from topology import WAIT_SECONDS

MINUTES = float(os.environ.get("KEYREEVE_NEMESIS_MINUTES", "10"))
SEED = int(os.environ.get("KEYREEVE_NEMESIS_SEED", str(time.time_ns())))


def torment(world, postgres, choose, stop):
    """One fault after the other; each is over before the next begins."""
    while not stop.wait(choose.uniform(0.5, 4)):
        node = choose.choice(world.nodes)
        seconds = choose.uniform(0.2, 1.5 * WAIT_SECONDS)
        what = choose.choice(["stop", "kill", "cut", "cut out", "cut back", "freeze", "crash", "nothing"])
        if what == "stop":
            node.signal(signal.SIGSTOP)
            stop.wait(seconds)
            node.signal(signal.SIGCONT)
        elif what == "kill":
            node.kill()
            stop.wait(choose.choice([0, seconds]))
            start(node, stop)
        elif what.startswith("cut"):
            node.cut(to_database=what != "cut back", from_database=what != "cut out")
            stop.wait(seconds)
            node.heal()
        elif what == "freeze":
            postgres.freeze()
            stop.wait(seconds)
            postgres.thaw()
        elif what == "crash":
            postgres.kill()
            postgres.start()


def start(node, stop):
    """A node that cannot reach its database does not start; it is restarted, as by a supervisor."""
    while True:
        try:
            return node.start()
        except RuntimeError:
            if stop.wait(0.3):
                return None


def manage(world, load, choose, stop, changes):
    while not stop.is_set():
        node = choose.choice(world.nodes)
        try:
            if len(load.keys) < 12:
                load.issue(node)
                continue
        except AssertionError:
            stop.wait(0.2)
            continue
        key = choose.choice(load.keys)
        verb = choose.choice(["revoke", "disable", "reactivate"])
        status, _, _ = getattr(load, verb)(node, key)
        load.ask_all(key)
        changes.append((verb, status))
        if verb == "revoke" and status == 200:
            load.keys.remove(key)
        stop.wait(choose.uniform(0, 0.1))


@pytest.mark.long
def test_no_node_accepts_a_revoked_key_under_random_faults(world, postgres):
    print("seed", SEED)
    choose, stop, changes = random.Random(SEED), threading.Event(), []
    with Load(world) as load:
        load.issue(world.nodes[0], 12)
        threads = [threading.Thread(target=torment, args=(world, postgres, random.Random(SEED + 1), stop)),
                   threading.Thread(target=manage, args=(world, load, choose, stop, changes))]
        for thread in threads:
            thread.start()
        time.sleep(MINUTES * 60)
        stop.set()
        for thread in threads:
            thread.join()
        counts = load.history.counts()
        effective = sum(status == 200 for _, status in changes)
        print(f"{MINUTES} minutes: {counts}; {len(changes)} changes, {effective} effective")
        assert counts["verified"] > 1_000 and effective > 10, counts
