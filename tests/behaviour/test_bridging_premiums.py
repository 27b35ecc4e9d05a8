"""Premiums of routes (QUOTE-21, QUOTE-22, QUOTE-31 to -33): paid before a lock, for one swap, kept or given back."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from msgspec import structs

from bridge.desk import QuoteRequest
from bridge.fees import FeeRule
from bridge.ports import Outcome
from bridge.quotes import SignedQuote
from bridge.refusals import BridgeCode
from clearspan.bridging.lines.beside import Due, beside_id, premium_in
from clearspan.v1 import bridge_pb2
from engine.record import Transfer
from engine.types import TransferKind
from native.codes import ResultCode
from tests.behaviour.bridge_papers import CNY, FIRST, HKD, NOW, PAYER, SECOND, THB, THIRD, USD, S, account, document
from tests.behaviour.bridging_world import LEDGERS, PAIRS, PAYEE, World, play

VOLATILE = 900_000_000


@pytest.fixture(autouse=True)
def impatient(monkeypatch) -> None:
    """A provider waits for a premium only a moment before he answers that it is not final."""
    monkeypatch.setattr("clearspan.bridging.swaps.accepting._PREMIUM_WAIT_S", 0.01)


def corridors(hops: int, **changes):
    """Return priced corridors of a route, each but the first with a fee."""
    found = []
    for number, pair in enumerate(((CNY, HKD), (HKD, THB), (THB, USD))[:hops]):
        fee = FeeRule("clearing", f"{account(91, pair[0]):032x}", "3", 500 * number, "0", "1000")
        found.append(document(*pair, premium_volatility_ppb=VOLATILE, fees=(fee,), **changes))
    return tuple(found)


def order_of(world: World, amount: int, hops: int = 1):
    """An order over firm quotes with room for it."""
    wanted = QuoteRequest(PAYER, 60_000, False, 58)
    signed = [world.desks[each].quote(wanted, *pair, world.now) for each, pair in tuple(PAIRS.items())[:hops]]
    return structs.replace(world.order(amount, hops=hops), quotes=tuple(each.encode() for each in signed))


async def go(world: World, seconds: int = 18) -> None:
    """Let everything happen that happens by itself in so many seconds."""
    for _ in range(seconds // 3):
        for _ in range(30):
            await world.run_once()
        world.time_passes(3)
    await world.run_once()


def premiums(world: World) -> list[Transfer]:
    """The plain transfers that pay or give back a premium, in order."""
    return [each for each in world.plain if each.credit_account >> 96 in (PAYER, FIRST, SECOND, THIRD)]


def answers(world: World, provider: int) -> list[bridge_pb2.AcceptAnswer]:
    """Collect what a provider answers from now on."""
    found: list[bridge_pb2.AcceptAnswer] = []
    accepting = world.accepting[provider]

    async def accept(asked, taker, real=accepting.accept):
        made = await real(asked, taker)
        found.extend(made)
        return made

    accepting.accept = accept
    return found


def conserved(world: World) -> None:
    held = dict.fromkeys(LEDGERS, 0)
    for (ledger, _), value in world.balances.items():
        held[ledger] += value
    for lock in world.locks.values():
        held[lock.ledger] += lock.amount
    assert held == world.total


def test_the_money_of_three_hops(tmp_path) -> None:
    """Each provider is paid his premium before he locks, from the one before, and each ledger's sum stands."""

    async def body(world) -> None:
        bridge, order = world.bridge(), order_of(world, 30_007, hops=3)
        plan = bridge.planner.seal(order, world.now).plan
        planned = [each for each in plan.transfers if each.purpose.value == "premium"]
        assert [each.ledger for each in planned] == [CNY, HKD, THB]
        assert [each.credit_account >> 96 for each in planned] == [FIRST, SECOND, THIRD]
        locked_before: dict[int, bool] = {}
        submit = World.submit

        def watched(line, digest, record):
            transfer = Transfer.decode(record)
            if transfer.kind != TransferKind.LOCK and transfer.credit_account >> 96 in (FIRST, SECOND, THIRD):
                locked_before[transfer.ledger] = any(
                    each.ledger == transfer.ledger + 1 for each in world.locks.values()
                )
            submit(world, line, digest, record)

        world.submit = watched
        swap = bridge.begin(order)
        await go(world)
        assert swap.outcome is Outcome.SETTLED, [moment.text for moment in swap.timeline]
        assert locked_before == {CNY: False, HKD: False, THB: False}
        made = sorted((each.ledger, each.debit_account, each.credit_account, each.amount) for each in world.plain)
        assert made == sorted(
            (each.ledger, each.debit_account, each.credit_account, each.amount) for each in plan.transfers
        )
        assert 10**12 - world.balances[CNY, account(PAYER, CNY)] == plan.sent == 30_007
        assert world.balances[USD, account(PAYEE, USD)] == plan.received
        conserved(world)
        for provider, source, target in ((FIRST, CNY, HKD), (SECOND, HKD, THB), (THIRD, THB, USD)):
            desk = world.desks[provider].desk
            assert not desk.book.draws and len(world.engines[provider].premiums) == 0
            # What the desk thinks it holds is what it holds, but for its own share of premiums, which it counts as none.
            assert world.balances[target, account(provider, target)] - 10**12 == desk.inventory(target) - 10**12
            assert world.balances[source, account(provider, source)] >= desk.inventory(source) - 10**12

    play(tmp_path, body, corridors(3))


