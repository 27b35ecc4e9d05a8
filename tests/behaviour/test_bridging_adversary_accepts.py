"""A provider's bridge and a hostile payer: every question that is not the one it should be, and what it must not change."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace

import pytest
from msgspec import structs

from bridge.desk import QuoteRequest
from bridge.desk_book import check_invariants, encode_entry
from bridge.leg import HashFunction
from bridge.ports import Outcome
from bridge.quotes import QUOTE_BYTES, SignedQuote
from bridge.rates import Rate
from bridge.refusals import BridgeCode, BridgeRefused
from bridge.terms import TERMS_BYTES_MAX, SwapTerms, account_text
from clearspan.v1 import bridge_pb2
from engine.record import Transfer
from engine.types import U128_MAX, TransferFlag
from tests.behaviour.bridge_papers import CNY, FIRST, HKD, PAYER, SECOND, THB, S, account
from tests.behaviour.bridging_world import PAYEE, World, hops, play

AMOUNT = 4_001
Acceptance = bridge_pb2.Acceptance


def standing(world: World, participant: int = FIRST) -> tuple[object, ...]:
    """Return all that a question may not change where it is refused."""
    engine, desk = world.engines[participant], world.desks[participant]
    check_invariants(desk.desk.book)
    return (
        [encode_entry(each) for each in desk.desk.snapshot()],
        list(desk.entries),
        [engine.compliance.usage.used(each.id_bytes, PAYER) for each in world.documents],
        sorted(each.party for each in engine.book),
        len(engine.watcher),
        engine.store.newest(100),
        sorted(engine.store.beside()),
        len(engine.beside),
        len(engine.compliance.cases.open_cases()),
    )


async def captured(world: World, *, premium: bool = False) -> bridge_pb2.Acceptance:
    """Return the question that an honest payer asks when his lock, and the premium, are final; it is not answered."""
    asked: list[bridge_pb2.Acceptance] = []
    honest = world.accepting[FIRST].accept

    async def unheard(questions, taker):
        if premium and not questions[0].premium_record:
            return await honest(questions, taker)
        asked.extend(questions)
        return await asyncio.Event().wait()

    world.accepting[FIRST].accept = unheard
    world.bridge().begin(world.order(AMOUNT))
    for _ in range(200):
        await world.run_once()
        if asked:
            break
    world.accepting[FIRST].accept = honest
    (found,) = asked
    return found


def changed(asked: bridge_pb2.Acceptance, **fields) -> bridge_pb2.Acceptance:
    found = Acceptance.FromString(asked.SerializeToString())
    for name, value in fields.items():
        found.ClearField(name)
        if name == "onward_quotes":
            found.onward_quotes.extend(value)
        else:
            setattr(found, name, value)
    return found


def legs_changed(asked: bridge_pb2.Acceptance, index: int, **fields) -> bridge_pb2.Acceptance:
    """Return the question for other terms, with the lock record that those ask for."""
    terms = SwapTerms.decode(asked.terms)
    legs = list(terms.legs)
    legs[index] = structs.replace(legs[index], **fields)
    return for_terms(asked, structs.replace(terms, legs=tuple(legs)))


def for_terms(asked: bridge_pb2.Acceptance, terms: SwapTerms) -> bridge_pb2.Acceptance:
    before = Transfer.decode(asked.lock_record)
    record = terms.lock_record(
        asked.leg - 1, 1, key_id=before.key_id, now_ns=before.expires_at - 2 * S, window_s=2, code=before.code
    )
    return changed(asked, terms=terms.encode(), lock_record=record.encode())


def record_changed(asked: bridge_pb2.Acceptance, **fields) -> bridge_pb2.Acceptance:
    return changed(asked, lock_record=replace(Transfer.decode(asked.lock_record), **fields).encode())


def premium_changed(asked: bridge_pb2.Acceptance, **fields) -> bridge_pb2.Acceptance:
    return changed(asked, premium_record=replace(Transfer.decode(asked.premium_record), **fields).encode())


def quote_changed(asked: bridge_pb2.Acceptance, **fields) -> bridge_pb2.Acceptance:
    signed = SignedQuote.decode(asked.quote)
    return changed(asked, quote=SignedQuote(replace(signed.quote, **fields), signed.signature).encode())


def longest(asked: bridge_pb2.Acceptance) -> bytes:
    return asked.terms + bytes(TERMS_BYTES_MAX)


TERMS = "terms_malformed"
DIFFER = "legs_do_not_match"
HOSTILE = {
    "no terms": (lambda a: changed(a, terms=b""), TERMS),
    "terms cut off": (lambda a: changed(a, terms=a.terms[:-1]), TERMS),
    "terms with more behind": (lambda a: changed(a, terms=a.terms + b"\0"), TERMS),
    "terms without end": (lambda a: changed(a, terms=longest(a)), TERMS),
    "another network": (lambda a: for_terms(a, structs.replace(SwapTerms.decode(a.terms), network=b"n" * 32)), TERMS),
    "the payer's leg": (lambda a: changed(a, leg=0), "not_your_swap"),
    "a leg that is none": (lambda a: changed(a, leg=2), "not_your_swap"),
    "a leg far away": (lambda a: changed(a, leg=2**32 - 1), "not_your_swap"),
    "no quote": (lambda a: changed(a, quote=b""), "quote_malformed"),
    "a quote cut off": (lambda a: changed(a, quote=a.quote[:QUOTE_BYTES]), "quote_malformed"),
    "a better rate": (lambda a: quote_changed(a, rate=Rate.of(2, 1)), "quote_unknown"),
    "a longer life": (lambda a: quote_changed(a, expires_at=SignedQuote.decode(a.quote).quote.expires_at + 1), "quote_unknown"),
    "a larger total": (lambda a: quote_changed(a, total_amount=U128_MAX), "quote_unknown"),
    "another id": (lambda a: quote_changed(a, id=5), "quote_unknown"),
    "another provider's": (lambda a: quote_changed(a, provider=SECOND), "not_your_swap"),
    "no lock": (lambda a: changed(a, lock_record=b""), DIFFER),
    "a lock cut off": (lambda a: changed(a, lock_record=a.lock_record[:-1]), DIFFER),
    "a smaller lock": (lambda a: record_changed(a, amount=1), DIFFER),
    "a lock for somebody else": (lambda a: record_changed(a, credit_account=account(SECOND, CNY)), DIFFER),
    "a lock of somebody else": (lambda a: record_changed(a, debit_account=account(SECOND, CNY)), DIFFER),
    "a lock that ends sooner": (lambda a: record_changed(a, until=Transfer.decode(a.lock_record).until - 1), DIFFER),
    "a lock by the other function": (
        lambda a: record_changed(a, flags=Transfer.decode(a.lock_record).flags | int(TransferFlag.HASH_IS_SM3)), DIFFER),
    "a lock under another hash": (lambda a: record_changed(a, binding=b"h" * 32), DIFFER),
    "a lock of another id": (lambda a: record_changed(a, id=9), DIFFER),
    "a lock on the other ledger": (lambda a: record_changed(a, ledger=HKD), DIFFER),
    "a lock that is linked": (
        lambda a: record_changed(a, flags=Transfer.decode(a.lock_record).flags | int(TransferFlag.LINKED)), DIFFER),
    "more than the quote gives": (lambda a: legs_changed(a, 1, amount=SwapTerms.decode(a.terms).legs[1].amount + 1), DIFFER),
    "all that fits 128 bits": (lambda a: legs_changed(a, 0, amount=U128_MAX), TERMS),
    "out of another account of his": (lambda a: legs_changed(a, 1, debit_account=account_text(account(FIRST, HKD) + 1)), DIFFER),
    "into another account of his": (lambda a: legs_changed(a, 0, credit_account=account_text(account(FIRST, CNY) + 1)), DIFFER),
    "under another quote's number": (lambda a: legs_changed(a, 1, user_data=77), DIFFER),
    "on a third ledger": (lambda a: legs_changed(a, 1, ledger=THB), DIFFER),
    "two timelocks": (
        lambda a: legs_changed(a, 1, timelock_ns=SwapTerms.decode(a.terms).legs[1].timelock_ns - S), "leg_order_unsafe"),
    "both ledgers the same": (lambda a: legs_changed(a, 1, ledger=CNY), TERMS),
    "another corridor's version": (
        lambda a: for_terms(a, structs.replace(SwapTerms.decode(a.terms), corridors=tuple(
            replace(each, version=9) for each in SwapTerms.decode(a.terms).corridors))), DIFFER),
    "no corridor": (lambda a: for_terms(a, structs.replace(SwapTerms.decode(a.terms), corridors=())), DIFFER),
    "a quote too many behind": (lambda a: changed(a, onward_quotes=[a.quote]), DIFFER),
    "quotes without number behind": (lambda a: changed(a, onward_quotes=[a.quote] * 50), "quote_malformed"),
    "no quote behind": (lambda a: changed(a, onward_quotes=[b"x"]), "quote_malformed"),
    "a premium cut off": (lambda a: changed(a, premium_record=a.premium_record[:-1]), DIFFER),
    "a smaller premium": (lambda a: premium_changed(a, amount=1), DIFFER),
    "a premium to another": (lambda a: premium_changed(a, credit_account=account(SECOND, CNY)), DIFFER),
    "a premium of another id": (lambda a: premium_changed(a, id=3), DIFFER),
    "a premium that is not paid": (lambda a: premium_changed(a, expires_at=1), "leg_not_final"),
    "no premium": (lambda a: changed(a, premium_record=b""), "premium_owed"),
}  # fmt: skip


@pytest.mark.parametrize("premium", [False, True])
def test_what_is_not_exactly_agreed_is_refused_and_changes_nothing(tmp_path, premium) -> None:
    """Each with its code; afterwards the honest question is accepted as if none of them had come."""

    async def body(world: World) -> None:
        asked = await captured(world, premium=premium)
        accepting = world.accepting[FIRST]
        before, wrong = standing(world), []
        for name, (make, code) in HOSTILE.items():
            if not premium and "premium" in name:
                continue
            (answer,) = await accepting.accept([make(asked)], PAYER)
            # Other terms owe another premium: that is found first.
            if answer.refusal.name not in {code, DIFFER if premium else code} or answer.lock_record:
                wrong.append((name, answer.refusal.name, answer.refusal.text))
            assert standing(world) == before, name
        assert wrong == [], "\n".join(map(str, wrong))
        (answer,) = await accepting.accept([asked], SECOND)
        assert answer.refusal.name == "not_your_swap"
        assert standing(world) == before
        same = await asyncio.gather(*(accepting.accept([asked] * 40, PAYER) for _ in range(5)), world.run())
        assert len({each.lock_record for answers in same[:5] for each in answers}) == 1
        engine = world.engines[FIRST]
        assert engine.book.counts[Outcome.SETTLED] + len(engine.book) == 1
        assert len(world.desks[FIRST].desk.book.draws) <= 1

    play(tmp_path, body, hops(premium_volatility_ppb=900_000_000 if premium else 0))


def test_one_quote_is_not_drawn_twice_at_once(tmp_path) -> None:
    """Two swaps that together want more than a quote's total, asked in one call and in two at the same time."""

    async def body(world: World) -> None:
        quotes = world.quotes(12_000)
        await world.engines[FIRST].committed()
        bridge = world.bridge()
        for number in range(4):
            order = structs.replace(world.order(5_000, uetr=bytes([number]) * 16), quotes=quotes)
            bridge.begin(order)
        await world.run()
        book, quote = world.desks[FIRST].desk.book, SignedQuote.decode(quotes[0]).quote
        check_invariants(book)
        assert book.quotes[quote.id].left == 2_000
        engine = world.engines[FIRST]
        assert engine.book.counts[Outcome.SETTLED] == 2
        assert world.balances[HKD, account(PAYEE, HKD)] == 2 * quote.delivers(5_000)

    play(tmp_path, body)


