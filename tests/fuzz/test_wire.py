"""Bent messages of every call over mTLS against a real node: an answer or a coded refusal, whatever comes; and it lives."""

from __future__ import annotations

import asyncio
import random
import time
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
from engine.codes import ResultCode
from tests.behaviour.faulty import DECIDED, real_edge, run
from tests.fuzz.mutants import messages, seed_of

SECONDS, SECONDS_NIGHTLY = 6, 300
AT_ONCE = 16
# What a few thousand refused messages may leave behind: caches that fill once, not a leak.
GROWTH_BYTES_MAX = 96 << 20
NAMES = {code.name.lower() for code in ResultCode}


@pytest.fixture
def world() -> World:
    return World.make(23, banks=3, accounts=2)


def originals(e) -> dict[str, list[bytes]]:
    """A good message of every call, for the mutants to begin from."""
    account, digest = e.harness.ids[:16], bytes(range(32))
    batch = e.harness.payments(8)
    admin = e.harness.world.freeze(e.harness.world.accounts[0][0], e.harness.clock())
    administer = pb.AdministerRequest(
        version=1,
        domain=1,
        bodies=admin.bodies.tobytes(),
        signer_key_ids=admin.key_ids.tobytes(),
        signatures=admin.signatures.tobytes(),
    )
    messages_of = {
        "Submit": e.request(batch),
        "Administer": administer,
        "LookupAccounts": pb.LookupAccountsRequest(version=1, domain=1, ids=account * 3),
        "LookupTransfers": pb.LookupTransfersRequest(version=1, domain=1, digests=digest * 3),
        "Statement": pb.StatementRequest(version=1, domain=1, account=account, after=bytes(12), limit=9),
        "GetDecisionProof": pb.GetDecisionProofRequest(version=1, domain=1, digest=digest),
        "GetStatus": pb.GetStatusRequest(version=1),
        "GetGenesis": pb.GetGenesisRequest(version=1),
        "StreamBlocks": pb.StreamBlocksRequest(version=1, domain=1, shard=0x100, from_height=1),
    }
    return {name: [message.SerializeToString()] for name, message in messages_of.items()}


async def outcome(channel, rpc: str, content: bytes) -> str:
    """Send one message; return `ok` or the name of its refusal."""
    path = f"/{SERVICE_NAME}/{rpc}"
    try:
        if rpc == "StreamBlocks":
            call = channel.unary_stream(path)(content, timeout=20)
            async for _ in call:
                call.cancel()  # one block is enough, also of a stream that follows
                break
        else:
            await channel.unary_unary(path)(content, timeout=20)
    except grpc.aio.AioRpcError as error:
        return refusal_of_details(error.code(), error.details(), error.trailing_metadata()).name
    except asyncio.CancelledError:
        return "ok"
    return "ok"


@pytest.mark.timeout(900)
def test_bent_messages_get_an_answer_or_a_code(tmp_path: Path, world: World, request, nightly: bool) -> None:
    chance = random.Random(seed_of(request))
    budget_s = SECONDS_NIGHTLY if nightly else SECONDS

    async def scenario() -> None:
        async with real_edge(tmp_path, world, stream_idle_ms=2_000, rpc_deadline_ms=10_000) as e:
            total = await e.harness.total()
            wires = originals(e)
            credentials = e.credentials(PeerRole.OPERATOR, 1), e.credentials()
            process, before, seen, sent = psutil.Process(), 0, set(), 0
            options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
            async with (
                grpc.aio.secure_channel(e.target, credentials[0], options=options) as operator,
                grpc.aio.secure_channel(e.target, credentials[1], options=options) as house,
            ):
                makers = {rpc: messages(wires[rpc], chance) for rpc in wires}
                deadline = time.monotonic() + budget_s
                while time.monotonic() < deadline:
                    chosen = [(rpc, next(makers[rpc])) for rpc in chance.choices(list(wires), k=AT_ONCE)]
                    names = await asyncio.gather(
                        *(outcome(house if rpc == "Submit" else operator, rpc, content) for rpc, content in chosen)
                    )
                    sent += len(chosen)
                    for (rpc, content), name in zip(chosen, names, strict=True):
                        assert name == "ok" or name in NAMES, (rpc, name, content[:2_000].hex())
                    seen |= set(names)
                    if before == 0 and time.monotonic() > deadline - budget_s / 2:
                        before = process.memory_info().rss
                # Streams: the same of batches, one bent after another; the stream itself goes on.
                call = house.stream_stream(f"/{SERVICE_NAME}/SubmitStream")()
                for _, content in zip(range(200), messages(wires["Submit"], chance), strict=False):
                    await call.write(content)
                    reply = pb.SubmitReply.FromString(await call.read())
                    assert reply.codes or reply.refusal.name in NAMES, content[:2_000].hex()
                await call.done_writing()
            print(f"{sent} messages: {sorted(seen)}")
            assert {"ok", "batch_malformed", "version_unsupported", "domain_not_found"} <= seen
            assert process.memory_info().rss - before < GROWTH_BYTES_MAX
            assert await e.harness.total() == total
            reply = await e.harness.node.submit(e.harness.payments(8), submitter=1)
            assert DECIDED & set(reply.codes.tolist())  # one account may be frozen by now: that request was signed

    run(scenario(), budget_s + 60)
