"""The rules of one bridge put together: screening, cases, breakers of corridors, outcomes on the record of ledgers.

It promises that a bridge which screens names or looks at patterns does not start without a key that signs what it
finds, and that the files of breakers were looked at before a call is taken.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from clearspan.bridging.journal.alarms import OUTCOME
from clearspan.bridging.rules.breaker_desk import BreakerDesk
from clearspan.bridging.rules.compliance import Compliance
from clearspan.bridging.rules.files import BREAKERS_FOLDER, RuleFiles, read_screen
from clearspan.bridging.rules.held import Screening
from clearspan.bridging.rules.outcome_log import OutcomeLog
from clearspan.bridging.rules.outcomes import OutcomeBook
from clearspan.bridging.rules.own_flows import OwnFlows
from clearspan.errors import ConfigError
from engine.types import NS_PER_S, Role

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextlib import AsyncExitStack

    from clearspan.bridging.lines.ledgers import LedgerPort
    from clearspan.bridging.market.corridors import Corridors
    from clearspan.bridging.settings.config import LoadedBridge
    from clearspan.bridging.settings.keys import BridgeKeys
    from clearspan.bridging.swaps.engine import BridgeEngine
    from engine.genesis import Genesis

__all__ = ["Rules", "open_rules"]

_AGAIN_S: Final = 5.0
_FIRST_LOOK_S: Final = 5.0
_log = structlog.get_logger("clearspan.bridging")


class Rules:
    """One bridge's; ``attach`` once its engine stands, ``start`` once that runs."""

    def __init__(self, loaded: LoadedBridge, genesis: Genesis, keys: BridgeKeys, corridors: Corridors) -> None:
        """Read the list. Raises ConfigError for one that cannot be read, and for a domain without a screening key."""
        section = loaded.config.screening
        screen = read_screen(loaded.resolve(section.list), genesis.hash_suite) if section.list else None
        screening = Screening(
            screen,
            keys.any_of(Role.SCREENING) or 1,
            section.hold_s * NS_PER_S,
            section.pattern_threshold,
            frozenset(section.officers),
        )
        self.screens = screen is not None or bool(section.pattern_threshold)
        if self.screens:
            _demand_keys(genesis, keys)
        self._loaded, self._genesis, self._keys, self._corridors = loaded, genesis, keys, corridors
        self.outcomes = OutcomeBook(genesis, keys)
        self.compliance = Compliance(genesis, loaded.config.bridge.participant, corridors, screening, self.outcomes)
        self._work: list[Callable[[], Awaitable[None]]] = []

    def attach(self, engine: BridgeEngine, ledgers: Sequence[LedgerPort]) -> None:
        """Take the engine and its lines."""
        loaded, genesis = self._loaded, self._genesis
        ports = {each.domain: each for each in ledgers}
        self.breakers = BreakerDesk(genesis, self._corridors, self.compliance.breaker_rows, ports, engine.committed)
        names = loaded.config.screening.list
        self._files = RuleFiles(
            self.breakers,
            self.compliance.use,
            folder=loaded.resolve(loaded.config.data.path) / BREAKERS_FOLDER,
            names=loaded.resolve(names) if names else None,
            suite=genesis.hash_suite,
        )
        log = OutcomeLog(
            genesis,
            self.outcomes,
            self._keys,
            ports,
            committed=engine.committed,
            now=engine.now,
            call_out=partial(engine.telling.call_out, kind=OUTCOME),
        )
        self._work = [self._files.follow, self._files.follow_names, log.run]
        if loaded.config.screening.pattern_threshold:
            window_ns = self.compliance.held.window_ns
            self._work.append(OwnFlows(self._keys, ports, self.compliance.held.saw, window_ns, engine.now).run)

    async def start(self, stack: AsyncExitStack) -> None:
        """Look at the files, a while at most, then go on beside the engine until the stack is closed."""
        # A node that is down keeps a bridge from starting no longer than this; what is left is looked at later.
        with suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_LOOK_S):
                await self._files.look()
        for work in self._work:
            task = asyncio.create_task(_always(work), name="rules")
            stack.callback(task.cancel)


def open_rules(loaded: LoadedBridge, genesis: Genesis, keys: BridgeKeys, corridors: Corridors) -> Rules:
    """Return the rules of a bridge. Raises ConfigError."""
    return Rules(loaded, genesis, keys, corridors)


def _demand_keys(genesis: Genesis, keys: BridgeKeys) -> None:
    for domain in keys.domains:
        if not keys.role_key(domain, Role.SCREENING):
            name = genesis.domain(domain).name
            next_step = "register one: clearspan key new --role screening, and put its file into the bridge's keys"
            raise ConfigError("screening", f"no key of role screening on domain {name} signs what is found", next_step)


async def _always(work: Callable[[], Awaitable[None]]) -> None:
    """Run a loop again where it failed: swaps do not hang on it, and an operator reads why."""
    while True:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is logged and the loop goes on
            _log.error("rules_failed", error=type(error).__name__, exc_info=error)
            await asyncio.sleep(_AGAIN_S)
