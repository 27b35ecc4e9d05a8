"""One EVM chain on a thread of its own: web3, signing in plain Python and a synced book never hold the bridge up.

It promises the leg port to the bridge's event loop; whatever touches the chain runs on the thread's own loop, one line
of thought for each chain, and ends with ``close``. Needs the extra ``evm``.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Final, TypeVar

from bridge.evm.adapter import EvmLeg, EvmSettings
from bridge.evm.book import BookDamaged, FileBook
from bridge.evm.contract import terms_of
from bridge.evm.fees import FeePolicy
from bridge.evm.reading import Finality
from bridge.evm.rpc import Endpoint, RpcLimits
from bridge.leg import LegUnavailable
from clearspan.bridging.chains.key import ChainKey
from clearspan.errors import ConfigError
from clearspan.keys import read_passphrase
from engine.types import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

    from bridge.evm.transaction import Signer
    from bridge.leg import ChainClock, LockOrder, LockView
    from clearspan.bridging.chains.config import ChainSection, LoadedChains

__all__ = ["EvmLine", "evm_settings", "open_line"]

_Answer = TypeVar("_Answer")
_TICKS_NS: Final = {"s": NS_PER_S, "ms": 1_000_000}
_MS_PER_S: Final = 1_000
_CLOSE_S: Final = 5.0


def evm_settings(section: ChainSection) -> EvmSettings:
    """Return what the adapter needs of a chain's section."""
    return EvmSettings(
        chain_id=section.chain_id,
        contract=section.contract,
        endpoints=tuple(Endpoint(url) for url in section.endpoints),
        finality=Finality(section.finality_depth, section.finality_tag),
        fees=FeePolicy(
            cap=section.fee_cap,
            claim_cap=section.claim_fee_cap,
            priority_fee=section.priority_fee,
            bump_percent=section.bump_percent,
            stuck_blocks=section.stuck_blocks,
        ),
        limits=RpcLimits(timeout_s=section.timeout_s, ahead_s_max=section.head_age_s_max),
        genesis=bytes.fromhex(section.genesis[2:]) if section.genesis else None,
        first_block=section.first_block,
        lookback_blocks=section.lookback_blocks,
        tick_ns=_TICKS_NS[section.tick],
        agreement=section.agreement,
        tend_interval_s=section.poll_ms / _MS_PER_S,
    )


def open_line(section: ChainSection, loaded: LoadedChains, data: Path) -> EvmLine:
    """Open a chain's key and book and return its line; ``data`` keeps the book where the section names none.

    Raises ConfigError, KeyFileExposed, KeyFileInvalid, PassphraseWrong.
    """
    key = ChainKey.load(loaded.resolve(section.key), read_passphrase(loaded.resolve(section.passphrase_file)))
    path = loaded.resolve(section.book) if section.book else data / f"chain-{section.name}.json"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        return EvmLine(section, key.signer(), FileBook(path))
    except BookDamaged as error:
        next_step = "restore the file; without it a transaction that is out could be sent twice"
        raise ConfigError(str(path), str(error), next_step) from error
    except ValueError as error:
        raise ConfigError(f"chain {section.name}", str(error), "mend its section") from error


class EvmLine:
    """A ``ChainPort``: the adapter of one chain, called from another thread's event loop."""

    def __init__(self, section: ChainSection, signer: Signer, book: FileBook) -> None:
        """Start the thread; the chain is asked with the first call. Raises BookDamaged, ValueError."""
        self.name = section.name
        self.poll_s = section.poll_ms / _MS_PER_S
        self.head_age_ns_max = section.head_age_s_max * NS_PER_S
        self._settings = evm_settings(section)
        self._leg = EvmLeg(self._settings, signer, book)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"chain-{section.name}", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """The account whose key signs."""
        return self._leg.address

    @property
    def out_count(self) -> int:
        """How many transactions are out and not final."""
        return self._leg.out_count

    @property
    def fee_reserve(self) -> int:
        """What a claim may cost at the fee of the newest block that was seen."""
        return self._leg.fee_reserve

    def demand(self, order: LockOrder) -> None:
        """Demand an order that the contract can say. Raises LegRefused."""
        terms_of(order, self._settings.chain_id, self._settings.contract, self._settings.tick_ns)

    def expect(self, order: LockOrder) -> None:
        """Look for exactly this order under its id from now on. Raises LegRefused."""
        self.demand(order)
        # In order with what is asked later: both pass through the loop's one queue.
        self._loop.call_soon_threadsafe(self._leg.expect, order)

    def forget(self, lock_id: bytes) -> None:
        """Drop what is remembered of a lock whose swap is over."""
        self._loop.call_soon_threadsafe(self._leg.forget, lock_id)

    async def lock(self, order: LockOrder) -> None:
        """Send the lock."""
        await self._on_thread(self._leg.lock(order))

    async def find(self, lock_id: bytes) -> LockView:
        """Show the lock, and look after this adapter's transactions for it."""
        return await self._on_thread(self._leg.find(lock_id))

    async def claim(self, lock_id: bytes, preimage: bytes) -> None:
        """Send the claim."""
        await self._on_thread(self._leg.claim(lock_id, preimage))

    async def refund(self, lock_id: bytes) -> None:
        """Send the refund."""
        await self._on_thread(self._leg.refund(lock_id))

    async def clock(self) -> ChainClock:
        """Say what time it is on the chain."""
        return await self._on_thread(self._leg.clock())

    async def balance(self) -> int:
        """Return what the account holds of the chain's coin."""
        return await self._on_thread(self._leg.balance())

    async def tend(self) -> None:
        """Look after the transactions that are out."""
        await self._on_thread(self._leg.tend())

    async def close(self) -> None:
        """Let go of the connections and end the thread; nothing is lost."""
        if not self._thread.is_alive():
            return
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self._on_thread(self._leg.close())
        except TimeoutError:
            pass  # a connection that does not close ends with the process
        self._loop.call_soon_threadsafe(self._loop.stop)
        await asyncio.to_thread(self._thread.join, _CLOSE_S)

    async def _on_thread(self, work: Coroutine[object, object, _Answer]) -> _Answer:
        try:
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))
        except OSError as error:
            # The book's disk: nothing was sent that is not written down, and it is asked again.
            raise LegUnavailable(f"the book of transactions: {error.strerror or error}") from error
