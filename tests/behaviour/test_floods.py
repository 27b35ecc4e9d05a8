"""Floods over the real road: what one peer throws at a node is his own to wait for, and everything has a bound."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from dataclasses import replace
from pathlib import Path

import grpc
import grpc.aio
import psutil
import pytest

from clearspan.roles import PeerRole
from clearspan.service.server import SERVICE_NAME
from clearspan.simulation.world import World
from clearspan.status import refusal_of_details
from clearspan.v1 import clearspan_pb2 as pb
from engine.admin import AdminRequest
from engine.codes import ResultCode
from engine.types import NS_PER_S, AdminType
from shards.work_queue import Waiting, WorkQueue
from tests.behaviour.faulty import DECIDED, SETTINGS, real_edge, run, until

SUBMIT = f"/{SERVICE_NAME}/Submit"
STREAM = f"/{SERVICE_NAME}/SubmitStream"
STATUS = f"/{SERVICE_NAME}/GetStatus"
ASK_STATUS = pb.GetStatusRequest(version=1).SerializeToString()
OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
# What honest batches may wait at most beside a flood; quiet, they take a few ms. A generous bound for a busy machine.
HONEST_S_MAX = 10.0
FLOOD_RECORDS = 1_024


@pytest.fixture
def world() -> World:
    return World.make(17, banks=3, accounts=2)


def channel(e, participant: int, role: PeerRole = PeerRole.CLEARING_HOUSE):
    return grpc.aio.secure_channel(e.target, e.credentials(role, participant), options=OPTIONS)


async def refusal(call):
    """Await a call; return its refusal, or None for an answer."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return refusal_of_details(error.code(), error.details(), error.trailing_metadata())
    return None


def codes_of(reply: bytes) -> list[int]:
    return memoryview(pb.SubmitReply.FromString(reply).codes).cast("H").tolist()


# The queue by itself.


def waiting(submitter: int, size: int, *, ready: bool = True) -> Waiting:
    return Waiting(submitter, size, None, job=object() if ready else None)


def test_lanes_take_turns_and_keep_their_order() -> None:
    queue = WorkQueue(1_000)
    flood = [waiting(1, 10) for _ in range(5)]
    honest = [waiting(2, 10) for _ in range(2)]
    for each in (*flood, *honest):
        queue.add(each)
    assert queue.take(10_000) == [flood[0], honest[0], flood[1], honest[1], *flood[2:]]
    assert (len(queue), queue.queued_bytes) == (0, 0)


def test_an_unchecked_head_holds_up_its_own_lane_only() -> None:
    queue = WorkQueue(1_000)
    slow, behind, other = waiting(1, 10, ready=False), waiting(1, 10), waiting(2, 10)
    for each in (slow, behind, other):
        queue.add(each)
    assert queue.take(1_000) == [other]
    assert queue.next_unchecked() is slow and queue.next_unchecked() is None
    slow.job = object()
    assert queue.take(10) == [slow]
    assert list(queue.drain()) == [behind] and queue.queued_bytes == 0


def test_checks_are_given_out_in_turn() -> None:
    queue = WorkQueue(10_000)
    flood = [waiting(1, 1, ready=False) for _ in range(40)]
    for each in flood:
        queue.add(each)
    late = waiting(2, 1, ready=False)
    queue.add(late)
    assert late in [queue.next_unchecked() for _ in range(2)]


def test_no_submitter_fills_the_queue_alone() -> None:
    queue = WorkQueue(800)
    taken = 0
    while queue.admits(1, 100):
        queue.add(waiting(1, 100))
        taken += 1
    assert taken == 7
    assert queue.admits(2, 100)
    queue.add(waiting(2, 100))
    assert not queue.admits(3, 1)
    queue.take(100)
    assert queue.admits(3, 100)
    assert WorkQueue(10).admits(1, 11)  # one that is larger than the bound is taken by an empty queue


# Over the wire.