@pytest.mark.parametrize("hops", [1, 2, 3])
@pytest.mark.parametrize("is_target", [False, True])
def test_quotes_that_are_asked_for_have_room_for_fees_and_premiums(tmp_path, hops: int, is_target: bool) -> None:
    """Found hop by hop, forward or backward, the quotes carry the plan to the unit, and its swap settles."""

    async def body(world) -> None:
        async def quotes(request, providers):
            found = {}
            for each in providers:
                if PAIRS[each] == (request.source_ledger, request.target_ledger):
                    wanted = QuoteRequest(PAYER, int.from_bytes(request.amount, "little"), is_target, request.lock_s)
                    signed = world.desks[each].quote(wanted, *PAIRS[each], world.now)
                    found[each] = bridge_pb2.QuoteReply(signed_quote=signed.encode())
            return found

        known = tuple(SimpleNamespace(participant=each, provides=True) for each in tuple(PAIRS)[:hops])
        bridge = world.bridge()
        bridge.planner._peers = SimpleNamespace(quotes=quotes, directory=SimpleNamespace(entries=known))
        order = structs.replace(world.order(20_011, hops=hops), quotes=(), is_target=is_target, lock_s=58)
        find = bridge.planner.find
        plan, signed = await find(order, CNY, LEDGERS[hops], hops_max=3, providers=(), now=world.now)
        assert len(signed) == hops and (plan.received if is_target else plan.sent) == 20_011
        swap = bridge.begin(structs.replace(order, quotes=signed))
        await go(world)
        assert swap.outcome is Outcome.SETTLED
        assert (world.balances[LEDGERS[hops], account(PAYEE, LEDGERS[hops])]) == plan.received
        conserved(world)

    play(tmp_path, body, corridors(hops))


@pytest.mark.parametrize("fate", ["unpaid", "never final", "other amount", "other swap's"])
def test_a_provider_behind_the_first_locks_for_no_premium_that_is_not_his(tmp_path, fate: str) -> None:
    """Not planned, not final, too little, or paid for another swap under the same UETR: he accepts nothing."""

    async def body(world) -> None:
        said = answers(world, SECOND)
        first, submit = world.engines[FIRST], World.submit
        if fate == "unpaid":
            world.engines[FIRST].beside.start = lambda *_: []
        elif fate == "never final":

            def lost(line, digest, record):
                transfer = Transfer.decode(record)
                if transfer.kind == TransferKind.LOCK or transfer.ledger != HKD:
                    submit(world, line, digest, record)

            world.submit = lost
        else:
            real = first.beside.start
            change = {"amount": 1} if fate == "other amount" else {"id": 4711}

            def start(party, due, now):
                made = real(party, due, now)
                return [replace(Transfer.decode(each), **change).encode() for each in made] if due is Due.PAID else made

            first.beside.start = start
        swap = world.bridge().begin(order_of(world, 20_011, hops=2))
        await go(world)
        codes = {answer.refusal.code for answer in said}
        wanted = {"unpaid": BridgeCode.PREMIUM_OWED, "never final": BridgeCode.LEG_NOT_FINAL}
        assert wanted.get(fate, BridgeCode.LEGS_DO_NOT_MATCH) in codes and codes <= {*wanted.values(), 322}
        assert not world.engines[SECOND].book and world.balances[THB, account(SECOND, THB)] == 10**12
        world.end_locks(None)
        world.time_passes(90)
        await go(world)
        assert swap.outcome is Outcome.REFUNDED
        conserved(world)

    play(tmp_path, body, corridors(2))


