"""Signed headers as they come by, offered or final: two of one shard, height and epoch are a fork, and evidence of it.

It promises to look only at headers whose signature held, to keep a bounded number of them, and to tell of a shard once
in an epoch: one fork suspends it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from engine.evidence import ForkedShard
from engine.types import RelayRecordType

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine.header import SignedHeader
    from engine.relay_block import RelayBlock
    from engine.validators import Certificate
    from relay.ports import State

__all__ = ["HeaderWatch"]

HEIGHTS_KEPT: Final = 64
# The words of refusals that come before an offer's signature was checked; all others come after.
_UNCHECKED: Final = frozenset(
    {"header_network", "header_shard_unknown", "header_key_unknown", "header_signature", "offer_paths", "overloaded"}
)
_log = structlog.get_logger("clearspan.validator")


class HeaderWatch:
    """The newest 64 heights of each shard of the genesis; ``tell`` takes what is found."""

    def __init__(self, tell: Callable[[ForkedShard], None]) -> None:
        """Begin with none."""
        self._tell = tell
        self._seen: dict[int, dict[tuple[int, int], SignedHeader]] = {}
        self._told: set[tuple[int, int]] = set()

    def offered(self, signed: SignedHeader, refusal: str) -> None:
        """Look at an offered header; ``refusal`` is the word that it was refused with, nothing where it was taken."""
        if refusal not in _UNCHECKED:
            self._note(signed)

    async def note_final(self, block: RelayBlock, _certificate: Certificate, _state: State) -> None:
        """Look at the headers of a final block."""
        for record in block.records:
            if record.type is RelayRecordType.HEADER:
                self._note(record.signed_header())

    def _note(self, signed: SignedHeader) -> None:
        header = signed.header
        seen = self._seen.setdefault(header.shard, {})
        place = header.height, header.epoch
        known = seen.setdefault(place, signed)
        if len(seen) > HEIGHTS_KEPT:
            del seen[min(seen)]
        if known.header.hash == header.hash or (header.shard, header.epoch) in self._told:
            return
        self._told.add((header.shard, header.epoch))
        _log.critical("shard_forked", shard=header.shard, height=header.height, epoch=header.epoch)
        first, second = sorted((known, signed), key=lambda each: each.header.hash)
        self._tell(ForkedShard(first, second))
