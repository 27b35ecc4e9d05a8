"""The state root (LEDGER-70), every subtree computed from scratch."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from tests.model.hashes import tree_root
from tests.model.record import u128

if TYPE_CHECKING:
    from tests.model.state import State

__all__ = ["SUBTREES", "state_root", "subtree_roots"]

SLOT_MAP_VERSION = 1


def _ledgers(state: State) -> list[bytes]:
    return [
        struct.pack("<5I4x", each.ledger, each.scale, each.issuer, each.window_s, each.lock_min_s)
        + u128(each.amount_max)
        + u128(state.totals[each.ledger].debits_pending)
        + u128(state.totals[each.ledger].debits_posted)
        + each.currency.encode("ascii").ljust(8, b"\x00")
        for each in state.genesis.ledgers
    ]


def _channels(state: State) -> list[bytes]:
    return [
        struct.pack("<I4xQQ", peer, state.channels[peer].sent, state.channels[peer].received)
        + state.anchors.get(peer, b"")
        for peer in sorted(state.channels)
    ]


def _parameters(state: State) -> list[bytes]:
    limits = state.genesis.limits
    moments = (state.last_time, state.relay_height, state.relay_time)
    bounds = (
        limits.ids_max, limits.pendings_max, limits.accounts_max, limits.expire_per_batch_max, limits.bucket_ns,
        limits.run_members_max,
    )  # fmt: skip
    return [struct.pack("<I4x9Q", SLOT_MAP_VERSION, *moments, *bounds)]


SUBTREES = {
    "accounts": lambda state: [account.leaf() for account in state.accounts.values()],
    "ids": lambda state: state.ids.leaves(),
    "pendings": lambda state: state.pendings.leaves(),
    "admin": lambda state: state.admin_ids.leaves(),
    "keys": lambda state: [key.leaf() for key in state.registry.keys.values()],
    "participants": lambda state: [each.leaf() for each in state.registry.participants.values()],
    "ledgers": _ledgers,
    "mandates": lambda _state: [],
    "channels": _channels,
    "parameters": _parameters,
}


def subtree_roots(state: State) -> dict[str, bytes]:
    roots = {name: tree_root(state.genesis.suite, leaves(state)) for name, leaves in SUBTREES.items()}
    # From the first rule on there is a leaf more.
    return roots | ({"rules": tree_root(state.genesis.suite, state.rules.leaves())} if state.rules.places else {})


def state_root(state: State) -> bytes:
    leaves = [name.encode("ascii").ljust(16, b"\x00") + root for name, root in subtree_roots(state).items()]
    return tree_root(state.genesis.suite, leaves)