@pytest.mark.timeout(120)
def test_bad_signatures_cost_their_sender_and_nobody_starves(tmp_path: Path, world: World) -> None:
    """One peer keeps his share of batches in the node, every signature bad; another's honest ones all settle in time."""

    async def scenario() -> None:
        async with real_edge(tmp_path, world, replace(SETTINGS, seal_interval_ns=200_000_000)) as e:
            bad = e.request(e.harness.payments(FLOOD_RECORDS))
            bad.signatures = bytes(64) * FLOOD_RECORDS
            flood_wire = bad.SerializeToString()
            total = await e.harness.total()
            flooding, floods = True, []

            async def flood(stub) -> None:
                while flooding:
                    try:
                        floods.append(set(codes_of(await stub(flood_wire))))
                    except grpc.aio.AioRpcError as error:
                        floods.append(
                            {refusal_of_details(error.code(), error.details(), error.trailing_metadata()).name}
                        )

            async def honest(stub, count: int) -> list[float]:
                took = []
                for _ in range(count):
                    wire = e.request(e.harness.payments(4)).SerializeToString()
                    started = time.perf_counter()
                    assert set(codes_of(await stub(wire, timeout=HONEST_S_MAX))) <= DECIDED
                    took.append(time.perf_counter() - started)
                return sorted(took)

            async with channel(e, 900) as bad_peer, channel(e, 901) as good_peer:
                quiet = await honest(good_peer.unary_unary(SUBMIT), 20)
                attackers = [asyncio.create_task(flood(bad_peer.unary_unary(SUBMIT))) for _ in range(40)]
                await until(lambda: len(floods) > 20)
                loud = await honest(good_peer.unary_unary(SUBMIT), 20)
                flooding = False
                await asyncio.gather(*attackers)
            print(f"honest batches: quiet {quiet[-1] * 1e3:.0f} ms at most, flooded {loud[-1] * 1e3:.0f} ms at most")
            assert {ResultCode.INVALID_SIGNATURE} in floods and {"overloaded"} in floods
            assert all(each in ({ResultCode.INVALID_SIGNATURE}, {"overloaded"}) for each in floods)
            assert loud[-1] < HONEST_S_MAX
            assert await e.harness.total() == total

    run(scenario(), 110)


def test_two_hundred_connections_are_served_and_let_go(tmp_path: Path, world: World) -> None:
    async def scenario() -> None:
        async with real_edge(tmp_path, world) as e:
            process = psutil.Process()
            before = process.num_fds()
            credentials = e.credentials()
            channels = [grpc.aio.secure_channel(e.target, credentials, options=OPTIONS) for _ in range(200)]
            try:
                found = []
                for start in range(0, 200, 40):
                    calls = [
                        refusal(each.unary_unary(STATUS)(ASK_STATUS, timeout=20))
                        for each in channels[start : start + 40]
                    ]
                    found += await asyncio.gather(*calls)
                assert found == [None] * 200
            finally:
                for each in channels:
                    await each.close()
            await until(lambda: process.num_fds() < before + 60)
            async with channel(e, 901) as other:
                assert await refusal(other.unary_unary(STATUS)(ASK_STATUS, timeout=10)) is None

    run(scenario())


def test_calls_that_are_reset_at_once_leave_nothing_behind(tmp_path: Path, world: World) -> None:
    """Rapid reset: thousands of calls, each cancelled as soon as it was sent; the counts of the peer come back to zero."""

    async def scenario() -> None:
        async with real_edge(tmp_path, world) as e:
            wire = e.request(e.harness.payments(64)).SerializeToString()
            async with channel(e, 900) as one, channel(e, 901) as other:
                for wave in range(20):
                    calls = [one.unary_unary(SUBMIT)(wire) for _ in range(100)]
                    await asyncio.sleep(0.001 * (wave % 3))
                    for each in calls:
                        each.cancel()
                    await asyncio.gather(*calls, return_exceptions=True)
                    if wave % 5 == 0:
                        assert await refusal(other.unary_unary(STATUS)(ASK_STATUS, timeout=10)) is None
                peers = e.server._guard.peers
                await until(lambda: all(not peer.rpcs and not peer.batches for peer in peers._peers.values()))
                assert e.harness.node._queue.queued_bytes == 0
                # gRPC may still refuse this connection's streams for a moment; a client asks again, as ours does.
                async with asyncio.timeout(20):
                    while (found := await refusal(one.unary_unary(SUBMIT)(wire, timeout=20))) is not None:
                        assert found.retried
                        await asyncio.sleep(0.05)

    run(scenario())


def test_silent_streams_are_bounded_and_closed(tmp_path: Path, world: World) -> None:
    async def scenario() -> None:
        async with real_edge(tmp_path, world, peer_streams_max=8, stream_idle_ms=400) as e:
            async with channel(e, 900) as one, channel(e, 901) as other:
                streams = [one.stream_stream(STREAM)() for _ in range(60)]
                ends = asyncio.gather(*(refusal(each.read()) for each in streams))
                assert await refusal(other.unary_unary(STATUS)(ASK_STATUS, timeout=10)) is None
                names = [each.name for each in await ends]
                assert names.count("stream_idle") == 8
                assert names.count("overloaded") == 52
                call = one.stream_stream(STREAM)()
                await call.write(e.request(e.harness.payments(4)).SerializeToString())
                assert set(codes_of(await call.read())) <= DECIDED
                call.cancel()

    run(scenario())


def test_a_slow_reader_of_blocks_costs_his_stream_only(tmp_path: Path, world: World) -> None:
    async def scenario() -> None:
        async with real_edge(tmp_path, world, stream_write_ms=200) as e:
            async with channel(e, 900, PeerRole.READER) as slow, channel(e, 901) as other:
                method = slow.unary_stream(f"/{SERVICE_NAME}/StreamBlocks")
                request = pb.StreamBlocksRequest(version=1, domain=1, shard=0x100, from_height=1, follow=True)
                calls = [method(request.SerializeToString()) for _ in range(10)]
                await asyncio.gather(*(each.read() for each in calls))  # one block each, and then not another
                for _ in range(10):
                    wire = e.request(e.harness.payments(8)).SerializeToString()
                    assert set(codes_of(await other.unary_unary(SUBMIT)(wire, timeout=10))) <= DECIDED
                for each in calls:
                    each.cancel()
                peers = e.server._guard.peers
                await until(lambda: all(not peer.streams for peer in peers._peers.values()))

    run(scenario())


