"""Bent files and stored bytes: every reader refuses with its own error and the place, or reads; it never does anything else."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from clearspan.config import NodeConfig, NodeSection, parse_config, render_config
from clearspan.errors import ClearspanError, ConfigError, KeyFileError
from clearspan.keys import KeyRing, ScryptCost
from clearspan.pki import create_development_pki, load_certificate
from clearspan.service.access import AccessList
from clearspan.simulation.world import START, World
from engine.batch import decode_batch_file, encode_batch_file
from engine.checkpoint import Manifest
from engine.data_directory import DataDirectory
from engine.development import development_network
from engine.errors import CheckpointInvalid, FormatMismatch, RecordMalformed
from engine.genesis import Genesis
from engine.log_record import LogRecord, RecordKind, decode_record, encode_record
from engine.refusals import BatchRefused, EncodingError, GenesisRefused
from engine.types import ParticipantId, Role, SigningSuite
from tests.fuzz.mutants import bent, seed_of

ROUNDS, ROUNDS_NIGHTLY = 600, 200_000
GENESIS_HASH = bytes(range(32))
CHEAP = ScryptCost(n=2, r=1, p=1)


@dataclass(frozen=True)
class Reader:
    """How bytes are read: gives None, or bytes that must equal what was read; what it may raise, and which seed."""

    original: bytes
    read: Callable[[bytes], bytes | None]
    refusals: tuple[type[Exception], ...]
    dear: int = 1


def batch_file() -> Reader:
    world = World.make(3, banks=2, accounts=1)
    (debit, key), (credit, _) = world.accounts
    columns = [world.signed([world.transfer(debit, credit, n, key, START) for n in range(1, 4)]) for _ in range(2)]
    data = b"".join(encode_batch_file(each, 1, GENESIS_HASH) for each in columns)

    def read(content: bytes) -> bytes:
        return b"".join(
            encode_batch_file(each, 1, GENESIS_HASH) for each in decode_batch_file(content, 1, GENESIS_HASH)
        )

    return Reader(data, read, (EncodingError, BatchRefused))


def log_record() -> Reader:
    record = LogRecord.make(
        suite=1, genesis_hash=GENESIS_HASH, shard=0x100, epoch=3, number=9, time=START, kind=RecordKind.BATCH,
        previous_hash=bytes(32), body=bytes(300),
    )  # fmt: skip

    def read(content: bytes) -> bytes:
        return bytes(encode_record(decode_record(content, suite=1, genesis_hash=GENESIS_HASH, shard=0x100, number=9)))

    return Reader(bytes(encode_record(record)), read, (RecordMalformed,))


def manifest() -> Reader:
    data = Manifest(0x100, 1, 7, 40, *(bytes([n]) * 32 for n in range(4)), 1_000, 5, bytes(64)).encode()
    return Reader(data, lambda content: Manifest.decode(content).encode(), (CheckpointInvalid,))


def genesis() -> Reader:
    document = development_network(b"fuzz", currencies=(("CNY", 2), ("THB", 2)), shards=2).genesis.document
    return Reader(document, lambda content: Genesis.decode(content).document, (EncodingError, GenesisRefused))


def settings() -> Reader:
    text = render_config(NodeConfig(format=1, node=NodeSection(genesis="genesis.json", domain=1))).encode()

    def read(content: bytes) -> None:
        config = parse_config(content)
        assert parse_config(render_config(config).encode()) == config

    return Reader(text, read, (ConfigError,))


READERS = {each.__name__: each for each in (batch_file, log_record, manifest, genesis, settings)}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", READERS)
def test_bent_bytes_are_refused_or_read(name: str, request, nightly: bool) -> None:
    chance, reader = random.Random(seed_of(request)), READERS[name]()
    assert reader.read(reader.original) in (None, reader.original)
    refused = 0
    for _ in range(ROUNDS_NIGHTLY if nightly else ROUNDS):
        data = bent(reader.original, chance)
        try:
            again = reader.read(data)
        except reader.refusals as error:
            assert str(error)
            assert len(str(error)) < 10_000
            refused += 1
        else:
            assert again in (None, data), data.hex()
    assert refused


def json_mutants(document: object, chance: random.Random) -> object:
    """Return a document with one value somewhere replaced by one of another kind or size."""
    values = (None, True, -1, 0, 2**53, 2**64, 2**200, 1e308, "", "x" * 5_000, "00", [], {}, [[]] * 40, "\ud800", "é")
    if isinstance(document, dict) and document and chance.random() < 0.85:
        key = chance.choice(sorted(document))
        kind = chance.randrange(6)
        if kind == 0:
            return {each: value for each, value in document.items() if each != key}
        if kind == 1:
            return {**document, chance.choice(("extra", "", key.upper())): chance.choice(values)}
        return {**document, key: json_mutants(document[key], chance)}
    if isinstance(document, list) and document and chance.random() < 0.85:
        at = chance.randrange(len(document))
        kind = chance.randrange(5)
        if kind == 0:
            return document[:at] + document[at + 1 :]
        if kind == 1:
            return document + [document[at]]
        return [*document[:at], json_mutants(document[at], chance), *document[at + 1 :]]
    return chance.choice(values)


def compact(document: object) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode("utf-8", "surrogatepass")


@pytest.mark.timeout(900)
def test_a_genesis_with_one_value_of_another_kind_is_refused(request, nightly: bool) -> None:
    chance = random.Random(seed_of(request))
    original = development_network(b"fuzz", currencies=(("CNY", 2), ("THB", 2)), shards=2).genesis.document
    for _ in range(ROUNDS_NIGHTLY if nightly else ROUNDS):
        data = compact(json_mutants(json.loads(original), chance))
        try:
            assert Genesis.decode(data).document == data
        except (EncodingError, GenesisRefused) as error:
            assert str(error)


@pytest.mark.parametrize(
    "document", [b"[" * 100_000, b'{"a":' * 100_000, b"1" * 100_000, b"\x00", b"", b"\xef\xbb\xbf{}"]
)
def test_documents_that_only_nest_or_grow_are_refused(document: bytes, tmp_path: Path) -> None:
    with pytest.raises((EncodingError, GenesisRefused)):
        Genesis.decode(document)
    for toml in (document, b"format = 1\na = " + document):
        with pytest.raises(ConfigError):
            parse_config(toml)
    format_file = tmp_path / "data" / "FORMAT"
    format_file.parent.mkdir()
    format_file.write_bytes(document)
    with pytest.raises(FormatMismatch):
        DataDirectory(tmp_path / "data", kind="node", genesis_hash=GENESIS_HASH)
    path = tmp_path / "a.key"
    path.write_bytes(document)
    path.chmod(0o600)
    with pytest.raises(KeyFileError):
        KeyRing.load(path, b"x")


@pytest.mark.timeout(900)
def test_a_bent_key_container_opens_nothing(tmp_path: Path, request, nightly: bool) -> None:
    """In bytes and in values: it is refused by name, or gives exactly the keys that were sealed."""
    chance = random.Random(seed_of(request))
    ring = KeyRing()
    for suite in (SigningSuite.ED25519, SigningSuite.SM2):
        ring.create(suite, ParticipantId(7), Role.ACCOUNT)
    path = tmp_path / "keys.key"
    ring.save(path, b"passphrase", CHEAP)
    original = path.read_bytes()
    sealed = list(ring)
    for number in range(ROUNDS_NIGHTLY // 20 if nightly else ROUNDS):
        data = bent(original, chance) if number % 2 else compact(json_mutants(json.loads(original), chance))
        # A container may ask for a derivation of up to 1 GiB of memory; what is bent here stays cheap.
        if b'"n": 2,' not in data and b'"n":2,' not in data:
            continue
        path.write_bytes(data)
        try:
            assert list(KeyRing.load(path, b"passphrase")) == sealed
        except KeyFileError as error:
            assert str(path) in str(error)


def test_a_hostile_cost_of_derivation_is_refused_before_it_is_paid(tmp_path: Path) -> None:
    ring = KeyRing()
    ring.create(SigningSuite.ED25519, ParticipantId(7), Role.ACCOUNT)
    path = tmp_path / "keys.key"
    ring.save(path, b"passphrase", CHEAP)
    for cost in ({"n": 2**40}, {"n": 2**21}, {"r": 1_000}, {"p": 2**30}, {"n": 3}, {"n": 0}, {"n": -1}, {"n": 2.5}):
        document = msgspec.json.decode(ring_bytes := path.read_bytes())
        document["clear"]["derivation"].update(cost)
        other = tmp_path / "other.key"
        other.write_bytes(msgspec.json.encode(document))
        other.chmod(0o600)
        with pytest.raises(KeyFileError):
            KeyRing.load(other, b"passphrase")
        assert ring_bytes


@pytest.mark.timeout(900)
def test_bent_certificates_and_lists_are_refused(tmp_path: Path, request, nightly: bool) -> None:
    chance = random.Random(seed_of(request))
    pki = create_development_pki(tmp_path / "tls", "fuzz")
    certificate = pki.issue_server("node").certificate
    original = certificate.read_bytes()
    listed = b"# who\nallow " + b"ab" * 32 + b" a bank\ndeny " + b"cd" * 32 + b"\n"
    access = tmp_path / "access"
    for _ in range(ROUNDS_NIGHTLY // 20 if nightly else ROUNDS // 3):
        certificate.write_bytes(bent(original, chance))
        try:
            load_certificate(certificate)
        except ClearspanError as error:
            assert error.next_step or str(error)
        access.write_bytes(bent(listed, chance))
        try:
            AccessList(access).admits(bytes.fromhex("cd" * 32))
        except ConfigError as error:
            assert error.next_step


@pytest.mark.timeout(900)
def test_a_bent_format_file_is_named(tmp_path: Path, request, nightly: bool) -> None:
    chance = random.Random(seed_of(request))
    DataDirectory(tmp_path, kind="node", genesis_hash=GENESIS_HASH).close()
    original = (tmp_path / "FORMAT").read_bytes()
    for _ in range(ROUNDS_NIGHTLY // 20 if nightly else ROUNDS // 3):
        (tmp_path / "FORMAT").write_bytes(bent(original, chance))
        try:
            DataDirectory(tmp_path, kind="node", genesis_hash=GENESIS_HASH).close()
        except FormatMismatch as error:
            assert error.field
