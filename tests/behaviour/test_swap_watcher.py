"""The watcher: many swaps, one heap of timers, hashes that serve once, and a restart from the journal.

SWAP-11, SWAP-12, SWAP-30, SWAP-33, SWAP-40, SWAP-42.
"""

from __future__ import annotations

import time

import pytest
from msgspec import structs

from bridge.journal import decode_entry, encode_entry, entry_key
from bridge.leg import ChainClock, LockState, LockView
from bridge.ports import Accepted, AskAcceptance, Finished, Journal, Lock, Outcome, Reveal, Timing, WakeAt
from bridge.refusals import BridgeCode, BridgeRefused
from bridge.watcher import Watcher
from engine.refusals import EncodingError
from tests.behaviour.swap_stage import (
    CHAIN,
    FAR_LAST,
    HOME_LEGS,
    MARGINS,
    SALT,
    SECOND,
    START,
    SUITE,
    leg,
    terms,
)

TWO = (leg(156), leg(344, payer=6, payee=7))


def watcher(**fields):
    made = Watcher(SUITE, lambda _: MARGINS, Timing(retry_ns=5 * SECOND), **fields)
    made.relay_block(1, START, [], START)
    return made


def swap(number=0, *legs):
    return terms(*(legs or TWO), uetr=number.to_bytes(16, "little"), salt=number.to_bytes(32, "little"))


def salt(number=0):
    return number.to_bytes(32, "little")


def shown(sealed, index, state=LockState.FINAL, preimage=None):
    order = sealed.orders(SUITE)[index]
    return order.lock_id, LockView(state, order, preimage, 1, "")


def actions(tasks, kind):
    return [action for _, action in tasks if isinstance(action, kind)]


def refusal(call):
    with pytest.raises(BridgeRefused) as refused:
        call()
    return refused.value.code


def test_a_swap_between_two_watchers_settles():
    """Payer and provider, each told of locks by lock id and of reveals by block."""
    payer, provider = watcher(), watcher()
    sealed, secret = swap()
    tasks = payer.begin(sealed, salt(), START)
    party = tasks[0][0]
    assert party == sealed.orders(SUITE)[0].lock_id
    tasks = payer.seen([shown(sealed, 0)], START)
    assert actions(tasks, AskAcceptance) == [AskAcceptance(1)]
    provider.accept(sealed, 1, START)
    assert actions(provider.seen([shown(sealed, 0)], START), Lock)
    payer.on([(party, Accepted(1, b""))], START)
    tasks = payer.seen([shown(sealed, 1)], START)
    assert actions(tasks, Reveal) == [Reveal(secret)]
    provider.seen([shown(sealed, 1)], START)
    for each in (payer, provider):
        each.relay_block(2, START + SECOND, [secret], START + SECOND)
        views = [shown(sealed, index, LockState.CLAIMED_FINAL, secret) for index in range(2)]
        assert [finished.outcome for finished in actions(each.seen(views, START + SECOND), Finished)] == [
            Outcome.SETTLED
        ]
        assert len(each) == 0
    assert payer.end_of(party) == (Outcome.SETTLED, 0)


def test_a_leg_that_is_final_ahead_of_our_reading_is_locked_behind_as_soon_as_that_is_read():
    """The view names relay block 5; the lock leaves when block 5 is read, not at the next tick of a clock."""
    provider = watcher()
    sealed, _ = swap()
    provider.accept(sealed, 1, START)
    lock_id, view = shown(sealed, 0)
    assert not actions(provider.seen([(lock_id, structs.replace(view, height=5))], START), Lock)
    assert not actions(provider.relay_block(4, START, [], START), Lock)
    assert actions(provider.relay_block(5, START, [], START), Lock)
    assert not actions(provider.relay_block(6, START, [], START), Lock)


def test_an_event_reaches_only_whom_it_concerns():
    payer = watcher()
    sealed = [swap(number)[0] for number in range(3)]
    for number, each in enumerate(sealed):
        payer.begin(each, salt(number), START)
    tasks = payer.seen([shown(sealed[1], 0)], START)
    assert {party for party, _ in tasks} == {sealed[1].orders(SUITE)[0].lock_id}
    assert payer.on([(b"?" * 32, Accepted(1, b""))], START) == []
    assert payer.seen([(b"?" * 32, shown(sealed[1], 0)[1])], START) == []


def test_a_hash_serves_one_swap():
    """Other terms under a hash that is known are refused, while it runs and after it has ended."""
    provider = watcher()
    sealed, secret = swap()
    other = structs.replace(sealed, uetr=b"o" * 16)
    provider.accept(sealed, 1, START)
    assert refusal(lambda: provider.accept(other, 1, START)) is BridgeCode.HASH_REUSED
    provider.relay_block(2, START + SECOND, [secret], START + SECOND)  # before it had locked anything
    assert len(provider) == 0
    assert refusal(lambda: provider.accept(other, 1, START + SECOND)) is BridgeCode.HASH_REUSED


def test_a_secret_that_the_relay_has_revealed_serves_no_swap():
    """Under either hash function, and though this watcher never had a swap with it."""
    for function in (1, 2):
        provider = watcher()
        sealed, secret = terms(*TWO, function=type(swap()[0].hash_function)(function))
        provider.relay_block(2, START + SECOND, [secret, b"short", b"x" * 33], START + SECOND)
        assert refusal(lambda: provider.accept(sealed, 1, START + SECOND)) is BridgeCode.ALREADY_REVEALED  # noqa: B023


