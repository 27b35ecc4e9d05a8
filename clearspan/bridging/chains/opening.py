"""The chains of a bridge's settings as ports, and what they need of the relay's past.

It promises that a bridge without a chain never loads what chains need, and that one whose settings lack the chain of a
swap that runs does not start: that swap's money would be looked after by nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bridge.ports import Timing
from clearspan.bridging.chains.config import read_chains
from clearspan.bridging.chains.reveal_history import HEARD_FILE, REVEALS_FILE, RevealHistory
from clearspan.bridging.chains.served import Chains
from clearspan.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from bridge.party import SwapParty
    from bridge.watcher import Watcher
    from clearspan.bridging.lines.relay import FinalBlock
    from clearspan.bridging.settings.config import LoadedBridge

__all__ = ["RelayPast", "demand_served", "open_chains", "poll_ns_of"]

_NS_PER_S: Final = 1_000_000_000


def open_chains(loaded: LoadedBridge) -> Chains:
    """Return the chains that the settings name, none where they name none; each has its thread by then.

    Raises ConfigError, KeyFileError and its like.
    """
    name = loaded.config.chains.file
    if not name:
        return Chains()
    chains = read_chains(loaded.resolve(name))
    try:
        from clearspan.bridging.chains.evm_line import open_line  # noqa: PLC0415 - an extra that most bridges do without
    except ImportError as error:
        next_step = "install it: pip install 'clearspan[evm]'"
        raise ConfigError(
            "chains.file", f"chains need the extra evm, and {error.name} is missing", next_step
        ) from error
    data = loaded.resolve(loaded.config.data.path)
    return Chains(open_line(each, chains, data) for each in chains.chains)


def poll_ns_of(chains: Chains) -> int:
    """Return how long a machine waits between two looks at a foreign leg: as long as the quickest chain asks for."""
    return min((int(each.poll_s * _NS_PER_S) for each in chains.ports), default=Timing().poll_ns)


def demand_served(chains: Chains, machines: Iterable[SwapParty]) -> None:
    """Demand a chain for every swap that runs. Raises ConfigError naming those that are missing."""
    missing = {leg.chain for machine in machines for leg in machine.terms.legs if leg.foreign} - {
        each.name for each in chains.ports
    }
    if missing:
        names = ", ".join(sorted(missing))
        raise ConfigError("chains.file", f"swaps run that have a leg on {names}", "put its section back until they end")


class RelayPast:
    """What the relay revealed before now, for a bridge that serves chains: all that it would not reveal again.

    For one that provides on ledgers alone what it has read itself: with a secret that was out before a restart its lock
    is claimed on a ledger that lags behind the relay, and the lock that pays for it never is. For others nothing.
    """

    def __init__(self, folder: Path, chains: Chains, *, provides: bool = False) -> None:
        """Read what is kept in a folder."""
        self._is_whole = bool(len(chains))
        name = REVEALS_FILE if self._is_whole else HEARD_FILE
        self._history = RevealHistory(folder / name) if self._is_whole or provides else None

    def teach(self, watcher: Watcher, now: int) -> None:
        """Let a watcher know the secrets that are out."""
        if self._history is not None:
            watcher.relay_block(0, 0, self._history.preimages, now)

    def height(self, consumed: int) -> int:
        """Return behind which height the relay is to be read, where blocks up to ``consumed`` were."""
        return min(consumed, self._history.height) if self._history is not None and self._is_whole else consumed

    @property
    def is_whole(self) -> bool:
        """Whether the relay is read so far back that all is known (``lines.relay_tail``) where nothing was read yet."""
        return self._is_whole

    def listening(self, tell: Callable[[FinalBlock], None]) -> Callable[[FinalBlock], None]:
        """Return what takes blocks: keeps their secrets, then tells them on."""
        history = self._history
        if history is None:
            return tell

        def take(block: FinalBlock) -> None:
            history.take(block.height, block.preimages)
            tell(block)

        return take

    def close(self) -> None:
        """Close the file."""
        if self._history is not None:
            self._history.close()
