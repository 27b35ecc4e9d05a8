"""What shows that somebody lied: kept in the book first, then offered to the chain, and said loudly.

A proof is offered again at every start until the chain knows it: whoever leads next puts it into a block.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from engine.hashing import digest
from engine.refusals import EncodingError
from engine.relay_block import RelayRecord, evidence_record
from relay.actions import ForkSeen
from relay.transcript import Transcript

if TYPE_CHECKING:
    from clearspan.validator.standing import Validator
    from engine.evidence import Evidence
    from relay.actions import EvidenceFound

__all__ = ["FORK_MARK", "EvidenceDesk"]

FORK_MARK: Final = b"fork"
"""Begins the name under which the two certificates of a fork are kept; other names are digests."""
_WAITING_MAX: Final = 256
_log = structlog.get_logger("clearspan.validator")


class EvidenceDesk:
    """One validator's; ``run`` is the task."""

    def __init__(self, validator: Validator) -> None:
        """Begin with nothing new."""
        self._validator = validator
        self._waiting: asyncio.Queue[Evidence | ForkSeen] = asyncio.Queue(_WAITING_MAX)
        self.found_count = 0
        self.forks = 0

    def found(self, action: EvidenceFound | ForkSeen) -> None:
        """Take what the core found; beyond 256 that wait it is dropped, for liars are never in want of more."""
        self.add(action if isinstance(action, ForkSeen) else action.proof)

    def add(self, evidence: Evidence | ForkSeen) -> None:
        """Take any evidence."""
        self.found_count += 1
        if not self._waiting.full():
            self._waiting.put_nowait(evidence)

    async def run(self) -> None:
        """Keep and offer, until cancelled; raises what the book fails with."""
        for kept in self._validator.chain.evidence():
            await self._offer(kept)
        while True:
            evidence = await self._waiting.get()
            if isinstance(evidence, ForkSeen):
                await self._keep_fork(evidence)
            else:
                record = evidence_record(evidence).encode()
                name = digest(self._validator.genesis.hash_suite, record)
                if await self._keep(name, record):
                    _log.error("evidence_kept", kind=type(evidence).__name__, digest=name.hex()[:16])
                    await self._offer(record)

    async def _keep_fork(self, fork: ForkSeen) -> None:
        self.forks += 1
        pair = Transcript(certificates=(fork.ours, fork.theirs)).encode()
        _log.critical("fork", height=fork.height, next_step="compare two chains with: clearspan evidence")
        await self._keep(FORK_MARK + fork.height.to_bytes(8, "big"), pair)

    async def _keep(self, name: bytes, content: bytes) -> bool:
        return await self._validator.shell.write(lambda: self._validator.chain.keep_evidence(name, content))

    async def _offer(self, record: bytes) -> None:
        try:
            found, _ = RelayRecord.decode_prefix(memoryview(record))
        except EncodingError:
            # The certificates of a fork are no record: a chain cannot judge itself.
            return
        await self._validator.shell.offer(found, "evidence")
