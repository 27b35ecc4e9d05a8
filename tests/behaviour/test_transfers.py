"""Plain transfers: what moves, what the two sides must look like, and what is refused for their state."""

from __future__ import annotations

from dataclasses import replace

from native.codes import ResultCode as Code
from tests.model import record as r
from tests.model.accounts import channel_account_id
from tests.model.fixtures import bank, mode, opened  # noqa: F401
from tests.model.stage import ALICE, ALICE_2, BOB, CAROL, CNY, DAVE, DOMAIN, HKD, ISSUER_ACCOUNT, KEYS, account_on


def test_a_transfer_moves_its_amount_and_nothing_else(bank):
    """LEDGER-2, LEDGER-3."""
    before = bank.shards[0].accounts()
    assert bank.code(bank.plain(amount=300)) == Code.CREATED
    assert bank.balance(ALICE) == (0, 300, 0, 1000)
    assert bank.balance(BOB) == (0, 0, 0, 300)
    after = bank.shards[0].accounts()
    assert {id_ for id_ in after if after[id_] != before[id_]} == {ALICE, BOB}


def test_answers_come_in_order_one_for_each_request(bank):
    """Each request has its own code, a refused one does not touch the next."""
    first, second = bank.plain(amount=900), bank.plain(amount=200)
    third = bank.plain(amount=100)
    assert bank.codes(first, second, third) == [Code.CREATED, Code.INSUFFICIENT_FUNDS, Code.CREATED]
    assert bank.balance(ALICE)[1] == 1000


def test_money_received_in_a_batch_can_be_spent_in_it(bank):
    there, back = bank.plain(amount=1000), bank.plain(debit_account=BOB, credit_account=ALICE, key_id=KEYS["other"])
    assert bank.codes(there, replace(back, amount=1000)) == [Code.CREATED] * 2
    assert bank.balance(ALICE) == (0, 1000, 0, 2000)


def test_the_last_unit_can_be_spent_and_not_one_more(bank):
    """LEDGER-2: the balance rule at its edge."""
    assert bank.code(bank.plain(amount=1001)) == Code.INSUFFICIENT_FUNDS
    assert bank.code(bank.plain(amount=1000)) == Code.CREATED
    assert bank.code(bank.plain(amount=1)) == Code.INSUFFICIENT_FUNDS


def test_a_reservation_counts_against_the_balance(bank):
    """LEDGER-2: debits pending count as much as debits posted."""
    assert bank.code(bank.pending(amount=600)) == Code.CREATED
    assert bank.code(bank.plain(amount=401)) == Code.INSUFFICIENT_FUNDS
    assert bank.code(bank.plain(amount=400)) == Code.CREATED


def test_money_on_its_way_in_cannot_be_spent(bank):
    """LEDGER-2: credits pending do not count."""
    assert bank.code(bank.pending(amount=600)) == Code.CREATED
    spend = bank.plain(debit_account=BOB, credit_account=ALICE, key_id=KEYS["other"], amount=1)
    assert bank.code(spend) == Code.INSUFFICIENT_FUNDS


def test_a_credit_line_is_exactly_as_long_as_the_issuer_signed(bank):
    """LEDGER-2: credit_limit."""
    assert bank.limits(ALICE, credit_limit=50).code == Code.CREATED
    assert bank.code(bank.plain(amount=1051)) == Code.INSUFFICIENT_FUNDS
    assert bank.code(bank.plain(amount=1050)) == Code.CREATED


def test_a_payee_takes_no_more_than_its_balance_max(bank):
    """LEDGER-2, the credit side: what it paid out makes room again, what is on its way in takes room."""
    assert bank.limits(BOB, balance_max=100).code == Code.CREATED
    assert bank.code(bank.plain(amount=101)) == Code.EXCEEDS_BALANCE_MAX
    assert bank.code(bank.pending(amount=60)) == Code.CREATED
    assert bank.code(bank.plain(amount=41)) == Code.EXCEEDS_BALANCE_MAX
    assert bank.code(bank.plain(amount=40)) == Code.CREATED
    spend = bank.plain(debit_account=BOB, credit_account=ALICE, key_id=KEYS["other"], amount=40)
    assert bank.code(spend) == Code.CREATED
    assert bank.code(bank.plain(amount=40)) == Code.CREATED


