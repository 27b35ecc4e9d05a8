"""What the participant's own accounts did on their ledgers by other ways than this bridge, told to the pattern rules.

It promises that each settled payment of an account that the offers name is told once, oldest first, as far back as the
rules look. What swaps of this bridge lock and claim is left out: the rules know those swaps as a whole. It asks each
account's node, which may see its statement, and believes it: a finding is for people, and decides nothing.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import structlog

from bridge.patterns import Flow
from clearspan.errors import ClientError
from engine.record import Transfer
from engine.types import CreditKind, TransferKind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from clearspan.bridging.lines.ledgers import LedgerPort
    from clearspan.bridging.settings.keys import BridgeKeys
    from clearspan.client.results import TransferView

__all__ = ["OwnFlows"]

_PAUSE_S: Final = 2.0
_PAGE: Final = 500
_PAGES_MAX: Final = 40
_SEEN_MAX: Final = 200_000
_PAID: Final = (TransferKind.PLAIN, TransferKind.POST)
_log = structlog.get_logger("clearspan.bridging")


class OwnFlows:
    """Reads statements of one participant's accounts again and again; ``look`` for one round."""

    def __init__(
        self,
        keys: BridgeKeys,
        ledgers: Mapping[int, LedgerPort],
        saw: Callable[[int, Flow], None],
        window_ns: int,
        now: Callable[[], int],
    ) -> None:
        """Take whose accounts they are, the lines by domain, who is told, and how far back (ns) by our clock."""
        self._keys, self._ledgers, self._saw, self._window_ns, self._now = keys, ledgers, saw, window_ns, now
        self._seen: OrderedDict[bytes, None] = OrderedDict()

    async def run(self) -> None:
        """Look again and again."""
        while True:
            await self.look()
            await asyncio.sleep(_PAUSE_S)

    async def look(self) -> int:
        """Tell what is new on all accounts; return how many flows were told."""
        count = 0
        accounts = self._keys.offers.accounts if self._keys.offers is not None else ()
        for each in accounts:
            port = self._ledgers.get(self._keys.domain_of(each.ledger))
            if port is None:
                continue
            try:
                found = await self._fresh(port, each.account)
            except ClientError as error:
                _log.warning("statement_not_read", ledger=each.ledger, reason=str(error))
                continue
            for view in reversed(found):
                flow = _flow_of(view, each.account)
                if flow is not None:
                    self._saw(each.ledger, flow)
                    count += 1
        return count

    async def _fresh(self, port: LedgerPort, account: int) -> list[TransferView]:
        """Return what was not seen yet and is not too old, newest first."""
        found: dict[bytes, TransferView] = {}
        after, oldest = b"", self._now() - self._window_ns
        for _ in range(_PAGES_MAX):
            page = await port.client.statement_page(account, after=after, limit=_PAGE)
            for view in page.transfers:
                name = view.digest + account.to_bytes(16, "little")
                if name in self._seen or view.time < oldest:
                    return self._take(found)
                if view.settled:  # else refused; or held, and then not counted if it is released later
                    found[name] = view
            after = page.next
            if not after:
                break
        return self._take(found)

    def _take(self, found: dict[bytes, TransferView]) -> list[TransferView]:
        """Know what was read to its end: of a statement that broke off the newest would hide what is behind it."""
        for name in reversed(found):
            self._seen[name] = None
            if len(self._seen) > _SEEN_MAX:
                self._seen.popitem(last=False)
        return list(found.values())


def _flow_of(view: TransferView, account: int) -> Flow | None:
    """Return a payment of or to an account as a flow, None for what moves nothing or is of a swap of this bridge."""
    body = view.body
    if isinstance(body, Transfer):
        incoming = body.credit_account == account
        paid = body.kind in _PAID or (body.kind == TransferKind.CLAIM and incoming)
        if not paid:
            return None
    elif body.kind is CreditKind.RETURN:
        return None
    return Flow(view.digest, body.debit_account, body.credit_account, body.amount, view.time)
