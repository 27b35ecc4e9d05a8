"""Swaps with a chain through whole bridges (SWAP-11, -12, -15, -16, -21, -24; LEG-8): both ways, killed, refused."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import msgspec
import pytest
from msgspec import structs
from prometheus_client import generate_latest

from bridge.foreign_asset import ForeignAccount
from bridge.leg import HashFunction, LegCode, LegRefused
from bridge.memory_chain import LockWish
from bridge.ports import Lock, Look, Outcome
from bridge.rates import Rate
from bridge.refusals import BridgeCode, SwapTooShort
from bridge.terms import LegTerms, SwapTerms, account_text, seal_terms
from clearspan.bridging.chains.opening import demand_served
from clearspan.bridging.chains.served import Chains
from clearspan.bridging.journal.views import stored_swap, swap_view
from clearspan.bridging.serving.metrics import BridgeMetrics
from clearspan.bridging.swaps.accepting import _demand_plain
from clearspan.errors import ConfigError
from clearspan.v1 import bridge_pb2
from tests.behaviour.bridge_chain_world import CHAIN, FINALITY, NAMES, STRANGER, asset, corridors, play
from tests.behaviour.bridge_papers import CNY, FIRST, HKD, NOW, PAYER, S, account, quote
from tests.behaviour.bridging_world import PAYEE, refused

DIRECTIONS = pytest.mark.parametrize("foreign_first", [True, False], ids=["from_the_chain", "to_the_chain"])


def settled(world, *, foreign_first: bool) -> None:
    assert world.outcomes() == {PAYER: "SETTLED", FIRST: "SETTLED"}, lines(world)
    if foreign_first:
        assert world.balances[CNY, account(PAYEE, CNY)] == 1_000
        assert world.chain.balance(NAMES[FIRST]) == 10**12 + 1_000_000
    else:
        assert world.balances[CNY, account(FIRST, CNY)] == 10**12 + 1_000
        assert world.chain.balance("a-payee") == 1_097_000


def untouched(world) -> None:
    """Nobody has paid anybody."""
    assert all(world.chain.balance(name) == 10**12 for name in NAMES.values())
    assert not world.locks and world.balances[CNY, account(PAYER, CNY)] == 10**12


def lines(world) -> list:
    return [
        (participant, [tuple(each) for each in swap.timeline])
        for participant, engine in world.engines.items()
        for swap in (*engine.book, *engine.book.recently_ended())
    ]


def words(world, participant: int) -> list[str]:
    return [what for who, moments in lines(world) if who == participant for _, what, _ in moments]


@DIRECTIONS
def test_a_swap_with_a_chain_settles_and_says_so(tmp_path, foreign_first: bool) -> None:
    """Both legs are claimed, by the relay's reveal and the chain's claim, and the timeline tells of both."""

    async def body(world) -> None:
        begun = world.bridge().begin(world.order(foreign_first=foreign_first))
        await world.play()
        settled(world, foreign_first=foreign_first)
        said = words(world, PAYER)
        assert said.index("begun") < said.index("asking") < said.index("revealing") < said.index("settled")
        assert {"leg_seen", "leg_final", "leg_claimed"} <= set(said)
        view = swap_view(begun, whole=True)
        far = view.legs[0 if foreign_first else 1]
        assert (far.chain, far.state) == (CHAIN, "claimed")
        assert far.credit_name == (NAMES[FIRST] if foreign_first else "a-payee")
        engine = world.engines[PAYER]
        assert [leg.state for leg in stored_swap(engine.store, begun.party, engine.book).legs] == ["claimed"] * 2
        (line,) = world.bridge().status("test").chains
        assert (line.name, line.account, line.fault) == (CHAIN, NAMES[PAYER], "")
        assert line.height == world.chain.clock().height
        metrics = BridgeMetrics()
        metrics.watch(engine)
        figures = generate_latest(metrics.registry).decode()
        assert f'clearspan_bridge_chain_height{{chain="{CHAIN}"}} {float(line.height)}' in figures
        assert f'clearspan_bridge_chain_head_timestamp_seconds{{chain="{CHAIN}"}} ' in figures

    play(tmp_path, body)


@DIRECTIONS
def test_a_provider_that_never_locks_costs_the_payer_time_only(tmp_path, foreign_first: bool) -> None:
    """The provider is gone when it is asked: each lock comes back, and the secret is shown nowhere."""

    async def body(world) -> None:
        order = world.order(foreign_first=foreign_first)
        await world.close(FIRST)
        world.bridge().begin(order)
        await world.play()
        assert world.outcomes() == {PAYER: "REFUNDED"}, lines(world)
        assert "revealing" not in words(world, PAYER) and not world.past
        untouched(world)

    play(tmp_path, body)


@DIRECTIONS
def test_a_payer_that_never_reveals_costs_the_provider_time_only(tmp_path, foreign_first: bool) -> None:
    """The payer dies before the reveal and comes back when all is over: both locks have come back."""

    async def body(world) -> None:
        world.dead_at[PAYER] = ("written", "asking")
        await world.close(PAYER)
        world.open(PAYER)
        await world.step()
        order = world.order(foreign_first=foreign_first)
        world.bridge().begin(order)
        await world.play(dead_steps=40, steps=60)
        assert set(world.outcomes().values()) <= {"REFUNDED", "ABANDONED"}, lines(world)
        assert world.outcomes()[PAYER] == "REFUNDED"
        untouched(world)

    play(tmp_path, body)


DEATHS = [
    ("begun", "accepted"),
    ("locking", "locking"),
    ("asking", "learned"),
    ("revealing", "claiming"),
    ("finished", "finished"),
]


@DIRECTIONS
@pytest.mark.parametrize("stage", ["written", pytest.param("acted", marks=pytest.mark.nightly)])
@pytest.mark.parametrize("deaths", DEATHS, ids=["-".join(each) for each in DEATHS])
def test_both_sides_killed_at_a_step_end_the_same_way(tmp_path, foreign_first: bool, stage: str, deaths) -> None:
    """Each side ends at its step of the journal and comes back within the failover: both legs or none."""

    async def body(world) -> None:
        for participant, kind in zip((PAYER, FIRST), deaths, strict=True):
            world.dead_at[participant] = (stage, kind)
            await world.close(participant)
            world.open(participant)
        await world.step()
        world.bridge().begin(world.order(foreign_first=foreign_first))
        await world.play(dead_steps=1)
        assert world.killed == {PAYER, FIRST}
        # What had ended when its side died is told by the journal alone.
        world.bridge()
        known = {
            participant: stored_swap(engine.store, party, engine.book).outcome
            for participant, engine in world.engines.items()
            for party in engine.store.newest(1)[0]
        }
        assert known == {PAYER: Outcome.SETTLED, FIRST: Outcome.SETTLED}, lines(world)
        paid = world.balances.get((CNY, account(PAYEE, CNY)), 0), world.chain.balance("a-payee")
        assert paid == ((1_000, 0) if foreign_first else (0, 1_097_000))

    play(tmp_path, body)


@DIRECTIONS
def test_blocks_that_are_taken_back_change_no_end(tmp_path, foreign_first: bool) -> None:
    """Every third second the chain loses what is not final yet; wishes are sent again until they are final."""

    async def body(world) -> None:
        world.bridge().begin(world.order(foreign_first=foreign_first))
        for second in range(60):
            await world.step()
            if second % 3 == 2:
                world.chain.reorganise(FINALITY - 1, forget=True)
            if not any(len(engine.book) for engine in world.engines.values()):
                break
        settled(world, foreign_first=foreign_first)

    play(tmp_path, body)


def test_a_strangers_lock_under_our_id_is_not_taken_for_ours(tmp_path) -> None:
    """Whoever reads the lock's id may lock under it first; what is expected is found all the same."""

    async def body(world) -> None:
        begun = world.bridge().begin(world.order(foreign_first=True))
        world.chain.submit(LockWish(structs.replace(begun.orders[0], payer=STRANGER, amount=1)))
        await world.play()
        settled(world, foreign_first=True)

    play(tmp_path, body)


