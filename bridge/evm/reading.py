"""What one node shows of a lock and of the clock, read as of one block: no mixture of two histories.

Every answer is checked for what can be checked alone: addresses, names that must be hashes of what they name,
preimages that must open their hashlock, and that the block under which all was read still stands at the end.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from eth_utils.address import to_canonical_address
from web3.exceptions import Web3RPCError

from bridge.evm.contract import (
    CLAIMED,
    ENDED_TOPICS,
    LOCKED,
    REFUNDED,
    STATE_ABSENT,
    call_state,
    claimed_preimage,
    locked_order,
)
from bridge.leg import LegUnavailable, LockState, LockView

if TYPE_CHECKING:
    from collections.abc import Sequence

    from web3.types import LogReceipt, TxParams

    from bridge.evm.rpc import RpcLimits, Web3Node
    from bridge.leg import LockOrder

__all__ = ["Finality", "Head", "Reader", "Seen", "read_head"]

_ATTEMPTS_MAX = 3
_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Finality:
    """When a block is final: ``depth`` blocks above it, or when the chain's own ``finalized`` tag reaches it.

    With ``tag`` both must hold, so that a depth of 0 leaves it to the tag alone.
    """

    depth: int = 64
    tag: bool = False


@dataclass(frozen=True, slots=True)
class Head:
    """The newest block of one node: number, hash, time, base fee (None where the chain has none), final number."""

    number: int
    hash: bytes
    time_ns: int
    base_fee: int | None
    final: int


@dataclass(frozen=True, slots=True)
class Seen:
    """One lock that carries the id asked for: its name on the chain, its order, and how it stands."""

    name: bytes
    view: LockView


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads locks of one contract; ``first_block`` is where it was made, ``tick_ns`` the unit of block.timestamp."""

    chain_id: int
    contract: str
    finality: Finality
    limits: RpcLimits
    first_block: int = 0
    lookback_blocks: int = 100_000
    tick_ns: int = 1_000_000_000

    async def locks(self, web3: Web3Node, lock_id: bytes, name: bytes | None) -> tuple[Head, tuple[Seen, ...]]:
        """Find the locks that carry this id (only the one of that name, if given), oldest first."""
        for _ in range(_ATTEMPTS_MAX):
            head = await read_head(web3, self.finality, self.tick_ns, self.limits)
            if name is not None and await self.state(web3, name, head.number) == STATE_ABSENT:
                found: tuple[Seen, ...] = ()
            else:
                found = self._seen(await self._events(web3, lock_id, name, head.number), head)
                if name is not None and not found:
                    raise LegUnavailable("the contract has the lock, and the node no events of it")
            # The block is asked for by number again: had history changed in between, another would stand there.
            if bytes((await web3.eth.get_block(head.number))["hash"]) == head.hash:
                return head, found
        raise LegUnavailable("the chain reorganised while it was read")

    async def locks_of(self, web3: Web3Node, lock_id: bytes, payer: str) -> tuple[Head, tuple[bytes, ...]]:
        """Name the locks that a payer has made under an id, within the newest blocks that one search covers."""
        head = await read_head(web3, self.finality, self.tick_ns, self.limits)
        first = max(self.first_block, head.number - self.limits.search_blocks_max + 1)
        topics = [_hex(LOCKED), None, _hex(lock_id), _hex(bytes(12) + to_canonical_address(payer))]
        logs = await self._search(web3, topics, first, head.number)
        return head, tuple(bytes(log["topics"][1]) for log in logs if self._ours(log, lock_id))

    async def state(self, web3: Web3Node, name: bytes, number: int) -> int:
        """Ask the contract where a lock stands as of a block."""
        return int.from_bytes(bytes(await web3.eth.call(self._state_call(name), number)), "big")

    async def waits(self, web3: Web3Node, name: bytes) -> bool:
        """Whether a lock would stand if all that waits in the node's pool were in a block; a node may not say."""
        try:
            return any(bytes(await web3.eth.call(self._state_call(name), "pending")))
        except Web3RPCError:
            return False

    def _state_call(self, name: bytes) -> TxParams:
        return {"to": cast("Any", self.contract), "data": cast("Any", "0x" + call_state(name).hex())}

    async def _events(self, web3: Web3Node, lock_id: bytes, name: bytes | None, last: int) -> list[LogReceipt]:
        """Search backwards from the newest block, a bounded span at a time."""
        found: list[LogReceipt] = []
        oldest = max(self.first_block, last - self.lookback_blocks)
        topics: list[Any] = [
            [_hex(LOCKED), _hex(CLAIMED), _hex(REFUNDED)],
            None if name is None else _hex(name),
            _hex(lock_id),
        ]
        while last >= oldest:
            first = max(oldest, last - self.limits.search_blocks_max + 1)
            logs = await self._search(web3, topics, first, last)
            found[:0] = [log for log in logs if self._ours(log, lock_id)]
            if len(found) > self.limits.events_max:
                raise LegUnavailable(f"more than {self.limits.events_max} events carry one id")
            if name is not None and any(bytes(log["topics"][0]) == LOCKED for log in found):
                break  # nothing of this lock is older than its making
            last = first - 1
        return found

    async def _search(self, web3: Web3Node, topics: list[Any], first: int, last: int) -> list[LogReceipt]:
        return await web3.eth.get_logs(
            {"address": cast("Any", self.contract), "topics": topics, "fromBlock": first, "toBlock": last}
        )

    def _ours(self, log: LogReceipt, lock_id: bytes) -> bool:
        topics = [bytes(topic) for topic in log["topics"]]
        return (
            log["address"].lower() == self.contract.lower()
            and len(topics) >= 3
            and topics[0] in {LOCKED, *ENDED_TOPICS}
            and topics[2] == lock_id
            and not log.get("removed", False)
        )

    def _seen(self, logs: Sequence[LogReceipt], head: Head) -> tuple[Seen, ...]:
        made: dict[bytes, tuple[LockOrder, int]] = {}
        ended: dict[bytes, tuple[bytes | None, int]] = {}
        for log in logs:
            topics = [bytes(topic) for topic in log["topics"]]
            height = int(log["blockNumber"])
            if topics[0] == LOCKED:
                read = locked_order(topics, bytes(log["data"]), self.chain_id, self.contract, self.tick_ns)
                if read is not None:
                    made[read[0]] = (read[1], height)
            elif topics[0] == REFUNDED:
                ended[topics[1]] = (None, height)
            elif topics[1] in made:
                preimage = claimed_preimage(bytes(log["data"]), made[topics[1]][0].hashlock)
                if preimage is None:
                    raise LegUnavailable("a claim is shown whose preimage opens nothing")
                ended[topics[1]] = (preimage, height)
        return tuple(
            Seen(name, _view(order, height, ended.get(name), head.final)) for name, (order, height) in made.items()
        )