def test_nobody_pays_for_an_option_that_is_refused(tmp_path) -> None:
    """A provider asks for the premium last: what he would refuse costs the payer nothing."""

    async def body(world) -> None:
        order = order_of(world, 20_011)
        (data,) = order.quotes
        quote = SignedQuote.decode(data).quote
        world.desks[FIRST].desk.withdraw(quote.id)
        swap = world.bridge().begin(order)
        await go(world)
        assert any("quote_unknown" in moment.text or "quote " in moment.text for moment in swap.timeline)
        assert world.plain == []

    play(tmp_path, body, corridors(1))


def test_nobody_pays_a_provider_that_has_no_room(tmp_path) -> None:
    """Room, time, hash and lines are asked before the premium is: a refusal that may pass costs nothing either."""

    async def body(world) -> None:
        world.engines[FIRST].book._swaps_max = 0
        found = answers(world, FIRST)
        world.bridge().begin(order_of(world, 20_011))
        await go(world)
        assert {each.refusal.name for each in found} == {"limits_exceeded"}
        assert world.plain == []

    play(tmp_path, body, corridors(1))


def test_a_premium_pays_for_one_swap(tmp_path) -> None:
    """A second swap under the same UETR shows the first one's record and is refused; the option is not taken twice."""

    async def body(world) -> None:
        first = world.bridge().begin(order_of(world, 20_011))
        await go(world)
        assert first.outcome is Outcome.SETTLED and len(premiums(world)) == 1
        second = world.engines[PAYER].book  # the same terms but for their instant
        terms = structs.replace(first.terms, created_at=first.terms.created_at + 1, hashlock=b"h" * 32)
        accepting = world.accepting[FIRST]
        leg = terms.lock_record(0, 1, key_id=7, now_ns=world.now, window_s=60, swap=terms.digest(1))
        asked = bridge_pb2.Acceptance(
            terms=terms.encode(), leg=1, quote=first.quotes[0], lock_record=leg.encode(), premium_record=first.premium
        )
        (answer,) = await accepting.accept([asked], PAYER)
        assert answer.refusal.code == BridgeCode.LEGS_DO_NOT_MATCH and "this swap owes" in answer.refusal.text
        assert len(second) == 0

    play(tmp_path, body, corridors(1))


def test_a_premium_that_was_final_while_its_provider_was_down_is_honoured(tmp_path) -> None:
    """It became final before the quote expired; the provider starts after that, asks for the receipt and locks."""

    async def body(world) -> None:
        world.forgetful = True
        swap = world.bridge().begin(order_of(world, 20_011))
        while not swap.premium:
            await world.run_once()
        await world.close(FIRST)
        down = answers_of_nobody(world)
        for call in tuple(world.engines[PAYER]._asking._calls[FIRST]):
            call.cancel()  # what was asked of a process that ended has no answer
        swap.asking = 0
        for _ in range(5):
            await world.run_once()
        assert len(premiums(world)) == 1 and not down
        quote = SignedQuote.decode(swap.quotes[0]).quote
        world.now = quote.expires_at + S
        assert world.now < swap.terms.legs[0].timelock_ns
        world.open(FIRST)
        await go(world)
        assert swap.outcome is Outcome.SETTLED, [moment.text for moment in swap.timeline]
        assert len(premiums(world)) == 1
        conserved(world)

    play(tmp_path, body, corridors(1, quote_s=10))


