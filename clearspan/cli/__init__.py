"""The command line: `clearspan <noun> <verb>`, as people and scripts use it.

    root        the table of commands, each imported when it is called
    output      tables for people, one JSON document for programs
    failures    exceptions as an exit code, a sentence and the next step
    options     what many commands take
    session     the network folder, certificates and keys behind a command

Exit codes: 0 done, 1 refused by the ledger, 2 usage or configuration, 3 unreachable or timed out, 4 verification or
audit failed, 5 internal, 130 interrupted. Results go to standard output, everything else to standard error.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from clearspan.cli.root import run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and end the process with its exit code."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))
