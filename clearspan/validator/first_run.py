"""How a key that no set has named yet learns that it signed nothing: before it is needed, and without anybody's trust.

A validator that begins with an empty directory beside a chain that runs may have signed before and lost the memory of
it. Members of its set tell it from which height on it may sign (``relay.recall``); but a new set may have so many new
members that none of them would get an answer. So whoever is in no set yet asks the members of the set in force.

It promises this: where the key signed at a height H, a quorum of the set that decides H - 1 had voted to commit it, so
of any quorum of that set one honest member has H - 2 final. If a quorum says that c is the highest that is final there,
and the set in force, in which the key does not stand, decides all heights up to c + 2, it signed nothing above c + 2.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from clearspan.validator.links import channel_options
from clearspan.validator.syncing import ask_status

if TYPE_CHECKING:
    from clearspan.pki import TlsFiles
    from clearspan.validator.config import PeersSection
    from clearspan.validator.standing import Validator
    from engine.validators import ValidatorSet

__all__ = ["FirstRun", "floor_of"]

_PAUSE_S: Final = 0.5
_TRIES_MAX: Final = 20
_log = structlog.get_logger("clearspan.validator")


def floor_of(claims: dict[int, int], validators: ValidatorSet) -> int | None:
    """Return the least height that the most modest quorum of ``claims`` (member index to final height) reaches.

    None while they are no quorum. Who lies can only name less than others, and every quorum has honest members enough.
    """
    heard: list[int] = []
    for index, height in sorted(claims.items(), key=lambda each: (each[1], each[0])):
        heard.append(index)
        if validators.is_quorum(validators.power_of(sorted(heard))):
            return height
    return None


class FirstRun:
    """One validator's; ``run`` is the task, which ends when the key may sign, or stands in a set."""

    def __init__(self, validator: Validator, tls: TlsFiles, settings: PeersSection) -> None:
        """Put it together."""
        self._validator, self._tls, self._options = validator, tls, channel_options(settings)

    async def run(self) -> None:
        """Ask until it is known from which height on this key may sign."""
        core = self._validator.shell.core
        while core.votes.restored and core.index is None:
            floor = await self._ask()
            if floor is not None and core.index is None:
                _log.info("first_run", signs_above=floor)
                self._validator.shell.know_floor(floor)
                return
            await asyncio.sleep(_PAUSE_S)

    async def _ask(self) -> int | None:
        """Ask all members of the set in force; return the floor once this chain has what they named."""
        validator = self._validator
        validators = validator.state.set_at(validator.height + 1)
        targets = {
            index: target
            for index, member in enumerate(validators.members)
            if (target := validator.addresses.target(member.public_key)) is not None
        }
        genesis_hash = validator.genesis.hash
        said = await asyncio.gather(
            *(ask_status(target, genesis_hash, self._tls, self._options) for target in targets.values())
        )
        claims = {index: each for index, each in zip(targets, said, strict=True) if each is not None}
        highest = floor_of(claims, validators)
        if highest is None:
            return None
        for _ in range(_TRIES_MAX):
            state = validator.state
            if state.height > highest:
                later = [each.first_height for each in state.sets if each.set_id > validators.set_id]
                return highest + 2 if all(first > highest + 2 for first in later) else None
            await asyncio.sleep(_PAUSE_S)
        return None
