"""Reads final blocks as a validator sends them, and believes nothing but a quorum's certificate.

It promises that blocks come out in the order of heights without a gap, each certified by the set that decides its
height, and with them what receipts of this node's shards need. It knows no socket, no disk and no clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from clearspan.relay_link.errors import BlockForged
from clearspan.relay_link.store import AnchorEntry, FinalEntry, Reached
from engine.block import InclusionPath
from engine.governance import Resume
from engine.refusals import EncodingError, ProofRefused
from engine.relay_block import RelayBlock, body_path
from engine.types import RelayRecordType
from engine.validators import Certificate, Statement
from native.hashing import digest
from relay.light import RecordProof

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from engine.genesis import Genesis
    from engine.relay_block import ParentCertificate
    from engine.validators import ValidatorSet
    from relay.light import LightClient

__all__ = ["BlockReader", "TakenBlock"]


@dataclass(frozen=True, slots=True)
class TakenBlock:
    """A final block, and what is to be kept of it; ``finals`` and ``anchors`` may be of the block before it too."""

    block: RelayBlock
    finals: tuple[FinalEntry, ...] = ()
    anchors: tuple[AnchorEntry, ...] = ()
    final: dict[int, Reached] = field(default_factory=dict)
    verified: dict[int, Reached] = field(default_factory=dict)
    times: dict[int, int] = field(default_factory=dict)
    """When each anchored header was sealed, ns, by shard."""
    set_proofs: tuple[tuple[int, bytes], ...] = ()
    resumed: dict[int, Reached] = field(default_factory=dict)
    """Shards that were suspended and go on after an earlier header: nothing above it counts."""


@dataclass(frozen=True, slots=True)
class _Anchoring:
    """A block with headers of this node, until the next block's first record has told what its voters said."""

    entry: FinalEntry
    anchors: tuple[AnchorEntry, ...]
    reached: tuple[Reached, ...]
    times: tuple[int, ...]
    bits: tuple[int, ...]
    count: int
    validators: ValidatorSet


