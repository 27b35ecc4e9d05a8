"""Assets on chains in corridors, quotes and plans (CORRIDOR-15, -16, SWAP-21, -25): one account, one lock, whole seconds."""

from __future__ import annotations

import random

import msgspec
import pytest
from msgspec.structs import replace

from bridge.corridor import decode_document
from bridge.foreign_asset import (
    FOREIGN_LEDGER_FIRST,
    ForeignAccount,
    ForeignAsset,
    account_handle,
    ends_of,
    payer_of,
    place,
    timelocks_of,
)
from bridge.leg import HashFunction
from bridge.margins import Margins, SideMargins, check_timelocks
from bridge.rates import Rate
from bridge.refusals import BridgeCode, BridgeRefused
from bridge.routes import Offer, Purpose, RouteRequest
from bridge.terms import LegTerms, SwapTerms, account_text
from clearspan.bridging.market.foreign_terms import foreign_end, legs_of, plan_swap
from clearspan.bridging.settings.offers import Offers, read_offers, render_offers
from tests.behaviour.bridge_chain_world import CHAIN, ETH, NAMES, asset, corridors
from tests.behaviour.bridge_papers import CNY, FIRST, HKD, NOW, PAYER, SECOND, S, account, document, quote
from tests.behaviour.bridging_world import refused

OUT, BACK = corridors()
PROVIDER = NAMES[FIRST]


def malformed(base, **changes) -> None:
    with pytest.raises(BridgeRefused) as caught:
        msgspec.structs.replace(base, **changes).encode()
        msgspec.json.decode(msgspec.json.encode(msgspec.structs.replace(base, **changes)), type=type(base))
    assert caught.value.code is BridgeCode.CORRIDOR_MALFORMED


def test_a_corridor_to_a_chain_has_one_encoding_and_a_plain_one_is_as_before() -> None:
    """The part foreign stands in the bytes of those that have it alone."""
    assert decode_document(OUT.encode()) == OUT and OUT.asset == asset()
    assert b'foreign":{"memory"' in OUT.encode().replace(b" ", b"")
    plain = document()
    assert plain.asset is None and plain.encode().count(b"foreign") == 1  # of the margins


@pytest.mark.parametrize(
    "changes",
    [
        {"foreign": msgspec.UNSET},
        {"foreign": asset(ledger=ETH + 1)},
        {"foreign": asset(chain="another")},
        {"foreign": asset(providers=(ForeignAccount(SECOND, "x"),))},
        {"source_ledger": ETH + 1},
    ],
)
def test_a_corridor_that_contradicts_itself_is_refused(changes) -> None:
    """Number, margins and providers belong to the asset, and one end is a ledger of ours."""
    malformed(OUT, **changes)


def test_a_corridor_from_a_chain_has_nothing_to_be_paid_beside_the_lock() -> None:
    """A fee or premium there could not be claimed with the lock."""
    malformed(BACK, premium_volatility_ppb=1)


