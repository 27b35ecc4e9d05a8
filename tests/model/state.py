"""Everything that decides a future answer of a shard, and the few notes a block keeps of what was decided."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tests.model.accounts import CHANNEL, Account, Totals, channel_account_id
from tests.model.genesis import SECOND_NS, LedgerTerms, ModelGenesis
from tests.model.pendings import Pendings
from tests.model.registry import Registry
from tests.model.rules import Rules
from tests.model.window import Window

if TYPE_CHECKING:
    from native.codes import ResultCode
    from tests.model.credits import Message

__all__ = ["Channel", "State"]


@dataclass(slots=True)
class Channel:
    """Sequences used towards and accepted from one peer shard."""

    sent: int = 0
    received: int = 0


@dataclass(slots=True)
class Block:
    """What happened since the last seal."""

    leaves: list[bytes] = field(default_factory=list)
    outgoing: list[tuple[int, Message]] = field(default_factory=list)


class State:
    """The state of one shard before its first log record, and ever after."""

    def __init__(self, genesis: ModelGenesis, shard: int) -> None:
        limits = genesis.limits
        self.genesis = genesis
        self.shard = shard
        self.terms: dict[int, LedgerTerms] = {each.ledger: each for each in genesis.ledgers}
        self.totals: dict[int, Totals] = {each.ledger: Totals() for each in genesis.ledgers}
        self.accounts: dict[int, Account] = {}  # in order of registration
        self.registry = Registry(genesis)
        self.ids = Window(genesis.suite, limits.bucket_ns)
        self.admin_ids = Window(genesis.suite, limits.bucket_ns)
        self.pendings = Pendings(genesis.suite, limits.bucket_ns)
        self.channels: dict[int, Channel] = {peer: Channel() for peer in genesis.peers_of(shard)}
        self.anchors: dict[int, bytes] = {}  # of peers that have one, as their channel's leaf holds it
        self.rules = Rules()
        self.last_time = genesis.time
        self.relay_height = 0
        self.relay_time = 0
        self.block = Block()
        for each in genesis.ledgers:
            for peer in genesis.peers_of(shard):
                id_ = channel_account_id(each.ledger, peer)
                self.accounts[id_] = Account(id_, each.ledger, flags=CHANNEL, opened_at=genesis.time)

    def is_here(self, account: int) -> bool:
        return self.genesis.shard_of(account) == self.shard

    def window_ns(self, ledger: int) -> int:
        return self.terms[ledger].window_s * SECOND_NS

    def leaf(self, digest: bytes, time: int, code: ResultCode) -> None:
        """LEDGER-60."""
        self.block.leaves.append(digest + struct.pack("<QH6x", time, code))

    def send(self, peer: int, message: Message) -> None:
        """Give the message the next sequence of the channel to `peer` and let it leave."""
        self.channels[peer].sent += 1
        self.block.outgoing.append((peer, replace(message, sequence=self.channels[peer].sent)))
