"""Breakers of corridors as a bridge learns them: requests that a ledger decided, believed for a proved block alone.

It promises that a breaker counts only when a final block proves that a ledger of its corridor decided that request, so
under two keys that were in force there then; that it is durable before it is answered; and that a restart knows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from bridge.corridor_breakers import BreakerNotice, notice_of
from bridge.refusals import BridgeCode, BridgeRefused
from clearspan.errors import ClientError
from engine.admin import AdminRequest
from engine.codes import ResultCode, code_name
from engine.prefix import PrefixType, record_digest, signing_prefix
from engine.refusals import EncodingError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from bridge.corridor_breakers import CorridorBreakers
    from clearspan.bridging.lines.ledgers import LedgerPort
    from clearspan.bridging.market.corridors import Corridors
    from engine.block_receipt import DecidedLeaf
    from engine.genesis import Genesis

__all__ = ["BREAKER_ROWS", "BreakerDesk", "BreakerRows"]

BREAKER_ROWS: Final = b"b"
"""How the keys of the rows begin under which breakers are kept: then corridor id and domain."""
_ANY_HEIGHT: Final = 2**63
SHARD_BITS: Final = 8
_WAIT_S: Final = 5.0
_log = structlog.get_logger("clearspan.bridging")


class BreakerRows:
    """The breakers that stand, kept row by row; what ``take`` returns is to be written."""

    def __init__(self, breakers: CorridorBreakers) -> None:
        """Take the breakers."""
        self.breakers = breakers
        self._written: dict[bytes, bytes | None] = {}

    def apply(self, notice: BreakerNotice) -> bool:
        """Take a proved notice, as ``CorridorBreakers.apply`` does, and keep it."""
        if not self.breakers.apply(notice):
            return False
        self._written[BREAKER_ROWS + notice.corridor_id + notice.domain.to_bytes(4, "big")] = notice.encode()
        return True

    def take(self) -> list[tuple[bytes, bytes | None]]:
        """Return what is to be written now."""
        found, self._written = self._written, {}
        return list(found.items())

    def restore(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Take back what was kept. Raises EncodingError for a broken row."""
        for _, data in rows:
            self.breakers.apply(BreakerNotice.decode(data))


class BreakerDesk:
    """Takes requests that ledgers decided. Use from one event loop."""

    def __init__(
        self,
        genesis: Genesis,
        corridors: Corridors,
        rows: BreakerRows,
        ledgers: Mapping[int, LedgerPort],
        committed: Callable[[], Awaitable[None]],
    ) -> None:
        """Take the corridors that are known, where breakers are kept, the lines by domain, and what makes durable."""
        self._corridors, self._rows, self._ledgers, self._committed = corridors, rows, ledgers, committed
        self._suite = genesis.hash_suite
        self._prefix = signing_prefix(genesis.hash_suite, PrefixType.ACCOUNT, genesis.hash)
        self._domains = {each.ledger: domain.domain for domain in genesis.domains for each in domain.ledgers}

    async def take(self, domain: int, height: int, body: bytes, wait_s: float = _WAIT_S) -> tuple[BreakerNotice, bool]:
        """Take one request (160 bytes) that a domain decided; return what it says, and whether it was new.

        ``height`` is that of the block of the domain's first shard whose decisions hold it.

        Raises BridgeRefused: terms_malformed, corridor_unknown, approval_required where no ledger of that domain is the
        corridor's or the domain refused it, breaker_unproved while its decision is not final or nobody proves it.
        """
        try:
            request = AdminRequest.decode(body)
        except EncodingError as error:
            raise BridgeRefused(BridgeCode.TERMS_MALFORMED, str(error)) from error
        # Asked with an instant that does not count, so that no node is asked about what can never be one.
        said = notice_of(request, domain, 1)
        corridor = self._corridors.book.in_effect(said.corridor_id, _ANY_HEIGHT)
        if domain not in {self._domains.get(each) for each in (corridor.source_ledger, corridor.target_ledger)}:
            text = f"domain {domain} has no ledger of corridor {corridor.id}"
            raise BridgeRefused(BridgeCode.APPROVAL_REQUIRED, text)
        port = self._ledgers.get(domain)
        if port is None:
            raise BridgeRefused(BridgeCode.BREAKER_UNPROVED, f"this bridge has no line to domain {domain}")
        leaf, relay_height = await self._decided(port, domain, height, body, wait_s)
        if leaf.code != ResultCode.CREATED:
            text = f"domain {domain} refused it: {code_name(leaf.code)}"
            raise BridgeRefused(BridgeCode.APPROVAL_REQUIRED, text)
        notice = notice_of(request, domain, leaf.time, relay_height)
        fresh = self._rows.apply(notice)
        await self._committed()
        if fresh:
            _log.warning("breaker_taken", domain=domain, what=notice.text)
        return notice, fresh

    async def _decided(
        self, port: LedgerPort, domain: int, height: int, body: bytes, wait_s: float
    ) -> tuple[DecidedLeaf, int]:
        """Return what a final block decided of a request, and the relay height under which it is final."""
        digest = record_digest(self._suite, self._prefix, body)
        # Such a request goes to every shard of its domain with one time: the first one's word is the domain's.
        shard = domain << SHARD_BITS
        try:
            _, blocks = await port.client.final_blocks(shard, height, wait_s=wait_s, verified=port.verified)
        except ClientError as error:
            raise BridgeRefused(BridgeCode.BREAKER_UNPROVED, f"domain {domain} does not prove it: {error}") from error
        leaf = next(iter(blocks[0].among({digest})), None) if height and blocks else None
        if leaf is None:
            text = f"block {height} of domain {domain} is not final, or holds no decision of it"
            raise BridgeRefused(BridgeCode.BREAKER_UNPROVED, text)
        return leaf, blocks[0].anchorage.relay_height
