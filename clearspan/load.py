"""The load generator: signed batches from a seed, sent closed-loop or at a fixed rate, with every acknowledgement kept.

What is sent is decided before the clock starts: records are built as columns and signed natively, so that the sender costs
little beside the node that it measures. Under a fixed rate (open loop) a batch's latency counts from the moment at
which it was due, not from when a slow node let it be sent. It knows accounts and keys, and nothing of how they came to be.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from clearspan.errors import ClientError
from engine.batch import HEAD_DTYPE, BatchColumns
from engine.codes import code_name
from engine.types import BATCH_COUNT_MAX, HASH_BYTES, HEAD_BYTES, NS_PER_S, SIGNATURE_BYTES
from native.ledger import prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

    from clearspan.client import AsyncClient
    from clearspan.client.results import BatchResult
    from clearspan.signer import Signer
    from engine.genesis import Genesis

__all__ = ["Acknowledgement", "AcknowledgementFile", "LoadAccounts", "LoadOutcome", "LoadPlan", "drive", "signed_batches"]

_ACKNOWLEDGEMENT_HEAD: Final = struct.Struct("<4s16sI")
_ACKNOWLEDGEMENT_MAGIC: Final = b"CSAK"
_HALF: Final = 8


@dataclass(frozen=True, slots=True, eq=False)
class LoadAccounts:
    """Who pays whom: ``ids`` n x 16 bytes, ``key_ids`` n x u32 (the key that signs for each), all of one ledger."""

    ledger: int
    ids: NDArray[np.uint8]
    key_ids: NDArray[np.uint32]

    @classmethod
    def of(cls, ledger: int, accounts: Sequence[int], key_ids: Sequence[int]) -> Self:
        """Take account ids and key ids side by side, at least two."""
        packed = b"".join(account.to_bytes(16, "little") for account in accounts)
        return cls(
            ledger, np.frombuffer(packed, dtype=np.uint8).reshape(-1, 16), np.asarray(key_ids, dtype=np.uint32)
        )


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """What is sent: counts, amounts in minor units (1 .. amount_max), and the seed that decides all of it.

    ``valid_for_s`` must be within the ledger's window. ``hot_accounts`` > 0 lets that many accounts take part in every
    transfer, for the worst case of contention.
    """

    domain: int
    transfers: int
    batch_size: int = BATCH_COUNT_MAX
    amount_max: int = 10_000
    valid_for_s: int = 60
    seed: int = 1
    hot_accounts: int = 0


def signed_batches(plan: LoadPlan, accounts: LoadAccounts, signer: Signer, now: int) -> Iterator[BatchColumns]:
    """Yield signed batches of plain transfers between random pairs of accounts, valid from ``now`` (ns) on."""
    generator = np.random.default_rng(plan.seed)
    left = plan.transfers
    while left > 0:
        count = min(left, plan.batch_size)
        left -= count
        heads = _heads(plan, accounts, generator, count, now)
        yield signer.sign_columns(
            BatchColumns(
                plan.domain,
                generator.bytes(16),
                heads.view(np.uint8).reshape(count, HEAD_BYTES),
                np.zeros((count, SIGNATURE_BYTES), dtype=np.uint8),
                np.empty(0, dtype=np.uint32),
                np.empty((0, HASH_BYTES), dtype=np.uint8),
            )
        )


def _heads(
    plan: LoadPlan, accounts: LoadAccounts, generator: np.random.Generator, count: int, now: int
) -> NDArray[np.void]:
    known = len(accounts.ids)
    debit = generator.integers(0, known, count)
    if plan.hot_accounts:
        credit = generator.integers(0, min(plan.hot_accounts, known), count)
        credit = np.where(credit == debit, (credit + 1) % known, credit)
    else:
        credit = (debit + generator.integers(1, known, count)) % known
    heads = np.zeros(count, dtype=HEAD_DTYPE)
    halves = accounts.ids.view("<u8").reshape(known, 2)
    # Ids are random in both halves; the low bit set keeps them from being zero.
    heads["id"] = generator.integers(0, 1 << 63, (count, 2), dtype=np.uint64) | np.uint64(1)
    heads["debit_account"] = halves[debit]
    heads["credit_account"] = halves[credit]
    heads["amount"][:, 0] = generator.integers(1, plan.amount_max, count, endpoint=True)
    heads["expires_at"] = now + plan.valid_for_s * NS_PER_S
    heads["ledger"] = accounts.ledger
    heads["key_id"] = accounts.key_ids[debit]
    heads["valid_for_s"] = plan.valid_for_s
    heads["code"] = 1
    return heads


@dataclass(frozen=True, slots=True, eq=False)
class Acknowledgement:
    """What a client was told about one batch: record digests n x 32, codes n x u16, times n x u64."""

    batch_id: bytes
    digests: NDArray[np.uint8]
    codes: NDArray[np.uint16]
    times: NDArray[np.uint64]


class AcknowledgementFile:
    """Every acknowledgement a client received, appended before the next one is waited for; read back by another process."""

    def __init__(self, path: Path, genesis: Genesis) -> None:
        self._file = path.open("ab")
        self._genesis = genesis

    def __enter__(self) -> Self:
        """Use it in a block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close at the end of the block."""
        self._file.close()

    def add(self, batch: BatchColumns, result: BatchResult) -> None:
        """Append what was answered to a batch; a batch that was refused whole is no acknowledgement."""
        if result.refusal is not None:
            return
        prepared = prepare(
            self._genesis.hash_suite, self._genesis.hash, batch.heads, batch.binding_index, batch.bindings
        )
        self._file.write(_ACKNOWLEDGEMENT_HEAD.pack(_ACKNOWLEDGEMENT_MAGIC, batch.batch_id, batch.count))
        self._file.write(np.asarray(prepared.digests, dtype=np.uint8).tobytes())
        self._file.write(result.codes.astype("<u2").tobytes())
        self._file.write(result.times.astype("<u8").tobytes())
        self._file.flush()

    @staticmethod
    def read(path: Path) -> Iterator[Acknowledgement]:
        """Yield what a file holds. Raises ValueError at bytes that are no acknowledgement."""
        content = memoryview(path.read_bytes())
        at = 0
        while at < len(content):
            magic, batch_id, count = _ACKNOWLEDGEMENT_HEAD.unpack_from(content, at)
            at += _ACKNOWLEDGEMENT_HEAD.size
            end = at + count * (HASH_BYTES + 2 + 8)
            if magic != _ACKNOWLEDGEMENT_MAGIC or end > len(content):
                message = f"{path}: no acknowledgement at byte {at}"
                raise ValueError(message)
            digests = np.frombuffer(content[at : at + count * HASH_BYTES], dtype=np.uint8).reshape(count, HASH_BYTES)
            at += count * HASH_BYTES
            codes = np.frombuffer(content[at : at + count * 2], dtype="<u2")
            at += count * 2
            times = np.frombuffer(content[at : at + count * 8], dtype="<u8")
            at = end
            yield Acknowledgement(bytes(batch_id), digests, codes, times)


@dataclass(slots=True)
class LoadOutcome:
    """What came of a load: counts by code, latencies of batches in ns, and the time between first send and last answer."""

    sent: int = 0
    settled: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    latencies_ns: list[int] = field(default_factory=list)
    elapsed_ns: int = 0
    unanswered: list[BatchColumns] = field(default_factory=list)

    @property
    def transfers_per_s(self) -> int:
        """Settled transfers a second over the whole load."""
        return self.settled * NS_PER_S // self.elapsed_ns if self.elapsed_ns else 0

    def latency_ms(self, percentile: int | float) -> float:
        """Return a percentile of the batch latencies in milliseconds."""
        return float(np.percentile(self.latencies_ns, percentile)) / 1e6 if self.latencies_ns else 0.0

    def add(self, result: BatchResult, latency_ns: int) -> None:
        """Count one answered batch."""
        codes, counts = np.unique(result.codes, return_counts=True)
        for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
            self.codes[code_name(code)] += count
        self.settled += result.settled_count
        self.latencies_ns.append(latency_ns)


async def drive(
    client: AsyncClient,
    batches: Sequence[BatchColumns],
    *,
    window: int = 8,
    rate_per_s: int = 0,
    acknowledgements: AcknowledgementFile | None = None,
    progress: Callable[[int], None] | None = None,
) -> LoadOutcome:
    """Send the batches and wait for all answers; at most ``window`` are on their way at once.

    ``rate_per_s`` transfers a second (open loop), or as fast as answers come when it is 0. Batches that stayed without an
    answer after the client's retries are in ``unanswered``: send the same bytes again.
    """
    outcome = LoadOutcome()
    room = asyncio.Semaphore(window if not rate_per_s else max(window, len(batches)))
    began = time.monotonic_ns()

    async def send(batch: BatchColumns, due: int) -> None:
        try:
            result = await client.submit(batch)
        except ClientError:
            outcome.unanswered.append(batch)
            return
        finally:
            room.release()
        outcome.add(result, time.monotonic_ns() - due)
        if acknowledgements is not None:
            acknowledgements.add(batch, result)
        if progress is not None:
            progress(batch.count)

    tasks = []
    for batch in batches:
        if rate_per_s:
            due = began + outcome.sent * NS_PER_S // rate_per_s
            await asyncio.sleep(max(0, due - time.monotonic_ns()) / NS_PER_S)
        await room.acquire()
        tasks.append(asyncio.create_task(send(batch, due if rate_per_s else time.monotonic_ns())))
        outcome.sent += batch.count
    await asyncio.gather(*tasks)
    outcome.elapsed_ns = time.monotonic_ns() - began
    return outcome
