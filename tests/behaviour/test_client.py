"""The client: results folded, retries of the very same bytes, streams that survive, and nothing believed unproven."""

from __future__ import annotations

import asyncio
import runpy
import struct
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pytest

import clearspan
from clearspan.client import AsyncClient, Client, RetryPolicy
from clearspan.client.core import Attempt, ClientCore, Pause, StreamCore, encode_submit
from clearspan.client.results import BatchResult, major_units
from clearspan.errors import Refused, TimedOut, Unreachable, VerificationFailed
from clearspan.keys import KeyRing, ScryptCost
from clearspan.pki import create_development_pki
from clearspan.roles import Identity, PeerRole
from clearspan.service import SettlementServer
from clearspan.signer import Signer, new_transfer_id
from clearspan.status import Refusal
from clearspan.v1 import clearspan_pb2 as pb
from engine.admin import AdminRequest
from engine.batch import BatchColumns, sign_messages
from engine.codes import CodeClass
from engine.credit import Credit, CreditKind
from engine.prefix import PrefixType, signing_prefix
from engine.types import AdminType, ParticipantId, Role, SigningSuite, TransferFlag, TransferKind
from native.codes import ResultCode
from native.signatures import verify
from shards.errors import Overloaded
from tests.behaviour.fakes import (
    BANK,
    DOMAIN,
    OTHER_BANK,
    SHARD,
    FakeNode,
    bank_account,
    edge,
    network,
    transfer,
    until,
)

QUICK = RetryPolicy(deadline_s=5.0, attempt_s=2.0, pause_first_s=0.005, pause_max_s=0.02)
OWN, OTHER = bank_account(1), bank_account(1, OTHER_BANK)


def run(coroutine):
    async def bounded():
        async with asyncio.timeout(30):
            await coroutine

    asyncio.run(bounded())


def batches(e, count: int, start: int = 1):
    signer = Signer(e.node.genesis, e.node.ring)
    return [signer.sign(DOMAIN, [transfer(start + number, OWN, OTHER)]) for number in range(count)]


# Results.


def test_a_repeat_is_folded_into_its_first_outcome(tmp_path: Path) -> None:
    async def test() -> None:
        async with edge(tmp_path) as e, AsyncClient.connect(e.target, e.files()) as client:
            signer = Signer(e.node.genesis, e.node.ring)
            record = transfer(new_transfer_id(), OWN, OTHER, 5)
            first = (await client.submit([record], signer))[0]
            again = (await client.submit([record], signer))[0]
            assert (first.code, first.answer, first.first_code) == (ResultCode.CREATED, ResultCode.CREATED, 0)
            assert (again.code, again.answer, again.first_code) == (
                ResultCode.CREATED,
                ResultCode.EXISTS,
                ResultCode.CREATED,
            )
            assert first.time == again.time
            assert first.settled and again.settled and not again.retried
            assert first.next_step

    run(test())


def test_a_failed_repeat_is_its_first_refusal() -> None:
    columns = (
        np.array(values, dtype) for values, dtype in (([100, 100, 142], "u2"), ([142, 114, 0], "u2"), ([1, 2, 3], "u8"))
    )
    result = BatchResult(bytes(16), *columns, "synced", 2)
    assert result.codes.tolist() == [142, 114, 142]
    assert not result.settled.any()
    assert [each.name for each in result] == ["insufficient_funds", "cancelled", "insufficient_funds"]
    assert all(each.code_class is CodeClass.NO and each.retried for each in result)


def test_amounts_are_written_exactly() -> None:
    cases = {
        (0, 2): "0.00",
        (5, 2): "0.05",
        (-123456, 2): "-1,234.56",
        (7, 0): "7",
        (10**18 - 1, 3): "999,999,999,999,999.999",
    }
    assert {key: major_units(*key) for key in cases} == cases


def test_accounts_come_with_currency_and_balance(tmp_path: Path) -> None:
    async def test() -> None:
        async with edge(tmp_path) as e:
            e.node.open_account(BANK, 1, posted=123456)
            async with AsyncClient.connect(e.target, e.files()) as client:
                found, missing = await client.accounts([OWN, bank_account(2)])
                assert missing is None
                assert (found.balance, found.balance_text, found.available) == (123456, "1,234.56 CNY", 123506)
                assert (found.participant, found.whole) == (BANK, True)
            async with AsyncClient.connect(e.target, e.files(PeerRole.CLEARING_HOUSE)) as client:
                (found,) = await client.accounts([OWN])
                assert (found.balance, found.whole) == (0, False)

    run(test())