def test_an_alarm_calls_at_half_the_margin_and_the_claim_still_comes(tmp_path) -> None:
    """The chain stands still after the reveal until the alarm: somebody is called, and nothing is lost."""

    async def body(world) -> None:
        world.bridge().begin(world.order(foreign_first=False))
        while "revealing" not in words(world, PAYER):
            await world.step()
        world.chain.stall()
        for _ in range(60):
            await world.step()
            if any("half_margin" in each for each in alarms(world, PAYER)):
                break
        else:
            pytest.fail("nobody was called")
        world.chain.resume()
        await world.play()
        settled(world, foreign_first=False)

    play(tmp_path, body)


def alarms(world, participant: int) -> list[str]:
    return [what for what in words(world, participant) if "margin" in what]


# Refused before anything is locked.


def test_a_chain_that_is_silent_or_stands_still_begins_no_swap(tmp_path) -> None:
    """FOREIGN_CHAIN_UNAVAILABLE says which: it does not answer, its newest block is old, it is served nowhere."""

    async def body(world) -> None:
        order = world.order(foreign_first=False)
        world.ports[PAYER].reachable = False
        for _ in range(12):
            world.now += S
            await world.settle()
        error = refused(BridgeCode.FOREIGN_CHAIN_UNAVAILABLE, world.bridge().begin, order)
        assert "does not answer" in error.text
        world.ports[PAYER].reachable = True
        world.now += 70 * S
        order = world.order(foreign_first=False)
        await world.settle()
        await world.settle()
        error = refused(BridgeCode.FOREIGN_CHAIN_UNAVAILABLE, world.bridge().begin, order)
        assert "s old" in error.text
        world.engines[PAYER].chains = Chains()
        await world.step()
        order = world.order(foreign_first=False)
        error = refused(BridgeCode.FOREIGN_CHAIN_UNAVAILABLE, world.bridge().begin, order)
        assert "serves no chain" in error.text
        untouched(world)

    play(tmp_path, body)


