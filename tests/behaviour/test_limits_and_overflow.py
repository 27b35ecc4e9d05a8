"""Amounts at their edges: no sum wraps, no total overflows, every bound refuses with its own code."""

from __future__ import annotations

import pytest

from native.codes import ResultCode as Code
from tests.model import record as r
from tests.model.accounts import channel_account_id
from tests.model.credits import CLAIM_MESSAGE, CREDIT_MESSAGE, Message
from tests.model.fixtures import bank, mode, opened  # noqa: F401
from tests.model.stage import ALICE, BOB, CAROL, CNY, DOMAIN, ISSUER_ACCOUNT, KEYS, account_on

TOTAL_MAX = 2**127 - 1
EDGES = (1, 2**64 - 1, 2**64, 2**127 - 1, 2**127, 2**128 - 1)


def issue(stage, amount, to=ALICE):
    """Returns the code of the pending; a post follows if it was created."""
    pending = stage.pending(debit_account=ISSUER_ACCOUNT, credit_account=to, amount=amount, key_id=KEYS["issuer_a"])
    code = stage.code(pending)
    if code == Code.CREATED:
        assert stage.code(stage.post(pending, key_id=KEYS["issuer_b"])) == Code.CREATED
    return code


@pytest.fixture
def wide(opened):
    """A ledger whose amount_max is no bound; nothing is issued yet."""
    return opened(amount_max=TOTAL_MAX).furnish(0)


def test_amount_max_is_the_last_amount(bank):
    """Step 11, before anything that depends on the state."""
    assert bank.code(bank.plain(amount=10**18)) == Code.AMOUNT_EXCEEDS_LEDGER_MAX
    assert bank.code(bank.plain(amount=10**18 - 1)) == Code.INSUFFICIENT_FUNDS


@pytest.mark.parametrize("amount", [2**127, 2**128 - 1])
def test_no_amount_passes_the_largest_amount_max(wide, amount):
    assert wide.code(wide.plain(amount=amount)) == Code.AMOUNT_EXCEEDS_LEDGER_MAX


def test_the_total_of_a_ledger_reaches_its_bound_and_no_further(wide):
    """LEDGER-3: debits posted + pending + amount <= 2^127 - 1."""
    assert issue(wide, TOTAL_MAX - 1) == Code.CREATED
    assert issue(wide, 2) == Code.OVERFLOWS_LEDGER_TOTAL
    assert issue(wide, 1) == Code.CREATED
    assert wide.code(wide.plain(amount=1)) == Code.OVERFLOWS_LEDGER_TOTAL


def test_pendings_count_towards_the_total(wide):
    """LEDGER-3."""
    pending = wide.pending(
        debit_account=ISSUER_ACCOUNT, credit_account=ALICE, amount=TOTAL_MAX, key_id=KEYS["issuer_a"]
    )
    assert wide.code(pending) == Code.CREATED
    assert issue(wide, 1) == Code.OVERFLOWS_LEDGER_TOTAL
    assert wide.code(wide.post(pending, amount=1, key_id=KEYS["issuer_b"])) == Code.CREATED
    assert issue(wide, TOTAL_MAX - 1) == Code.CREATED


def test_totals_of_two_ledgers_are_two(wide):
    assert issue(wide, TOTAL_MAX) == Code.CREATED
    hkd = account_on(0, 11), account_on(0, 20, 5)
    assert wide.open(hkd[0], ledger=344).code == Code.CREATED
    assert wide.open(hkd[1], "bank", ledger=344).code == Code.CREATED
    pending = wide.pending(
        debit_account=hkd[0], credit_account=hkd[1], ledger=344, amount=TOTAL_MAX, key_id=KEYS["issuer_hkd"]
    )
    assert wide.code(pending) == Code.CREATED


@pytest.mark.parametrize("amount", EDGES)
def test_a_credit_limit_of_any_width_does_not_wrap(wide, amount):
    """LEDGER-2 in exact integers: credits posted + credit_limit may pass 2^128."""
    assert issue(wide, 2**126) == Code.CREATED
    assert wide.limits(ALICE, credit_limit=amount).code == Code.CREATED
    expected = Code.INSUFFICIENT_FUNDS if 2**126 - 1 > amount + 2**126 else Code.CREATED
    assert wide.code(wide.plain(amount=2**126 - 1)) == expected


