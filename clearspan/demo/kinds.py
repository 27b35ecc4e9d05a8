"""Every kind of transfer that one domain offers, once or more: holds, posts, voids, an expiry, runs that hold and fail.

It promises what each answer must be beside the records themselves. It picks accounts by slot, because a run stays on
one shard, and sends nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from engine.types import TransferFlag, TransferKind
from shards.slots import SlotMap

if TYPE_CHECKING:
    from clearspan.population import Crowd
    from clearspan.signer import Signer
    from engine.genesis import Genesis
    from engine.record import Transfer

__all__ = ["KindsScript", "Step"]

_AMOUNT: Final = 25_000
_CODE: Final = 900
"""Purpose code of these transfers."""


@dataclass(frozen=True, slots=True)
class Step:
    """Transfers that are submitted as one batch and the codes with which they must be answered."""

    title: str
    transfers: tuple[Transfer, ...]
    codes: tuple[str, ...]


class KindsScript:
    """The steps of one domain, in order; the late post comes when the hold's time is over."""

    def __init__(self, genesis: Genesis, crowd: Crowd, signer: Signer, window_s: int, timeout_ms: int) -> None:
        """Choose the accounts. Raises ValueError where a crowd is too small to have three on one shard."""
        self._crowd = crowd
        self._signer = signer
        self._window_s = window_s
        self._timeout_ns = timeout_ms * 1_000_000
        self._keys = {
            account: int(member.ring[index].key_id)
            for member in crowd.members
            for account, index in member.accounts.items()
        }
        slots = SlotMap.of(genesis, crowd.domain)
        by_shard: dict[int, list[int]] = {}
        for account in self._keys:
            by_shard.setdefault(slots.shard_of(account.to_bytes(16, "little")), []).append(account)
        near, *others = sorted(by_shard.values(), key=len, reverse=True)
        if len(near) < 4 or not others:
            message = "the crowd has no four accounts on one shard and one on another"
            raise ValueError(message)
        self._near = near
        self._far = others[0][0]
        self._expiring = self._transfer(
            near[0], near[1], TransferKind.PENDING, TransferFlag.PAYER_MAY_POST, until=self._timeout_ns
        )

    @property
    def expiring(self) -> Transfer:
        """The hold that nobody posts in time."""
        return self._expiring

    def steps(self) -> list[Step]:
        """Return what is submitted at once, in order."""
        return [self._holds(), self._ends(), self._run(), self._failing_run()]

    def late_post(self) -> Step:
        """Return a post of the hold that has expired by then."""
        return Step("a post that comes too late", (self._end(self._expiring, TransferKind.POST),), ("pending_expired",))

    def payment(self) -> Step:
        """Return a plain payment to an account on another shard; a new one each time."""
        transfer = self._transfer(self._near[0], self._far, TransferKind.PLAIN)
        return Step("a payment to another shard", (transfer,), ("created_in_transit",))

    def _holds(self) -> Step:
        first, second, third, _ = self._near[:4]
        post_by_payee = TransferFlag.PAYEE_MAY_POST | TransferFlag.PAYER_MAY_VOID
        post_by_payer = TransferFlag.PAYER_MAY_POST | TransferFlag.PAYER_MAY_VOID
        self._whole = self._transfer(first, second, TransferKind.PENDING, post_by_payee)
        self._partly = self._transfer(second, third, TransferKind.PENDING, post_by_payer)
        self._dropped = self._transfer(third, first, TransferKind.PENDING, post_by_payer)
        self._across = self._transfer(first, self._far, TransferKind.PENDING, post_by_payer)
        holds = (self._whole, self._partly, self._dropped, self._across, self._expiring)
        return Step("holds", holds, ("created",) * len(holds))

    def _ends(self) -> Step:
        ends = (
            # The payee takes the whole of it with its own key, the payer posts a part, another is given up.
            replace(self._end(self._whole, TransferKind.POST), key_id=self._keys[self._whole.credit_account]),
            self._end(self._partly, TransferKind.POST, self._partly.amount // 2),
            self._end(self._dropped, TransferKind.VOID),
            self._end(self._across, TransferKind.POST),
        )
        return Step("posts and a void", ends, ("created", "created", "created", "created_in_transit"))

    def _run(self) -> Step:
        return Step("a linked run", self._linked((_AMOUNT, _AMOUNT, _AMOUNT)), ("created",) * 3)

    def _failing_run(self) -> Step:
        too_much = 10**17
        codes = ("linked_event_failed", "insufficient_funds", "linked_event_failed")
        return Step("a linked run that fails whole", self._linked((_AMOUNT, too_much, _AMOUNT)), codes)

    def _linked(self, amounts: tuple[int, ...]) -> tuple[Transfer, ...]:
        members = [
            self._transfer(debit, credit, TransferKind.PLAIN, TransferFlag.LINKED, amount=amount)
            for (debit, credit), amount in zip(pairwise(self._near[:4]), amounts, strict=True)
        ]
        members[-1] = replace(members[-1], flags=members[-1].flags & ~int(TransferFlag.LINKED))
        return tuple(members)

    def _transfer(  # noqa: PLR0917 - the fields of a record in their order
        self,
        debit: int,
        credit: int,
        kind: TransferKind,
        flags: TransferFlag = TransferFlag(0),  # noqa: B008 - an immutable number
        amount: int = _AMOUNT,
        until: int = 0,
    ) -> Transfer:
        plain = self._signer.transfer(
            debit_account=debit,
            credit_account=credit,
            amount=amount,
            ledger=self._crowd.accounts.ledger,
            key_id=self._keys[debit],
            valid_for_s=self._window_s,
        )
        return replace(plain, flags=int(kind) | int(flags), until=until, code=_CODE)

    def _end(self, pending: Transfer, kind: TransferKind, amount: int | None = None) -> Transfer:
        taken = pending.amount if amount is None else amount
        ended = self._transfer(pending.debit_account, pending.credit_account, kind, amount=taken)
        return replace(ended, reference=pending.id)
