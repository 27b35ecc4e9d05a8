"""Patterns over recent flows (PATTERN-1 to -7): found on their border, not before; bounded; the same as a slow search."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.patterns import EVIDENCE_MAX, Flow, Pattern, PatternRules, PatternWatch, check_invariants

SECOND = 10**9
RULES = PatternRules(threshold=10_000, window_ns=100 * SECOND)


def feed(watch: PatternWatch, *payments: tuple[int, int, int, int]) -> list[list[Pattern]]:
    """Feed (payer, payee, amount, second) and return the patterns that each completes."""
    return [
        [found.pattern for found in watch.see(Flow(bytes([number]), payer, payee, amount, at * SECOND))]
        for number, (payer, payee, amount, at) in enumerate(payments)
    ]


def test_three_payments_just_below_the_threshold_are_structuring() -> None:
    """The third one completes it; at the threshold, and below the band, a payment does not count."""
    watch = PatternWatch(RULES)
    found = feed(watch, (1, 2, 9_999, 1), (1, 3, 9_000, 2), (1, 4, 10_000, 3), (1, 5, 8_999, 4), (1, 6, 9_500, 5))
    assert found == [[], [], [], [], [Pattern.STRUCTURING]]
    (finding,) = watch.see(Flow(b"z", 1, 9, 9_001, 6 * SECOND))
    assert (finding.party, finding.count, finding.total) == (1, 4, 9_999 + 9_000 + 9_500 + 9_001)
    assert finding.evidence == (b"\0", b"\1", b"\4", b"z")
    assert not any(feed(PatternWatch(RULES), (1, 2, 9_999, 1), (2, 3, 9_999, 2), (3, 4, 9_999, 3))), "three payers"


def test_the_window_forgets_to_the_ns() -> None:
    """A payment as old as the window no longer counts, one ns younger it does."""
    for at, expected in ((101, []), (100, [Pattern.STRUCTURING])):
        found = feed(PatternWatch(RULES), (1, 2, 9_500, 1), (1, 3, 9_500, 50), (1, 4, 9_500, at))
        assert found[-1] == expected


def test_small_payments_to_one_payee_that_add_up_are_splitting() -> None:
    """Four payments below the threshold that reach twice the threshold; fewer or less is nothing."""
    assert feed(PatternWatch(RULES), *((1, 2, 5_000, at) for at in range(4)))[-1] == [Pattern.SPLITTING]
    assert feed(PatternWatch(RULES), *((1, 2, 4_999, at) for at in range(4)))[-1] == []
    assert feed(PatternWatch(RULES), *((1, 2, 8_000, at) for at in range(3)))[-1] == []
    assert feed(PatternWatch(RULES), *((1, 2 + at, 5_000, at) for at in range(4)))[-1] == []


def test_money_that_comes_back_is_a_loop() -> None:
    """Over two, three and four flows in order of time; not out of order, too long, too thin or by another way."""
    loop = [(1, 2, 50_000, 1), (2, 3, 48_000, 2), (3, 4, 47_000, 3), (4, 1, 46_000, 4)]
    watch = PatternWatch(RULES)
    assert feed(watch, *loop) == [[], [], [], [Pattern.LOOP]]
    (finding,) = [each for each in watch.see(Flow(b"z", 4, 1, 46_500, 5 * SECOND)) if each.pattern is Pattern.LOOP]
    assert (finding.party, finding.count, finding.evidence) == (1, 4, (b"\0", b"\1", b"\2", b"z"))
    assert feed(PatternWatch(RULES), (1, 2, 50_000, 1), (2, 1, 43_000, 2)) == [[], [Pattern.LOOP]]
    assert feed(PatternWatch(RULES), (1, 2, 50_000, 1), (2, 1, 42_000, 2))[-1] == [], "less than the share"
    assert feed(PatternWatch(RULES), (2, 3, 50_000, 1), (1, 2, 50_000, 2), (3, 1, 50_000, 3))[-1] == [], "no order"
    five = [(1, 2, 50_000, 1), (2, 3, 50_000, 2), (3, 4, 50_000, 3), (4, 5, 50_000, 4), (5, 1, 50_000, 5)]
    assert feed(PatternWatch(RULES), *five)[-1] == [], "longer than the rules look"
    assert feed(PatternWatch(PatternRules(10_000, loop_hops_max=5)), *five)[-1] == [Pattern.LOOP]


def slow_patterns(rules: PatternRules, flows: list[Flow]) -> list[Pattern]:
    """Which patterns the last flow completes, by looking at everything."""
    new = flows[-1]
    kept = [each for each in flows if each.at_ns > new.at_ns - rules.window_ns]
    own = [each for each in kept if each.payer == new.payer]
    found = []

    def in_band(each: Flow) -> bool:
        return rules.threshold * rules.band_share <= each.amount * 10_000 and each.amount < rules.threshold

    if in_band(new) and sum(map(in_band, own)) >= rules.count_least:
        found.append(Pattern.STRUCTURING)
    small = [each.amount for each in own if each.payee == new.payee and each.amount < rules.threshold]
    enough = sum(small) * 10_000 >= rules.threshold * rules.split_multiple_share
    if new.amount < rules.threshold and len(small) >= rules.split_count_least and enough:
        found.append(Pattern.SPLITTING)
    usable = [
        each
        for each in kept[:-1]
        if min(each.amount, new.amount) * 10_000 >= max(each.amount, new.amount) * rules.loop_share
    ]
    for hops in range(1, rules.loop_hops_max):
        for way in permutations(usable, hops):
            parties = [new.payee, *(each.payee for each in way)]
            joined = all(each.payer == party for each, party in zip(way, parties, strict=False))
            ordered = all(a.at_ns <= b.at_ns for a, b in zip(way, way[1:], strict=False))
            if joined and ordered and parties[-1] == new.payer and len(set(parties)) == len(parties):
                return [*found, Pattern.LOOP]
    return found


@settings(max_examples=120, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 3), st.integers(1, 3), st.sampled_from((5_000, 8_999, 9_000, 9_999, 10_000)),
            st.sampled_from((0, 1, 1, 5, 60)),
        ),
        min_size=4, max_size=9,
    )
)  # fmt: skip
def test_the_watch_agrees_with_a_slow_search(steps: list[tuple[int, int, int, int]]) -> None:
    """Random payments of four parties: the same patterns after each, and sums that hold."""
    watch, now, flows = PatternWatch(RULES), 0, []
    for number, (payer, payee, amount, pause) in enumerate(steps):
        now += pause * SECOND
        flow = Flow(bytes([number]), payer, payee, amount, now)
        found = [each.pattern for each in watch.see(flow)]
        check_invariants(watch)
        if payer == payee:
            assert found == []
            continue
        flows.append(flow)
        assert found == slow_patterns(RULES, flows), flows


def test_memory_is_bounded_and_what_is_dropped_is_counted() -> None:
    """Ten thousand payments against a bound of a hundred: a hundred are kept, the sums hold, the evidence is bounded."""
    watch = PatternWatch(PatternRules(10_000, window_ns=10**18, flows_max=100))
    for number in range(10_000):
        found = watch.see(Flow(number.to_bytes(4, "big"), number % 7, 7 + number % 3, 9_500, number))
    assert (len(watch), watch.dropped) == (100, 9_900)
    check_invariants(watch)
    wide = PatternWatch(RULES)
    for number in range(300):
        found = wide.see(Flow(number.to_bytes(4, "big"), 1, 2, 9_500, 5))
    assert len(found[0].evidence) == EVIDENCE_MAX and found[0].count == 300
    assert feed(PatternWatch(RULES), (1, 1, 9_999, 1), (1, 2, 0, 1)) == [[], []]


def test_a_payment_sent_again_counts_once() -> None:
    """The same id within the window is the same payment; after the window it may come again."""
    watch = PatternWatch(RULES)
    same = [watch.see(Flow(b"same", 1, 2, 9_500, at * SECOND)) for at in (1, 2, 3, 4)]
    assert same == [(), (), (), ()] and len(watch) == 1
    watch.see(Flow(b"same", 1, 2, 9_500, 200 * SECOND))
    assert len(watch) == 1


def test_a_clock_that_goes_back_moves_nothing() -> None:
    """An older instant counts as the newest: nothing falls out of the window twice or comes back into it."""
    watch = PatternWatch(RULES)
    found = feed(watch, (1, 2, 9_500, 500), (1, 3, 9_500, 1), (1, 4, 9_500, 599))
    assert found[-1] == [Pattern.STRUCTURING]
    check_invariants(watch)


@pytest.mark.parametrize(
    "wrong",
    [{"threshold": 0}, {"window_ns": 0}, {"band_share": 10_000}, {"count_least": 0}, {"loop_share": 0},
     {"split_multiple_share": 9_999}, {"loop_hops_max": 7}, {"flows_max": 0}, {"degree_max": 0}],
)  # fmt: skip
def test_rules_without_meaning_are_refused(wrong: dict[str, int]) -> None:
    """Each bound of the rules from its wrong side."""
    with pytest.raises(ValueError, match="without meaning"):
        PatternRules(**{"threshold": 10_000, **wrong})
