"""A provider's quotes on its own ledger: what is left of each is kept there too, beside the desk's own book.

The desk refuses a draw beyond a quote's total before anything is locked; the ledger refuses the lock itself, whatever a
desk believes. It promises that a ledger which takes no more quotes costs nothing but this second guard.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import structlog

from bridge.foreign_asset import FOREIGN_LEDGER_FIRST
from clearspan.administration import RingKey, signed_columns
from clearspan.errors import ClientError
from clearspan.signer import new_transfer_id
from clearspan.supervision import quote_open
from engine.admin import AdminRequest
from engine.codes import ResultCode, code_name
from engine.types import ADMIN_WINDOW_S, NS_PER_S

if TYPE_CHECKING:
    from bridge.quotes import Quote
    from clearspan.bridging.lines.ledgers import LedgerPort
    from clearspan.bridging.settings.keys import BridgeKeys
    from engine.genesis import Genesis
    from engine.types import AdminType

__all__ = ["LedgerQuotes"]

_EXPIRES_AFTER_S: Final = 600
_log = structlog.get_logger("clearspan.bridging")


class LedgerQuotes:
    """Opens quotes on the ledgers of a provider's accounts, signed by the accounts' own keys."""

    def __init__(self, genesis: Genesis, keys: BridgeKeys, ports: dict[int, LedgerPort]) -> None:
        """Take the keys and the lines to the nodes, by domain."""
        self._genesis, self._keys, self._ports = genesis, keys, ports

    def request(self, kind: AdminType, **fields: int | bytes) -> AdminRequest:
        """Return a request with a new id, valid from now on."""
        return AdminRequest(
            id=new_transfer_id(),
            type=kind,
            expires_at=time.time_ns() + _EXPIRES_AFTER_S * NS_PER_S,
            valid_for_s=ADMIN_WINDOW_S,
            **fields,  # type: ignore[arg-type]  # the caller names fields of AdminRequest
        )

    async def open(self, quote: Quote) -> bool:
        """Have the target ledger keep what is left of a quote; say whether it does."""
        ledger, account = quote.target_ledger, quote.provider_target_account
        if ledger >= FOREIGN_LEDGER_FIRST:
            return False  # a chain keeps no quotes: there the desk alone does
        domain = self._keys.domain_of(ledger)
        # A swap that drew in the last moment still locks, for as long as its timelock may be away.
        request = quote_open(
            self,
            quote=quote.id,
            account=account,
            ledger=ledger,
            total=quote.delivers(quote.total_amount),
            until_ns=quote.expires_at + quote.lock_s * NS_PER_S,
        )
        ring = self._keys.ring(domain)
        key = RingKey(ring, ring.index_of(self._keys.key_of(ledger, account)))
        try:
            answer = await self._ports[domain].client.administer(signed_columns(self._genesis, [request], [key]))
        except (ClientError, KeyError) as error:
            _log.warning("quote_not_on_ledger", quote=f"{quote.id:032x}", reason=str(error))
            return False
        code = int(answer.codes[0])
        if code != ResultCode.CREATED:
            _log.warning("quote_not_on_ledger", quote=f"{quote.id:032x}", reason=code_name(code))
        return code == ResultCode.CREATED
