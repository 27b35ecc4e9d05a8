"""What each result code means to who hears it: class, gRPC status, ISO 20022 reason, next step, and whether it burns.

The numbers stand in ``native/codes.py``; this table says what they mean, for every one of them. It knows strings
and no gRPC: the edge turns the status names into its own. ``python -m engine.codes`` prints the page
``docs/spec/result-codes.md``.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import Enum, unique
from typing import Final

from native.codes import ResultCode

__all__ = [
    "BURNING",
    "DONE",
    "LEAVES",
    "MEANINGS",
    "CodeClass",
    "CodeMeaning",
    "ResultCode",
    "code_name",
    "meaning",
    "result_codes_page",
]


@unique
class CodeClass(Enum):
    """What a submitter may conclude."""

    DONE = "done"  # it has its effect
    NO = "no"  # it never executes: only now is a substitute safe
    OPEN = "open"  # these bytes, or the ones they were copied from, may still execute
    ASK = "ask"  # not known here, or not yet: ask again, or look in the history


@dataclass(frozen=True, slots=True)
class CodeMeaning:
    """One row of the table; ``iso_reason`` is empty where nothing was refused."""

    code: ResultCode
    code_class: CodeClass
    grpc_status: str
    iso_reason: str
    next_step: str
    burns: bool
    leaf: bool

    @property
    def name(self) -> str:
        """The name as it is written in documents and JSON."""
        return self.code.name.lower()


_MALFORMED: Final = "Correct the record and sign it again; nothing was burnt."
_RESEND: Final = "Send the same bytes again later; nothing was burnt."
_NEW: Final = "This id is spent; send a new request under a new id once the cause is gone."
_OTHER: Final = (
    "The id already belongs to another request; compare the two and choose a new id if this one is meant too."
)

# name -> (class, gRPC status, ISO 20022 reason, next step)
_ROWS: Final[dict[str, tuple[str, str, str, str]]] = {
    "CREATED": ("done", "OK", "", "Nothing; keep the receipt when it is final."),
    "CREATED_IN_TRANSIT": (
        "done",
        "OK",
        "",
        "Nothing; the credit is on its way, the payee's proof is the destination's `credited`.",
    ),
    "EXISTS": ("done", "OK", "", "Nothing; the first answer is repeated with its code and time."),
    "CREDITED": ("done", "OK", "", "Nothing; the payee has the money."),
    "RETURNED": ("done", "OK", "NARR", "The credit could not land and came back; read the reason and pay another way."),
    "EXPIRED_BY_TIMEOUT": ("done", "OK", "AB05", "The pending has ended and its amount is free again."),
    "CLAIMED": ("done", "OK", "", "Nothing; the lock ended in favour of its payee."),
    "REFUNDED": ("done", "OK", "", "Nothing; the lock ended in favour of its payer."),
    "CREDITED_TO_SUSPENSE": (
        "done",
        "OK",
        "",
        "The money waits in the participant's suspense account; move it from there.",
    ),
    "PREPARED": (
        "ask",
        "OK",
        "",
        "The amount is reserved and the relay decides by the run's deadline; send the same bytes again, or look it up.",
    ),
    "COMMITTED": ("done", "OK", "", "Nothing; the run was committed, the payee's proof is `credited`."),
    "ABORTED": (
        "no",
        "ABORTED",
        "ED05",
        "The run was not committed by its deadline; nothing moved, and a new run may be signed under new ids.",
    ),
    "PREPARED_CREDIT": ("ask", "OK", "", "The payee's side of a run is reserved; the relay decides by its deadline."),
    "HELD": (
        "ask",
        "OK",
        "",
        "The amount is reserved and supervisors decide by the hold's deadline; look it up, and send nothing else.",
    ),
    "HOLD_EXPIRED": (
        "no",
        "ABORTED",
        "ED05",
        "Nobody released it by its deadline; nothing moved, and a new request may be signed under a new id.",
    ),
    "HOLD_REJECTED": (
        "no",
        "ABORTED",
        "NARR",
        "The supervisors rejected it, or its timelock came too near; nothing moved. Ask the owner of the hold why.",
    ),
    "RESERVED_FLAG_SET": ("open", "INVALID_ARGUMENT", "FF01", _MALFORMED),
    "KIND_FLAG_NOT_ALLOWED": ("open", "INVALID_ARGUMENT", "FF01", _MALFORMED),
    "MANDATE_UNSUPPORTED": ("open", "UNIMPLEMENTED", "AG03", "Have the account's own key sign."),
    "ID_MUST_NOT_BE_ZERO": ("open", "INVALID_ARGUMENT", "FF01", _MALFORMED),
    "ID_MUST_NOT_BE_MAX": ("open", "INVALID_ARGUMENT", "FF01", _MALFORMED),
    "DEBIT_ACCOUNT_RESERVED": ("open", "INVALID_ARGUMENT", "AC02", _MALFORMED),
    "CREDIT_ACCOUNT_RESERVED": ("open", "INVALID_ARGUMENT", "AC03", _MALFORMED),
    "CREDIT_ACCOUNT_MUST_BE_ZERO": ("open", "INVALID_ARGUMENT", "FF01", _MALFORMED),
    "ACCOUNTS_MUST_DIFFER": ("open", "INVALID_ARGUMENT", "AC03", _MALFORMED),
    "AMOUNT_MUST_NOT_BE_ZERO": ("open", "INVALID_ARGUMENT", "AM01", _MALFORMED),
    "AMOUNT_MUST_BE_ZERO": ("open", "INVALID_ARGUMENT", "AM12", _MALFORMED),
    "REFERENCE_MUST_BE_ZERO": ("open", "INVALID_ARGUMENT", "FF01", _MALFORMED),
    "REFERENCE_MUST_NOT_BE_ZERO": ("open", "INVALID_ARGUMENT", "FF01", _MALFORMED),
    "EXPIRES_AT_OUT_OF_RANGE": ("open", "INVALID_ARGUMENT", "DT01", _MALFORMED),
    "UNTIL_MUST_BE_ZERO": ("open", "INVALID_ARGUMENT", "DT01", _MALFORMED),
    "UNTIL_OUT_OF_RANGE": ("open", "INVALID_ARGUMENT", "DT01", _MALFORMED),
    "KEY_ID_MUST_NOT_BE_ZERO": ("open", "INVALID_ARGUMENT", "FF01", _MALFORMED),
    "VALID_FOR_MUST_NOT_BE_ZERO": ("open", "INVALID_ARGUMENT", "DT01", _MALFORMED),
    "BINDING_MUST_BE_ZERO": ("open", "INVALID_ARGUMENT", "FF01", _MALFORMED),
    "BINDING_MUST_NOT_BE_ZERO": ("open", "INVALID_ARGUMENT", "FF01", _MALFORMED),
    "LEDGER_NOT_FOUND": (
        "open",
        "NOT_FOUND",
        "AM03",
        "Name a ledger of this domain and sign again; nothing was burnt.",
    ),
    "VALID_FOR_EXCEEDS_WINDOW": (
        "open",
        "INVALID_ARGUMENT",
        "DT01",
        "Sign again with a `valid_for_s` within the window; nothing was burnt.",
    ),
    "AMOUNT_EXCEEDS_LEDGER_MAX": (
        "open",
        "INVALID_ARGUMENT",
        "AM02",
        "Split the amount or use another rail; nothing was burnt.",
    ),
    "WRONG_SHARD": (
        "open",
        "UNAVAILABLE",
        "AB09",
        "Refresh the slot map and send the same bytes to the shard it names.",
    ),
    "LINKED_EVENT_FAILED": (
        "open",
        "ABORTED",
        "ED05",
        "Look at the member that kept its own code; build and sign a new run.",
    ),
    "LINKED_EVENT_CHAIN_OPEN": (
        "open",
        "INVALID_ARGUMENT",
        "FF01",
        "Close the run with a member whose linked bit is clear.",
    ),
    "LINKED_RUN_SPANS_SHARDS": (
        "open",
        "UNAVAILABLE",
        "AG03",
        "No relay decides runs over shards here yet: keep all accounts of a run on one shard, or send it later.",
    ),
    "LINKED_RUN_TOO_LONG": ("open", "INVALID_ARGUMENT", "AG03", "Build shorter runs."),
    "KEY_NOT_FOUND": (
        "open",
        "FAILED_PRECONDITION",
        "DS0E",
        "Wait until the key is registered, or sign with a registered one.",
    ),
    "INVALID_SIGNATURE": (
        "open",
        "UNAUTHENTICATED",
        "DS0H",
        "Check the key, the genesis and the bytes signed; sign again.",
    ),
    "KEY_NOT_IN_FORCE": ("no", "PERMISSION_DENIED", "DS0C", "Sign a new request with a key in force."),
    "DEBIT_ACCOUNT_NOT_FOUND": (
        "open",
        "NOT_FOUND",
        "AC02",
        "Open the account first; the same bytes may then be sent again.",
    ),
    "KEY_NOT_AUTHORISED": ("open", "PERMISSION_DENIED", "AG01", "Have the account's own key sign; nothing was burnt."),
    "ID_ALREADY_FAILED": (
        "no",
        "FAILED_PRECONDITION",
        "AM05",
        "The first refusal stands; its code and time are given.",
    ),
    "EXISTS_WITH_DIFFERENT_FLAGS": ("open", "ALREADY_EXISTS", "DU03", _OTHER),
    "EXISTS_WITH_DIFFERENT_CREDIT_ACCOUNT": ("open", "ALREADY_EXISTS", "DU03", _OTHER),
    "EXISTS_WITH_DIFFERENT_AMOUNT": ("open", "ALREADY_EXISTS", "DU03", _OTHER),
    "EXISTS_WITH_DIFFERENT_REFERENCE": ("open", "ALREADY_EXISTS", "DU03", _OTHER),
    "EXISTS_WITH_DIFFERENT_USER_DATA": ("open", "ALREADY_EXISTS", "DU03", _OTHER),
    "EXISTS_WITH_DIFFERENT_EXPIRES_AT": ("open", "ALREADY_EXISTS", "DU03", _OTHER),
    "EXISTS_WITH_DIFFERENT_UNTIL": ("open", "ALREADY_EXISTS", "DU03", _OTHER),
    "EXISTS_WITH_DIFFERENT_LEDGER": ("open", "ALREADY_EXISTS", "DU03", _OTHER),
    "EXISTS_WITH_DIFFERENT_KEY_ID": ("open", "ALREADY_EXISTS", "DU03", _OTHER),
    "EXISTS_WITH_DIFFERENT_VALID_FOR": ("open", "ALREADY_EXISTS", "DU03", _OTHER),
    "EXISTS_WITH_DIFFERENT_CODE": ("open", "ALREADY_EXISTS", "DU03", _OTHER),
    "EXISTS_WITH_DIFFERENT_BINDING": ("open", "ALREADY_EXISTS", "DU03", _OTHER),
    "EXISTS_WITH_DIFFERENT_RUN": ("open", "ALREADY_EXISTS", "DU03", _OTHER),
    "CANCELLED": (
        "no",
        "FAILED_PRECONDITION",
        "DS02",
        "The payer burnt this id before it was used; a substitute is safe.",
    ),
    "TOO_OLD": (
        "ask",
        "OUT_OF_RANGE",
        "DT01",
        "The window has forgotten this id; look the digest up in the history first.",
    ),
    "EXPIRED": ("no", "DEADLINE_EXCEEDED", "TM01", "Its validity is over and it never executes; sign a new one."),
    "TOO_EARLY": ("open", "FAILED_PRECONDITION", "DT04", "Send the same bytes again inside their validity."),
    "WINDOW_FULL": ("open", "RESOURCE_EXHAUSTED", "ED06", _RESEND),
    "PENDINGS_FULL": ("open", "RESOURCE_EXHAUSTED", "ED06", _RESEND),
    "ACCOUNTS_FULL": (
        "open",
        "RESOURCE_EXHAUSTED",
        "ED06",
        "The shard's table of accounts is full; tell the operator.",
    ),
    "DEBIT_ACCOUNT_OTHER_LEDGER": ("no", "FAILED_PRECONDITION", "AM03", _NEW),
    "DEBIT_ACCOUNT_CLOSED": ("no", "FAILED_PRECONDITION", "AC05", _NEW),
    "DEBIT_ACCOUNT_FROZEN": ("no", "FAILED_PRECONDITION", "AC06", _NEW),
    "CREDIT_ACCOUNT_NOT_FOUND": ("no", "NOT_FOUND", "AC03", _NEW),
    "CREDIT_ACCOUNT_OTHER_LEDGER": ("no", "FAILED_PRECONDITION", "AM03", _NEW),
    "CREDIT_ACCOUNT_CLOSED": ("no", "FAILED_PRECONDITION", "AC07", _NEW),
    "ISSUE_REQUIRES_PENDING": (
        "no",
        "FAILED_PRECONDITION",
        "AG01",
        "Issue by a pending that a second issuer key posts.",
    ),
    "TIMELOCK_TOO_SOON": ("no", "FAILED_PRECONDITION", "DT01", "Lock again under a new id with a later timelock."),
    "OVERFLOWS_LEDGER_TOTAL": ("no", "FAILED_PRECONDITION", "AM12", _NEW),
    "INSUFFICIENT_FUNDS": ("no", "FAILED_PRECONDITION", "AM04", _NEW),
    "EXCEEDS_BALANCE_MAX": ("no", "FAILED_PRECONDITION", "AM21", _NEW),
    "PENDING_NOT_FOUND": ("no", "NOT_FOUND", "RF01", "Check the pending's id and debit account; use a new id."),
    "PENDING_IS_LOCK": ("no", "FAILED_PRECONDITION", "AG01", "A lock ends by reveal or by its timelock alone."),
    "PENDING_HAS_DIFFERENT_CREDIT_ACCOUNT": ("no", "FAILED_PRECONDITION", "AC03", _NEW),
    "PENDING_HAS_DIFFERENT_LEDGER": ("no", "FAILED_PRECONDITION", "AM03", _NEW),
    "PENDING_HAS_DIFFERENT_AMOUNT": ("no", "FAILED_PRECONDITION", "AM09", "Void the whole amount, under a new id."),
    "EXCEEDS_PENDING_AMOUNT": (
        "no",
        "FAILED_PRECONDITION",
        "AM09",
        "Post at most the pending's amount, under a new id.",
    ),
    "PENDING_ALREADY_POSTED": ("no", "FAILED_PRECONDITION", "AM05", "Nothing is left to end; look the pending up."),
    "PENDING_ALREADY_VOIDED": ("no", "FAILED_PRECONDITION", "AM05", "Nothing is left to end; look the pending up."),
    "PENDING_EXPIRED": (
        "no",
        "FAILED_PRECONDITION",
        "AB05",
        "The pending's time ran out; reserve again if it is still meant.",
    ),
    "NOT_PERMITTED_BY_PENDING": (
        "no",
        "PERMISSION_DENIED",
        "AG01",
        "Have the side sign that the pending permits, under a new id.",
    ),
    "ISSUER_KEYS_MUST_DIFFER": ("no", "PERMISSION_DENIED", "AG01", "Have another issuer key post it, under a new id."),
    "CANCEL_TOO_LATE": ("no", "FAILED_PRECONDITION", "DS03", "The id was used before; look it up."),
    "PREIMAGE_NOT_FINAL": (
        "open",
        "FAILED_PRECONDITION",
        "AG01",
        "Submit the reveal to the relay and wait until it is final.",
    ),
    "APPROVAL_REQUIRED": (
        "no",
        "FAILED_PRECONDITION",
        "AG01",
        "Send this member alone, under a new id, so that it can be held for the supervisors.",
    ),
    "QUOTE_EXPIRED": ("no", "FAILED_PRECONDITION", "DT01", "Ask for another quote; lock again under a new id."),
    "QUOTE_EXHAUSTED": (
        "no",
        "FAILED_PRECONDITION",
        "AM02",
        "Lock no more than is left of the quote, or open another; use a new id.",
    ),
    "TIER_LIMIT_EXCEEDED": (
        "no",
        "FAILED_PRECONDITION",
        "AM02",
        "Send less at once, or ask the issuer for another tier.",
    ),
    "VELOCITY_EXCEEDED": ("no", "FAILED_PRECONDITION", "AM13", "Wait for the next day; use a new id."),
    "BREAKER_OPEN": (
        "open",
        "UNAVAILABLE",
        "AG10",
        "A breaker stops this for now; ask its supervisor, and send the same bytes again when it is cleared.",
    ),
    "BREAKER_SLOW": (
        "open",
        "RESOURCE_EXHAUSTED",
        "ED06",
        "A breaker lets only so many through; send the same bytes again.",
    ),
    "ADMIN_TYPE_UNKNOWN": ("open", "INVALID_ARGUMENT", "FF01", _MALFORMED),
    "ADMIN_FIELD_NOT_ALLOWED": ("open", "INVALID_ARGUMENT", "FF01", _MALFORMED),
    "PARTICIPANT_EXISTS": ("no", "ALREADY_EXISTS", "DU02", _NEW),
    "PARTICIPANT_NOT_FOUND": ("no", "NOT_FOUND", "AGNT", _NEW),
    "ROLE_NOT_ALLOWED": ("no", "PERMISSION_DENIED", "AG01", _NEW),
    "SUITE_UNSUPPORTED": ("no", "UNIMPLEMENTED", "DS0B", _NEW),
    "KEY_REJECTED": (
        "no",
        "INVALID_ARGUMENT",
        "DS0D",
        "The public key is not a valid point; make another key and use a new id.",
    ),
    "KEY_EXISTS": (
        "no",
        "ALREADY_EXISTS",
        "DU02",
        "A public key is registered once; make another key and use a new id.",
    ),
    "KEYS_QUOTA_EXCEEDED": ("no", "RESOURCE_EXHAUSTED", "AM21", "Ask the operator for a larger quota; use a new id."),
    "ACCOUNT_EXISTS": ("no", "ALREADY_EXISTS", "DU02", _NEW),
    "ACCOUNT_NOT_FOUND": ("no", "NOT_FOUND", "AC01", _NEW),
    "ACCOUNT_NOT_OF_PARTICIPANT": ("no", "PERMISSION_DENIED", "AC01", _NEW),
    "ACCOUNTS_QUOTA_EXCEEDED": (
        "no",
        "RESOURCE_EXHAUSTED",
        "AM21",
        "Ask the operator for a larger quota; use a new id.",
    ),
    "ACCOUNT_CLOSED": ("no", "FAILED_PRECONDITION", "AC04", _NEW),
    "ACCOUNT_HAS_PENDINGS": ("no", "FAILED_PRECONDITION", "AG01", "Wait until all pendings have ended; use a new id."),
    "ACCOUNT_NOT_EMPTY": ("no", "FAILED_PRECONDITION", "AG01", "Move the balance away first; use a new id."),
    "SECOND_SIGNATURE_REQUIRED": ("open", "FAILED_PRECONDITION", "DS0A", "Have the second key sign the same body."),
    "SIGNERS_MUST_DIFFER": ("open", "FAILED_PRECONDITION", "DS26", "Have a key of another line sign the same body."),
    "SIGNER_ROLE_NOT_ALLOWED": (
        "open",
        "PERMISSION_DENIED",
        "AG01",
        "Have a key of the role sign that the type demands.",
    ),
    "EXISTS_WITH_DIFFERENT_CONTENT": ("open", "ALREADY_EXISTS", "DU03", _OTHER),
    "NOT_THE_ISSUER": ("no", "PERMISSION_DENIED", "AG01", "Only the ledger's issuer sets limits on it."),
    "QUOTE_EXISTS": ("no", "ALREADY_EXISTS", "DU03", _NEW),
    "QUOTE_NOT_FOUND": ("no", "NOT_FOUND", "RF01", "No such quote is open on this account; use a new id."),
    "BREAKER_NOT_FOUND": ("no", "NOT_FOUND", "RF01", "No breaker is set on this subject; use a new id."),
    "TIER_NOT_FOUND": ("no", "NOT_FOUND", "RF01", "Set the tier of the ledger first; use a new id."),
    "HOLD_NOT_FOUND": ("no", "NOT_FOUND", "RF01", "Nothing of this id was ever held on this account; use a new id."),
    "HOLD_OVER": ("no", "FAILED_PRECONDITION", "AM05", "The hold has ended; look the transfer up."),
    "RULES_FULL": (
        "open",
        "RESOURCE_EXHAUSTED",
        "ED06",
        "Close quotes or clear breakers that are over, then send the same bytes again.",
    ),
    "OVERLOADED": ("open", "RESOURCE_EXHAUSTED", "ED06", "Wait a moment and send the same bytes again."),
    "SHARD_SUSPENDED": ("open", "UNAVAILABLE", "AG10", _RESEND),
    "SHARD_AWAY": ("open", "UNAVAILABLE", "AB09", _RESEND),
    "DISK_FULL": (
        "open",
        "RESOURCE_EXHAUSTED",
        "ED06",
        "Tell the operator; the same bytes may be sent again afterwards.",
    ),
    "BATCH_MALFORMED": ("open", "INVALID_ARGUMENT", "FF01", "Build the batch again from its records."),
    "BATCH_TOO_LARGE": ("open", "INVALID_ARGUMENT", "DS0K", "Send smaller batches."),
    "BATCH_EMPTY": ("open", "INVALID_ARGUMENT", "FF01", "Send at least one record."),
    "VERSION_UNSUPPORTED": ("open", "UNIMPLEMENTED", "FF01", "Use a version that this node speaks."),
    "DOMAIN_NOT_FOUND": ("open", "NOT_FOUND", "AGNT", "Send the batch to a node of its domain."),
    "ROLE_REFUSED": ("open", "PERMISSION_DENIED", "AG01", "Use a certificate whose role may make this call."),
    "NOT_FOUND": (
        "open",
        "NOT_FOUND",
        "NARR",
        "Nothing is known under this name here; that proves nothing about later.",
    ),
    "SHUTTING_DOWN": ("open", "UNAVAILABLE", "ED06", "Send the same bytes to the node when it is back."),
}

# Leaves at the steps before the state, and those of decisions that nobody requested (LEDGER-60).
_LEAF_ONLY: Final = frozenset(
    {
        *range(ResultCode.CREATED, ResultCode.EXISTS),
        *range(ResultCode.CREDITED, ResultCode.HOLD_REJECTED + 1),
        ResultCode.KEY_NOT_IN_FORCE,
        ResultCode.EXPIRED,
    }
)
# What the state refuses: of transfers LEDGER-61, of admin requests the codes of class no from ADMIN-2.
_BURNS: Final = frozenset(
    {
        *range(ResultCode.DEBIT_ACCOUNT_OTHER_LEDGER, ResultCode.CANCEL_TOO_LATE + 1),
        *range(ResultCode.APPROVAL_REQUIRED, ResultCode.VELOCITY_EXCEEDED + 1),
        *range(ResultCode.PARTICIPANT_EXISTS, ResultCode.ACCOUNT_NOT_EMPTY + 1),
        *range(ResultCode.NOT_THE_ISSUER, ResultCode.HOLD_OVER + 1),
    }
)


def _meaning(code: ResultCode) -> CodeMeaning:
    code_class, grpc_status, iso_reason, next_step = _ROWS[code.name]
    burns = code in _BURNS
    return CodeMeaning(
        code, CodeClass(code_class), grpc_status, iso_reason, next_step, burns, burns or code in _LEAF_ONLY
    )


MEANINGS: Final[dict[ResultCode, CodeMeaning]] = {code: _meaning(code) for code in ResultCode}
"""The whole table; a code without a row fails at import."""

DONE: Final = frozenset(code for code, row in MEANINGS.items() if row.code_class is CodeClass.DONE)
BURNING: Final = frozenset(code for code, row in MEANINGS.items() if row.burns)
LEAVES: Final = frozenset(code for code, row in MEANINGS.items() if row.leaf)


def meaning(code: int) -> CodeMeaning:
    """Return the row of a code; raises ValueError for a number that is none."""
    return MEANINGS[ResultCode(code)]


def code_name(code: int) -> str:
    """Return a code's name in lower case; an unknown number is written as ``code_<number>``."""
    try:
        return ResultCode(code).name.lower()
    except ValueError:
        return f"code_{code}"


_PAGE_HEAD: Final = """# Result codes

Written by `python -m engine.codes` from the table in `engine/codes.py`; a test compares. Numbers are never reused.

Classes: **done** has its effect; **no** never executes, so a substitute is safe; **open** may still execute, so
send the same bytes and nothing else; **ask** is forgotten here, look in the history. A code that **burns** spends the
id; one with a **leaf** is in the decisions tree of its block. An admin request that the rules of its type refuse burns
its id and has a leaf unless the code's class is open (ADMIN-3).

| code | name | class | gRPC status | ISO 20022 | burns | leaf | next step |
|---|---|---|---|---|---|---|---|
"""


def result_codes_page() -> str:
    """Return the text of ``docs/spec/result-codes.md``."""
    rows = (
        f"| {row.code.value} | `{row.name}` | {row.code_class.value} | {row.grpc_status} | {row.iso_reason or '-'} "
        f"| {'yes' if row.burns else '-'} | {'yes' if row.leaf else '-'} | {row.next_step} |"
        for row in MEANINGS.values()
    )
    return _PAGE_HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.stdout.write(result_codes_page())
