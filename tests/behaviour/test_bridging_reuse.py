"""What is never begun (SEMANTICS 7): a hash that served, a swap that ended, a leg to which no line leads."""

from __future__ import annotations

from msgspec.structs import replace

from bridge.ports import Outcome
from bridge.refusals import BridgeCode
from bridge.terms import leg_digest
from tests.behaviour.bridge_papers import FIRST, HKD, PAYER, THB
from tests.behaviour.bridging_world import play, refused


def test_a_hash_serves_one_swap_also_after_a_restart(tmp_path) -> None:
    """The journal is asked before a machine is made: what is refused leaves no machine, no entry and no draw."""

    async def body(world) -> None:
        swap = world.bridge().begin(world.order())
        await world.run()
        assert swap.outcome is Outcome.SETTLED
        await world.close(FIRST)
        engine = world.open(FIRST)
        other = replace(swap.terms, uetr=b"z" * 16)
        lock = swap.legs[0].record, 0, 5
        for terms, code in ((other, BridgeCode.HASH_REUSED), (swap.terms, BridgeCode.DUPLICATE_SWAP)):
            before = [len(engine.store.entries_of(leg_digest(1, each.digest(1), 1))) for each in (other, swap.terms)]
            refused(code, engine.accept, terms, 1, *lock)
            await engine.committed()
            after = [len(engine.store.entries_of(leg_digest(1, each.digest(1), 1))) for each in (other, swap.terms)]
            assert (len(engine.watcher), len(engine.book), before[0]) == (0, 0, 0)
            assert before == after
        assert engine.past.party_of(other.digest(1)) is None

    play(tmp_path, body)


def test_one_provider_may_lock_two_legs_of_one_swap(tmp_path) -> None:
    """The hash is the swap's: a second leg of the same terms is no reuse, and neither is the same leg again."""

    async def body(world) -> None:
        swap = world.bridge().begin(world.order(hops=2))
        await world.run(hold_back=True)
        engine = world.engines[FIRST]
        found = engine.accept(swap.terms, 2, swap.legs[1].record, 0, 5)
        assert found is not None
        assert found.own_leg == 2
        assert engine.accept(swap.terms, 2, swap.legs[1].record, 0, 5) is None
        await engine.committed()
        assert len(engine.store.entries_of(found.party)) >= 1
        await world.close(PAYER, FIRST)
        assert len(world.open(FIRST).book) == 2
        world.open(PAYER)

    play(tmp_path, body)


def test_a_leg_without_a_line_is_never_begun(tmp_path) -> None:
    """What cannot be watched is refused before anything is drawn or locked, on either side; the others go on."""

    async def body(world) -> None:
        bridge = world.bridge()
        order, plain = world.order(hops=2), world.order(uetr=b"p" * 16)
        payer, provider = world.engines[PAYER], world.engines[FIRST]
        line = payer.legs.ports.pop(THB)
        error = refused(BridgeCode.NO_ROUTE, bridge.begin, order)
        assert f"no line to ledger {THB}" in error.text
        assert (len(payer.watcher), len(payer.book), len(payer.beside)) == (0, 0, 0)
        assert payer.compliance.usage.used(world.documents[0].id_bytes, PAYER) == (0, 0)
        payer.legs.ports[THB] = line
        gone = provider.legs.ports.pop(HKD)
        bridge.begin(order)
        await world.run()
        assert len(provider.watcher) == 0
        assert provider.desk.desk.book.draws == {}
        provider.legs.ports[HKD] = gone
        second = bridge.begin(plain)
        await world.run()
        assert second.outcome is Outcome.SETTLED

    play(tmp_path, body)
