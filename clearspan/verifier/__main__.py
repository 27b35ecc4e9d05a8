"""`python -m clearspan.verifier RECEIPT TRUST`: check a receipt with nothing but the standard library and the twins."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from clearspan.verifier.offline import Refusal, read_trust, verify_receipt

_USAGE = 2
_FAILED = 4


def main(arguments: list[str]) -> int:
    """Print the finding as JSON; return 0, or 4 when the receipt does not hold."""
    if len(arguments) != 2:
        sys.stderr.write("usage: python -m clearspan.verifier RECEIPT TRUST\n")
        return _USAGE
    data, document = (Path(each).read_bytes() for each in arguments)
    try:
        finding = verify_receipt(data, read_trust(document))
    except Refusal as refusal:
        sys.stderr.write(f"the receipt does not hold: {refusal}\n")
        return _FAILED
    sys.stdout.write(json.dumps(asdict(finding), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
