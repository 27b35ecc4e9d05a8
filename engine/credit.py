"""The message that carries a credit from one shard to another: 128 bytes (05)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from engine.refusals import EncodingError
from engine.types import CREDIT_BYTES, U128_MAX, CreditKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Buffer

__all__ = ["Credit", "decode_credits", "encode_credits"]

_CREDIT: Final = struct.Struct("<QHHI16s16s16s16s32sQH6s")
assert _CREDIT.size == CREDIT_BYTES
_PADDING: Final = bytes(6)


def _u128(name: str, value: int) -> bytes:
    if not 0 <= value <= U128_MAX:
        raise EncodingError(name, value, "0 to 2^128 - 1")
    return value.to_bytes(16, "little")


@dataclass(frozen=True, slots=True)
class Credit:
    """One message on a channel; ``reason`` is the result code of a return, else 0."""

    sequence: int
    kind: CreditKind
    code: int
    ledger: int
    debit_account: int
    credit_account: int
    amount: int
    user_data: int
    digest: bytes
    time: int
    reason: int = 0

    def encode(self) -> bytes:
        """Return the 128 bytes."""
        return _CREDIT.pack(
            self.sequence,
            self.kind,
            self.code,
            self.ledger,
            _u128("debit_account", self.debit_account),
            _u128("credit_account", self.credit_account),
            _u128("amount", self.amount),
            _u128("user_data", self.user_data),
            self.digest,
            self.time,
            self.reason,
            _PADDING,
        )

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """Read 128 bytes; raises EncodingError for another length, an unknown kind or padding that is not zero."""
        view = memoryview(data).cast("B")
        if view.nbytes != CREDIT_BYTES:
            raise EncodingError("credit bytes", view.nbytes, CREDIT_BYTES)
        sequence, kind, code, ledger, debit, credit, amount, user_data, digest, time, reason, padding = _CREDIT.unpack(
            view
        )
        if padding != _PADDING:
            raise EncodingError("credit padding", padding, _PADDING)
        if not CreditKind.CREDIT <= kind <= CreditKind.CLAIM:
            raise EncodingError("credit kind", kind, "1, 2 or 3")
        if reason and kind != CreditKind.RETURN:
            raise EncodingError("credit reason", reason, "0 but on a return")
        return cls(
            sequence=sequence,
            kind=CreditKind(kind),
            code=code,
            ledger=ledger,
            debit_account=int.from_bytes(debit, "little"),
            credit_account=int.from_bytes(credit, "little"),
            amount=int.from_bytes(amount, "little"),
            user_data=int.from_bytes(user_data, "little"),
            digest=digest,
            time=time,
            reason=reason,
        )


def encode_credits(credits_: Sequence[Credit]) -> bytes:
    """Return messages packed, in order."""
    return b"".join(credit.encode() for credit in credits_)


def decode_credits(data: Buffer) -> tuple[Credit, ...]:
    """Read packed messages; raises EncodingError for a length that is no multiple of 128."""
    view = memoryview(data).cast("B")
    if view.nbytes % CREDIT_BYTES:
        raise EncodingError("credits bytes", view.nbytes, f"a multiple of {CREDIT_BYTES}")
    return tuple(Credit.decode(view[at : at + CREDIT_BYTES]) for at in range(0, view.nbytes, CREDIT_BYTES))
