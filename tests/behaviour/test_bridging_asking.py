"""A payer's questions to providers: none is lost with the call that carried it, and only the agreed lock is a yes."""

from __future__ import annotations

import asyncio

import pytest

from bridge.ports import Outcome
from bridge.refusals import BridgeCode
from clearspan.bridging.swaps.asking import AcceptedLeg, demand_lock_of
from tests.behaviour.bridge_papers import CNY, PAYER, account
from tests.behaviour.test_bridging_rules import play, refused


@pytest.mark.parametrize("failure", [RuntimeError("a line of the test"), asyncio.CancelledError(), None])
def test_a_question_outlives_its_call(tmp_path, failure) -> None:
    """However a call ends, broken, cut off or unanswered, the machine's next attempt asks again."""

    async def body(world) -> None:
        peers = world.engines[PAYER]._asking._peers
        answered, calls = peers.accept, 0

        async def accept(provider: int, asked):
            nonlocal calls
            calls += 1
            if calls > 1:
                return await answered(provider, asked)
            if failure is not None:
                raise failure
            return None

        peers.accept = accept
        swap = world.bridge().begin(world.order())
        await world.run()
        assert (calls, swap.outcome, swap.asking) == (1, None, 0)
        world.time_passes(6)
        await world.run()
        assert (calls, swap.outcome) == (2, Outcome.SETTLED)

    play(tmp_path, body)


def test_only_the_agreed_lock_is_a_yes(tmp_path) -> None:
    """Each byte of a provider's answer counts but for expiry, key, validity and code, which are the locker's own."""

    async def body(world) -> None:
        swap = world.bridge().begin(world.order())
        await world.run()
        terms, record = swap.terms, swap.legs[1].record
        demand_lock_of(terms, 1, 1, record, swap.swap)
        own = {*range(96, 104), *range(116, 126)}
        for at in range(len(record)):
            altered = bytearray(record)
            altered[at] ^= 1
            if at in own:
                demand_lock_of(terms, 1, 1, bytes(altered), swap.swap)
            else:
                refused(BridgeCode.LEGS_DO_NOT_MATCH, demand_lock_of, terms, 1, 1, bytes(altered), swap.swap)
        for wrong in (b"", record[1:], record + b"\x00", swap.legs[0].record):
            refused(BridgeCode.LEGS_DO_NOT_MATCH, demand_lock_of, terms, 1, 1, wrong, swap.swap)
        assert world.balances[CNY, account(PAYER, CNY)] == 10**12 - 10_000

    play(tmp_path, body)


def test_a_provider_answers_when_all_locks_of_a_call_are_on_their_way(tmp_path) -> None:
    """One wait for a whole call: it ends with the last lock, with the last end, or with its time."""

    async def body(world) -> None:
        acting = world.engines[PAYER].acting
        await acting.locking([b"unknown" * 5], 5.0)
        world.silent = True
        swaps = [world.bridge().begin(world.order(uetr=bytes([number]) * 16)) for number in (1, 2)]
        parties = [swap.party for swap in swaps]
        waiting = [asyncio.ensure_future(acting.locking(each, 5.0)) for each in (parties, parties[:1])]
        await asyncio.sleep(0)
        assert not any(each.done() for each in waiting)
        await world.engines[PAYER].committed()
        await asyncio.gather(*waiting)
        assert all(swap.own_lock_sent for swap in swaps)
        assert acting._locking == {}
        late = world.bridge().begin(world.order(uetr=b"l" * 16))
        await acting.locking([late.party], 0.0)
        assert acting._locking == {}
        await world.engines[PAYER].committed()

    play(tmp_path, body)


def test_answers_of_one_call_count_each_for_its_own_swap(tmp_path) -> None:
    """Of many answers one that is refused and one whose swap has ended keep nothing from the others."""

    async def body(world) -> None:
        bridge, engine = world.bridge(), world.engines[PAYER]
        peers = engine._asking._peers
        answered, held = peers.accept, []

        async def accept(provider: int, asked):
            answers = await answered(provider, asked)
            held.extend(answers)
            answers[1].lock_record = answers[0].lock_record
            return answers

        peers.accept = accept
        swaps = [bridge.begin(world.order(3_000, uetr=bytes([number]) * 16)) for number in (1, 2, 3)]
        await world.run()
        assert len(held) == 3
        assert [each.outcome for each in swaps] == [Outcome.SETTLED, None, Outcome.SETTLED]
        assert swaps[1].legs[1].record == b""
        ended = AcceptedLeg(swaps[0], 1, swaps[2].legs[1].record, b"premium")
        kept = swaps[0].legs[1].record
        engine.on_accepted([ended])
        assert (swaps[0].legs[1].record, swaps[0].premiums) == (kept, {})

    play(tmp_path, body)
