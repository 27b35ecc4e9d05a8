"""Exceptions of every floor as what a person hears: a stable code, a sentence, the next step, an exit code."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from clearspan.errors import ClearspanError

__all__ = ["Failure", "failure_of"]

REFUSED, USAGE, UNREACHABLE, VERIFICATION, INTERNAL = 1, 2, 3, 4, 5

# Exceptions of the floors below by the name of their class, which is enough: nothing of them need be imported to know.
_BY_CLASS: Final[dict[str, tuple[int, str]]] = {
    "DirectoryInUse": (USAGE, "stop the process that holds it, or name another data directory"),
    "FormatMismatch": (USAGE, "name the data directory of this node and this network"),
    "StoreDamaged": (VERIFICATION, ""),
    "ReplayDiverged": (VERIFICATION, "keep the directory for analysis; do not run a node on it"),
    "InvariantBroken": (VERIFICATION, "keep the directory for analysis; do not run a node on it"),
    "ProofRefused": (VERIFICATION, "do not rely on it; ask the operator for another"),
    "DiskFull": (INTERNAL, "make room on the disk, then start again; nothing acknowledged is lost"),
    "StorageError": (INTERNAL, "read the message, mend the cause, start again"),
    "GenesisRefused": (USAGE, "correct the value that it names"),
    "EncodingError": (USAGE, "give a file of the kind that the command asks for, whole and unchanged"),
    "CurrencyError": (USAGE, "correct the currency or the amount"),
    "DirectoryError": (USAGE, "correct the directory file"),
    "KeyRejected": (USAGE, "make another key"),
}


@dataclass(frozen=True, slots=True)
class Failure:
    """One failure in words; number is the ledger's result code where there is one."""

    code: str
    message: str
    next_step: str
    exit_code: int
    number: int = 0
    internal: bool = False


def failure_of(error: BaseException) -> Failure:
    """Return what an exception means to a person; one that nobody foresaw is internal."""
    if isinstance(error, ClearspanError):
        number = getattr(error, "code", 0)
        name = getattr(error, "name", "") or _snake(type(error).__name__)
        return Failure(name, error.message, error.next_step, error.exit_code, number if isinstance(number, int) else 0)
    if type(error).__name__ == "IsoError":
        return Failure(str(getattr(error, "code", "iso")), str(error), str(getattr(error, "next_step", "")), USAGE)
    for kind in type(error).__mro__:
        known = _BY_CLASS.get(kind.__name__)
        if known is not None:
            exit_code, next_step = known
            return Failure(_snake(type(error).__name__), str(error), next_step, exit_code)
    if isinstance(error, OSError) and error.filename is not None:
        message = f"{error.filename}: {error.strerror}"
        return Failure("file", message, "check the path and its permissions", USAGE)
    message = f"{type(error).__name__}: {error}"
    return Failure(
        "internal", message, "this is a fault of the program: report it with this text", INTERNAL, internal=True
    )


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
