"""The canonical bytes of the relay's state: one spelling for one state, so that checkpoints agree (07, RELAY-50)."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, Protocol, TypedDict

from engine.governance import Corridor, SlotMap
from engine.header import Header
from engine.refusals import EncodingError
from engine.relay_block import RELAY_HEADER_BYTES, RelayHeader
from engine.run_decision import AnchoredHeader
from engine.types import ZERO_HASH
from engine.validators import ValidatorSet
from relay.entries import RECENT_MAX, BlockKey, Parameters, Penalty, ShardEntry
from relay.reveals import RevealTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import TypeVar

    from typing_extensions import Buffer

    from engine.genesis import Genesis

    T = TypeVar("T")

__all__ = ["STATE_MAGIC", "STATE_VERSION", "StateFields", "decode_fields", "encode_state"]

STATE_MAGIC: Final = b"CSRS"
STATE_VERSION: Final = 1
_HEAD: Final = struct.Struct("<4sHH32sQQ32s")
_PARAMETERS: Final = struct.Struct("<QQQ")
_COUNT: Final = struct.Struct("<I")
_SHARD: Final = struct.Struct("<IIQQQII")
_KEY: Final = struct.Struct("<IHH64s")
_DOMAIN: Final = struct.Struct("<IIQ")
_HASH_NUMBER: Final = struct.Struct("<32sQ")
_PENALTY: Final = struct.Struct("<64sQQQQ")
_NOTE: Final = struct.Struct("<64sQ")
_RECENT: Final = struct.Struct("<Q32s32s")
_ANCHORED: Final = struct.Struct("<IIQ")
_SUSPENDED, _HAS_KEY, _HAS_HEADER = 1, 2, 4


class StateView(Protocol):
    """What is written: ``relay.state.RelayState`` has it all."""

    @property
    def suite(self) -> int:
        """The network's hash suite."""

    @property
    def genesis(self) -> Genesis:
        """The network."""

    @property
    def height(self) -> int:
        """The tip's height."""

    @property
    def time(self) -> int:
        """Relay time."""

    @property
    def tip_hash(self) -> bytes:
        """The tip's hash."""

    @property
    def header(self) -> RelayHeader | None:
        """The tip's header."""

    @property
    def sets(self) -> tuple[ValidatorSet, ...]:
        """Validator sets, ascending."""

    @property
    def shards(self) -> Mapping[int, ShardEntry]:
        """Entries by shard."""

    @property
    def block_keys(self) -> Mapping[int, tuple[BlockKey, ...]]:
        """Keys by domain."""

    @property
    def key_sequences(self) -> Mapping[int, int]:
        """Changes of block keys by domain."""

    @property
    def reveals(self) -> RevealTable:
        """Relay heights by preimage, oldest first."""

    @property
    def decisions(self) -> Mapping[bytes, int]:
        """Deadlines by run."""

    @property
    def penalties(self) -> Mapping[bytes, Penalty]:
        """Penalties by key."""

    @property
    def parameters(self) -> Parameters:
        """What governance may change."""

    @property
    def slot_maps(self) -> Mapping[int, SlotMap]:
        """Slot maps by domain."""

    @property
    def corridors(self) -> Mapping[bytes, Corridor]:
        """Corridors by id."""

    @property
    def noted(self) -> Mapping[bytes, int]:
        """What members did, by key."""

    @property
    def anchored(self) -> tuple[tuple[int, int], ...]:
        """The tip's header records: shard and height."""


class StateFields(TypedDict):
    """What is read, by the names of ``RelayState``."""

    height: int
    time: int
    tip_hash: bytes
    header: RelayHeader | None
    sets: tuple[ValidatorSet, ...]
    shards: dict[int, ShardEntry]
    block_keys: dict[int, tuple[BlockKey, ...]]
    key_sequences: dict[int, int]
    reveals: RevealTable
    decisions: dict[bytes, int]
    penalties: dict[bytes, Penalty]
    parameters: Parameters
    slot_maps: dict[int, SlotMap]
    corridors: dict[bytes, Corridor]
    noted: dict[bytes, int]
    anchored: tuple[tuple[int, int], ...]


