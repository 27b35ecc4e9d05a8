"""Why a node did not look at a request, or stopped.

ShardsError
├── Refused            the request was not looked at; the same bytes may be sent again
│   ├── Overloaded     the queue is full
│   └── ShuttingDown   the node is stopping
├── BlockMissing       a block that this node must have is not kept, or not whole
└── NodeFailed         the node met a fault it must not go on from

A full disk is ``engine.errors.DiskFull``, as the log raises it.
"""

from __future__ import annotations

__all__ = ["BlockMissing", "NodeFailed", "Overloaded", "Refused", "ShardsError", "ShuttingDown"]


class ShardsError(Exception):
    """Base of everything this folder raises."""


class Refused(ShardsError):  # noqa: N818 - named as what it is, like the codes that answer it
    """The request was not looked at: nothing of it is in the log, and the same bytes may be sent again."""


class Overloaded(Refused):
    """The queue holds as many bytes as it may.

    ``queued_bytes`` and ``queue_bytes_max`` say how full it is; ``retry_after_ms`` is a fair time to wait.
    """

    def __init__(self, queued_bytes: int, queue_bytes_max: int, retry_after_ms: int) -> None:
        super().__init__(f"the node is overloaded: {queued_bytes} of {queue_bytes_max} bytes are queued")
        self.queued_bytes = queued_bytes
        self.queue_bytes_max = queue_bytes_max
        self.retry_after_ms = retry_after_ms


class ShuttingDown(Refused):
    """The node is stopping."""


class BlockMissing(ShardsError):  # noqa: N818
    """The kept block of ``shard`` at ``height`` does not serve: ``reason``. The log makes it again.

    Remove the folder of the chain and start: all blocks are then kept anew.
    """

    def __init__(self, shard: int, height: int, reason: str) -> None:
        super().__init__(f"shard {shard}, height {height}: {reason}; remove the chain's folder and start again")
        self.shard = shard
        self.height = height
        self.reason = reason


class NodeFailed(ShardsError):  # noqa: N818
    """The node met a fault that it must not go on from (a failed sync, a broken invariant); it stops."""
