"""From the ledger's result code to a payment's outcome in a status report.

Knows the table of result codes and the statuses of a pacs.002; decides nothing of its own: what is still open stays
pending, and only a *no* is a rejection.
"""

from __future__ import annotations

from typing import Final

from clearspan.iso20022.types import Outcome, OutcomeStatus
from engine.codes import CodeClass, ResultCode, meaning

__all__ = ["outcome_of"]

# What done codes mean to a payer. A credit on its way has left the payer and may still come back; a repeated request
# is answered by its first code.
_DONE: Final = {
    ResultCode.CREATED: OutcomeStatus.ACCEPTED,
    ResultCode.CREDITED: OutcomeStatus.ACCEPTED,
    ResultCode.CLAIMED: OutcomeStatus.ACCEPTED,
    ResultCode.CREATED_IN_TRANSIT: OutcomeStatus.IN_PROCESS,
    ResultCode.CREDITED_TO_SUSPENSE: OutcomeStatus.IN_PROCESS,
    ResultCode.RETURNED: OutcomeStatus.REJECTED,
    ResultCode.REFUNDED: OutcomeStatus.REJECTED,
    ResultCode.EXPIRED_BY_TIMEOUT: OutcomeStatus.REJECTED,
}
_REPEATED: Final = frozenset({ResultCode.EXISTS, ResultCode.ID_ALREADY_FAILED})
_NARRATIVE: Final = "NARR"


def outcome_of(payment_index: int, code: int, first_code: int = 0) -> Outcome:
    """Return the outcome of the payment that was answered with `code`.

    first_code: for `exists` and `id_already_failed` the code of the first decision, else 0. The text gives the code's
    name and the next step. Raises ValueError for a number that is no result code.
    """
    repeated = ResultCode(code) in _REPEATED and first_code != 0
    row = meaning(first_code if repeated else code)
    status = _DONE.get(row.code)
    if status is None:
        settled = row.code_class is CodeClass.DONE
        refused = row.code_class is CodeClass.NO
        status = OutcomeStatus.ACCEPTED if settled else OutcomeStatus.REJECTED if refused else OutcomeStatus.PENDING
    if status is OutcomeStatus.ACCEPTED:
        return Outcome(payment_index, status)
    reason = row.iso_reason
    if status is OutcomeStatus.REJECTED:
        reason = reason or _NARRATIVE
    again = "sent before; " if repeated else ""
    return Outcome(payment_index, status, reason, f"{again}{row.name}: {row.next_step}")
