"""Result codes and exceptions as gRPC statuses, and back: the one table at the edge, in both directions.

A refusal travels as a status with google.rpc.ErrorInfo (reason: the code's name, domain "clearspan", metadata: number,
class, next_step) and, where waiting helps, google.rpc.RetryInfo. What is no refusal but a fault of the node is INTERNAL
without a word of its cause: that stands in the node's log.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from engine.codes import MEANINGS, CodeClass, ResultCode, code_name
from engine.refusals import BatchRefused, EncodingError
from native.errors import ShapeError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from clearspan.v1 import clearspan_pb2

__all__ = [
    "DEADLINE",
    "ERROR_DOMAIN",
    "INTERNAL",
    "RETRIED_STATUSES",
    "STREAM_IDLE",
    "CallRefused",
    "Refusal",
    "abort_arguments",
    "refusal_of",
    "refusal_of_details",
    "refuse",
]

ERROR_DOMAIN: Final = "clearspan"
_MESSAGE_LENGTH_MAX: Final = 400
_TRANSPORT_RETRY_MS: Final = 50
_DETAILS_KEY: Final = "grpc-status-details-bin"
_BY_NAME: Final = {code.name: code for code in grpc.StatusCode}

# Exceptions of the floors below, by the name of their class: the edge knows them, and needs none of them at import.
_BY_CLASS: Final[dict[str, ResultCode]] = {
    "Overloaded": ResultCode.OVERLOADED,
    "ShuttingDown": ResultCode.SHUTTING_DOWN,
    "NodeFailed": ResultCode.SHUTTING_DOWN,
    "DiskFull": ResultCode.DISK_FULL,
}

RETRIED_STATUSES: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
    }
)
"""Statuses after which the same bytes are sent again; RESOURCE_EXHAUSTED joins them when it carries RetryInfo."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a whole call was not looked at; number is 0 for what has no result code, such as a deadline."""

    number: int
    name: str
    status: grpc.StatusCode
    code_class: str
    message: str
    next_step: str
    retry_after_ms: int = 0

    @property
    def retried(self) -> bool:
        """Whether sending the same bytes again may help without anybody's doing."""
        return self.retry_after_ms > 0 or self.status in RETRIED_STATUSES

    def to_wire(self, message: clearspan_pb2.Refusal) -> None:
        """Fill the message of a stream's reply."""
        message.code, message.name, message.message = self.number, self.name, self.message
        message.next_step, message.retry_after_ms = self.next_step, self.retry_after_ms

    @classmethod
    def from_wire(cls, message: clearspan_pb2.Refusal) -> Refusal:
        """Read the message of a stream's reply; an unknown code is kept by its number."""
        row = MEANINGS.get(ResultCode(message.code)) if message.code in _NUMBERS else None
        return cls(
            message.code,
            message.name,
            _BY_NAME[row.grpc_status] if row is not None else grpc.StatusCode.UNKNOWN,
            row.code_class.value if row is not None else CodeClass.OPEN.value,
            message.message,
            message.next_step,
            message.retry_after_ms,
        )


_NUMBERS: Final = frozenset(int(code) for code in ResultCode)


class CallRefused(Exception):  # noqa: N818 - named as what it is, like the other refusals
    """Carries a refusal from where it was found to the one place that answers it."""

    def __init__(self, refusal: Refusal) -> None:
        """Keep the refusal."""
        super().__init__(refusal.message)
        self.refusal = refusal


def refuse(
    code: ResultCode, message: str, *, retry_after_ms: int = 0, status: grpc.StatusCode | None = None
) -> CallRefused:
    """Return the exception that refuses a call with a result code; status replaces the table's."""
    row = MEANINGS[code]
    found = status if status is not None else _BY_NAME[row.grpc_status]
    text = message[:_MESSAGE_LENGTH_MAX]
    return CallRefused(Refusal(int(code), row.name, found, row.code_class.value, text, row.next_step, retry_after_ms))


