"""The admin request: a body of 160 bytes, its types, and the roles of keys (spec 06)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

__all__ = [
    "ACCOUNT_CLOSE", "ACCOUNT_FREEZE", "ACCOUNT_KEY_SET", "ACCOUNT_LIMITS", "ACCOUNT_OPEN", "ACCOUNT_ROLE",
    "ACCOUNT_TIER", "ACCOUNT_UNFREEZE", "BLOCK", "BREAKER_CLEAR", "BREAKER_SET", "BY_OPERATOR", "BY_REGISTRAR", "HOLD_REJECT",
    "HOLD_RELEASE", "ISSUER_ROLE", "KEY_ADD", "KEY_REVOKE", "KEY_ROTATE", "LEDGER_RULES", "LEDGER_TIER", "LOOK", "MANDATE",
    "NEW_KEY", "OPERATOR", "PARTICIPANT_ADD", "QUOTA_SET", "QUOTE_CLOSE", "QUOTE_OPEN", "REGISTRAR", "SCREENED", "SCREENING",
    "SUPERVISOR", "AdminRequest",
]  # fmt: skip

(PARTICIPANT_ADD, KEY_ADD, KEY_ROTATE, KEY_REVOKE, ACCOUNT_OPEN, ACCOUNT_LIMITS, ACCOUNT_FREEZE, ACCOUNT_UNFREEZE,
 ACCOUNT_CLOSE, QUOTA_SET, ACCOUNT_KEY_SET, MANDATE, QUOTE_OPEN, QUOTE_CLOSE, LEDGER_RULES, HOLD_RELEASE, HOLD_REJECT,
 BREAKER_SET, BREAKER_CLEAR, LEDGER_TIER, ACCOUNT_TIER, LOOK, SCREENED) = range(1, 24)  # fmt: skip
ISSUER_ROLE, ACCOUNT_ROLE, REGISTRAR, OPERATOR, SUPERVISOR, BLOCK, SCREENING = range(1, 8)
BY_REGISTRAR = (ISSUER_ROLE, ACCOUNT_ROLE, REGISTRAR)
BY_OPERATOR = (OPERATOR, SUPERVISOR, BLOCK, SCREENING)

NEW_KEY = 0xFFFFFFFF  # as second signer: the public key in the body


@dataclass(slots=True)
class AdminRequest:
    """The body of 160 bytes."""

    id: int = 0
    subject: int = 0
    type: int = 0
    reason: int = 0
    participant: int = 0
    ledger: int = 0
    key_id: int = 0
    expires_at: int = 0
    valid_for_s: int = 0
    suite: int = 0
    role: int = 0
    limit_a: int = 0
    limit_b: int = 0
    public_key: bytes = bytes(64)

    def pack(self) -> bytes:
        return (
            self.id.to_bytes(16, "little")
            + self.subject.to_bytes(16, "little")
            + struct.pack("<HHIII", self.type, self.reason, self.participant, self.ledger, self.key_id)
            + struct.pack("<QIHH", self.expires_at, self.valid_for_s, self.suite, self.role)
            + self.limit_a.to_bytes(16, "little")
            + self.limit_b.to_bytes(16, "little")
            + self.public_key
        )

    @classmethod
    def unpack(cls, body: bytes) -> AdminRequest:
        id_, subject = int.from_bytes(body[:16], "little"), int.from_bytes(body[16:32], "little")
        limits = int.from_bytes(body[64:80], "little"), int.from_bytes(body[80:96], "little")
        return cls(id_, subject, *struct.unpack_from("<HHIIIQIHH", body, 32), *limits, body[96:160])
