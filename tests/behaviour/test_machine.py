"""The state machine as a whole: money moves, the log alone decides, and replay gives every byte back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clearspan.cli.failures import VERIFICATION
from clearspan.cli.root import run
from engine.batch import BatchColumns
from engine.block import DecisionProof, build_decision_proof
from engine.bodies import decode_batch_body
from engine.conservation import check_invariants
from engine.development import development_network
from engine.header import Header, SignedHeader, header_message
from engine.invariants import invariant
from engine.log_record import LogRecord, RecordKind
from engine.machine import ShardMachine
from engine.record import Transfer, channel_account_id
from engine.refusals import EncodingError, GenesisRefused, InvariantBroken, ReplayDiverged
from engine.replay import replay
from engine.types import Role, SigningSuite, TransferKind
from native.codes import ResultCode
from native.hashing import Frontier, digest, leaf_hash
from tests.behaviour.domain_on_log import BANK_A, BANK_B, ISSUER, MINUTE, SECOND, DomainOnLog


def busy(domain: DomainOnLog) -> tuple[int, int, int]:
    """One of everything: issue, plain, pending and its end, lock and reveal, expiry, seals between."""
    issuer, a, b = domain.ready()
    payer = domain.key(Role.ACCOUNT, 0, BANK_A)
    pending = domain.transfer(a, b, 100, payer, flags=int(TransferKind.PENDING) | 1 << 7 | 1 << 9, until=5 * SECOND)
    preimage = b"\x07" * 32
    lock = domain.transfer(
        a, b, 50, payer, flags=int(TransferKind.LOCK), until=domain.now + 10 * MINUTE, binding=digest(1, preimage)
    )
    late = domain.transfer(
        a, b, 30, payer, flags=int(TransferKind.LOCK), until=domain.now + 5 * MINUTE, binding=digest(1, bytes(32))
    )
    assert domain.submit([domain.transfer(a, b, 10, payer), pending, lock, late], [payer] * 4) == [1, 1, 1, 1]
    post = domain.transfer(a, b, 60, payer, flags=int(TransferKind.POST), reference=pending.id)
    due = domain.transfer(a, b, 5, payer, flags=int(TransferKind.PENDING), until=SECOND)
    assert domain.submit([post, due], [payer] * 2) == [1, 1]
    domain.seal()
    domain.now += 2 * SECOND
    domain.seal()
    domain.relay_block(domain.now + 1, preimage)
    domain.relay_block(domain.now + 6 * MINUTE)
    domain.now += MINUTE
    domain.seal()
    return issuer, a, b


def test_money_moves_and_nothing_is_made_or_lost() -> None:
    domain = DomainOnLog()
    issuer, a, b = busy(domain)
    machine = domain.machines[0x100]
    balances = {account: machine.find_account(account) for account in (issuer, a, b)}
    assert [balances[each].balance for each in (issuer, a, b)] == [-1000, 1000 - 10 - 60 - 50, 10 + 60 + 50]
    assert all(each.debits_pending == each.credits_pending == 0 for each in balances.values())
    domain.check()


@pytest.mark.parametrize("audit", [False, True])
@pytest.mark.parametrize("hash_suite", [1, 2])
def test_replay_gives_the_same_state_headers_and_leaves(audit: bool, hash_suite: int) -> None:
    """LOG-3: from recorded codes, or with every signature verified again."""
    domain = DomainOnLog(development_network(b"test", currencies=(("CNY", 2),), shards=1, hash_suite=hash_suite))
    busy(domain)
    domain.replayed(0x100, audit=audit)


@pytest.mark.parametrize("suite", [SigningSuite.SM2, SigningSuite.P256])
def test_signatures_of_the_other_suites_settle_too(suite: SigningSuite) -> None:
    domain = DomainOnLog(development_network(b"test", currencies=(("CNY", 2),), shards=1, signing_suite=suite))
    busy(domain)
    domain.replayed(0x100, audit=True)


def test_a_log_that_says_otherwise_is_named() -> None:
    """A changed code, a forged signature under audit, a record too many: each stops at its number."""
    domain = DomainOnLog()
    busy(domain)
    at = next(row for row, record in enumerate(domain.logs[0x100]) if record.kind is RecordKind.BATCH)
    record = domain.logs[0x100][at]
    wrong = bytearray(record.body)
    wrong[-2:] = int(ResultCode.INSUFFICIENT_FUNDS).to_bytes(2, "little")
    with pytest.raises(ReplayDiverged) as diverged:
        replay(ShardMachine(domain.genesis, 0x100), [*domain.logs[0x100][:at], changed(record, bytes(wrong))])
    assert diverged.value.number == record.number
    forged = bytearray(record.body)
    forged[32 + 2 * 128] ^= 1
    log = [*domain.logs[0x100][:at], changed(record, bytes(forged))]
    replay(ShardMachine(domain.genesis, 0x100), log)
    with pytest.raises(ReplayDiverged):
        replay(ShardMachine(domain.genesis, 0x100), log, audit=True)
    with pytest.raises(ReplayDiverged):
        replay(ShardMachine(domain.genesis, 0x100), domain.logs[0x100][1:])


def changed(record: LogRecord, body: bytes) -> LogRecord:
    return LogRecord.make(
        suite=record.suite, genesis_hash=record.genesis_hash, shard=record.shard, epoch=record.epoch, number=record.number,
        time=record.time, kind=record.kind, previous_hash=record.previous_hash, body=body,
    )  # fmt: skip


def test_headers_chain_and_commit_to_all_before_them() -> None:
    """The header's fields, its parent, and the root of all earlier headers."""
    domain = DomainOnLog()
    busy(domain)
    log, earlier, parent, first = domain.logs[0x100], Frontier(1), bytes(32), 1
    for height, (leaves, header) in enumerate(domain.sealed[0x100], start=1):
        assert (header.height, header.parent_hash, header.headers_root) == (height, parent, earlier.root())
        assert header.first_number == first
        assert log[header.first_number - 1].hash == header.first_record_hash
        assert log[header.last_number - 1].hash == header.last_record_hash
        assert log[header.last_number - 1].kind is RecordKind.SEAL
        assert header.decision_count * 48 == len(leaves)
        assert Header.decode(header.encode()) == header
        parent, first = header.hash, header.last_number + 1
        earlier.append(leaf_hash(1, parent))
    last = domain.sealed[0x100][-1].header
    assert last.state_root == domain.machines[0x100].state_root()
    assert last.relay_height == 2
    assert last.ledgers[0].debits_posted == 1000 + 10 + 60 + 50