def test_statements_are_read_page_by_page(tmp_path: Path) -> None:
    async def test() -> None:
        async with edge(tmp_path) as e, AsyncClient.connect(e.target, e.files()) as client:
            entries = [e.node.add_entry(OWN, OTHER, number + 1) for number in range(7)]
            for newest_first in (True, False):
                seen = [each async for each in client.statement(OWN, newest_first=newest_first, page=3)]
                amounts = [each.body.amount for each in seen]
                assert amounts == (list(range(7, 0, -1)) if newest_first else list(range(1, 8)))
            found = await client.transfers([entries[2].digest, bytes(32)])
            assert found[1] is None
            assert (found[0].body.amount, found[0].digest, found[0].settled) == (3, entries[2].digest, True)
            page = await client.statement_page(OWN, limit=3)
            assert page.next == struct.pack("<Q", 3)

    run(test())


def test_a_credit_in_a_statement_is_its_message(tmp_path: Path) -> None:
    async def test() -> None:
        async with edge(tmp_path) as e, AsyncClient.connect(e.target, e.files()) as client:
            message = Credit(1, CreditKind.CREDIT, 0, 156, OTHER, OWN, 77, 0, bytes(32), 5)
            plain = e.node.add_entry(OWN, OTHER, 1)
            e.node.entries[0] = replace(plain, record=message.encode(), kind=2, code=int(ResultCode.CREDITED))
            (view,) = [each async for each in client.statement(OWN)]
            assert (view.arrived, view.body, view.name) == (True, message, "credited")

    run(test())


def test_admin_requests_bring_back_key_ids(tmp_path: Path) -> None:
    async def test() -> None:
        async with edge(tmp_path) as e, AsyncClient.connect(e.target, e.files(PeerRole.OPERATOR)) as client:
            signer = Signer(e.node.genesis, e.node.ring)
            request = AdminRequest(7, AdminType.PARTICIPANT_ADD, 10**18, 60, participant=99)
            result = await client.administer(signer.admin_columns([signer.sign_admin(request, 4)]))
            assert result[0].settled
            assert result.assigned.tolist() == [9]
            assert (await client.status()).genesis_hash == e.node.genesis.hash

    run(test())


# Retries.


def core(policy: RetryPolicy = QUICK) -> tuple[ClientCore, list[float]]:
    now = [0.0]
    return ClientCore("here", policy, lambda: now[0]), now


def refusal(status: grpc.StatusCode, number: int = 0, retry_after_ms: int = 0) -> Refusal:
    return Refusal(number, status.name.lower(), status, "open", "", "", retry_after_ms)


@pytest.mark.parametrize(
    "answer",
    [
        refusal(grpc.StatusCode.UNAVAILABLE),
        refusal(grpc.StatusCode.DEADLINE_EXCEEDED),
        refusal(grpc.StatusCode.ABORTED),
        refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, 240, 30),
    ],
)
def test_the_very_same_bytes_are_sent_again(answer: Refusal) -> None:
    client, now = core()
    node = FakeNode()
    batch = Signer(node.genesis, node.ring).sign(DOMAIN, [transfer(1, OWN, OTHER)])
    steps = client.submit(batch)
    sent, pauses, outcome = [], [], None
    with pytest.raises(StopIteration) as done:
        while True:
            step = steps.send(outcome)
            if isinstance(step, Pause):
                pauses.append(step.seconds)
                now[0] += step.seconds
                outcome = None
                continue
            assert isinstance(step, Attempt)
            sent.append(step.content)
            reply = pb.SubmitReply(codes=b"\x03\0", first_codes=b"\x01\0", times=bytes(8))
            outcome = answer if len(sent) < 4 else reply.SerializeToString()
    assert len(sent) == 4
    assert len(set(sent)) == 1
    assert all(pause <= QUICK.pause_max_s or answer.retry_after_ms for pause in pauses)
    assert all(pause >= answer.retry_after_ms / 1000 for pause in pauses)
    result = done.value.value[0]
    assert (result.code, result.retried, result.settled) == (ResultCode.CREATED, True, True)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (refusal(grpc.StatusCode.UNAVAILABLE), Unreachable),
        (refusal(grpc.StatusCode.DEADLINE_EXCEEDED), TimedOut),
        (refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, 240, 30), Refused),
        (refusal(grpc.StatusCode.UNAVAILABLE, 251, 30), Refused),
    ],
)
def test_retries_end_at_the_deadline(answer: Refusal, error: type[Exception]) -> None:
    client, now = core()
    steps = client.status()
    outcome: object = None
    with pytest.raises(error):
        while True:
            step = steps.send(outcome)
            now[0] += step.seconds if isinstance(step, Pause) else 0.5
            outcome = None if isinstance(step, Pause) else answer
    assert QUICK.deadline_s - 1 < now[0] <= QUICK.deadline_s + 0.5


