"""The stream of batches: read ahead within a bound, decide in order, answer in order, wait for nobody for ever.

A slot is taken before a batch is read and given back when its reply was written. So a stream holds at most
`stream_batches_max` batches and replies together, HTTP/2 flow control holds the sender back after that, and a peer that
does not read costs its own stream only.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from grpc.aio import EOF

from clearspan.service.calls import parse, report_fault
from clearspan.status import STREAM_IDLE, CallRefused, refusal_of
from clearspan.v1 import clearspan_pb2

if TYPE_CHECKING:
    from clearspan.config import LimitsSection
    from clearspan.service.calls import Call
    from clearspan.service.handlers import SettlementHandlers

__all__ = ["submit_stream"]

_Reply = asyncio.Task[clearspan_pb2.SubmitReply]


async def submit_stream(handlers: SettlementHandlers, limits: LimitsSection, call: Call) -> None:
    """Serve one stream until its sender closes it; a batch refused as a whole is answered and the stream goes on."""
    slots = asyncio.Semaphore(limits.stream_batches_max)
    replies: asyncio.Queue[_Reply | None] = asyncio.Queue()  # bounded by the slots
    answered = 0
    reader = asyncio.create_task(_read(handlers, limits, call, slots, replies))
    try:
        while (task := await replies.get()) is not None:
            reply = await task
            try:
                async with asyncio.timeout(limits.stream_write_ms / 1000):
                    await call.context.write(reply.SerializeToString())
            except TimeoutError as error:
                raise CallRefused(STREAM_IDLE) from error
            slots.release()
            answered += 1
            call.notes["batches"] = answered
        await reader
    finally:
        reader.cancel()
        while not replies.empty():
            waiting = replies.get_nowait()
            if waiting is not None:
                waiting.cancel()


async def _read(
    handlers: SettlementHandlers,
    limits: LimitsSection,
    call: Call,
    slots: asyncio.Semaphore,
    replies: asyncio.Queue[_Reply | None],
) -> None:
    """Read batches and start them in order; ends with the stream, or with the silence of its sender."""
    try:
        while True:
            await slots.acquire()
            try:
                async with asyncio.timeout(limits.stream_idle_ms / 1000):
                    content = await call.context.read()
            except TimeoutError as error:
                raise CallRefused(STREAM_IDLE) from error
            if content is EOF:
                return
            replies.put_nowait(asyncio.create_task(_answer(handlers, limits, call, content)))
    finally:
        replies.put_nowait(None)


async def _answer(
    handlers: SettlementHandlers, limits: LimitsSection, call: Call, content: bytes
) -> clearspan_pb2.SubmitReply:
    """Decide one batch; whatever is wrong with it becomes the refusal of its reply."""
    request = clearspan_pb2.SubmitRequest()
    try:
        request = parse(clearspan_pb2.SubmitRequest, content)
        return await handlers.settle(call, request)
    except Exception as error:  # noqa: BLE001 - one batch never ends the stream
        refusal = refusal_of(error, limits.retry_after_ms) or report_fault(call.rpc, error)
        reply = clearspan_pb2.SubmitReply(batch_id=request.batch_id[:16], sequence=request.sequence)
        refusal.to_wire(reply.refusal)
        return reply
