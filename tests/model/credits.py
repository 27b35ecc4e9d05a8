"""Messages between shards (spec 05): their bytes, and what a shard does with one that arrives (LEDGER-50, LEDGER-51)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING

from native.codes import ResultCode
from tests.model.accounts import CLOSED, SUSPENSE, Account, channel_account_id, participant_of, suspense_account_id
from tests.model.record import u128

if TYPE_CHECKING:
    from tests.model.state import State

__all__ = ["CLAIM_MESSAGE", "CREDIT_MESSAGE", "RETURN_MESSAGE", "Message", "receive"]

CREDIT_MESSAGE, RETURN_MESSAGE, CLAIM_MESSAGE = 1, 2, 3
TOTAL_MAX = 2**127 - 1
_SUM_MAX = 2**128 - 1


@dataclass(frozen=True, slots=True)
class Message:
    """One credit, return or claim on its way from one shard to another: 128 bytes."""

    sequence: int
    kind: int
    code: int
    ledger: int
    debit_account: int
    credit_account: int
    amount: int
    user_data: int
    digest: bytes
    time: int
    reason: int = 0

    def pack(self) -> bytes:
        return (
            struct.pack("<QHHI", self.sequence, self.kind, self.code, self.ledger)
            + u128(self.debit_account)
            + u128(self.credit_account)
            + u128(self.amount)
            + u128(self.user_data)
            + self.digest
            + struct.pack("<QH6x", self.time, self.reason)
        )

    @classmethod
    def unpack(cls, data: bytes) -> Message:
        wide = [int.from_bytes(data[start : start + 16], "little") for start in range(16, 80, 16)]
        return cls(*struct.unpack_from("<QHHI", data), *wide, data[80:112], *struct.unpack_from("<QH", data, 112))


def receive(state: State, peer: int, message: Message, now: int) -> ResultCode:
    """Apply one message in its turn; the answer is the leaf's code or, of a credit that goes back, the reason."""
    channel = state.channels[peer]
    assert message.sequence == channel.received + 1, "messages arrive in sequence"
    assert message.kind in (CREDIT_MESSAGE, RETURN_MESSAGE, CLAIM_MESSAGE), "a known kind"
    channel.received += 1
    if message.kind == RETURN_MESSAGE:
        return _land_return(state, peer, message, now)
    obstacle = _obstacle(state, message)
    if message.kind == CREDIT_MESSAGE and obstacle:
        return _send_back(state, peer, message, obstacle, now)
    if obstacle:
        _land(state, peer, message, _suspense(state, message, message.credit_account, now))
        code = ResultCode.CREDITED_TO_SUSPENSE
    else:
        _land(state, peer, message, state.accounts[message.credit_account])
        code = ResultCode.CREDITED
    state.leaf(message.digest, now, code)
    return code


def _obstacle(state: State, message: Message) -> ResultCode | None:
    account = state.accounts.get(message.credit_account)
    totals = state.totals[message.ledger]
    if account is None:
        return ResultCode.CREDIT_ACCOUNT_NOT_FOUND
    if account.ledger != message.ledger:
        return ResultCode.CREDIT_ACCOUNT_OTHER_LEDGER
    if account.flags & CLOSED:
        return ResultCode.CREDIT_ACCOUNT_CLOSED
    if totals.debits_posted + totals.debits_pending + message.amount > TOTAL_MAX:
        return ResultCode.OVERFLOWS_LEDGER_TOTAL
    if exceeds_balance_max(account, message.amount):
        return ResultCode.EXCEEDS_BALANCE_MAX
    return None


def exceeds_balance_max(account: Account, amount: int) -> bool:
    """LEDGER-2, the credit side."""
    after = account.credits_posted + account.credits_pending + amount - account.debits_posted
    return account.balance_max > 0 and after > account.balance_max


def _land(state: State, peer: int, message: Message, account: Account) -> None:
    """The mirror of the peer's channel account pays the account."""
    state.accounts[channel_account_id(message.ledger, peer)].debits_posted += message.amount
    account.credits_posted += message.amount
    _raise_total(state, message)


def _raise_total(state: State, message: Message) -> None:
    totals = state.totals[message.ledger]
    totals.debits_posted += message.amount
    assert totals.debits_posted + totals.debits_pending <= _SUM_MAX, "no sum wraps"


def _send_back(state: State, peer: int, message: Message, reason: ResultCode, now: int) -> ResultCode:
    channel = state.accounts[channel_account_id(message.ledger, peer)]
    channel.debits_posted += message.amount
    channel.credits_posted += message.amount
    _raise_total(state, message)
    state.send(peer, replace(message, kind=RETURN_MESSAGE, reason=int(reason), time=now))
    return reason


def _land_return(state: State, peer: int, message: Message, now: int) -> ResultCode:
    account = state.accounts.get(message.debit_account)
    if account is None or account.flags & CLOSED or account.ledger != message.ledger:
        account = _suspense(state, message, message.debit_account, now)
    _land(state, peer, message, account)
    state.leaf(message.digest, now, ResultCode.RETURNED)
    return ResultCode.RETURNED


def _suspense(state: State, message: Message, owner: int, now: int) -> Account:
    """The participant's suspense account on this shard (LEDGER-1), registered now if it is missing."""
    ids = (suspense_account_id(participant_of(owner), message.ledger, number) for number in count())
    id_ = next(each for each in ids if state.is_here(each))
    return state.accounts.setdefault(id_, Account(id_, message.ledger, flags=SUSPENSE, opened_at=now))