def test_what_will_never_help_is_not_sent_again() -> None:
    for status in (
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.INTERNAL,
    ):
        client, _ = core()
        steps = client.status()
        steps.send(None)
        with pytest.raises(Refused):
            steps.send(refusal(status))


def test_an_overloaded_node_is_asked_again_over_the_wire(tmp_path: Path) -> None:
    async def test() -> None:
        async with edge(tmp_path) as e, AsyncClient.connect(e.target, e.files(), policy=QUICK) as client:
            e.node.failure, e.node.failures = Overloaded(9, 8, 5), 3
            (batch,) = batches(e, 1)
            result = await client.submit(batch)
            assert (result.attempts, result[0].settled, result[0].retried) == (4, True, True)
            assert len(set(e.node.batches)) == 1
            e.node.failure, e.node.failures = Overloaded(9, 8, 5), -1
            with pytest.raises(Refused) as caught:
                await AsyncClient(e.target, e.files(), policy=replace(QUICK, deadline_s=0.1)).submit(batch)
            assert (caught.value.code, caught.value.exit_code) == (ResultCode.OVERLOADED, 1)

    run(test())


def test_nobody_there_is_unreachable(tmp_path: Path) -> None:
    pki = create_development_pki(tmp_path, "testnet")
    files = pki.issue_client("bank", Identity("testnet", PeerRole.BANK, BANK))
    policy = replace(QUICK, deadline_s=0.3)
    with Client.connect("127.0.0.1:1", files, policy=policy) as client, pytest.raises(Unreachable) as caught:
        client.status()
    assert caught.value.exit_code == 3

    async def test() -> None:
        async with AsyncClient.connect("127.0.0.1:1", files, policy=policy) as client:
            with pytest.raises(Unreachable):
                await client.status()
            node = FakeNode()
            batch = Signer(node.genesis, node.ring).sign(DOMAIN, [transfer(1, OWN, OTHER)])
            with pytest.raises(Unreachable):
                async for _ in client.stream([batch]):
                    pass
            assert [result async for result in client.stream([])] == []  # nothing to say, nobody to miss

    run(test())


# Streams.


def test_a_stream_brings_results_in_order_and_resends_what_was_refused(tmp_path: Path) -> None:
    async def test() -> None:
        async with edge(tmp_path) as e, AsyncClient.connect(e.target, e.files(), policy=QUICK) as client:
            e.node.failure, e.node.failures = Overloaded(9, 8, 5), 7
            sent = batches(e, 60)
            sent[20] = replace(sent[20], domain=9)
            results = [result async for result in client.stream(sent, window=16)]
            assert [result.batch_id for result in results] == [batch.batch_id for batch in sent]
            assert [result.refusal.name for result in results if result.refusal] == ["domain_not_found"]
            assert sum(result.settled_count for result in results) == 59
            with pytest.raises(Refused):
                results[20].raise_for_refusal()

    run(test())


def test_a_stream_survives_the_end_of_its_connection(tmp_path: Path) -> None:
    """Goal: no batch lost or doubled over reconnections. Method: a stream that the service closes after each silence."""

    async def test() -> None:
        async with (
            edge(tmp_path, stream_idle_ms=30) as e,
            AsyncClient.connect(e.target, e.files(), policy=QUICK) as client,
        ):
            sent = batches(e, 6)

            async def slowly():
                for batch in sent:
                    yield batch
                    await asyncio.sleep(0.06)

            results = [result async for result in client.stream(slowly())]
            assert [result.batch_id for result in results] == [batch.batch_id for batch in sent]
            assert all(result[0].settled for result in results)
            assert len(e.node._decided) == 6

    run(test())


