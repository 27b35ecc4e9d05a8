"""What a demonstration does and what must come of it, decided before anything starts.

The plan travels to the client and the checker as JSON, so that three processes mean the same; what is expected is
derived from it here and from nothing that a node answers.
"""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

import clearspan
from clearspan.cluster import DEFAULT_CURRENCIES
from clearspan.demo.receipts import FORMS
from clearspan.errors import ConfigError

__all__ = ["EXAMPLES", "TRANSFERS_DEFAULT", "TRANSFERS_MIN", "DemoPlan"]

EXAMPLES: Final = Path(clearspan.__file__).resolve().parent.parent / "examples" / "iso20022"
"""The clearing files of a source checkout; an installed wheel does not carry them."""
TRANSFERS_DEFAULT: Final = 120_000
TRANSFERS_MIN: Final = 300
_SM2_SHARE: Final = 80
_ACCOUNTS_MAX: Final = 64
_ACCOUNTS_MIN: Final = 8
_WHOLE_RUN: Final = 20_000
_BATCHES_PER_LEDGER: Final = 40
_BATCH_SIZE_MAX: Final = 1_024
_BATCH_SIZE_MIN: Final = 16


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """Counts and rules of one demonstration. ``transfers`` is the load of all ledgers together."""

    transfers: int = TRANSFERS_DEFAULT
    currencies: tuple[str, ...] = DEFAULT_CURRENCIES
    killed: int = 1
    """The domain whose node is killed."""
    kill_at_percent: int = 25
    """How much of that domain's load is answered when it is killed."""
    validators: int = 4
    """Validators of the relay, one of which is killed and stays away."""
    seed: int = 20_022
    banks: int = 4
    keys_per_bank: int = 8
    funds_each: int = 10**9
    """Minor units issued to each account of a load: more than it can pay away."""
    window_s: int = 600
    """Validity window of the ledgers: long enough for a slow machine to send again after the kill."""
    hold_timeout_ms: int = 1_500
    lock_min_s: int = 2
    """The least time to a lock's timelock: short, so that one can be watched to its refund."""
    swaps_claimed: int = 3
    """Cross-currency payments that must arrive, one of them over two hops."""
    swaps_refunded: int = 1
    """And that must run into their timelock."""

    def check(self) -> None:
        """Raise ConfigError for a plan that shows nothing, or examples that are not there."""
        if self.transfers < TRANSFERS_MIN:
            raise ConfigError("--transfers", f"{self.transfers} is too few", f"ask for {TRANSFERS_MIN} or more")
        if not (EXAMPLES / "directory.toml").is_file():
            raise ConfigError(
                str(EXAMPLES), "the example files are missing", "run the demonstration in a source checkout"
            )

    def encode(self) -> str:
        """Return the plan as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def decode(cls, text: str) -> Self:
        """Read what encode wrote."""
        tree = json.loads(text)
        return cls(**{**tree, "currencies": tuple(tree["currencies"])})

    @property
    def receipts(self) -> int:
        """Receipts that must hold: payer's, payee's and a balance on each ledger."""
        return len(FORMS) * len(self.currencies)

    @property
    def per_ledger(self) -> int:
        """Transfers of the load on each ledger, those with SM2 keys among them; rounded up."""
        return -(-self.transfers // len(self.currencies))

    @property
    def sm2_per_ledger(self) -> int:
        """Transfers of the load signed with SM2 keys on each ledger: more than 1,000 together in a whole run."""
        return -(-self.per_ledger // _SM2_SHARE)

    @property
    def accounts_per_bank(self) -> int:
        """Accounts of each bank of the load: fewer for a short one, where funding them would take longer than it."""
        return _ACCOUNTS_MAX if self.transfers >= _WHOLE_RUN else _ACCOUNTS_MIN

    @property
    def batch_size(self) -> int:
        """Transfers in a batch of the load: small enough that a kill meets it in the middle."""
        return max(_BATCH_SIZE_MIN, min(_BATCH_SIZE_MAX, self.per_ledger // _BATCHES_PER_LEDGER))

    def expected_refusals(self) -> dict[str, int]:
        """Return how many requests must be refused with which code, the repeated payment not counted."""
        found: Counter[str] = Counter()
        answers = tomllib.loads((EXAMPLES / "expected.toml").read_text(encoding="utf-8"))["answer"]
        found.update(answer["result"] for answer in answers if answer["result"] != "exists")
        found["invalid_signature"] += 1
        for _ in self.currencies:
            # A run of three whose second member asks for too much, and a post that comes after the hold has expired.
            found.update({"insufficient_funds": 1, "linked_event_failed": 2, "pending_expired": 1})
        return dict(sorted(found.items()))