@pytest.mark.parametrize("suite", list(SigningSuite))
def test_a_decision_is_proven_to_whoever_knows_the_block_key(
    suite: SigningSuite, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """BLOCK-2, from a machine's own leaves; the command line tells the suite of a key that is named to it."""
    domain = DomainOnLog(development_network(b"test", currencies=(("CNY", 2),), shards=1, signing_suite=suite))
    busy(domain)
    leaves, header = domain.sealed[0x100][0]
    block_key = domain.key(Role.BLOCK)
    signature = block_key.sign(header_message(1, domain.genesis.hash, header.hash))
    batch = decode_batch_body(domain.logs[0x100][4].body, 1)
    record_digest = domain.machines[0x100].prepare(batch.columns).digests[:32]
    proof = build_decision_proof(1, record_digest, leaves, SignedHeader(header, block_key.key_id, signature))
    assert proof is not None
    decision = DecisionProof.decode(proof.encode()).verify(block_key.suite, block_key.public_key, domain.genesis.hash)
    assert (decision.digest, decision.code) == (record_digest, ResultCode.CREATED)
    (tmp_path / "proof").write_bytes(proof.encode())
    (tmp_path / "genesis.json").write_bytes(domain.genesis.document)
    command = ["receipt", "verify", str(tmp_path / "proof"), "--genesis", str(tmp_path / "genesis.json"), "--block-key"]
    assert run([*command, block_key.public_key.hex()]) == 0
    assert record_digest.hex() in capsys.readouterr().out
    assert run([*command, domain.key(Role.OPERATOR).public_key.hex()]) == VERIFICATION
    for nonsense in ("ff" * 64, "00", "key", ""):
        assert run([*command, nonsense]) != 0
        assert "--block-key" in capsys.readouterr().err


def test_an_exported_state_goes_on_as_if_nothing_had_happened() -> None:
    """CHECK-1: canonical bytes right after a seal, and the same answers afterwards."""
    domain = DomainOnLog()
    _, a, b = busy(domain)
    machine = domain.machines[0x100]
    data = machine.export()
    assert domain.replayed(0x100).export() == data
    loaded = ShardMachine.load(domain.genesis, 0x100, data)
    assert loaded.export() == data
    assert loaded.subtree_roots() == machine.subtree_roots()
    assert (loaded.log_position, loaded.height, loaded.header_hash) == (
        machine.log_position, machine.height, machine.header_hash
    )  # fmt: skip
    kept = len(domain.logs[0x100])
    payer = domain.key(Role.ACCOUNT, 0, BANK_A)
    domain.submit([domain.transfer(a, b, 1, payer)], [payer])
    domain.open(domain.account_on(BANK_B, 0, 1), BANK_B)
    domain.seal()
    blocks = []
    replay(loaded, domain.logs[0x100][kept:], audit=True, on_sealed=blocks.append)
    assert blocks == domain.sealed[0x100][-1:]


def test_bytes_that_are_no_state_are_refused() -> None:
    domain = DomainOnLog()
    busy(domain)
    data = domain.machines[0x100].export()
    for cut in (0, 10, 200, len(data) // 2, len(data) - 1):
        with pytest.raises(EncodingError):
            ShardMachine.load(domain.genesis, 0x100, data[:cut])
    with pytest.raises(EncodingError):
        ShardMachine.load(domain.genesis, 0x100, data + b"\0")


def test_a_state_is_exported_only_between_blocks() -> None:
    domain = DomainOnLog()
    domain.ready()
    with pytest.raises(InvariantBroken):
        domain.machines[0x100].export()


def test_credits_between_shards_arrive_once_and_headers_say_so() -> None:
    """CHANNEL-1, CHANNEL-2, CHANNEL-4, over two shards."""
    domain = DomainOnLog(shards=2)
    _, a, _ = domain.ready()
    far = domain.account_on(BANK_B, 1)
    assert domain.open(far, BANK_B) == ResultCode.CREATED
    payer = domain.key(Role.ACCOUNT, 0, BANK_A)
    nowhere = domain.account_on(BANK_B, 1, nth=5)
    assert domain.submit(
        [domain.transfer(a, far, 70, payer), domain.transfer(a, nowhere, 30, payer)], [payer] * 2
    ) == [ResultCode.CREATED_IN_TRANSIT] * 2  # fmt: skip
    domain.check()
    domain.deliver()
    domain.seal()
    domain.check()
    assert domain.machines[0x101].find_account(far).balance == 70
    assert domain.machines[0x100].find_account(a).balance == 930
    mirror = domain.machines[0x101].find_account(channel_account_id(1, 0x100))
    assert (mirror.debits_posted, mirror.credits_posted) == (100, 30)
    source, destination = (domain.sealed[shard][-1].header for shard in (0x100, 0x101))
    assert [(each.sent, each.received) for each in source.channels] == [(2, 1)]
    assert [(each.sent, each.received) for each in destination.channels] == [(1, 2)]
    assert source.ledgers[0].channel_credits - destination.ledgers[0].channel_debits == 0
    for shard in domain.machines:
        domain.replayed(shard, audit=True)


def test_time_and_numbers_only_go_forward() -> None:
    """A step before the last one's time, and a record that does not continue the log, stop the machine."""
    domain = DomainOnLog()
    _, a, b = domain.ready()
    machine = domain.machines[0x100]
    record = domain.logs[0x100][-1]
    with pytest.raises(InvariantBroken):
        machine.record_applied(record)
    with pytest.raises(InvariantBroken):
        machine.seal(record)
    payer = domain.key(Role.ACCOUNT, 0, BANK_A)
    domain.now -= 1
    with pytest.raises(InvariantBroken):
        domain.submit([domain.transfer(a, b, 1, payer)], [payer])


def test_verdicts_do_not_depend_on_how_a_batch_is_cut() -> None:
    """Ranges on an executor give what one call gives; a key id that is unknown here is no verdict of 1."""
    domain = DomainOnLog()
    _, a, b = domain.ready()
    payer = domain.key(Role.ACCOUNT, 0, BANK_A)
    items = [domain.transfer(a, b, 1, payer) for _ in range(9)]
    items[3] = replace(items[3], key_id=99)
    items[5] = replace(items[5], key_id=2**32 - 1)
    machine = domain.machines[0x100]
    from engine.batch import sign_messages

    signed = sign_messages(1, domain.genesis.hash, items)
    batch = BatchColumns.from_transfers(1, bytes(16), items, [payer.sign(message) for message, _ in signed])
    prepared = machine.prepare(batch)
    expected = [1, 1, 1, 0, 1, 0, 1, 1, 1]
    assert machine.verify(prepared, batch).tolist() == expected
    with ThreadPoolExecutor(2) as executor:
        for parts in (2, 3, 20):
            assert machine.verify(prepared, batch, executor, parts).tolist() == expected


def test_columns_and_single_records_prepare_the_same_messages() -> None:
    """The native step and the plain one agree on runs, prefixes and digests (RECORD-1 to RECORD-4)."""
    from engine.batch import sign_messages

    domain = DomainOnLog()
    rng = np.random.default_rng(7)
    items = [
        Transfer(int(rng.integers(1, 2**60)), 7 << 96, 8 << 96, 5, 1, 1, int(rng.integers(1, 2**62)), 60,
                 flags=int(rng.integers(0, 2)) << 4, binding=bytes(rng.integers(0, 2, 32, dtype=np.uint8)))
        for _ in range(200)
    ]  # fmt: skip
    items[-1] = replace(items[-1], flags=0)
    prepared = domain.machines[0x100].prepare(BatchColumns.from_transfers(1, bytes(16), items))
    signed = sign_messages(1, domain.genesis.hash, items)
    assert prepared.messages == b"".join(message for message, _ in signed)
    assert prepared.digests == b"".join(hashed for _, hashed in signed)


def test_a_shard_that_the_genesis_does_not_have_is_refused() -> None:
    with pytest.raises(GenesisRefused):
        ShardMachine(DomainOnLog().genesis, 0x105)


def test_an_invariant_stops_and_says_of_what() -> None:
    invariant(True, "fine")
    with pytest.raises(InvariantBroken) as broken:
        invariant(0, "debits_equal_credits", ledger=1)
    assert (broken.value.name, broken.value.context) == ("debits_equal_credits", {"ledger": 1})
    assert check_invariants(DomainOnLog().machines[0x100]) == []
    assert ISSUER == DomainOnLog().domain.ledgers[0].issuer


def test_credits_of_an_unknown_peer_or_out_of_sequence_break_the_log() -> None:
    """LEDGER-50: anything but the next message of a peer is a broken log, live and in replay."""
    from engine.bodies import encode_credits_body
    from engine.credit import Credit
    from engine.types import CreditKind
    from native.errors import NativeError

    domain = DomainOnLog(shards=2)
    message = Credit(2, CreditKind.CREDIT, 0, 1, 7 << 96, 8 << 96, 5, 0, bytes(32), domain.now).encode()
    for peer in (0x101, 0x999):
        with pytest.raises(NativeError):
            DomainOnLog(shards=2).machines[0x100].apply_credits(peer, message, domain.now)
        record = domain.record(0x100, RecordKind.CREDITS, encode_credits_body(peer, message))
        with pytest.raises(ReplayDiverged):
            replay(ShardMachine(domain.genesis, 0x100), [record])


def test_shards_that_do_not_belong_together_are_found_out() -> None:
    """CHANNEL-2: a source rolled back under a destination that has its credit shows as money from nowhere."""
    from engine.conservation import check_domain

    domain = DomainOnLog(shards=2)
    _, a, _ = domain.ready()
    far = domain.account_on(BANK_B, 1)
    domain.open(far, BANK_B)
    payer = domain.key(Role.ACCOUNT, 0, BANK_A)
    domain.submit([domain.transfer(a, far, 70, payer)], [payer])
    domain.deliver()
    assert check_domain(domain.machines.values()) == []
    findings = check_domain([ShardMachine(domain.genesis, 0x100), domain.machines[0x101]])
    assert any("got more than" in finding for finding in findings)
    assert any("received of 0 sent" in finding for finding in findings)
