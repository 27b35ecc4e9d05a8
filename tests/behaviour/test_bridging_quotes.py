"""Firm quotes on every way in of a provider (QUOTE-8, -9, -15, -27): pair, rate, taker, time, size, and whose they are."""

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import structs

from bridge.desk import QuoteRequest
from bridge.leg import HashFunction
from bridge.ports import Outcome
from bridge.quotes import SignedQuote
from bridge.rates import Rate
from bridge.refusals import BridgeCode, BridgeRefused
from bridge.terms import account_text, seal_terms
from clearspan.v1 import bridge_pb2
from engine.types import NS_PER_S
from tests.behaviour.bridge_papers import CNY, FIRST, HKD, PAYER, SECOND, THB, account
from tests.behaviour.bridging_world import PAYEE, World, hops, play, refused

SALT = b"s" * 32


async def answers(world: World, questions, taker: int) -> list[bridge_pb2.AcceptAnswer]:
    """What the provider answers; where nothing follows a yes, nobody waits for the lock."""
    with pytest.MonkeyPatch.context() as impatient:
        impatient.setattr("clearspan.bridging.swaps.accepting._LOCK_WAIT_S", 0.01)
        return await world.accepting[FIRST].accept(questions, taker)


def asked(world: World, terms, quote: bytes) -> bridge_pb2.Acceptance:
    """The question that a payer's bridge would ask the provider of leg 1."""
    lock = terms.lock_record(0, 1, key_id=7, now_ns=world.now, window_s=60, swap=terms.digest(1))
    return bridge_pb2.Acceptance(terms=terms.encode(), leg=1, quote=quote, lock_record=lock.encode())


async def answer(world: World, terms, quote: bytes, taker: int = PAYER) -> int:
    """What the provider answers; and nothing is left behind by a no."""
    desk, engine = world.desks[FIRST].desk, world.engines[FIRST]
    before = set(desk.book.draws), engine.compliance.usage.used(world.documents[0].id_bytes, PAYER), len(engine.book)
    (found,) = await answers(world, [asked(world, terms, quote)], taker)
    if found.refusal.code != BridgeCode.LEG_NOT_FINAL:
        after = set(desk.book.draws), engine.compliance.usage.used(world.documents[0].id_bytes, PAYER), len(engine.book)
        assert after == before
    return int(found.refusal.code)


def again(terms, **changes):
    """The same terms with another leg, under a secret of their own."""
    return seal_terms(structs.replace(terms, **changes), SALT, 1)[0]


def leg_of(terms, index: int, **changes):
    legs = list(terms.legs)
    legs[index] = structs.replace(legs[index], **changes)
    return again(terms, legs=tuple(legs))


