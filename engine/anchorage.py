"""How far a shard's block is final: from its header to the anchored header, the relay block and its certificate (07).

A receipt of any form stands on one. It says that a quorum certified the header, and whether more than F of the power
also executed the shard's log up to it; nothing about what the block decided.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, unique
from typing import TYPE_CHECKING, Final, Self

from engine.block import InclusionPath
from engine.header import Header, SignedHeader
from engine.refusals import EncodingError, ProofRefused
from engine.relay_block import RELAY_HEADER_BYTES, RelayHeader, header_record, verify_anchor
from engine.types import HASH_BYTES
from engine.validators import Certificate, Statement
from native.hashing import digest, leaf_hash

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engine.validators import ValidatorSet

__all__ = ["Anchorage", "AnchorageFinding", "Finality", "Section", "ends", "read_sections", "write_sections"]

_SECTION: Final = struct.Struct("<HHI")
_ANCHOR: Final = struct.Struct("<III")
_STATEMENTS: Final = struct.Struct("<II")
_LENGTH: Final = struct.Struct("<I")
PATH_ENTRIES_MAX: Final = 64
# The first relay block has no parent; every other one begins with the certificate of its own.
_FIRST_HEIGHT: Final = 1


@unique
class Section(IntEnum):
    """The tags of a receipt's sections, which stand in ascending order."""

    RECORD = 1
    DECISION = 2
    HEADER = 3
    RANGE = 4
    ANCHORED = 5
    ANCHOR_PATH = 6
    RELAY_HEADER = 7
    CERTIFICATE = 8
    STATEMENTS = 9
    ACCOUNT = 10


@unique
class Finality(IntEnum):
    """What stands behind a final height (SEMANTICS: anchored or verified)."""

    ANCHORED = 1
    VERIFIED = 2


@dataclass(frozen=True, slots=True)
class AnchorageFinding:
    """What an anchorage that holds proves."""

    shard: int
    height: int
    relay_height: int
    relay_time: int
    power: int
    finality: Finality

    @property
    def state(self) -> str:
        """The finding in words; never just "valid"."""
        return f"final, {self.finality.name.lower()}"


@dataclass(frozen=True, slots=True)
class Anchorage:
    """``header`` is the block's own; ``range_path`` is None where it is the anchored one.

    ``statements``: encoded, those that the certificate's votes name, each once; none are needed for *anchored*.
    """

    header: Header
    range_path: InclusionPath | None
    anchored: SignedHeader
    anchor_path: InclusionPath
    relay_header: RelayHeader
    certificate: Certificate
    statements: tuple[bytes, ...] = ()

    def sections(self) -> dict[Section, bytes]:
        """Return the sections that hold it."""
        path = self.anchor_path
        found = {
            Section.HEADER: self.header.encode(),
            Section.ANCHORED: self.anchored.encode(),
            Section.ANCHOR_PATH: _ANCHOR.pack(path.index, path.count, len(path.path)) + b"".join(path.path),
            Section.RELAY_HEADER: self.relay_header.encode(),
            Section.CERTIFICATE: self.certificate.encode(),
        }
        if self.range_path is not None:
            found[Section.RANGE] = self.range_path.encode()
        if self.statements:
            rows = (_LENGTH.pack(len(each)) + each for each in self.statements)
            found[Section.STATEMENTS] = _STATEMENTS.pack(len(self.statements), 0) + b"".join(rows)
        return found

    @classmethod
    def read(cls, sections: Mapping[Section, memoryview]) -> Self:
        """Read it out of a receipt's sections; raises EncodingError."""
        range_path = None
        if Section.RANGE in sections:
            range_path, used = InclusionPath.decode_prefix(sections[Section.RANGE])
            ends("receipt range proof", sections[Section.RANGE], used)
        return cls(
            header=Header.decode(sections[Section.HEADER]),
            range_path=range_path,
            anchored=SignedHeader.decode(sections[Section.ANCHORED]),
            anchor_path=_anchor_path(sections[Section.ANCHOR_PATH]),
            relay_header=_relay_header(sections[Section.RELAY_HEADER]),
            certificate=Certificate.decode(sections[Section.CERTIFICATE]),
            statements=_statements(sections.get(Section.STATEMENTS)),
        )

    def verify(self, suite: int, genesis_hash: bytes, validators: ValidatorSet) -> AnchorageFinding:
        """Follow it from the header to the certificate; raises ProofRefused naming the step that fails.

        Under another set than the one that is known it fails at the step ``stale_trust``: fetch the sets between.
        """
        anchored = self.anchored.header
        for header in (self.header, anchored):
            if (header.genesis_hash, header.hash_suite, header.shard) != (genesis_hash, suite, anchored.shard):
                raise ProofRefused("header", "it is of another network or shard")
        self._check_range(suite)
        record = header_record(self.anchored).encode()
        if self.anchor_path.count != self.relay_header.record_count:
            raise ProofRefused("anchor", "the relay block counts other records")
        self.anchor_path.check(suite, leaf_hash(suite, record), self.relay_header.body_root, "anchor")
        if self.relay_header.genesis_hash != genesis_hash:
            raise ProofRefused("relay block", "it is of another network")
        if self.relay_header.set_id != validators.set_id:
            raise ProofRefused("stale_trust", f"set {self.relay_header.set_id}, where set {validators.set_id} is known")
        verify_anchor(suite, self.relay_header, self.certificate, validators)
        power = self.certificate.verify(suite, genesis_hash, validators)
        return AnchorageFinding(
            shard=self.header.shard,
            height=self.header.height,
            relay_height=self.relay_header.height,
            relay_time=self.relay_header.time,
            power=power,
            finality=self._finality(suite, validators),
        )

    def _check_range(self, suite: int) -> None:
        """Demand that the block's header is the anchored one or stands before it under its root of earlier headers."""
        anchored = self.anchored.header
        if self.range_path is None:
            if self.header != anchored:
                raise ProofRefused("range", "the anchored header is another one, and no path leads to it")
            return
        if (self.range_path.index + 1, self.range_path.count) != (self.header.height, anchored.height - 1):
            raise ProofRefused("range", "the path is for another height")
        leaf = leaf_hash(suite, self.header.hash)
        self.range_path.check(suite, leaf, anchored.headers_root, "range")

    def _finality(self, suite: int, validators: ValidatorSet) -> Finality:
        """Return verified when signers with more than F of the power executed and hold the anchored height."""
        # Header records follow the parent's certificate, which every relay block but the first begins with.
        bit = self.anchor_path.index - (self.relay_header.height > _FIRST_HEIGHT)
        names: dict[bytes, bool] = {}
        for encoded in self.statements:
            name = digest(suite, encoded)
            try:
                statement = Statement.decode(encoded)
            except EncodingError as error:
                raise ProofRefused("statements", str(error)) from error
            if name in names or not 0 <= bit < statement.count:
                raise ProofRefused("statements", "one stands twice, or speaks of fewer headers")
            names[name] = statement.verified(bit)
        signed = {signer.executed_held for signer in self.certificate.signers}
        if not names.keys() <= signed:
            raise ProofRefused("statements", "one that nobody signed")
        power = sum(
            validators.members[signer.index].power
            for signer in self.certificate.signers
            if names.get(signer.executed_held, False)
        )
        return Finality.VERIFIED if power > validators.fault_max else Finality.ANCHORED


