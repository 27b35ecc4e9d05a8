"""A supervisor's look: what is asked, its digest, and the record of it that the ledger keeps before anything is shown.

It promises that a view is served only for the very question whose digest the supervisor signed: the digest covers the
kind of the question and its bytes.
"""

from __future__ import annotations

from enum import IntEnum, unique
from typing import TYPE_CHECKING, Final

from clearspan.supervision import look
from engine.hashing import digest
from engine.types import HASH_BYTES

if TYPE_CHECKING:
    from clearspan.supervision import RequestMaker
    from engine.admin import AdminRequest

__all__ = ["InspectKind", "look_at", "query_digest", "query_of"]

_PREFIX: Final = b"clearspan/inspect/1"


@unique
class InspectKind(IntEnum):
    """What a look may be at; numbers as on the wire."""

    ACCOUNTS = 1
    TRANSFERS = 2
    STATEMENT = 3
    RULES = 4
    CASES = 5
    """The list of a bridge's cases."""
    CASE = 6
    """One of them."""


def query_digest(suite: int, kind: InspectKind, query: bytes) -> bytes:
    """Return the digest of a question, 32 bytes, under the network's hash suite."""
    return digest(suite, _PREFIX + bytes((kind,)) + query)


def look_at(
    maker: RequestMaker, suite: int, kind: InspectKind, query: bytes, *, subject: int = 0, ledger: int = 0, reason: int
) -> AdminRequest:
    """Return the request that records a look at ``query``; a supervisor signs it. ``reason``: a number, not 0."""
    return look(maker, subject=subject, query_digest=query_digest(suite, kind, query), reason=reason, ledger=ledger)


def query_of(request: AdminRequest) -> bytes:
    """Return the digest of the question that a look names."""
    return request.public_key[:HASH_BYTES]
