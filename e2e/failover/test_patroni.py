"""Failover on the real thing: Patroni, synchronous and asynchronous, with revocations all the while.

In each run two nodes verify and revoke; the history checker judges every answer. In asynchronous mode the primary loses its
standbys before it is lost itself, so that revocations that were answered are not on the next primary, and a third node with an
empty data directory starts in between: it is younger than what the next primary has. scripts/failover runs all, and writes the
table in docs/operations/failover.md; the first run alone is in scripts/test.
"""
import dataclasses
import json
import os
import pathlib
import threading
import time

import pytest
from cluster import TTL, Cluster, until
from history import DENIED, UNAVAILABLE, VALID
from load import Asker, Load
from topology import World

MODES = ("synchronous", "asynchronous")
EVENTS = ("killed", "cut off", "isolated", "switchover")
RUNS = [(mode, event) for mode in MODES for event in EVENTS]
CHOSEN = RUNS if os.environ.get("KEYREEVE_FAILOVER") == "all" else RUNS[:1]
# The default of the product.
LEASE_SECONDS = 15
WAIT_SECONDS = 1.25 * LEASE_SECONDS + 0.5
KEYS = 120
LOST = 4


@dataclasses.dataclass
class Result:
    """A row of the table."""
    mode: str
    event: str
    # Longest time without a verdict at any node, and without an answered change, in seconds.
    verification: float
    changes: float
    answered: int
    # Revocations that were answered and that the new primary did not have; those that the nodes wrote again.
    lost: int
    denied_again: int
    violations: int


@pytest.fixture(scope="module")
def clusters():
    """One cluster at a time, by mode."""
    made = {}

    def get(mode):
        if mode not in made:
            for other in made.values():
                other.close()
            made.clear()
            made[mode] = Cluster(mode == "synchronous")
        return made[mode]
    yield get
    for cluster in made.values():
        cluster.close()


@pytest.mark.parametrize("mode, event", CHOSEN)
def test_no_key_is_accepted_after_its_revocation_was_answered(clusters, mode, event):
    cluster = clusters(mode)
    cluster.wait_until_complete(120)
    world = World(cluster, nodes=0)
    try:
        for name in ("n1", "n2"):
            world.add(name, lease=LEASE_SECONDS)
        old = cluster.primary()
        result = Drill(cluster, world, mode, event).run()
        if event != "switchover":
            old.replace()
    finally:
        world.close()
    note(result)
    assert result.violations == 0
    assert result.denied_again == result.lost
    assert result.lost == 0 or mode == "asynchronous", "a synchronous standby has every answered change"
    if mode == "asynchronous" and event != "switchover":
        assert result.lost >= LOST, "nothing was lost, so this shows nothing"


