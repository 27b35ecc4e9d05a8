"""The swaps of a seed: which legs they have, when their timelocks are, and how each is begun."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from bridge.margins import reveal_margin_ns
from bridge.terms import LegTerms, SwapTerms, account_text, seal_terms
from clearspan.simulation.bridge.plan import CHAIN, MARGINS
from engine.types import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from clearspan.simulation.bridge.scene import Scene

__all__ = ["QUOTE", "account_of_chain", "draft_of", "salt_of", "swaps_of"]

QUOTE: Final = 1 << 64
"""Quote ids of the simulation begin here; the leg's number is added."""

_BEGUN_WITHIN_NS: Final = 2 * NS_PER_S  # from drawing the terms until the last clock has heard of them


def account_of_chain(bank: int) -> str:
    """Return a bank's account on the foreign chain."""
    return f"0x{bank:040x}"


def salt_of(scene: Scene, number: int) -> bytes:
    """Return the salt of a swap's secret."""
    return hashlib.sha256(f"salt {scene.plan.seed} {number}".encode()).digest()


def draft_of(scene: Scene, number: int, *, shorter_ns: int = 0, closer_ns: int = 0) -> SwapTerms:
    """Return a swap's terms without their hashlock; the timelocks leave exactly the margins and the plan's spare time.

    ``shorter_ns`` takes from the time until the first timelock, ``closer_ns`` from that between the two.
    """
    plan = scene.plan
    places = ["" if plan.foreign != "first" else CHAIN] + [""] * (plan.legs - 1)
    if plan.foreign == "last":
        places[-1] = CHAIN
    rounds = sum(MARGINS.side(chain).round_ns for chain in places)
    first = scene.now + rounds + reveal_margin_ns(MARGINS, places[-1]) + _BEGUN_WITHIN_NS + plan.spare_ns - shorter_ns
    second = first + MARGINS.needed(CHAIN, "") - closer_ns if plan.foreign else first
    # Skewed clocks may read more than the plan's; an honest payer leaves room for that as well.
    room = 2 * max((abs(skew) for skew in plan.skews.values()), default=0)
    first, second = first + room, second + room
    legs = []
    ledgers = iter(scene.places)
    for index, chain in enumerate(places):
        timelock = first if chain == places[-1] else second
        amount = 100 + 7 * number + index
        user_data = QUOTE + index if index else number + 1
        if chain:
            accounts = account_of_chain(index), account_of_chain(index + 1)
            legs.append(LegTerms(0, *accounts, amount, timelock, user_data, chain=CHAIN, asset=""))
        else:
            world = next(ledgers).world
            legs.append(
                LegTerms(
                    ledger=world.ledger,
                    debit_account=account_text(world.account(index)),
                    credit_account=account_text(world.account(index + 1)),
                    amount=amount,
                    timelock_ns=timelock,
                    user_data=user_data,
                )
            )
    return SwapTerms(
        uetr=hashlib.sha256(f"uetr {plan.seed} {number}".encode()).digest()[:16],
        network=scene.realm.genesis.hash,
        legs=tuple(legs),
        hash_function=plan.function,
        hashlock=bytes(32),
        created_at=scene.now,
    )


def swaps_of(scene: Scene) -> list[Callable[[], None]]:
    """Return what begins each swap of the plan."""
    return [_beginner(scene, number) for number in range(scene.plan.swaps)]


def _beginner(scene: Scene, number: int) -> Callable[[], None]:
    def begin() -> None:
        payer = scene.parties[0]
        salt = salt_of(scene, number)
        terms, secret = seal_terms(draft_of(scene, number), salt, scene.suite)
        payer.open(replace(terms), salt, secret, number)

    return begin