@pytest.mark.parametrize("text", ["", "has space", "é", "x" * 97])
def test_an_account_of_a_chain_is_printable_and_short(text) -> None:
    """As terms carry it."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"participant": 1, "account": text}, ForeignAccount)


def test_numbers_of_assets_are_apart_from_ledgers() -> None:
    """A ledger of a network can be named neither by mistake nor on purpose."""
    fields = msgspec.to_builtins(asset()) | {"ledger": FOREIGN_LEDGER_FIRST - 1}
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(fields, ForeignAsset)


def test_a_handle_stands_for_one_account_however_it_is_written() -> None:
    """Letters of both sizes are one account; another account has another handle."""
    assert account_handle("0xAbC") == account_handle("0xabc") != account_handle("0xabd")
    assert 0 < account_handle("0xabc") < 1 << 128


def swap(*legs) -> SwapTerms:
    return SwapTerms(bytes(16), bytes(32), legs, HashFunction.SHA256, bytes(32), NOW)


HOME = LegTerms(CNY, account_text(account(PAYER, CNY)), account_text(account(FIRST, CNY)), 5, NOW)
AWAY = LegTerms(0, PROVIDER, "a-payee", 7, NOW, chain=CHAIN)


def test_a_leg_is_placed_as_quotes_name_it() -> None:
    """Ours by its numbers, a chain's by the corridor's number and handles; another asset is refused."""
    assert place(HOME, None) == (CNY, account(PAYER, CNY), account(FIRST, CNY))
    assert place(AWAY, asset()) == (ETH, account_handle(PROVIDER), account_handle("a-payee"))
    refused(BridgeCode.LEGS_DO_NOT_MATCH, place, AWAY, None)
    refused(BridgeCode.LEGS_DO_NOT_MATCH, place, replace(AWAY, asset="a-token"), asset())


def test_limits_count_against_who_can_be_told() -> None:
    """The payer where he is ours; of money from a chain the participant that is paid."""
    back = LegTerms(CNY, account_text(account(FIRST, CNY)), account_text(account(31, CNY)), 5, NOW)
    assert payer_of(swap(HOME, AWAY)) == PAYER
    assert payer_of(swap(AWAY, back)) == 31
    assert ends_of(swap(HOME, AWAY)) == (account(PAYER, CNY), account_handle("a-payee"))
    assert ends_of(swap(AWAY, back)) == (account_handle(PROVIDER), account(31, CNY))


def test_timelocks_are_whole_seconds_and_keep_the_whole_margin() -> None:
    """For any instant and any parts the terms pass the check of margins, and never lock longer than was granted."""
    chance = random.Random(11)
    for _ in range(500):
        sides = [SideMargins(*(chance.randrange(10**11) for _ in range(3))) for _ in range(2)]
        margins = Margins(sides[0], {CHAIN: sides[1]}, *(chance.randrange(10**10) for _ in range(3)))
        now, lock_s = NOW + chance.randrange(10**12), chance.randrange(1, 10**5)
        for foreign_first in (False, True):
            home_ns, far_ns = timelocks_of(margins, CHAIN, foreign_first=foreign_first, now_ns=now, lock_s=lock_s)
            assert far_ns % S == 0
            home, away = replace(HOME, timelock_ns=home_ns), replace(AWAY, timelock_ns=far_ns)
            check_timelocks(swap(away, home) if foreign_first else swap(home, away), margins)
            assert min(home_ns, far_ns) <= now + lock_s * S


def request(source: int, target: int, amount: int, *, is_target: bool) -> RouteRequest:
    return RouteRequest(PAYER, 1, 2, source, target, amount, is_target, HashFunction.SHA256, 60, NOW)


def offer(corridor, rate: Rate, **changes) -> Offer:
    fields = {
        "rate": rate, "total_amount": 10**30, "corridor_id": corridor.id_bytes, "hash_functions": 1,
        "provider_source_account": account_handle(PROVIDER), "provider_target_account": account_handle(PROVIDER),
        **changes,
    }  # fmt: skip
    made = quote(corridor.source_ledger, corridor.target_ledger, **fields)
    return Offer(made, corridor, made.total_amount)


def test_nothing_is_transferred_beside_the_lock_on_a_chain() -> None:
    """For any rate and amount: from a chain at most what was named leaves, on one at least what was named arrives."""
    chance = random.Random(12)
    planned = 0
    for _ in range(400):
        rate = Rate.of(chance.randrange(1, 10**6), chance.randrange(1, 10**6))
        amount = chance.randrange(1, 10 ** chance.randrange(1, 12))
        for corridor, begins in ((OUT, False), (BACK, True)):
            for is_target in (False, True):
                pair = corridor.source_ledger, corridor.target_ledger
                try:
                    plan = plan_swap([offer(corridor, rate)], request(*pair, amount, is_target=is_target))
                except BridgeRefused as error:
                    assert error.code in (BridgeCode.NO_ROUTE, BridgeCode.CORRIDOR_LIMIT_EXCEEDED)
                    continue
                planned += 1
                assert not any(each.ledger >= FOREIGN_LEDGER_FIRST for each in plan.transfers)
                delivered = plan.offers[0].quote.delivers(plan.legs[0].amount)
                beside = sum(
                    each.amount
                    for each in plan.transfers
                    if (each.ledger, each.purpose) == (pair[1], Purpose.REMAINDER)
                )
                assert plan.received + beside == delivered
                if is_target:
                    assert plan.received == amount if begins else plan.received >= amount
                else:
                    assert plan.sent <= amount if begins else plan.sent == amount
    assert planned == 1_590, "a remainder on a chain is planned around, not refused"


def test_a_swap_with_a_chain_goes_over_one_quote() -> None:
    """Over two, a provider in the middle would lock for longer than its quote grants."""
    second = document(HKD, CNY, premium_volatility_ppb=0)
    path = [offer(second, Rate.of(1, 1)), offer(OUT, Rate.of(1, 1))]
    assert foreign_end(path)[0] == asset()
    refused(BridgeCode.NO_ROUTE, plan_swap, path, request(HKD, ETH, 10, is_target=False))


def test_legs_name_the_provider_as_the_corridor_does() -> None:
    """The quote's handle must be that of the corridor's account; without a payee on the chain there are no terms."""
    plan = plan_swap([offer(OUT, Rate.of(3, 1))], request(CNY, ETH, 10, is_target=False))
    legs = legs_of(plan, (1, 2), now=NOW, lock_s=60, payee="a-payee", own_account=str)
    assert (legs[1].debit_account, legs[1].credit_account, legs[1].amount) == (PROVIDER, "a-payee", 30)
    refused(BridgeCode.TERMS_MALFORMED, legs_of, plan, (1, 2), now=NOW, lock_s=60, payee="", own_account=str)
    other = plan_swap([offer(OUT, Rate.of(3, 1), provider_target_account=5)], request(CNY, ETH, 10, is_target=False))
    refused(BridgeCode.LEGS_DO_NOT_MATCH, legs_of, other, (1, 2), now=NOW, lock_s=60, payee="x", own_account=str)


def test_offers_take_an_account_of_a_chain(tmp_path) -> None:
    """Written as the chain writes it, kept as its handle, which renders and reads the same."""
    path = tmp_path / "offers.toml"
    address = "0x" + "aB" * 20
    path.write_text(f'format = 1\n[[account]]\nledger = {ETH}\naccount = "{address}"\nkey_id = 0\ninventory = "5"\n')
    offers = read_offers(path)
    assert offers.accounts[0].account == account_handle(address)
    path.write_text(render_offers(offers))
    assert read_offers(path) == offers == Offers(offers.accounts)
