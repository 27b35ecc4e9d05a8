"""What waits to be proposed: each shard's newest headers, and records, in the order they came.

It promises bounds: of offers for each shard, of records by count and bytes in all and for each source, so that nobody
fills it alone. What may stand in a block is the state's to say; the pool keeps what may stand in a later one too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from engine.refusals import EncodingError, ProofRefused
from engine.types import RelayRecordType
from native.hashing import digest
from relay import rules
from relay.errors import BlockRefused
from relay.offers import OFFER_PATHS_MAX, HeaderOffer
from relay.state import RelayState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.relay_block import RelayBlock, RelayRecord
    from relay.draft import Draft
    from relay.offers import PoolItem
    from relay.ports import State

__all__ = ["Pool"]

OFFERS_PER_SHARD_MAX: Final = 4
RECORDS_MAX: Final = 16_384
RECORD_BYTES_MAX: Final = 32 << 20
# Records whose signatures are looked at again with every block.
FEW_MAX: Final = 64
SOURCE_RECORDS_MAX: Final = 2048
SOURCE_BYTES_MAX: Final = 4 << 20
_OFFERED: Final = frozenset(
    {
        RelayRecordType.REVEAL,
        RelayRecordType.DECISION,
        RelayRecordType.VALIDATOR_SET,
        RelayRecordType.SLOT_MAP,
        RelayRecordType.CORRIDOR,
        RelayRecordType.EVIDENCE,
        RelayRecordType.PARAMETER,
    }
)
_MANY: Final = frozenset({RelayRecordType.REVEAL, RelayRecordType.DECISION})
# A header refused for one of these may be fine a moment later: another one comes first, or this node is behind.
_PASSING_REASONS: Final = frozenset({"header_continuity", "header_time_ahead", "header_relay_height"})


class Pool:
    """Items by what they are; ``refusal`` is why the last offer was not kept, or nothing."""

    def __init__(self) -> None:
        self.refusal = ""
        self._offers: dict[int, list[HeaderOffer]] = {}
        self._records: dict[bytes, tuple[RelayRecord, object]] = {}
        # Names of those that may become impossible while they wait: all but reveals.
        self._perishable: dict[bytes, None] = {}
        self._draft: tuple[RelayState, Draft] | None = None
        self._bytes = 0
        self._few = 0
        self._used: dict[object, tuple[int, int]] = {}
        self._version = 0
        self._useful: tuple[bytes, int, bool] = b"", -1, False

    @property
    def count(self) -> int:
        """How many offers and records wait."""
        return len(self._records) + sum(len(each) for each in self._offers.values())

    def offer(self, item: PoolItem, state: State, *, source: object = None, now: int | None = None) -> bool:
        """Take an item; return whether it is news. ``source`` is whose bound it counts against."""
        own = _own(state)
        self.refusal = self._offer_header(item, own, now) if isinstance(item, HeaderOffer) else ""
        if not isinstance(item, HeaderOffer):
            self.refusal = self._offer_record(item, own, source)
        self._version += not self.refusal
        return not self.refusal

    def has_work(self, state: State) -> bool:
        """Say whether a block proposed now would hold anything that waits."""
        if self._records:
            return True
        if self._useful[:2] != (state.tip_hash, self._version):
            self._useful = state.tip_hash, self._version, _own(state).useful(self.take(state))
        return self._useful[2]

    def take(self, state: State) -> Sequence[PoolItem]:  # noqa: ARG002 - the port's shape
        """Return what waits: headers by shard, the highest first, then records in the order they came."""
        offers = [each for shard in sorted(self._offers) for each in self._offers[shard]]
        return [*offers, *(record for record, _ in self._records.values())]

    def finalized(self, state: State, block: RelayBlock) -> None:
        """Drop what is in a final block, and what can stand in none after it."""
        own = _own(state)
        for record in block.records if self._records else ():
            self._drop(_name(own, record))
        for shard in list(self._offers):
            entry = own.shards[shard]
            kept = [each for each in self._offers[shard] if each.signed.header.height > entry.height]
            if kept and not entry.suspended:
                self._offers[shard] = kept
            else:
                del self._offers[shard]
        # A reveal that became known stood in the block, under the same name.
        for name in list(self._perishable):
            if _refusal_of(self._draft_of(own), self._records[name][0]):
                self._drop(name)
        self._version += 1

    def _offer_header(self, offer: HeaderOffer, state: RelayState, now: int | None) -> str:
        if len(offer.paths) > OFFER_PATHS_MAX:
            return "offer_paths"
        reason = state.admits(offer, now)
        if reason and reason not in _PASSING_REASONS:
            return reason
        waiting = self._offers.setdefault(offer.signed.header.shard, [])
        if offer in waiting:
            return "known"
        # The same header with a fresher path takes the place of the one before.
        others = [each for each in waiting if each.signed != offer.signed]
        others.append(offer)
        others.sort(key=lambda each: -each.signed.header.height)
        self._offers[offer.signed.header.shard] = others[:OFFERS_PER_SHARD_MAX]
        return "" if offer in others[:OFFERS_PER_SHARD_MAX] else "offers_full"

    def _offer_record(self, record: RelayRecord, state: RelayState, source: object) -> str:
        if record.type not in _OFFERED:
            return "record_type"
        name = _name(state, record)
        if name in self._records:
            return "known"
        size = len(record.payload)
        count, used = self._used.get(source, (0, 0))
        if count >= SOURCE_RECORDS_MAX or used + size > SOURCE_BYTES_MAX:
            return "source_full"
        if len(self._records) >= RECORDS_MAX or self._bytes + size > RECORD_BYTES_MAX:
            return "pool_full"
        if record.type not in _MANY and self._few >= FEW_MAX:
            return "pool_full"
        reason = _refusal_of(self._draft_of(state), record)
        if not reason:
            self._records[name] = record, source
            if record.type is not RelayRecordType.REVEAL:
                self._perishable[name] = None
            self._bytes += size
            self._few += record.type not in _MANY
            self._used[source] = count + 1, used + size
        return reason

    def _draft_of(self, state: RelayState) -> Draft:
        """Return a working copy of a state for checks alone, which change nothing: one for all offers to it."""
        if self._draft is None or self._draft[0] is not state:
            self._draft = state, state.draft()
        return self._draft[1]

    def _drop(self, name: bytes) -> None:
        found = self._records.pop(name, None)
        if found is None:
            return
        self._perishable.pop(name, None)
        record, source = found
        self._bytes -= len(record.payload)
        self._few -= record.type not in _MANY
        count, used = self._used.pop(source)
        if count > 1:
            self._used[source] = count - 1, used - len(record.payload)


def _name(state: RelayState, record: RelayRecord) -> bytes:
    """Return what a record is known by: a reveal by its preimage, which nothing else is as long as."""
    if record.type is RelayRecordType.REVEAL:
        return b"reveal" + record.payload
    return digest(state.suite, record.encode())


def _refusal_of(draft: Draft, record: RelayRecord) -> str:
    """Return why a record could not stand in the next block by itself, or nothing."""
    try:
        record.check()
        rules.check(draft, record)
    except BlockRefused as error:
        return error.reason
    except (EncodingError, ProofRefused):
        return "malformed"
    return ""


def _own(state: State) -> RelayState:
    if not isinstance(state, RelayState):
        raise TypeError(f"the pool needs the relay's own state, not {type(state).__name__}")
    return state
