"""What a client was told, in a file of its own: every acknowledgement, appended before the next one is waited for.

It promises that another process can read each one back and ask a node for it by its record digest. It knows no
connection, and no node can write here: so what the file says and what a node says are two testimonies.

An entry is ``CSAK``, the batch id (16), a count n (u32), then n record digests (32), n codes (u16), n times (u64),
little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from engine.types import HASH_BYTES
from native.ledger import prepare

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from types import TracebackType

    from numpy.typing import NDArray

    from clearspan.client.results import BatchResult
    from engine.batch import BatchColumns
    from engine.genesis import Genesis

__all__ = ["Acknowledgement", "AcknowledgementFile", "record_digests"]

_HEAD: Final = struct.Struct("<4s16sI")
_MAGIC: Final = b"CSAK"


def record_digests(genesis: Genesis, batch: BatchColumns) -> NDArray[np.uint8]:
    """Return the record digest of each record of a batch, n x 32: what look-ups and receipts name."""
    prepared = prepare(genesis.hash_suite, genesis.hash, batch.heads, batch.binding_index, batch.bindings)
    return np.frombuffer(prepared.digests, dtype=np.uint8).reshape(batch.count, HASH_BYTES)


@dataclass(frozen=True, slots=True, eq=False)
class Acknowledgement:
    """What a client was told about one batch: record digests n x 32, codes n x u16, times n x u64 (ns).

    For a repeated request they are the first decision's code and time, so that all answers to one record agree.
    """

    batch_id: bytes
    digests: NDArray[np.uint8]
    codes: NDArray[np.uint16]
    times: NDArray[np.uint64]

    def encode(self) -> bytes:
        """Return the bytes of one entry."""
        return b"".join(
            (
                _HEAD.pack(_MAGIC, self.batch_id, len(self.codes)),
                self.digests.tobytes(),
                self.codes.astype("<u2").tobytes(),
                self.times.astype("<u8").tobytes(),
            )
        )


class AcknowledgementFile:
    """Every acknowledgement a client received; use it in a ``with`` block."""

    def __init__(self, path: Path, genesis: Genesis) -> None:
        """Open the file to append to it; what it holds already stays."""
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
        if result.refusal is None:
            digests = record_digests(self._genesis, batch)
            self.append(Acknowledgement(batch.batch_id, digests, result.codes, result.times))

    def append(self, entry: Acknowledgement) -> None:
        """Append an entry that is made already."""
        self._file.write(entry.encode())
        self._file.flush()

    @staticmethod
    def read(path: Path) -> Iterator[Acknowledgement]:
        """Yield what a file holds. Raises ValueError at bytes that are no acknowledgement."""
        content = memoryview(path.read_bytes())
        at = 0
        while at < len(content):
            start = at
            if len(content) - at < _HEAD.size:
                raise _damaged(path, start)
            magic, batch_id, count = _HEAD.unpack_from(content, at)
            at += _HEAD.size
            if magic != _MAGIC or at + count * (HASH_BYTES + 2 + 8) > len(content):
                raise _damaged(path, start)
            digests = np.frombuffer(content[at : at + count * HASH_BYTES], dtype=np.uint8).reshape(count, HASH_BYTES)
            at += count * HASH_BYTES
            codes = np.frombuffer(content[at : at + count * 2], dtype="<u2")
            at += count * 2
            times = np.frombuffer(content[at : at + count * 8], dtype="<u8")
            at += count * 8
            yield Acknowledgement(bytes(batch_id), digests, codes, times)

    @staticmethod
    def write(path: Path, entries: Iterable[Acknowledgement]) -> None:
        """Write a file anew; for tools and tests."""
        path.write_bytes(b"".join(entry.encode() for entry in entries))


def _damaged(path: Path, at: int) -> ValueError:
    return ValueError(f"{path}: no acknowledgement at byte {at}")
