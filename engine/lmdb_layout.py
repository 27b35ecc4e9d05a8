"""How the log lies in its LMDB environment: names, keys, the tip of each shard, and the file LAST beside it.

One database holds each shard's records under their big-endian numbers; one holds the tips. A tip is written in the
transaction of the records it ends with, so that the last record's header is covered like all others. LAST repeats the
tips outside, after the commit and unsynced: it is never ahead of what is durable, and shows an old copy of the data
file for what it is.
"""

from __future__ import annotations

import struct
from typing import Final

from engine.errors import LogCorrupt
from engine.hashing import digest
from engine.log import Tip
from engine.types import HASH_BYTES

__all__ = [
    "LAST_FILE",
    "TIPS_NAME",
    "decode_last",
    "decode_tip",
    "encode_last",
    "encode_tip",
    "number_key",
    "shard_key",
    "shard_name",
    "shard_of_name",
]

LAST_FILE: Final = "LAST"
TIPS_NAME: Final = b"tips"
_SHARD_PREFIX: Final = b"shard-"
_KEY: Final = struct.Struct(">Q")
_SHARD_KEY: Final = struct.Struct(">I")
_TIP: Final = struct.Struct("<QQII32s")
_LAST_HEAD: Final = struct.Struct("<4sHHI")
_LAST_ENTRY: Final = struct.Struct("<IIQ32s")
_LAST_MAGIC: Final = b"CSLL"
_VERSION: Final = 1


def number_key(number: int) -> bytes:
    """Return the key of a record: big-endian, so that keys ascend as numbers do."""
    return _KEY.pack(number)


def shard_key(shard: int) -> bytes:
    """Return the key of a shard's tip."""
    return _SHARD_KEY.pack(shard)


def shard_name(shard: int) -> bytes:
    """Return the name of the database of a shard's records."""
    return _SHARD_PREFIX + f"{shard:08x}".encode()


def shard_of_name(name: bytes) -> int | None:
    """Return the shard whose records a database holds, None for another database."""
    number = name.removeprefix(_SHARD_PREFIX)
    try:
        return int(number, 16) if name.startswith(_SHARD_PREFIX) and len(number) == 8 else None
    except ValueError:
        return None


def encode_tip(tip: Tip, suite: int, shard: int) -> bytes:
    """Return a tip's 88 bytes: its fields, and a digest of them and of whose they are."""
    fields = _TIP.pack(tip.number, tip.time, tip.epoch, tip.fence, tip.hash)
    return fields + digest(suite, shard_key(shard) + fields)


def decode_tip(data: bytes, suite: int, shard: int, path: str) -> Tip:
    """Read a tip; raises LogCorrupt when its digest does not cover it."""
    fields = data[: _TIP.size]
    if len(data) != _TIP.size + HASH_BYTES or data[_TIP.size :] != digest(suite, shard_key(shard) + fields):
        raise LogCorrupt(path, "the entry that says where the log ends is damaged", shard=shard)
    number, time, epoch, fence, hash_ = _TIP.unpack(fields)
    return Tip(number, time, epoch, fence, hash_)


def encode_last(tips: dict[int, Tip], suite: int) -> bytes:
    """Return the bytes of LAST: magic, version, count, an entry of 48 bytes for each shard, a digest of all that."""
    entries = [_LAST_ENTRY.pack(shard, 0, tip.number, tip.hash) for shard, tip in sorted(tips.items())]
    body = b"".join((_LAST_HEAD.pack(_LAST_MAGIC, _VERSION, 0, len(entries)), *entries))
    return body + digest(suite, body)


def decode_last(data: bytes, suite: int) -> dict[int, tuple[int, bytes]] | None:
    """Return (number, hash) for each shard; None when the file is unreadable, which after a power cut is no fault."""
    if len(data) < _LAST_HEAD.size:
        return None
    magic, version, _, count = _LAST_HEAD.unpack_from(data)
    end = _LAST_HEAD.size + count * _LAST_ENTRY.size
    if (magic, version) != (_LAST_MAGIC, _VERSION) or data[end : end + HASH_BYTES] != digest(suite, data[:end]):
        return None
    return {shard: (number, hash_) for shard, _, number, hash_ in _LAST_ENTRY.iter_unpack(data[_LAST_HEAD.size : end])}