def changed(quote: bytes, **changes) -> bytes:
    signed = SignedQuote.decode(quote)
    return replace(signed, quote=replace(signed.quote, **changes)).encode()


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("nothing", BridgeCode.LEG_NOT_FINAL),  # accepted: the leg before is not final yet
        ("noise", BridgeCode.QUOTE_MALFORMED),
        ("another rate", BridgeCode.QUOTE_UNKNOWN),
        ("another total", BridgeCode.QUOTE_UNKNOWN),
        ("another expiry", BridgeCode.QUOTE_UNKNOWN),
        ("another taker in it", BridgeCode.QUOTE_UNKNOWN),
        ("another id", BridgeCode.QUOTE_UNKNOWN),
        ("another provider's", BridgeCode.NOT_YOUR_SWAP),
        ("the next provider's own", BridgeCode.NOT_YOUR_SWAP),
        ("another payer asks", BridgeCode.NOT_YOUR_SWAP),
        ("a quote of another taker", BridgeCode.QUOTE_NOT_FOR_TAKER),
        ("one unit too much for him", BridgeCode.LEGS_DO_NOT_MATCH),
        ("another ledger", BridgeCode.LEGS_DO_NOT_MATCH),
        ("to another account of his", BridgeCode.LEGS_DO_NOT_MATCH),
        ("from another account of his", BridgeCode.LEGS_DO_NOT_MATCH),
        ("under another quote's id", BridgeCode.LEGS_DO_NOT_MATCH),
        ("more than is left", BridgeCode.QUOTE_EXHAUSTED),
        ("a longer timelock", BridgeCode.SWAP_TOO_SHORT),
        ("expired", BridgeCode.QUOTE_EXPIRED),
        ("withdrawn", BridgeCode.QUOTE_UNKNOWN),
        ("another version of the corridor", BridgeCode.LEGS_DO_NOT_MATCH),
    ],
)
def test_a_provider_takes_his_own_quote_as_he_gave_it_and_nothing_else(tmp_path, what: str, code: int) -> None:
    """Each deviation has its code, changes nothing, and does not spoil the quote for its rightful swap."""

    async def body(world) -> None:
        order = world.order(10_000)
        (data,) = order.quotes
        quote = SignedQuote.decode(data).quote
        terms, taker, desk = world.bridge().planner.seal(order, world.now).terms, PAYER, world.desks[FIRST]
        own, shown = terms.legs[1], data
        if what == "noise":
            shown = data[:-1]
        elif what == "another rate":
            shown = changed(data, rate=Rate.of(2, 1))
        elif what == "another total":
            shown = changed(data, total_amount=quote.total_amount * 2)
        elif what == "another expiry":
            shown = changed(data, expires_at=quote.expires_at + 1)
        elif what == "another taker in it":
            shown = changed(data, taker=0)
        elif what == "another id":
            shown = changed(data, id=quote.id ^ 1)
        elif what == "another provider's":
            shown = changed(data, provider=SECOND)
        elif what == "the next provider's own":
            shown = world.desks[SECOND].quote(QuoteRequest(PAYER, 12_000, False, 30), HKD, THB, world.now).encode()
        elif what == "another payer asks":
            taker = 12
        elif what == "a quote of another taker":
            shown = desk.quote(QuoteRequest(12, 12_000, False, 30), CNY, HKD, world.now).encode()
            terms = leg_of(terms, 1, user_data=SignedQuote.decode(shown).quote.id)
        elif what == "one unit too much for him":
            terms = leg_of(terms, 1, amount=quote.delivers(10_000) + 1)
        elif what == "another ledger":
            terms = leg_of(terms, 1, ledger=THB)
        elif what == "to another account of his":
            terms = leg_of(terms, 0, credit_account=account_text(account(FIRST, CNY) + 1))
        elif what == "from another account of his":
            terms = leg_of(terms, 1, debit_account=account_text(account(FIRST, HKD) + 1))
        elif what == "under another quote's id":
            terms = leg_of(terms, 1, user_data=own.user_data ^ 1)
        elif what == "more than is left":
            legs = [
                structs.replace(each, amount=value) for each, value in zip(terms.legs, (12_001, 13_165), strict=True)
            ]
            terms = again(terms, legs=tuple(legs))
        elif what == "a longer timelock":
            later = terms.legs[0].timelock_ns + NS_PER_S
            terms = again(terms, legs=tuple(structs.replace(each, timelock_ns=later) for each in terms.legs))
        elif what == "expired":
            world.now = quote.expires_at
            terms = again(
                terms, legs=tuple(structs.replace(each, timelock_ns=world.now + 29 * NS_PER_S) for each in terms.legs)
            )
        elif what == "withdrawn":
            desk.desk.withdraw(quote.id)
        elif what == "another version of the corridor":
            terms = again(terms, corridors=(replace(terms.corridors[0], version=2),))
        assert await answer(world, terms, shown, taker) == code
        if what not in ("nothing", "expired", "withdrawn"):
            # What was refused has spoilt nothing: the rightful swap has all of its quote.
            swap = world.bridge().begin(order)
            world.time_passes(0)
            for _ in range(500):
                if swap.outcome is None:
                    await world.run_once()
            assert swap.outcome is Outcome.SETTLED

    play(tmp_path, body, hops())