async def read_head(web3: Web3Node, finality: Finality, tick_ns: int, limits: RpcLimits) -> Head:
    """Read the newest block and how far the chain is final.

    Raises LegUnavailable for a block of a time that has not come: believed once, it would end what still has time.
    """
    latest = await web3.eth.get_block("latest")
    number, time_ns = int(latest["number"]), int(latest["timestamp"]) * tick_ns
    if limits.ahead_s_max and time_ns > time.time_ns() + limits.ahead_s_max * _NS_PER_S:
        raise LegUnavailable(f"the newest block is more than {limits.ahead_s_max} s ahead of our clock")
    final = max(0, number - finality.depth)
    if finality.tag:
        final = min(final, int((await web3.eth.get_block("finalized"))["number"]))
    base_fee = latest.get("baseFeePerGas")
    return Head(
        number,
        bytes(latest["hash"]),
        time_ns,
        None if base_fee is None else int(base_fee),
        final,
    )


def _view(order: LockOrder, height: int, ended: tuple[bytes | None, int] | None, final: int) -> LockView:
    if ended is None:
        return LockView(LockState.FINAL if height <= final else LockState.SEEN, order, None, height, "")
    preimage, height = ended
    if preimage is None:
        state = LockState.REFUNDED_FINAL if height <= final else LockState.REFUNDED
    else:
        state = LockState.CLAIMED_FINAL if height <= final else LockState.CLAIMED
    return LockView(state, order, preimage, height, "")


def _hex(value: bytes) -> str:
    return "0x" + value.hex()
