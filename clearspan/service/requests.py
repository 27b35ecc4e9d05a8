"""Wire messages to columns and back, checked for shape and never for meaning (RECORD-7).

Bytes are viewed in place: the arrays of a batch point into the message that came. What is refused here was not looked
at any further, whatever else is wrong with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from clearspan.status import refuse
from clearspan.v1 import clearspan_pb2
from engine.batch import BatchColumns
from engine.types import ACCOUNT_BYTES, HASH_BYTES, RECORD_BYTES, AdminType, TransferKind
from native.codes import ResultCode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from typing_extensions import Buffer

    from clearspan.ports import TransferEntry
    from engine.admin import AdminColumns

__all__ = [
    "ACCOUNT_ID_BYTES",
    "ADMIN_COUNT_MAX",
    "VERSION",
    "account_columns",
    "account_participants",
    "admin_participants",
    "batch_columns",
    "batch_participants",
    "check_domain",
    "check_version",
    "column",
    "count_of",
    "transfer_columns",
]

VERSION: Final = 1
ACCOUNT_ID_BYTES: Final = 16
# Each admin request is verified and decided by itself; 1,024 keep a call below a tenth of a second.
ADMIN_COUNT_MAX: Final = 1_024

# Of an account leaf (docs/spec/03): the id; the four totals and the two limits.
_LEAF_ID: Final = slice(0, 16)
_LEAF_TOTALS: Final = slice(16, 112)
VIEW_MISSING, VIEW_WHOLE, VIEW_WITHOUT_TOTALS = 0, 1, 2


def check_version(version: int) -> None:
    """Refuse a schema that this service does not speak."""
    if version != VERSION:
        raise refuse(ResultCode.VERSION_UNSUPPORTED, f"version {version} is not spoken here, version {VERSION} is")


def check_domain(domain: int, served: int) -> None:
    """Refuse a request for another domain."""
    if domain != served:
        raise refuse(ResultCode.DOMAIN_NOT_FOUND, f"this node serves domain {served}, not {domain}")


def batch_columns(request: clearspan_pb2.SubmitRequest) -> BatchColumns:
    """View a batch. Raises BatchRefused, whose code answers it."""
    return BatchColumns.from_buffers(
        request.domain,
        request.batch_id,
        request.heads,
        request.signatures,
        request.binding_index,
        request.bindings,
    )


def batch_participants(batch: BatchColumns) -> tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.bool_]]:
    """Return the participants on the debit and the credit side, and which records end a pending; three columns of n."""
    words = batch.heads.view("<u4")  # an account id's top 32 bits are its participant: the fourth word of its field
    kinds = batch.heads[:, 126] & 0x0F
    return words[:, 7], words[:, 11], (kinds == TransferKind.POST) | (kinds == TransferKind.VOID)


def admin_participants(columns: AdminColumns) -> tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.bool_]]:
    """Return of n admin requests the participant concerned, that of the subject's id, and which set limits or a tier.

    The subject is 0 where the type has none; for participant_add it is a name, and the participant is named too.
    """
    words = columns.bodies.view("<u4")
    types = columns.bodies[:, 32].astype(np.uint16) | columns.bodies[:, 33].astype(np.uint16) << 8
    return words[:, 9], words[:, 7], np.isin(types, (AdminType.ACCOUNT_LIMITS, AdminType.ACCOUNT_TIER))


def count_of(data: bytes, size: int, name: str, count_max: int) -> int:
    """Return how many items of a size a field holds: at least one, at most count_max."""
    if len(data) % size:
        raise refuse(ResultCode.BATCH_MALFORMED, f"{name} has {len(data)} bytes, not a multiple of {size}")
    count = len(data) // size
    if count == 0:
        raise refuse(ResultCode.BATCH_EMPTY, f"{name} is empty")
    if count > count_max:
        raise refuse(ResultCode.BATCH_TOO_LARGE, f"{name} has {count} items, at most {count_max} are taken")
    return count


def account_participants(ids: bytes) -> NDArray[np.uint32]:
    """Return the participant of each of n x 16 account ids."""
    return np.frombuffer(ids, dtype="<u4").reshape(-1, 4)[:, 3]


def account_columns(accounts: bytes, whole: NDArray[np.bool_]) -> tuple[bytes, bytes]:
    """Return leaves and views of a reply; where `whole` is false, totals and limits are taken out."""
    leaves = np.frombuffer(accounts, dtype=np.uint8).reshape(whole.size, ACCOUNT_BYTES)
    found = leaves[:, _LEAF_ID].any(axis=1)
    views = np.where(found, np.where(whole, VIEW_WHOLE, VIEW_WITHOUT_TOTALS), VIEW_MISSING).astype(np.uint8)
    if not whole.all():
        leaves = leaves.copy()
        leaves[~whole, _LEAF_TOTALS] = 0
    return leaves.tobytes(), views.tobytes()


def transfer_columns(
    entries: Sequence[TransferEntry | None], durability: Callable[[TransferEntry], int]
) -> clearspan_pb2.TransferColumns:
    """Return the columns of a reply, a row of zeros for each None; durability says what an entry rests on now."""
    blank = (bytes(RECORD_BYTES), bytes(HASH_BYTES), 0, 0, 0, 0, 0, 0, 0)
    rows = [
        (
            entry.record.ljust(RECORD_BYTES, b"\0"),
            entry.digest,
            entry.code,
            entry.time,
            entry.shard,
            entry.number,
            entry.index,
            entry.kind,
            durability(entry),
        )
        if entry is not None
        else blank
        for entry in entries
    ]
    if not rows:
        return clearspan_pb2.TransferColumns()
    records, digests, codes, times, shards, numbers, indexes, kinds, durabilities = zip(*rows, strict=True)
    return clearspan_pb2.TransferColumns(
        records=b"".join(records),
        digests=b"".join(digests),
        codes=np.array(codes, dtype="<u2").tobytes(),
        times=np.array(times, dtype="<u8").tobytes(),
        shards=np.array(shards, dtype="<u4").tobytes(),
        numbers=np.array(numbers, dtype="<u8").tobytes(),
        indexes=np.array(indexes, dtype="<u4").tobytes(),
        kinds=bytes(kinds),
        durability=bytes(durabilities),
    )


def column(data: Buffer, dtype: str) -> bytes:
    """Return a column of a reply as packed bytes; arrays of any integer width are brought to the wire's."""
    if isinstance(data, np.ndarray):
        return data.astype(dtype, copy=False).tobytes()
    return bytes(data)
