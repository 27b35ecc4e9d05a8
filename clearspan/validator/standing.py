"""A running validator as its service and its figures see it: the parts together, and how they stand now."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from clearspan import __version__
from relay.v1 import relay_pb2

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from clearspan.validator.addresses import AddressBook
    from clearspan.validator.archive import BookArchive
    from clearspan.validator.books import ChainBook
    from clearspan.validator.links import PeerLinks
    from clearspan.validator.shell import ValidatorShell
    from engine.genesis import Genesis
    from engine.header import SignedHeader
    from engine.relay_block import RelayRecord
    from relay.state import RelayState

__all__ = ["Validator", "status_of"]

_NS_PER_MS = 1_000_000


@dataclass(slots=True)
class Validator:
    """The parts of one validator; ``readers`` are threads for reading its book."""

    genesis: Genesis
    shell: ValidatorShell
    chain: ChainBook
    archive: BookArchive
    links: PeerLinks
    addresses: AddressBook
    readers: Executor
    executed: dict[int, int] = field(default_factory=dict)
    """Height up to which each followed shard was executed again."""
    heard: Callable[[RelayRecord], None] = lambda _: None
    """Told of evidence that others hand in, before the pool judges it."""
    offered: Callable[[SignedHeader, str], None] = lambda *_: None
    """Told of each header that was offered, and of the word that it was refused with."""
    target: int = 0
    """The highest height that was said to be final elsewhere."""
    started_ns: int = field(default_factory=time.monotonic_ns)

    @property
    def state(self) -> RelayState:
        """What is final."""
        state: RelayState = self.shell.core.state  # type: ignore[assignment]
        return state

    @property
    def height(self) -> int:
        """The last final height."""
        return self.state.height

    def participants_of(self, public_key: bytes) -> frozenset[int]:
        """Return whose key this is, in any set that is known, decided or pending."""
        return frozenset(
            member.participant
            for validators in self.state.sets
            for member in validators.members
            if member.public_key == public_key
        )


def status_of(validator: Validator, *, governance: bool = False) -> relay_pb2.RelayStatus:
    """Return how a validator stands, and on request what a governance record has to follow."""
    core, state = validator.shell.core, validator.state
    index = core.index
    return relay_pb2.RelayStatus(
        network=validator.genesis.network,
        genesis_hash=validator.genesis.hash,
        final_height=state.height,
        final_time=state.time,
        set_id=core.validators.set_id,
        view=core.view,
        index=index if index is not None else -1,
        may_sign=core.may_sign,
        behind=validator.target > state.height,
        shards=[
            relay_pb2.ShardStanding(
                shard=shard,
                anchored_height=entry.height,
                verified_height=entry.verified_height,
                executed_height=validator.executed.get(shard, 0),
                standing="suspended" if entry.suspended else "disputed" if entry.disputed_height else "",
                disputed_height=entry.disputed_height,
                epoch_min=entry.epoch_min,
            )
            for shard, entry in sorted(state.shards.items())
        ],
        peers=[
            relay_pb2.PeerStanding(
                index=at,
                participant=member.participant,
                connected=peer.connected,
                queued_bytes=peer.queued_bytes,
                dropped=peer.dropped,
            )
            for at, member in enumerate(core.validators.members)
            if (peer := validator.links.peers.get(member.public_key)) is not None
        ],
        software=f"clearspan {__version__}",
        uptime_ms=(time.monotonic_ns() - validator.started_ns) // _NS_PER_MS,
        governance=_governance(state) if governance else None,
    )


def _governance(state: RelayState) -> relay_pb2.GovernanceStanding:
    decides = state.set_at(state.height + 1)
    version = relay_pb2.VersionStanding
    return relay_pb2.GovernanceStanding(
        sets=[each.encode() for each in state.sets if each.set_id >= decides.set_id],
        sequence=state.parameters.sequence,
        epoch_length=state.parameters.epoch_length,
        drift_ns=state.parameters.drift_ns,
        corridors=[
            version(id=each.id, version=each.version, effect_height=each.effect_height)
            for each in state.corridors.values()
        ],
        slot_maps=[
            version(id=domain.to_bytes(4, "little"), version=each.version, effect_height=each.effect_height)
            for domain, each in state.slot_maps.items()
        ],
        block_keys=[
            version(id=domain.to_bytes(4, "little"), version=number) for domain, number in state.key_sequences.items()
        ],
        noted=[relay_pb2.NotedMember(public_key=key, kinds=kinds) for key, kinds in state.noted.items()],
    )