@pytest.mark.parametrize("function", [HashFunction.SHA256, HashFunction.SM3])
def test_a_hash_serves_one_swap_of_a_provider(tmp_path, function) -> None:
    """Also where the second comes while the first runs, has other terms and all that it needs."""

    async def body(world: World) -> None:
        asked = await captured(world)
        terms = SwapTerms.decode(asked.terms)
        again = for_terms(asked, structs.replace(terms, uetr=b"u" * 16))
        other = for_terms(asked, structs.replace(terms, uetr=b"v" * 16, hash_function=function))
        (first,) = (await asyncio.gather(world.accepting[FIRST].accept([asked], PAYER), world.run()))[0]
        assert first.lock_record
        before = standing(world)
        for each in (again, other):
            (answer,) = await world.accepting[FIRST].accept([each], PAYER)
            assert answer.refusal.name in {"hash_reused", "already_revealed"}, answer
            assert standing(world) == before

    play(tmp_path, body)


def test_a_provider_whose_answer_is_not_the_agreed_lock_is_not_believed(tmp_path) -> None:
    """An altered record, garbage, too few answers: the payer keeps his secret, and is refunded."""

    def altered(record: bytes) -> list[bytes]:
        found = Transfer.decode(record)
        return [
            replace(found, amount=found.amount - 1).encode(),
            replace(found, credit_account=account(FIRST, HKD) + 1).encode(),
            replace(found, until=found.until - 1).encode(),
            replace(found, binding=b"x" * 32).encode(),
            replace(found, ledger=THB).encode(),
            record[:-1],
            b"",
        ]

    async def body(world: World) -> None:
        honest = world.accepting[FIRST].accept
        count = 7
        for number in range(count):

            async def lying(asked, taker, number=number):
                answers = await honest(asked, taker)
                for each in answers:
                    if each.lock_record:
                        each.lock_record = altered(each.lock_record)[number]
                return answers

            world.accepting[FIRST].accept = lying
            swap = world.bridge().begin(world.order(1_000, uetr=bytes([number + 1]) * 16))
            await world.run()
            assert swap.preimage == b"" and swap.outcome is None, number
            world.end_locks(None)
            world.time_passes(90)
            await world.run()
            assert swap.outcome is Outcome.REFUNDED, number
        assert world.balances[CNY, account(PAYER, CNY)] == 10**12
        assert world.balances[HKD, account(FIRST, HKD)] == 10**12

    play(tmp_path, body)