def test_a_premium_that_was_final_too_late_goes_back_once(tmp_path) -> None:
    """The quote had expired when it became final: the swap is refused for good and the premium returns, also over kills."""

    async def body(world) -> None:
        world.forgetful = True
        kept = []
        submit = World.submit

        def slow(line, digest, record):
            if Transfer.decode(record).kind == TransferKind.LOCK:
                submit(world, line, digest, record)
            else:
                kept.append((line, digest, record))

        world.submit = slow
        said = answers(world, FIRST)
        swap = world.bridge().begin(order_of(world, 20_011))
        while not kept:
            await world.run_once()
        quote = SignedQuote.decode(swap.quotes[0]).quote
        world.now = quote.expires_at + S
        world.submit = lambda *call: submit(world, *call)
        for call in kept:
            submit(world, *call)
        world.time_passes(0)
        await go(world)
        assert {each.refusal.code for each in said} >= {BridgeCode.QUOTE_EXPIRED}
        paid, back = premiums(world)
        assert (back.debit_account, back.credit_account) == (paid.credit_account, paid.debit_account)
        assert (back.amount, back.user_data, back.ledger) == (paid.amount, paid.user_data, CNY)
        # Asked again, by whomever and after a restart: no acceptance, and nothing more is sent.
        await world.close(FIRST)
        world.open(FIRST)
        asked = world.engines[PAYER]._asking._acceptance(swap, 1)
        for _ in range(2):
            (answer,) = await world.accepting[FIRST].accept([asked], PAYER)
            assert answer.refusal.code == BridgeCode.PROVIDER_REFUSED and "went back" in answer.refusal.text
            await go(world)
        assert len(premiums(world)) == 2
        world.end_locks(None)
        world.time_passes(90)
        await go(world)
        assert swap.outcome is Outcome.REFUNDED
        assert world.balances[CNY, account(PAYER, CNY)] == 10**12
        conserved(world)

    play(tmp_path, body, corridors(1, quote_s=10))


def test_a_premium_of_a_provider_that_was_down_too_long_is_asked_back(tmp_path) -> None:
    """He was asked, went away, and came back when all was over and his quote forgotten: asked again, he returns it."""

    async def body(world) -> None:
        world.forgetful = True
        swap = world.bridge().begin(order_of(world, 20_011))
        while not swap.premium:
            await world.run_once()
        await world.close(FIRST)
        answers_of_nobody(world)
        calls = world.engines[PAYER]._asking._calls
        for call in tuple(calls[FIRST]):
            call.cancel()
        swap.asking = 0
        for _ in range(5):
            await world.run_once()
        assert len(premiums(world)) == 1
        world.end_locks(None)
        world.time_passes(90)
        for _ in range(20):
            await world.run_once()
        assert swap.outcome is Outcome.REFUNDED and len(world.engines[PAYER].acting.asking_back) == 1
        world.open(FIRST)
        said = answers(world, FIRST)
        world.desks[FIRST].release(world.now)
        for _ in range(4):
            world.time_passes(31)
            for _ in range(30):
                await world.run_once()
        paid, back = premiums(world)
        assert (back.amount, back.credit_account) == (paid.amount, paid.debit_account)
        assert [each.refusal.code for each in said][-1] == BridgeCode.PROVIDER_REFUSED
        assert len(world.engines[PAYER].acting.asking_back) == 0, "nobody is asked any more"
        assert world.balances[CNY, account(PAYER, CNY)] == 10**12
        conserved(world)

    play(tmp_path, body, corridors(1, quote_s=10))


def test_a_premium_is_shown_again_by_a_payer_that_was_restarted(tmp_path) -> None:
    """It was answered, so that nothing is left to send; the record is known from what was kept of it."""

    async def body(world) -> None:
        swap = world.bridge().begin(order_of(world, 20_011, hops=2))
        while not premiums(world):
            await world.run_once()
        for _ in range(5):
            await world.run_once()
        record = swap.premium
        assert record and not world.engines[PAYER].store.beside()[2:]
        await world.close(PAYER)
        world.open(PAYER)
        (again,) = world.engines[PAYER].book
        assert again.premium == record
        await go(world)
        assert again.outcome is Outcome.SETTLED and len(premiums(world)) == 2
        conserved(world)

    play(tmp_path, body, corridors(2))


