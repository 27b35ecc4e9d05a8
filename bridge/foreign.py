"""The foreign legs of many swaps: what machines ask for, handed to the chain's adapter, and what it shows, handed back.

Knows no chain by itself. Nothing raises out of ``do``: a chain that is away or refuses is told to ``trouble``, and the
machine, which looks and asks again on its own, needs to hear of neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.leg import ExpectingAdapter, LegError
from bridge.ports import ClaimForeign, Lock, LockSeen, Look, RefundForeign

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bridge.leg import ChainClock, LegAdapter, LockOrder
    from bridge.ports import Action
    from bridge.terms import SwapTerms

__all__ = ["ForeignLegs"]


class ForeignLegs:
    """``adapters`` by the chain's name in the terms; ``trouble`` hears of (chain, error) of what could not be done."""

    def __init__(self, adapters: Mapping[str, LegAdapter], trouble: Callable[[str, LegError], None]) -> None:
        """Own nothing: whoever made the adapters closes them."""
        self._adapters = adapters
        self._trouble = trouble

    def __contains__(self, chain: str) -> bool:
        """Whether legs on this chain can be served."""
        return chain in self._adapters

    def concerns(self, terms: SwapTerms, action: Action) -> bool:
        """Whether an action is of a foreign leg, and so for ``do``."""
        return isinstance(action, Lock | Look | ClaimForeign | RefundForeign) and terms.legs[action.leg].foreign

    async def do(self, terms: SwapTerms, orders: tuple[LockOrder, ...], action: Action) -> LockSeen | None:
        """Do one action of a foreign leg, whose terms' orders are given; return what a look has seen."""
        try:
            return await self.attempt(terms, orders, action)
        except LegError as error:
            assert isinstance(action, Lock | Look | ClaimForeign | RefundForeign)
            self._trouble(terms.legs[action.leg].chain, error)
        return None

    async def attempt(self, terms: SwapTerms, orders: tuple[LockOrder, ...], action: Action) -> LockSeen | None:
        """Do as ``do`` does, for who wants to hear of the swap that is in trouble. Raises LegError."""
        assert isinstance(action, Lock | Look | ClaimForeign | RefundForeign)
        order = orders[action.leg]
        adapter = self._adapters[terms.legs[action.leg].chain]
        # Before anything is asked: strangers may use our lock's id, and only the lock that is ours is meant.
        if isinstance(adapter, ExpectingAdapter):
            adapter.expect(order)
        if isinstance(action, Look):
            return LockSeen(action.leg, await adapter.find(order.lock_id))
        if isinstance(action, Lock):
            await adapter.lock(order)
        elif isinstance(action, ClaimForeign):
            await adapter.claim(order.lock_id, action.preimage)
        else:
            await adapter.refund(order.lock_id)
        return None

    async def clocks(self) -> dict[str, ChainClock]:
        """Ask every chain for its clock; one that is away is left out."""
        found: dict[str, ChainClock] = {}
        for chain, adapter in self._adapters.items():
            try:
                found[chain] = await adapter.clock()
            except LegError as error:
                self._trouble(chain, error)
        return found