def test_a_swap_that_is_too_short_is_refused_by_how_much(tmp_path) -> None:
    """The corridor's parts add up to 28 s until the first timelock; of 20 s 8 are missing, and the refusal says so."""

    async def body(world) -> None:
        order = world.order(foreign_first=False, lock_s=20)
        error = refused(BridgeCode.SWAP_TOO_SHORT, world.bridge().begin, order)
        assert isinstance(error, SwapTooShort) and error.needed_ns == 28 * S and 7 * S < error.short_by_ns <= 9 * S
        untouched(world)

    play(tmp_path, body)


def test_what_a_chain_cannot_do_is_refused(tmp_path) -> None:
    """SM3 where the chain has SHA-256 only; an end on the chain without a payee."""

    async def body(world) -> None:
        order = world.order(foreign_first=False, hash_function=HashFunction.SM3)
        refused(BridgeCode.HASH_FUNCTION_UNSUPPORTED, world.bridge().begin, order)
        order = structs.replace(world.order(foreign_first=False), chain_account="")
        refused(BridgeCode.TERMS_MALFORMED, world.bridge().begin, order)
        order = structs.replace(world.order(foreign_first=False), debit_account=0)
        refused(BridgeCode.TERMS_MALFORMED, world.bridge().begin, order)
        untouched(world)

    play(tmp_path, body, documents=corridors(hash_functions=("sha256", "sm3")))


def test_a_provider_is_paid_only_where_the_corridor_says(tmp_path) -> None:
    """A quote that is signed for another account on the chain than the corridor names is not planned with."""

    async def body(world) -> None:
        other = asset(providers=(ForeignAccount(FIRST, "another-account"),))
        order = world.order(foreign_first=True)
        book = world.engines[PAYER].corridors.book
        for identity, versions in book._versions.items():
            book._versions[identity] = [(at, msgspec.structs.replace(each, foreign=other)) for at, each in versions]
        refused(BridgeCode.LEGS_DO_NOT_MATCH, world.bridge().begin, order)

    play(tmp_path, body)


def test_a_lock_that_the_account_cannot_pay_is_refused_at_once(tmp_path) -> None:
    """And not found out by its timelock."""

    async def body(world) -> None:
        async def little() -> int:
            return 999_999

        world.ports[PAYER].balance = little
        await asyncio.sleep(0.05)
        error = refused(BridgeCode.LOCK_REFUSED, world.bridge().begin, world.order(foreign_first=True))
        assert "holds 999999, the lock takes 1000000" in error.text
        untouched(world)

    play(tmp_path, body)


