"""Plans and terms of swaps that begin or end on a chain: amounts without anything left beside the lock, two timelocks.

It promises that nothing is planned on a chain but the one lock, that a provider's account there is the one that the
corridor names and his quote is signed for, and that the timelocks keep the corridor's whole margin. It locks nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs

from bridge.foreign_asset import FOREIGN_LEDGER_FIRST, account_handle, timelocks_of
from bridge.refusals import BridgeCode, BridgeRefused
from bridge.routes import plan_path
from bridge.terms import LegTerms, account_text
from engine.types import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bridge.foreign_asset import ForeignAsset
    from bridge.quotes import Quote
    from bridge.routes import Offer, Plan, RouteRequest

__all__ = ["foreign_end", "legs_of", "plan_swap"]


def foreign_end(path: Sequence[Offer]) -> tuple[ForeignAsset | None, bool]:
    """Return the asset on a chain at an end of a path, None without one, and whether it is where the path begins."""
    for at in (0, -1):
        asset = path[at].document.asset
        if asset is not None:
            return asset, asset.ledger == path[at].quote.source_ledger
    return None, False


def plan_swap(path: Sequence[Offer], request: RouteRequest) -> Plan:
    """Plan a path as `bridge.routes.plan_path`, with nothing beside the lock on a chain. Raises BridgeRefused.

    From a chain less than was named may leave the payer, never more: what buys no further minor unit stays with him. On
    a chain more than was named may reach the payee, never less: what a rate leaves over is his.
    """
    asset, begins = foreign_end(path)
    plan = plan_path(path, request)
    if asset is None:
        return plan
    if len(path) > 1:
        raise BridgeRefused(BridgeCode.NO_ROUTE, "a swap with a chain goes over one quote")
    received = plan.received if begins else path[-1].quote.delivers(plan.legs[-2].amount)
    if begins or received != plan.received:
        plan = plan_path(path, structs.replace(request, amount=received, is_target=True))
    if any(each.ledger >= FOREIGN_LEDGER_FIRST for each in plan.transfers):
        text = f"on chain {asset.chain} nothing is transferred beside the lock: no fee, premium or remainder"
        raise BridgeRefused(BridgeCode.NO_ROUTE, text)
    return plan


def legs_of(
    plan: Plan,
    user_data: Sequence[int],
    *,
    now: int,
    lock_s: int,
    payee: str,
    own_account: Callable[[str], str],
) -> tuple[LegTerms, ...]:
    """Return a plan's legs as terms say them.

    ``payee`` is who is paid on a chain, ``own_account`` our account there. Raises BridgeRefused: terms_malformed
    without a payee, legs_do_not_match for a provider whose quote is signed for another account than the corridor has.
    """
    asset, begins = foreign_end(plan.offers)
    home_ns = foreign_ns = now + lock_s * NS_PER_S
    if asset is not None:
        margins = plan.offers[0].document.margins_of()
        home_ns, foreign_ns = timelocks_of(margins, asset.chain, foreign_first=begins, now_ns=now, lock_s=lock_s)
    legs = []
    for leg, data in zip(plan.legs, user_data, strict=True):
        if asset is None or leg.ledger != asset.ledger:
            if not leg.debit_account or not leg.credit_account:
                raise BridgeRefused(BridgeCode.TERMS_MALFORMED, f"an account on ledger {leg.ledger} is not named")
            debit, credit = account_text(leg.debit_account), account_text(leg.credit_account)
            legs.append(LegTerms(leg.ledger, debit, credit, leg.amount, home_ns, data))
            continue
        provider = _provider_account(plan.offers[0].quote, asset, begins=begins)
        debit, credit = (own_account(asset.chain), provider) if begins else (provider, payee)
        if not credit:
            raise BridgeRefused(BridgeCode.TERMS_MALFORMED, f"who is paid on chain {asset.chain} is not named")
        legs.append(LegTerms(0, debit, credit, leg.amount, foreign_ns, data, asset.chain, asset.asset))
    return tuple(legs)


def _provider_account(quote: Quote, asset: ForeignAsset, *, begins: bool) -> str:
    account = asset.account_of(quote.provider)
    signed = quote.provider_source_account if begins else quote.provider_target_account
    if account_handle(account) != signed:
        text = f"quote {quote.id:032x} is signed for another account on chain {asset.chain} than the corridor names"
        raise BridgeRefused(BridgeCode.LEGS_DO_NOT_MATCH, text)
    return account