def test_half_of_a_request_and_then_silence(tmp_path: Path, world: World) -> None:
    """Raw TLS connections that stop in the middle of a frame, or send none of HTTP/2: others are served."""

    async def scenario() -> None:
        async with real_edge(tmp_path, world) as e:
            host, port = e.target.rsplit(":", 1)
            files = e.pki.files(f"{PeerRole.CLEARING_HOUSE}-9") if e.credentials() else None
            context = ssl.create_default_context(cafile=str(e.pki.authority))
            context.load_cert_chain(files.certificate, files.key)
            context.set_alpn_protocols(["h2"])

            def half(number: int) -> ssl.SSLSocket:
                plain = socket.create_connection((host, int(port)), 5)
                secure = context.wrap_socket(plain, server_hostname="localhost")
                preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")
                frames = [
                    preface[:10],
                    preface,
                    preface + bytes.fromhex("0040000104000000010000"),  # headers of 16 KiB that do not come
                    preface + bytes.fromhex("ffffff000000000001"),  # a frame of 16 MiB
                    b"GET / HTTP/1.1\r\n\r\n",
                    bytes(64),
                ]
                secure.sendall(frames[number % len(frames)])
                return secure

            loop = asyncio.get_running_loop()
            held = [await loop.run_in_executor(None, half, number) for number in range(24)]
            try:
                async with channel(e, 901) as other:
                    for _ in range(5):
                        wire = e.request(e.harness.payments(8)).SerializeToString()
                        assert set(codes_of(await other.unary_unary(SUBMIT)(wire, timeout=10))) <= DECIDED
            finally:
                for each in held:
                    each.close()

    run(scenario())


def test_large_lookups_do_not_hold_up_settlement(tmp_path: Path, world: World) -> None:
    """A reader asks for thousands of digests again and again, found and not; batches go on beside it."""

    async def scenario() -> None:
        async with real_edge(tmp_path, world) as e:
            digests = []
            for _ in range(30):
                columns = e.harness.payments(64)
                await e.harness.node.submit(columns, submitter=5)
                digests += world.digests([columns.transfer(row) for row in range(columns.count)])
            wanted = b"".join((digests * 5)[:8_000]) + bytes(32 * 192)
            ask = pb.LookupTransfersRequest(version=1, domain=1, digests=wanted).SerializeToString()
            async with channel(e, 900, PeerRole.OPERATOR) as reader, channel(e, 901) as other:
                lookup = reader.unary_unary(f"/{SERVICE_NAME}/LookupTransfers")
                calls = [asyncio.create_task(refusal(lookup(ask, timeout=30))) for _ in range(6)]
                for _ in range(10):
                    wire = e.request(e.harness.payments(8)).SerializeToString()
                    assert set(codes_of(await other.unary_unary(SUBMIT)(wire, timeout=10))) <= DECIDED
                assert await asyncio.gather(*calls) == [None] * 6

    run(scenario())


def test_admin_requests_are_dear_and_counted_as_such(tmp_path: Path, world: World) -> None:
    """A bank sends calls of 1,024 admin requests that nobody signed; payments go on between them."""

    async def scenario() -> None:
        async with real_edge(tmp_path, world) as e:
            bank = world.banks[0]
            bodies = b"".join(
                AdminRequest(
                    id=10**6 + number,
                    type=int(AdminType.ACCOUNT_KEY_SET),
                    expires_at=e.harness.clock() + 30 * NS_PER_S,
                    valid_for_s=3_600,
                    subject=bank.accounts[0],
                    ledger=world.ledger,
                    key_id=bank.account_key,
                ).encode()
                for number in range(1_024)
            )
            key_ids = (bank.registrar_key.to_bytes(4, "little") + bytes(4)) * 1_024
            request = pb.AdministerRequest(
                version=1, domain=1, bodies=bodies, signer_key_ids=key_ids, signatures=bytes(128 * 1_024)
            ).SerializeToString()
            async with channel(e, bank.number, PeerRole.BANK) as noisy, channel(e, 901) as other:
                administer = noisy.unary_unary(f"/{SERVICE_NAME}/Administer")
                calls = [asyncio.create_task(refusal(administer(request, timeout=60))) for _ in range(24)]
                await until(lambda: len(e.harness.node._queue) > 1)
                for _ in range(5):
                    wire = e.request(e.harness.payments(8)).SerializeToString()
                    assert set(codes_of(await other.unary_unary(SUBMIT)(wire, timeout=HONEST_S_MAX))) <= DECIDED
                assert {each.name if each else "ok" for each in await asyncio.gather(*calls)} <= {"ok", "overloaded"}

    run(scenario())
