"""Every bound of the service is run into: what is too much is refused fast and typed, and others do not feel it."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
from structlog.testing import capture_logs

from clearspan.pki import channel_credentials
from clearspan.roles import PeerRole
from clearspan.service.server import SERVICE_NAME
from clearspan.status import Refusal, refusal_of_details
from clearspan.v1 import clearspan_pb2 as pb
from engine.batch import BatchColumns
from tests.behaviour.fakes import BANK, DOMAIN, OTHER_BANK, bank_account, edge, transfer, until

SUBMIT = f"/{SERVICE_NAME}/Submit"
STREAM = f"/{SERVICE_NAME}/SubmitStream"
STATUS = f"/{SERVICE_NAME}/GetStatus"


def run(coroutine):
    async def bounded():
        async with asyncio.timeout(30):
            await coroutine

    asyncio.run(bounded())


def batch(number: int, count: int = 1, owner: int = BANK) -> bytes:
    first = transfer(number, bank_account(1, owner), bank_account(2, owner))
    columns = BatchColumns.from_transfers(DOMAIN, number.to_bytes(16, "little"), [first])
    request = pb.SubmitRequest(
        version=1,
        domain=DOMAIN,
        batch_id=columns.batch_id,
        heads=columns.heads.tobytes() * count,
        signatures=bytes(64 * count),
        sequence=number,
    )
    return request.SerializeToString()


@asynccontextmanager
async def channel(e, participant: int = BANK, role: PeerRole = PeerRole.BANK, **options):
    given = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
    credentials = channel_credentials(e.files(role, participant))
    async with grpc.aio.secure_channel(e.target, credentials, options=given, **options) as found:
        yield found


async def outcome(call) -> Refusal | None:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return refusal_of_details(error.code(), error.details(), error.trailing_metadata())
    return None


def test_batches_of_one_certificate_are_bounded_and_others_go_on(tmp_path: Path) -> None:
    async def test() -> None:
        async with edge(tmp_path, peer_batches_max=2) as e, channel(e) as one, channel(e, OTHER_BANK) as two:
            e.node.gate.clear()
            held = [asyncio.create_task(outcome(one.unary_unary(SUBMIT)(batch(n)))) for n in (1, 2)]
            await until(lambda: e.node.in_node == 2)
            refusal = await outcome(one.unary_unary(SUBMIT)(batch(3)))
            assert (refusal.name, refusal.retried) == ("overloaded", True)
            assert refusal.retry_after_ms == 50
            other = asyncio.create_task(outcome(two.unary_unary(SUBMIT)(batch(4, owner=OTHER_BANK))))
            await until(lambda: e.node.in_node == 3)
            e.node.gate.set()
            assert await asyncio.gather(*held, other) == [None, None, None]
            assert await outcome(one.unary_unary(SUBMIT)(batch(3))) is None  # and the room came back

    run(test())


def test_calls_of_one_certificate_are_bounded_over_all_its_connections(tmp_path: Path) -> None:
    async def test() -> None:
        async with (
            edge(tmp_path, peer_rpcs_max=2) as e,
            channel(e) as one,
            channel(e) as same,
            channel(e, OTHER_BANK) as two,
        ):
            e.node.gate.clear()
            held = [
                asyncio.create_task(outcome(each.unary_unary(SUBMIT)(batch(n)))) for n, each in ((1, one), (2, same))
            ]
            await until(lambda: e.node.in_node == 2)
            status = pb.GetStatusRequest(version=1).SerializeToString()
            assert (await outcome(one.unary_unary(STATUS)(status))).name == "overloaded"
            assert await outcome(two.unary_unary(STATUS)(status)) is None
            e.node.gate.set()
            await asyncio.gather(*held)
            assert await outcome(one.unary_unary(STATUS)(status)) is None

    run(test())


def test_streams_of_one_certificate_are_bounded(tmp_path: Path) -> None:
    async def test() -> None:
        async with edge(tmp_path, peer_streams_max=2) as e, channel(e) as one:
            calls = [one.stream_stream(STREAM)() for _ in range(2)]
            for number, call in enumerate(calls):
                await call.write(batch(number + 1))
                assert pb.SubmitReply.FromString(await call.read()).codes
            third = one.stream_stream(STREAM)()
            assert (await outcome(third.read())).name == "overloaded"
            await calls[0].done_writing()
            assert await calls[0].code() is grpc.StatusCode.OK
            again = one.stream_stream(STREAM)()
            await again.write(batch(9))
            assert pb.SubmitReply.FromString(await again.read()).codes
            for call in (*calls, again):
                call.cancel()

    run(test())


def test_a_stream_reads_ahead_only_so_far(tmp_path: Path) -> None:
    """Goal: memory of a stream is bounded. Method: send many batches while the node decides none."""

    async def test() -> None:
        async with edge(tmp_path, stream_batches_max=3) as e, channel(e) as one:
            e.node.gate.clear()
            call = one.stream_stream(STREAM)()

            async def send() -> None:
                for number in range(1, 41):
                    await call.write(batch(number))
                await call.done_writing()

            sender = asyncio.create_task(send())
            await until(lambda: e.node.in_node == 3)
            for _ in range(50):  # turns of the loop in which a fourth would come if it could
                await asyncio.sleep(0.001)
            assert e.node.in_node == 3
            e.node.gate.set()
            sequences = [pb.SubmitReply.FromString(content).sequence async for content in call]
            await sender
            assert sequences == list(range(1, 41))
            assert e.node.in_node_most <= 3

    run(test())


def test_a_silent_stream_is_closed(tmp_path: Path) -> None:
    async def test() -> None:
        async with edge(tmp_path, stream_idle_ms=100) as e, channel(e) as one:
            call = one.stream_stream(STREAM)()
            await call.write(batch(1))
            assert pb.SubmitReply.FromString(await call.read()).codes
            refusal = await outcome(call.read())
            assert (refusal.name, refusal.retried) == ("stream_idle", True)

    run(test())


def test_a_peer_that_never_reads_costs_only_its_own_stream(tmp_path: Path) -> None:
    """Goal: bounded replies. Method: a client sends batches whose replies overflow every window and reads none."""

    async def test() -> None:
        limits = {"stream_write_ms": 300, "stream_batches_max": 4}
        with capture_logs() as lines:
            async with edge(tmp_path, **limits) as e, channel(e) as deaf, channel(e, OTHER_BANK) as other:
                e.node._remember = False
                call = deaf.stream_stream(STREAM)()

                async def send() -> None:
                    for number in range(1, 1000):
                        await call.write(batch(number, 8192))

                sender = asyncio.create_task(send())
                await until(lambda: e.node.batches)
                while not any(line.get("outcome") == "stream_idle" for line in lines):
                    assert await outcome(other.unary_unary(SUBMIT)(batch(1, owner=OTHER_BANK))) is None
                    await asyncio.sleep(0.02)
                sender.cancel()
                call.cancel()
                await asyncio.wait([sender])
                taken = [each for each in e.node.batches if each != (1).to_bytes(16, "little")]
                assert len(taken) < 500

    run(test())


def test_a_deadline_ends_the_wait_and_not_the_work(tmp_path: Path) -> None:
    async def test() -> None:
        async with edge(tmp_path, rpc_deadline_ms=100, peer_batches_max=1) as e, channel(e) as one:
            e.node.gate.clear()
            refusal = await outcome(one.unary_unary(SUBMIT)(batch(1)))
            assert (refusal.name, refusal.status) == ("deadline_exceeded", grpc.StatusCode.DEADLINE_EXCEEDED)
            assert refusal.retried
            # It is still in the node, and counts against the peer there.
            assert (await outcome(one.unary_unary(SUBMIT)(batch(2)))).name == "overloaded"
            e.node.gate.set()
            await until(lambda: not e.node.in_node)
            reply = pb.SubmitReply.FromString(await one.unary_unary(SUBMIT)(batch(1)))
            assert (reply.codes, reply.first_codes) == (b"\x03\0", b"\x01\0")  # exists, first created

    run(test())


def test_a_caller_who_leaves_takes_nothing_down(tmp_path: Path) -> None:
    async def test() -> None:
        async with edge(tmp_path) as e, channel(e) as one:
            e.node.gate.clear()
            call = one.unary_unary(SUBMIT)(batch(1))
            await until(lambda: e.node.in_node == 1)
            call.cancel()
            for _ in range(20):
                await asyncio.sleep(0.005)
            assert e.node.in_node == 1
            e.node.gate.set()
            await until(lambda: not e.node.in_node)
            assert (await one.unary_unary(SUBMIT)(batch(1)))[-4:]  # the service lives
            assert len(e.node._decided) == 1

    run(test())


def test_a_message_has_a_size(tmp_path: Path) -> None:
    async def test() -> None:
        async with edge(tmp_path) as e, channel(e) as one:
            limit = 8 << 20
            request = pb.SubmitRequest(version=1, domain=DOMAIN, heads=bytes(limit - 20))
            for size, name in ((limit, "batch_malformed"), (limit + 1, "resource_exhausted")):
                request.heads = bytes(len(request.heads) + size - request.ByteSize())
                assert request.ByteSize() == size
                refusal = await outcome(one.unary_unary(SUBMIT)(request.SerializeToString()))
                assert refusal.name == name
                assert not refusal.retried
            status = pb.GetStatusRequest(version=1).SerializeToString()
            assert await outcome(one.unary_unary(STATUS)(status)) is None

    run(test())


def test_compressed_messages_and_large_headers_are_refused(tmp_path: Path) -> None:
    async def test() -> None:
        async with edge(tmp_path, metadata_bytes_max=2048) as e:
            async with channel(e, compression=grpc.Compression.Gzip) as squeezed:
                request = pb.SubmitRequest(version=1, domain=DOMAIN, heads=bytes(1 << 20))  # packs to a few KiB
                refusal = await outcome(squeezed.unary_unary(SUBMIT)(request.SerializeToString()))
                assert refusal.status is grpc.StatusCode.UNIMPLEMENTED
            async with channel(e) as one:
                status = pb.GetStatusRequest(version=1).SerializeToString()
                call = one.unary_unary(STATUS)(status, metadata=(("x-large", "x" * 4096),))
                assert (await outcome(call)).status is grpc.StatusCode.RESOURCE_EXHAUSTED
                assert await outcome(one.unary_unary(STATUS)(status)) is None

    run(test())


def test_all_calls_together_are_bounded_and_a_client_may_come_again(tmp_path: Path) -> None:
    async def test() -> None:
        async with edge(tmp_path, rpcs_max=2) as e, channel(e) as one, channel(e, OTHER_BANK) as two:
            e.node.gate.clear()
            held = [
                asyncio.create_task(outcome(each.unary_unary(SUBMIT)(batch(n, owner=owner))))
                for n, each, owner in ((1, one, BANK), (2, two, OTHER_BANK))
            ]
            await until(lambda: e.node.in_node == 2)
            status = pb.GetStatusRequest(version=1).SerializeToString()
            refusal = await outcome(one.unary_unary(STATUS)(status))
            assert refusal.status is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert refusal.retried
            e.node.gate.set()
            await asyncio.gather(*held)
            for _ in range(8):  # the limit does not leak from wave to wave
                assert await outcome(one.unary_unary(STATUS)(status)) is None

    run(test())


def test_connections_that_say_nothing_do_not_hold_others_up(tmp_path: Path) -> None:
    async def test() -> None:
        async with edge(tmp_path) as e:
            silent = [socket.create_connection(("127.0.0.1", e.server.port)) for _ in range(50)]
            try:
                async with channel(e) as one:
                    status = pb.GetStatusRequest(version=1).SerializeToString()
                    assert await outcome(one.unary_unary(STATUS)(status, timeout=5)) is None
            finally:
                for each in silent:
                    each.close()

    run(test())
