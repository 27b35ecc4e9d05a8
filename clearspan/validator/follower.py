"""Following domains: their logs come in over the wire, are executed again beside the loop, and the core is told.

It promises that a validator says of a header only what it found itself, and that a node that is slow, silent or lies
costs the validator nothing but the word about that node's shards. What differs is said loudly and offered as evidence.
"""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import grpc
import grpc.aio
import structlog

from clearspan.client.transport import CHANNEL_OPTIONS
from clearspan.errors import ClearspanError
from clearspan.network import read_address
from clearspan.pki import channel_credentials
from clearspan.v1 import clearspan_pb2
from clearspan.validator.followed import FollowedDomain, FollowFailed, record_bytes, waits_for_relay
from engine.errors import DiskFull
from engine.log_record import BODY_BYTES_MAX, RECORD_HEADER_BYTES
from engine.relay_block import RelayBlock
from engine.types import RelayRecordType

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from clearspan.network import NodeEntry
    from clearspan.pki import TlsFiles
    from clearspan.validator.claims import ClaimDesk
    from clearspan.validator.standing import Validator
    from engine.checkpoint import CheckpointStore
    from engine.evidence import FraudClaim
    from engine.header import Header
    from engine.lmdb_log import LmdbStore
    from engine.validators import Certificate
    from relay.ports import State

__all__ = ["FollowStores", "Follower", "NodeBook"]

FOLLOW_PATH: Final = "/clearspan.v1.Settlement/FollowLog"
_VERSION: Final = 1
_PAUSE_S: Final = 0.1
_PAUSE_MAX_S: Final = 2.0
_CONNECT_S: Final = 5.0
_DISK_POLL_S: Final = 1.0
_ANCHORED_KEPT: Final = 256
_EXAMINED_MAX: Final = 64
_BLOCKS_SEARCHED_MAX: Final = 2_048
_log = structlog.get_logger("clearspan.validator")


class NodeBook:
    """Where the nodes of the followed domains listen; a port of 0 is looked up in the node's own folder."""

    def __init__(self, path: Path, entries: Sequence[NodeEntry]) -> None:
        """Know these nodes; ``path`` is the file that names them."""
        self._path = path
        self._entries = {entry.domain: entry for entry in entries}

    def target(self, domain: int) -> str | None:
        """Return where to call a domain's node now, host:port; None where nobody knows."""
        entry = self._entries.get(domain)
        if entry is None:
            return None
        if entry.port:
            return f"{entry.host}:{entry.port}"
        found = read_address(self._path.parent / "nodes" / entry.name / "data")
        return None if found is None else f"{entry.host}:{found.port}"


@dataclass(frozen=True, slots=True)
class FollowStores:
    """What following keeps on disk; ``log`` is None where bodies are not held."""

    log: LmdbStore | None
    checkpoints: CheckpointStore
    folder: Path
    state_bytes: int


@dataclass(slots=True)
class _Anchored:
    """Headers of one shard that are final and were not made here yet, by height."""

    headers: dict[int, Header] = field(default_factory=dict)


