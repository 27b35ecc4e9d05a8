"""All shards of a domain replayed side by side: what one sent is what the other took, and what lies between is in transit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.model.accounts import channel_account_id
from tests.model.credits import Message
from tests.model.invariants import broken_invariants
from tests.model.log_record import CREDITS, HEAD_BYTES, SEAL, CreditsBody, LogHead
from tests.model.replay import replay_record
from tests.model.shard import ModelShard

if TYPE_CHECKING:
    from tests.model.genesis import ModelGenesis

__all__ = ["ModelDomain"]


class ModelDomain:
    """The shards of one domain by id, fed with raw log records in any order between shards."""

    def __init__(self, genesis: ModelGenesis) -> None:
        ids = [genesis.shard_id(index) for index in range(genesis.shards)]
        self.genesis = genesis
        self.shards = {shard: ModelShard(genesis, shard) for shard in ids}
        self.headers: dict[int, list[bytes]] = {shard: [] for shard in ids}
        self.sent: dict[tuple[int, int], list[bytes]] = {(s, d): [] for s in ids for d in ids if s != d}
        self.received: dict[tuple[int, int], list[bytes]] = {pair: [] for pair in self.sent}
        self._noted = dict.fromkeys(ids, 0)  # messages of the open block that stand in `sent` already

    def replay(self, raw: bytes) -> None:
        """Replay the next record (header || body) of the shard that its header names; raises ReplayMismatch."""
        head = LogHead.unpack(raw[:HEAD_BYTES])
        shard = self.shards[head.shard]
        if head.kind == CREDITS:
            body = CreditsBody.unpack(raw[HEAD_BYTES:])
            data = body.messages
            self.received[body.source, head.shard] += [data[at : at + 128] for at in range(0, len(data), 128)]
        header = replay_record(shard, raw)
        for peer, message in shard.state.block.outgoing[self._noted[head.shard] :]:
            self.sent[head.shard, peer].append(message.pack())
        self._noted[head.shard] = len(shard.state.block.outgoing)
        if head.kind == SEAL and header is not None:
            self.headers[head.shard].append(header)

    def in_transit(self, source: int, destination: int, ledger: int) -> int:
        """CHANNEL-2: what the source's channel account was credited and its mirror was not debited yet."""
        out = self.shards[source].state.accounts[channel_account_id(ledger, destination)]
        back = self.shards[destination].state.accounts[channel_account_id(ledger, source)]
        return out.credits_posted - back.debits_posted

    def broken_invariants(self) -> list[str]:
        """Say everything that does not hold, on each shard and between them."""
        wrong = [
            f"shard {id_}: {each}" for id_, shard in self.shards.items() for each in broken_invariants(shard.state)
        ]
        for (source, destination), sent in self.sent.items():
            received = self.received[source, destination]
            if sent[: len(received)] != received:
                wrong.append(f"shard {destination} took other messages than shard {source} sent")
            for ledger in self.shards[source].state.terms:
                under_way = [Message.unpack(each) for each in sent[len(received) :]]
                amount = sum(each.amount for each in under_way if each.ledger == ledger)
                if self.in_transit(source, destination, ledger) != amount:
                    wrong.append(f"ledger {ledger}: in transit from {source} to {destination} is not what was sent")
        return wrong
