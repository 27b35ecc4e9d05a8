"""Swaps as messages: what runs, what ended, and what only the journal still knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bridge.journal import read_accepted, read_begun, read_finished
from bridge.ports import EntryKind, Outcome
from bridge.refusals import BridgeRefused, bridge_meaning
from bridge.terms import SwapTerms
from clearspan.bridging.journal.book import LegRecord, LegState, NoteKind, OpenSwap
from clearspan.v1 import bridge_pb2
from engine.codes import MEANINGS, ResultCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.ports import Entry
    from clearspan.bridging.journal.book import SwapBook
    from clearspan.bridging.journal.store import JournalStore

__all__ = ["OUTCOMES", "refusal_message", "refusal_of_code", "stored_swap", "swap_view"]

OUTCOMES: Final[dict[Outcome, str]] = {
    Outcome.SETTLED: "claimed",
    Outcome.REFUNDED: "refunded",
    Outcome.ABANDONED: "refused",
    Outcome.KEPT: "kept",
    Outcome.LOST: "lost",
}
"""Outcomes as messages and documents name them."""


def refusal_message(error: BridgeRefused) -> bridge_pb2.BridgeRefusal:
    """Return a refusal as it is answered."""
    meaning = error.meaning
    return bridge_pb2.BridgeRefusal(
        code=int(error.code), name=meaning.name, text=error.text[:500], next_step=meaning.next_step
    )


def refusal_of_code(code: int, text: str = "") -> bridge_pb2.BridgeRefusal:
    """Return a refusal by its number, of the bridge's table or the ledger's."""
    try:
        found = bridge_meaning(code)
    except ValueError:
        row = MEANINGS.get(ResultCode(code)) if code in frozenset(ResultCode) else None
        name, step = (row.name, row.next_step) if row is not None else (f"code_{code}", "")
        return bridge_pb2.BridgeRefusal(code=code, name=name, text=text, next_step=step)
    return bridge_pb2.BridgeRefusal(code=code, name=found.name, text=text, next_step=found.next_step)


def swap_view(swap: OpenSwap, *, whole: bool) -> bridge_pb2.SwapView:
    """Return a swap as it is answered; ``whole`` with its terms and timeline."""
    terms = swap.terms
    view = bridge_pb2.SwapView(
        swap_id=swap.swap,
        uetr=terms.uetr,
        side=swap.side,
        state=_state(swap),
        outcome=OUTCOMES[swap.outcome] if swap.outcome is not None else "",
        legs=[_leg(swap, index) for index in range(len(terms.legs))],
        hashlock=terms.hashlock,
        hash_function=int(terms.hash_function),
        began_at=swap.began_at,
        ended_at=swap.ended_at,
    )
    if swap.code:
        view.refusal.CopyFrom(refusal_of_code(swap.code))
    if whole:
        view.terms = terms.encode()
        view.timeline.extend(
            bridge_pb2.TimelineEntry(at=each.at, what=each.what, text=each.text)
            for each in sorted(swap.timeline, key=lambda moment: moment.at)
        )
    return view


def _leg(swap: OpenSwap, index: int) -> bridge_pb2.LegView:
    leg, known = swap.terms.legs[index], swap.legs[index]
    return bridge_pb2.LegView(
        ledger=leg.ledger,
        chain=leg.chain,
        debit_account=b"" if leg.foreign else leg.debit_id.to_bytes(16, "little"),
        credit_account=b"" if leg.foreign else leg.credit_id.to_bytes(16, "little"),
        amount=leg.amount.to_bytes(16, "little"),
        timelock=leg.timelock_ns,
        state=known.state,
        lock_digest=known.digest,
        end_digest=known.end,
        final_at=known.final_at,
        ended_at=known.ended_at,
        asset=leg.asset,
        debit_name=leg.debit_account if leg.foreign else "",
        credit_name=leg.credit_account if leg.foreign else "",
    )


def _state(swap: OpenSwap) -> str:
    if swap.outcome is not None:
        return "ended"
    if swap.preimage:
        return "revealed"
    states = [leg.state for leg in swap.legs]
    if all(state == LegState.FINAL for state in states):
        return "locked"
    return "locking" if any(state != LegState.WAITING for state in states) else "begun"


def stored_swap(store: JournalStore, party: bytes, book: SwapBook) -> OpenSwap | None:
    """Return a swap from the journal alone, None for one that is unknown."""
    entries: Sequence[Entry] = store.entries_of(party)
    if not entries:
        return None
    first = entries[0]
    own_leg, data = read_accepted(first.body) if first.kind is EntryKind.ACCEPTED else (0, read_begun(first.body)[1])
    terms = SwapTerms.decode(data)
    name = terms.digest(book.suite)
    orders = terms.orders(book.suite, name)
    swap = OpenSwap(party, name, own_leg, terms, orders, [LegRecord() for _ in orders], first.at_ns)
    swap.lines += entries
    for note in store.notes_of(party):
        if note.kind == NoteKind.LEG:
            known = swap.legs[note.leg]
            known.read_note(note.data)
            known.digest = book.digest_of(known.record)
    last = entries[-1]
    if last.kind is EntryKind.FINISHED:
        swap.outcome, swap.code = read_finished(last.body)
        swap.ended_at = last.at_ns
        ended = {Outcome.SETTLED: LegState.CLAIMED, Outcome.REFUNDED: LegState.REFUNDED}.get(swap.outcome)
        for leg in swap.legs:
            if leg.ended_at and ended is not None:
                leg.state = ended
        if ended is not None and terms.foreign_leg >= 0:
            swap.legs[terms.foreign_leg].state = ended  # a chain's leg has no record that would be kept
    return swap
