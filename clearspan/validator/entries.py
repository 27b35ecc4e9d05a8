"""From what became final to what the chain's book keeps of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from clearspan.validator.books import BookEntry
from engine.types import RelayRecordType
from relay.transcript import Transcript

if TYPE_CHECKING:
    from engine.relay_block import RelayBlock
    from engine.validators import Certificate
    from relay.actions import Finalized

__all__ = ["entry_of_final", "entry_of_synced"]


def entry_of_final(action: Finalized) -> BookEntry:
    """Return the entry of a block that this validator saw become final.

    The certificate itself is left out of the transcript: it stands beside it, and blocks come many a second.
    """
    others = tuple(each for each in action.transcript.certificates if each != action.certificate)
    return BookEntry(
        height=action.block.header.height,
        generation=action.generation,
        block=action.block.encode(),
        certificate=action.certificate.encode(),
        transcript=replace(action.transcript, certificates=others).encode(),
        statements=tuple(sorted({each for each in action.statements if each})),
        set_id=_announced(action.block),
    )


def entry_of_synced(block: RelayBlock, certificate: Certificate, generation: int) -> BookEntry:
    """Return the entry of a block that came from a peer; all that is known of its making is the certificate."""
    return BookEntry(
        height=block.header.height,
        generation=generation,
        block=block.encode(),
        certificate=certificate.encode(),
        transcript=Transcript().encode(),
        set_id=_announced(block),
    )


def _announced(block: RelayBlock) -> int:
    for record in block.records:
        if record.type is RelayRecordType.VALIDATOR_SET:
            return record.validator_set().set_id
    return 0
