"""Cases and outcomes of screening as documents and as lines that a person reads."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from bridge.screening_record import ScreeningRecord, SignedScreening

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from clearspan.v1 import bridge_pb2

__all__ = ["case_document", "case_lines", "outcome_document", "record_document", "record_lines", "utc"]

_NS_PER_S: Final = 1_000_000_000
_DIGITS_SHOWN: Final = 16


def utc(instant: int) -> str:
    """Return an instant in ns for a person, to the second."""
    return datetime.fromtimestamp(instant // _NS_PER_S, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def case_document(case: bridge_pb2.CaseView, now: Callable[[], int] = time.time_ns) -> dict[str, Any]:
    """Return a case for --json."""
    return {
        "case": case.case_id.hex(),
        "kind": case.kind,
        "state": case.state,
        "uetr": case.uetr.hex(),
        "owner": case.owner,
        "opened_at": str(case.opened_at),
        "deadline": str(case.deadline),
        "left_s": max(0, case.deadline - now()) // _NS_PER_S,
        "score": case.score,
        "list_version": case.list_version,
        "explanation": list(case.explanation),
        "officer": case.officer,
        "proposer": case.proposer,
        "message_hash": case.message_hash.hex(),
        "ledgers": list(case.ledgers),
        "steps": [
            {"at": str(each.at), "step": each.step, "officer": each.officer, "text": each.text} for each in case.steps
        ],
    }


def record_document(record: ScreeningRecord) -> dict[str, Any]:
    """Return a screening record for --json."""
    return {
        "outcome": record.outcome.name.lower(),
        "score": record.score,
        "participant": record.participant,
        "key_id": record.key_id,
        "list_version": record.list_version,
        "list_hash": record.list_hash.hex(),
        "screened_at": str(record.screened_at),
        "case": record.case_id.hex() if any(record.case_id) else "",
        "message_hash": record.message_hash.hex(),
        "explanation_hash": record.explanation_hash.hex(),
    }


def outcome_document(outcome: bridge_pb2.OutcomeView) -> dict[str, Any]:
    """Return an outcome of screening and its place on the record for --json."""
    signed = SignedScreening.decode(outcome.signed_record)
    return {
        **record_document(signed.record),
        "signed_record": outcome.signed_record.hex(),
        "public_key": outcome.public_key.hex(),
        "suite": outcome.suite,
        "ledger": outcome.ledger,
        "state": outcome.state,
        "ledger_digest": outcome.ledger_digest.hex(),
        "decided_at": str(outcome.decided_at),
    }


def record_lines(record: ScreeningRecord) -> Iterator[str]:
    """Say what a screening record says."""
    what = "passed" if not any(record.case_id) else f"held as case {record.case_id.hex()}"
    yield f"screened {utc(record.screened_at)} by participant {record.participant} with key {record.key_id}: {what}"
    yield f"score {record.score} of 10000 on list version {record.list_version}, {record.list_hash.hex()}"
    yield f"about message {record.message_hash.hex()}"


def case_lines(reply: bridge_pb2.GetCaseReply) -> Iterator[str]:
    """Tell a case to a person: why, who did what, what screening said, and what to do next."""
    case = reply.case
    yield f"case {case.case_id.hex()} ({case.kind}): {case.state}"
    yield f"payment {case.uetr.hex()}, owner participant {case.owner}"
    yield f"held {utc(case.opened_at)}; its clock ends {utc(case.deadline)}"
    if case.list_version:
        yield f"score {case.score} of 10000, list version {case.list_version}"
    for each in case.explanation:
        yield f"  because {each}"
    for step in case.steps:
        who = f"officer {step.officer[:_DIGITS_SHOWN]}" if step.officer else "the clock"
        yield f"  {utc(step.at)}  {step.step}  {who}{': ' + step.text if step.text else ''}"
    for outcome in reply.outcomes:
        signed = SignedScreening.decode(outcome.signed_record)
        yield from record_lines(signed.record)
        said = {
            "on_record": f"on the ledger's record since {utc(outcome.decided_at)}",
            "refused": "refused by the ledger",
        }
        yield f"  {said.get(outcome.state, 'on its way to the ledger')}; receipt {outcome.ledger_digest.hex()}"
    next_step = {
        "open": "take it and propose: clearspan bridge cases release CASE --reason …, or reject",
        "owned": "its officer proposes: clearspan bridge cases release CASE --reason …, or reject",
        "release_proposed": "another officer confirms or objects: clearspan bridge cases confirm CASE --certificate …",
        "reject_proposed": "another officer confirms or objects: clearspan bridge cases confirm CASE --certificate …",
        "released": "send the same order again: it runs once",
    }.get(case.state, "nothing: the payment does not happen")
    yield f"next: {next_step}"