def test_a_payer_that_is_restarted_knows_the_premium_of_the_next_provider(tmp_path) -> None:
    """What the first provider showed for the second one is kept until the second is asked."""

    async def body(world) -> None:
        swap = world.bridge().begin(order_of(world, 20_011, hops=2))
        for step in range(500):
            if not swap.premiums:
                await world.run_once()
                world.time_passes(3 * (step % 40 == 39))
        shown = dict(swap.premiums)
        await world.engines[PAYER].committed()
        await world.close(PAYER)
        (again,) = world.open(PAYER).book
        assert again.premiums == shown and set(shown) == {2}
        await go(world)
        assert again.outcome is Outcome.SETTLED and len(premiums(world)) == 2
        conserved(world)

    play(tmp_path, body, corridors(2))


def test_every_kill_between_two_steps_pays_each_premium_once(tmp_path) -> None:
    """Payer and both providers are killed and started again in turn, all along a swap of two hops."""

    async def body(world) -> None:
        swap = world.bridge().begin(order_of(world, 20_011, hops=2))
        uetr = swap.terms.uetr
        await world.engines[PAYER].committed()
        for step in range(24):
            victim = (PAYER, FIRST, SECOND)[step % 3]
            await world.close(victim)
            world.open(victim)
            for _ in range(2):
                await world.run_once()
            world.time_passes(1)
        await go(world)
        payer = world.engines[PAYER]
        party = payer.store.named(uetr=uetr)
        assert payer.book.get(party) is None, "it has ended"
        assert len(premiums(world)) == 2 and len({each.id for each in world.plain}) == len(world.plain)
        assert world.balances[THB, account(PAYEE, THB)] > 0
        conserved(world)

    play(tmp_path, body, corridors(2))


def test_a_premium_onward_counts_within_the_quote(tmp_path) -> None:
    """A taker who shows a quote of his own making behind a firm one exchanges no more than the firm one's total."""

    async def body(world) -> None:
        order = world.order(10_000, hops=2)
        own, behind = (SignedQuote.decode(each) for each in order.quotes)
        greedy = replace(behind, quote=replace(behind.quote, premium=behind.quote.total_amount))
        sealed = world.bridge().planner.seal(order, world.now)
        terms = sealed.terms
        leg = terms.lock_record(0, 1, key_id=7, now_ns=world.now, window_s=60, swap=terms.digest(1))
        asked = bridge_pb2.Acceptance(
            terms=terms.encode(), leg=1, quote=own.encode(), lock_record=leg.encode(), onward_quotes=[greedy.encode()]
        )
        (answer,) = await world.accepting[FIRST].accept([asked], PAYER)
        assert answer.refusal.code == BridgeCode.QUOTE_EXHAUSTED
        huge = replace(greedy, quote=replace(greedy.quote, total_amount=2**127, premium=2**127))
        for onward, code in (
            ([], BridgeCode.LEGS_DO_NOT_MATCH),
            ([behind.encode(), behind.encode()], BridgeCode.LEGS_DO_NOT_MATCH),
            ([behind.encode()] * 3, BridgeCode.QUOTE_MALFORMED),
            ([b"noise"], BridgeCode.QUOTE_MALFORMED),
            ([own.encode()], BridgeCode.LEGS_DO_NOT_MATCH),
            ([huge.encode()], BridgeCode.QUOTE_EXHAUSTED),
            ([behind.encode()], BridgeCode.PREMIUM_OWED),
        ):
            asked.ClearField("onward_quotes")
            asked.onward_quotes.extend(onward)
            (answer,) = await world.accepting[FIRST].accept([asked], PAYER)
            assert answer.refusal.code == code, (onward, answer.refusal)
        assert (
            not world.desks[FIRST].desk.book.draws
            and not world.engines[FIRST].compliance.usage.used(document().id_bytes, PAYER)[0]
        )

    play(tmp_path, body, corridors(2))


