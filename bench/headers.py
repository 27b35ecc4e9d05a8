"""Shards that seal without a ledger behind them: headers of the right shape, signed with a folder's own block keys.

The relay looks at a header's place, sums and signature and not at what its roots are of, so agreement is measured by
itself.
"""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING

from clearspan.keys import KeyFile, read_passphrase
from engine.block import InclusionPath
from engine.header import ChannelEntry, Header, LedgerEntry, SignedHeader, header_message
from engine.types import SLOT_MAP_VERSION, ZERO_HASH
from native.hashing import MerkleTree, leaf_hash

if TYPE_CHECKING:
    from clearspan.network import Network

__all__ = ["SealingShard", "sealing_shards"]

_RECORDS_EACH = 5


class SealingShard:
    """One shard; ``seal`` makes its next header, ``path`` shows an earlier one under a later one's root."""

    def __init__(self, network: Network, shard: int, key: KeyFile) -> None:
        """Begin before height 1."""
        self.shard = shard
        self._genesis = network.genesis
        self._domain = network.genesis.domain(shard >> 8)
        self._key = key
        self._tree = MerkleTree(network.genesis.hash_suite)
        self._leaves: list[bytes] = []
        self._last: Header | None = None

    def seal(self) -> SignedHeader:
        """Return the next header, of now."""
        last, suite = self._last, self._genesis.hash_suite
        height = len(self._leaves) + 1
        first = 1 if last is None else last.last_number + 1
        # Roots of nothing, different for each block as real ones are.
        root = hashlib.sha256(f"{self.shard}/{height}".encode()).digest()
        header = Header(
            hash_suite=suite,
            shard=self.shard,
            epoch=1,
            height=height,
            first_number=first,
            last_number=first + _RECORDS_EACH - 1,
            time=time.time_ns(),
            relay_height=0,
            relay_time=0,
            slot_map_version=SLOT_MAP_VERSION,
            decision_count=0,
            outgoing_count=0,
            account_count=1,
            genesis_hash=self._genesis.hash,
            parent_hash=ZERO_HASH if last is None else last.hash,
            first_record_hash=root,
            last_record_hash=root,
            decisions_root=root,
            state_root=root,
            outgoing_root=bytes(32),
            headers_root=self._tree.root(),
            channels=tuple(ChannelEntry(peer, 0, 0) for peer in self._domain.shard_ids() if peer != self.shard),
            ledgers=tuple(LedgerEntry(each.ledger, 0, 0, 0, 0) for each in self._domain.ledgers),
        )
        leaf = leaf_hash(suite, header.hash)
        self._tree.append(leaf)
        self._leaves.append(leaf)
        self._last = header
        signature = self._key.sign(header_message(suite, self._genesis.hash, header.hash))
        return SignedHeader(header, self._key.info.key_id, signature)

    def path(self, base: int, height: int) -> InclusionPath:
        """Return the path of the header at ``base`` under the root that the header at ``height`` names."""
        tree = MerkleTree(self._genesis.hash_suite)
        for leaf in self._leaves[: height - 1]:
            tree.append(leaf)
        return InclusionPath(base - 1, height - 1, tree.path(base - 1))


def sealing_shards(network: Network) -> list[SealingShard]:
    """Return all shards of a network whose folder holds the block keys."""
    found = []
    for domain in network.genesis.domains:
        folder = network.node_folder(domain.domain) / "keys"
        key = KeyFile.load(folder / "block.key", read_passphrase(folder / "passphrase"))
        found += [SealingShard(network, shard, key) for shard in domain.shard_ids()]
    return found
