"""The bridges of others: quotes asked of all of them, acceptances of many swaps in one call to each.

It promises that what is asked of one bridge waits for no other, and that a bridge that does not answer costs its own
swaps time and nothing else.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import structlog

from clearspan.client.bridge import BridgeClient
from clearspan.errors import ClientError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clearspan.bridging.settings.directory import BridgeDirectory
    from clearspan.pki import TlsFiles
    from clearspan.v1 import bridge_pb2

__all__ = ["ACCEPTANCES_AT_ONCE_MAX", "Peers"]

ACCEPTANCES_AT_ONCE_MAX: Final = 1_024
_QUOTE_S: Final = 3.0
_ACCEPT_S: Final = 10.0
_REFRESH_S: Final = 1.0
_WORDS_MAX: Final = 500
_log = structlog.get_logger("clearspan.bridging")


class Peers:
    """Connections to other bridges, made when they are first used and anew when one has moved."""

    def __init__(self, directory: BridgeDirectory, tls: TlsFiles) -> None:
        """Take the file of addresses and the certificate to speak with."""
        self.directory = directory
        self._tls = tls
        self._clients: dict[int, BridgeClient] = {}
        self._refresh_at = 0.0

    async def close(self) -> None:
        """Close all connections."""
        clients, self._clients = list(self._clients.values()), {}
        await asyncio.gather(*(client.close() for client in clients), return_exceptions=True)

    async def quotes(
        self, request: bridge_pb2.QuoteRequest, providers: Sequence[int]
    ) -> dict[int, bridge_pb2.QuoteReply]:
        """Ask several providers at once; who does not answer in time is left out."""
        await self._refresh()
        found = await asyncio.gather(*(self._quote(each, request) for each in providers))
        return {provider: reply for provider, reply in zip(providers, found, strict=True) if reply is not None}

    async def _quote(self, provider: int, request: bridge_pb2.QuoteRequest) -> bridge_pb2.QuoteReply | None:
        try:
            async with asyncio.timeout(_QUOTE_S):
                client = await self._client(provider)
                reply = await client.quote(request) if client is not None else None
        except (ClientError, TimeoutError) as error:
            _log.info("quote_not_given", provider=provider, reason=str(error))
            return None
        if reply is not None and reply.HasField("refusal"):
            _make_plain(reply.refusal)
        return reply

    async def accept(
        self, provider: int, asked: Sequence[bridge_pb2.Acceptance]
    ) -> list[bridge_pb2.AcceptAnswer] | None:
        """Ask a provider to lock its legs; None where it did not answer: the same may be asked again."""
        try:
            async with asyncio.timeout(_ACCEPT_S):
                client = await self._client(provider)
                answers = await client.accept(asked) if client is not None else None
        except (ClientError, TimeoutError) as error:
            _log.warning("acceptance_not_answered", provider=provider, count=len(asked), reason=str(error))
            return None
        for answer in answers or ():
            if answer.HasField("refusal"):
                _make_plain(answer.refusal)
        return answers

    async def _refresh(self) -> None:
        """Read the file again where it has changed, which is looked at once a second: bridges come and move."""
        now = time.monotonic()
        if now >= self._refresh_at:
            self._refresh_at = now + _REFRESH_S
            await asyncio.to_thread(self.directory.refresh)

    async def _client(self, participant: int) -> BridgeClient | None:
        await self._refresh()
        target = self.directory.target(participant)
        known = self._clients.get(participant)
        if target is None:
            return known
        if known is None or known.target != target:
            if known is not None:
                await known.close()
            known = self._clients[participant] = BridgeClient(target, self._tls, timeout_s=_ACCEPT_S, patient=True)
        return known


def _make_plain(refusal: bridge_pb2.BridgeRefusal) -> None:
    """Keep of another institution's words what a person may be shown: so many, and none that a terminal obeys."""
    for name in ("name", "text", "next_step"):
        words: str = getattr(refusal, name)
        setattr(refusal, name, "".join(each if each.isprintable() else " " for each in words[:_WORDS_MAX]))
