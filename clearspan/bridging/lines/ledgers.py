"""One domain's node as a bridge uses it: locks out in signed batches, final decisions back by blocks.

It promises that a lock that was handed over is sent again until it is answered for itself, that a batch is signed once
and sent as the same bytes, and that what is told as final stood under a certificate. What an answer means for a
swap is not known here.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import structlog

from clearspan.client.decisions import DecisionWatch
from clearspan.errors import ClientError, Refused
from clearspan.signer import new_batch_id
from engine.batch import BatchColumns
from engine.types import HASH_BYTES, HEAD_BYTES, RECORD_BYTES, SIGNATURE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from clearspan.client.asynchronous import AsyncClient
    from clearspan.client.decisions import FinalDecision
    from clearspan.client.results import BatchResult
    from clearspan.signer import Signer
    from relay.light import LightClient

__all__ = ["LedgerPort", "LockAnswer", "light_client_of", "lock_columns", "start_ledgers"]

_RETRY_S: Final = 0.2
_REACHED_S: Final = 5.0
# Who follows a node's blocks is answered every five seconds, with or without a block.
_SILENT_S: Final = 8.0
# Below this a thread costs more than the signatures.
_SIGNED_HERE_MAX: Final = 8
_log = structlog.get_logger("clearspan.bridging")


class LockAnswer(NamedTuple):
    """What a node answered to a lock: its result code, and the first one where it was decided before (else 0)."""

    digest: bytes
    code: int
    first_code: int


class LedgerPort:
    """Use from one event loop: ``start``, then ``stop``. ``answered`` and ``final`` are told in batches."""

    def __init__(
        self,
        domain: int,
        client: AsyncClient,
        signer: Signer | None,
        *,
        answered: Callable[[int, list[LockAnswer]], None],
        final: Callable[[int, list[FinalDecision]], None],
        verified: bool = True,
        batch_count_max: int = 2_048,
        batch_wait_s: float = 0.01,
        in_flight_max: int = 4,
    ) -> None:
        """Prepare; nothing is sent yet. Without a signer this domain is only watched."""
        self.domain, self.client = domain, client
        self._signer = signer
        self._answered = answered
        self._count_max, self._wait_s, self._in_flight_max = batch_count_max, batch_wait_s, in_flight_max
        self.watch = DecisionWatch(client, verified=verified, tell=lambda found: final(domain, found))
        self.verified = verified
        self._reached = False
        self._queue: deque[tuple[bytes, bytes]] = deque()
        self._sent: set[bytes] = set()
        self._in_flight: set[asyncio.Task[None]] = set()
        self._came = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to watch and to send. Waits until the node can be reached."""
        while True:
            try:
                await self.watch.start()
                break
            except ClientError as error:
                _log.warning("node_not_reached", domain=self.domain, reason=str(error))
                await self.watch.stop()
                await asyncio.sleep(_RETRY_S)
        self._reached = True
        self._task = asyncio.create_task(self._pump(), name=f"locks-{self.domain}")

    async def stop(self) -> None:
        """End; what was not answered is the journal's to send again."""
        tasks = [*self._in_flight, *([self._task] if self._task is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.watch.stop()
        await self.client.close()

    @property
    def reached(self) -> bool:
        """Whether the node is there: it took what was sent last, and answers who follows its blocks."""
        return self._reached and time.monotonic() < self.watch.heard_at + _SILENT_S

    @property
    def waiting(self) -> int:
        """How many locks wait for an answer."""
        return len(self._sent)

    def lock(self, digest: bytes, record: bytes) -> None:
        """Send a lock (160 bytes) soon; one that waits for its answer already is not sent twice."""
        if digest not in self._sent:
            self._sent.add(digest)
            self._queue.append((digest, record))
            self._came.set()

    async def _pump(self) -> None:
        while True:
            await self._came.wait()
            if self._in_flight and len(self._queue) < self._count_max:
                # While the node is busy with a batch of ours, the next one may grow.
                await asyncio.sleep(self._wait_s)
            self._came.clear()
            while self._queue:
                if len(self._in_flight) >= self._in_flight_max:
                    await asyncio.wait(self._in_flight, return_when=asyncio.FIRST_COMPLETED)
                count = min(len(self._queue), self._count_max)
                part = [self._queue.popleft() for _ in range(count)]
                task = asyncio.create_task(self._send(part))
                self._in_flight.add(task)
                task.add_done_callback(self._in_flight.discard)

    async def _send(self, part: Sequence[tuple[bytes, bytes]]) -> None:
        """Sign a batch and send it until it is answered."""
        try:
            columns = await self._signed([record for _, record in part])
        except Exception as error:  # noqa: BLE001 - one key that is missing must not hold the others up for ever
            _log.error("locks_not_signed", domain=self.domain, count=len(part), exc_info=error)
            self._sent.difference_update(digest for digest, _ in part)
            return
        try:
            result = await self._decided(columns, len(part))
        finally:
            # Whatever became of the call: who still waits asks again.
            self._sent.difference_update(digest for digest, _ in part)
        if result is not None:
            codes, firsts = result.codes.tolist(), result.first_codes.tolist()
            answers = [
                LockAnswer(digest, code, first) for (digest, _), code, first in zip(part, codes, firsts, strict=True)
            ]
            self._answered(self.domain, answers)

    async def _decided(self, columns: BatchColumns, count: int) -> BatchResult | None:
        """Submit a batch until it is answered; None where nothing of it was decided."""
        while True:
            try:
                result = await self.client.submit(columns)
            except Refused as error:
                # Nothing of the batch was decided; the machines send their locks again, with what is right by then.
                _log.warning("locks_refused", domain=self.domain, code=error.name, reason=str(error))
                return None
            except ClientError as error:
                self._reached = False
                _log.warning("node_not_reached", domain=self.domain, reason=str(error))
                await asyncio.sleep(_RETRY_S)
            except Exception as error:  # noqa: BLE001 - one batch that cannot be sent must not be waited for for ever
                _log.error("locks_not_sent", domain=self.domain, count=count, exc_info=error)
                return None
            else:
                self._reached = True
                return result

    async def _signed(self, records: Sequence[bytes]) -> BatchColumns:
        if self._signer is None:
            raise KeyError(self.domain)
        columns = lock_columns(self.domain, records)
        if len(records) <= _SIGNED_HERE_MAX:
            return self._signer.sign_columns(columns)
        return await asyncio.to_thread(self._signer.sign_columns, columns)


async def start_ledgers(
    ledgers: Sequence[LedgerPort], stack: contextlib.AsyncExitStack, wait_s: float = _REACHED_S
) -> None:
    """Begin to watch all nodes; one that cannot be reached by then holds up what touches it and nothing else."""
    starting = [asyncio.create_task(each.start(), name=f"start-{each.domain}") for each in ledgers]
    for task in starting:
        stack.callback(task.cancel)
    done, _ = await asyncio.wait(starting, timeout=wait_s)
    for task in done:
        task.result()


async def light_client_of(ledgers: Sequence[LedgerPort]) -> LightClient:
    """Return a light client from the first node that gives one, those that were reached first. Raises ClientError."""
    nodes = sorted(ledgers, key=lambda each: not each.reached)
    for each in nodes[:-1]:
        with contextlib.suppress(ClientError):
            return await each.client.light_client()
    return await nodes[-1].client.light_client()


def lock_columns(domain: int, records: Iterable[bytes]) -> BatchColumns:
    """Return records of 160 bytes as the columns of a batch, unsigned: locks, and transfers without a binding."""
    rows = np.frombuffer(b"".join(records), dtype=np.uint8).reshape(-1, RECORD_BYTES)
    count = len(rows)
    bound = np.flatnonzero(rows[:, HEAD_BYTES : HEAD_BYTES + HASH_BYTES].any(axis=1)).astype(np.uint32)
    return BatchColumns(
        domain,
        new_batch_id(),
        np.ascontiguousarray(rows[:, :HEAD_BYTES]),
        np.zeros((count, SIGNATURE_BYTES), dtype=np.uint8),
        bound,
        np.ascontiguousarray(rows[bound, HEAD_BYTES : HEAD_BYTES + HASH_BYTES]),
    )
