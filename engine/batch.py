"""A batch as columns, and the batch file: numpy views over the bytes that came, never one object for each transfer.

What a ``BatchColumns`` holds has the shape of RECORD-7; whether its records make sense is the state machine's to say.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from engine.prefix import PrefixType, record_digest, run_prefix, signing_prefix
from engine.record import NO_BINDING, Transfer
from engine.refusals import BatchRefused, EncodingError
from engine.types import (
    BATCH_COUNT_MAX,
    BINDING_BYTES,
    HASH_BYTES,
    HEAD_BYTES,
    RECORD_BYTES,
    SIGNATURE_BYTES,
    TransferFlag,
)
from native.codes import ResultCode
from native.hashing import digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from typing_extensions import Buffer

__all__ = [
    "BATCH_FILE_MAGIC",
    "BATCH_FILE_VERSION",
    "HEAD_DTYPE",
    "BatchColumns",
    "bytes_view",
    "decode_batch_file",
    "encode_batch_file",
    "raw",
    "sign_messages",
]

BATCH_FILE_MAGIC: Final = b"CSBF"
BATCH_FILE_VERSION: Final = 1
_FILE_HEAD: Final = struct.Struct("<4sHHIIIIQ16s32s32s")
assert _FILE_HEAD.size == 112
_BATCH_ID_BYTES: Final = 16

# u128 fields as (low, high): numpy has no wider integer, and the kernels read the same halves.
HEAD_DTYPE: Final = np.dtype(
    [
        ("id", "<u8", (2,)),
        ("debit_account", "<u8", (2,)),
        ("credit_account", "<u8", (2,)),
        ("amount", "<u8", (2,)),
        ("reference", "<u8", (2,)),
        ("user_data", "<u8", (2,)),
        ("expires_at", "<u8"),
        ("until", "<u8"),
        ("ledger", "<u4"),
        ("key_id", "<u4"),
        ("valid_for_s", "<u4"),
        ("code", "<u2"),
        ("flags", "<u2"),
    ]
)
assert HEAD_DTYPE.itemsize == HEAD_BYTES


def bytes_view(data: Buffer) -> NDArray[np.uint8]:
    """View any contiguous buffer as bytes, without a copy."""
    view = memoryview(data)
    return np.frombuffer(view.cast("B"), dtype=np.uint8) if view.nbytes else np.empty(0, dtype=np.uint8)


def raw(array: NDArray[Any]) -> memoryview:
    """View an array's bytes as a flat buffer for the kernels; one that is not contiguous is copied."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _malformed(what: str, found: object, expected: object) -> BatchRefused:
    return BatchRefused(ResultCode.BATCH_MALFORMED, what, found, expected)


