"""From the books on disk to the state to go on from: the newest state kept, and the blocks after it, checked again.

It promises that what it returns follows from the genesis and from blocks that name each other and carry a quorum's
certificate, or an error that names the place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from engine.errors import ChainDamaged
from engine.refusals import EncodingError, ProofRefused
from engine.relay_block import RelayBlock
from engine.validators import Certificate
from relay.errors import BlockRefused
from relay.state import RelayState

if TYPE_CHECKING:
    from clearspan.validator.books import BookEntry, ChainBook
    from engine.genesis import Genesis

__all__ = ["recover_state"]

_DAMAGES: Final = (EncodingError, ProofRefused, BlockRefused)


def recover_state(genesis: Genesis, chain: ChainBook) -> tuple[RelayState, BookEntry | None]:
    """Return the state after the newest block of a book, and that block's entry (None before the first).

    Every block is held against the state before it, and the newest one's certificate is verified; those before it were
    verified as the parent certificate of the next. Raises ChainDamaged.
    """
    last = chain.last_height()
    state = _newest_state(genesis, chain)
    entry: BookEntry | None = chain.get(state.height) if state.height else None
    certificate: Certificate | None = None
    for found in chain.range(state.height + 1, last):
        try:
            block = RelayBlock.decode(found.block, genesis.hash_suite)
            certificate = Certificate.decode(found.certificate)
            state.check_place(block)
            if found.height == last:
                block.verify_certificate(genesis.hash_suite, certificate, state.set_at(found.height))
            state = state.after(block, certificate)
        except _DAMAGES as error:
            raise ChainDamaged(str(chain.path), f"does not follow: {error}", height=found.height) from error
        entry = found
    if state.height < last:
        raise ChainDamaged(str(chain.path), "missing", height=state.height + 1)
    return state, entry


def _newest_state(genesis: Genesis, chain: ChainBook) -> RelayState:
    """Return the newest state kept that is the one of its block; without any, the genesis."""
    for height, data in chain.states():
        entry = chain.get(height)
        if entry is None and height + 1 != chain.lowest:
            continue
        try:
            state = RelayState.decode(data, genesis)
            block = None if entry is None else RelayBlock.decode(entry.block, genesis.hash_suite)
        except _DAMAGES:
            continue
        if state.height == height and (block is None or block.header.hash(genesis.hash_suite) == state.tip_hash):
            return state
    return RelayState.begin(genesis)
