"""Orders of one call: each is begun or refused as it would be alone, whatever they share."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from msgspec import structs

from bridge.leg import HashFunction
from bridge.ports import Outcome, Timing
from bridge.quotes import SignedQuote
from bridge.refusals import BridgeCode, BridgeRefused
from bridge.watcher import Watcher
from clearspan.bridging.market.sealing import Sealing
from clearspan.bridging.serving.service import BridgeServer
from clearspan.status import CallRefused
from clearspan.v1 import bridge_pb2
from tests.behaviour.bridge_papers import FIRST, PAYER
from tests.behaviour.bridging_world import play, refused
from tests.behaviour.swap_stage import MARGINS, SALT, SECOND, START, SUITE, leg, terms


def begun(beginning, orders):
    """Begin orders in one call; of a refused one its code."""
    found = []
    for order in orders:
        try:
            found.append(beginning.begin(order))
        except BridgeRefused as error:
            found.append(error.code)
    return found


def test_orders_of_one_call_are_refused_one_by_one(tmp_path) -> None:
    """A refusal in the middle holds no other one up; each order has terms and a secret of its own."""

    async def body(world) -> None:
        good = world.order(1_000)
        (data,) = good.quotes
        only = SignedQuote.decode(data)
        only = replace(only, quote=replace(only.quote, hash_functions=1 << (HashFunction.SHA256 - 1))).encode()
        orders = [
            good,
            structs.replace(good, uetr=b"b" * 16, amount=0),
            structs.replace(good, uetr=b"c" * 16, amount=1_001),
            good,
            structs.replace(good, uetr=b"d" * 16, quotes=(only,)),
            structs.replace(good, uetr=b"e" * 16, quotes=(only,), hash_function=HashFunction.SM3),
            structs.replace(good, uetr=b"f" * 16, lock_s=31),
            structs.replace(good, uetr=b"g" * 16, quotes=()),
            structs.replace(good, uetr=b"short"),
            structs.replace(good, uetr=b"h" * 16, credit_account=0),
            structs.replace(good, uetr=b"i" * 16, hash_function=HashFunction.SM3),
        ]
        found = begun(world.bridge().beginning([order.uetr for order in orders]), orders)
        assert [each if isinstance(each, BridgeCode) else None for each in found] == [
            None,
            BridgeCode.TERMS_MALFORMED,
            None,
            BridgeCode.DUPLICATE_SWAP,
            None,
            BridgeCode.HASH_FUNCTION_UNSUPPORTED,
            BridgeCode.SWAP_TOO_SHORT,
            BridgeCode.NO_ROUTE,
            BridgeCode.TERMS_MALFORMED,
            BridgeCode.TERMS_MALFORMED,
            None,
        ]
        swaps = [each for each in found if not isinstance(each, BridgeCode)]
        assert len({each.terms.hashlock for each in swaps}) == len({each.swap for each in swaps}) == 4
        assert [each.terms.legs[0].amount for each in swaps] == [1_000, 1_001, 1_000, 1_000]
        corridor = world.documents[0].id_bytes
        assert world.engines[PAYER].compliance.usage.used(corridor, PAYER) == (4_001, 4_001), "a refusal draws nothing"
        assert len(world.engines[PAYER].book) == 4

    play(tmp_path, body)


def test_a_call_is_told_what_the_journal_knows(tmp_path) -> None:
    """What was begun before a restart is a duplicate in a later call, beside orders that are new."""

    async def body(world) -> None:
        first = world.bridge().begin(world.order(1_000))
        await world.run()
        assert first.outcome is Outcome.SETTLED
        await world.close(PAYER, FIRST)
        world.open(PAYER), world.open(FIRST)
        orders = [world.order(1_000), world.order(1_000, uetr=b"b" * 16)]
        beginning = world.bridge().beginning([order.uetr for order in orders])
        duplicate, new = begun(beginning, orders)
        assert duplicate is BridgeCode.DUPLICATE_SWAP and new.swap != first.swap
        assert begun(world.bridge().beginning(()), orders) == [BridgeCode.DUPLICATE_SWAP] * 2, "unasked ones too"

    play(tmp_path, body)


def test_a_quote_is_looked_at_once_for_a_call(tmp_path) -> None:
    """Orders under the same quotes share what follows from them and the instant alone."""

    async def body(world) -> None:
        order, asked = world.order(1_000), []
        planner = world.bridge().planner

        def offer_of(data, now):
            asked.append(data)
            return planner.offer_of(data, now)

        sealing = Sealing(world.genesis, PAYER, offer_of, str, world.now)
        for number in range(3):
            terms = sealing.seal(structs.replace(order, uetr=bytes([number]) * 16)).terms
            assert terms.created_at == world.now and terms.legs[0].user_data == int.from_bytes(terms.uetr, "big")
        assert asked == list(order.quotes)

    play(tmp_path, body)


def test_each_swap_goes_by_the_margins_of_its_own_corridor() -> None:
    """What a watcher remembers of the last corridor is never taken for another one's."""
    long = replace(MARGINS, stall_ns=1_000 * SECOND)
    watcher = Watcher(SUITE, lambda terms: long if terms.uetr[0] else MARGINS, Timing())
    watcher.relay_block(1, START, [], START)
    legs = leg(156), leg(344, payer=6, payee=7)
    sealed = [terms(*legs, uetr=bytes([number]) * 16, salt=SALT)[0] for number in (0, 1)]
    assert watcher.begin(sealed[0], SALT, START)
    refused(BridgeCode.SWAP_TOO_SHORT, watcher.begin, sealed[1], SALT, START)


def test_a_call_that_is_refused_as_a_whole_has_begun_nothing(tmp_path) -> None:
    """An amount of 15 bytes behind a good order: who hears that the call is malformed corrects it and sends it again.

    Orders without a UETR would be paid twice then.
    """

    async def body(world) -> None:
        order = world.order(1_000)
        sides = {
            "debit_account": order.debit_account.to_bytes(16, "little"),
            "credit_account": order.credit_account.to_bytes(16, "little"),
        }
        good = bridge_pb2.SwapOrder(amount=(1_000).to_bytes(16, "little"), quotes=order.quotes, **sides)
        bad = bridge_pb2.SwapOrder(amount=bytes(15), quotes=order.quotes, **sides)
        call = SimpleNamespace(notes={}, peer=SimpleNamespace(identity=SimpleNamespace(participant=PAYER)))
        server = object.__new__(BridgeServer)
        server._bridge = world.bridge()
        server._bridge.participant = PAYER

        async def run(*orders: bridge_pb2.SwapOrder) -> bridge_pb2.RunReply:
            request = bridge_pb2.RunRequest(version=1, orders=orders)
            return bridge_pb2.RunReply.FromString(await server._run(call, request.SerializeToString()))

        with pytest.raises(CallRefused, match="15 bytes"):
            await run(good, bad)
        assert not len(world.engines[PAYER].book)
        short = bridge_pb2.SwapOrder(uetr=b"short", amount=good.amount, quotes=order.quotes, **sides)
        long = bridge_pb2.SwapOrder(uetr=bytes(600), amount=good.amount, quotes=order.quotes, **sides)
        reply = await run(short, long, good)
        malformed = BridgeCode.TERMS_MALFORMED
        assert [answer.refusal.code for answer in reply.answers] == [malformed, malformed, 0]
        assert len(world.engines[PAYER].book) == 1

    play(tmp_path, body)
