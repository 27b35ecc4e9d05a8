"""A payer's questions to providers: many swaps in one call to each, answers compared with the terms before they count.

It promises that a lock record counts only if it is exactly the lock that the terms ask for, whoever signed it; whether
it stands is then for the blocks of its ledger to show.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from bridge.quotes import SIGNED_QUOTE_BYTES, SignedQuote
from bridge.refusals import BridgeCode, BridgeRefused
from bridge.terms import LockStamp
from bridge.travel_route import part_of, split_sheaf
from clearspan.v1 import bridge_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.terms import SwapTerms
    from clearspan.bridging.journal.book import OpenSwap
    from clearspan.bridging.lines.peers import Peers
    from engine.genesis import Genesis

__all__ = ["AcceptedLeg", "Answered", "Asking", "demand_lock_of", "split_quotes"]

# Small calls, several at a time: an answer waits for the slowest lock of its own call only.
_CALLS_IN_FLIGHT_MAX: Final = 8
_ASKED_AT_ONCE_MAX: Final = 128


class AcceptedLeg(NamedTuple):
    """A provider's lock record of a leg, which was compared with the terms, and its premium onward, if it pays one."""

    swap: OpenSwap
    leg: int
    record: bytes
    premium: bytes = b""


class Answered(Protocol):
    """Who hears what providers answer."""

    genesis: Genesis

    def on_accepted(self, legs: Sequence[AcceptedLeg]) -> None:
        """Take what the providers of these legs answered, many swaps at once."""
        ...

    def on_not_accepted(self, swap: OpenSwap, leg: int, code: int, text: str) -> None:
        """Take a provider's refusal."""
        ...


class Asking:
    """Questions by provider. Use from one event loop; ``stop`` at the end."""

    def __init__(self, engine: Answered, peers: Peers) -> None:
        """Take whose swaps these are and the lines to the others."""
        self._engine, self._peers = engine, peers
        self._waiting: dict[int, deque[tuple[OpenSwap, int]]] = {}
        self._calls: dict[int, set[asyncio.Task[None]]] = {}
        self._ended = False

    async def stop(self) -> None:
        """Give up what is asked now; the journal leads to the same questions again."""
        self._ended = True
        calls = [call for each in self._calls.values() for call in each]
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    def restore_route(self, swap: OpenSwap, data: bytes) -> None:
        """Take back the quotes of a swap as they were kept."""
        swap.quotes = split_quotes(data)
        swap.providers = tuple(SignedQuote.decode(each).quote.provider for each in swap.quotes)

    def ask(self, asks: Sequence[tuple[OpenSwap, int]]) -> None:
        """Ask soon; what is being asked already is not asked twice at a time."""
        providers: set[int] = set()
        for swap, leg in asks:
            stands = swap.legs[leg - 1].record or swap.terms.legs[leg - 1].foreign
            if swap.asking == leg or not stands or not swap.quotes:
                continue
            swap.asking = leg
            provider = swap.providers[leg - 1]
            self._waiting.setdefault(provider, deque()).append((swap, leg))
            providers.add(provider)
        for provider in sorted(providers):
            self._pump(provider)

    def _pump(self, provider: int) -> None:
        waiting, calls = self._waiting[provider], self._calls.setdefault(provider, set())
        while waiting and len(calls) < _CALLS_IN_FLIGHT_MAX:
            part = [waiting.popleft() for _ in range(min(len(waiting), _ASKED_AT_ONCE_MAX))]
            call = asyncio.get_running_loop().create_task(self._call(provider, part))
            calls.add(call)

            def done(task: asyncio.Task[None], calls: set[asyncio.Task[None]] = calls) -> None:
                calls.discard(task)
                if not self._ended:
                    self._pump(provider)

            call.add_done_callback(done)

    async def _call(self, provider: int, part: Sequence[tuple[OpenSwap, int]]) -> None:
        try:
            asked = [self._acceptance(swap, leg) for swap, leg in part]
            answers = await self._peers.accept(provider, asked)
        finally:
            # However the call ends, the machines' next attempt asks again.
            for swap, _ in part:
                swap.asking = 0
        accepted: list[AcceptedLeg] = []
        for (swap, leg), answer in zip(part, answers or (), strict=False):
            if answer.HasField("refusal"):
                self._engine.on_not_accepted(swap, leg, answer.refusal.code, answer.refusal.text)
                continue
            try:
                if swap.terms.legs[leg].foreign:
                    _demand_accepted(answer, leg)
                else:
                    demand_lock_of(swap.terms, leg, self._engine.genesis.hash_suite, answer.lock_record, swap.swap)
            except BridgeRefused as error:
                self._engine.on_not_accepted(swap, leg, int(BridgeCode.PROVIDER_REFUSED), str(error))
            else:
                accepted.append(AcceptedLeg(swap, leg, answer.lock_record, answer.premium_record))
        if accepted:
            self._engine.on_accepted(accepted)

    def _acceptance(self, swap: OpenSwap, leg: int) -> bridge_pb2.Acceptance:
        before, suite = swap.legs[leg - 1], self._engine.genesis.hash_suite
        return bridge_pb2.Acceptance(
            terms=swap.terms.encode(),
            leg=leg,
            quote=swap.quotes[leg - 1],
            lock_record=before.record,
            shard=before.shard,
            height=before.height,
            travel_rule=part_of(suite, split_sheaf(swap.travel_rule, len(swap.terms.legs) - 1), leg - 1),
            onward_quotes=swap.quotes[leg:],
            premium_record=swap.premium if leg == 1 else swap.premiums.get(leg, b""),
        )


def _demand_accepted(answer: bridge_pb2.AcceptAnswer, leg: int) -> None:
    """Demand a plain yes: a lock on a chain has no record, and what stands there is looked at anyway."""
    if not answer.accepted or answer.lock_record:
        text = f"the answer for leg {leg}, on a chain, is neither yes nor no"
        raise BridgeRefused(BridgeCode.LEGS_DO_NOT_MATCH, text, leg=leg)


def split_quotes(data: bytes) -> tuple[bytes, ...]:
    """Return signed quotes that lie one after the other."""
    return tuple(data[at : at + SIGNED_QUOTE_BYTES] for at in range(0, len(data), SIGNED_QUOTE_BYTES))


def demand_lock_of(terms: SwapTerms, leg: int, suite: int, record: bytes, swap: bytes) -> None:
    """Demand that a record is the lock that the terms ask for; raises BridgeRefused (legs_do_not_match).

    Key, instant and validity are the locker's own; everything else follows from the terms.
    """
    if record != terms.lock_bytes(leg, suite, LockStamp.of(record), swap):
        raise BridgeRefused(BridgeCode.LEGS_DO_NOT_MATCH, f"the lock of leg {leg} is not what the terms say", leg=leg)