def test_a_claim_waits_behind_no_look(tmp_path) -> None:
    """Many looks hang at a node that answers none of them; what is to be done is done all the same."""

    async def body(world) -> None:
        port, chains = world.ports[PAYER], world.engines[PAYER].chains
        locked = []

        async def hang(lock_id) -> None:
            await asyncio.Event().wait()

        async def lock(order) -> None:
            locked.append(order)

        port.find, port.lock = hang, lock
        terms = world.bridge().planner.seal(world.order(foreign_first=True), world.now).terms
        orders = terms.orders(1)
        for number in range(100):
            chains.do(bytes([number]) * 32, terms, orders, Look(0, orders[0]))
        chains.do(bytes(32), terms, orders, Lock(0, orders[0], world.now))
        await asyncio.sleep(0.02)
        assert locked == [orders[0]]

    play(tmp_path, body)


def test_what_a_chain_refuses_stands_in_the_timeline_once_and_is_tried_again(tmp_path) -> None:
    """The chain asks for more than the cap for a while: the timeline says so, and the swap goes on when it may."""

    async def body(world) -> None:
        port = world.ports[PAYER]

        async def too_dear(order) -> None:
            raise LegRefused(LegCode.FEE_CAP, "the chain asks 9 wei for a unit of gas, the cap is 8")

        lock, port.lock = port.lock, too_dear
        world.bridge().begin(world.order(foreign_first=True))
        for _ in range(8):
            await world.step()
        assert words(world, PAYER).count("chain_fee_cap") == 1
        port.lock = lock
        await world.play()
        settled(world, foreign_first=True)

    play(tmp_path, body)


# A provider and what it is asked.


def sealed_terms(world, *, foreign_first: bool, **changes):
    """Terms as the payer would make them, changed, with a secret of their own; the quote that they stand on."""
    order = world.order(foreign_first=foreign_first)
    sealed = world.bridge().planner.seal(order, world.now)
    legs = list(sealed.terms.legs)
    for at, fields in changes.pop("legs", {}).items():
        legs[at] = structs.replace(legs[at], **fields)
    terms, secret = seal_terms(structs.replace(sealed.terms, legs=tuple(legs), **changes), sealed.salt, 1)
    return terms, secret, order.quotes[0]


async def asked(world, terms, quote: bytes) -> bridge_pb2.AcceptAnswer:
    """Ask the provider for leg 1; of a leg before on a ledger of ours with the record that locks it."""
    record = b""
    if not terms.legs[0].foreign:
        record = terms.lock_record(0, 1, key_id=7, now_ns=world.now, window_s=60).encode()
    acceptance = bridge_pb2.Acceptance(terms=terms.encode(), leg=1, quote=quote, lock_record=record)
    (answer,) = await world.accepting[FIRST].accept([acceptance], PAYER)
    return answer


ALTERED = [
    ({"legs": {0: {"asset": "another"}}}, "legs_do_not_match"),
    ({"legs": {0: {"credit_account": "another-account"}}}, "legs_do_not_match"),
    ({"legs": {1: {"amount": 1_001}}}, "legs_do_not_match"),
    ({"legs": {0: {"timelock_ns": 1_790_000_060 * S}}}, "margin_too_small"),
    ({"network": bytes(32)}, "terms_malformed"),
]


@pytest.mark.parametrize(("changes", "name"), ALTERED)
def test_a_provider_refuses_terms_that_are_not_its_quotes(tmp_path, changes, name) -> None:
    """Asset, payee, amount, margin, network: each is looked at before anything is written or drawn."""

    async def body(world) -> None:
        terms, _, quote = sealed_terms(world, foreign_first=True, **changes)
        answer = await asked(world, terms, quote)
        assert answer.refusal.name == name, answer
        engine = world.engines[FIRST]
        assert not len(engine.book) and not world.desks[FIRST].desk.book.draws
        assert not engine.store.newest(10)[0]

    play(tmp_path, body)


def test_a_provider_refuses_a_secret_that_the_relay_has_revealed(tmp_path) -> None:
    """Whoever knows it would take the lock on the chain, and the relay reveals it for our leg no more (SWAP-12)."""

    async def body(world) -> None:
        terms, secret, quote = sealed_terms(world, foreign_first=True)
        world.past.append(secret)
        await world.settle()
        await world.close(FIRST)
        world.open(FIRST)
        await world.step()
        desk = world.desks[FIRST].desk
        assert quote[:16] in {each.to_bytes(16, "little") for each in desk.book.quotes}
        answer = await asked(world, terms, quote)
        assert answer.refusal.name == "already_revealed"

    play(tmp_path, body)


