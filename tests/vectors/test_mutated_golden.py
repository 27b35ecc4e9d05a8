"""Readers of the engine meet golden bytes that were changed, cut or stretched: they refuse with their own errors, or read."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest

from engine.admin import AdminRequest
from engine.batch import decode_batch_file
from engine.block import Decision, DecisionProof
from engine.bodies import decode_admin_body, decode_batch_body, decode_credits_body
from engine.credit import Credit
from engine.development import development_network
from engine.genesis import Genesis
from engine.header import Header, SignedHeader
from engine.machine import ShardMachine
from engine.receipt import Receipt
from engine.record import Account, Transfer, slot_of_account
from engine.refusals import EncodingError, GenesisRefused, ProofRefused
from engine.relay_block import RelayBlock
from engine.validators import Certificate, ValidatorSet, Vote
from native.ledger import slots
from tests.vectors.make_golden import FOLDER, bytes_from

VECTORS = {
    name: bytes.fromhex(data)
    for name, data in json.loads((FOLDER / "engine_sha256.json").read_text())["vectors"].items()
}
ROUNDS = 300


def _state(data: bytes) -> bytes:
    genesis = development_network(b"golden", currencies=(("CNY", 2),), shards=2).genesis
    return ShardMachine.load(genesis, 0x100, data).export()


def _batches(data: bytes) -> bytes:
    from engine.batch import encode_batch_file

    return b"".join(
        encode_batch_file(batch, 1, bytes_from(0, 32)) for batch in decode_batch_file(data, 1, bytes_from(0, 32))
    )


# name -> how it is read and written again; None where reading alone is asked.
READERS = {
    "record/transfer/0": lambda data: Transfer.decode(data).encode(),
    "record/account": lambda data: Account.decode(data).encode(),
    "record/admin": lambda data: AdminRequest.decode(data).encode(),
    "record/credit": lambda data: Credit.decode(data).encode(),
    "record/batch_file": _batches,
    "record/body/batch": lambda data: decode_batch_body(data, 1) and None,
    "record/body/credits": lambda data: decode_credits_body(data) and None,
    "record/body/admin": lambda data: decode_admin_body(data) and None,
    "chain/genesis": lambda data: Genesis.decode(data).document,
    "chain/header": lambda data: Header.decode(data).encode(),
    "chain/signed_header": lambda data: SignedHeader.decode(data).encode(),
    "chain/decision": lambda data: Decision.decode(data).encode(),
    "chain/decision_proof": lambda data: DecisionProof.decode(data).encode(),
    "chain/relay_block": lambda data: RelayBlock.decode(data, 1).encode(),
    "chain/validator_set": lambda data: ValidatorSet.decode(data).encode(),
    "chain/vote": lambda data: Vote.decode(data).encode(),
    "chain/certificate": lambda data: Certificate.decode(data).encode(),
    "chain/receipt": lambda data: Receipt.decode(data).encode(),
    "story/0x100/state": _state,
}


def mutations(data: bytes, chance: random.Random) -> bytes:
    """Flip, cut, stretch, or write a boundary value where a length or a count may stand."""
    changed = bytearray(data)
    kind = chance.randrange(5)
    at = chance.randrange(len(data))
    if kind == 0:
        changed[at] ^= 1 << chance.randrange(8)
    elif kind == 1:
        del changed[at:]
    elif kind == 2:
        changed += chance.randbytes(chance.randrange(1, 40))
    elif kind == 3:
        changed[at : at + 4] = chance.choice([b"\xff" * 4, bytes(4), b"\x01\0\0\0", b"\0\0\0\x80"])
    else:
        changed[at : at + 8] = chance.choice([b"\xff" * 8, bytes(8), chance.randbytes(8)])
    return bytes(changed)


@pytest.mark.parametrize("name", READERS)
def test_a_reader_refuses_or_gives_the_same_bytes_back(name: str) -> None:
    """What is read again encodes to exactly what came: an encoding has one spelling."""
    chance = random.Random(name)
    read = READERS[name]
    read(VECTORS[name])
    for _ in range(ROUNDS // 2 if name.endswith("state") else ROUNDS):
        data = mutations(VECTORS[name], chance)
        try:
            again = read(data)
        except (EncodingError, GenesisRefused, ProofRefused):
            continue
        assert again is None or again == data


def test_the_plain_slot_is_the_kernels() -> None:
    """BYTES-9: one digest, in two languages."""
    chance = random.Random(5)
    ids = [chance.getrandbits(128) for _ in range(500)] + [0, 1, 2**64 - 1, 2**64, 2**128 - 1]
    out = np.empty(len(ids), dtype=np.uint16)
    slots(b"".join(each.to_bytes(16, "little") for each in ids), 16, 0, out)
    assert out.tolist() == [slot_of_account(each) for each in ids]
