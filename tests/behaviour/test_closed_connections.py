"""A connection that another task closes ends what waits on it with a fault, and never the task that waits."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio
import pytest

from clearspan.client.relay import RelayClient
from clearspan.errors import Unreachable
from clearspan.roles import RelayRpc
from relay.v1 import relay_pb2


async def silent(*_) -> None:
    """Answer nothing for as long as the stream lives."""
    await asyncio.Event().wait()


async def waiting(client: RelayClient, what: str) -> None:
    if what == "blocks":
        async for _ in client.blocks(1, follow=True, stall_s=30):
            pass
    elif what == "offers":
        await client.offers([bytes(8)])
    else:
        await client.reveal([bytes(32)])


def served(body) -> None:
    async def work() -> None:
        server = grpc.aio.server()
        service = relay_pb2.DESCRIPTOR.services_by_name["Relay"].full_name
        table = {
            RelayRpc.BLOCKS: grpc.unary_stream_rpc_method_handler(silent),
            RelayRpc.OFFERS: grpc.stream_stream_rpc_method_handler(silent),
            RelayRpc.SUBMIT_MANY: grpc.stream_stream_rpc_method_handler(silent),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, table),))
        target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        client = object.__new__(RelayClient)
        client.target, client._timeout_s = target, 30
        client._channel = grpc.aio.insecure_channel(target)
        client._offers, client._reveals = (client._asking(rpc) for rpc in (RelayRpc.OFFERS, RelayRpc.SUBMIT_MANY))
        try:
            async with asyncio.timeout(20):
                await client._channel.channel_ready()
                await body(client)
        finally:
            await client._channel.close()
            await server.stop(None)

    asyncio.run(work())


@pytest.mark.parametrize("what", ["blocks", "offers", "reveals"])
def test_who_waits_on_a_connection_that_is_closed_goes_on(what) -> None:
    """A validator that has moved is left by whoever notices first: those who follow it and offer to it must not die."""

    async def body(client: RelayClient) -> None:
        heard: list[str] = []

        async def follow() -> None:
            try:
                await waiting(client, what)
            except Unreachable as error:
                heard.append(str(error))

        task = asyncio.create_task(follow())
        for _ in range(5):
            await asyncio.wait((task,), timeout=0.02)
        assert not task.done()
        await client._channel.close()
        await asyncio.wait((task,), timeout=10)
        assert task.done() and not task.cancelled()
        assert heard

    served(body)


@pytest.mark.parametrize("what", ["blocks", "offers", "reveals"])
def test_a_task_that_is_cancelled_ends(what) -> None:
    """Whatever it waits for: a process that stops waits for nobody."""

    async def body(client: RelayClient) -> None:
        task = asyncio.create_task(waiting(client, what))
        await asyncio.wait((task,), timeout=0.05)
        task.cancel()
        await asyncio.wait((task,), timeout=10)
        assert task.cancelled()

    served(body)