def write_sections(sections: Mapping[Section, bytes]) -> bytes:
    """Return the sections in ascending order, each with its tag and length."""
    return b"".join(_SECTION.pack(tag, 0, len(sections[tag])) + sections[tag] for tag in sorted(sections))


def read_sections(
    view: memoryview, needed: frozenset[Section], optional: frozenset[Section]
) -> dict[Section, memoryview]:
    """Cut the sections apart: every one of them once, in ascending order; raises EncodingError."""
    found: dict[Section, memoryview] = {}
    last = 0
    while view.nbytes:
        if view.nbytes < _SECTION.size:
            raise EncodingError("receipt section bytes", view.nbytes, f"at least {_SECTION.size}")
        tag, zero, length = _SECTION.unpack(view[: _SECTION.size])
        if zero or not last < tag or tag not in needed | optional:
            raise EncodingError("receipt section tag", (tag, zero), f"above {last}, and one of the receipt's form")
        if view.nbytes < _SECTION.size + length:
            raise EncodingError("receipt section bytes", view.nbytes, _SECTION.size + length)
        found[Section(tag)] = view[_SECTION.size : _SECTION.size + length]
        view, last = view[_SECTION.size + length :], tag
    missing = [tag.name.lower() for tag in sorted(needed - found.keys())]
    if missing:
        raise EncodingError("receipt sections", f"none for {', '.join(missing)}", "all that the receipt's form has")
    return found


def ends(what: str, view: memoryview, used: int) -> None:
    """Demand that a section ends where its content does; raises EncodingError."""
    if view.nbytes != used:
        raise EncodingError(f"{what} bytes", view.nbytes, used)


def _anchor_path(view: memoryview) -> InclusionPath:
    if view.nbytes < _ANCHOR.size:
        raise EncodingError("receipt anchor path bytes", view.nbytes, f"at least {_ANCHOR.size}")
    index, count, entries = _ANCHOR.unpack(view[: _ANCHOR.size])
    if entries > PATH_ENTRIES_MAX:
        raise EncodingError("receipt anchor path entries", entries, f"at most {PATH_ENTRIES_MAX}")
    ends("receipt anchor path", view, _ANCHOR.size + entries * HASH_BYTES)
    hashes = view[_ANCHOR.size :].tobytes()
    return InclusionPath(index, count, tuple(hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)))


def _relay_header(view: memoryview) -> RelayHeader:
    ends("receipt relay header", view, RELAY_HEADER_BYTES)
    return RelayHeader.decode(view)


def _statements(view: memoryview | None) -> tuple[bytes, ...]:
    if view is None:
        return ()
    if view.nbytes < _STATEMENTS.size:
        raise EncodingError("receipt statements bytes", view.nbytes, f"at least {_STATEMENTS.size}")
    count, zero = _STATEMENTS.unpack(view[: _STATEMENTS.size])
    if zero or count == 0:
        raise EncodingError("receipt statements head", (count, zero), "at least one, and zero")
    found = []
    view = view[_STATEMENTS.size :]
    for _ in range(count):
        if view.nbytes < _LENGTH.size:
            raise EncodingError("receipt statement bytes", view.nbytes, f"at least {_LENGTH.size}")
        (length,) = _LENGTH.unpack(view[: _LENGTH.size])
        if view.nbytes < _LENGTH.size + length:
            raise EncodingError("receipt statement bytes", view.nbytes, _LENGTH.size + length)
        found.append(view[_LENGTH.size : _LENGTH.size + length].tobytes())
        view = view[_LENGTH.size + length :]
    ends("receipt statements", view, 0)
    return tuple(found)
