"""A stream on which one question at a time is asked and answered: opened when it is first used, and anew after a fault.

It promises that an answer belongs to its question: after whatever went wrong between the two the stream is given up;
and that who waits on a connection that another task closes is told so, and goes on.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import grpc.aio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["AskingStream", "unless_closed"]

_Answer = TypeVar("_Answer")


async def unless_closed(answer: Awaitable[_Answer]) -> _Answer:
    """Wait for what comes on a stream. Raises EOFError where its channel was closed meanwhile.

    gRPC says that as CancelledError, which would end the task that waits although nobody wished it to end.
    """
    try:
        return await answer
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise EOFError from error


class AskingStream:
    """Use it from one event loop; questions of several tasks wait for one another, ``timeout_s`` at most each."""

    def __init__(self, method: Callable[[], grpc.aio.StreamStreamCall[bytes, bytes]], timeout_s: float) -> None:
        """Prepare; ``method`` opens the stream, and nothing is called yet."""
        self._method, self._timeout_s = method, timeout_s
        self._call: grpc.aio.StreamStreamCall[bytes, bytes] | None = None
        self._turn = asyncio.Lock()

    async def ask(self, content: bytes) -> bytes:
        """Send a message and return the one that answers it.

        Raises AioRpcError as the call ended, TimeoutError, EOFError for one that was closed without an answer, and
        InvalidStateError for one that ended in the meantime. A call for each question would cost more than all in it.
        """
        async with self._turn:
            call = self._call
            if call is None or call.done():
                try:
                    call = self._call = self._method()
                except grpc.aio.UsageError as error:
                    # The channel was closed while this question waited for its turn.
                    raise EOFError from error
            answer: Any = grpc.aio.EOF
            try:
                async with asyncio.timeout(self._timeout_s):
                    await unless_closed(call.write(content))
                    answer = await unless_closed(call.read())
            finally:
                # After a fault nobody knows which answer is for what.
                if answer is grpc.aio.EOF:
                    self._call = None
                    call.cancel()
            if answer is grpc.aio.EOF:
                raise EOFError
            found: bytes = answer
            return found
