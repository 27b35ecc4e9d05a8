"""What any adapter of the leg port must do, as checks that anyone can run against their own.

A third party writes a ``LegRig``: its adapter on a chain that the rig may hurt (make blocks, reorganise, stop). Each
check gets a fresh rig; ``run_checks`` runs them all and reports, and ``CHECKS`` gives them one by one to a test runner.
The kit does no I/O of its own and keeps no time: a rig's ``advance`` is the only way that time passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from bridge.conformance_checks import CHECKS, Check
from bridge.conformance_rig import ConformanceFailed, LegRig

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

__all__ = ["CHECKS", "Check", "ConformanceFailed", "LegRig", "RigFactory", "Verdict", "run_checks"]

RigFactory: TypeAlias = "Callable[[], AbstractAsyncContextManager[LegRig]]"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one check went; ``failure`` is empty when it passed."""

    check: str
    failure: str


async def run_checks(factory: RigFactory) -> tuple[Verdict, ...]:
    """Run every check on a rig of its own; an adapter conforms when no verdict has a failure."""
    verdicts = []
    for name, check in CHECKS.items():
        failure = ""
        try:
            async with factory() as rig:
                await check(rig)
        except Exception as error:  # noqa: BLE001 - whatever a foreign adapter raises is its verdict
            failure = f"{type(error).__name__}: {error}"
        verdicts.append(Verdict(name, failure))
    return tuple(verdicts)
