"""The block receipt: all decisions of one block of a shard under one anchorage, checked offline with a set alone (07).

Who waits for thousands of decisions asks for the blocks that hold them, and follows one road from header to certificate
for each block instead of one for each record. It says what a shard decided between two seals, by record digest, and
nothing of the records themselves.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from engine.anchorage import Anchorage, Section, read_sections, write_sections
from engine.block import decisions_root
from engine.refusals import EncodingError, ProofRefused
from engine.types import DECISION_BYTES

if TYPE_CHECKING:
    from collections.abc import Container

    from typing_extensions import Buffer

    from engine.anchorage import AnchorageFinding
    from engine.header import Header
    from engine.validators import ValidatorSet

__all__ = ["BLOCK_RECEIPT_MAGIC", "BLOCK_RECEIPT_VERSION", "BlockFinding", "BlockReceipt", "DecidedLeaf"]

BLOCK_RECEIPT_MAGIC: Final = b"CSBR"
BLOCK_RECEIPT_VERSION: Final = 1
_HEAD: Final = struct.Struct("<4sHHI")
_NEEDED: Final = frozenset(
    {Section.HEADER, Section.ANCHORED, Section.ANCHOR_PATH, Section.RELAY_HEADER, Section.CERTIFICATE}
)
_OPTIONAL: Final = frozenset({Section.RANGE, Section.STATEMENTS})
_LEAF: Final = np.dtype([("digest", "V32"), ("time", "<u8"), ("code", "<u2"), ("padding", "V6")])
assert _LEAF.itemsize == DECISION_BYTES


@dataclass(frozen=True, slots=True)
class DecidedLeaf:
    """One decision of a block, and the time of the decision in ns."""

    digest: bytes
    code: int
    time: int


@dataclass(frozen=True, slots=True)
class BlockFinding:
    """What a block receipt that holds proves: the header, its decisions as 48-byte leaves, and how far it is final."""

    header: Header
    leaves: bytes
    anchorage: AnchorageFinding

    def rows(self) -> tuple[list[bytes], list[int], list[int]]:
        """Return digests, codes and times of all decisions, in the order of the block."""
        rows = np.frombuffer(self.leaves, dtype=_LEAF)
        return rows["digest"].tolist(), rows["code"].tolist(), rows["time"].tolist()

    def among(self, wanted: Container[bytes]) -> list[DecidedLeaf]:
        """Return the decisions whose digest is wanted, in the order of the block; one digest may come twice."""
        rows = np.frombuffer(self.leaves, dtype=_LEAF)
        digests: list[bytes] = rows["digest"].tolist()
        hits = [index for index, each in enumerate(digests) if each in wanted]
        codes, times = rows["code"][hits].tolist(), rows["time"][hits].tolist()
        return [DecidedLeaf(digests[hit], code, time) for hit, code, time in zip(hits, codes, times, strict=True)]


@dataclass(frozen=True, slots=True)
class BlockReceipt:
    """All decision leaves of a block, n x 48 bytes in the order of its tree, and the anchorage of its header."""

    leaves: bytes
    anchorage: Anchorage

    def encode(self) -> bytes:
        """Return magic, version u16, zero u16, leaf count u32, the leaves, the anchorage's sections."""
        count = len(self.leaves) // DECISION_BYTES
        head = _HEAD.pack(BLOCK_RECEIPT_MAGIC, BLOCK_RECEIPT_VERSION, 0, count)
        return head + self.leaves + write_sections(self.anchorage.sections())

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """Read exactly its bytes; raises EncodingError. Whether it holds is ``verify``'s to say."""
        view = memoryview(data).cast("B")
        if view.nbytes < _HEAD.size:
            raise EncodingError("block receipt bytes", view.nbytes, f"at least {_HEAD.size}")
        *head, count = _HEAD.unpack(view[: _HEAD.size])
        expected = [BLOCK_RECEIPT_MAGIC, BLOCK_RECEIPT_VERSION, 0]
        if head != expected:
            raise EncodingError("block receipt head", head, expected)
        end = _HEAD.size + count * DECISION_BYTES
        if view.nbytes < end:
            raise EncodingError("block receipt bytes", view.nbytes, f"at least {end}")
        sections = read_sections(view[end:], _NEEDED, _OPTIONAL)
        return cls(view[_HEAD.size : end].tobytes(), Anchorage.read(sections))

    def verify(self, suite: int, genesis_hash: bytes, validators: ValidatorSet) -> BlockFinding:
        """Follow it from the leaves to the certificate; raises ProofRefused naming the step that fails."""
        found = self.anchorage.verify(suite, genesis_hash, validators)
        header = self.anchorage.header
        if header.decision_count * DECISION_BYTES != len(self.leaves):
            raise ProofRefused(
                "decisions", f"{len(self.leaves)} bytes, where the header counts {header.decision_count}"
            )
        if decisions_root(suite, self.leaves) != header.decisions_root:
            raise ProofRefused("decisions", "the leaves are not those of the header")
        return BlockFinding(header, self.leaves, found)