def test_a_stream_goes_on_over_a_restart_of_the_service(tmp_path: Path) -> None:
    """Goal: what was unanswered is sent again and answered once. Method: stop the service while batches wait in it."""

    async def test() -> None:
        node = FakeNode()
        async with edge(tmp_path, node=node) as e:
            client = AsyncClient.connect(e.target, e.files(), policy=QUICK)
            node.gate.clear()
            results = []

            async def read() -> None:
                async for result in client.stream(batches(e, 12)):
                    results.append(result)

            reading = asyncio.create_task(read())
            await until(lambda: node.in_node == 8)
            port = e.server.port
            await e.server.stop(0.05)
            node.gate.set()
            second = SettlementServer(node, e.pki.files("node"), port=port)
            await second.start()
            await reading
            assert len(results) == 12
            assert all(result[0].settled for result in results)
            assert len(node._decided) == 12
            assert {result[0].answer for result in results} == {ResultCode.CREATED, ResultCode.EXISTS}
            await client.close()
            await second.stop(0.1)

    run(test())


def test_a_window_larger_than_the_services_does_not_lock_up(tmp_path: Path) -> None:
    async def test() -> None:
        async with edge(tmp_path, stream_batches_max=1) as e, AsyncClient.connect(e.target, e.files()) as client:
            signer = Signer(e.node.genesis, e.node.ring)
            (one,) = batches(e, 1)
            big = replace(
                one, heads=np.repeat(one.heads, 8192, axis=0), signatures=np.repeat(one.signatures, 8192, axis=0)
            )
            e.node._remember = False
            assert len([result async for result in client.stream([big] * 40, window=32)]) == 40
            assert (
                signer.transfer(
                    debit_account=OWN, credit_account=OTHER, amount=1, ledger=156, key_id=2, now=0
                ).expires_at
                == 60 * 10**9
            )

    run(test())


def test_what_the_source_of_a_stream_raises_is_the_callers(tmp_path: Path) -> None:
    class SourceError(Exception):
        pass

    def failing(e):
        yield from batches(e, 2)
        raise SourceError

    async def test() -> None:
        async with edge(tmp_path) as e, AsyncClient.connect(e.target, e.files()) as client:
            with pytest.raises(SourceError):
                async for _ in client.stream(failing(e)):
                    pass
            assert (await client.status()).domain == DOMAIN
            # And leaving a stream half way leaves nothing behind.
            async for _ in client.stream(batches(e, 20, start=100)):
                break
            assert (await client.status()).domain == DOMAIN

    run(test())


def test_a_stream_core_bounds_what_is_under_way() -> None:
    client, _ = core()
    node = FakeNode()
    signer = Signer(node.genesis, node.ring)
    stream = StreamCore(3, client.backoff())
    for number in range(3):
        assert stream.has_room
        stream.take(signer.sign(DOMAIN, [transfer(number + 1, OWN, OTHER)]))
    assert not stream.has_room
    late = pb.SubmitReply(sequence=3, codes=b"\1\0", first_codes=b"\0\0", times=bytes(8))
    results, again, _ = stream.receive(late.SerializeToString())
    assert (results, again, stream.has_room) == ([], None, False)  # 3 waits for 1, and still takes room
    late.sequence = 1
    results, _, _ = stream.receive(late.SerializeToString())
    assert len(results) == 1
    assert stream.has_room
    assert stream.receive(late.SerializeToString()) == ([], None, 0.0)  # a repeat of what was answered
    late.sequence, late.codes = 2, b"\1"
    with pytest.raises(VerificationFailed):
        stream.receive(late.SerializeToString())


# What is proven.


def test_a_decision_proof_is_verified(tmp_path: Path) -> None:
    async def test() -> None:
        async with edge(tmp_path) as e, AsyncClient.connect(e.target, e.files(PeerRole.READER)) as client:
            good, forged, swapped, absent = (bytes([number]) * 32 for number in range(1, 5))
            e.node.add_proof(good)
            e.node.add_proof(forged, key_index=1)  # signed by a bank's key
            e.node.add_proof(swapped, of=good)
            proof, decision = await client.decision_proof(good)
            assert (decision.digest, decision.code) == (good, ResultCode.CREATED)
            assert proof.signed_header.header.shard == SHARD
            with pytest.raises(VerificationFailed, match="no block key"):
                await client.decision_proof(forged)
            with pytest.raises(VerificationFailed, match="another record"):
                await client.decision_proof(swapped)
            with pytest.raises(Refused) as caught:
                await client.decision_proof(absent)
            assert caught.value.name == "not_found"
            content = bytearray(e.node.proofs[good])
            for position in range(0, len(content), 37):  # any flipped bit is noticed
                content[position] ^= 1
                e.node.proofs[good] = bytes(content)
                with pytest.raises(VerificationFailed):
                    await client.decision_proof(good)
                content[position] ^= 1

    run(test())