class Follower:
    """Follows the domains of one validator; ``run`` is the task. What differs is for ``claims`` to say."""

    def __init__(
        self,
        validator: Validator,
        domains: Sequence[int],
        nodes: NodeBook,
        stores: FollowStores,
        *,
        tls: TlsFiles,
        claims: ClaimDesk,
    ) -> None:
        """Put it together."""
        self._validator, self._domains, self._nodes, self._tls = validator, tuple(domains), nodes, tls
        self._stores, self._claims = stores, claims
        claims.examine = self.examine
        self._anchored: dict[int, _Anchored] = {}
        self._followed: dict[int, FollowedDomain] = {}
        self.alarms: dict[int, str] = {}
        """Shards about which something is wrong, and what."""
        self._ended: set[int] = set()
        self.disputed: set[tuple[int, int]] = set()
        self._examined: set[tuple[int, int]] = set()
        self._claimed: dict[int, int] = {}
        self._asked: asyncio.Queue[FraudClaim] = asyncio.Queue(_EXAMINED_MAX)

    async def run(self) -> None:
        """Follow all domains until cancelled; raises what the stores fail with."""
        async with asyncio.TaskGroup() as group:
            for domain in self._domains:
                group.create_task(self._follow_domain(domain))
            while True:
                await self._examine(group, await self._asked.get())

    def examine(self, claim: FraudClaim) -> None:
        """Look into what another validator claims; beyond a few that wait it is left to the others."""
        if not self._asked.full():
            self._asked.put_nowait(claim)

    async def _examine(self, group: asyncio.TaskGroup, claim: FraudClaim) -> None:
        """Hold the header that a claim is about against the one made here, which may be made only now."""
        loop = asyncio.get_running_loop()
        final = await loop.run_in_executor(self._validator.readers, self._anchored_header, claim.shard, claim.height)
        if final is None or final.hash != claim.header_hash or len(self._examined) >= _EXAMINED_MAX:
            return
        self._examined.add((claim.shard, claim.height))
        self._anchored.setdefault(claim.shard, _Anchored()).headers[claim.height] = final
        domain = claim.shard >> 8
        followed = self._followed.get(domain)
        if followed is None:
            # Not one of those that it follows: the published log is executed from its beginning, and not kept.
            _log.info("claim_examined", shard=claim.shard, height=claim.height)
            group.create_task(self._follow_domain(domain, held=False))
        elif claim.shard in followed.shards and claim.height in followed.shards[claim.shard].headers:
            self._compare(followed.shards[claim.shard].headers[claim.height])

    def _anchored_header(self, shard: int, height: int) -> Header | None:
        """Return the header of a height as a final block of late anchored it, None where none did."""
        chain = self._validator.chain
        top = chain.last_height()
        for relay_height in range(top, max(0, top - _BLOCKS_SEARCHED_MAX), -1):
            entry = chain.get(relay_height)
            if entry is None:
                break
            for record in RelayBlock.decode(entry.block, self._validator.genesis.hash_suite).records:
                if record.type is RelayRecordType.HEADER:
                    header = record.signed_header().header
                    if (header.shard, header.height) == (shard, height):
                        return header
        return None

    async def note_final(self, block: RelayBlock, _certificate: Certificate, _state: State) -> None:
        """Hold the headers that a final block anchors against those made here, now or when they are made."""
        for record in block.records:
            if record.type is not RelayRecordType.HEADER:
                continue
            header = record.signed_header().header
            waiting = self._anchored.get(header.shard)
            if waiting is None or header.shard >> 8 not in self._followed:
                continue
            waiting.headers[header.height] = header
            if len(waiting.headers) > _ANCHORED_KEPT:
                del waiting.headers[min(waiting.headers)]
            followed = self._followed[header.shard >> 8].shards.get(header.shard)
            if followed is not None and header.height in followed.headers:
                self._compare(followed.headers[header.height])

    # One domain.

    async def _follow_domain(self, domain: int, *, held: bool = True) -> None:
        """Recover in the domain's thread, then follow each shard; the state is kept at the end."""
        loop = asyncio.get_running_loop()
        stores, validator = self._stores, self._validator
        worker = ThreadPoolExecutor(1, thread_name_prefix=f"follow-{domain}")
        followed = FollowedDomain(
            validator.genesis,
            domain,
            validator.chain,
            stores.log if held else None,
            stores.checkpoints,
            folder=stores.folder,
            state_bytes=stores.state_bytes,
        )
        self._followed[domain] = followed
        try:
            try:
                await loop.run_in_executor(worker, followed.recover)
            except FollowFailed as failure:
                self._alarm(failure)
                return
            for shard, each in followed.shards.items():
                self._anchored.setdefault(shard, _Anchored())
                validator.executed[shard] = each.executed_height
            _log.info("following", domain=domain, shards=sorted(followed.shards))
            async with asyncio.TaskGroup() as group:
                for shard in followed.shards:
                    group.create_task(self._follow_shard(followed, shard, worker))
        finally:
            with contextlib.suppress(DiskFull):
                await asyncio.shield(loop.run_in_executor(worker, followed.close))
            worker.shutdown(wait=True)

    async def _follow_shard(self, followed: FollowedDomain, shard: int, worker: ThreadPoolExecutor) -> None:
        pause = _PAUSE_S
        while followed.domain.domain not in self._ended:
            number = followed.next_number(shard)
            try:
                await self._stream(followed, shard, worker)
            except FollowFailed as failure:
                self._alarm(failure)
                # The other shards' credits would wait for this one's blocks for ever.
                self._ended.add(followed.domain.domain)
                return
            except (grpc.aio.AioRpcError, TimeoutError, ClearspanError) as error:
                code = error.code().name if isinstance(error, grpc.aio.AioRpcError) else type(error).__name__
                _log.info("follow_lost", shard=shard, number=number, code=code)
            pause = _PAUSE_S if followed.next_number(shard) > number else min(2 * pause, _PAUSE_MAX_S)
            await asyncio.sleep(pause)

    async def _stream(self, followed: FollowedDomain, shard: int, worker: ThreadPoolExecutor) -> None:
        """Read the log from where this validator is, until the stream ends."""
        target = self._nodes.target(followed.domain.domain)
        if target is None:
            return
        own = {"grpc.keepalive_time_ms": 5_000, "grpc.keepalive_timeout_ms": 5_000}
        options = (*(each for each in CHANNEL_OPTIONS if each[0] not in own), *own.items())
        request = clearspan_pb2.FollowLogRequest(
            version=_VERSION,
            domain=followed.domain.domain,
            shard=shard,
            from_number=followed.next_number(shard),
            follow=True,
        )
        async with grpc.aio.secure_channel(target, channel_credentials(self._tls), options=options) as channel:
            async with asyncio.timeout(_CONNECT_S):
                await channel.channel_ready()
            call: Any = channel.unary_stream(
                FOLLOW_PATH,
                request_serializer=clearspan_pb2.FollowLogRequest.SerializeToString,
                response_deserializer=clearspan_pb2.FollowLogReply.FromString,
            )(request)
            rest = bytearray()
            async for part in call:
                if followed.domain.domain in self._ended:
                    return
                rest += part.records
                rest = await self._take(followed, shard, worker, rest)

    async def _take(
        self, followed: FollowedDomain, shard: int, worker: ThreadPoolExecutor, data: bytearray
    ) -> bytearray:
        """Execute the whole records that have come; return what is left of the last one."""
        view = memoryview(data).toreadonly()
        records, at = [], 0
        while (size := record_bytes(view[at:])) and at + size <= len(data):
            records.append(view[at : at + size])
            at += size
        if record_bytes(view[at:]) > RECORD_HEADER_BYTES + BODY_BYTES_MAX:
            raise FollowFailed(shard, followed.next_number(shard), "a record longer than any may be")
        start = 0
        for place, record in enumerate(records):
            # A relay block that this validator does not have yet is on its way: it is not believed before.
            # The book says what it has: the core knows of a block before it is written.
            height = waits_for_relay(record)
            if height and height > self._validator.chain.last_height():
                await self._execute(followed, shard, worker, records[start:place])
                start = place
                await self._validator.shell.grown(height - 1)
        await self._execute(followed, shard, worker, records[start:])
        return bytearray(view[at:])

    async def _execute(
        self, followed: FollowedDomain, shard: int, worker: ThreadPoolExecutor, records: Sequence[memoryview]
    ) -> None:
        if not records:
            return
        step: Callable[[], list[tuple[int, Header]]] = partial(followed.take, shard, records)
        while True:
            try:
                executed = await asyncio.get_running_loop().run_in_executor(worker, step)
                break
            except DiskFull as error:
                _log.error("disk_full", path=error.path, free_bytes=error.free_bytes)
                await asyncio.sleep(_DISK_POLL_S)
                step = partial(followed.keep, shard)
        for each, header in executed:
            self._validator.executed[each] = header.height
            self._validator.shell.note_followed(each, header.height, header.hash, held=followed.holds)
            self._compare(header)

    # What differs.

    def _compare(self, header: Header) -> None:
        """Hold a header that was made here against the final one of its height."""
        waiting = self._anchored.get(header.shard)
        final = waiting.headers.pop(header.height, None) if waiting is not None else None
        if final is None:
            return
        shard = header.shard
        epoch_min = self._validator.state.shards[shard].epoch_min
        first = self._claimed.get(shard, 0) < epoch_min
        if final.hash == header.hash:
            if first:
                # What was wrong was before the shard was resumed.
                self.alarms.pop(shard, None)
            return
        if (shard, header.height) in self.disputed or not (first or (shard, header.height) in self._examined):
            # Every header after a false one is false: the first says it all.
            return
        self._claimed[shard] = epoch_min
        self.disputed.add((shard, header.height))
        names = (each.name for each in fields(header) if each.compare)
        different = [name for name in names if getattr(final, name) != getattr(header, name)]
        _log.critical("header_differs", shard=header.shard, height=header.height, fields=different)
        self.alarms.setdefault(header.shard, f"block {header.height}: {', '.join(different)}")
        self._claims.make(final, header)

    def _alarm(self, failure: FollowFailed) -> None:
        _log.critical("follow_failed", shard=failure.shard, number=failure.number, reason=failure.reason)
        self.alarms.setdefault(failure.shard, failure.reason)