@dataclass(frozen=True, slots=True, eq=False)
class BatchColumns:
    """Up to 8,192 records of one domain: heads n x 128, signatures n x 64, binding_index m (u32), bindings m x 32.

    The arrays may be views of a buffer that the caller keeps alive and unchanged.
    """

    domain: int
    batch_id: bytes
    heads: NDArray[np.uint8]
    signatures: NDArray[np.uint8]
    binding_index: NDArray[np.uint32]
    bindings: NDArray[np.uint8]

    @classmethod
    def from_buffers(  # noqa: PLR0917 - the columns in their order on the wire
        cls,
        domain: int,
        batch_id: bytes,
        heads: Buffer,
        signatures: Buffer,
        binding_index: Buffer = b"",
        bindings: Buffer = b"",
    ) -> Self:
        """View the four columns as they came; raises BatchRefused (RECORD-7), whose code answers the batch."""
        if len(batch_id) != _BATCH_ID_BYTES:
            raise _malformed("batch id bytes", len(batch_id), _BATCH_ID_BYTES)
        flat = bytes_view(heads)
        if flat.size % HEAD_BYTES:
            raise _malformed("heads bytes", flat.size, f"a multiple of {HEAD_BYTES}")
        count = flat.size // HEAD_BYTES
        if count == 0:
            raise BatchRefused(ResultCode.BATCH_EMPTY, "records", 0, "at least 1")
        if count > BATCH_COUNT_MAX:
            raise BatchRefused(ResultCode.BATCH_TOO_LARGE, "records", count, f"at most {BATCH_COUNT_MAX}")
        signature_rows = bytes_view(signatures)
        if signature_rows.size != count * SIGNATURE_BYTES:
            raise _malformed("signatures bytes", signature_rows.size, count * SIGNATURE_BYTES)
        index, rows = _bindings(count, bytes_view(binding_index), bytes_view(bindings))
        return cls(
            domain,
            bytes(batch_id),
            flat.reshape(count, HEAD_BYTES),
            signature_rows.reshape(count, SIGNATURE_BYTES),
            index,
            rows,
        )

    @classmethod
    def from_transfers(
        cls, domain: int, batch_id: bytes, transfers: Sequence[Transfer], signatures: Sequence[bytes] = ()
    ) -> Self:
        """Build columns from single records, with zeros where no signature is given; for tools and tests."""
        records = [transfer.encode() for transfer in transfers]
        index = [row for row, record in enumerate(records) if record[HEAD_BYTES:] != NO_BINDING]
        return cls.from_buffers(
            domain,
            batch_id,
            b"".join(record[:HEAD_BYTES] for record in records),
            b"".join(signatures) if signatures else bytes(SIGNATURE_BYTES * len(records)),
            np.array(index, dtype="<u4").tobytes(),
            b"".join(records[row][HEAD_BYTES:] for row in index),
        )

    @property
    def count(self) -> int:
        """How many records the batch holds."""
        return int(self.heads.shape[0])

    @property
    def fields(self) -> np.ndarray[tuple[int, ...], np.dtype[np.void]]:
        """The heads as named fields (HEAD_DTYPE), n of them, without a copy."""
        return self.heads.view(HEAD_DTYPE).reshape(self.count)

    def records(self) -> NDArray[np.uint8]:
        """Return the whole records, n x 160, as a copy."""
        rows = np.zeros((self.count, RECORD_BYTES), dtype=np.uint8)
        rows[:, :HEAD_BYTES] = self.heads
        rows[self.binding_index, HEAD_BYTES:] = self.bindings
        return rows

    def transfer(self, row: int) -> Transfer:
        """Read one record; for tools and tests."""
        return Transfer.decode(self.records()[row].tobytes())

    def select(self, rows: NDArray[np.intp]) -> BatchColumns:
        """Return the batch of the given rows, which ascend, at least one of them; the columns are copied."""
        position = np.full(self.count, -1, dtype=np.int64)
        position[rows] = np.arange(rows.size)
        moved = position[self.binding_index]
        kept = moved >= 0
        return BatchColumns(
            self.domain,
            self.batch_id,
            np.ascontiguousarray(self.heads[rows]),
            np.ascontiguousarray(self.signatures[rows]),
            moved[kept].astype(np.uint32),
            np.ascontiguousarray(self.bindings[kept]),
        )


def _bindings(
    count: int, index_bytes: NDArray[np.uint8], binding_bytes: NDArray[np.uint8]
) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    """Check and shape the sparse column (RECORD-7)."""
    if index_bytes.size % 4:
        raise _malformed("binding_index bytes", index_bytes.size, "a multiple of 4")
    # A copy: the wire does not align it, and it is short.
    index = np.frombuffer(index_bytes.tobytes(), dtype="<u4").astype(np.uint32)
    if index.size > count or binding_bytes.size != index.size * BINDING_BYTES:
        raise _malformed("bindings bytes", binding_bytes.size, f"{index.size} x {BINDING_BYTES}, at most {count} rows")
    rows = binding_bytes.reshape(index.size, BINDING_BYTES)
    if index.size:
        if int(index[-1]) >= count or bool(np.any(index[1:] <= index[:-1])):
            raise _malformed("binding_index", "its order or range", f"strictly ascending and below {count}")
        if not bool(rows.any(axis=1).all()):
            raise _malformed("bindings", "a row of zeros", "only bindings that are not zero")
    return index, rows


