"""The checker itself: it must find planted violations, and none in a correct history."""
import random

from history import DENIED, UNAVAILABLE, VALID, Changed, Verified, check


def made(at=0, revision=1):
    return Changed("k", False, at, at + 5, True, revision)


def denied(at, revision=2, ok=True):
    return Changed("k", True, at, at + 10, ok, revision)


def verdict(at, result, node="n1", length=2):
    return Verified("k", node, at, at + length, result)


def rules(verified, changed):
    return [violation.rule for violation in check(verified, changed)]


def test_a_history_without_a_violation_passes():
    verified = [verdict(10, VALID), verdict(25, VALID), verdict(29, DENIED, "n2"), verdict(31, DENIED),
                verdict(40, UNAVAILABLE)]
    assert rules(verified, [made(), denied(20)]) == []


def test_valid_after_an_answered_denial_is_found():
    assert rules([verdict(31, VALID)], [made(), denied(20)]) == ["C1"]


def test_valid_during_the_denial_is_allowed():
    assert rules([verdict(30, VALID), verdict(29, VALID, "n2", 50)], [made(), denied(20)]) == []


def test_valid_after_an_unanswered_denial_is_allowed():
    assert rules([verdict(31, VALID)], [made(), denied(20, ok=False)]) == []


def test_valid_after_a_newer_activation_is_allowed():
    assert rules([verdict(60, VALID)], [made(), denied(20), made(40, 3)]) == []


def test_valid_after_an_older_activation_is_found():
    assert "C1" in rules([verdict(60, VALID)], [made(), denied(20, 4), made(16, 3)])


def test_denied_after_an_answered_activation_is_found():
    assert rules([verdict(10, DENIED)], [made()]) == ["C2"]


def test_valid_again_without_an_activation_is_found_at_one_node_and_allowed_between_nodes():
    changes = [made(), denied(20, ok=False)]
    assert rules([verdict(22, DENIED), verdict(26, VALID)], changes) == ["C4"]
    assert rules([verdict(22, DENIED, "n1"), verdict(26, VALID, "n2")], changes) == []


def test_one_planted_violation_in_a_long_history_is_found():
    random.seed(7)
    verified = [verdict(random.randrange(6, 1_000), VALID) for _ in range(5_000)]
    verified += [verdict(random.randrange(1_011, 9_000), DENIED) for _ in range(5_000)]
    changes = [made(), denied(1_000)]
    assert rules(verified, changes) == []
    assert rules([*verified, verdict(5_000, VALID, "n9")], changes) == ["C1"]
