"""Every encoding gives the bytes it gave when its version was fixed."""

from __future__ import annotations

import json

import pytest

from engine.block import DecisionProof
from engine.development import development_network
from engine.genesis import Genesis
from engine.header import SignedHeader
from engine.machine import ShardMachine
from engine.receipt import Receipt
from engine.record import Account, Transfer
from engine.relay_block import RelayBlock
from engine.validators import Certificate, ValidatorSet
from tests.vectors.make_golden import FOLDER, SUITES, golden


@pytest.mark.parametrize("suite", SUITES)
def test_the_golden_bytes_are_made_again(suite: int) -> None:
    """The committed file against the generator, name by name; rewrite it with python -m tests.vectors.make_golden."""
    stored = json.loads((FOLDER / f"engine_{SUITES[suite]}.json").read_text())
    assert stored["hash_suite"] == suite
    made = golden(suite)
    assert list(stored["vectors"]) == list(made)
    assert [name for name in made if stored["vectors"][name] != made[name]] == []


@pytest.mark.parametrize("suite", SUITES)
def test_the_golden_bytes_are_read_and_hold(suite: int) -> None:
    """Readers accept what stands in the files, to the byte, and its proofs hold."""
    vectors = {
        name: bytes.fromhex(data)
        for name, data in json.loads((FOLDER / f"engine_{SUITES[suite]}.json").read_text())["vectors"].items()
    }
    for row in range(6):
        data = vectors[f"record/transfer/{row}"]
        assert Transfer.decode(data).encode() == data
    assert Account.decode(vectors["record/account"]).encode() == vectors["record/account"]
    genesis = Genesis.decode(vectors["chain/genesis"])
    assert genesis.hash == vectors["chain/genesis/hash"]
    block_key = genesis.domains[0].keys[5]
    SignedHeader.decode(vectors["chain/signed_header"]).verify(block_key.suite, block_key.public_key, genesis.hash)
    DecisionProof.decode(vectors["chain/decision_proof"]).verify(block_key.suite, block_key.public_key, genesis.hash)
    validators = ValidatorSet.decode(vectors["chain/validator_set"])
    certificate = Certificate.decode(vectors["chain/certificate"])
    assert (
        RelayBlock.decode(vectors["chain/relay_block"], suite).verify_certificate(suite, certificate, validators) == 3
    )
    assert Receipt.decode(vectors["chain/receipt"]).verify(suite, genesis.hash, validators).anchorage.power == 3


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("shard", ["0x100", "0x101"])
def test_a_stored_state_is_loaded_and_has_its_root(suite: int, shard: str) -> None:
    """A checkpoint's state of this version can always be read."""
    vectors = json.loads((FOLDER / f"engine_{SUITES[suite]}.json").read_text())["vectors"]
    genesis = development_network(b"golden", currencies=(("CNY", 2),), shards=2, hash_suite=suite).genesis
    machine = ShardMachine.load(genesis, int(shard, 16), bytes.fromhex(vectors[f"story/{shard}/state"]))
    assert machine.state_root().hex() == vectors[f"story/{shard}/state_root"]
    assert machine.export().hex() == vectors[f"story/{shard}/state"]