def encode_batch_file(batch: BatchColumns, suite: int, genesis_hash: bytes) -> bytes:
    """Return one batch as a ``.csb`` file; files of several batches are their concatenation."""
    payload = b"".join(
        (
            batch.heads.tobytes(),
            batch.signatures.tobytes(),
            batch.binding_index.astype("<u4").tobytes(),
            batch.bindings.tobytes(),
        )
    )
    head = _FILE_HEAD.pack(
        BATCH_FILE_MAGIC,
        BATCH_FILE_VERSION,
        0,
        batch.domain,
        batch.count,
        batch.binding_index.size,
        0,
        0,
        batch.batch_id,
        genesis_hash,
        digest(suite, payload),
    )
    return head + payload


def decode_batch_file(data: Buffer, suite: int, genesis_hash: bytes) -> Iterator[BatchColumns]:
    """Yield the batches of a ``.csb`` file, views of data, one or several of them.

    Raises EncodingError at a header that is none, another network or a digest that does not hold; BatchRefused at
    columns that are no batch.
    """
    view = memoryview(data).cast("B")
    if not view.nbytes:
        raise EncodingError("batch file bytes", 0, f"at least {_FILE_HEAD.size}")
    while view.nbytes:
        batch, used = _decode_one(view, suite, genesis_hash)
        yield batch
        view = view[used:]


def _decode_one(view: memoryview, suite: int, genesis_hash: bytes) -> tuple[BatchColumns, int]:
    if view.nbytes < _FILE_HEAD.size:
        raise EncodingError("batch file header bytes", view.nbytes, _FILE_HEAD.size)
    magic, version, flags, domain, count, bindings, zero, zeros, batch_id, genesis, payload_hash = _FILE_HEAD.unpack(
        view[: _FILE_HEAD.size]
    )
    if magic != BATCH_FILE_MAGIC:
        raise EncodingError("batch file magic", magic, BATCH_FILE_MAGIC)
    if version != BATCH_FILE_VERSION:
        raise BatchRefused(ResultCode.VERSION_UNSUPPORTED, "batch file version", version, BATCH_FILE_VERSION)
    if flags or zero or zeros:
        raise EncodingError("batch file reserved fields", (flags, zero, zeros), "zeros")
    if genesis != genesis_hash:
        raise EncodingError("batch file genesis hash", genesis.hex(), genesis_hash.hex())
    if count > BATCH_COUNT_MAX:
        raise BatchRefused(ResultCode.BATCH_TOO_LARGE, "records", count, f"at most {BATCH_COUNT_MAX}")
    lengths = (count * HEAD_BYTES, count * SIGNATURE_BYTES, bindings * 4, bindings * BINDING_BYTES)
    used = _FILE_HEAD.size + sum(lengths)
    if view.nbytes < used:
        raise EncodingError("batch file bytes", view.nbytes, f"at least {used}")
    payload = view[_FILE_HEAD.size : used]
    if digest(suite, payload) != payload_hash:
        raise EncodingError("batch file digest", "another one", payload_hash.hex())
    columns = []
    for length in lengths:
        columns.append(payload[:length])
        payload = payload[length:]
    return BatchColumns.from_buffers(domain, batch_id, *columns), used


def sign_messages(suite: int, genesis_hash: bytes, transfers: Sequence[Transfer]) -> list[tuple[bytes, bytes]]:
    """Return for each record what its key signs (192 bytes) and its digest; runs get their own prefix (RECORD-4).

    Record by record: for tools and tests; the hot road prepares whole batches natively. Members of a run that is open
    at the end get the prefix of the members that are there.
    """
    records = [transfer.encode() for transfer in transfers]
    prefixes: list[bytes] = []
    plain = signing_prefix(suite, PrefixType.TRANSFER, genesis_hash)
    row = 0
    while row < len(records):
        end = row
        while end < len(records) - 1 and transfers[end].flags & TransferFlag.LINKED:
            end += 1
        members = records[row : end + 1]
        is_run = bool(transfers[row].flags & TransferFlag.LINKED)
        prefixes += [run_prefix(suite, genesis_hash, members) if is_run else plain] * len(members)
        row = end + 1
    return [
        (prefix + record, record_digest(suite, prefix, record))
        for prefix, record in zip(prefixes, records, strict=True)
    ]


assert len(NO_BINDING) == BINDING_BYTES == HASH_BYTES
