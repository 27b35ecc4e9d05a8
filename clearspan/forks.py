"""Comparing what validators hold to be final, and naming the guilty where two blocks of one height are.

A source is a validator's data directory, a copy of its chain folder, or a file that was exported from one. It promises
to believe no source: blocks count as final by the certificates of the set that decides their height, sets by the
genesis and the records of final blocks before, guilt by signatures that anybody can check again. Nothing is changed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

from clearspan.errors import ConfigError
from clearspan.network import GENESIS_FILE, write_json
from clearspan.validator.books import BookEntry, ChainBook
from engine.data_directory import DataDirectory
from engine.genesis import Genesis
from engine.refusals import EncodingError, GenesisRefused, ProofRefused
from engine.relay_block import RelayBlock, evidence_record
from engine.types import RelayRecordType
from engine.validators import Certificate, ValidatorSet
from relay.blame import blame, verify_guilt
from relay.transcript import Transcript

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import ExitStack
    from pathlib import Path

    from relay.blame import GuiltProof

__all__ = ["Comparison", "Culprit", "Fork", "Source", "compare", "export", "open_source"]

_KIND: Final = "validator"
_EXPORT_KIND: Final = "clearspan-chain"
_EXPORT_FORMAT: Final = 1
_EXPORT_BYTES_MAX: Final = 1 << 30
_EXPORT_HEIGHTS_MAX: Final = 100_000
_FOLDER: Final = "chain"


class Source(Protocol):
    """Final blocks of one validator."""

    name: str

    def get(self, height: int) -> BookEntry | None:
        """Return the block of a height, None where it is not here."""

    def heights(self) -> tuple[int, int]:
        """Return the lowest and the highest height; (1, 0) for none."""

    def proofs(self) -> Sequence[bytes]:
        """Return the evidence that was kept."""


@dataclass(slots=True)
class _BookSource:
    name: str
    book: ChainBook

    def get(self, height: int) -> BookEntry | None:
        """Return the block of a height."""
        return self.book.get(height)

    def heights(self) -> tuple[int, int]:
        """Return the lowest and the highest height."""
        return self.book.lowest, self.book.last_height()

    def proofs(self) -> Sequence[bytes]:
        """Return the evidence that was kept."""
        return self.book.evidence()


@dataclass(slots=True)
class _FileSource:
    name: str
    entries: dict[int, BookEntry]
    kept: list[bytes]

    def get(self, height: int) -> BookEntry | None:
        """Return the block of a height."""
        return self.entries.get(height)

    def heights(self) -> tuple[int, int]:
        """Return the lowest and the highest height."""
        return min(self.entries, default=1), max(self.entries, default=0)

    def proofs(self) -> Sequence[bytes]:
        """Return the evidence that was exported."""
        return self.kept


@dataclass(frozen=True, slots=True)
class Culprit:
    """A member that is proven guilty: its place in the set, and the proof as the record that a block may hold."""

    index: int
    participant: int
    public_key: bytes
    power: int
    proof: GuiltProof

    @property
    def record(self) -> bytes:
        """The evidence record, encoded."""
        return evidence_record(self.proof).encode()


@dataclass(frozen=True, slots=True)
class Fork:
    """Two blocks of one height, each certified by a quorum of its set."""

    height: int
    set_id: int
    block_hashes: tuple[bytes, bytes]
    sources: tuple[str, str]
    culprits: tuple[Culprit, ...]
    power: int
    fault_max: int
    total_power: int

    @property
    def explained(self) -> bool:
        """Whether the guilty hold more than may lie without a fork."""
        return self.power > self.fault_max


@dataclass(slots=True)
class Comparison:
    """What was compared, up to the first fork."""

    first: int
    last: int
    fork: Fork | None = None
    unproven: list[str] = field(default_factory=list)
    """Blocks that differ or cannot be read and that no certificate makes final: a source that is broken or lies."""


def open_source(path: Path, stack: ExitStack, genesis: Genesis | None) -> tuple[Source, Genesis]:
    """Open a data directory, a chain folder or an exported file; return it with the network's genesis.

    Raises ConfigError for anything else, DirectoryInUse for the directory of a running validator, ChainDamaged.
    """
    if path.is_file():
        return _read_export(path, genesis)
    found = genesis
    folder = path
    if (path / "FORMAT").exists():
        found = genesis if genesis is not None else _genesis_of(path / GENESIS_FILE)
        stack.enter_context(DataDirectory(path, kind=_KIND, genesis_hash=found.hash))
        folder = path / _FOLDER
    elif found is None:
        found = _genesis_of(path.parent / GENESIS_FILE)
    if not (folder / "data.mdb").exists():
        next_step = "name a validator's data directory, its chain folder, or an exported file"
        raise ConfigError(str(path), "holds no chain of final blocks", next_step)
    book = ChainBook(folder)
    stack.callback(book.close)
    return _BookSource(str(path), book), found


def export(source: Source, genesis: Genesis, path: Path, first: int, last: int) -> int:
    """Write blocks with certificates and transcripts, and the evidence kept, to a file; return how many blocks.

    Sets that were announced before ``first`` go along with their blocks. Raises ConfigError for too many heights.
    """
    if last - first >= _EXPORT_HEIGHTS_MAX:
        raise ConfigError("--from", f"more than {_EXPORT_HEIGHTS_MAX} heights", "name fewer by --from and --to")
    lowest, highest = source.heights()
    entries = [entry for height in range(max(first, lowest), min(last, highest) + 1) if (entry := source.get(height))]
    announced = [entry for entry in _announcing(source, genesis, first - 1) if entry.height < first]
    document = {
        "kind": _EXPORT_KIND,
        "format": _EXPORT_FORMAT,
        "genesis": genesis.document.decode("utf-8"),
        "blocks": [
            {
                "height": entry.height,
                "block": entry.block.hex(),
                "certificate": entry.certificate.hex(),
                "transcript": entry.transcript.hex(),
            }
            for entry in (*announced, *entries)
        ],
        "evidence": [proof.hex() for proof in source.proofs()],
    }
    write_json(path, document)
    return len(entries)


def compare(sources: Sequence[Source], genesis: Genesis) -> Comparison:
    """Compare chains height by height up to the first fork, and name who must have made it."""
    first = max(source.heights()[0] for source in sources)
    last = min(source.heights()[1] for source in sources)
    found = Comparison(first, last)
    for height in range(first, last + 1):
        entries = [(source, entry) for source in sources if (entry := source.get(height)) is not None]
        if len({entry.block for _, entry in entries}) < 2:
            continue
        sets = _sets_at(sources, genesis, height)
        final = [(source, entry) for source, entry in entries if _is_final(genesis, entry, sets, found, source.name)]
        blocks = {entry.block: (source, entry) for source, entry in reversed(final)}
        if len(blocks) > 1:
            (one, first_entry), (other, other_entry) = list(blocks.values())[:2]
            transcripts = [Transcript.decode(entry.transcript) for _, entry in final]
            pair = (first_entry, other_entry)
            found.fork = _fork(genesis, _set_at(sets, height), pair, (one.name, other.name), transcripts)
            return found
    return found


def _fork(
    genesis: Genesis,
    validators: ValidatorSet,
    pair: tuple[BookEntry, BookEntry],
    names: tuple[str, str],
    transcripts: list[Transcript],
) -> Fork:
    """Blame: the transcripts of both sides, and the two certificates themselves."""
    suite = genesis.hash_suite
    transcripts = [*transcripts, *(Transcript((Certificate.decode(entry.certificate),)) for entry in pair)]
    culprits = blame(suite, genesis.hash, validators, transcripts)
    for proof in culprits.proofs.values():
        verify_guilt(proof, suite, genesis.hash, validators)
    named = tuple(
        Culprit(index, member.participant, member.public_key, member.power, proof)
        for index, proof in sorted(culprits.proofs.items())
        for member in (validators.members[index],)
    )
    hashes = [RelayBlock.decode(entry.block, suite).hash(suite) for entry in pair]
    return Fork(
        pair[0].height,
        validators.set_id,
        (hashes[0], hashes[1]),
        names,
        named,
        culprits.power,
        validators.fault_max,
        sum(member.power for member in validators.members),
    )


def _is_final(genesis: Genesis, entry: BookEntry, sets: Sequence[ValidatorSet], found: Comparison, name: str) -> bool:
    """Say whether a quorum of the set that decides its height certified a block."""
    try:
        block = RelayBlock.decode(entry.block, genesis.hash_suite)
        certificate = Certificate.decode(entry.certificate)
        if block.header.height != entry.height or block.header.genesis_hash != genesis.hash:
            found.unproven.append(f"{name}: height {entry.height}: of another height or network")
            return False
        block.verify_certificate(genesis.hash_suite, certificate, _set_at(sets, entry.height))
    except (EncodingError, ProofRefused) as error:
        found.unproven.append(f"{name}: height {entry.height}: {error}")
        return False
    return True


def _sets_at(sources: Sequence[Source], genesis: Genesis, height: int) -> list[ValidatorSet]:
    """Return the sets announced before a height, the genesis' first: of the chain that both share up to there."""
    sets = [ValidatorSet.of_genesis(genesis)]
    for entry in _announcing(sources[0], genesis, height - 1):
        block = RelayBlock.decode(entry.block, genesis.hash_suite)
        block.verify_certificate(genesis.hash_suite, Certificate.decode(entry.certificate), _set_at(sets, entry.height))
        sets += [each.validator_set() for each in block.records if each.type is RelayRecordType.VALIDATOR_SET]
    return sets


