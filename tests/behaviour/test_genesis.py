"""A network has one genesis document and one hash; every other spelling, and every field without a meaning, is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from engine.development import development_network
from engine.genesis import Genesis, GenesisLedger, GenesisLimits
from engine.refusals import EncodingError, GenesisRefused
from native.hashing import digest

NETWORK = development_network(b"test", currencies=(("CNY", 2), ("JPY", 0)))
GENESIS = NETWORK.genesis


def test_a_genesis_reads_back_and_its_hash_is_of_its_bytes() -> None:
    """BYTES-6."""
    for suite in (1, 2):
        genesis = development_network(b"test", hash_suite=suite).genesis
        assert Genesis.decode(genesis.document) == genesis
        assert genesis.hash == digest(suite, genesis.document)


def test_the_document_is_canonical() -> None:
    """BYTES-6: ASCII, keys sorted, no spaces, large integers as strings, bytes as lower-case hex."""
    document = GENESIS.document
    tree = json.loads(document)
    assert document == json.dumps(tree, sort_keys=True, separators=(",", ":")).encode("ascii")
    assert tree["time"] == str(GENESIS.time)
    assert tree["domains"][0]["ledgers"][0]["amount_max"] == "999999999999999999"
    assert tree["domains"][0]["limits"]["bucket_ns"] == 1_000_000_000
    assert tree["domains"][0]["keys"][0]["public_key"] == NETWORK.keys[1][0].public_key.hex()


@pytest.mark.parametrize(
    "respell",
    [
        lambda document: document + b"\n",
        lambda document: document.replace(b'":', b'": ', 1),
        lambda document: json.dumps(dict(reversed(json.loads(document).items())), separators=(",", ":")).encode(),
        lambda document: document.replace(b'"format":1', b'"format":1,"format":1'),
        lambda document: document.replace(b'"shards":2', b'"shards":"2"', 1),
        lambda document: document.replace(b'"random":"', b'"random":"', 1).upper(),
        lambda document: document.replace(b'"time":"', b'"time":"0', 1),
        lambda document: document[:-1],
        lambda document: b"",
        lambda document: b"[]",
        lambda document: b"\xff" + document,
    ],
)
def test_another_spelling_is_refused(respell: object) -> None:
    with pytest.raises((EncodingError, GenesisRefused)):
        Genesis.decode(respell(GENESIS.document))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("format",), 2),
        (("network",), "Upper"),
        (("network",), ""),
        (("random",), "00"),
        (("random",), "zz" * 32),
        (("hash_suite",), 3),
        (("hash_suite",), 1.0),
        (("time",), -1),
        (("domains",), []),
        (("domains", 0, "domain"), 0),
        (("domains", 0, "domain"), 2),
        (("domains", 0, "shards"), 257),
        (("domains", 0, "shards"), True),
        (("domains", 0, "ledgers", 0, "window_s"), 0),
        (("domains", 0, "ledgers", 0, "window_s"), 86_401),
        (("domains", 0, "ledgers", 0, "issuer"), 0),
        (("domains", 0, "ledgers", 0, "issuer"), 2**32 - 1),
        (("domains", 0, "ledgers", 0, "ledger"), 2),
        (("domains", 0, "ledgers", 0, "currency"), "TOOLONGXX"),
        (("domains", 0, "keys", 0, "role"), 8),
        (("domains", 0, "keys", 0, "suite"), 4),
        (("domains", 0, "keys", 0, "public_key"), "00"),
        (("domains", 0, "limits", "bucket_ns"), 0),
        (("domains", 0, "limits", "run_members_max"), 8193),
        (("domains", 0, "surprise"), 1),
        (("validators", 0, "power"), 0),
        (("surprise",), 1),
    ],
)
def test_a_field_that_cannot_stand_is_named(path: tuple, value: object) -> None:
    """BYTES-7, BYTES-8."""
    tree = json.loads(GENESIS.document)
    place = tree
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises((EncodingError, GenesisRefused)):
        Genesis.decode(json.dumps(tree, sort_keys=True, separators=(",", ":")).encode())


def test_a_missing_field_is_named() -> None:
    tree = json.loads(GENESIS.document)
    del tree["domains"][1]["limits"]["ids_max"]
    with pytest.raises(GenesisRefused) as refused:
        Genesis.decode(json.dumps(tree, sort_keys=True, separators=(",", ":")).encode())
    assert refused.value.path == "domains[1].limits.ids_max"


def test_a_domain_knows_its_shards() -> None:
    """BYTES-9."""
    assert GENESIS.domain(2).shard_ids() == (0x200, 0x201)
    assert GENESIS.domain_of_shard(0x201) == 2
    with pytest.raises(GenesisRefused):
        GENESIS.domain(3)


def test_two_networks_differ_in_their_random_bytes_alone_and_in_their_hash() -> None:
    other = replace(GENESIS, random=bytes(32))
    assert other.hash != GENESIS.hash


def test_a_key_stands_once() -> None:
    domain = GENESIS.domains[0]
    with pytest.raises(GenesisRefused):
        replace(GENESIS, domains=(replace(domain, keys=(*domain.keys, domain.keys[0])),))


def test_defaults_are_those_of_the_rules() -> None:
    """A ledger's window is 60 s and its largest amount 10^18 - 1 unless its genesis says otherwise."""
    ledger = GenesisLedger(1, "CNY", 2, 7)
    assert (ledger.amount_max, ledger.window_s) == (10**18 - 1, 60)
    assert GenesisLimits().bucket_ns == 1_000_000_000
