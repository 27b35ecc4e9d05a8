"""Envelopes of the swaps of one bridge: sealed for every hop of a payer's route, demanded by each provider for his own.

It promises that what is sealed is what was ordered: the parties of the data are those that are paid, screened and
named in the order, or nothing is sealed. Who pays whom is held in memory only until it is sealed, and is never logged.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from bridge.journal import read_begun
from bridge.ports import EntryKind
from bridge.refusals import BridgeCode, BridgeRefused
from bridge.travel_route import HopRule, SealedPayment, demand_part, demand_sheaf, join_sheaf, seal_route, sheaf_hash
from bridge.travel_rule import Seeds
from clearspan.bridging.journal.book import NoteKind
from engine.record import participant_of_account
from engine.types import ZERO_HASH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bridge.corridor import CorridorDocument
    from bridge.routes import Plan
    from bridge.terms import SwapTerms
    from bridge.travel_route import PaymentParties
    from clearspan.bridging.journal.store import JournalStore
    from clearspan.bridging.market.order import Order
    from engine.genesis import Genesis

__all__ = ["demand_hop", "demand_route", "names_of", "papers_of", "seal_for"]

_SEED_BYTES = 32


def seal_for(genesis: Genesis, order: Order, plan: Plan, salt: bytes) -> tuple[bytes, bytes]:
    """Return the envelopes of a plan's hops and the hash for its terms; of an order without data what it names.

    Raises BridgeRefused: travel_rule_mismatch for data about other participants than those of the order's accounts.
    """
    if order.parties is None:
        return b"", order.travel_rule_hash
    _demand_same(order, order.parties)
    payment = SealedPayment(
        order.uetr,
        plan.sent,
        plan.received,
        plan.offers[0].quote.source_ledger,
        plan.offers[-1].quote.target_ledger,
        salt,
    )
    hops = [offer.document.recipients() for offer in plan.offers]
    envelopes = seal_route(order.parties, payment, hops, genesis.hash, [_seeds() for _ in hops])
    return join_sheaf(envelopes), sheaf_hash(genesis.hash_suite, envelopes)


def names_of(order: Order, names: tuple[str, str], sealed_elsewhere: bytes, *, are_screened: bool) -> tuple[str, str]:
    """Return the names that are screened: those of the data, where the order has some.

    Raises BridgeRefused (travel_rule_mismatch) where the order names others than its data, and, where names are
    screened, for an envelope that was sealed elsewhere: nobody here can say that it holds the same names.
    """
    if order.parties is None:
        if sealed_elsewhere and are_screened:
            text = "names are screened here, and those in a sealed envelope cannot be compared: give the data"
            raise BridgeRefused(BridgeCode.TRAVEL_RULE_MISMATCH, text)
        return names
    if sealed_elsewhere:
        raise BridgeRefused(BridgeCode.TRAVEL_RULE_MISMATCH, "the order has data and an envelope: one of them is asked")
    found = order.parties.originator.name, order.parties.beneficiary.name
    for who, named, sealed in zip(("payer", "payee"), names, found, strict=True):
        if named not in ("", sealed):
            text = f"the {who} of the order is named otherwise than in its travel-rule data"
            raise BridgeRefused(BridgeCode.TRAVEL_RULE_MISMATCH, text)
    return found


def demand_route(genesis: Genesis, terms: SwapTerms, documents: Sequence[CorridorDocument], sheaf: bytes) -> None:
    """Demand the envelopes of all hops, as their payer. Raises BridgeRefused (travel_rule_missing, terms_malformed)."""
    if not sheaf and terms.travel_rule_hash == ZERO_HASH:
        needed = [hop for hop, each in enumerate(documents) if each.needs_travel_rule(terms.legs[hop].amount)]
        if not needed:
            return  # none is named, shown or needed
    rules = [_rule(document, terms, hop) for hop, document in enumerate(documents)]
    if rules:
        demand_sheaf(genesis.hash_suite, genesis.hash, terms.travel_rule_hash, sheaf, rules)


def demand_hop(genesis: Genesis, terms: SwapTerms, leg: int, document: CorridorDocument, part: bytes) -> None:
    """Demand what the provider of a leg is shown of the envelopes. Raises BridgeRefused (travel_rule_missing)."""
    if not part and terms.travel_rule_hash == ZERO_HASH and not document.needs_travel_rule(terms.legs[leg - 1].amount):
        return  # none is named, shown or needed
    rule = _rule(document, terms, leg - 1)
    demand_part(genesis.hash_suite, genesis.hash, terms.travel_rule_hash, part, rule)


def papers_of(store: JournalStore, party: bytes) -> tuple[bytes, bytes]:
    """Return the envelopes of a payer's swap, and the salt of its secret once a final relay block has shown that."""
    notes = {note.kind: note.data for note in store.notes_of(party)}
    entries = store.entries_of(party)
    is_public = NoteKind.PREIMAGE in notes and bool(entries) and entries[0].kind is EntryKind.BEGUN
    return notes.get(NoteKind.TRAVEL_RULE, b""), read_begun(entries[0].body)[0] if is_public else b""


def _rule(document: CorridorDocument, terms: SwapTerms, hop: int) -> HopRule:
    is_needed = document.needs_travel_rule(terms.legs[hop].amount)
    return HopRule(hop, len(terms.legs) - 1, document.recipients(), is_needed)


def _demand_same(order: Order, parties: PaymentParties) -> None:
    """Compare the participants of the data with those whose accounts are debited and credited on our ledgers."""
    for who, account, named in (
        ("originator", order.debit_account, parties.originator.participant),
        ("beneficiary", order.credit_account, parties.beneficiary.participant),
    ):
        if account and participant_of_account(account) != named:
            text = f"the {who}'s participant is {named}, and the account is of {participant_of_account(account)}"
            raise BridgeRefused(BridgeCode.TRAVEL_RULE_MISMATCH, text)


def _seeds() -> Seeds:
    first, second, third = (secrets.token_bytes(_SEED_BYTES) for _ in range(3))
    return Seeds(first, (second, third))