def test_no_transfer_crosses_ledgers(bank):
    """State rules a and b."""
    hkd_alice, hkd_bob = account_on(0, 20, 5), account_on(0, 21, 5)
    assert bank.open(hkd_alice, "bank", ledger=HKD).code == Code.CREATED
    assert bank.open(hkd_bob, "other", ledger=HKD).code == Code.CREATED
    assert bank.code(bank.plain(debit_account=hkd_alice)) == Code.DEBIT_ACCOUNT_OTHER_LEDGER
    assert bank.code(bank.plain(credit_account=hkd_bob)) == Code.CREDIT_ACCOUNT_OTHER_LEDGER


def test_a_missing_payee_here_is_refused_at_once(bank):
    """State rule b."""
    assert bank.code(bank.plain(credit_account=account_on(0, 21, 7))) == Code.CREDIT_ACCOUNT_NOT_FOUND


def test_a_frozen_payer_starts_nothing_until_the_freeze_ends(bank):
    """State rule a: frozen_until is the first instant at which it may pay again."""
    end = bank.now + 5
    assert bank.freeze(ALICE, until=end).code == Code.CREATED
    assert bank.code(bank.plain()) == Code.DEBIT_ACCOUNT_FROZEN
    bank.now = end - 1
    assert bank.code(bank.pending()) == Code.DEBIT_ACCOUNT_FROZEN
    bank.now = end
    assert bank.code(bank.plain()) == Code.CREATED


def test_a_freeze_without_end_lasts(bank):
    assert bank.freeze(ALICE).code == Code.CREATED
    bank.later(86_400)
    assert bank.code(bank.plain()) == Code.DEBIT_ACCOUNT_FROZEN


def test_a_frozen_payee_is_still_paid(bank):
    """State rule a: frozen stops new debits only."""
    assert bank.freeze(BOB).code == Code.CREATED
    assert bank.code(bank.plain()) == Code.CREATED


def test_a_closed_account_neither_pays_nor_is_paid(bank):
    """State rules a and b."""
    assert bank.close(BOB).code == Code.CREATED
    assert bank.code(bank.plain()) == Code.CREDIT_ACCOUNT_CLOSED
    back = bank.plain(debit_account=BOB, credit_account=ALICE, key_id=KEYS["other"])
    assert bank.code(back) == Code.DEBIT_ACCOUNT_CLOSED


def test_an_issuer_issues_only_by_pending(bank):
    """State rule c."""
    issue = bank.plain(debit_account=ISSUER_ACCOUNT, credit_account=ALICE, key_id=KEYS["issuer_a"])
    assert bank.code(issue) == Code.ISSUE_REQUIRES_PENDING
    held = bank.lock(b"h" * 32, debit_account=ISSUER_ACCOUNT, credit_account=ALICE, key_id=KEYS["issuer_a"])
    assert bank.code(held) == Code.ISSUE_REQUIRES_PENDING


def test_money_is_redeemed_by_its_holder(bank):
    """Step 18: back to the issuer's account, signed by the holder alone."""
    assert bank.code(bank.plain(credit_account=ISSUER_ACCOUNT, amount=1000)) == Code.CREATED
    assert bank.balance(ISSUER_ACCOUNT) == (0, 1000, 0, 1000)


def test_a_payee_on_another_shard_is_paid_through_the_channel(bank):
    """LEDGER-2 effects and CHANNEL-2: the channel account takes the credit side, then its mirror pays."""
    assert bank.code(bank.plain(credit_account=CAROL, amount=70)) == Code.CREATED_IN_TRANSIT
    channel = channel_account_id(CNY, DOMAIN << 8 | 1)
    assert bank.balance(channel, 0) == (0, 0, 0, 70)
    assert bank.deliver() == [Code.CREDITED]
    assert bank.balance(channel_account_id(CNY, DOMAIN << 8), 1) == (0, 70, 0, 0)
    assert bank.balance(CAROL) == (0, 0, 0, 70)


def test_an_attachment_is_bound_and_changes_nothing_else(bank):
    """RECORD-5, bit 6."""
    assert bank.code(bank.plain(flags=r.ATTACHMENT, binding=b"a" * 32)) == Code.CREATED


def test_two_shards_have_one_genesis_state_each(bank):
    """LEDGER-4: channel accounts are the first leaves."""
    for index, shard in enumerate(bank.shards):
        first = list(shard.accounts())[:2]
        assert first == [channel_account_id(ledger, DOMAIN << 8 | 1 - index) for ledger in (CNY, HKD)]


def test_other_accounts_of_a_bank_are_strangers_to_each_other(bank):
    """Step 18: the account's key line decides, not its participant."""
    stolen = bank.plain(debit_account=ALICE_2, credit_account=DAVE, key_id=KEYS["bank"])
    assert bank.code(stolen) == Code.KEY_NOT_AUTHORISED