def test_a_quote_is_used_up_by_swaps_at_once_and_a_replay_draws_nothing(tmp_path) -> None:
    """Two swaps for the whole of one quote: one is accepted. The same question again, and the ended swap, draw nothing."""

    async def body(world) -> None:
        (data,) = world.quotes(12_000)
        order = structs.replace(world.order(12_000), quotes=(data,))
        seal = world.bridge().planner.seal
        first, second = (seal(structs.replace(order, uetr=bytes([each]) * 16), world.now).terms for each in (1, 2))
        questions = [asked(world, terms, data) for terms in (first, second, first)]
        found = await answers(world, questions, PAYER)
        codes = [each.refusal.code for each in found]
        assert sorted({codes[0], codes[2], codes[1]}) == [BridgeCode.QUOTE_EXHAUSTED, BridgeCode.LEG_NOT_FINAL]
        assert codes[0] == codes[2] == BridgeCode.LEG_NOT_FINAL, "accepted; the leg before is not final yet"
        book = world.desks[FIRST].desk.book
        assert len(book.draws) == 1 and world.desks[FIRST].desk.left(SignedQuote.decode(data).quote.id) == 0

    play(tmp_path, body, hops())


def test_an_ended_swap_is_answered_as_it_ended_also_when_its_quote_is_forgotten(tmp_path) -> None:
    """A payer that asks once more after the end does not hear that the quote is unknown, nor is anything drawn again."""

    async def body(world) -> None:
        swap = world.bridge().begin(world.order(12_000))
        await world.run()
        assert swap.outcome is Outcome.SETTLED
        quote = SignedQuote.decode(swap.quotes[0]).quote
        world.desks[FIRST].desk.release(quote.expires_at)
        question = world.engines[PAYER]._asking._acceptance(swap, 1)
        (found,) = await world.accepting[FIRST].accept([question], PAYER)
        assert found.lock_record == swap.legs[1].record
        await world.close(FIRST)
        world.open(FIRST)
        (found,) = await world.accepting[FIRST].accept([question], PAYER)
        assert found.refusal.code in (BridgeCode.DUPLICATE_SWAP, BridgeCode.QUOTE_UNKNOWN, BridgeCode.QUOTE_EXHAUSTED)
        assert not world.desks[FIRST].desk.book.draws

    play(tmp_path, body, hops())


def test_a_payer_begins_nothing_under_quotes_that_do_not_hold(tmp_path) -> None:
    """Of another taker, expired, no quotes, too many, out of order, of one provider twice, under a timelock not granted."""

    async def body(world) -> None:
        bridge = world.bridge()
        good = world.order(10_000, hops=2)
        first, second = good.quotes
        cases = (
            (structs.replace(good, quotes=()), BridgeCode.NO_ROUTE),
            (structs.replace(good, quotes=(second, first)), BridgeCode.NO_ROUTE),
            (structs.replace(good, quotes=(first, first)), BridgeCode.NO_ROUTE),
            (structs.replace(good, quotes=(first, second, first, second)), BridgeCode.NO_ROUTE),
            (structs.replace(good, quotes=(first, second) * 1_000), BridgeCode.NO_ROUTE),
            (structs.replace(good, quotes=(b"noise", second)), None),
            (structs.replace(good, quotes=(changed(first, taker=12), second)), BridgeCode.QUOTE_NOT_FOR_TAKER),
            (structs.replace(good, lock_s=31), BridgeCode.SWAP_TOO_SHORT),
            (structs.replace(good, amount=0), BridgeCode.TERMS_MALFORMED),
            (structs.replace(good, amount=2**128), BridgeCode.TERMS_MALFORMED),
            (structs.replace(good, amount=13_000), BridgeCode.QUOTE_EXHAUSTED),
        )
        for order, code in cases:
            if code is None:
                with pytest.raises((BridgeRefused, ValueError)):
                    bridge.begin(order)
            else:
                refused(code, bridge.begin, order)
        only = changed(first, hash_functions=1 << (HashFunction.SHA256 - 1))
        order = structs.replace(good, quotes=(only, second), hash_function=HashFunction.SM3)
        refused(BridgeCode.HASH_FUNCTION_UNSUPPORTED, bridge.begin, order)
        world.now = SignedQuote.decode(first).quote.expires_at
        refused(BridgeCode.QUOTE_EXPIRED, bridge.begin, good)
        assert len(world.engines[PAYER].book) == 0 and not world.locks
        assert world.balances[CNY, account(PAYER, CNY)] == 10**12 and (HKD, account(PAYEE, HKD)) not in world.balances

    play(tmp_path, body, hops())
