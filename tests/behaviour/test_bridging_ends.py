"""A swap that has ended: what is kept of its legs, what is waited for no more, and who else has its hash."""

from __future__ import annotations

from contextlib import closing

from bridge.ports import Outcome
from bridge.refusals import BridgeCode
from bridge.terms import leg_digest
from clearspan.bridging.journal.book import LegRecord, LegState, OpenSwap, SwapBook
from clearspan.bridging.journal.store import JournalStore
from clearspan.bridging.journal.views import stored_swap, swap_view
from clearspan.v1 import bridge_pb2
from tests.behaviour.bridge_papers import FIRST, PAYER
from tests.behaviour.bridging_world import play
from tests.behaviour.swap_stage import HOME_LEGS, terms


def test_legs_of_a_swap_that_ended_are_in_the_journal_with_its_last_entry(tmp_path) -> None:
    """Both sides show it from the journal alone as they showed it from memory: records, ends, when they were final."""
    shown = {}

    async def body(world) -> None:
        swap = world.bridge().begin(world.order())
        await world.run()
        for participant, leg in ((PAYER, 0), (FIRST, 1)):
            found = world.engines[participant].book.find(leg_digest(1, swap.swap, leg))
            assert [each.state for each in found.legs] == [LegState.CLAIMED] * 2
            shown[participant] = found.party, swap_view(found, whole=False)

    world = play(tmp_path, body)
    for participant, (party, view) in shown.items():
        with closing(JournalStore(tmp_path / f"bridge-{participant}", 1 << 26)) as store:
            stored = swap_view(stored_swap(store, party, SwapBook(1, world.prefix)), whole=False)
        assert all(leg.end_digest and leg.ended_at and leg.lock_digest for leg in stored.legs)
        stored.ended_at = view.ended_at  # in memory the instant of the act, in the journal that of the entry
        assert stored == view


def test_nothing_is_waited_for_when_all_swaps_have_ended(tmp_path) -> None:
    async def body(world) -> None:
        for number in range(3):
            world.bridge().begin(world.order(1_000, uetr=bytes([number + 1]) * 16))
        await world.run()
        for engine in world.engines.values():
            assert not len(engine.book)
            assert not any(line.expected for line in engine.legs.ports.values())

    play(tmp_path, body)


def test_sides_under_one_hash_end_one_by_one() -> None:
    """A middleman may have two sides of one swap: the end of one leaves the other where it is found."""
    (agreed, *_), book = terms(*HOME_LEGS), SwapBook(1, b"T" * 32)
    sides = [OpenSwap(bytes([leg]) * 32, b"s" * 32, leg, agreed, (), [LegRecord()], 0) for leg in (1, 2)]
    for side in sides:
        book.add(side)
    book.end(sides[0], Outcome.SETTLED, 0, 5)
    assert book.with_hashlock(agreed.hashlock) == [sides[1]]
    book.end(sides[1], Outcome.SETTLED, 0, 5)
    assert not book.with_hashlock(agreed.hashlock) and not len(book)


def test_a_provider_that_began_again_is_asked_once_more_about_swaps_that_ended(tmp_path) -> None:
    """Two questions in one call, of swaps that only its journal knows: neither is accepted, and nothing is drawn."""

    async def body(world) -> None:
        swaps = [world.bridge().begin(world.order(1_000, uetr=bytes([number + 1]) * 16)) for number in range(2)]
        await world.run()
        asked = [
            bridge_pb2.Acceptance(
                terms=swap.terms.encode(), leg=1, quote=swap.quotes[0], lock_record=swap.legs[0].record
            )
            for swap in swaps
        ]
        await world.close(FIRST)
        engine = world.open(FIRST)
        answers = await world.accepting[FIRST].accept(asked, PAYER)
        assert [each.refusal.code for each in answers] == [BridgeCode.DUPLICATE_SWAP] * 2
        assert not len(engine.book) and not world.desks[FIRST].desk.book.draws

    play(tmp_path, body)
