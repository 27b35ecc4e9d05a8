"""What became of held transfers: ended by an admin request that the log holds, or over at their deadline.

The end of a hold has a leaf under the transfer's own digest and stands nowhere in the log. The index keeps what leads
to it: the requests that end holds under account and transfer, and a ledger's rules, which say how long a hold waits.
It promises that an answer has its leaf in a sealed block; what the index names is a hint.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from engine.block import Decision
from engine.bodies import decode_admin_body
from engine.header import SignedHeader
from engine.log import RecordKind
from engine.rules import HOLD_NS_DEFAULT
from engine.types import DECISION_BYTES, AdminType
from native.codes import ResultCode
from native.hashing import digest
from shards.run_outcomes import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from engine.admin import AdminRequest
    from engine.chain import ChainBlock, ChainStore
    from engine.genesis import Genesis
    from engine.header import Header as _Header
    from engine.log import Log, LogRecord

__all__ = ["ENDS_HOLDS", "HoldOutcomes"]

ENDS_HOLDS: Final = frozenset({AdminType.HOLD_RELEASE, AdminType.HOLD_REJECT, AdminType.LEDGER_RULES})
"""Admin requests that the index must know."""
_ID: Final = slice(0, 16)
_ACCOUNT: Final = slice(16, 32)
_LEDGER: Final = slice(112, 116)
_ENDS: Final = frozenset(
    {ResultCode.CREATED, ResultCode.CREATED_IN_TRANSIT, ResultCode.HOLD_REJECTED, ResultCode.HOLD_EXPIRED}
)
# A sweep ends only so many at once: behind its deadline a hold is looked for in so many blocks.
_BLOCKS_BEHIND: Final = 64


class HoldOutcomes:
    """Finds ends of holds. ``places`` gives (shard, number, row) of what the index has under a 64-bit key."""

    def __init__(
        self,
        genesis: Genesis,
        log_of: Callable[[int], Log],
        chain: ChainStore,
        places: Callable[[int], Iterable[tuple[int, int, int]]],
    ) -> None:
        self._suite = genesis.hash_suite
        self._log_of, self._chain, self._places = log_of, chain, places

    def keys_of(self, record: LogRecord) -> tuple[list[int], list[int]]:
        """Return keys and rows: the requests of an admin record that ended a hold or set a ledger's rules."""
        keys, rows = [], []
        for row, request in _done(record):
            if request.type == AdminType.LEDGER_RULES:
                keys.append(self._key_of_ledger(request.ledger))
            else:
                keys.append(self._key_of_hold(request.subject, request.limit_b))
            rows.append(row)
        return keys, rows

    def outcome(self, shard: int, number: int, time: int, record: bytes, record_digest: bytes) -> Outcome | None:
        """Return how a transfer ended that was held at a log number and time, None while that is not durable."""
        account, transfer = int.from_bytes(record[_ACCOUNT], "little"), int.from_bytes(record[_ID], "little")
        for at, request in self._requests(shard, self._key_of_hold(account, transfer)):
            names_it = (request.subject, request.limit_b) == (account, transfer)
            if names_it and request.type != AdminType.LEDGER_RULES and at > number:
                return self._leaf(record_digest, self._covering(shard, at), shard)
        deadline = time + self._hold_ns(shard, number, int.from_bytes(record[_LEDGER], "little"))
        first = self._height(shard, lambda header: header.time >= deadline)
        for height in range(first, first + _BLOCKS_BEHIND) if first else ():
            found = self._leaf(record_digest, height, shard)
            if found is not None:
                return found
        return None

    # Parts.

    def _covering(self, shard: int, number: int) -> int:
        """Return the height of the block that covers a log number, 0 while it is not sealed."""
        return self._height(shard, lambda header: header.last_number >= number)

    def _hold_ns(self, shard: int, number: int, ledger: int) -> int:
        """How long a hold waited that began at a log number."""
        hold_ns = 0
        for at, request in self._requests(shard, self._key_of_ledger(ledger)):
            if request.type == AdminType.LEDGER_RULES and request.ledger == ledger and at < number:
                hold_ns = request.limit_b
        return hold_ns or HOLD_NS_DEFAULT

    def _requests(self, shard: int, key: int) -> Iterator[tuple[int, AdminRequest]]:
        """Yield log number and request of what the index names on a shard, in order of the log."""
        for its_shard, number, row in sorted(self._places(key)):
            record = next(iter(self._log_of(shard).read(number)), None) if its_shard == shard else None
            if record is not None and record.kind is RecordKind.ADMIN:
                yield from ((number, request) for at, request in _done(record) if at == row)

    def _leaf(self, wanted: bytes, height: int, shard: int) -> Outcome | None:
        """Return the end of a transfer that a block's leaves hold."""
        block = self._chain.get(shard, height) if height else None
        if block is None:
            return None
        leaves = block.decision_leaves
        at = leaves.find(wanted)
        while at >= 0:
            leaf = Decision.decode(leaves[at : at + DECISION_BYTES]) if at % DECISION_BYTES == 0 else None
            if leaf is not None and leaf.code in _ENDS:
                return Outcome(ResultCode(leaf.code), leaf.time, _header(block).last_number)
            at = leaves.find(wanted, at + 1)
        return None

    def _height(self, shard: int, reached: Callable[[_Header], bool]) -> int:
        """Return the first sealed height for which this holds, 0 for none, by bisection: it holds for all after it."""
        low, high = 1, self._chain.last(shard) or 0
        found = 0
        while low <= high:
            height = (low + high) // 2
            block = self._chain.get(shard, height)
            # A chain may begin at a checkpoint: what is missing lies before it.
            if block is None or not reached(_header(block)):
                low = height + 1
            else:
                found, high = height, height - 1
        return found

    def _key_of_hold(self, account: int, transfer: int) -> int:
        return self._key(b"hold" + account.to_bytes(16, "little") + transfer.to_bytes(16, "little"))

    def _key_of_ledger(self, ledger: int) -> int:
        return self._key(b"ledger rules" + ledger.to_bytes(4, "little"))

    def _key(self, data: bytes) -> int:
        return int.from_bytes(digest(self._suite, data)[:8], "little")


def _done(record: LogRecord) -> Iterator[tuple[int, AdminRequest]]:
    """Yield row and request of each that took effect and that the index must know."""
    body = decode_admin_body(record.body)
    for row, code in enumerate(body.codes.tolist()):
        if code == ResultCode.CREATED:
            request = body.columns.request(row)
            if request.type in ENDS_HOLDS:
                yield row, request


def _header(block: ChainBlock) -> _Header:
    return SignedHeader.decode(block.signed_header).header