@pytest.mark.parametrize("bound", [2**64 - 1, 2**64, 2**127 - 1, 2**128 - 1])
def test_a_balance_max_of_any_width_does_not_wrap(wide, bound):
    """LEDGER-2, the credit side, in exact integers."""
    assert wide.limits(BOB, balance_max=bound).code == Code.CREATED
    assert issue(wide, min(bound, TOTAL_MAX), BOB) == Code.CREATED
    expected = Code.OVERFLOWS_LEDGER_TOTAL if bound >= TOTAL_MAX else Code.EXCEEDS_BALANCE_MAX
    assert issue(wide, 1, BOB) == expected


def test_what_the_payee_paid_out_may_exceed_what_it_was_paid(wide):
    """LEDGER-2: the credit side goes below zero on a credit line, without a wrap."""
    assert wide.limits(BOB, credit_limit=500, balance_max=10).code == Code.CREATED
    spend = wide.plain(debit_account=BOB, credit_account=ALICE, key_id=KEYS["other"], amount=500)
    assert wide.code(spend) == Code.CREATED
    assert issue(wide, 511, BOB) == Code.EXCEEDS_BALANCE_MAX
    assert issue(wide, 510, BOB) == Code.CREATED


def test_a_post_passes_no_bound_that_its_pending_kept(wide):
    """LEDGER-3: post moves what was reserved, so it never overflows."""
    assert issue(wide, TOTAL_MAX) == Code.CREATED
    assert wide.balance(ALICE) == (0, 0, 0, TOTAL_MAX)


def message(stage, sequence, amount, kind=CREDIT_MESSAGE, to=CAROL):
    return Message(sequence, kind, 0, CNY, ALICE, to, amount, 0, bytes(32), stage.now).pack()


def test_a_credit_that_overflows_the_total_returns(wide):
    """LEDGER-50, LEDGER-51: it is refused at 2^127 - 1, and its return goes past that bound."""
    shard, peer = wide.shards[1], DOMAIN << 8
    assert shard.apply_credits(peer, message(wide, 1, TOTAL_MAX), wide.now) == [Code.CREDITED]
    assert shard.apply_credits(peer, message(wide, 2, 1), wide.now) == [Code.OVERFLOWS_LEDGER_TOTAL]
    mirror = channel_account_id(CNY, peer)
    assert wide.balance(mirror, 1) == (0, TOTAL_MAX + 1, 0, 1)


def test_a_claim_that_overflows_the_total_lands_in_suspense(wide):
    """LEDGER-50: the same check, and it must land somewhere; LEDGER-51: up to 2^128 - 1."""
    shard, peer = wide.shards[1], DOMAIN << 8
    assert shard.apply_credits(peer, message(wide, 1, TOTAL_MAX), wide.now) == [Code.CREDITED]
    second = message(wide, 2, TOTAL_MAX, CLAIM_MESSAGE)
    assert shard.apply_credits(peer, second, wide.now) == [Code.CREDITED_TO_SUSPENSE]


def test_past_the_last_bound_the_machine_stops(wide):
    """LEDGER-51: an invariant, not a refusal."""
    shard, peer = wide.shards[1], DOMAIN << 8
    shard.apply_credits(peer, message(wide, 1, TOTAL_MAX), wide.now)
    shard.apply_credits(peer, message(wide, 2, TOTAL_MAX, CLAIM_MESSAGE), wide.now)
    with pytest.raises(Exception, match=r"(?i)wrap|total|overflow|bits"):
        shard.apply_credits(peer, message(wide, 3, TOTAL_MAX, CLAIM_MESSAGE), wide.now)
    wide.shards.clear()


def test_accounts_are_bounded(opened):
    """ADMIN-2, type 5: accounts_max counts all leaves, and `accounts_full` burns nothing."""
    stage = opened(accounts_max=4)  # two channel accounts
    assert stage.open(ALICE, "bank").code == stage.open(BOB, "other").code == Code.CREATED
    request = stage.request(5, participant=20, subject=account_on(0, 20, 3), ledger=CNY, key_id=KEYS["bank"])
    assert [stage.administer(request, "bank_registrar").code for _ in range(2)] == [Code.ACCOUNTS_FULL] * 2


def test_a_batch_of_edges_conserves_value(wide):
    """Every pair of edges as amounts of a pending and its post."""
    assert wide.limits(ALICE, credit_limit=2**128 - 1).code == Code.CREATED
    for first in EDGES[:4]:
        for second in EDGES[:4]:
            pending = wide.pending(r.PAYER_POSTS | r.PAYER_VOIDS, amount=first)
            wide.send(pending, wide.post(pending, amount=second), wide.void(pending))
    assert wide.shards[0].check_invariants() == []
