"""The receipt: from a signed record to a quorum's certificate, checked offline with a validator set alone (07).

It leads from the record's digest to its decision, to the header of the shard's block, and with an anchorage to the
relay block and its certificate. It says what was decided and how far that is final, and nothing of what came after.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, unique
from typing import TYPE_CHECKING, Final, Self

from engine.anchorage import Anchorage, Section, ends, read_sections, write_sections
from engine.block import Decision, DecisionProof, InclusionPath
from engine.codes import CodeMeaning, meaning
from engine.header import SignedHeader
from engine.prefix import PrefixType, claim_id, signing_prefix
from engine.record import Account, Transfer
from engine.refusals import EncodingError, ProofRefused
from engine.types import ACCOUNT_BYTES, HASH_BYTES, RECORD_BYTES, TransferKind
from native.codes import ResultCode
from native.hashing import digest, leaf_hash

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from engine.anchorage import AnchorageFinding
    from engine.validators import ValidatorSet

__all__ = [
    "RECEIPT_MAGIC",
    "RECEIPT_VERSION",
    "BalanceFinding",
    "BalanceReceipt",
    "Receipt",
    "ReceiptFinding",
    "ReceiptForm",
    "decode_receipt",
]

RECEIPT_MAGIC: Final = b"CSRC"
RECEIPT_VERSION: Final = 1
_HEAD: Final = struct.Struct("<4sHH")
_ANCHORAGE: Final = frozenset(
    {Section.HEADER, Section.ANCHORED, Section.ANCHOR_PATH, Section.RELAY_HEADER, Section.CERTIFICATE}
)
_DECIDED: Final = _ANCHORAGE | {Section.RECORD, Section.DECISION}
_BALANCE: Final = _ANCHORAGE | {Section.ACCOUNT}
_OPTIONAL: Final = frozenset({Section.RANGE, Section.STATEMENTS})

# What proves to a payee that the money is his: not that it is on its way.
_PAID: Final = frozenset({ResultCode.CREATED, ResultCode.CREDITED, ResultCode.CREDITED_TO_SUSPENSE, ResultCode.CLAIMED})
_ENDED_BY_REVEAL: Final = frozenset({ResultCode.CLAIMED, ResultCode.CREDITED, ResultCode.CREDITED_TO_SUSPENSE})
_KIND_MASK: Final = 0x0F
# Where the accounts stand among the leaves of a state root (LEDGER-70).
_ACCOUNTS_NAME: Final = b"accounts".ljust(16, b"\0")
_ACCOUNTS_INDEX: Final = 0
_SUBTREES: Final = 10


@unique
class ReceiptForm(IntEnum):
    """Whom a receipt speaks to, and of what."""

    PAYER = 1
    PAYEE = 2
    BALANCE = 3


@dataclass(frozen=True, slots=True)
class ReceiptFinding:
    """What a receipt that holds proves: the decision and its meaning, where and when, and how far it is final."""

    form: ReceiptForm
    transfer: Transfer
    decision: Decision
    meaning: CodeMeaning
    anchorage: AnchorageFinding

    def speaks_of(self, suite: int, record_digest: bytes) -> bool:
        """Say whether it is of a record: its decision, or the claim that was derived from it, a lock (RECORD-6)."""
        if self.decision.digest == record_digest:
            return True
        claim = self.decision.code in _ENDED_BY_REVEAL and self.transfer.flags & _KIND_MASK == TransferKind.CLAIM
        return claim and self.transfer.id == claim_id(suite, record_digest)


@dataclass(frozen=True, slots=True)
class BalanceFinding:
    """What a balance receipt that holds proves: the account as it stood at the end of a block."""

    account: Account
    block_time: int
    anchorage: AnchorageFinding


@dataclass(frozen=True, slots=True)
class Receipt:
    """Forms 1 and 2: a decision on a record. ``prefix`` is what was hashed before the record: T, or T of its run."""

    form: ReceiptForm
    record: bytes
    prefix: bytes
    decision: Decision
    decision_path: InclusionPath
    anchorage: Anchorage

    def encode(self) -> bytes:
        """Return the receipt's bytes."""
        proof = DecisionProof(self.decision, self.decision_path, self.anchorage.anchored).encode_without_header()
        own = {Section.RECORD: self.record + self.prefix, Section.DECISION: proof}
        return _HEAD.pack(RECEIPT_MAGIC, RECEIPT_VERSION, self.form) + write_sections(
            {**own, **self.anchorage.sections()}
        )

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """Read a receipt from exactly its bytes; raises EncodingError. Whether it holds is ``verify``'s to say."""
        form, view = _form(data)
        if form is ReceiptForm.BALANCE:
            raise EncodingError("receipt form", int(form), "1 payer's or 2 payee's")
        sections = read_sections(view, _DECIDED, _OPTIONAL)
        signed_bytes = sections[Section.RECORD].tobytes()
        if len(signed_bytes) != RECORD_BYTES + HASH_BYTES:
            raise EncodingError("receipt record bytes", len(signed_bytes), RECORD_BYTES + HASH_BYTES)
        decision, decision_path, used = DecisionProof.decode_without_header(sections[Section.DECISION])
        ends("receipt decision", sections[Section.DECISION], used)
        return cls(
            form=form,
            record=signed_bytes[:RECORD_BYTES],
            prefix=signed_bytes[RECORD_BYTES:],
            decision=decision,
            decision_path=decision_path,
            anchorage=Anchorage.read(sections),
        )

    def verify(self, suite: int, genesis_hash: bytes, validators: ValidatorSet) -> ReceiptFinding:
        """Follow the receipt from the record to the certificate; raises ProofRefused naming the step that fails."""
        if self.decision.digest != digest(suite, self.prefix + self.record):
            raise ProofRefused("record", "the decision is on another record")
        # Decisions on administration stand in the same tree: read as a transfer, such a request would say anything.
        if self.prefix == signing_prefix(suite, PrefixType.ACCOUNT, genesis_hash):
            raise ProofRefused("record", "it is a request of administration and no transfer")
        if self.form is ReceiptForm.PAYEE and self.decision.code not in _PAID:
            raise ProofRefused("form", f"code {self.decision.code} is no proof of payment")
        its_meaning = _meaning(self.decision.code)
        anchored = self.anchorage.verify(suite, genesis_hash, validators)
        DecisionProof(self.decision, self.decision_path, SignedHeader(self.anchorage.header, 0, b"")).check_path()
        try:
            transfer = Transfer.decode(self.record)
        except EncodingError as error:
            raise ProofRefused("record", str(error)) from error
        return ReceiptFinding(self.form, transfer, self.decision, its_meaning, anchored)


