"""Requests and answers on one monotonic clock, and the check that the invariants held.

`C1`, `C2` and `C4` check I1, I2 and I4 of docs/concepts/immediate.md. All times are nanoseconds of time.monotonic_ns, taken
before a request is sent (`inv`) and after its answer is read (`ret`), in one process.
"""
import bisect
import collections
import dataclasses
import threading
import time

VALID, DENIED, UNAVAILABLE = "valid", "denied", "unavailable"


@dataclasses.dataclass(frozen=True)
class Verified:
    key: str
    node: str
    inv: int
    ret: int
    result: str


@dataclasses.dataclass(frozen=True)
class Changed:
    """A denial (`is_denial`) or an activation of a key; `ok` if the answer reported it as effective."""
    key: str
    is_denial: bool
    inv: int
    ret: int
    ok: bool
    revision: int = 0


@dataclasses.dataclass(frozen=True)
class Violation:
    rule: str
    what: str


class History:
    """Collects from many threads."""

    def __init__(self):
        self.verified = []
        self.changed = []
        self.lock = threading.Lock()

    def add(self, event):
        # list.append is atomic, and the order does not matter.
        (self.verified if isinstance(event, Verified) else self.changed).append(event)

    def check(self):
        return check(self.verified, self.changed)

    def counts(self):
        results = collections.Counter(event.result for event in self.verified)
        return {"verified": len(self.verified), **results, "changes": len(self.changed),
                "effective": sum(event.ok for event in self.changed)}


def now():
    return time.monotonic_ns()


def check(verified, changed):
    """Every violation, in O(n log n) for n events."""
    changes, verdicts = collections.defaultdict(list), collections.defaultdict(list)
    for event in changed:
        changes[event.key].append(event)
    for event in verified:
        verdicts[event.key].append(event)
    found = []
    for key, seen in verdicts.items():
        denials = sorted((one for one in changes[key] if one.is_denial), key=lambda one: one.ret)
        activations = sorted((one for one in changes[key] if not one.is_denial), key=lambda one: one.inv)
        found += check_denials(key, seen, denials, activations)
        found += check_activations(key, seen, denials, activations)
        found += check_order(key, seen, activations)
    return found


def check_denials(key, seen, denials, activations):
    """C1: after an answered denial, VALID needs an activation that is newer than the denial."""
    done = [one for one in denials if one.ok]
    ends = [one.ret for one in done]
    for verdict in seen:
        if verdict.result != VALID:
            continue
        before = bisect.bisect_left(ends, verdict.inv)
        if not before:
            continue
        newest = max(done[:before], key=lambda one: one.revision)
        is_explained = any(one.inv < verdict.ret and (one.revision > newest.revision or not one.ok)
                           for one in activations)
        if not is_explained:
            late = (verdict.inv - newest.ret) / 1e6
            yield Violation("C1", f"{key}: {verdict.node} said VALID {late:.3f} ms after its denial was answered")


def check_activations(key, seen, denials, activations):
    """C2: after an answered activation, a denial verdict needs a later denial that has at least begun."""
    done = [one for one in activations if one.ok]
    for verdict in seen:
        if verdict.result != DENIED:
            continue
        before = [one for one in done if one.ret < verdict.inv]
        if not before:
            continue
        newest = max(before, key=lambda one: one.revision)
        is_explained = any(one.inv < verdict.ret and (not one.ok or one.revision > newest.revision)
                           for one in denials)
        if not is_explained:
            yield Violation("C2", f"{key}: {verdict.node} denied it although it was active")


def check_order(key, seen, activations):
    """C4: at one node, a key does not become valid again without an activation that has begun."""
    by_node = collections.defaultdict(list)
    for verdict in seen:
        by_node[verdict.node].append(verdict)
    for node, answers in by_node.items():
        denied = sorted((one for one in answers if one.result == DENIED), key=lambda one: one.ret)
        ends = [one.ret for one in denied]
        # The latest begin of an answered denial among those that ended before this one.
        for verdict in answers:
            if verdict.result != VALID:
                continue
            before = bisect.bisect_left(ends, verdict.inv)
            if not before:
                continue
            last = denied[before - 1]
            if not any(one.inv < verdict.ret and one.ret > last.inv or one.inv < verdict.ret and not one.ok
                       for one in activations):
                yield Violation("C4", f"{key}: {node} said VALID after it had denied it")
