"""A bridge's service against whoever calls it: roles, strangers, a busy process, readers that do not read."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import uvloop

from bridge.ports import Outcome
from clearspan.bridging.journal.book import Moment
from clearspan.bridging.serving.service import BRIDGE_SERVICE, BridgeServer
from clearspan.bridging.swaps.telling import Progress
from clearspan.config import LimitsSection
from clearspan.pki import channel_credentials, create_development_pki
from clearspan.roles import BridgeRpc, Identity, PeerRole
from clearspan.status import refusal_of_details
from clearspan.v1 import bridge_pb2
from tests.behaviour.bridge_papers import FIRST, PAYER
from tests.behaviour.bridging_world import World, hops
from tests.behaviour.fakes import until

NETWORK = "rules"
SUBMITTERS = (PeerRole.ISSUER, PeerRole.BANK, PeerRole.CLEARING_HOUSE)
WATCHERS = (PeerRole.OPERATOR, PeerRole.SUPERVISOR)
OPEN_TO_OTHERS = (BridgeRpc.QUOTE, BridgeRpc.ACCEPT)


class Served:
    """A payer's bridge behind TLS, and certificates to call it with."""

    def __init__(self, world: World, server: BridgeServer, pki, port: int) -> None:
        self.world, self.server, self.target = world, server, f"127.0.0.1:{port}"
        self._pki, self._files = pki, {}

    @asynccontextmanager
    async def channel(self, role: PeerRole, participant: int):
        name = f"{role}-{participant}"
        if name not in self._files:
            self._files[name] = self._pki.issue_client(name, Identity(NETWORK, role, participant))
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.secure_channel(
            self.target, channel_credentials(self._files[name]), options=options
        ) as line:
            yield line


def serve(folder, body, **limits) -> None:
    """Run a test against a served bridge, on the loop that the process uses."""

    async def run() -> None:
        async with asyncio.timeout(40):
            world = World(folder / "world", hops())
            for participant in (PAYER, FIRST):
                world.open(participant)
            pki = create_development_pki(folder, NETWORK)
            tls = pki.issue_server("bridge")
            server = BridgeServer(world.bridge(), tls, host="127.0.0.1", port=0, limits=LimitsSection(**limits))
            port = await server.start()
            try:
                await body(Served(world, server, pki, port))
            finally:
                await server.stop()
                await world.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


async def outcome(call) -> str:
    """Return the name of a refusal, nothing for an answer."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return refusal_of_details(error.code(), error.details(), error.trailing_metadata()).name
    return ""


async def stream_outcome(stream) -> str:
    try:
        await stream.initial_metadata()
        found = await stream.code() if stream.done() else None
        if found not in (None, grpc.StatusCode.OK):
            async for _ in stream:
                pass
    except grpc.aio.AioRpcError as error:
        return refusal_of_details(error.code(), error.details(), error.trailing_metadata()).name
    finally:
        stream.cancel()
    return ""


def test_every_call_by_every_role(tmp_path) -> None:
    """The table of roles and calls, own participant and strangers, as the wire answers it."""

    async def body(served: Served) -> None:
        wrong: list[tuple[str, str, int, str]] = []
        for role in PeerRole:
            for participant in (PAYER, FIRST):
                async with served.channel(role, participant) as line:
                    for rpc in BridgeRpc:
                        path = f"/{BRIDGE_SERVICE}/{rpc}"
                        if rpc is BridgeRpc.STREAM_PROGRESS:
                            request = bridge_pb2.StreamProgressRequest(version=1).SerializeToString()
                            found = await stream_outcome(line.unary_stream(path)(request))
                        else:
                            # The version alone: past the roles a call is refused for its own reasons, or answered.
                            found = await outcome(line.unary_unary(path)(b"\x08\x01"))
                        own = participant == PAYER
                        if rpc in OPEN_TO_OTHERS:
                            allowed = role in SUBMITTERS
                        elif rpc in {BridgeRpc.GET_STATUS, BridgeRpc.TAKE_BREAKER, BridgeRpc.LIST_BREAKERS}:
                            allowed = role in WATCHERS or (role in SUBMITTERS and own)
                        else:
                            allowed = role in SUBMITTERS and own
                        if allowed == (found == "role_refused"):
                            wrong.append((str(rpc), str(role), participant, found))
        assert wrong == []

    serve(tmp_path, body)


def test_an_end_is_told_however_busy_the_process_is(tmp_path) -> None:
    """A second that ends while an entry is being written must not break the stream: all that follow arrive too."""

    async def body(served: Served) -> None:
        engine = served.world.engines[PAYER]
        swap = served.world.bridge().begin(served.world.order())
        got: list[object] = []
        async with served.channel(PeerRole.BANK, PAYER) as line:
            request = bridge_pb2.StreamProgressRequest(version=1, ended_only=True).SerializeToString()
            stream = line.unary_stream(f"/{BRIDGE_SERVICE}/{BridgeRpc.STREAM_PROGRESS}")(request)

            async def read() -> None:
                async for reply in stream:
                    got.extend([reply, *bridge_pb2.ProgressReply.FromString(reply).more])

            reading = asyncio.create_task(read())
            await until(lambda: engine.telling.enders)
            (listener,) = engine.telling.enders
            ended = Progress(swap, Moment(1, "settled", "Settled."), Outcome.SETTLED)
            # The handler takes the entry and begins to write it; then the loop has much to do for longer than a second.
            listener(ended)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            time.sleep(1.1)  # noqa: ASYNC251 - a busy loop is what is tested
            for _ in range(200):
                listener(ended)
            await until(lambda: len(got) == 201)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    serve(tmp_path, body)


def test_a_reader_who_takes_nothing_is_let_go(tmp_path) -> None:
    """What waits for one reader is bounded, and his stream ends; the engine forgets him."""

    async def body(served: Served) -> None:
        engine = served.world.engines[PAYER]
        swap = served.world.bridge().begin(served.world.order())
        async with served.channel(PeerRole.BANK, PAYER) as line:
            request = bridge_pb2.StreamProgressRequest(version=1).SerializeToString()
            stream = line.unary_stream(f"/{BRIDGE_SERVICE}/{BridgeRpc.STREAM_PROGRESS}")(request)
            await stream.initial_metadata()
            (listener,) = engine.telling.listeners
            moment = Progress(swap, Moment(1, "alarm", "x" * 400), None)
            for _ in range(30_000):
                listener(moment)
            await until(lambda: not engine.telling.listeners)
            stream.cancel()

    serve(tmp_path, body, stream_write_ms=200)