def test_what_is_watched_for_is_bounded_and_forgotten(tmp_path, monkeypatch) -> None:
    """A payer who shows one premium after another fills no memory: the oldest goes, with its digest at the node's line."""
    monkeypatch.setattr("clearspan.bridging.market.premiums._WATCHED_MAX", 3)

    async def body(world) -> None:
        order = order_of(world, 10_000)
        terms, engine = world.bridge().planner.seal(order, world.now).terms, world.engines[FIRST]
        quotes = (SignedQuote.decode(order.quotes[0]).quote,)
        payer, paid = terms.orders(1, terms.digest(1))[0].lock_id, terms.legs[0]
        for number in range(8):
            shown = Transfer(
                id=beside_id(1, payer, 0),
                debit_account=paid.debit_id,
                credit_account=paid.credit_id,
                amount=premium_in(terms, 1, quotes),
                ledger=CNY,
                key_id=7,
                expires_at=NOW + (60 + number) * S,
                valid_for_s=60,
                user_data=int.from_bytes(terms.uetr, "big"),
            )
            found = engine.premiums.shown(terms, 1, quotes, shown.encode(), payer)
            assert found is not None and found.final_at == 0
        assert len(engine.premiums) == 3 and len(engine.legs.ports[CNY].expected) == 3

    play(tmp_path, body, corridors(1))


def test_nothing_is_returned_that_was_not_paid_to_this_provider(tmp_path) -> None:
    """A record between other people's accounts, of another shape, or noise is no premium, whatever terms name it."""

    async def body(world) -> None:
        order = order_of(world, 10_000)
        terms, engine = world.bridge().planner.seal(order, world.now).terms, world.engines[FIRST]
        payer, paid = terms.orders(1, terms.digest(1))[0].lock_id, terms.legs[0]
        good = Transfer(
            id=beside_id(1, payer, 0), debit_account=paid.debit_id, credit_account=paid.credit_id, amount=5, ledger=CNY,
            key_id=7, expires_at=NOW + 60 * S, valid_for_s=60, user_data=int.from_bytes(terms.uetr, "big"),
        )  # fmt: skip
        found = engine.premiums.paid(terms, 1, good.encode(), payer)
        assert found is not None and (found.owed, found.final_at) == (5, 0)
        foreign = structs.replace(paid, credit_account=f"{account(12, CNY):032x}")
        elsewhere = structs.replace(terms, legs=(foreign, terms.legs[1]))
        for shown, data in (
            (elsewhere, replace(good, credit_account=account(12, CNY)).encode()),
            (terms, replace(good, id=1).encode()),
            (terms, replace(good, user_data=1).encode()),
            (terms, replace(good, debit_account=account(12, CNY)).encode()),
            (terms, b"noise"),
            (terms, b""),
        ):
            assert engine.premiums.paid(shown, 1, data, payer) is None

    play(tmp_path, body, corridors(1))


def test_a_premium_between_two_shards_is_final_when_it_has_arrived(tmp_path) -> None:
    """In transit it may still come back; what was refused, is held, or came back pays nothing."""

    async def body(world) -> None:
        engine = world.engines[FIRST]
        domain, name = CNY, b"n" * 32
        for code, counts in (
            (ResultCode.HELD, False),
            (ResultCode.INSUFFICIENT_FUNDS, False),
            (ResultCode.CREATED_IN_TRANSIT, False),
            (ResultCode.RETURNED, False),
            (ResultCode.CREDITED, True),
            (ResultCode.CREATED, True),
        ):
            engine.premiums._watch(name, domain)
            decision = SimpleNamespace(digest=name, code=code, relay_time=NOW)
            assert engine.premiums.on_final(decision) is counts
            engine.premiums._forget(name)

    play(tmp_path, body, corridors(1))


def answers_of_nobody(world: World) -> list[object]:
    """A provider that is down answers nothing."""
    asked: list[object] = []

    class Down:
        async def accept(self, asked, taker):
            return None

    world.accepting[FIRST] = Down()
    return asked
