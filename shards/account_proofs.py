"""Proofs of accounts that wait for the next seal: whoever asks is answered when that block is durable and signed.

It promises that asking costs no seal of its own and that what waits is bounded. The ledger thread proves, the event
loop asks and answers.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from shards.errors import Overloaded

if TYPE_CHECKING:
    from engine.header import Header
    from engine.machine import AccountProof
    from shards.domain import DomainCore, Round

__all__ = ["AccountAtBlock", "AccountProofs", "TakenProofs"]

# A proof is a few hundred hashes on the ledger thread: so many hold a round up for a few ms.
_WAITING_MAX: Final = 256
_RETRY_AFTER_MS: Final = 100


@dataclass(frozen=True, slots=True)
class AccountAtBlock:
    """An account as a block left it: the block's header, and the proof under its state root."""

    header: Header
    proof: AccountProof


_Asked = tuple[int, "asyncio.Future[AccountAtBlock | None]"]


@dataclass(slots=True)
class AccountProofs:
    """What waits for a seal."""

    _waiting: list[_Asked] = field(default_factory=list)

    def ask(self, account: int) -> asyncio.Future[AccountAtBlock | None]:
        """Wait for the proof of an account; raises Overloaded when too many wait."""
        if len(self._waiting) >= _WAITING_MAX:
            raise Overloaded(len(self._waiting), _WAITING_MAX, _RETRY_AFTER_MS)
        future: asyncio.Future[AccountAtBlock | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((account, future))
        return future

    def take(self) -> TakenProofs:
        """Take everything that waits, for the round that seals."""
        taken, self._waiting = self._waiting, []
        return TakenProofs(taken)


@dataclass(slots=True)
class TakenProofs:
    """Those of one seal."""

    _asked: list[_Asked]
    _found: list[AccountAtBlock | None] = field(default_factory=list)

    def prove(self, core: DomainCore, round_: Round) -> None:
        """Prove every account right after the seal, on the ledger thread."""
        headers = {block.header.shard: block.header for block in round_.sealed}
        for account, _ in self._asked:
            shard = core.slot_map.shard_of(account.to_bytes(16, "little"))
            proof = core.machines[shard].prove_account(account)
            self._found.append(None if proof is None else AccountAtBlock(headers[shard], proof))

    def answer(self, whole: asyncio.Task[Exception | None]) -> None:
        """Answer when the round is durable and its headers are signed, or with what kept it from being so."""
        error = None if whole.cancelled() else whole.exception() or whole.result()
        if error is not None or whole.cancelled():
            self.fail(error if error is not None else asyncio.CancelledError())
            return
        for (_, future), found in zip(self._asked, self._found, strict=True):
            if not future.done():
                future.set_result(found)

    def fail(self, error: BaseException) -> None:
        """Answer everybody with an error."""
        for _, future in self._asked:
            if not future.done():
                future.set_exception(error)