def test_whatever_is_asked_of_a_desk_is_a_quote_or_a_refusal(tmp_path) -> None:
    """Amounts at every bound, takers, timelocks and ledgers that are none: nothing else is raised, nothing is kept."""
    near = [each + by for each in (1, 10**15, 10**16, 2**64, 2**127, U128_MAX - 1) for by in (-1, 0, 1)]

    async def body(world: World) -> None:
        desk, found = world.desks[FIRST], set()
        before = desk.desk.book.promised.copy()
        for amount, taker, lock_s, pair in itertools.product(
            near, (0, PAYER, FIRST, 2**32 - 1), (0, 1, 60, 61, 2**32 - 1), ((CNY, HKD), (HKD, CNY), (CNY, CNY), (9, 0))
        ):
            try:
                quote = desk.quote(QuoteRequest(taker, amount, lock_s % 2 == 0, lock_s), *pair, world.now).quote
            except BridgeRefused as error:
                found.add(error.code)
            else:
                assert quote.lock_s == lock_s and quote.taker == taker
                desk.release(quote.expires_at)
        assert {BridgeCode.QUOTE_NOT_FOR_TAKER, BridgeCode.CORRIDOR_LIMIT_EXCEEDED, BridgeCode.TERMS_MALFORMED} <= found
        assert {key: value for key, value in desk.desk.book.promised.items() if value} == before
        check_invariants(desk.desk.book)

    play(tmp_path, body)