def _set_at(sets: Sequence[ValidatorSet], height: int) -> ValidatorSet:
    return next(each for each in reversed(sets) if each.first_height <= height)


def _announcing(source: Source, genesis: Genesis, last: int) -> Iterator[BookEntry]:
    """Yield the blocks up to a height that announce a set."""
    if isinstance(source, _BookSource):
        newest = source.book.last_set_id()
        known = (source.book.set_height(each) for each in range(1, newest + 1))
        heights = [height for height in known if height is not None and height <= last]
    else:
        assert isinstance(source, _FileSource)
        heights = [height for height in sorted(source.entries) if height <= last]
    for height in heights:
        entry = source.get(height)
        if entry is None:
            continue
        block = RelayBlock.decode(entry.block, genesis.hash_suite)
        if any(record.type is RelayRecordType.VALIDATOR_SET for record in block.records):
            yield entry


def _genesis_of(path: Path) -> Genesis:
    try:
        return Genesis.decode(path.read_bytes())
    except (OSError, EncodingError, GenesisRefused) as error:
        raise ConfigError(str(path), str(error), "give the network's genesis by --genesis") from error


def _read_export(path: Path, genesis: Genesis | None) -> tuple[Source, Genesis]:
    next_step = "name a file that was written by clearspan evidence --export"
    try:
        with path.open("rb") as file:
            document: dict[str, Any] = json.loads(file.read(_EXPORT_BYTES_MAX))
        if (document["kind"], document["format"]) != (_EXPORT_KIND, _EXPORT_FORMAT):
            raise ConfigError(str(path), "is of another kind or format", next_step)
        own = Genesis.decode(document["genesis"].encode("utf-8"))
        entries = {row["height"]: _entry(row) for row in document["blocks"]}
        kept = [bytes.fromhex(proof) for proof in document["evidence"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(str(path), "is no exported chain", next_step) from error
    except (EncodingError, GenesisRefused) as error:
        raise ConfigError(str(path), str(error), next_step) from error
    if genesis is not None and own.hash != genesis.hash:
        raise ConfigError(str(path), "is of another network", "compare chains of one network")
    return _FileSource(str(path), entries, kept), own


def _entry(row: dict[str, Any]) -> BookEntry:
    block, certificate, transcript = (bytes.fromhex(row[part]) for part in ("block", "certificate", "transcript"))
    return BookEntry(int(row["height"]), 0, block, certificate, transcript)