def refusal_of(error: BaseException, retry_after_ms: int) -> Refusal | None:
    """Return the refusal that an exception stands for, or None for a fault of the node itself.

    retry_after_ms is the wait that goes with those that pass by themselves.
    """
    if isinstance(error, CallRefused):
        return error.refusal
    if isinstance(error, BatchRefused):
        return refuse(error.code, str(error)).refusal
    if isinstance(error, (EncodingError, ShapeError)):
        return refuse(ResultCode.BATCH_MALFORMED, str(error)).refusal
    for kind in type(error).__mro__:
        code = _BY_CLASS.get(kind.__name__)
        if code is not None:
            # A node that knows better how long to wait says so.
            wait = getattr(error, "retry_after_ms", retry_after_ms)
            return refuse(code, f"the node answers {code_name(code)}", retry_after_ms=wait).refusal
    return None


DEADLINE: Final = Refusal(
    0,
    "deadline_exceeded",
    grpc.StatusCode.DEADLINE_EXCEEDED,
    CodeClass.OPEN.value,
    "the call took longer than its deadline; whether it was decided is not known here",
    "Send the same bytes again: what was decided is answered again.",
)
STREAM_IDLE: Final = Refusal(
    0,
    "stream_idle",
    grpc.StatusCode.DEADLINE_EXCEEDED,
    CodeClass.OPEN.value,
    "the stream was silent for too long, or its replies were not read",
    "Open a new stream and send again what was not answered.",
)
INTERNAL: Final = Refusal(
    0,
    "internal",
    grpc.StatusCode.INTERNAL,
    CodeClass.OPEN.value,
    "the node failed on this call; its log says why",
    "Tell the operator; the same bytes may be sent again.",
)


def abort_arguments(refusal: Refusal) -> tuple[grpc.StatusCode, str, tuple[tuple[str, bytes], ...]]:
    """Return what `context.abort` takes: code, details, and the rich status as trailing metadata."""
    info = error_details_pb2.ErrorInfo(reason=refusal.name, domain=ERROR_DOMAIN)
    info.metadata["number"] = str(refusal.number)
    info.metadata["class"] = refusal.code_class
    info.metadata["next_step"] = refusal.next_step
    details = [_packed(info)]
    if refusal.retry_after_ms:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(refusal.retry_after_ms)
        details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    rich = status_pb2.Status(code=refusal.status.value[0], message=refusal.message, details=details)
    status = rpc_status.to_status(rich)
    return status.code, status.details, tuple(status.trailing_metadata)


def refusal_of_details(
    status: grpc.StatusCode, details: str, metadata: Iterable[tuple[str, str | bytes]] | None
) -> Refusal:
    """Return the refusal that a client was answered with, whether or not it carries rich details."""
    info, retry_after_ms = None, 0
    for packed in _details(metadata):
        if packed.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo()
            packed.Unpack(info)
        elif packed.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo()
            packed.Unpack(retry)
            retry_after_ms = retry.retry_delay.ToMilliseconds()
    if info is None or info.domain != ERROR_DOMAIN:
        if status is grpc.StatusCode.RESOURCE_EXHAUSTED and "concurrent" in details.lower():
            # The transport's own limit of calls: it passes, unlike a message that is too large.
            retry_after_ms = _TRANSPORT_RETRY_MS
        return Refusal(0, status.name.lower(), status, CodeClass.OPEN.value, details, "", retry_after_ms)
    number = info.metadata.get("number", "0")
    return Refusal(
        int(number) if number.isdecimal() else 0,
        info.reason,
        status,
        info.metadata.get("class", CodeClass.OPEN.value),
        details,
        info.metadata.get("next_step", ""),
        retry_after_ms,
    )


def _packed(message: error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def _details(metadata: Iterable[tuple[str, str | bytes]] | None) -> Iterable[any_pb2.Any]:
    for key, value in metadata or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            details: Iterable[any_pb2.Any] = status_pb2.Status.FromString(value).details
            return details
    return ()
