"""The validators that a node or another process of ours speaks to, wherever each is now.

It promises the bytes that came, or LineLost; what they prove is for who asked. A line is made when it is first used and
made anew when its validator has moved; addresses come from the settings, or from a file that is read again.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from clearspan.client.relay import RelayClient
from clearspan.errors import Refused, Unreachable
from clearspan.relay_link.errors import LineLost

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from clearspan.pki import TlsFiles
    from clearspan.validator.addresses import AddressBook
    from relay.v1 import relay_pb2

__all__ = ["LineSet", "OfferAnswer", "ValidatorLine"]

_CALL_S: Final = 5.0
# Where a validator is may have changed since it was looked up so long ago, or a call failed.
_LOOKED_UP_S: Final = 1.0
_DETAILS_SHOWN: Final = 120


class OfferAnswer(NamedTuple):
    """What a validator said to an offer: whether it waits there now, else why not; and its last final height."""

    taken: bool
    reason: str
    height: int


class ValidatorLine:
    """One validator. ``target`` says where it is now, host:port, or None while nobody knows."""

    def __init__(self, name: str, target: Callable[[], str | None], tls: TlsFiles) -> None:
        """Prepare; nothing is called yet."""
        self.name = name
        self._target_of = target
        self._tls = tls
        self._client: RelayClient | None = None
        self._looked_at = 0.0

    async def close(self) -> None:
        """Close the connection; calls in progress are given up."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def offer(self, offers: Sequence[bytes]) -> list[OfferAnswer]:
        """Offer headers of several shards (``relay.offers.HeaderOffer``), 1 to 256, at once. Raises LineLost."""
        async with self._using() as client:
            return [OfferAnswer(each.taken, each.reason, each.height) for each in await client.offers(offers)]

    async def submit(self, record: bytes) -> OfferAnswer:
        """Hand in a record of another type: a reveal, a decision, governance, evidence. Raises LineLost."""
        async with self._using() as client:
            reply = await client.submit(record)
        return OfferAnswer(reply.taken, reply.reason, reply.height)

    async def reveal(self, preimages: Sequence[bytes]) -> list[str]:
        """Hand in preimages of 32 bytes, at most 4,096; for each why it was refused, nothing where it stands.

        Raises LineLost.
        """
        async with self._using() as client:
            return await client.reveal(preimages)

    async def status(self) -> relay_pb2.RelayStatus:
        """Ask how the validator stands. Raises LineLost."""
        async with self._using() as client:
            return await client.status()

    async def blocks(
        self, from_height: int, *, follow: bool = True, stall_s: float | None = None
    ) -> AsyncIterator[relay_pb2.FinalBlock]:
        """Iterate over what the validator calls final; with ``stall_s`` a longer silence ends it. Raises LineLost."""
        async with (
            self._using() as client,
            contextlib.aclosing(client.blocks(from_height, follow=follow, stall_s=stall_s)) as blocks,
        ):
            async for block in blocks:
                yield block

    @contextlib.asynccontextmanager
    async def _using(self) -> AsyncIterator[RelayClient]:
        """Use the client of where the validator is now; what it raises becomes LineLost."""
        client = self._client
        if client is None or time.monotonic() - self._looked_at >= _LOOKED_UP_S:
            client = await self._where_it_is()
        try:
            yield client
        except (Refused, Unreachable) as error:
            self._looked_at = 0.0
            raise LineLost(self.name, str(error)[:_DETAILS_SHOWN]) from error

    async def _where_it_is(self) -> RelayClient:
        """Look up the address, which may be a file, and return the client of it."""
        target = self._target_of()
        if target is None:
            raise LineLost(self.name, "nobody knows where it listens")
        self._looked_at = time.monotonic()
        if self._client is None or target != self._client.target:
            await self.close()
            self._client = RelayClient(target, self._tls, timeout_s=_CALL_S)
        return self._client


class LineSet:
    """The lines to all validators that are known, by name: an address, or the name in the file of addresses."""

    def __init__(self, tls: TlsFiles, *, targets: Iterable[str] = (), book: AddressBook | None = None) -> None:
        """Take fixed addresses, or a file of them, or both."""
        self._tls = tls
        self._book = book
        self._fixed = {target: ValidatorLine(target, _fixed(target), tls) for target in targets}
        self._of_book: dict[bytes, ValidatorLine] = {}
        self._meet()

    @property
    def lines(self) -> list[ValidatorLine]:
        """All lines now."""
        return [*self._fixed.values(), *self._of_book.values()]

    async def refresh(self) -> None:
        """Read the file again where it has changed."""
        if self._book is not None and await asyncio.to_thread(self._book.refresh):
            await self._forget(self._meet())

    async def close(self) -> None:
        """Close all channels."""
        await self._forget(self.lines)

    def _meet(self) -> list[ValidatorLine]:
        """Take the file's entries; return the lines that are in it no longer."""
        if self._book is None:
            return []
        book = self._book
        before, self._of_book = self._of_book, {}
        for entry in book.entries:
            known = before.pop(entry.public_key) if entry.public_key in before else None
            fresh = known or ValidatorLine(entry.name, _looked_up(book, entry.public_key), self._tls)
            self._of_book[entry.public_key] = fresh
        return list(before.values())

    @staticmethod
    async def _forget(lines: Iterable[ValidatorLine]) -> None:
        for line in lines:
            with contextlib.suppress(LineLost):
                await line.close()


def _fixed(target: str) -> Callable[[], str | None]:
    return lambda: target


def _looked_up(book: AddressBook, public_key: bytes) -> Callable[[], str | None]:
    return lambda: book.target(public_key)