def encode_state(state: StateView) -> bytes:
    """Return the bytes: the head, the tip's header, parameters, then tables in the order of 07."""
    head = _HEAD.pack(
        STATE_MAGIC, STATE_VERSION, state.suite, state.genesis.hash, state.height, state.time, state.tip_hash
    )
    parameters = state.parameters
    parts = [
        head,
        b"" if state.header is None else state.header.encode(),
        _PARAMETERS.pack(parameters.sequence, parameters.epoch_length, parameters.drift_ns),
        _table(_framed(each.encode()) for each in state.sets),
        _table(_shard(shard, entry) for shard, entry in sorted(state.shards.items())),
        _table(_block_keys(domain, keys) for domain, keys in sorted(state.block_keys.items())),
        _table(_DOMAIN.pack(domain, 0, number) for domain, number in sorted(state.key_sequences.items())),
        _table(_HASH_NUMBER.pack(preimage, height) for preimage, height in state.reveals.pairs()),
        _table(_HASH_NUMBER.pack(run, deadline) for run, deadline in sorted(state.decisions.items())),
        _table(_penalty(key, penalty) for key, penalty in sorted(state.penalties.items())),
        _table(_framed(each.encode()) for _, each in sorted(state.slot_maps.items())),
        _table(_framed(each.encode()) for _, each in sorted(state.corridors.items())),
        _table(_NOTE.pack(key, bits) for key, bits in sorted(state.noted.items())),
        _table(_ANCHORED.pack(shard, 0, height) for shard, height in state.anchored),
    ]
    return b"".join(parts)


def _table(rows: Iterable[bytes]) -> bytes:
    listed = list(rows)
    return _COUNT.pack(len(listed)) + b"".join(listed)


def _framed(data: bytes) -> bytes:
    return _COUNT.pack(len(data)) + data


def _key(key: BlockKey) -> bytes:
    return _KEY.pack(key.key_id, key.suite, 0, key.public_key)


def _shard(shard: int, entry: ShardEntry) -> bytes:
    flags = entry.suspended * _SUSPENDED
    flags |= _HAS_KEY if entry.key is not None else 0
    flags |= _HAS_HEADER if entry.header is not None else 0
    row = _SHARD.pack(
        shard, flags, entry.relay_height, entry.verified_height, entry.disputed_height, entry.epoch_min, 0
    )
    key = b"" if entry.key is None else _key(entry.key)
    header = b"" if entry.header is None else _framed(entry.header.encode())
    return row + key + header + _table(_RECENT.pack(*each) for each in entry.recent)


def _block_keys(domain: int, keys: tuple[BlockKey, ...]) -> bytes:
    return _COUNT.pack(domain) + _table(_key(key) for key in keys)


def _penalty(key: bytes, penalty: Penalty) -> bytes:
    return _PENALTY.pack(key, penalty.since, penalty.until, penalty.length, int(penalty.signed))


def decode_fields(data: Buffer, genesis: Genesis) -> StateFields:
    """Read the fields from exactly the bytes; raises EncodingError. The caller demands that they encode to the same."""
    reader = _Reader(data)
    magic, version, suite, genesis_hash, height, time, tip_hash = reader.take(_HEAD)
    if (magic, version, suite, genesis_hash) != (STATE_MAGIC, STATE_VERSION, genesis.hash_suite, genesis.hash):
        raise EncodingError("relay state head", (magic, version, suite), (STATE_MAGIC, STATE_VERSION, "this network"))
    header = RelayHeader.decode(reader.raw(RELAY_HEADER_BYTES)) if height else None
    parameters = Parameters(*reader.take(_PARAMETERS))
    fields = StateFields(
        height=height,
        time=time,
        tip_hash=tip_hash,
        header=header,
        parameters=parameters,
        sets=tuple(reader.table(lambda: ValidatorSet.decode(reader.framed()))),
        shards=dict(reader.table(reader.shard)),
        block_keys=dict(reader.table(reader.block_keys)),
        key_sequences={domain: number for domain, _, number in reader.table(lambda: reader.take(_DOMAIN))},
        reveals=RevealTable.of(reader.table(lambda: reader.pair(_HASH_NUMBER))),
        decisions=dict(reader.table(lambda: reader.pair(_HASH_NUMBER))),
        penalties=dict(reader.table(reader.penalty)),
        slot_maps={each.domain: each for each in reader.table(lambda: SlotMap.decode(reader.framed()))},
        corridors={each.id: each for each in reader.table(lambda: Corridor.decode(reader.framed()))},
        noted=dict(reader.table(lambda: reader.pair(_NOTE))),
        anchored=tuple((shard, at) for shard, _, at in reader.table(lambda: reader.take(_ANCHORED))),
    )
    reader.end()
    _check_fields(fields, genesis)
    return fields