@dataclass(frozen=True, slots=True)
class BalanceReceipt:
    """Form 3: an account's leaf, its path among the accounts, and the path of the accounts' root in the state root."""

    account: bytes
    account_path: InclusionPath
    state_path: tuple[bytes, ...]
    anchorage: Anchorage

    def encode(self) -> bytes:
        """Return the receipt's bytes."""
        state = InclusionPath(_ACCOUNTS_INDEX, _SUBTREES, self.state_path)
        own = {Section.ACCOUNT: self.account + self.account_path.encode() + state.encode()}
        return _HEAD.pack(RECEIPT_MAGIC, RECEIPT_VERSION, ReceiptForm.BALANCE) + write_sections(
            {**own, **self.anchorage.sections()}
        )

    @classmethod
    def decode(cls, data: Buffer) -> Self:
        """Read a receipt from exactly its bytes; raises EncodingError. Whether it holds is ``verify``'s to say."""
        form, view = _form(data)
        if form is not ReceiptForm.BALANCE:
            raise EncodingError("receipt form", int(form), "3 balance")
        sections = read_sections(view, _BALANCE, _OPTIONAL)
        section = sections[Section.ACCOUNT]
        if section.nbytes < ACCOUNT_BYTES:
            raise EncodingError("receipt account bytes", section.nbytes, f"at least {ACCOUNT_BYTES}")
        path, used = InclusionPath.decode_prefix(section[ACCOUNT_BYTES:])
        start = ACCOUNT_BYTES + used
        state, used = InclusionPath.decode_prefix(section[start:])
        ends("receipt account", section, start + used)
        if (state.index, state.count) != (_ACCOUNTS_INDEX, _SUBTREES):
            raise EncodingError("receipt state path", (state.index, state.count), (_ACCOUNTS_INDEX, _SUBTREES))
        return cls(section[:ACCOUNT_BYTES].tobytes(), path, state.path, Anchorage.read(sections))

    def verify(self, suite: int, genesis_hash: bytes, validators: ValidatorSet) -> BalanceFinding:
        """Follow the receipt from the account to the certificate; raises ProofRefused naming the step that fails."""
        anchored = self.anchorage.verify(suite, genesis_hash, validators)
        header = self.anchorage.header
        if self.account_path.count != header.account_count:
            raise ProofRefused("account", "the header counts other accounts")
        root = self.account_path.root(suite, leaf_hash(suite, self.account), "account")
        state = InclusionPath(_ACCOUNTS_INDEX, _SUBTREES, self.state_path)
        state.check(suite, leaf_hash(suite, _ACCOUNTS_NAME + root), header.state_root, "state")
        try:
            account = Account.decode(self.account)
        except EncodingError as error:
            raise ProofRefused("account", str(error)) from error
        return BalanceFinding(account, header.time, anchored)


def decode_receipt(data: Buffer) -> Receipt | BalanceReceipt:
    """Read a receipt of any form from exactly its bytes; raises EncodingError."""
    form, _ = _form(data)
    return BalanceReceipt.decode(data) if form is ReceiptForm.BALANCE else Receipt.decode(data)


def _form(data: Buffer) -> tuple[ReceiptForm, memoryview]:
    view = memoryview(data).cast("B")
    if view.nbytes < _HEAD.size:
        raise EncodingError("receipt bytes", view.nbytes, f"at least {_HEAD.size}")
    magic, version, form = _HEAD.unpack(view[: _HEAD.size])
    if (magic, version) != (RECEIPT_MAGIC, RECEIPT_VERSION):
        raise EncodingError("receipt head", (magic, version), (RECEIPT_MAGIC, RECEIPT_VERSION))
    try:
        return ReceiptForm(form), view[_HEAD.size :]
    except ValueError as error:
        raise EncodingError("receipt form", form, "1 payer's, 2 payee's or 3 balance") from error


def _meaning(code: int) -> CodeMeaning:
    try:
        return meaning(code)
    except ValueError as error:
        raise ProofRefused("decision", f"code {code} is unknown here") from error
