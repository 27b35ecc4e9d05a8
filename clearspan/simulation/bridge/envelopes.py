"""Travel-rule data of a seed's swaps: sealed for every hop before a swap begins, and read by supervisors afterwards.

What is sealed here goes through the demands that the bridge makes; what is wrong with it on purpose is said by name.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from bridge.terms import account_text
from bridge.travel_route import PaymentParties, SealedPayment, seal_route, sheaf_hash
from bridge.travel_rule import ENVELOPE_BYTES_MAX, Party, Seeds
from clearspan.bridging.market.order import Order
from clearspan.simulation.bridge.names import names_of
from clearspan.simulation.bridge.papers import Spoilt

if TYPE_CHECKING:
    from bridge.travel_rule import Recipient
    from clearspan.simulation.bridge.market import Market, Purchase
    from clearspan.simulation.bridge.stage import Stage

__all__ = ["with_papers"]


def with_papers(stage: Stage, market: Market, purchase: Purchase, salt: bytes, spoilt: Spoilt) -> Purchase:
    """Return a purchase with its order, and the envelopes of its hops where a corridor of the seed asks for some."""
    uetr = hashlib.sha256(f"uetr {stage.plan.seed} {purchase.number}".encode()).digest()[:16]
    route, plan = purchase.route, stage.plan
    parties = _parties(stage, market) if plan.papers.travel_from else None
    order = Order(
        uetr,
        market.account(market.ledgers[0], 0),
        market.account(market.ledgers[-1], plan.legs),
        plan.deal.amount,
        is_target=plan.deal.is_target,
        quotes=purchase.encoded,
        hash_function=plan.function,
        parties=parties,
    )
    purchase = replace(purchase, order=order, envelopes=(), named=bytes(32))
    if parties is None or spoilt is Spoilt.MISSING:
        return purchase
    hops = [market.recipients(hop) for hop in range(1, plan.legs)]
    if spoilt is Spoilt.ELSEWHERE:
        hops = [_strangers(each) for each in hops]
    payment = SealedPayment(uetr, route.sent, route.received, market.ledgers[0], market.ledgers[-1], salt)
    seeds = [_seeds(stage, purchase.number, hop) for hop in range(len(hops))]
    envelopes = seal_route(parties, payment, hops, stage.realm.genesis.hash, seeds)
    if spoilt is Spoilt.OVERSIZED:
        envelopes = tuple(each + bytes(ENVELOPE_BYTES_MAX + 1 - len(each)) for each in envelopes)
    elif spoilt is Spoilt.SWAPPED and len(envelopes) > 1:
        envelopes = (*envelopes[1:], envelopes[0])
    named = sheaf_hash(stage.suite, envelopes)
    if spoilt is Spoilt.CHANGED or (spoilt is Spoilt.SWAPPED and len(envelopes) == 1):
        envelopes = tuple(each[:-1] + bytes([each[-1] ^ 1]) for each in envelopes)
    return replace(purchase, envelopes=envelopes, named=named)


def _parties(stage: Stage, market: Market) -> PaymentParties:
    payer, payee = names_of(stage.plan.papers.listed)
    ends = ((payer, 0, 0), (payee, -1, stage.plan.legs))
    first, second = (
        Party(
            name=name,
            account=account_text(market.account(market.ledgers[at], bank)),
            participant=market.participant(bank),
            country="CN",
            address="1 Harbour Road",
        )
        for name, at, bank in ends
    )
    return PaymentParties(1, first, second, "invoice 4711")


def _strangers(recipients: tuple[Recipient, ...]) -> tuple[Recipient, ...]:
    return tuple(replace(each, key_id=each.key_id + 100) for each in recipients)


def _seeds(stage: Stage, number: int, hop: int) -> Seeds:
    # Amounts change with the quotes: the same seeds must never be used for other data.
    stage.sealed += 1
    name = f"envelope {stage.plan.seed} {number} {hop} {stage.sealed}"
    first, second, third = (hashlib.sha256(f"{name} {each}".encode()).digest() for each in range(3))
    return Seeds(first, (second, third))