def test_blocks_are_verified_one_after_the_other(tmp_path: Path) -> None:
    async def test() -> None:
        async with edge(tmp_path) as e, AsyncClient.connect(e.target, e.files(PeerRole.VALIDATOR)) as client:
            e.node.add_blocks(5)
            heights = [signed.header.height async for signed in client.blocks(SHARD, from_height=2)]
            assert heights == [2, 3, 4, 5]
            e.node.headers[3] = e.node.seal(4, bytes(32), b"").encode()
            with pytest.raises(VerificationFailed, match="child"):
                async for _ in client.blocks(SHARD):
                    pass
            del e.node.headers[3]
            with pytest.raises(VerificationFailed, match="was due"):
                async for _ in client.blocks(SHARD):
                    pass

    run(test())


def test_a_genesis_that_is_not_the_pinned_one_is_refused(tmp_path: Path) -> None:
    async def test() -> None:
        async with edge(tmp_path) as e:
            async with AsyncClient.connect(e.target, e.files(), genesis_hash=e.node.genesis.hash) as client:
                assert (await client.network()).domain.domain == DOMAIN
            async with AsyncClient.connect(e.target, e.files(), genesis_hash=bytes(32)) as client:
                with pytest.raises(VerificationFailed, match="pinned"):
                    await client.network()

    run(test())


# Signing.


@pytest.mark.parametrize("count", [1, 2, 127, 8192])
def test_the_fast_encoding_is_protobufs(count: int) -> None:
    """Goal: one spelling on the wire. Method: compare with the generated code, with and without bindings."""
    records = [transfer(number + 1, OWN, OTHER) for number in range(count)]
    for bound in (False, True):
        if bound:
            records[-1] = replace(records[-1], flags=TransferFlag.ATTACHMENT, binding=b"\5" * 32)
        batch = BatchColumns.from_transfers(DOMAIN, bytes(range(16)), records)
        message = pb.SubmitRequest(
            version=1,
            domain=DOMAIN,
            batch_id=batch.batch_id,
            heads=batch.heads.tobytes(),
            signatures=batch.signatures.tobytes(),
            binding_index=batch.binding_index.tobytes(),
            bindings=batch.bindings.tobytes(),
            sequence=300 * bound,
        )
        assert encode_submit(batch, 300 * bound) == message.SerializeToString(deterministic=True)


@pytest.mark.parametrize("suite", [SigningSuite.ED25519, SigningSuite.SM2])
def test_columns_are_signed_as_single_records_are(suite: SigningSuite) -> None:
    """Goal: the batch road and the single road sign the same messages. Method: runs, bindings, claims, two keys."""
    genesis, _ = network()
    ring = KeyRing()
    for key_id in (11, 5):
        ring.set_key_id(ring.create(suite, ParticipantId(BANK), Role.ACCOUNT), key_id)
    linked = int(TransferFlag.LINKED)
    records = [
        transfer(1, OWN, OTHER, key_id=5),
        replace(transfer(2, OWN, OTHER, key_id=11), flags=linked),
        replace(transfer(3, OWN, OTHER, key_id=5), flags=linked | TransferKind.LOCK, until=5, binding=b"\7" * 32),
        transfer(4, OWN, OTHER, key_id=11),
        replace(transfer(5, OWN, OTHER, key_id=0), flags=TransferKind.CLAIM, binding=b"\1" * 32),
        transfer(6, OWN, OTHER, key_id=5),
    ]
    batch = Signer(genesis, ring).sign(DOMAIN, records)
    expected = sign_messages(1, genesis.hash, records)
    for row, (message, _) in enumerate(expected):
        signature = batch.signatures[row].tobytes()
        if records[row].kind == TransferKind.CLAIM:
            assert signature == bytes(64)
            continue
        public_key = ring[ring.index_of(records[row].key_id)].public_key
        assert verify(suite, public_key, signature, message), row


def test_a_key_that_is_not_in_the_ring_signs_nothing() -> None:
    genesis, ring = network()
    with pytest.raises(KeyError, match="77"):
        Signer(genesis, ring).sign(DOMAIN, [transfer(1, OWN, OTHER), transfer(2, OWN, OTHER, key_id=77)])
    with pytest.raises(KeyError):
        Signer(genesis, KeyRing()).sign(DOMAIN, [transfer(1, OWN, OTHER)])


