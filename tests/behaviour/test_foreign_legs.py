"""What machines ask of foreign legs reaches the chain's adapter, and what goes wrong there raises nothing."""

from __future__ import annotations

import asyncio

from bridge.foreign import ForeignLegs
from bridge.leg import HashFunction, LegCode, LegRefused, LegUnavailable, LockState
from bridge.memory_leg import MemoryChain, MemoryLeg
from bridge.ports import ClaimForeign, Lock, Look, RefundForeign, Reveal
from bridge.terms import LegTerms, SwapTerms, account_text, seal_terms

SECOND = 1_000_000_000


def world() -> tuple[MemoryChain, MemoryLeg, SwapTerms, bytes]:
    chain = MemoryChain()
    chain.endow("payer", 100)
    legs = (
        LegTerms(0, "payer", "provider", 40, 500 * SECOND, chain="far"),
        LegTerms(1, account_text(1), account_text(2), 7, 300 * SECOND),
    )
    draft = SwapTerms(b"u" * 16, b"n" * 32, legs, HashFunction.SHA256, bytes(32), SECOND)
    terms, secret = seal_terms(draft, b"s" * 32, 1)
    return chain, MemoryLeg(chain), terms, secret


def test_actions_reach_the_adapter_and_looks_come_back() -> None:
    chain, leg, terms, secret = world()
    orders, troubles = terms.orders(1), []
    foreign = ForeignLegs({"far": leg}, lambda name, error: troubles.append((name, error)))

    async def story() -> None:
        lock = Lock(0, orders[0], SECOND)
        assert "far" in foreign and "near" not in foreign
        assert foreign.concerns(terms, lock) and not foreign.concerns(terms, Lock(1, orders[1], SECOND))
        assert not foreign.concerns(terms, Reveal(secret))
        assert await foreign.do(terms, orders, lock) is None
        chain.produce(10 * SECOND)
        seen = await foreign.do(terms, orders, Look(0, orders[0]))
        assert (seen.leg, seen.view.state, seen.view.order) == (0, LockState.SEEN, orders[0])
        await foreign.do(terms, orders, ClaimForeign(0, secret))
        chain.produce(20 * SECOND)
        seen = await foreign.do(terms, orders, Look(0, orders[0]))
        assert (seen.view.state, seen.view.preimage) == (LockState.CLAIMED, secret)
        assert (await foreign.clocks())["far"].time_ns == 20 * SECOND
        assert not troubles

    asyncio.run(story())


def test_trouble_is_told_and_raises_nothing() -> None:
    chain, leg, terms, _ = world()
    orders, troubles = terms.orders(1), []
    foreign = ForeignLegs({"far": leg}, lambda name, error: troubles.append((name, error)))

    async def story() -> None:
        await foreign.do(terms, orders, Lock(0, orders[0], SECOND))
        chain.produce(10 * SECOND)
        assert await foreign.do(terms, orders, RefundForeign(0)) is None
        leg.reachable = False
        assert await foreign.do(terms, orders, Look(0, orders[0])) is None
        assert await foreign.clocks() == {}
        early, silent, mute = troubles
        assert early[0] == "far" and isinstance(early[1], LegRefused) and early[1].code is LegCode.TOO_EARLY
        assert isinstance(silent[1], LegUnavailable) and isinstance(mute[1], LegUnavailable)

    asyncio.run(story())
