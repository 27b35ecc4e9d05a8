"""ISO 20022 at the edge: clearing files become payments, payments become instructions, answers become status reports.

    message = read(data)                      # or IsoError: the file is refused whole
    fields = instructions(message, aliases)   # ids, accounts, amounts, hashes; nothing is signed here
    answer = status_report(message, outcomes)

Knows XML, currencies and the shape of a transfer record; knows no ledger state, no key and no clock but a report's.
"""

from __future__ import annotations

from clearspan.iso20022.accounts import account_id, format_account, parse_account, resolve_account
from clearspan.iso20022.answers import outcome_of
from clearspan.iso20022.directory import Directory, Participant, read_directory
from clearspan.iso20022.document import ReaderLimits
from clearspan.iso20022.errors import IsoCode, IsoError
from clearspan.iso20022.instruction import Instruction, instruction_fields, instructions
from clearspan.iso20022.reader import read
from clearspan.iso20022.swaps import SwapInstruction, swap_instructions, swap_outcome
from clearspan.iso20022.types import (
    AccountScheme,
    BusinessHeader,
    Message,
    MessageKind,
    Outcome,
    OutcomeStatus,
    Payment,
)
from clearspan.iso20022.writer import Settlement, payments, refusal_report, status_report

__all__ = [
    "AccountScheme",
    "BusinessHeader",
    "Directory",
    "Instruction",
    "IsoCode",
    "IsoError",
    "Message",
    "MessageKind",
    "Outcome",
    "OutcomeStatus",
    "Participant",
    "Payment",
    "ReaderLimits",
    "Settlement",
    "SwapInstruction",
    "account_id",
    "format_account",
    "instruction_fields",
    "instructions",
    "outcome_of",
    "parse_account",
    "payments",
    "read",
    "read_directory",
    "refusal_report",
    "resolve_account",
    "status_report",
    "swap_instructions",
    "swap_outcome",
]