class BlockReader:
    """Takes blocks from ``height`` + 1 on. ``shards`` are those that this node serves."""

    def __init__(self, genesis: Genesis, shards: Iterable[int], light: LightClient, height: int) -> None:
        """Stand after a height."""
        self.light = light
        self.height = height
        self._suite = genesis.hash_suite
        self._genesis_hash = genesis.hash
        self._shards = frozenset(shards)
        self._last_hash = genesis.hash if height == 0 else b""
        self._before: _Anchoring | None = None

    def take(self, block: bytes, certificate: bytes, statements: Sequence[bytes]) -> TakenBlock:
        """Take the next final block as bytes; raises BlockForged, and nothing is taken then."""
        try:
            found, quorum = RelayBlock.decode(block, self._suite), Certificate.decode(certificate)
            self._demand_next(found)
            self.light.verify(found.header, quorum)
            taken = self._taken(found, quorum, statements)
        except EncodingError as error:
            raise BlockForged(self.height + 1, "bytes", str(error)) from error
        except ProofRefused as error:
            raise BlockForged(self.height + 1, error.step, str(error)) from error
        self.height, self._last_hash = found.header.height, found.hash(self._suite)
        return taken

    def _demand_next(self, block: RelayBlock) -> None:
        header = block.header
        if header.height != self.height + 1:
            raise ProofRefused("height", f"{header.height} came where {self.height + 1} was due")
        if self._last_hash and header.parent_hash != self._last_hash:
            raise ProofRefused("fork", "it does not follow the block before it, which is final")

    def _taken(self, block: RelayBlock, quorum: Certificate, statements: Sequence[bytes]) -> TakenBlock:
        validators = self.light.set_at(block.header.height)
        finals: list[FinalEntry] = []
        anchors: list[AnchorEntry] = []
        verified: dict[int, Reached] = {}
        if self._before is not None:
            better = self._said_later(self._before, block)
            if better is not None:
                finals.append(better.entry)
                anchors += better.anchors
                verified |= _verified(better)
        now = self._anchoring(block, quorum, statements, validators)
        final, times = {}, {}
        if now is not None:
            finals.append(now.entry)
            anchors += now.anchors
            verified |= _verified(now)
            final = {each.shard: reached for each, reached in zip(now.anchors, now.reached, strict=True)}
            times = {each.shard: sealed for each, sealed in zip(now.anchors, now.times, strict=True)}
        self._before = now
        return TakenBlock(
            block=block,
            finals=tuple(finals),
            anchors=tuple(anchors),
            final=final,
            verified=verified,
            times=times,
            set_proofs=tuple(self._changes(block, quorum)),
            resumed=self._resumed(block),
        )

    def _resumed(self, block: RelayBlock) -> dict[int, Reached]:
        """Find this node's shards that a block lets go on (RELAY-37)."""
        found = {}
        for record in block.records:
            parameter = record.parameter() if record.type is RelayRecordType.PARAMETER else None
            if isinstance(parameter, Resume) and parameter.shard in self._shards:
                header = parameter.header
                found[parameter.shard] = Reached() if header is None else Reached(header.height, header.last_number)
        return found

    def _anchoring(
        self, block: RelayBlock, quorum: Certificate, statements: Sequence[bytes], validators: ValidatorSet
    ) -> _Anchoring | None:
        """Find the headers of this node's shards in a block; None when there are none."""
        anchors, reached, times, bits = [], [], [], []
        count = -1
        for index, record in enumerate(block.records):
            if record.type is not RelayRecordType.HEADER:
                continue
            count += 1
            header = record.signed_header().header
            if header.shard not in self._shards:
                continue
            path = InclusionPath(index, len(block.records), body_path(self._suite, block.records, index))
            anchors.append(AnchorEntry(header.shard, header.height, block.header.height, path, record.payload))
            reached.append(Reached(header.height, header.last_number))
            times.append(header.time)
            bits.append(count)
        if not anchors:
            return None
        entry = FinalEntry(block.header.height, block.header.encode(), quorum.encode())
        plain = _Anchoring(entry, tuple(anchors), tuple(reached), tuple(times), tuple(bits), count + 1, validators)
        return self._judged(plain, quorum, statements)

    def _judged(self, plain: _Anchoring, quorum: Certificate, statements: Iterable[bytes]) -> _Anchoring:
        """Mark the headers that more than F of the power executed and holds, by what the votes of a quorum say."""
        signed = frozenset(signer.executed_held for signer in quorum.signers)
        said: dict[bytes, tuple[bytes, Statement]] = {}
        for each in statements:
            name = digest(self._suite, each)
            statement = Statement.decode(each)
            if name in signed and statement.count == plain.count and any(map(statement.verified, plain.bits)):
                said[name] = each, statement
        anchors = []
        for anchor, bit in zip(plain.anchors, plain.bits, strict=True):
            power = sum(
                plain.validators.members[signer.index].power
                for signer in quorum.signers
                if signer.executed_held in said and said[signer.executed_held][1].verified(bit)
            )
            anchors.append(replace(anchor, verified=power > plain.validators.fault_max))
        kept = tuple(sorted(each for each, _ in said.values()))
        entry = replace(plain.entry, certificate=quorum.encode(), statements=kept)
        return replace(plain, entry=entry, anchors=tuple(anchors))

    def _said_later(self, before: _Anchoring, block: RelayBlock) -> _Anchoring | None:
        """Return the block before with the certificate that this one names, where that one verifies more of it."""
        if all(anchor.verified for anchor in before.anchors) or not block.records:
            return None
        first = block.records[0]
        if first.type is not RelayRecordType.PARENT_CERTIFICATE:
            return None
        parent: ParentCertificate = first.parent_certificate()
        better = self._judged(before, parent.certificate, parent.statements)
        old, new = ({each.shard for each in side.anchors if each.verified} for side in (before, better))
        if not new > old:
            return None
        # The block that names it is final, so validators checked it; a receipt must convince without them.
        parent.certificate.verify(self._suite, self._genesis_hash, before.validators)
        return better

    def _changes(self, block: RelayBlock, quorum: Certificate) -> Iterable[tuple[int, bytes]]:
        """Follow the changes of the validator set that a final block announces."""
        for index, record in enumerate(block.records):
            if record.type is RelayRecordType.VALIDATOR_SET:
                proof = RecordProof.of(self._suite, block, quorum, index)
                yield self.light.follow(proof).set_id, proof.encode()


def _verified(anchoring: _Anchoring) -> dict[int, Reached]:
    found = zip(anchoring.anchors, anchoring.reached, strict=True)
    return {anchor.shard: reached for anchor, reached in found if anchor.verified}