class Drill:
    """One event, with revocations in a loop before, during and after it."""

    def __init__(self, cluster, world, mode, event):
        self.cluster, self.world, self.mode, self.event = cluster, world, mode, event
        self.load = Load(world)
        self.revoked, self.answers, self.stopped = [], [], threading.Event()

    def run(self):
        self.kept, *self.pool = self.load.issue(self.world.nodes[0], KEYS)
        self.load.warm([self.kept, *self.pool[:20]])
        expected = "replicated" if self.mode == "synchronous" else "at-risk"
        durability = lambda: self.world.nodes[0].call("GET", "/v1/nodes")[1]["durability"]  # noqa: E731
        until(lambda: durability() == expected, 15, durability)
        self.load.__enter__()
        changing = threading.Thread(target=self.revoke_in_a_loop)
        changing.start()
        try:
            self.wait_for_answers(5)
            old = self.cluster.primary()
            began = self.happen(old)
            self.wait_until_over(old, began)
        finally:
            self.stopped.set()
            changing.join()
            self.load.stopped.set()
            for thread in self.load.threads:
                thread.join(30)
        return self.judged(began)

    def revoke_in_a_loop(self):
        for number, key in enumerate(self.pool):
            node = self.world.nodes[number % 2]
            while not self.stopped.is_set():
                if self.load.revoke(node, key)[0] == 200:
                    self.revoked.append(key)
                    self.answers.append(time.monotonic())
                    self.load.ask_all(key, self.world.nodes[:2])
                    break
                self.stopped.wait(0.1)
            if self.stopped.wait(0.2):
                return

    def wait_for_answers(self, more):
        until_count = len(self.revoked) + more
        until(lambda: len(self.revoked) >= until_count, 60, self.logs)

    def happen(self, old):
        loses = self.mode == "asynchronous" and self.event != "switchover"
        if loses and self.event != "isolated":
            old.stop_replication()
        began = time.monotonic()
        if self.event == "isolated":
            old.isolate()
        if loses:
            # Answered, and on this primary alone.
            self.wait_for_answers(LOST)
            if self.event != "isolated":
                self.join_late()
            began = began if self.event == "isolated" else time.monotonic()
        if self.event == "killed":
            old.kill()
        elif self.event == "cut off":
            old.cut()
        elif self.event == "switchover":
            self.cluster.switch_over()
        return began

    def join_late(self):
        """A node that has nothing of what happened before: the key that it is asked first is one that will be lost."""
        late = self.world.add("late", lease=LEASE_SECONDS)
        assert Asker(late, self.load.history).ask(self.revoked[-1]).result == DENIED
        self.load.watch(late)

    def wait_until_over(self, old, began):
        until(lambda: self.cluster.primary() not in (None, old), 12 * TTL, self.logs)
        until(lambda: self.answers[-1] > began + TTL / 2, 12 * TTL, self.logs)
        for node in self.world.nodes:
            until(lambda node=node: Asker(node, self.load.history).ask(self.kept).result == VALID, 3 * WAIT_SECONDS, self.logs)
        self.wait_for_answers(3)
        for key in self.revoked:
            until(lambda key=key: set(self.load.ask_all(key).values()) == {DENIED}, 30, self.logs)

    def judged(self, began):
        again = "SELECT count(DISTINCT target_id) FROM log WHERE reason LIKE 'reasserted%'"
        # A revocation that was answered is stored now, and its first entry is the one that was answered, or one of a node.
        first = ("SELECT count(*) FROM (SELECT DISTINCT ON (target_id) target_id, reason FROM log WHERE action = 'key.revoked' "
                 "ORDER BY target_id, revision) f WHERE reason LIKE 'reasserted%'")
        states = self.world.sql("SELECT encode(id, 'hex') FROM keys WHERE state = 'revoked'").split()
        missing = [key["id"] for key in self.revoked if key["id"][3:] not in states]
        assert not missing, (missing, self.logs())
        violations = self.load.history.check()
        print(violations[:5], self.load.history.counts())
        return Result(self.mode, self.event, round(self.longest_without_a_verdict(), 1), round(self.longest_without_a_change(began), 1),
                      len(self.revoked), int(self.world.sql(first)), int(self.world.sql(again)), len(violations))

    def longest_without_a_verdict(self):
        """At any node, between two verdicts with a refusal between them."""
        longest, names = 0.0, {node.name for node in self.world.nodes}
        for name in names:
            last, refused = None, False
            for event in sorted((one for one in self.load.history.verified if one.node == name), key=lambda one: one.ret):
                if event.result == UNAVAILABLE:
                    refused = True
                    continue
                if refused and last:
                    longest = max(longest, (event.ret - last) / 1e9)
                last, refused = event.ret, False
        return longest

    def longest_without_a_change(self, began):
        times = [time for time in self.answers if time <= began][-1:] + [time for time in self.answers if time > began]
        return max((later - earlier for earlier, later in zip(times, times[1:])), default=0.0)

    def logs(self):
        return "\n".join([node.log()[-2_000:] for node in self.world.nodes] + [self.cluster.logs()])


def note(result):
    print(result)
    place = os.environ.get("KEYREEVE_FAILOVER_RESULTS")
    if place:
        with pathlib.Path(place).open("a", encoding="utf-8") as file:
            file.write(json.dumps(dataclasses.asdict(result)) + "\n")
