"""The chain's book as what other validators catch up from (``relay.archive``). Any thread may ask."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from engine.relay_block import RelayBlock
from engine.types import RelayRecordType
from engine.validators import Certificate
from relay.checkpoint import checkpoint_of
from relay.light import RecordProof

if TYPE_CHECKING:
    from clearspan.validator.books import ChainBook
    from engine.block import InclusionPath
    from relay.checkpoint import Checkpoint

__all__ = ["BookArchive"]


class BookArchive:
    """What one validator has, from its book alone."""

    def __init__(self, suite: int, first_set_id: int, chain: ChainBook) -> None:
        """Read from this book; ``first_set_id`` is the genesis set's."""
        self._suite, self._first_set_id, self._chain = suite, first_set_id, chain
        self._lock = threading.Lock()
        self._checkpoint: Checkpoint | None = None

    @property
    def height(self) -> int:
        """Height of the last block kept, 0 for none."""
        last = self._chain.last_height()
        return last if last >= self._chain.lowest else 0

    @property
    def lowest(self) -> int:
        """Lowest height of which the block is kept."""
        return self._chain.lowest

    @property
    def checkpoint_height(self) -> int:
        """Height of the newest state that a block here names, 0 for none."""
        found = self._newest_checkpoint()
        return 0 if found is None else found.root.height

    @property
    def set_id(self) -> int:
        """Id of the newest set announced in a block kept."""
        return max(self._chain.last_set_id(), self._first_set_id)

    def block(self, height: int) -> tuple[bytes, bytes] | None:
        """Return a block and its certificate, encoded."""
        entry = self._chain.get(height)
        return None if entry is None else (entry.block, entry.certificate)

    def set_change(self, set_id: int) -> bytes | None:
        """Return the proof of the record that announced a set."""
        height = self._chain.set_height(set_id)
        return None if height is None else self._proof(height, RelayRecordType.VALIDATOR_SET)

    def checkpoint_proof(self, height: int) -> bytes | None:
        """Return the proof of the record that names the state after a height, for the newest alone."""
        return self._proof(height + 1, RelayRecordType.CHECKPOINT) if height == self.checkpoint_height else None

    def chunk(self, height: int, index: int) -> tuple[bytes, InclusionPath] | None:
        """Return one chunk of the newest checkpoint."""
        found = self._newest_checkpoint()
        if found is None or height != found.root.height:
            return None
        try:
            return found.chunk(index)
        except IndexError:
            return None

    def _newest_checkpoint(self) -> Checkpoint | None:
        """Return the newest state whose record is final; its chunks are hashed once."""
        with self._lock:
            heights = self._chain.state_heights()
            named = next((each for each in heights if self._chain.last_height() > each), 0)
            if not named:
                return None
            if self._checkpoint is None or self._checkpoint.root.height != named:
                state = next((data for height, data in self._chain.states() if height == named), None)
                if state is None:
                    return None
                self._checkpoint = checkpoint_of(self._suite, named, state)
            return self._checkpoint

    def _proof(self, height: int, kind: RelayRecordType) -> bytes | None:
        pair = self.block(height)
        if pair is None:
            return None
        block, certificate = RelayBlock.decode(pair[0], self._suite), Certificate.decode(pair[1])
        for index, record in enumerate(block.records):
            if record.type is kind:
                return RecordProof.of(self._suite, block, certificate, index).encode()
        return None
