"""A running validator as its service and its figures see it: the parts together, and how they stand now."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from clearspan import __version__
from relay.v1 import relay_pb2

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from clearspan.validator.addresses import AddressBook
    from clearspan.validator.archive import BookArchive
    from clearspan.validator.books import ChainBook
    from clearspan.validator.links import PeerLinks
    from clearspan.validator.shell import ValidatorShell
    from engine.genesis import Genesis
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


def status_of(validator: Validator) -> relay_pb2.RelayStatus:
    """Return how a validator stands."""
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
    )
