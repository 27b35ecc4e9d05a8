"""What a demonstration found, as numbers, as one JSON object, and as a page for a person.

Every number here was read back from a node or comes from an audit; what disagrees is a problem in words, and a report
with a problem is a failure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table

if TYPE_CHECKING:
    from rich.console import Console

    from clearspan.demo.swaps import SwapsReport

__all__ = ["DemoReport", "FinalityReport", "KillReport", "LedgerLine"]

VERIFICATION_FAILED = 4


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """One ledger: read back by the checker, and as the audit of its stopped node has it (None: it failed).

    Amounts in minor units. supply: what is in circulation; issued: all that was ever issued.
    """

    domain: int
    currency: str
    scale: int
    settled: int
    cross_shard: int
    refused: int
    lost: int
    supply: int | None
    issued: int | None
    audited_settled: int | None
    added_by_swaps: int = 0

    @property
    def conserved(self) -> bool:
        """Whether the audit went through the whole log and found the money as it must be."""
        return self.supply is not None

    def encode(self) -> dict[str, Any]:
        """Return the line for JSON; amounts as strings of minor units."""
        return {
            "currency": self.currency,
            "domain": self.domain,
            "settled": self.settled,
            "cross_shard": self.cross_shard,
            "refused": self.refused,
            "acknowledged_lost": self.lost,
            "conserved": self.conserved,
            "supply": None if self.supply is None else str(self.supply),
            "issued": None if self.issued is None else str(self.issued),
            "audited_settled": self.audited_settled,
            "added_by_swaps": self.added_by_swaps,
        }


@dataclass(frozen=True, slots=True)
class KillReport:
    """The node that was killed: what it had acknowledged, what the others did meanwhile, what was sent again."""

    currency: str
    answered_before: int
    settled_meanwhile: int
    sent_again: int
    already_decided: int
    recovered_in_ms: int

    def encode(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {
            "currency": self.currency,
            "answered_before": self.answered_before,
            "settled_meanwhile": self.settled_meanwhile,
            "sent_again": self.sent_again,
            "already_decided": self.already_decided,
            "recovered_in_ms": self.recovered_in_ms,
        }


@dataclass(frozen=True, slots=True)
class FinalityReport:
    """What became final, and who was convinced of it without a network; times in ms, as the client had them.

    ``states``: how many receipts are final and anchored, how many final and verified. ``after_kill``: those of relay
    blocks that were agreed after a validator had been killed.
    """

    finalized_height: int
    receipts_verified: int
    states: dict[str, int]
    isolation: str
    validators: int
    killed: int
    after_kill: int
    settled_p50_ms: int
    final_p50_ms: int
    final_max_ms: int

    def encode(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return {
            "validators": self.validators,
            "killed": self.killed,
            "after_kill": self.after_kill,
            "states": self.states,
            "isolation": self.isolation,
            "settled_p50_ms": self.settled_p50_ms,
            "final_p50_ms": self.final_p50_ms,
            "final_max_ms": self.final_max_ms,
        }


@dataclass(slots=True)
class DemoReport:
    """Everything of one run."""

    ledgers: list[LedgerLine]
    refused: dict[str, int]
    kinds: dict[str, int]
    sm2: int
    linked: int
    repeated: int
    file_payments: int
    load_settled: int
    load_elapsed_ms: int
    kill: KillReport
    finality: FinalityReport
    swaps: SwapsReport
    elapsed_ms: int
    phases_ms: dict[str, int]
    problems: list[str] = field(default_factory=list)

    @property
    def settled(self) -> int:
        """Transfers that have their effect, each read back from its node."""
        return sum(line.settled for line in self.ledgers)

    @property
    def acknowledged_lost(self) -> int:
        """Transfers whose acknowledged decision no node shows."""
        return sum(line.lost for line in self.ledgers)

    @property
    def conserved(self) -> bool:
        """Whether the audit of every ledger holds."""
        return all(line.conserved for line in self.ledgers)

    @property
    def transfers_per_s(self) -> int:
        """Transfers of the load that were settled and read back, in the time of the load with its kill and restart."""
        return self.load_settled * 1000 // self.load_elapsed_ms if self.load_elapsed_ms else 0

    @property
    def exit_code(self) -> int:
        """0 when everything is as it must be."""
        return VERIFICATION_FAILED if self.problems else 0

    def encode(self) -> dict[str, Any]:
        """Return the one JSON object of `clearspan demo --json`."""
        return {
            "settled": self.settled,
            "refused": self.refused,
            "acknowledged_lost": self.acknowledged_lost,
            "conserved": self.conserved,
            "transfers_per_s": self.transfers_per_s,
            "elapsed_s": self.elapsed_ms / 1000,
            "finalized_height": self.finality.finalized_height,
            "receipts_verified": self.finality.receipts_verified,
            "swaps_claimed": self.swaps.claimed,
            "swaps_refunded": self.swaps.refunded,
            "swap_receipts_verified": self.swaps.receipts,
            "recovered_in_ms": self.kill.recovered_in_ms,
            "cross_shard": sum(line.cross_shard for line in self.ledgers),
            "sm2": self.sm2,
            "linked": self.linked,
            "kinds": self.kinds,
            "file_payments": self.file_payments,
            "repeated": self.repeated,
            "load": {"settled": self.load_settled, "elapsed_ms": self.load_elapsed_ms},
            "kill": self.kill.encode(),
            "finality": self.finality.encode(),
            "swaps": [payment.encode() for payment in self.swaps.payments],
            "ledgers": [line.encode() for line in self.ledgers],
            "phases_ms": self.phases_ms,
            "problems": self.problems,
            "exit_code": self.exit_code,
        }

    def print(self, console: Console) -> None:
        """Print the page for a person."""
        console.print()
        console.print(self._table())
        for line in self._sentences():
            console.print(line)
        for problem in self.problems:
            console.print(f"FAILED: {problem}", style="bold red")

    def _table(self) -> Table:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name in ("ledger", "settled", "crossing", "refused", "lost", "in circulation", "conserved"):
            table.add_column(name, justify="left" if name == "ledger" else "right", no_wrap=True)
        for line in self.ledgers:
            supply = "-" if line.supply is None else _major(line.supply, line.scale)
            table.add_row(
                line.currency,
                f"{line.settled:,}",
                f"{line.cross_shard:,}",
                f"{line.refused:,}",
                f"{line.lost:,}",
                supply,
                "yes" if line.conserved else "NO",
            )
        return table

    def _sentences(self) -> list[str]:
        kinds = ", ".join(f"{count:,} {name}" for name, count in sorted(self.kinds.items()))
        refused = ", ".join(f"{count} {name}" for name, count in self.refused.items()) or "none"
        kill, final = self.kill, self.finality
        states = ", ".join(f"{count} {state}" for state, count in final.states.items()) or "none"
        without = "in a namespace without a network" if final.isolation == "namespace" else "refusing every socket"
        yes = "yes" if self.conserved else "NO"
        before = f"{kill.already_decided:,} of them had been decided and were paid once"
        return [
            f"Settled    {self.settled:,} transfers, each read back by a second process ({kinds})",
            f"           {self.sm2:,} signed with SM2, {self.linked} in linked runs, {self.file_payments} from files",
            f"Refused    {refused}",
            f"           a payment that came twice was paid once ({self.repeated} answered exists)",
            f"Killed     the {kill.currency} node, by SIGKILL, after {kill.answered_before:,} answers of its load",
            f"           the others settled {kill.settled_meanwhile:,}; it was back in {kill.recovered_in_ms:,} ms",
            f"           {kill.sent_again:,} sent again, the same bytes; {before}",
            f"Final      relay block {final.finalized_height:,} by {final.validators} validators, one of them killed",
            f"           a payment was durable after {final.settled_p50_ms} ms and final after {final.final_p50_ms} ms",
            f"           (median; {final.final_max_ms} ms at most), seal and agreement of the validators included",
            f"Receipts   {final.receipts_verified} of payers, payees and balances convince a process {without}",
            f"           ({states})",
            *self._swap_sentences(),
            f"Lost       {self.acknowledged_lost:,} of what was acknowledged",
            f"Conserved  {yes}: all logs executed again from the first record, every signature checked again",
            f"Speed      {self.transfers_per_s:,} signed and durable transfers a second, kill and restart included",
            f"Time       {self.elapsed_ms / 1000:.1f} s",
        ]

    def _swap_sentences(self) -> list[str]:
        """Say what became of the swaps, with the whole timeline of the longest that arrived and of what came back."""
        swaps = self.swaps
        lines = [
            f"Swapped    {swaps.claimed} payments across currencies, all legs or none; {swaps.refunded} came back",
            f"           ({swaps.receipts} receipts of locks, claims and refunds convince)",
        ]
        arrived = [each for each in swaps.payments if each.outcome == "claimed"]
        shown = [max(arrived, key=lambda each: len(each.path))] if arrived else []
        shown += [each for each in swaps.payments if each.outcome != "claimed"]
        for payment in shown:
            lines.append(f"           {' to '.join(payment.path)}: {payment.outcome} after {payment.took_ms:,} ms")
            lines += [f"           {at:8,} ms  {text}" for at, _, text in payment.timeline]
        return lines


def _major(minor: int, scale: int) -> str:
    whole, fraction = divmod(abs(minor), 10**scale)
    point = f".{fraction:0{scale}d}" if scale else ""
    return f"{'-' if minor < 0 else ''}{whole:,}{point}"