def test_the_same_swap_again_changes_nothing_while_it_runs_and_is_a_duplicate_afterwards():
    provider = watcher()
    sealed, secret = swap()
    assert provider.accept(sealed, 1, START)
    assert provider.accept(sealed, 1, START) == []
    provider.relay_block(2, START, [secret], START)
    assert refusal(lambda: provider.accept(sealed, 1, START)) in (
        BridgeCode.DUPLICATE_SWAP,
        BridgeCode.ALREADY_REVEALED,
    )
    payer = watcher()
    payer.begin(sealed, salt(), START)
    assert refusal(lambda: payer.begin(sealed, salt(), START)) is BridgeCode.DUPLICATE_SWAP


def test_one_participant_may_lock_two_legs_of_a_swap():
    provider = watcher()
    sealed, _ = swap(0, *HOME_LEGS)
    provider.accept(sealed, 1, START)
    provider.accept(sealed, 2, START)
    assert len(provider) == 2
    tasks = provider.seen([shown(sealed, 0)], START)
    assert [action.leg for action in actions(tasks, Lock)] == [1]
    tasks = provider.seen([shown(sealed, 1)], START)
    assert [action.leg for action in actions(tasks, Lock)] == [2]


def test_more_swaps_than_allowed_are_refused():
    payer = watcher(swaps_max=1)
    payer.begin(swap(0)[0], salt(0), START)
    assert refusal(lambda: payer.begin(swap(1)[0], salt(1), START)) is BridgeCode.LIMITS_EXCEEDED


def test_timers_wake_those_whose_time_has_come():
    payer = watcher()
    first, second = swap(0)[0], swap(1)[0]
    payer.begin(first, salt(0), START)
    payer.begin(second, salt(1), START + 2 * SECOND)
    assert payer.wake_ns == START + 5 * SECOND
    assert payer.tick(START + 4 * SECOND) == []
    tasks = payer.tick(START + 5 * SECOND)
    assert [party for party, action in tasks if isinstance(action, Lock)] == [first.orders(SUITE)[0].lock_id]
    assert not actions(tasks, WakeAt)  # the heap keeps them
    assert payer.wake_ns == START + 7 * SECOND


def test_ends_are_forgotten_after_a_while_and_clocks_never_go_back():
    payer = watcher(keep_ns=10 * SECOND)
    sealed = swap()[0]
    party = payer.begin(sealed, salt(), START)[0][0]
    refused = LockView(LockState.REFUSED, None, None, 1, "insufficient_funds")
    payer.seen([(party, refused)], START)
    assert payer.end_of(party) == (Outcome.ABANDONED, BridgeCode.LOCK_REFUSED)
    payer.tick(sealed.last_timelock_ns + 10 * SECOND)
    assert payer.end_of(party) is None
    payer.tick(START)
    assert payer.clocks.now_ns == sealed.last_timelock_ns + 10 * SECOND
    payer.chain_clock(CHAIN, ChainClock(50, 5, 4), START)
    payer.chain_clock(CHAIN, ChainClock(40, 4, 4), START)
    assert payer.clocks.heard_ns(CHAIN) == 50


def test_a_restart_goes_on_from_the_journal_as_bytes():
    """Entries are kept in the order of their keys; what had ended has ended, what ran looks around and goes on."""
    payer = watcher()
    stored = {}

    def keep(tasks):
        for journal in actions(tasks, Journal):
            stored[entry_key(journal.entry)] = encode_entry(journal.entry)

    sealed = [swap(number, *FAR_LAST) if number == 2 else swap(number) for number in range(3)]
    for number, (each, _) in enumerate(sealed):
        keep(payer.begin(each, salt(number), START))
    party = sealed[0][0].orders(SUITE)[0].lock_id
    keep(payer.seen([(party, LockView(LockState.REFUSED, None, None, 1, "x"))], START))
    keep(payer.seen([shown(sealed[1][0], 0), shown(sealed[1][0], 1)], START))
    again = watcher()
    tasks = again.restore([decode_entry(stored[key]) for key in sorted(stored)], START + SECOND)
    assert len(again) == 2
    assert again.end_of(party) == (Outcome.ABANDONED, BridgeCode.LOCK_REFUSED)
    assert actions(tasks, Reveal) == [Reveal(sealed[1][1])]
    assert len(actions(tasks, Lock)) == 1
    assert refusal(lambda: again.begin(structs.replace(sealed[0][0], uetr=b"o" * 16), salt(0), START)) in (
        BridgeCode.HASH_REUSED,
        BridgeCode.PREIMAGE_MISMATCH,
    )


def test_a_journal_that_lost_a_part_of_itself_is_refused():
    payer = watcher()
    tasks = payer.begin(swap()[0], salt(), START)
    entries = [journal.entry for journal in actions(tasks, Journal)]
    tasks = payer.seen([shown(swap()[0], 0)], START)
    entries += [journal.entry for journal in actions(tasks, Journal)]
    for lost in (0, 1):
        with pytest.raises(EncodingError):
            watcher().restore([each for each in entries if each.number != lost], START)
    with pytest.raises(EncodingError):
        watcher().restore([structs.replace(entries[0], party=b"o" * 32)], START)


@pytest.mark.nightly
def test_a_step_costs_little():
    """Less than a hundred microseconds, on a machine that may be busy; the figures stand in docs/spec/11."""
    payer = watcher()
    sealed = [swap(number)[0] for number in range(1_000)]
    for number, each in enumerate(sealed):
        payer.begin(each, salt(number), START)
    views = [shown(each, 0) for each in sealed]
    start = time.process_time()
    payer.seen(views, START)
    assert time.process_time() - start < 0.1


def test_the_payers_own_salt_is_the_secret_of_nobody_else():
    assert swap(0)[1] != swap(1)[1]
    assert terms(salt=SALT)[1] != terms(salt=b"t" * 32)[1]