LEFT_OVER = [
    ({"legs": {1: {"amount": 1_096_999}}}, "left over"),
    ({"legs": {1: {"debit_account": "another-account"}}}, "are not what quote"),
    ({"legs": {1: {"chain": "another"}}}, "not about"),
]


@pytest.mark.parametrize(("changes", "said"), LEFT_OVER)
def test_a_provider_locks_on_a_chain_exactly_what_its_quote_gives(tmp_path, changes, said) -> None:
    """Nothing can be given back beside the lock there, and its account and chain are the corridor's."""

    async def body(world) -> None:
        terms, _, quote = sealed_terms(world, foreign_first=False, **changes)
        answer = await asked(world, terms, quote)
        assert (answer.refusal.name, said in answer.refusal.text) == ("legs_do_not_match", True), answer.refusal.text
        assert not world.desks[FIRST].desk.book.draws

    play(tmp_path, body)


def test_a_provider_accepts_nothing_while_its_chain_is_silent(tmp_path) -> None:
    """The answer says to ask again: nothing is drawn, and when the chain speaks the same swap is taken and settles."""

    async def body(world) -> None:
        world.ports[FIRST].reachable = False
        for _ in range(11):
            await world.step()
        world.bridge().begin(world.order(foreign_first=True))
        terms = next(iter(world.engines[PAYER].book)).terms
        for _ in range(8):
            await world.step()
        assert not world.desks[FIRST].desk.book.draws and not len(world.engines[FIRST].book)
        answer = await asked(world, terms, next(iter(world.engines[PAYER].book)).quotes[0])
        assert answer.refusal.name == "foreign_chain_unavailable"
        world.ports[FIRST].reachable = True
        await world.play()
        settled(world, foreign_first=True)

    play(tmp_path, body)


def test_a_provider_accepts_no_lock_that_its_key_cannot_make(tmp_path) -> None:
    """The corridor and the quote name an account of which the bridge's file of chains has another key."""

    async def body(world) -> None:
        terms, _, quote_bytes = sealed_terms(world, foreign_first=False)
        world.ports[FIRST].address = "another-account"
        answer = await asked(world, terms, quote_bytes)
        assert answer.refusal.name == "legs_do_not_match" and "acts for another-account" in answer.refusal.text

    play(tmp_path, body)


def test_a_swap_with_a_chain_and_three_legs_is_refused() -> None:
    """Who is in the middle would lock for longer than granted."""
    away = LegTerms(0, "a", "b", 7, NOW + 60 * S, chain=CHAIN)
    home = LegTerms(CNY, account_text(1), account_text(2), 7, NOW + 60 * S)
    terms = SwapTerms(bytes(16), bytes(32), (away, home), HashFunction.SHA256, bytes(32), NOW)
    made = quote(rate=Rate.of(1, 1))
    _demand_plain(terms, 1, made)
    longer = structs.replace(terms, legs=(away, home, structs.replace(home, ledger=HKD)))
    refused(BridgeCode.LEG_ORDER_UNSAFE, _demand_plain, longer, 1, made)


def test_a_payer_believes_no_half_answer(tmp_path) -> None:
    """For a leg on a chain the answer is yes or no; a lock record, or nothing at all, is the provider's refusal."""

    async def body(world) -> None:
        world.bridge().begin(world.order(foreign_first=False))
        answers = []

        async def accept(provider: int, wanted):
            answers.append(len(wanted))
            return [bridge_pb2.AcceptAnswer(lock_record=bytes(160), accepted=True) for _ in wanted]

        world.engines[PAYER]._asking._peers.accept = accept
        await world.play()
        assert answers and "leg_accepted" not in words(world, PAYER)
        assert world.outcomes()[PAYER] == "REFUNDED"

    play(tmp_path, body)


def test_a_bridge_does_not_start_without_the_chain_of_a_swap_that_runs(tmp_path) -> None:
    """Its settings lack the chain: nobody would look after the money there."""

    async def body(world) -> None:
        world.bridge().begin(world.order(foreign_first=True))
        machines = tuple(world.engines[PAYER].watcher.machines())
        demand_served(world.engines[PAYER].chains, machines)
        with pytest.raises(ConfigError, match=CHAIN):
            demand_served(Chains(), machines)
        assert demand_served(Chains(), [SimpleNamespace(terms=SimpleNamespace(legs=()))]) is None

    play(tmp_path, body)
