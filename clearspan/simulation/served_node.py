"""One node of a simulated domain: some of its shards, their log, the blocks kept beside it; killed and started again.

What it does is production's core and nothing else: rounds of ``DomainCore``, a log made durable, headers signed after.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.chain import ChainBlock
from engine.header import SignedHeader, header_message
from engine.log import MemoryStore
from engine.machine import ShardMachine
from engine.replay import replay
from shards.domain import DomainCore, Round, SealedBlock
from shards.outbox import Outbox
from shards.slots import SlotMap

if TYPE_CHECKING:
    from collections.abc import Callable

    from clearspan.simulation.world import World
    from engine.machine import Sealed

__all__ = ["KeptBlocks", "ServedNode"]


@dataclass(slots=True)
class KeptBlocks:
    """Blocks by (shard, height): what a chain store is on disk."""

    blocks: dict[tuple[int, int], ChainBlock] = field(default_factory=dict)

    def get(self, shard: int, height: int) -> ChainBlock | None:
        """Return the block at a height, None where there is none."""
        return self.blocks.get((shard, height))


class ServedNode:
    """``publish`` hears every signed header, again after each start; ``outbox_max`` bounds an answer to a neighbour."""

    def __init__(
        self, world: World, shards: tuple[int, ...], publish: Callable[[SignedHeader], None], outbox_max: int
    ) -> None:
        self.world = world
        self.shards = shards
        self.slot_map = SlotMap.of(world.genesis, world.domain)
        self.remote = tuple(each for each in world.genesis.domain(world.domain).shard_ids() if each not in shards)
        self.store = MemoryStore(suite=world.genesis.hash_suite, genesis_hash=world.genesis.hash)
        self.checkpoints: dict[int, bytes] = {}
        self._publish = publish
        self._outbox_max = outbox_max
        self.blocks = KeptBlocks()
        self.start()

    def start(self, *, from_checkpoint: bool = False, without_blocks: bool = False) -> None:
        """Build the core from the log; ``without_blocks``: the folder of kept blocks was lost and is made again."""
        if without_blocks:
            self.blocks = KeptBlocks()
        self.outbox = Outbox(self.world.genesis.hash_suite, self.blocks, messages_max=self._outbox_max)
        machines = {}
        for shard in self.shards:
            state = self.checkpoints.get(shard) if from_checkpoint and not without_blocks else None
            machine = (
                ShardMachine(self.world.genesis, shard)
                if state is None
                else ShardMachine.load(self.world.genesis, shard, state)
            )
            if self.remote:
                machine.keep_outgoing()
            machines[shard] = machine

            def kept(sealed: Sealed, machine: ShardMachine = machine) -> None:
                sent = b"" if machine.sealed_outgoing is None else machine.sealed_outgoing.encode()
                self._keep(SealedBlock(sealed.header, sealed.decision_leaves, sent))

            replay(machine, self.store.log(shard).read(machine.log_position[0] + 1), on_sealed=kept)
        epoch = self.store.epoch() + 1
        self.store.fence(epoch)
        self.core = DomainCore(self.world.genesis, machines, self.slot_map, epoch, self.remote)

    def commit(self, made: Round) -> None:
        """Make a round durable, then sign, keep and publish what it sealed."""
        appends = {shard: (records, records[0].number) for shard, records in made.records.items()}
        if appends:
            self.store.append_many(appends, self.core.epoch)
        for block in made.sealed:
            self._keep(block)

    def take_checkpoint(self) -> None:
        """Copy the state of all shards, right after a seal."""
        self.checkpoints = {shard: machine.export() for shard, machine in self.core.machines.items()}

    def positions(self) -> list[tuple[int, int, bytes]]:
        """Return where the logs end."""
        return list(self.core.positions())

    def _keep(self, block: SealedBlock) -> None:
        header, genesis, key = block.header, self.world.genesis, self.world.block_key
        message = header_message(genesis.hash_suite, genesis.hash, header.hash)
        signed = SignedHeader(header, key.key_id, key.sign(message))
        kept = ChainBlock(header.shard, header.height, signed.encode(), block.decision_leaves, block.outgoing)
        self.blocks.blocks.setdefault((header.shard, header.height), kept)
        self._publish(signed)