def test_admin_requests_are_signed_by_one_or_two_keys() -> None:
    genesis, ring = network()
    signer = Signer(genesis, ring)
    request = AdminRequest(1, AdminType.KEY_ROTATE, 10**18, 60, participant=BANK, key_id=2)
    message = signing_prefix(1, PrefixType.ACCOUNT, genesis.hash) + request.encode()
    one, two = signer.sign_admin(request, 4), signer.sign_admin(request, 4, 2)
    assert (one.key_ids, one.signatures[1]) == ((4, 0), bytes(64))
    assert two.key_ids == (4, 2)
    for index, signature in ((3, one.signatures[0]), (3, two.signatures[0]), (1, two.signatures[1])):
        assert verify(1, ring[index].public_key, signature, message)
    new = ring.create(SigningSuite.ED25519, ParticipantId(BANK), Role.ACCOUNT)
    rotation = signer.sign_rotation(request, 2, new)
    assert rotation.key_ids == (2, 2**32 - 1)
    assert verify(1, ring[new].public_key, rotation.signatures[1], message)
    with pytest.raises(ValueError, match="one or two"):
        signer.sign_admin(request)


# The client for threads.


def test_the_client_for_threads_does_the_same(tmp_path: Path) -> None:
    async def test() -> None:
        async with edge(tmp_path, stream_batches_max=2) as e:
            e.node.open_account(BANK, 1, posted=5)
            e.node.add_blocks(3)
            e.node.add_proof(bytes(32))
            e.node.add_entry(OWN, OTHER, 9)
            e.node.failure, e.node.failures = Overloaded(9, 8, 5), 3

            def use() -> None:
                with clearspan.Client.connect(e.target, e.files(), policy=QUICK) as client:
                    signer = Signer(client.network().genesis, e.node.ring)
                    assert client.submit([transfer(500, OWN, OTHER)], signer)[0].retried
                    sent = batches(e, 30)
                    assert [each.batch_id for each in client.stream(sent)] == [each.batch_id for each in sent]
                    for _ in client.stream(sent):
                        break
                    assert [each.header.height for each in client.blocks(SHARD)] == [1, 2, 3]
                    assert client.decision_proof(bytes(32))[1].code == ResultCode.CREATED
                    assert client.accounts([OWN])[0].balance_text == "0.05 CNY"
                    assert [each.body.amount for each in client.statement(OWN)] == [9]
                    assert client.transfers([e.node.entries[0].digest])[0].body.amount == 9
                    assert client.statement_page(OWN).next == b""
                    assert client.status().network == "testnet"
                    with pytest.raises(Refused, match="role_refused"):
                        client.accounts([OTHER])

            await asyncio.get_running_loop().run_in_executor(None, use)

    run(test())


def test_the_example_settles_one_transfer(tmp_path: Path, capsys) -> None:
    example = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "settle_one.py"))

    async def test() -> None:
        async with edge(tmp_path / "tls") as e:
            e.node.open_account(BANK, 1, posted=500)
            e.node.ring.save(tmp_path / "ring.json", b"passphrase", ScryptCost(n=1 << 10))
            (tmp_path / "passphrase").write_bytes(b"passphrase\n")
            (tmp_path / "passphrase").chmod(0o600)
            name = str(e.files().certificate).removesuffix(".pem")
            arguments = [
                e.target,
                name,
                tmp_path / "ring.json",
                tmp_path / "passphrase",
                f"{OWN:032x}",
                f"{OTHER:032x}",
                5,
            ]
            run_it = asyncio.get_running_loop().run_in_executor
            assert await run_it(None, example["main"], [str(each) for each in arguments]) == 0
            assert len(e.node._decided) == 1

    run(test())
    assert "created: " in capsys.readouterr().out


def test_an_attempt_that_hangs_is_timed_out(tmp_path: Path) -> None:
    """Goal: a node that takes and never answers. Method: hold its gate past the client's deadline."""

    async def test() -> None:
        async with edge(tmp_path) as e:
            policy = replace(QUICK, deadline_s=0.4, attempt_s=0.1)
            async with AsyncClient.connect(e.target, e.files(), policy=policy) as client:
                e.node.gate.clear()
                (batch,) = batches(e, 1)
                with pytest.raises(TimedOut) as caught:
                    await client.submit(batch)
                assert "again" in caught.value.next_step
                e.node.gate.set()
                assert (await client.submit(batch))[0].settled
                assert len(e.node._decided) == 1

    run(test())


def test_the_package_offers_its_clients_and_version() -> None:
    assert clearspan.AsyncClient is AsyncClient
    assert clearspan.__version__.count(".") >= 2
    with pytest.raises(AttributeError):
        _ = clearspan.Wallet
