"""Golden bytes of every encoding of the engine, under both hash suites.

``python -m tests.vectors.make_golden`` writes them to ``tests/vectors/golden/``; a test compares. A byte that changes here
changes a layout, a digest or a rule: then the spec changes first, and a version with it. Origin: this program, whose
inputs are all written out below; signatures are Ed25519 (RFC 8032, deterministic) under keys of a development network.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from engine.admin import AdminColumns, AdminRequest, SignedAdmin
from engine.admin_window import AdminEntry
from engine.anchorage import Anchorage
from engine.batch import BatchColumns, encode_batch_file, sign_messages
from engine.block import Decision, DecisionProof, InclusionPath, build_decision_proof
from engine.bodies import encode_admin_body, encode_batch_body, encode_credits_body
from engine.credit import Credit
from engine.development import development_network
from engine.header import ChannelEntry, Header, LedgerEntry, SignedHeader, header_message
from engine.log_record import LogRecord, RecordKind, encode_record
from engine.parties import Key, Participant
from engine.prefix import PrefixType, claim_id, refund_id, signing_prefix
from engine.receipt import Receipt, ReceiptForm
from engine.record import Account, Transfer, derived_claim, derived_refund, slot_of_account
from engine.relay_block import RelayBlock, body_path, header_record, reveal_record, validator_set_record
from engine.types import CreditKind, Role, TransferFlag, TransferKind, VotePhase
from engine.validators import Certificate, CertificateSigner, ValidatorSet, Vote, vote_message
from native.hashing import digest
from tests.behaviour.domain_on_log import DomainOnLog

FOLDER = Path(__file__).parent / "golden"
SUITES = {1: "sha256", 2: "sm3"}


def bytes_from(first: int, count: int) -> bytes:
    """Return ``count`` bytes counting up from ``first``."""
    return bytes((first + at) % 256 for at in range(count))


def number_from(first: int, count: int) -> int:
    return int.from_bytes(bytes_from(first, count), "little")


def transfers() -> list[Transfer]:
    """One record that fills every field, one plain, a run of three, a lock."""
    linked = int(TransferFlag.LINKED)
    full = Transfer(
        number_from(1, 16), number_from(17, 16), number_from(33, 16), number_from(49, 16), number_from(113, 4),
        number_from(117, 4), number_from(97, 8), number_from(121, 4), number_from(65, 16), number_from(81, 16),
        number_from(105, 8), number_from(125, 2), number_from(127, 2), bytes_from(129, 32),
    )  # fmt: skip
    plain = Transfer(1, 7 << 96 | 1, 8 << 96 | 1, 10**18 - 1, 1, 1, 1_790_000_000_000_000_000, 60)
    run = [
        Transfer(
            2 + at, 7 << 96 | 1, 8 << 96 | 1, 5, 1, 1, 1_790_000_000_000_000_000 - at, 60, flags=linked if at < 2 else 0
        )
        for at in range(3)
    ]
    lock = Transfer(
        9, 7 << 96 | 1, 8 << 96 | 1, 5, 1, 1, 1_790_000_000_000_000_000, 60, until=1_790_000_600_000_000_000,
        flags=int(TransferKind.LOCK) | int(TransferFlag.HASH_IS_SM3), binding=digest(2, bytes_from(0, 32)),
    )  # fmt: skip
    return [full, plain, *run, lock]


def records(suite: int) -> dict[str, bytes]:
    genesis = bytes_from(0, 32)
    items = transfers()
    signed = sign_messages(suite, genesis, items)
    lock, lock_digest = items[-1], signed[-1][1]
    batch = BatchColumns.from_transfers(1, bytes_from(200, 16), items, [bytes_from(at, 64) for at in range(len(items))])
    codes = np.array([20, 1, 70, 142, 70, 2], dtype=np.uint16)
    out = {f"transfer/{row}": item.encode() for row, item in enumerate(items)}
    out |= {f"transfer/{row}/message": message for row, (message, _) in enumerate(signed)}
    out |= {f"transfer/{row}/digest": hashed for row, (_, hashed) in enumerate(signed)}
    out |= {f"prefix/{kind.value}": signing_prefix(suite, kind, genesis) for kind in PrefixType}
    out |= {
        "claim": derived_claim(suite, lock, lock_digest, bytes_from(0, 32)).encode(),
        "claim/id": claim_id(suite, lock_digest).to_bytes(16, "little"),
        "refund": derived_refund(suite, lock, lock_digest).encode(),
        "refund/id": refund_id(suite, lock_digest).to_bytes(16, "little"),
        "slots": b"".join(slot_of_account(number_from(at, 16)).to_bytes(2, "little") for at in range(32)),
        "account": Account(*(number_from(16 * at + 1, 16) for at in range(8)), number_from(129, 8), number_from(137, 4),
                           number_from(141, 4), 0x1F, number_from(147, 2), number_from(153, 8)).encode(),
        "key": Key(1, 2, 3, 1, 4, 5, bytes_from(9, 64)).encode(),
        "participant": Participant(1, 2, 3, 4, 5, 6, bytes_from(65, 16)).encode(),
        "admin": admin_request().encode(),
        "admin/entry": AdminEntry(7, 8, bytes_from(3, 32), 9, 203).encode(),
        "credit": credit(1).encode(),
        "batch_file": encode_batch_file(batch, suite, genesis),
        "body/batch": encode_batch_body(batch, submitter=101, codes=codes),
        "body/credits": encode_credits_body(0x101, credit(1).encode() + credit(2).encode()),
        "body/admin": encode_admin_body(
            AdminColumns.from_requests([SignedAdmin(admin_request().encode(), (1, 2), (bytes_from(1, 64), bytes_from(2, 64)))]),
            codes=np.array([1], dtype=np.uint16),
        ),
    }  # fmt: skip
    record = LogRecord.make(
        suite=suite, genesis_hash=genesis, shard=0x101, epoch=2, number=3, time=4, kind=RecordKind.CREDITS,
        previous_hash=bytes_from(5, 32), body=out["body/credits"],
    )  # fmt: skip
    return out | {"log_record": encode_record(record), "log_record/hash": record.hash}


def admin_request() -> AdminRequest:
    return AdminRequest(
        number_from(1, 16), 5, 7, 8, number_from(17, 16), 9, 10, 11, 12, 1, 2, 13, 14, bytes_from(97, 64)
    )


def credit(sequence: int) -> Credit:
    return Credit(
        sequence, CreditKind.RETURN, 5, 1, number_from(17, 16), number_from(33, 16), 77, 9, bytes_from(3, 32), 8, 136
    )


def header(suite: int, decisions_root: bytes, headers_root: bytes, height: int = 3) -> Header:
    hashes = [bytes_from(at, 32) for at in range(1, 5)]
    return Header(
        suite, 0x101, 1, height, 10, 20, 7, 1, 2, 1, 2, 0, 4, *hashes, decisions_root, bytes_from(6, 32), bytes_from(7, 32),
        headers_root, (ChannelEntry(0x100, 5, 6),), (LedgerEntry(1, 10, 2**127, 3, 4),),
    )  # fmt: skip


def chains(suite: int) -> dict[str, bytes]:
    """Headers, proofs, relay blocks, certificates and a receipt that holds, all of one small story."""
    network = development_network(b"golden", hash_suite=suite)
    genesis = network.genesis
    block_key = network.key(1, Role.BLOCK)
    record = transfers()[1].encode()
    prefix = signing_prefix(suite, PrefixType.TRANSFER, genesis.hash)
    leaves = Decision(digest(suite, prefix + record), 50, 1).encode() + Decision(bytes_from(8, 32), 51, 142).encode()
    from dataclasses import replace

    from engine.block import decisions_root

    one = replace(header(suite, decisions_root(suite, leaves), digest(suite, b"")), genesis_hash=genesis.hash)
    signed = SignedHeader(one, block_key.key_id, block_key.sign(header_message(suite, genesis.hash, one.hash)))
    proof = build_decision_proof(suite, digest(suite, prefix + record), leaves, signed)
    assert isinstance(proof, DecisionProof)
    validators = ValidatorSet.of_genesis(genesis)
    body = (
        reveal_record(bytes_from(0, 32)),
        header_record(signed),
        validator_set_record(replace(validators, set_id=2)),
    )
    block = RelayBlock.build(
        suite,
        genesis_hash=genesis.hash,
        height=9,
        view=2,
        time=60,
        parent_hash=bytes_from(1, 32),
        set_id=1,
        records=body,
    )
    votes = [Vote(1, 9, 2, VotePhase.COMMIT, block.hash(suite), 60 + at, bytes_from(at, 32)) for at in range(3)]
    signers = tuple(
        CertificateSigner(at, vote.time, vote.executed_held, key.sign(vote_message(suite, genesis.hash, vote)))
        for at, (vote, key) in enumerate(zip(votes, network.validators[:3], strict=True))
    )
    certificate = Certificate(VotePhase.COMMIT, 1, 9, 2, block.hash(suite), signers)
    receipt = Receipt(
        ReceiptForm.PAYER, record, prefix, proof.decision, proof.path,
        Anchorage(one, None, signed, InclusionPath(1, 3, body_path(suite, body, 1)), block.header, certificate),
    )  # fmt: skip
    receipt.verify(suite, genesis.hash, validators)
    return {
        "genesis": genesis.document,
        "genesis/hash": genesis.hash,
        "header": one.encode(),
        "header/hash": one.hash,
        "signed_header": signed.encode(),
        "decision": leaves[:48],
        "decision_proof": proof.encode(),
        "relay_block": block.encode(),
        "relay_block/hash": block.hash(suite),
        "validator_set": validators.encode(),
        "vote": votes[0].encode(),
        "vote/message": vote_message(suite, genesis.hash, votes[0]),
        "certificate": certificate.encode(),
        "receipt": receipt.encode(),
    }


def story(suite: int) -> dict[str, bytes]:
    """A day of two shards, whose every root, header and state is a function of the rules."""
    network = development_network(b"golden", currencies=(("CNY", 2),), shards=2, hash_suite=suite)
    domain = DomainOnLog(network)
    issuer, a, b = domain.ready()
    payer = domain.key(Role.ACCOUNT, 0, 111)
    far = domain.account_on(112, 1)
    preimage = bytes_from(0, 32)
    hold = domain.transfer(a, b, 100, payer, flags=int(TransferKind.PENDING) | 1 << 7, until=5 * 10**9)
    lock = domain.transfer(
        a, b, 50, payer, flags=int(TransferKind.LOCK) | int(TransferFlag.HASH_IS_SM3), until=domain.now + 600 * 10**9,
        binding=digest(2, preimage),
    )  # fmt: skip
    codes = domain.submit(
        [
            domain.transfer(a, b, 7, payer),
            hold,
            lock,
            domain.transfer(a, far, 20, payer),
            domain.transfer(a, b, 10**9, payer),
        ],
        [payer] * 5,
    )
    domain.deliver()
    domain.seal()
    domain.now += 10 * 10**9
    domain.relay_block(domain.now, preimage)
    domain.deliver()
    domain.seal()
    domain.check()
    out = {
        "codes": np.array(codes, dtype="<u2").tobytes(),
        "accounts": b"".join(each.to_bytes(16, "little") for each in (issuer, a, b, far)),
    }
    for shard, machine in domain.machines.items():
        out[f"{shard:#x}/last_record_hash"] = machine.log_position[1]
        out |= {f"{shard:#x}/{name}": root for name, root in machine.subtree_roots().items()}
        out[f"{shard:#x}/state_root"] = machine.state_root()
        out |= {f"{shard:#x}/header/{each.header.height}": each.header.encode() for each in domain.sealed[shard]}
        out |= {f"{shard:#x}/leaves/{each.header.height}": each.decision_leaves for each in domain.sealed[shard]}
        out[f"{shard:#x}/state"] = machine.export()
    return out


def golden(suite: int) -> dict[str, str]:
    """Return all vectors of a hash suite by name, as hex."""
    parts = {"record": records(suite), "chain": chains(suite), "story": story(suite)}
    return {f"{part}/{name}": data.hex() for part, vectors in parts.items() for name, data in vectors.items()}


def text(suite: int) -> str:
    """Return the file of a hash suite."""
    return json.dumps({"hash_suite": suite, "vectors": golden(suite)}, indent=1) + "\n"


def main() -> None:
    for suite, name in SUITES.items():
        (FOLDER / f"engine_{name}.json").write_text(text(suite))


if __name__ == "__main__":
    main()