def _check_fields(fields: StateFields, genesis: Genesis) -> None:
    """Demand what the rest relies on: a set for the next height, the genesis' shards and domains, no others."""
    shards = sorted(shard for domain in genesis.domains for shard in domain.shard_ids())
    if sorted(fields["shards"]) != shards or sorted(fields["block_keys"]) != sorted(d.domain for d in genesis.domains):
        raise EncodingError("relay state shards", len(fields["shards"]), f"those of the genesis, {len(shards)}")
    if not fields["sets"] or fields["sets"][0].first_height > fields["height"] + 1:
        raise EncodingError("relay state sets", len(fields["sets"]), "one for the next height")


class _Reader:
    """Takes parts off the front of the bytes; each that is not there whole is an EncodingError."""

    def __init__(self, data: Buffer) -> None:
        self._view = memoryview(data).cast("B")

    def raw(self, size: int) -> bytes:
        if self._view.nbytes < size:
            raise EncodingError("relay state bytes", self._view.nbytes, f"at least {size}")
        part, self._view = self._view[:size].tobytes(), self._view[size:]
        return part

    def take(self, layout: struct.Struct) -> tuple:  # type: ignore[type-arg]
        return layout.unpack(self.raw(layout.size))

    def pair(self, layout: struct.Struct) -> tuple[bytes, int]:
        first, second = self.take(layout)
        return first, second

    def framed(self) -> bytes:
        return self.raw(self.take(_COUNT)[0])

    def table(self, row: Callable[[], T]) -> list[T]:
        # Every row takes bytes, so a count that lies ends with the bytes.
        return [row() for _ in range(self.take(_COUNT)[0])]

    def key(self) -> BlockKey:
        key_id, suite, zero, public_key = self.take(_KEY)
        _demand_zero(zero)
        return BlockKey(key_id, suite, public_key)

    def shard(self) -> tuple[int, ShardEntry]:
        shard, flags, relay_height, verified, disputed, epoch_min, zero = self.take(_SHARD)
        _demand_zero(zero or flags >> 3)
        key = self.key() if flags & _HAS_KEY else None
        header = Header.decode(self.framed()) if flags & _HAS_HEADER else None
        recent = tuple(self.table(lambda: AnchoredHeader(*self.take(_RECENT))))
        if len(recent) > RECENT_MAX:
            raise EncodingError("relay state recent headers", len(recent), f"at most {RECENT_MAX}")
        return shard, ShardEntry(
            header=header,
            hash=ZERO_HASH if header is None else header.hash,
            relay_height=relay_height,
            verified_height=verified,
            suspended=bool(flags & _SUSPENDED),
            disputed_height=disputed,
            epoch_min=epoch_min,
            key=key,
            recent=recent,
        )

    def block_keys(self) -> tuple[int, tuple[BlockKey, ...]]:
        (domain,) = self.take(_COUNT)
        return domain, tuple(self.table(self.key))

    def penalty(self) -> tuple[bytes, Penalty]:
        key, since, until, length, signed = self.take(_PENALTY)
        return key, Penalty(since, until, length, signed == 1)

    def end(self) -> None:
        if self._view.nbytes:
            raise EncodingError("relay state bytes", f"{self._view.nbytes} more", "the end")


def _demand_zero(value: int) -> None:
    if value:
        raise EncodingError("relay state padding", value, 0)
